"""What is said before the bytes: the PROXY protocol, from a balancer and to an endpoint, and CONNECT to a forward proxy."""

import socket
import socketserver
import struct
import threading

import pytest
from mesh import wait_until
from test_standalone import Edge, free_port

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
DOCUMENTS = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  selector: {{edge: here}}
  servers:
  - {{port: {{number: {http}, name: http, protocol: HTTP}}, bind: 127.0.0.1, hosts: ['*']}}
  - {{port: {{number: {tcp}, name: tcp, protocol: TCP}}, bind: 127.0.0.1, hosts: ['*']}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec:
  hosts: ['*']
  gateways: [gw]
  http: [{{route: [{{destination: {{host: target.test}}}}]}}]
  tcp: [{{match: [{{port: {tcp}}}], route: [{{destination: {{host: target.test}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: target}}
spec:
  hosts: [target.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {target}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: target}}
spec:
  host: target.test
  trafficPolicy: {policy}
"""


class Target(socketserver.ThreadingTCPServer):
    """Answers every head with what it got before and in it; as a forward proxy, CONNECT with `answer`, and then all bytes twice."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        self.heard, self.connections, self.answer = [], 0, b"HTTP/1.1 200 fine\r\nvia: test\r\n\r\nearly "
        super().__init__(("127.0.0.1", 0), None)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        self.connections += 1
        buffer = b""
        while b"\r\n\r\n" not in buffer.removeprefix(SIGNATURE):
            more = request.recv(4096)
            if not more:
                return
            buffer += more
        self.heard.append(buffer)
        if buffer.startswith(b"CONNECT"):
            request.sendall(self.answer)
            while more := request.recv(4096):
                request.sendall(more * 2)
            return
        while True:
            request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            buffer = b""
            while b"\r\n\r\n" not in buffer:
                more = request.recv(4096)
                if not more:
                    return
                buffer += more


@pytest.fixture
def world(tmp_path):
    started = []

    def start(policy, settings=""):
        t, e = Target(), Edge(tmp_path)
        e.http, e.tcp = free_port(), free_port()
        e.write("services.d/edge.ini", f"[gateway edge]\nlabel.edge = here\n{settings}")
        e.write("all.yaml", DOCUMENTS.format(http=e.http, tcp=e.tcp, target=t.port, policy=policy))
        started.append((t, e.start()))
        return t, e

    yield start
    for t, e in started:
        e.stop()
        t.shutdown()
        t.server_close()


def exchange(port, data, n=65536):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        mine = s.getsockname()
        s.sendall(data)
        s.settimeout(5)
        return mine, s.recv(n)


GET = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"


def test_an_endpoint_is_told_who_calls_in_text(world):
    t, e = world("{proxyProtocol: {}}")
    for _ in range(2):  # and each client has a connection of its own
        mine, answer = exchange(e.http, GET)
        assert answer.startswith(b"HTTP/1.1 200")
        assert t.heard[-1].startswith(f"PROXY TCP4 127.0.0.1 127.0.0.1 {mine[1]} {e.http}\r\nGET / ".encode())
    assert t.connections == 2
    mine, _ = exchange(e.tcp, b"hello\r\n\r\n")
    assert t.heard[-1] == f"PROXY TCP4 127.0.0.1 127.0.0.1 {mine[1]} {e.tcp}\r\nhello\r\n\r\n".encode()


def test_an_endpoint_is_told_who_calls_in_bytes(world):
    t, e = world("{proxyProtocol: {version: V2}}")
    mine, answer = exchange(e.http, GET)
    assert answer.startswith(b"HTTP/1.1 200")
    local = socket.inet_aton("127.0.0.1")
    assert t.heard[-1].startswith(SIGNATURE + struct.pack("!BBH4s4sHH", 0x21, 0x11, 12, local, local, mine[1], e.http) + b"GET / ")


def test_a_balancer_says_who_calls(world):
    t, e = world("{loadBalancer: {simple: RANDOM}}", "proxy_protocol = true\n")
    for header in (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n",
                   SIGNATURE + struct.pack("!BBH4s4sHH", 0x21, 0x11, 12, socket.inet_aton("192.0.2.7"), socket.inet_aton("1.2.3.4"), 4711, 80)):
        assert exchange(e.http, header + GET)[1].startswith(b"HTTP/1.1 200")
        assert b"x-forwarded-for: 192.0.2.7\r\n" in t.heard[-1] and b"PROXY" not in t.heard[-1]
    assert exchange(e.tcp, b"PROXY UNKNOWN\r\nbytes\r\n\r\n")[1].startswith(b"HTTP/1.1 200")
    assert t.heard[-1] == b"bytes\r\n\r\n"


def test_a_connection_without_the_header_is_refused(world):
    t, e = world("{loadBalancer: {simple: RANDOM}}", "proxy_protocol = true\n")
    with pytest.raises(ConnectionResetError):
        exchange(e.http, GET)
    assert t.connections == 0


def test_tcp_goes_through_a_forward_proxy(world):
    t, e = world("{tunnel: {targetHost: far.test, targetPort: 5432}}")
    with socket.create_connection(("127.0.0.1", e.tcp), 5) as s:
        s.sendall(b"abc")
        got = b""
        while len(got) < 12:
            got += s.recv(100)
        assert got == b"early abcabc"
    assert t.heard == [b"CONNECT far.test:5432 HTTP/1.1\r\nHost: far.test:5432\r\n\r\n"]


def test_a_forward_proxy_that_refuses_ends_the_connection(world):
    t, e = world("{tunnel: {protocol: CONNECT, targetHost: far.test, targetPort: 5432}}")
    t.answer = b"HTTP/1.1 403 no\r\ncontent-length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", e.tcp), 5) as s:
        s.sendall(b"abc")
        try:
            assert s.recv(100) == b""
        except ConnectionResetError:
            pass
    wait_until("it is told", lambda: "the forward proxy answered 403" in e.log.read_text() or t.heard)
