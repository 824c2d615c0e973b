"""Endpoints that break HTTP, of both versions: a 502 or 503 with its flag, or a clean answer; then another connection."""

import socket
import sys
import threading

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PushPromiseFrame, RstStreamFrame
from mesh import HERE, wait_until
from test_standalone import Edge, free_port

sys.path.insert(0, str(HERE))

from h2.errors import ErrorCodes  # noqa: E402
from h2.events import RequestReceived, SettingsAcknowledged  # noqa: E402
from h2.exceptions import ProtocolError  # noqa: E402
from h2.settings import SettingCodes  # noqa: E402
from peers import H2, Closed, H2Caller, Reader, ask  # noqa: E402
from test_http2 import ENTRY  # noqa: E402

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Scripted:
    """Accepts, and gives every connection with its number to `serve`, each in a thread."""

    def __init__(self, serve):
        self.serve, self.count = serve, 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self.one, args=(s, self.count), daemon=True).start()

    def one(self, s, number):
        try:
            self.serve(s, number)
        except (OSError, Closed, ProtocolError, ValueError):
            pass  # the proxy has left, or is at its end
        s.close()


# ---- HTTP/1.1 ----

HEAD = b"HTTP/1.1 200 OK\r\n"
BAD_1 = {
    # what it sends, None: then it closes;           status and flag that come of it
    "two-lengths": ([HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!"], 502, "UPE"),
    "length-list": ([HEAD + b"Content-Length: 2, 3\r\n\r\nok!"], 502, "UPE"),
    "length-and-chunked": ([HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"], 502, "UPE"),
    "length-of-letters": ([HEAD + b"Content-Length: 2x\r\n\r\nok"], 502, "UPE"),
    "length-below-zero": ([HEAD + b"Content-Length: -2\r\n\r\nok"], 502, "UPE"),
    "unknown-encoding": ([HEAD + b"Transfer-Encoding: gzip\r\n\r\nok", None], 502, "UPE"),
    "no-http": ([b"220 mail.test ready\r\n\r\n"], 502, "UPE"),
    "odd-version": ([b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], 502, "UPE"),
    "odd-status": ([b"HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nok"], 502, "UPE"),
    "odd-name": ([HEAD + b"Bad Name: x\r\nContent-Length: 2\r\n\r\nok"], 502, "UPE"),
    "zero-byte": ([HEAD + b"x-a: a\0b\r\nContent-Length: 2\r\n\r\nok"], 502, "UPE"),
    "bare-lf": ([b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"], 502, "UPE"),
    "large-head": ([HEAD + b"x-a: " + b"a" * 70000 + b"\r\nContent-Length: 2\r\n\r\nok"], 502, "UPE"),
    "unasked-101": ([b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"], 502, "UPE"),
    "bare-101": ([b"HTTP/1.1 101 Go\r\n\r\n"], 502, "UPE"),
    "other-101": ([b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"], 502, "UPE"),
    "endless-1xx": ([b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"] * 30, 502, "UPE"),
    "nothing": ([None], 503, "UC"),
    "half-a-head": ([HEAD + b"x-a: ", None], 503, "UC"),
    "cut-body": ([HEAD + b"Content-Length: 9\r\n\r\nok", None], 200, "UC"),
    "cut-chunks": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", None], 200, "UC"),
    "bad-chunk": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"], 200, "UPE"),
    # Not wrong towards the caller, but what comes behind is nobody's.
    "body-of-204": ([b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello"], 204, "-"),
    "length-of-204": ([b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"], 204, "-"),
    "chunks-of-204": ([b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"], 204, "-"),
    "length-of-103": ([b"HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\n" + GOOD], 200, "-"),
    "body-of-304": ([b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nhello"], 304, "-"),
    "two-answers": ([GOOD + GOOD], 200, "-"),
    "to-the-end": ([b"HTTP/1.1 200 OK\r\n\r\nok", None], 200, "-"),
    "says-close": ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"], 200, "-"),
    "version-1.0": ([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], 200, "-"),
}


def serve_1(s, number):
    r = Reader(s)
    while True:
        path = r.line().split(" ")[1]
        r.fields()
        script = BAD_1.get(path.split("/")[1], ([GOOD],))[0]
        for part in script:
            if part is None:
                return
            s.sendall(part)


# ---- HTTP/2 ----


class Bad2(H2):
    """Does to each request what the method of its path's name says."""

    def __init__(self, s, number):
        super().__init__(s, False)
        self.number, self.open, self.most = number, 0, 0
        self.greeted, self.held = False, []

    def serve(self):
        while True:
            for e in self.events():
                if isinstance(e, SettingsAcknowledged) and not self.greeted:
                    self.greeted = True
                    for stream in self.held:
                        self.one_at_a_time(stream)
                elif isinstance(e, RequestReceived):
                    path = dict(e.headers)[":path"].strip("/")
                    getattr(self, path.replace("-", "_").split("/")[0], self.good)(e.stream_id)

    def raw(self, *frames):
        with self.lock:
            self.push()
            self.sock.sendall(b"".join(f.serialize() for f in frames))

    def head(self, stream, *fields, end=False):
        f = HeadersFrame(stream, self.c.encoder.encode(list(fields)))
        f.flags.add("END_HEADERS")
        if end:
            f.flags.add("END_STREAM")
        return f

    def good(self, stream):
        with self.lock:
            self.c.send_headers(stream, [(":status", "200"), ("x-number", str(self.number))])
            self.c.send_data(stream, b"ok", end_stream=True)
            self.push()

    def reset(self, stream, code=ErrorCodes.INTERNAL_ERROR):
        self.raw(RstStreamFrame(stream, int(code)))

    def cancelled(self, stream):
        self.reset(stream, ErrorCodes.CANCEL)

    def calm(self, stream):
        self.reset(stream, ErrorCodes.ENHANCE_YOUR_CALM)

    def reset_late(self, stream):
        self.raw(self.head(stream, (":status", "200")), DataFrame(stream, b"some"), RstStreamFrame(stream, 2))

    def refused(self, stream):
        self.reset(stream, ErrorCodes.REFUSED_STREAM)

    def refused_once(self, stream):
        self.refused(stream) if REFUSED.setdefault("once", 0) == 0 else self.good(stream)
        REFUSED["once"] += 1

    def close_now(self, stream):
        self.sock.shutdown(socket.SHUT_RDWR)

    def goaway(self, stream):
        """This one is still answered."""
        self.raw(GoAwayFrame(0, stream, 0))
        threading.Timer(0.05, self.raw, (self.head(stream, (":status", "200"), ("x-number", str(self.number))),
                                         DataFrame(stream, b"ok", flags=["END_STREAM"]))).start()

    def goaway_before(self, stream):
        """This one was never looked at, on the first connection that hears it."""
        if REFUSED.setdefault("goaway", 0) == 0:
            REFUSED["goaway"] = self.number
            self.raw(GoAwayFrame(0, max(stream - 2, 0), 0))
        else:
            self.good(stream)

    def goaway_error(self, stream):
        self.raw(GoAwayFrame(0, stream, 2))
        self.sock.shutdown(socket.SHUT_WR)

    def no_status(self, stream):
        self.raw(self.head(stream, ("x-a", "b"), end=True))

    def upper_case(self, stream):
        self.raw(self.head(stream, (":status", "200"), ("X-A", "b"), end=True))

    def connection_field(self, stream):
        self.raw(self.head(stream, (":status", "200"), ("transfer-encoding", "chunked"), end=True))

    def data_first(self, stream):
        self.raw(DataFrame(stream, b"ok", flags=["END_STREAM"]))

    def status_101(self, stream):
        self.raw(self.head(stream, (":status", "101"), end=True))

    def endless_1xx(self, stream):
        self.raw(*(self.head(stream, (":status", "103"), ("link", "</a>")) for _ in range(30)))

    def two_lengths(self, stream):
        self.raw(self.head(stream, (":status", "200"), ("content-length", "2"), ("content-length", "3")),
                 DataFrame(stream, b"ok", flags=["END_STREAM"]))

    def length_too_long(self, stream):
        self.raw(self.head(stream, (":status", "200"), ("content-length", "9")), DataFrame(stream, b"ok", flags=["END_STREAM"]))

    def length_too_short(self, stream):
        self.raw(self.head(stream, (":status", "200"), ("content-length", "1")), DataFrame(stream, b"ok", flags=["END_STREAM"]))

    def body_of_204(self, stream):
        self.raw(self.head(stream, (":status", "204")), DataFrame(stream, b"ok", flags=["END_STREAM"]))

    def push_promise(self, stream):
        promised = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "x")]
        f = PushPromiseFrame(stream, 2, self.c.encoder.encode(promised))
        f.flags.add("END_HEADERS")
        self.raw(f)

    def garbage(self, stream):
        self.sock.sendall(b"\xff" * 4000)

    def one_at_a_time(self, stream):
        """From now on at most one stream. Not before the first SETTINGS are acknowledged: python3-h2 would take that for these."""
        if not self.greeted:
            self.held.append(stream)
            return
        with self.lock:  # other threads answer meanwhile
            self.open += 1
            MOST.append((self.number, self.open))
            self.c.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
            self.push()

        def done():
            with self.lock:
                self.open -= 1
                self.good(stream)
        threading.Timer(0.05, done).start()


REFUSED, MOST = {}, []

BAD_2 = {
    "reset": (503, "UR"), "cancelled": (503, "UR"), "calm": (503, "UR"), "reset-late": (200, "UR"), "refused": (503, "UR,URX"),
    "refused-once": (200, "-"), "close-now": (503, "UC"), "goaway": (200, "-"), "goaway-before": (200, "-"),
    "goaway-error": (503, "UC"), "no-status": (502, "UPE"), "upper-case": (502, "UPE"), "connection-field": (502, "UPE"),
    "data-first": (502, "UPE"), "status-101": (502, "UPE"), "endless-1xx": (502, "UPE"), "two-lengths": (502, "UPE"),
    "length-too-long": (200, "UPE"), "length-too-short": (200, "UPE"), "body-of-204": (204, "-"), "push-promise": (502, "UPE"),
    "garbage": (502, "UPE"),
}
# The whole connection ends, not the stream alone.
ENDED_2 = {"close-now", "goaway", "goaway-before", "goaway-error", "push-promise", "garbage", "data-first"}


def serve_2(s, number):
    Bad2(s, number).serve()


def serve_no_streams(s, number):
    c = H2(s, False, {SettingCodes.MAX_CONCURRENT_STREAMS: 0})
    while True:
        c.events()


def serve_http1(s, number):
    """Answers a preface as an old server does."""
    s.recv(65536)
    s.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """h1.test, h2.test, none.test and old.test behind one listener each: door.to[name]."""
    d = tmp_path_factory.mktemp("bad")
    e = Edge(d, f"access_log = {d / 'access.log'}\nworkers = 1\n")  # one pool, so that a connection would be used again
    e.access_log = d / "access.log"
    scripts = {"h1": serve_1, "h2": serve_2, "none": serve_no_streams, "old": serve_http1}
    e.servers = {name: Scripted(script) for name, script in scripts.items()}
    e.to, text = {}, ""
    for name, server in e.servers.items():
        e.to[name] = ("127.0.0.1", free_port())
        e.write(f"services.d/{name}.ini", f"[listener {name}]\nbind = 127.0.0.1:{e.to[name][1]}\nservice = {name}.test\n")
        text += ENTRY.format(name=name, protocol="HTTP" if name == "h1" else "HTTP2", port=server.port)
    text += ("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: none}\nspec:\n  hosts: [none.test]\n"
             "  http: [{timeout: 1s, route: [{destination: {host: none.test}}]}]\n")
    e.write("all.yaml", text)
    yield e.start()
    e.stop()


def log_says(door, path):
    """Status and flags of the request with this path."""
    for line in door.access_log.read_text().splitlines():
        if f" {path} HTTP" in line:
            return line.split('" ')[1].split(" ")[:2]
    return None


def flags_of(door, path):
    return wait_until(f"the access line of {path}", lambda: log_says(door, path))


def number_of(answer):
    return int(answer.headers.get("x-number", 0))


def judge(door, name, down, status, is_cut):
    """Ask for /WHAT/DOWN-UP. What is wrong with the answer, or None; the log is looked at later."""
    answer = ask(down, door.to[name[0]], "GET", f"/{name[1]}/{down}-{name[0]}", f"{name[0]}.test")
    if answer.status != status or (answer.reset is not None) != is_cut or (not is_cut and status == 200 and answer.body != b"ok"):
        return answer
    return None


@pytest.mark.parametrize("down", ["h1", "h2"])
def test_http1(door, down):
    wrong, server = [], door.servers["h1"]
    for what, (_, status, flag) in BAD_1.items():
        answer = judge(door, ("h1", what), down, status, status == 200 and flag != "-")
        if answer:
            wrong.append((what, answer))
        count = server.count
        good = [ask(down, door.to["h1"], "GET", "/good", "h1.test").body for _ in range(2)]
        if good != [b"ok", b"ok"] or server.count != count + 1:
            wrong.append((what, "its connection was used again, or the next one was not"))
    for what, (_, status, flag) in BAD_1.items():
        said = flags_of(door, f"/{what}/{down}-h1")
        if said != [str(status), flag]:
            wrong.append((what, said))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("what,status", [("unasked-101", 101), ("bare-101", 502), ("other-101", 502)])
def test_an_endpoint_may_change_to_what_was_asked_for_alone(door, what, status):
    with socket.create_connection(door.to["h1"], 10) as s:
        s.sendall(f"GET /{what} HTTP/1.1\r\nHost: h1.test\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n".encode())
        assert s.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize("down", ["h1", "h2"])
def test_http2(door, down):
    wrong = []
    for what, (status, flag) in BAD_2.items():
        REFUSED.clear()
        before = number_of(ask(down, door.to["h2"], "GET", "/good", "h2.test"))
        answer = judge(door, ("h2", what), down, status, status < 300 and flag != "-")
        if answer:
            wrong.append((what, answer))
        after = number_of(ask(down, door.to["h2"], "GET", "/good", "h2.test"))
        if (after != before) != (what in ENDED_2):
            wrong.append((what, f"connection {before}, then {after}"))
    for what, (status, flag) in BAD_2.items():
        said = flags_of(door, f"/{what}/{down}-h2")
        if said != [str(status), flag] and not (said and said[0] == "204"):  # who has its head has all of it, whatever comes then
            wrong.append((what, said))
    assert not wrong, "\n".join(map(str, wrong))


def test_fewer_streams_than_before(door):
    told = number_of(ask("h2", door.to["h2"], "GET", "/one-at-a-time", "h2.test"))
    MOST.clear()
    c = H2Caller(door.to["h2"])
    streams = [c.open("GET", "/one-at-a-time", "h2.test") for _ in range(6)]
    assert [c.wait(s).status for s in streams] == [200] * 6
    assert len(MOST) == 6 and max(n for number, n in MOST if number == told) == 1
    c.close()


@pytest.mark.parametrize("down", ["h1", "h2"])
def test_an_endpoint_that_takes_no_stream_is_not_dialled_for_ever(door, down):
    before = door.servers["none"].count
    answer = ask(down, door.to["none"], "GET", "/x", "none.test")
    assert answer.status in (503, 504)
    assert door.servers["none"].count <= before + 4


@pytest.mark.parametrize("down", ["h1", "h2"])
def test_an_endpoint_that_speaks_http1_only(door, down):
    path = f"/old/{down}"
    answer = ask(down, door.to["old"], "GET", path, "old.test")
    assert answer.status in (502, 503), answer
    assert flags_of(door, path)[1] in ("UPE", "UC", "UR,URX")
