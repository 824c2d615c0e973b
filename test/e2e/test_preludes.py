"""What is said before the bytes: the PROXY protocol, from a balancer and to an endpoint, and CONNECT or POST to a forward proxy."""

import socket
import socketserver
import struct
import threading

import pytest
from mesh import PATIENCE, wait_until
from peers import end_listening
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


class PostProxy(socketserver.ThreadingTCPServer):
    """A forward proxy that is asked by POST: decodes the request's chunks for the target, and frames what that says."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        self.heads, self.status, self.length, self.done = [], b"200 fine", None, []
        self.target = socket.create_server(("127.0.0.1", 0))
        super().__init__(("127.0.0.1", 0), None)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()
        threading.Thread(target=self.serve_target, daemon=True).start()

    def serve_target(self):
        while True:
            try:
                c, _ = self.target.accept()
            except OSError:
                return
            threading.Thread(target=self.echo, args=(c,), daemon=True).start()

    def echo(self, c):
        """Speaks first; every byte comes back; says how many there were when the other side has ended."""
        with c:
            c.sendall(b"hello ")
            n = 0
            while more := c.recv(65536):
                n += len(more)
                c.sendall(more)
            c.sendall(b" %d bytes" % n)

    def finish_request(self, request, client_address):
        stream = request.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return
            head += line
        self.heads.append(head)
        if not self.status.startswith(b"2"):
            request.sendall(b"HTTP/1.1 " + self.status + b"\r\ncontent-length: 5\r\n\r\nsorry")
            return
        framing = b"transfer-encoding: chunked" if self.length is None else b"content-length: %d" % self.length
        request.sendall(b"HTTP/1.1 " + self.status + b"\r\n" + framing + b"\r\n\r\n")
        with socket.create_connection(self.target.getsockname()) as target:
            back = threading.Thread(target=self.carry_back, args=(target, request), daemon=True)
            back.start()
            try:
                while size := int(stream.readline().strip() or b"-1", 16):
                    if size < 0:
                        break
                    target.sendall(stream.read(size))
                    assert stream.readline() == b"\r\n"
                if size == 0:
                    assert stream.readline() == b"\r\n"
                    self.done.append("end")
                else:
                    self.done.append("cut")
            except OSError:
                self.done.append("cut")
            target.shutdown(socket.SHUT_WR)
            back.join()

    def carry_back(self, target, request):
        try:
            while more := target.recv(65536):
                request.sendall(more if self.length is not None else b"%x\r\n%b\r\n" % (len(more), more))
            if self.length is None:
                request.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # the caller is gone

    def server_close(self):
        super().server_close()
        end_listening(self.target)


@pytest.fixture
def world(tmp_path):
    started = []

    def start(policy, settings="", target=Target):
        t, e = target(), Edge(tmp_path, f"access_log = {tmp_path}/access\n")
        e.access = tmp_path / "access"
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
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        mine = s.getsockname()
        s.sendall(data)
        s.settimeout(PATIENCE)
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


def exactly(s, n):
    got = b""
    while len(got) < n and (more := s.recv(n - len(got))):
        got += more
    return got


def check_refused(port):
    """The reset may come as early as that."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
            s.sendall(b"abc")
            assert s.recv(100) == b""
    except (ConnectionResetError, BrokenPipeError):
        pass


def test_tcp_goes_through_a_forward_proxy(world):
    t, e = world("{tunnel: {targetHost: far.test, targetPort: 5432}}")
    with socket.create_connection(("127.0.0.1", e.tcp), PATIENCE) as s:
        s.sendall(b"abc")
        assert exactly(s, 12) == b"early abcabc"
    assert t.heard == [b"CONNECT far.test:5432 HTTP/1.1\r\nHost: far.test:5432\r\n\r\n"]


def test_a_forward_proxy_that_refuses_ends_the_connection(world):
    t, e = world("{tunnel: {protocol: CONNECT, targetHost: far.test, targetPort: 5432}}")
    t.answer = b"HTTP/1.1 403 no\r\ncontent-length: 0\r\n\r\n"
    check_refused(e.tcp)
    assert t.heard
    wait_until("it is told", lambda: "the forward proxy answered 403" in e.access.read_text())


POST = "{tunnel: {protocol: POST, targetHost: far.test, targetPort: 5432}}"


def read_all(s):
    got = bytearray()
    while more := s.recv(1 << 16):
        got += more
    return bytes(got)


def test_tcp_goes_through_a_forward_proxy_by_post(world):
    t, e = world(POST, target=PostProxy)
    with socket.create_connection(("127.0.0.1", e.tcp), PATIENCE) as s:
        assert exactly(s, 6) == b"hello "  # nothing has to be sent before
        s.sendall(b"abc")
        assert exactly(s, 3) == b"abc"
        s.sendall(b"def")
        s.shutdown(socket.SHUT_WR)  # the end of the request's body
        assert read_all(s) == b"def 6 bytes"
    assert t.done == ["end"]
    assert len(t.heads) == 1
    lines = t.heads[0].lower().split(b"\r\n")
    assert lines[0] == b"post / http/1.1" and set(lines[1:]) == {b"host: far.test:5432", b"transfer-encoding: chunked", b""}
    wait_until("nothing is left", lambda: all(f"\n{name} 0\n" in e.page("/metrics")[1] for name in ("weft_upstream_connections", "weft_tunnels")))


def test_much_goes_both_ways_by_post(world):
    t, e = world(POST, target=PostProxy)
    data = bytes(i * 7 % 251 for i in range(6_000_000))
    with socket.create_connection(("127.0.0.1", e.tcp), PATIENCE) as s:
        sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
        sender.start()
        got = read_all(s)
        sender.join()
    assert got == b"hello " + data + b" %d bytes" % len(data)


def test_a_cut_is_no_end_by_post(world):
    t, e = world(POST, target=PostProxy)
    s = socket.create_connection(("127.0.0.1", e.tcp), PATIENCE)
    assert exactly(s, 6) == b"hello "
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()  # with a reset
    wait_until("the proxy sees it", lambda: t.done)
    assert t.done == ["cut"]
    t.length = 1000  # more than will come
    with socket.create_connection(("127.0.0.1", e.tcp), PATIENCE) as s:
        assert exactly(s, 6) == b"hello "
        s.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            read_all(s)
    wait_until("nothing is left", lambda: "\nweft_upstream_connections 0\n" in e.page("/metrics")[1])


def test_a_forward_proxy_that_refuses_a_post_ends_the_connection(world):
    t, e = world(POST, target=PostProxy)
    t.status = b"407 no"
    check_refused(e.tcp)
    wait_until("it is told", lambda: "the forward proxy answered 407" in e.access.read_text())


def test_an_agent_that_stops_leaves_no_post_behind(world):
    t, e = world(POST, target=PostProxy)
    with socket.create_connection(("127.0.0.1", e.tcp), PATIENCE) as s:
        assert exactly(s, 6) == b"hello "
        assert e.stop() == 0
        wait_until("the proxy sees it", lambda: t.done)
