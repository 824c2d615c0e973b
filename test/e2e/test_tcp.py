"""TCP: server-first protocols, half-close, many bytes, and HTTP that is not declared."""

import json

import pytest
from conftest import APP
from mesh import Capture, Mesh, wait_until


SNIFF_MS = 5000  # how long the first bytes are waited for where the protocol is not declared


@pytest.fixture(scope="module")
def t():
    with Mesh() as mesh:
        mesh.server()
        s = mesh.host("tcp")
        for name, port, mode, keys in (("banner", 9001, "banner", {"protocol": "tcp"}), ("echo", 9002, "echo", {"protocol": "tcp"}),
                                       ("count", 9003, "count", {"protocol": "tcp"}), ("guess", 9004, "banner", {}),
                                       ("guessecho", 9005, "echo", {})):
            s.service(name, port, **keys).app(name, port, APP, NAME=name, MODE=mode)
        s.join()
        c = mesh.host("client").service("client", 8080).join()
        for name in ("banner", "echo", "count", "guess", "guessecho"):
            wait_until(f"{name} has a name", lambda name=name: c.resolve(name))
        wait_until("the first call passes", lambda: c.tcp("banner:9001", first=4, timeout=5)["got"] == "220 ")
        wait_until("each service has its certificate", lambda: all(
            any(x["identity"].endswith(f"/sa/{name}") and "serial" in x for x in json.loads(s.page("/certs")[1])["certificates"])
            for name in ("banner", "echo", "count", "guess", "guessecho")))
        yield mesh


def test_the_server_speaks_first(t):
    got = t["client"].tcp("banner:9001", first=len("220 banner ready\r\n"), send="hello\n", until="250 hello\n")
    assert got["got"] == "220 banner ready\r\n250 hello\n" and got["greeted_ms"] < SNIFF_MS, got


def test_the_server_speaks_first_on_a_port_of_unknown_protocol(t):
    got = t["client"].tcp("guess:9004", first=len("220 guess ready\r\n"))
    assert got["got"] == "220 guess ready\r\n" and got["greeted_ms"] >= SNIFF_MS - 100, got  # after the deadline for first bytes


def test_the_mesh_says_how_long_first_bytes_are_waited_for(t):
    t.apply("---\napiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
            "spec: {protocolDetectionTimeout: 0.1s}\n")
    try:
        wait_until("it is greeted before both agents would have waited for 5 s", lambda: t["client"].tcp(
            "guess:9004", first=len("220 guess ready\r\n"), timeout=15)["greeted_ms"] < 5000)
    finally:
        t.clear()


def test_bytes_that_are_no_http_on_a_port_of_unknown_protocol(t):
    got = t["client"].tcp("guessecho:9005", send="\x00\x01\x02binary", until="binary")
    assert got["got"] == "\x00\x01\x02binary", got


def test_many_bytes(t):
    got = t["client"].tcp("echo:9002", size=2_000_000, shut=True)
    assert got["bytes"] == 2_000_000 and got["how"] == "end", got["how"]


def test_half_close_passes(t):
    got = t["client"].tcp("count:9003", size=100_000, shut=True)
    assert got["got"] == "count saw 100000 bytes, then your end\n" and got["how"] == "end", got


def test_it_is_encrypted_and_counted(t):
    s = t["tcp"]
    before = s.metric("istio_tcp_connections_opened_total", reporter="destination", connection_security_policy="mutual_tls")
    capture = Capture(t)
    t["client"].tcp("echo:9002", send="marker-77aa" * 20, until="marker-77aa")
    wire = capture.stop()
    assert b"marker-77aa" not in wire and len(wire) > 500
    for name in ("istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"):
        wait_until(f"{name} rises", lambda name=name: s.metric(name, reporter="destination",
                                                               connection_security_policy="mutual_tls") > before)
    assert s.metric("istio_tcp_received_bytes_total", reporter="destination") > 200
    wait_until("the caller's side rises", lambda: t["client"].metric("istio_tcp_sent_bytes_total", reporter="source") > 200)


def test_plain_callers_reach_a_permissive_tcp_service(t):
    out = t.host("outsider")
    got = out.tcp(f"{t['tcp'].ip4}:9001", first=18)
    assert got["got"] == "220 banner ready\r\n", got


def test_a_dead_application_closes_the_connection(t):
    s = t["tcp"].service("dead", 9010, protocol="tcp")
    import signal
    s.agent.popen.send_signal(signal.SIGHUP)
    wait_until("dead has a name", lambda: t["client"].resolve("dead"))
    got = t["client"].tcp("dead:9010", send="x", shut=True)
    assert got["bytes"] == 0 and got["how"] != "open" and "timed out" not in got["how"], got


def test_a_tcp_route_by_virtual_service(t):
    t.apply("""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: echo
spec:
  hosts:
  - echo
  tcp:
  - match:
    - port: 9002
    route:
    - destination:
        host: banner
        port:
          number: 9001
""")
    got = t["client"].tcp("echo:9002", first=18)
    assert got["got"] == "220 banner ready\r\n", got
    t.delete("virtualservice", "echo")
    assert t["client"].tcp("echo:9002", send="back", until="back")["got"] == "back"
