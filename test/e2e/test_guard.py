"""weft-guard.service and weft-guard-boot.service: what they run, with their account's rights, where an agent and its keeper died,
rules came back at boot, or no agent runs yet."""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
from mesh import HERE, ROOT, Mesh, binary, wait_until

APP = HERE / "app.py"
ACCOUNT = 64321
UNITS = ROOT / "systemd"


def values(unit, key):
    return re.findall(rf"(?m)^{key}=(.*)$", (UNITS / unit).read_text())


def guard(host, *more, unit="weft-guard.service"):
    """ExecStart of the unit, with no capability that the unit does not have."""
    assert values(unit, "User") == ["weft"]
    capabilities, = values(unit, "CapabilityBoundingSet")
    assert values(unit, "AmbientCapabilities") == [capabilities]
    keep = ",".join(["-all", *("+" + c.removeprefix("CAP_").lower() for c in capabilities.split())])
    command, = values(unit, "ExecStart")
    program, *argv = command.split()
    assert program == "@BIN@/weft"
    return host.run("setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups", f"--inh-caps={keep}",
                    f"--ambient-caps={keep}", f"--bounding-set={keep}", "--no-new-privs", binary(), *argv, *more)


def rules(host):
    text = ""
    for program in ("iptables-save", "ip6tables-save"):
        done = host.run(program)
        assert done.returncode == 0, done.stderr
        text += "".join(line + "\n" for line in done.stdout.splitlines() if line[:1] in "*:-" and "WEFT" in line)
    return re.sub(r"\[\d+:\d+\]", "", text)


def kill_with_keeper(agent):
    """Both at once, as the end of a control group is."""
    children = pathlib.Path(f"/proc/{agent.pid}/task/{agent.pid}/children")
    os.kill(agent.pid, signal.SIGSTOP)  # so that it makes no other keeper
    keepers = [int(pid) for pid in children.read_text().split()]
    assert len(keepers) == 1
    for pid in keepers:
        os.kill(pid, signal.SIGKILL)
    agent.kill()


def answers(m, port):
    return m["outsider"].http(f"http://{m['web'].ip4}:{port}/").status


STRICT = """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: safe}
spec:
  selector: {matchLabels: {app: safe}}
  mtls: {mode: STRICT}
"""


def populate(m):
    """web with a permissive service on 8080 and a strict one on 8081; outsider is no member."""
    m.server()
    h = m.host("web").account(ACCOUNT, "net_admin", "net_bind_service")
    for name, port in (("web", 8080), ("safe", 8081)):
        h.service(name, port, protocol="http").app(name, port, APP, NAME=name)
    m.host("outsider")
    h.join()
    m.apply(STRICT)
    wait_until("the strict port is in force", lambda: stored(h) == [8081])
    assert answers(m, 8080) == 200 and answers(m, 8081) == 0
    return m


def stored(host):
    file = host.state / "agent" / "guard.json"
    return json.loads(file.read_text())["strict"] if file.exists() else None


@pytest.fixture(scope="module")
def g():
    with Mesh(capture="iptables-nft") as m:
        yield populate(m)


@pytest.fixture
def web(g):
    h = g["web"]
    if not h.agent.alive():
        h.start_agent()
    wait_until("the redirects are there", lambda: "-A WEFT_PREROUTING" in rules(h))
    return h


def test_redirects_to_nobody_go_and_strict_ports_stay_closed(g, web):
    kill_with_keeper(web.agent)
    assert answers(g, 8080) == 0  # the trouble: redirected to a port where nobody listens
    done = guard(web)
    assert (done.returncode, done.stdout, done.stderr) == (0, "removed what a dead agent left: redirects; the guard stays\n", "")
    assert "WEFT_PREROUTING" not in rules(web) and "WEFT_OUTPUT" not in rules(web)
    assert answers(g, 8080) == 200 and answers(g, 8081) == 0
    done = guard(web)  # and nothing is said where nothing is
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_operator_may_choose_open(g, web):
    kill_with_keeper(web.agent)
    done = guard(web, "--all")
    assert done.returncode == 0 and done.stdout.startswith("removed") and rules(web) == "", done
    assert answers(g, 8080) == 200 and answers(g, 8081) == 200


def test_a_living_agent_is_left_alone(g, web):
    before = rules(web)
    for flags in ((), ("--all",)):
        done = guard(web, *flags)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert rules(web) == before and answers(g, 8080) == 200
    done = web.weft("agent", "release")
    assert done.returncode == 5 and "alive" in done.stderr  # who asks by hand is told


def test_rules_that_were_saved_and_come_back_at_boot(g, web):
    saved = {program: web.run(f"{program}-save").stdout for program in ("iptables", "ip6tables")}
    assert web.agent.stop() == 0
    assert rules(web) == "" and answers(g, 8080) == 200
    for program, text in saved.items():
        done = web.run(f"{program}-restore", text=text)
        assert done.returncode == 0, done.stderr
    assert answers(g, 8080) == 0
    assert guard(web).returncode == 0
    assert answers(g, 8080) == 200 and answers(g, 8081) == 0


def test_an_agent_that_starts_meanwhile_keeps_its_rules(g, web):
    """The guard of each minute and a restart fall together: the lock puts one behind the other."""
    for _ in range(3):
        kill_with_keeper(web.agent)
        web.start_agent(ready=False)
        while "capture by iptables" not in web.agent.text() or not rules(web).count("-A PREROUTING"):
            assert guard(web).returncode == 0
            assert web.agent.alive()
        web.wait_ready()
        assert guard(web).returncode == 0
        text = rules(web)
        assert text.count("-A PREROUTING -j WEFT_PREROUTING") == 2 and text.count("-A OUTPUT -j WEFT_OUTPUT") == 2, text
        assert answers(g, 8080) == 200 and answers(g, 8081) == 0


def test_without_the_right_it_says_what_is_missing(web):
    done = web.run("setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups", binary(), "agent", "release",
                   "--unless-alive")
    assert done.returncode == 6 and "CAP_NET_ADMIN" in done.stderr, done


# ---- at boot, before an agent serves ----

@pytest.fixture(scope="module", params=["nftables", "iptables-nft"])
def boot(request):
    with Mesh(capture=request.param) as m:
        yield populate(m)


def restore(host):
    return guard(host, unit="weft-guard-boot.service")


def test_strict_ports_are_closed_between_boot_and_agent(boot):
    h = boot["web"]
    assert h.agent.stop() == 0
    assert answers(boot, 8081) == 200  # an orderly stop takes everything away, as a boot does
    done = restore(h)
    assert (done.returncode, done.stdout, done.stderr) == (0, "STRICT ports closed until an agent serves: 1\n", "")
    assert answers(boot, 8081) == 0 and answers(boot, 8080) == 200  # nothing is redirected
    assert h.http("http://127.0.0.1:8081/").status == 200  # this host itself is no stranger
    h.start_agent()
    assert answers(boot, 8081) == 0
    assert any(k.lower() == "x-request-id" for k, _ in boot["outsider"].http(f"http://{h.ip4}:8080/").json()["headers"])
    done = restore(h)  # late: the agent is left alone
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert answers(boot, 8080) == 200 and h.agent.alive()


def test_what_is_no_longer_strict_is_not_closed(boot):
    h = boot["web"]
    boot.clear()
    try:
        wait_until("the disk says so", lambda: stored(h) == [])
        assert h.agent.stop() == 0
        done = restore(h)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert answers(boot, 8081) == 200
    finally:
        h.start_agent()
        boot.apply(STRICT)
        wait_until("the strict port is in force again", lambda: stored(h) == [8081])


def test_settings_decide_and_a_broken_file_closes(boot):
    h = boot["web"]
    ini, file = h.config / "agent.ini", h.state / "agent" / "guard.json"
    good, known = ini.read_text(), file.read_text()
    assert h.agent.stop() == 0
    try:
        ini.write_text("[agent]\ncapture = off\n")
        assert restore(h).stdout == "" and answers(boot, 8081) == 200
        ini.write_text("[agent]\ncaptrue = off\n")
        done = restore(h)
        assert done.returncode == 0 and "the guard goes by defaults" in done.stderr and answers(boot, 8081) == 0, done
        assert h.weft("agent", "release", "--all").returncode == 0
        ini.write_text(good)
        for text in ("", "{", "{}", '{"strict": 1}', '{"strict": ["x"]}', '{"strict": [0]}', '{"strict": [65536]}', '{"strict": [22]}'):
            file.write_text(text)
            done = restore(h)
            assert done.returncode not in (0, 5) and done.stdout == "", (text, done)
            assert answers(boot, 8081) == 200
        file.unlink()
        assert restore(h).returncode == 0
    finally:
        ini.write_text(good)
        file.write_text(known)
        os.chown(file, ACCOUNT, ACCOUNT)
        h.start_agent()


# ---- who starts them ----

def test_the_boot_guard_comes_before_the_network_and_only_where_an_agent_is_meant_to_run():
    text = (UNITS / "weft-guard-boot.service").read_text()
    assert {"network-pre.target", "weft-agent.service"} <= set(values("weft-guard-boot.service", "Before")[0].split())
    assert "nftables.service" in values("weft-guard-boot.service", "After")[0].split()  # which flushes at its start
    assert values("weft-guard-boot.service", "DefaultDependencies") == ["no"] and "[Install]" not in text
    assert values("weft-guard-boot.service", "RemainAfterExit") == ["yes"]  # an orderly stop opens the ports, and they stay open
    assert "weft-guard-boot.service" in values("weft-agent.service", "Wants")[0].split()
    assert not {"network.target", "network-online.target"} & set(values("weft-guard-boot.service", "After")[0].split())


def test_it_is_started_at_boot_each_minute_and_by_an_agent_that_failed_for_good():
    assert "weft-guard.timer" in values("weft-agent.service", "Wants")[0].split()
    assert values("weft-agent.service", "OnFailure") == ["weft-guard.service"]
    assert values("weft-guard.timer", "OnActiveSec") == ["0"] and values("weft-guard.timer", "OnUnitInactiveSec") == ["1min"]
    assert values("weft-guard.timer", "WantedBy") == ["timers.target"]
    # What loads saved rules comes first, and no condition of the agent's can keep the guard away.
    assert {"netfilter-persistent.service", "iptables.service"} <= set(values("weft-guard.service", "After")[0].split())
    assert not re.search(r"(?m)^(Condition|Assert|Requires|BindsTo)", (UNITS / "weft-guard.service").read_text())


def test_systemd_reads_the_times_as_meant():
    done = subprocess.run(["systemd-analyze", "timespan", *values("weft-guard.timer", "OnUnitInactiveSec")], capture_output=True,
                          text=True)
    assert done.returncode == 0 and "60000000" in done.stdout, done.stdout + done.stderr
