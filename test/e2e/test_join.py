"""A host becomes a member by a token; what is wrong with a token gets one clear error and changes nothing."""

import base64
import hashlib
import json
import re

import pytest
from conftest import APP
from mesh import binary, wait_until


@pytest.fixture
def host(empty):
    """A fresh host; joined by the test or not."""
    return empty.host(f"h{empty.number + 1}")


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def forge(token, pin=None, secret=None, endpoint=None):
    """A token with another part and the right checksum: what a person with intent would make, not a slip of the hand."""
    _, old_pin, ident, old_secret, old_endpoint = token.split(".", 4)
    pin, secret, endpoint = pin or unbase64(old_pin), secret or unbase64(old_secret)[:16], endpoint or old_endpoint
    digest = hashlib.sha256(b"weft1" + pin).digest()
    for part in (ident.encode(), secret, *[x for e in endpoint.split(",") for x in (b",", e.encode())]):
        digest = hashlib.sha256(digest + part).digest()

    def text(b):
        return base64.urlsafe_b64encode(b).decode().rstrip("=")
    return f"weft1.{text(pin)}.{ident}.{text(secret + digest[:2])}.{endpoint}"


def refused(host, token, *flags):
    """Join with a bad token: the CompletedProcess. The host must have kept nothing but perhaps its own key."""
    hosts = len(host.mesh.api("GET", "/v1/hosts")[1]["items"])
    done = host.weft("join", "--name", host.name, *flags, token)
    assert done.returncode not in (0, 1), done.stdout
    assert done.stderr.startswith("weft: ") and done.stderr.count("\n") == 1, done.stderr
    assert not (host.state / "agent" / "agent.json").exists()
    assert not (host.state / "agent" / "host.crt").exists()
    assert len(host.mesh.api("GET", "/v1/hosts")[1]["items"]) == hosts
    return done


def test_join_gives_an_identity_and_leaves_no_secret(empty, host):
    token = empty.token()
    done = host.weft("join", "--name", host.name, token)
    assert done.returncode == 0, done.stderr
    assert "pin matches" in done.stdout and f"(name {host.name})" in done.stdout
    agent = host.state / "agent"
    assert (agent / "host.key").stat().st_mode & 0o777 == 0o600
    assert json.loads((agent / "agent.json").read_text())["name"] == host.name
    secret = token.split(".")[3]
    for f in agent.iterdir():
        assert secret not in f.read_text(), f
    assert any(h["name"] == host.name and h["state"] == "active" for h in empty.api("GET", "/v1/hosts")[1]["items"])


def test_the_token_comes_from_a_file_or_standard_input(empty, host):
    done = host.run(binary(), "join", "--name", host.name, "--token-file", "-", text=empty.token() + "\n")
    assert done.returncode == 0, done.stderr


def test_wrong_pin_sends_nothing(empty, host):
    token = empty.token()
    assert forge(token) == token
    before = empty.api("GET", "/metrics")[1]
    done = refused(host, forge(token, pin=bytes(32)))
    assert "pin" in done.stderr
    joins = r'weft_joins_total\{result="refused"\} (\d+)'
    assert re.search(joins, before)[1] == re.search(joins, empty.api("GET", "/metrics")[1])[1]  # nobody asked the server


def test_cut_token(empty, host):
    token = empty.token()
    for end in (5, 20, len(token.rsplit(".", 4)[0]) - 3):
        done = refused(host, token[:end])
        assert done.returncode == 4 and "token" in done.stderr


def test_wrong_secret(empty, host):
    done = refused(host, forge(empty.token(), secret=bytes(16)))
    assert done.returncode == 6 and "copy the whole token" in done.stderr


def test_expired_token(empty, host):
    token = empty.token(ttl="1s")
    ident = token.split(".")[2]

    def over():
        return any(t["id"] == ident and t["state"] == "expired" for t in empty.api("GET", "/v1/tokens")[1]["items"])
    wait_until("the token expires", over)
    done = refused(host, token)
    assert done.returncode == 6 and "expired" in done.stderr and "make a new one" in done.stderr


def test_used_token(empty, host):
    token = empty.token()
    host.join(token, start=False)
    second = empty.host(f"h{empty.number + 1}")
    done = refused(second, token)
    assert done.returncode == 6 and "used already" in done.stderr


def test_a_lost_answer_costs_nothing(empty, host):
    token = empty.token()
    host.join(token, start=False)
    first = json.loads((host.state / "agent" / "agent.json").read_text())["hostId"]
    (host.state / "agent" / "agent.json").unlink()  # as if the answer had never come
    host.join(token, start=False)
    assert json.loads((host.state / "agent" / "agent.json").read_text())["hostId"] == first


def test_revoked_token(empty, host):
    token = empty.token()
    done = empty.control.weft("token", "revoke", token.split(".")[2])
    assert done.returncode == 0, done.stderr
    done = refused(host, token)
    assert done.returncode == 6 and "revoked" in done.stderr


def test_token_of_another_address_range(empty, host):
    done = refused(host, empty.token(**{"from": "10.99.0.0/16"}))
    assert done.returncode == 6 and "may not be used from" in done.stderr
    host.join(empty.token(**{"from": f"10.99.0.0/16,{host.ip4}/32"}), start=False)


def test_a_taken_name_is_refused(empty, host):
    host.join(start=False)
    second = empty.host(f"h{empty.number + 1}")
    second.name = host.name
    done = refused(second, empty.token())
    assert done.returncode == 5 and "is taken" in done.stderr


def test_a_member_does_not_join_twice_by_mistake(empty, host):
    host.join(start=False)
    done = host.weft("join", "--name", host.name, empty.token())
    assert done.returncode == 5 and "member already" in done.stderr


def test_no_server_there(empty, host):
    done = refused(host, forge(empty.token(), endpoint=f"{empty.control.ip4}:15999"))
    assert done.returncode == 3


def test_tokens_are_listed_without_their_secrets(empty, host):
    token = empty.token()
    done = empty.control.weft("token", "list")
    assert done.returncode == 0 and token.split(".")[2] in done.stdout and token.split(".")[3] not in done.stdout


def test_an_agent_before_joining_says_what_to_do(empty, host):
    done = host.weft("agent", "run")
    assert done.returncode == 7 and "weft join" in done.stderr


def test_a_service_outside_the_grants_is_refused_alone(empty, host):
    host.service("allowed", 8080, protocol="http").app("allowed", 8080, APP)
    host.service("treasure", 8081, protocol="http").app("treasure", 8081, APP)
    host.join(services="allowed")
    by_name = {}

    def told():
        by_name.update({s["name"]: s for s in host.status()["services"]})
        return by_name["treasure"]["refused"]
    wait_until("the agent knows", told)
    assert not by_name["allowed"]["refused"]
    assert "treasure" in host.agent.text() and "service is not offered" in host.agent.text()
    names = [s["name"] for s in empty.api("GET", "/v1/services")[1]["items"]]
    assert "allowed" in names and "treasure" not in names
    certs = json.loads(host.page("/certs")[1])["certificates"]
    assert not any("treasure" in c["identity"] and "serial" in c for c in certs)
    host.agent.stop()


def test_a_service_that_belongs_to_another_account_may_not_be_taken_over(empty, host):
    host.service("owned", 8080, protocol="http").app("owned", 8080, APP)
    host.join(services="owned")
    wait_until("it is offered", lambda: any(s["name"] == "owned" for s in empty.api("GET", "/v1/services")[1]["items"]))
    thief = empty.host(f"h{empty.number + 1}")
    thief.service("owned", 8080, protocol="http", account="thief").app("owned", 8080, APP)
    thief.join()
    states = {}

    def told():
        states.update({s["name"]: s["refused"] for s in thief.status()["services"]})
        return states["owned"]
    wait_until("the second host is refused", told)
    host.agent.stop()
    thief.agent.stop()


def test_an_ejected_host_is_out_at_once(empty, host):
    host.service("soongone", 8080, protocol="http").app("soongone", 8080, APP)
    host.join()
    wait_until("it is connected", lambda: host.status()["link"]["connected"])
    done = empty.control.weft("host", "eject", host.name)
    assert done.returncode == 0, done.stderr
    wait_until("its session is closed", lambda: not host.status()["link"]["connected"])
    wait_until("its service is withdrawn", lambda: not any(
        e["endpoints"] for e in empty.api("GET", "/v1/endpoints")[1]["items"] if "soongone" in e["service"]))
    host.agent.stop()
    done = host.weft("join", "--again", "--name", host.name, empty.token())
    assert done.returncode == 6 and "ejected" in done.stderr
