"""Only mesh traffic is taken, and nothing of it stays: by nftables, and by both flavours of iptables."""

import json
import signal

import pytest
from conftest import APP
from conftest import on_each_backend as m  # noqa: F401
from mesh import Mesh, binary, wait_until


def by_nft(host):
    return host.mesh.capture == "nftables"


def rules(host):
    """All rules and chains of the host; nothing for built-in chains of iptables that are empty."""
    commands = [["nft", "list", "ruleset"]] if by_nft(host) else [["iptables-save"], ["ip6tables-save"]]
    text = ""
    for argv in commands:
        done = host.run(*argv)
        assert done.returncode == 0, done.stderr
        text += done.stdout
    return text if by_nft(host) else "".join(
        line + "\n" for line in text.splitlines() if line.startswith("-") or (line.startswith(":") and " - " in line))


def has_redirects(host):
    return ("table inet weft {" if by_nft(host) else ":WEFT_OUTPUT") in rules(host)


def has_guard(host):
    return ("table inet weft-guard" if by_nft(host) else "WEFT_GUARD_INPUT") in rules(host)


def change(host, nft, *iptables):
    """Do as somebody else on the host does, with the tool that this host uses."""
    for command in [f"nft '{nft}'"] if by_nft(host) else iptables:
        done = host.run(command)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def lone(m):
    """A member of its own for each test, with one service on 8080 (and 9090 registered nowhere)."""
    h = m.host(f"lone{m.number}")
    h.service("lone" + str(m.number), 8080, protocol="http").app("lone", 8080, APP, NAME="lone")
    h.app("free", 9090, APP, NAME="free")
    h.join()
    yield h
    if h.agent.alive():
        h.agent.stop()


def test_ports_that_nobody_registered_are_untouched(m):
    told = m["outsider"].http(f"http://{m['vault'].ip4}:8099/x").json()
    assert told["app"] == "secret" and told["peer"].endswith(m["outsider"].ip4)  # straight from the caller
    assert not any(k.lower() in ("x-request-id", "x-envoy-attempt-count") for k, _ in told["headers"])
    from_member = m["client"].http(f"http://{m['vault'].ip4}:8099/x").json()
    assert from_member["peer"].endswith(m["client"].ip4)


def test_other_destinations_are_untouched(m):
    told = m["client"].http(f"http://{m['outsider'].ip4}:8080/x").json()
    assert told["app"] == "other" and told["peer"].endswith(m["client"].ip4)
    assert not any(k.lower().startswith("x-") for k, _ in told["headers"])


def test_loopback_is_untouched(m):
    told = m["vault"].http("http://127.0.0.1:8081/x").json()
    assert told["app"] == "bank" and not any(k.lower() == "x-request-id" for k, _ in told["headers"])


def test_registered_ports_are_taken_also_by_the_hosts_own_address(m):
    for caller in ("outsider", "vault"):
        told = m[caller].http(f"http://{m['vault'].ip4}:8081/x").json()
        assert told["app"] == "bank" and any(k.lower() == "x-request-id" for k, _ in told["headers"]), caller


def test_ipv6_inbound_and_outbound(m):
    told = m["outsider"].http(f"http://[{m['web-v1'].ip6}]:8080/x").json()
    assert told["app"] == "web-v1" and any(k.lower() == "x-request-id" for k, _ in told["headers"])
    vip = m["client"].resolve("web", 6)[0]
    told = m["client"].http("http://web:8080/x", to=f"[{vip}]:8080").json()
    assert told["app"].startswith("web-") and any(k.lower() == "x-forwarded-client-cert" for k, _ in told["headers"])


def test_direct_connections_to_the_agents_ports_are_refused(m):
    for port in (15001, 15006):
        answer = m["outsider"].http(f"http://{m['vault'].ip4}:{port}/")
        assert answer.status in (0, 404), answer
        answer = m["vault"].http(f"http://127.0.0.1:{port}/")
        assert answer.status in (0, 404), answer


def test_an_unused_virtual_address_fails_at_once(m):
    answer = m["client"].http("http://x/", to="240.240.255.254:80")
    assert answer.status in (404, 502, 503) or answer.is_refused, answer


def test_an_orderly_stop_leaves_no_trace(lone):
    assert has_redirects(lone) and has_guard(lone) and "240.240.0.0/16" in lone.run("ip", "route").stdout + lone.run(
        "ip", "route", "show", "table", "all").stdout
    assert lone.agent.stop() == 0
    assert rules(lone).strip() == ""
    assert "240.240" not in lone.run("ip", "route", "show", "table", "all").stdout
    assert "2001:2:" not in lone.run("ip", "-6", "route", "show", "table", "all").stdout


def test_kill_9_lets_plaintext_reach_a_permissive_service(m, lone):
    lone.agent.kill()
    wait_until("the redirect is gone", lambda: not has_redirects(lone))
    assert has_guard(lone)
    told = m["outsider"].http(f"http://{lone.ip4}:8080/x").json()
    assert told["app"] == "lone" and told["peer"].endswith(m["outsider"].ip4)
    assert m["outsider"].http(f"http://{lone.ip4}:9090/x").status == 200
    lone.start_agent()
    told = m["outsider"].http(f"http://{lone.ip4}:8080/x").json()
    assert any(k.lower() == "x-request-id" for k, _ in told["headers"])


def test_kill_9_keeps_a_strict_port_closed(m, lone, clean):
    m.apply("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\n"
            "  namespace: istio-system\nspec:\n  mtls:\n    mode: STRICT\n")
    assert m["outsider"].http(f"http://{lone.ip4}:8080/x").status == 0
    lone.agent.kill()
    for _ in range(20):  # while the redirect goes, and then
        assert m["outsider"].http(f"http://{lone.ip4}:8080/x").status == 0
    wait_until("the redirect is gone", lambda: not has_redirects(lone))
    assert m["outsider"].http(f"http://{lone.ip4}:8080/x").status == 0
    assert m["outsider"].http(f"http://{lone.ip4}:9090/x").status == 200  # nothing but the service's port
    lone.start_agent()


def test_rules_of_others_are_left_alone(m):
    h = m.host("tabled")
    change(h, "add table inet mine; add chain inet mine in { type filter hook input priority 0; }; "
           "add rule inet mine in tcp dport 9999 drop",
           "iptables -A INPUT -p tcp --dport 9999 -j DROP", "iptables -t nat -N MINE", "iptables -t nat -A OUTPUT -d 10.1.1.1 -j MINE")
    before = rules(h)
    h.service("tabled", 8080, protocol="http").app("tabled", 8080, APP).join()
    assert all(line in rules(h) for line in before.splitlines() if "9999" in line or "MINE" in line)
    h.agent.stop()
    assert rules(h) == before


def test_flushed_rules_come_back(m, lone):
    change(lone, "flush ruleset", "iptables -F", "iptables -X", "iptables -t nat -F", "ip6tables -t nat -F", "ip6tables -F")
    wait_until("the guard is there again", lambda: has_guard(lone))
    wait_until("the redirect is there", lambda: any(
        k.lower() == "x-request-id" for k, _ in m["outsider"].http(f"http://{lone.ip4}:8080/x").json()["headers"]))
    assert has_redirects(lone)


def test_the_page_and_the_log_say_which_backend(m, lone):
    name = m.capture.split("-")[0]
    assert lone.status()["captureBackend"] == name and f"capture by {name}: " in lone.agent.text()
    assert f'weft_capture_state{{backend="{name}"}} 1' in lone.page("/metrics")[1]
    assert f"capture {name}," in lone.weft("status").stdout


def test_what_a_dead_agent_left_is_released_and_a_living_one_is_not(lone):
    done = lone.weft("agent", "release", "--all")
    assert done.returncode == 5 and "alive" in done.stderr and has_redirects(lone), done.stderr
    lone.agent.kill()
    done = lone.weft("agent", "release")
    assert done.returncode == 0 and not has_redirects(lone) and has_guard(lone), done.stderr
    done = lone.weft("agent", "release", "--all")
    assert done.returncode == 0 and not has_guard(lone), done.stderr
    assert "240.240" not in lone.run("ip", "route", "show", "table", "all").stdout
    lone.start_agent()


def test_a_host_without_ipv6_is_a_member(m):
    h = m.host("old")
    assert h.run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6").returncode == 0
    h.service("old", 8080, protocol="http").app("old", 8080, APP, NAME="old").join()
    m.wait_service(m["client"], "http://old:8080/")
    m.wait_service(h, "http://web:8080/")
    assert h.resolve("web", 6) == [] and has_redirects(h)
    assert h.agent.stop() == 0


def test_ssh_is_never_captured(m):
    h = m.host("ssh").service("ssh", 22)
    h.weft("join", "--name", "ssh", m.token())
    done = h.weft("agent", "run")
    assert done.returncode == 4 and "ssh.ini:2" in done.stderr and "port 22" in done.stderr, done.stderr
    assert rules(h).strip() == ""


BAD_SERVICES = [
    ("unknown key", "[service x]\nport = 80\nprt = 1\n", 3, "prt"),
    ("bad port", "[service x]\nport = 99999\n", 2, "99999"),
    ("no port", "[service x]\nprotocol = http\n", 1, "port"),
    ("two services on a port", "[service x]\nport = 80\n[service y]\nport = 80\n", 4, "another service"),
    ("a name twice", "[service x]\nport = 80\n[service x]\nport = 81\n", 3, "twice"),
    ("the agent's own port", "[service x]\nport = 15001\n", 2, "agent"),
    ("unknown section", "[servise x]\nport = 80\n", 1, "servise"),
    ("later feature", "[service x]\nport = 80\nrun_as = www\n", 3, "not supported yet"),
]


def test_bad_service_files_are_told_by_file_and_line(m):
    h = m.host("badfile")
    h.weft("join", "--name", "badfile", m.token())
    for what, text, line, word in BAD_SERVICES:
        (h.config / "services.d" / "bad.ini").write_text(text)
        done = h.weft("agent", "run")
        assert done.returncode == 4, what
        assert f"services.d/bad.ini:{line}" in done.stderr and word in done.stderr, (what, done.stderr)
    assert rules(h).strip() == ""


def test_bad_settings_are_told(m):
    h = m.host("badset")
    h.weft("join", "--name", "badset", m.token())
    for text, words in (("[agent]\nworkers = 1000\n", [":2", "workers"]), ("[agent]\nacces_log = x\n", [":2", "access_log"]),
                        ("[agent]\ncapture = maybe\n", [":2", "nftables, iptables or off"]), ("[agnet]\n", [":1", "agnet"])):
        (h.config / "agent.ini").write_text(text)
        done = h.weft("agent", "run")
        assert done.returncode == 4 and all(w in done.stderr for w in ["agent.ini", *words]), done.stderr


def test_a_bad_file_at_reload_keeps_what_runs(m, lone):
    (lone.config / "services.d" / "bad.ini").write_text("[service x]\nport = nine\n")
    lone.agent.popen.send_signal(signal.SIGHUP)
    wait_until("the agent says so", lambda: "keeping what runs" in lone.agent.text())
    assert m["outsider"].http(f"http://{lone.ip4}:8080/x").status == 200
    (lone.config / "services.d" / "bad.ini").unlink()


def test_a_new_service_file_counts_after_reload(m, lone):
    lone.service("extra", 9090, protocol="http")
    lone.agent.popen.send_signal(signal.SIGHUP)
    m.wait_service(m["client"], "http://extra:9090/")
    assert any(k.lower() == "x-request-id" for k, _ in m["outsider"].http(f"http://{lone.ip4}:9090/x").json()["headers"])
    (lone.config / "services.d" / "extra.ini").unlink()
    lone.agent.popen.send_signal(signal.SIGHUP)
    wait_until("the port is free again", lambda: not any(
        k.lower() == "x-request-id" for k, _ in m["outsider"].http(f"http://{lone.ip4}:9090/x").json()["headers"]))


def test_a_port_in_use_is_named(m):
    h = m.host("busy").service("busy", 8080, protocol="http")
    h.app("squatter", 15001, APP)
    h.weft("join", "--name", "busy", m.token())
    done = h.weft("agent", "run")
    assert done.returncode != 0 and "15001" in done.stderr and "weft: " in done.stderr, done.stderr
    assert rules(h).strip() == ""


def test_a_second_agent_is_told(m):
    h = m["web-v2"]
    done = h.weft("agent", "run")
    assert done.returncode != 0 and "weft: " in done.stderr
    assert m["outsider"].http(f"http://{h.ip4}:8080/x").status == 200  # the first one goes on


def test_a_missing_capability_is_named(m):
    h = m.host("weak").service("weak", 8080, protocol="http")
    h.weft("join", "--name", "weak", m.token())
    done = h.run("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", binary(), "agent", "run")
    assert done.returncode == 6 and "CAP_NET_ADMIN" in done.stderr, done.stderr


def test_without_capture_nothing_is_touched(m):
    h = m.host("plain").service("plain", 8080, protocol="http").app("plain", 8080, APP)
    h.settings(capture="off", dns="off")
    h.join()
    assert rules(h).strip() == "" and not json.loads(h.page("/status")[1])["capture"]
    h.agent.stop()


def test_runs_do_not_collide(m):
    with Mesh() as other:
        other.server()
        other.host("client").service("client", 8080).join()
        assert other["client"].resolve("web") == []
