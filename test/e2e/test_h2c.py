"""HTTP/2 by Upgrade (RFC 7540 3.2): where a port is declared to be HTTP/2 a client in the clear may begin with HTTP/1.1."""

import base64
import json
import socket
import subprocess
import sys

import pytest
from mesh import HERE, PATIENCE, wait_until
from test_http2 import ENTRY
from test_standalone import Edge, free_port, front

sys.path.insert(0, str(HERE))

from peers import H2cCaller, Origin, Reader, pattern  # noqa: E402

RULES = """\
  - match: [{uri: {prefix: /no}}]
    directResponse: {status: 403, body: {string: not you}}
  - route: [{destination: {host: app.test}}]
"""
SETTINGS = "AAMAAABkAAQAAP__"
ASKS = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: {SETTINGS}\r\n"


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    where = tmp_path_factory.mktemp("h2c")
    e = Edge(where, f"access_log = {where / 'access.log'}\n")
    e.access_log, e.origin = where / "access.log", Origin()
    e.ports = {name: free_port() for name in ("http2", "http", "inbound")}
    e.write("services.d/door.ini", "[gateway door]\nlabel.istio = ingressgateway\n")
    e.write("services.d/in.ini", f"[service in]\nlisten = 127.0.0.1:{e.ports['inbound']}\nport = {e.origin.port}\n"
            "protocol = http2\n")
    e.write("all.yaml", ENTRY.format(name="app", protocol="HTTP", port=e.origin.port) +
            front(RULES, ("h2", "HTTP2", e.ports["http2"]), ("h1", "HTTP", e.ports["http"])))
    yield e.start()
    e.stop()
    e.origin.close()


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"


def settings(*pairs):
    """The value of HTTP2-Settings."""
    raw = b"".join(code.to_bytes(2, "big") + value.to_bytes(4, "big") for code, value in pairs)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def send(port, text):
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.sendall(text.encode())
    return sock


def all_of(sock):
    got = b""
    while more := sock.recv(65536):
        got += more
    return got


def test_curl_and_nghttp_change_over(door):
    for port in door.ports.values():
        url = f"http://127.0.0.1:{port}/bytes/70000"
        twice = ["-o", "/dev/null", url, "-o", "/dev/null", url]
        got = subprocess.run(["curl", "-sS", "--http2", "--max-time", str(PATIENCE), "-w", "%{http_version},%{num_connects}\n", *twice],
                             capture_output=True, text=True, timeout=2 * PATIENCE)
        assert got.stdout == ("2,1\n2,0\n" if port != door.ports["http"] else "1.1,1\n1.1,0\n"), got.stderr
    for method in ([], ["-H", ":method: HEAD"]):
        url = f"http://127.0.0.1:{door.ports['http2']}/bytes/70000"
        told = subprocess.run(["nghttp", "-nvu", *method, url], capture_output=True, text=True, timeout=2 * PATIENCE).stdout
        assert ":status: 200" in told and "stream_id=1>" in told
        assert "error" not in told.lower().replace("error_code=no_error", "")


def test_the_request_that_asked_is_stream_1_and_obeys_the_rules(door):
    for path, status in (("/x?a=b", 200), ("/no", 403)):
        c = H2cCaller(("127.0.0.1", door.ports["http2"]), f"GET {path} HTTP/1.1\r\nHost: App.test\r\nX-Mine: 1\r\n{ASKS}\r\n")
        answer = c.wait(1)
        assert c.switched == SWITCHED
        assert answer.status == status
        if status == 200:
            told = json.loads(answer.body)
            assert (told["method"], told["path"], told["authority"], told["version"]) == ("GET", path, "app.test", "1.1")
            names = dict(told["headers"])
            assert names["x-mine"] == "1" and not {"upgrade", "http2-settings", "connection"} & set(names)
        again = c.wait(c.open("GET", "/again", "app.test"))
        assert again.status == 200 and json.loads(again.body)["path"] == "/again"
        c.close()
    wait_until("its access line", lambda: '"GET /x?a=b HTTP/2" 200' in door.access_log.read_text())


def test_the_settings_that_came_with_it_hold(door):
    asks = ASKS.replace(SETTINGS, settings((4, 16)))  # 16 bytes of a stream at a time
    sock = send(door.ports["http2"], f"GET /bytes/100 HTTP/1.1\r\nHost: a\r\n{asks}\r\n")
    reader, bodies = Reader(sock), []

    def frame():
        head = reader.exactly(9)
        payload = reader.exactly(int.from_bytes(head[:3], "big"))
        if head[3] == 0:
            bodies.append(payload)
        return head

    assert reader.exactly(len(SWITCHED)) == SWITCHED
    while not bodies:
        frame()
    sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        while True:
            frame()
    assert b"".join(bodies) == pattern(100)[:16]
    sock.settimeout(PATIENCE)
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000" "000004080000000001" "00000054"))
    while not (head := frame())[3:5] == b"\x00\x01":  # the end of stream 1
        pass
    assert b"".join(bodies) == pattern(100)
    sock.close()


STAYS = {
    "a body": f"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{ASKS}\r\nok",
    "chunks": f"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{ASKS}\r\n2\r\nok\r\n0\r\n\r\n",
    "no settings": "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "settings twice": f"GET /up HTTP/1.1\r\nHost: a\r\n{ASKS}HTTP2-Settings: {SETTINGS}\r\n\r\n",
    "settings not named": f"GET /up HTTP/1.1\r\nHost: a\r\n{ASKS.replace(', HTTP2-Settings', '', 1)}\r\n",
    "half a setting": f"GET /up HTTP/1.1\r\nHost: a\r\n{ASKS.replace(SETTINGS, 'AAMA')}\r\n",
    "no base64": f"GET /up HTTP/1.1\r\nHost: a\r\n{ASKS.replace(SETTINGS, 'AAMA+ABk')}\r\n",
    "padding": f"GET /up HTTP/1.1\r\nHost: a\r\n{ASKS.replace(SETTINGS, 'AAMAAABkAAQAAP8=')}\r\n",
    "several protocols": f"GET /up HTTP/1.1\r\nHost: a\r\n{ASKS.replace('h2c', 'h2c, websocket')}\r\n",
    "over TLS": f"GET /up HTTP/1.1\r\nHost: a\r\n{ASKS.replace('h2c', 'h2')}\r\n",
    "HTTP/1.0": f"GET /up HTTP/1.0\r\nHost: a\r\n{ASKS}\r\n",
}


@pytest.mark.parametrize("why", STAYS)
def test_anything_else_stays_http_1_1(door, why):
    sock = send(door.ports["http2"], STAYS[why])
    assert Reader(sock).line() == "HTTP/1.1 200 OK"
    sock.close()


def test_settings_that_are_wrong_end_the_connection(door):
    asks = ASKS.replace(SETTINGS, settings((4, 1 << 31)))
    sock = send(door.ports["http2"], f"GET /wrong HTTP/1.1\r\nHost: a\r\n{asks}\r\n")
    got = all_of(sock)
    assert got.startswith(SWITCHED) and bytes.fromhex("070000000000" "00000000" "00000003") in got  # GOAWAY, FLOW_CONTROL_ERROR
    assert not any(q.path == "/wrong" for q in door.origin.seen)


def test_what_follows_must_be_the_preface(door):
    sock = send(door.ports["http2"], f"GET /first HTTP/1.1\r\nHost: a\r\n{ASKS}\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    got = all_of(sock)
    assert got.startswith(SWITCHED) and b"HTTP/1.1 200" not in got
    assert not any(q.path == "/smuggled" for q in door.origin.seen)
