"""Explicit listeners: hosts where nothing is redirected, in a mesh with others where everything is."""

import pytest
from conftest import APP
from mesh import Mesh, wait_until

STRICT = """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: istio-system
spec:
  mtls:
    mode: STRICT
"""
ROUTE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: web
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418}
  - route: [{destination: {host: web, port: {number: 8080}}}]
"""


@pytest.fixture(scope="module")
def m():
    """caller and web without capture, echo on web's host too; captured, a member as everybody is."""
    with Mesh() as mesh:
        mesh.server()
        w = mesh.host("web").settings(capture="off", dns="off")
        w.app("web", 8081, APP, NAME="web", BIND="127.0.0.1")
        w.app("echo", 9001, APP, MODE="echo", BIND="127.0.0.1")
        w.service("web", 8081, protocol="http", listen=f"{w.ip4}:8080")
        w.service("echo", 9001, protocol="tcp", listen="0.0.0.0:9000")
        w.join()
        c = mesh.host("caller").settings(capture="off", dns="off", access_log=mesh["caller"].access_log)
        c.service("caller", 7000, protocol="http")
        c.service("to-web", None, file="a", kind="listener", bind="127.0.0.1:9080", service="web:8080")
        c.service("to-echo", None, file="b", kind="listener", bind="127.0.0.1:9090", service="echo")
        c.service("by-host", None, file="c", kind="listener", bind="127.0.0.1:8888", protocol="http")
        c.offered = ["default/caller"]
        c.join()
        p = mesh.host("captured").service("captured", 8080, protocol="http").app("captured", 8080, APP, NAME="captured")
        p.join()
        mesh.host("outsider")
        mesh.wait_service(c, "http://127.0.0.1:9080/")
        mesh.wait_service(p, "http://web:8080/")
        wait_until("captured has its certificate",
                   lambda: c.http("http://127.0.0.1:8888/", headers={"Host": "captured:8080"}).status == 200)
        wait_until("echo has its certificate", lambda: c.tcp("127.0.0.1:9090", send="x", until="x", timeout=5)["got"] == "x")
        yield mesh


@pytest.fixture
def clean(m):
    yield m
    m.clear()


def xfcc(answer):
    return {k.lower(): v for k, v in answer.json()["headers"]}["x-forwarded-client-cert"]


def test_nothing_is_redirected(m):
    for name in ("web", "caller"):
        assert m[name].run("nft", "list", "ruleset").stdout.strip() == ""
        assert not m[name].listens(15001) and not m[name].listens(15006)


def test_http_by_port_with_both_identities(m):
    answer = m["caller"].http("http://127.0.0.1:9080/x")
    assert answer.status == 200 and answer.headers["x-app"] == "web", answer
    assert "By=spiffe://cluster.local/ns/default/sa/web;" in xfcc(answer)
    assert "URI=spiffe://cluster.local/ns/default/sa/caller" in xfcc(answer)


def test_tcp_by_port(m):
    assert m["caller"].tcp("127.0.0.1:9090", send="hello\n", until="hello\n")["got"] == "hello\n"


def test_http_by_host(m):
    c = m["caller"]
    for host in ("web", "web:8080", "web.default", "WEB.default.svc.cluster.local", "captured:8080"):
        answer = c.http("http://127.0.0.1:8888/", headers={"Host": host})
        assert answer.status == 200, (host, answer)
        assert answer.headers["x-app"] == host.lower().split(":")[0].split(".")[0]
    assert c.http("http://127.0.0.1:8888/", headers={"Host": "nobody"}).status == 404


def test_a_captured_host_reaches_the_listener(m):
    answer = m["captured"].http("http://web:8080/x")
    assert answer.status == 200 and "sa/captured" in xfcc(answer)


def test_rules_hold_at_listeners(m, clean):
    m.apply(ROUTE)
    c = m["caller"]
    assert c.http("http://127.0.0.1:9080/teapot").status == 418
    assert c.http("http://127.0.0.1:8888/teapot", headers={"Host": "web"}).status == 418
    assert c.http("http://127.0.0.1:9080/x").status == 200


def test_strict_refuses_plaintext_at_an_explicit_listener(m, clean):
    at = f"http://{m['web'].ip4}:8080/"
    assert m["outsider"].http(at).status == 200  # PERMISSIVE
    m.apply(STRICT)
    refused = m["outsider"].http(at)
    assert refused.is_refused, refused
    assert m["caller"].http("http://127.0.0.1:9080/").status == 200
    assert m["captured"].http("http://web:8080/").status == 200


def test_listeners_come_and_go_on_sighup(m):
    c = m["caller"]
    c.service("late", None, file="late", kind="listener", bind="127.0.0.1:9085", service="web:8080")
    c.agent.popen.send_signal(1)
    m.wait_service(c, "http://127.0.0.1:9085/")
    (c.config / "services.d" / "late.ini").unlink()
    c.agent.popen.send_signal(1)
    wait_until("the listener is gone", lambda: not c.listens(9085))
    assert c.http("http://127.0.0.1:9080/").status == 200


def test_a_port_that_is_taken_changes_nothing(m):
    c = m["caller"]
    c.app("blocker", 9086, APP, NAME="blocker", BIND="127.0.0.1")
    c.service("bad", None, file="bad", kind="listener", bind="127.0.0.1:9086", service="web:8080")
    c.agent.popen.send_signal(1)
    wait_until("it is told", lambda: "9086" in c.agent.text() and "keeping what runs" in c.agent.text())
    assert c.http("http://127.0.0.1:9080/").status == 200
    (c.config / "services.d" / "bad.ini").unlink()
    c.service("good", None, file="good", kind="listener", bind="127.0.0.1:9087", service="web:8080")
    c.agent.popen.send_signal(1)
    m.wait_service(c, "http://127.0.0.1:9087/")


def test_mistakes_are_told_with_file_and_line(m):
    h = m.host("wrong").settings(capture="off", dns="off")
    h.weft("join", "--name", "wrong", m.token())
    text = ("[service a]\nlisten = 127.0.0.1:8080\nport = 8081\n[service b]\nlisten = 0.0.0.0:8082\n"
            "[listener c]\nservice = web\n[listener d]\nbind = 1.2.3.4\n[listener e]\nbind = 127.0.0.1:22\n")
    (h.config / "services.d" / "x.ini").write_text(text)
    done = h.weft("agent", "run")
    assert done.returncode == 4
    for part in ("x.ini:2:", "loopback", "x.ini:5:", "application's own address", "x.ini:6:", "bind is required", "x.ini:9:",
                 "IP:PORT", "x.ini:11:", "SSH"):
        assert part in done.stderr, (part, done.stderr)
