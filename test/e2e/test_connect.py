"""CONNECT (RFC 9110 9.3.6) through a gateway: where a rule names the method it goes to a forward proxy, over either version."""

import socket
import subprocess
import sys
import threading

import pytest
from mesh import HERE, PATIENCE, wait_until
from test_http2 import ENTRY
from test_standalone import Edge, free_port, front

sys.path.insert(0, str(HERE))

from peers import Answer, H2Caller, Origin, Reader, end_listening, pattern  # noqa: E402

RULES = """\
  - match: [{method: {exact: CONNECT}, authority: {prefix: refused.}}]
    directResponse: {status: 403, body: {string: not there}}
  - match: [{method: {exact: CONNECT}, authority: {prefix: over-http2.}}]
    rewrite: {authority: "127.0.0.1:ORIGIN"}
    route: [{destination: {host: again.test}}]
  - match: [{method: {exact: CONNECT}, withoutHeaders: {x-none: {}}}]
    headers: {request: {set: {x-by: door}}}
    route: [{destination: {host: proxy.test}}]
  - match: [{uri: {prefix: /}}]
    directResponse: {status: 418}
"""


class ForwardProxy:
    """Relays to ports of 127.0.0.1; what it is asked stays in .asked. A name that begins with "busy" is answered 503."""

    def __init__(self):
        self.socket, self.asked = socket.create_server(("127.0.0.1", 0), backlog=64), []
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        reader = Reader(s)
        line = reader.line()
        head = [line, *iter(reader.line, "")]
        self.asked.append(head)
        if line.startswith("CONNECT busy"):
            s.sendall(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy")
            return s.close()
        to = socket.create_connection(("127.0.0.1", int(line.split()[1].rsplit(":")[-1])), PATIENCE)
        # Lengths mean nothing in this answer.
        s.sendall(b"HTTP/1.1 200 Connection established\r\ncontent-length: 3\r\nx-proxy: 1\r\n\r\n")
        to.sendall(reader.kept)
        back = threading.Thread(target=self.relay, args=(to, s), daemon=True)
        back.start()
        self.relay(s, to)
        back.join(PATIENCE)
        s.close()
        to.close()

    @staticmethod
    def relay(a, b):
        try:
            while part := a.recv(1 << 16):
                b.sendall(part)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    where = tmp_path_factory.mktemp("connect")
    e = Edge(where, f"access_log = {where / 'access.log'}\n")
    e.access_log, e.origin, e.proxy = where / "access.log", Origin(), ForwardProxy()
    e.to = ("127.0.0.1", free_port())
    e.write("services.d/door.ini", "[gateway door]\nlabel.istio = ingressgateway\n")
    entries = (("proxy", "HTTP", e.proxy.port), ("again", "HTTP2", e.to[1]))
    e.write("all.yaml", "".join(ENTRY.format(name=n, protocol=p, port=port) for n, p, port in entries) +
            front(RULES.replace("ORIGIN", str(e.origin.port)), ("http", "HTTP", e.to[1])))
    yield e.start()
    e.stop()
    e.origin.close()
    end_listening(e.proxy.socket)


def asked(door, authority):
    """The head that the forward proxy got for it."""
    return next(h for h in door.proxy.asked if h[0] == f"CONNECT {authority} HTTP/1.1")


def connect(door, authority, more="", version="1.1"):
    sock = socket.create_connection(door.to, PATIENCE)
    sock.sendall(f"CONNECT {authority} HTTP/{version}\r\nHost: {authority}\r\n{more}\r\n".encode())
    reader = Reader(sock)
    return sock, reader, [reader.line(), *iter(reader.line, "")]


class H2Connect(H2Caller):
    def connect(self, authority):
        with self.lock:
            stream = self.c.get_next_available_stream_id()
            self.answers[stream] = Answer()
            self.c.config.validate_outbound_headers = False  # it would have a path
            self.c.send_headers(stream, [(":method", "CONNECT"), (":authority", authority)])
            self.push()
        while not self.answers[stream].status and stream not in self.over:
            self.turn()
        return stream


@pytest.mark.parametrize("way", ["straight", "over-http2"])
def test_curl_goes_through_the_tunnel(door, tmp_path, way):
    host = {"straight": f"127.0.0.1:{door.origin.port}", "over-http2": f"over-http2.test:{door.origin.port}"}[way]
    (tmp_path / "large").write_bytes(pattern(1500013))
    curl = ["curl", "-sS", "--max-time", str(PATIENCE), "--proxytunnel", "-x", f"http://{door.to[0]}:{door.to[1]}"]
    got = subprocess.run([*curl, f"http://{host}/bytes/1500013"], capture_output=True, timeout=2 * PATIENCE)
    assert got.stdout == pattern(1500013), got.stderr
    upload = ["--data-binary", f"@{tmp_path / 'large'}"]
    got = subprocess.run([*curl, *upload, f"http://{host}/echo"], capture_output=True, timeout=2 * PATIENCE)
    assert got.stdout == pattern(1500013), got.stderr


@pytest.mark.parametrize("way", ["straight", "over-http2"])
@pytest.mark.parametrize("down", ["h1", "h2"])
def test_each_way_ends_by_itself(door, down, way):
    """The origin closes when it has answered what asks for that; before it did, the client had ended its side."""
    authority = {"straight": f"127.0.0.1:{door.origin.port}", "over-http2": f"over-http2.test:{door.origin.port}"}[way]
    text = b"GET /bytes/70000 HTTP/1.1\r\nHost: inside\r\nConnection: close\r\n\r\n"
    if down == "h1":
        sock, reader, head = connect(door, authority)
        assert head[0] == "HTTP/1.1 200 OK" and "x-proxy: 1" in head
        assert not {h.split(":")[0] for h in head[1:]} & {"content-length", "transfer-encoding", "connection", "upgrade"}
        sock.sendall(text)
        sock.shutdown(socket.SHUT_WR)
        got = reader.to_the_end()
        sock.close()
    else:
        c = H2Connect(door.to)
        stream = c.connect(authority)
        assert c.answers[stream].status == 200 and "content-length" not in c.answers[stream].headers
        c.send(stream, text)
        got = c.wait(stream).body
        assert c.wait(c.open("GET", "/", "x")).status == 418  # beside it
        c.close()
    assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(pattern(70000))
    wait_until("its access line", lambda: '"CONNECT / HTTP/' in door.access_log.read_text())


def test_the_rules_hold_for_it(door):
    sock, _, head = connect(door, f"plain.test:{door.origin.port}", "Proxy-Connection: keep-alive\r\nX-Mine: 1\r\n")
    assert head[0] == "HTTP/1.1 200 OK"
    sock.close()
    names = {h.split(":")[0].lower() for h in asked(door, f"plain.test:{door.origin.port}")[1:]}
    assert {"x-by", "x-mine", "host", "x-request-id"} <= names
    assert not {"proxy-connection", "connection", "content-length"} & names
    sock, reader, head = connect(door, "refused.test:443", version="1.0")
    assert head[0] == "HTTP/1.1 403 Forbidden" and reader.to_the_end() == b"not there"
    sock.close()


@pytest.mark.parametrize("down", ["h1", "h2"])
def test_a_proxy_that_says_no_is_told_and_nothing_more_is_taken(door, down):
    if down == "h2":
        c = H2Connect(door.to)
        answer = c.wait(c.connect("busy.test:443"))
        assert (answer.status, answer.body) == (503, b"busy")
        c.close()
        return
    sock = socket.create_connection(door.to, PATIENCE)
    sock.sendall(b"CONNECT busy.test:443 HTTP/1.1\r\nHost: busy.test:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    got = Reader(sock).to_the_end()
    assert got.startswith(b"HTTP/1.1 503 ") and got.endswith(b"busy") and got.count(b"HTTP/1.1") == 1
    sock.close()
    assert "/smuggled" not in door.access_log.read_text()


@pytest.mark.parametrize("request_line, status", [
    ("CONNECT far.test HTTP/1.1", 400), ("CONNECT / HTTP/1.1", 400), ("CONNECT http://far.test:80/ HTTP/1.1", 400),
    ("CONNECT far.test:443 HTTP/1.1\r\nContent-Length: 3", 400),
    ("CONNECT far.test:443 HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
    ("CONNECT far.test:443 HTTP/1.1\r\nX-None: 1", 404)])
def test_what_no_rule_takes_is_refused(door, request_line, status):
    sock = socket.create_connection(door.to, PATIENCE)
    sock.sendall(f"{request_line}\r\nHost: far.test:443\r\n\r\n".encode())
    assert Reader(sock).line().startswith(f"HTTP/1.1 {status} ")
    sock.close()
    assert not any("far.test" in h[0] for h in door.proxy.asked)
