"""gRPC-Web: calls as browsers make them, at a port declared to be GRPC-WEB, to a server of grpc-js that knows gRPC alone."""

import base64
import os
import subprocess
import sys
import threading
from urllib.parse import unquote

import pytest
from mesh import HERE, PATIENCE, wait_until
from npm import ENV, NODE, npm_modules  # noqa: F401
from test_http2 import ENTRY
from test_standalone import Edge, free_port, front

sys.path.insert(0, str(HERE))

from peers import CALLERS, Origin, ask  # noqa: E402

pytestmark = pytest.mark.usefixtures("npm_modules")
RULES = """\
  - match: [{authority: {prefix: page}}]
    route: [{destination: {host: page.test}}]
  - match: [{headers: {x-late: {}}}]
    timeout: 0.3s
    route: [{destination: {host: app.test}}]
  - match: [{authority: {prefix: none}}]
    route: [{destination: {host: none.test}}]
  - route: [{destination: {host: app.test}}]
    retries: {attempts: 2, retryOn: unavailable}
    corsPolicy: {allowOrigins: [{exact: "https://a.test"}], exposeHeaders: [grpc-status, grpc-message]}
"""
BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text"


@pytest.fixture(scope="module")
def door(tmp_path_factory, npm_modules):  # noqa: F811
    where = tmp_path_factory.mktemp("web")
    e = Edge(where, f"access_log = {where / 'access.log'}\n")
    e.access_log, e.other = where / "access.log", Origin()
    e.ports = {name: free_port() for name in ("app", "web", "plain", "inbound", "bound")}
    e.write("services.d/door.ini", "[gateway door]\nlabel.istio = ingressgateway\n"
            f"[listener bound]\nbind = 127.0.0.1:{e.ports['bound']}\nservice = web.test\n")
    e.write("services.d/in.ini", f"[service in]\nlisten = 127.0.0.1:{e.ports['inbound']}\nport = {e.ports['app']}\n"
            "protocol = grpc-web\n")
    entries = (("app", "GRPC", e.ports["app"]), ("web", "GRPC-WEB", e.ports["app"]), ("page", "HTTP", e.other.port))
    e.write("all.yaml", "".join(ENTRY.format(name=n, protocol=p, port=port) for n, p, port in entries) +
            front(RULES, ("web", "GRPC-WEB", e.ports["web"]), ("plain", "HTTP", e.ports["plain"])))
    log = open(where / "node.log", "w")
    app = subprocess.Popen(["node", NODE / "grpc_peer.js", "serve", str(e.ports["app"])], env={**os.environ, **ENV}, stdout=log,
                           stderr=log)
    e.start()
    wait_until("the server answers", lambda: app.poll() is None and frames(call(e, "Unary").body)[0] == [b"m"])
    yield e
    e.stop()
    app.terminate()
    app.wait(PATIENCE)
    e.other.close()


def frame(message, flag=0):
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def frames(body):
    """Messages and the last frame's fields."""
    messages, fields = [], {}
    while body:
        n = int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + n, body
        if body[0] == 0x80:
            assert len(body) == 5 + n  # it is the last
            fields = dict(line.split(":", 1) for line in body[5:].decode().split("\r\n") if line)
        else:
            messages.append(body[5:5 + n])
        body = body[5 + n:]
    return messages, fields


def plain_of(text):
    """Base64 whose runs may each have a padding."""
    assert len(text) % 4 == 0
    return b"".join(base64.b64decode(text[i:i + 4], validate=True) for i in range(0, len(text), 4))


def call(door, method, message=b"m", version="h1", port="web", headers=(), kind=BINARY, accept=None, body=None, host="app"):
    return ask(version, ("127.0.0.1", door.ports[port]), "POST", f"/t.T/{method}", host,
               headers=[("content-type", kind), ("accept", accept or kind), ("x-grpc-web", "1"), *headers],
               body=frame(message) if body is None else body)


@pytest.mark.parametrize("version", ["h1", "h2"])
@pytest.mark.parametrize("port", ["web", "inbound", "bound"])
def test_one_message_each_way(door, version, port):
    answer = call(door, "Unary", b"hello", version, port)
    assert (answer.status, answer.headers["content-type"]) == (200, BINARY) and "content-length" not in answer.headers
    messages, fields = frames(answer.body)
    assert messages == [b"hello"] and fields["grpc-status"] == "0" and "x-deadline" in fields and not answer.trailers


@pytest.mark.parametrize("version", ["h1", "h2"])
def test_base64_each_way(door, version):
    for length in (0, 1, 2, 3, 1000, 200001):
        message = bytes(i % 251 for i in range(length))
        answer = call(door, "Unary", version=version, kind=TEXT, body=base64.b64encode(frame(message)))
        assert answer.headers["content-type"] == "application/grpc-web-text+proto"
        messages, fields = frames(plain_of(answer.body))
        assert messages == [message] and fields["grpc-status"] == "0"
    # Whoever sends base64 and does not ask for it gets bytes, and the other way round.
    answer = call(door, "Unary", version=version, kind=TEXT, accept=BINARY, body=base64.b64encode(frame(b"x")))
    assert answer.headers["content-type"] == BINARY and frames(answer.body)[0] == [b"x"]
    answer = call(door, "Unary", b"x", version=version, accept=TEXT)
    assert frames(plain_of(answer.body))[0] == [b"x"]


def test_runs_of_base64_with_a_padding_each_in_pieces(door):
    runs = b"".join(base64.b64encode(frame(b"m" * n)) for n in (1, 2, 3, 4))
    answer = call(door, "Up", kind=TEXT, body=runs)
    assert frames(plain_of(answer.body))[0] == [b"4 messages, 10 bytes"]
    c = CALLERS["h2"](("127.0.0.1", door.ports["web"]))
    stream = c.open("POST", "/t.T/Up", "app", [("content-type", TEXT), ("accept", TEXT)], end=False)
    for i in range(0, len(runs), 3):
        c.send(stream, runs[i:i + 3], end=False)
    c.send(stream, b"")
    assert frames(plain_of(c.wait(stream).body))[0] == [b"4 messages, 10 bytes"]
    c.close()


@pytest.mark.parametrize("kind", [BINARY, TEXT])
def test_messages_of_a_stream_arrive_as_they_are_sent(door, kind):
    """Each answer of Both is waited for before the next message goes out."""
    code = (lambda b: b) if kind == BINARY else base64.b64encode
    c = CALLERS["h2"](("127.0.0.1", door.ports["web"]))
    stream = c.open("POST", "/t.T/Both", "app", [("content-type", kind), ("accept", kind)], end=False)
    for i in range(5):
        c.send(stream, code(frame(b"message %d" % i)), end=False)
        while len(frames_so_far(c.answers[stream].body, kind)) <= i:
            c.turn()
    c.send(stream, b"")
    body = c.wait(stream).body
    messages, fields = frames(body if kind == BINARY else plain_of(body))
    assert messages == [b"message %d" % i for i in range(5)] and fields["grpc-status"] == "0"
    c.close()


def frames_so_far(body, kind):
    return frames(body if kind == BINARY else plain_of(body))[0] if body else []


def test_large_messages_of_a_server(door):
    answer = call(door, "Down", headers=[("x-count", "20"), ("x-size", "100000")], kind=TEXT, body=base64.b64encode(frame(b"m")))
    messages, fields = frames(plain_of(answer.body))
    assert messages == [bytes([97 + i]) * 100000 for i in range(20)] and fields["grpc-status"] == "0"


@pytest.mark.parametrize("version", ["h1", "h2"])
def test_statuses(door, version):
    answer = call(door, "Unary", version=version, headers=[("x-code", "5")])
    told = {**answer.headers, **frames(answer.body)[1]}
    assert answer.status == 200 and told["grpc-status"] == "5" and unquote(told["grpc-message"]) == "as you wish: ü 100%"
    answer = call(door, "Unary", version=version, headers=[("x-key", f"twice-{version}"), ("x-fail", "2")])  # two retries
    assert frames(answer.body)[1]["grpc-status"] == "0" and frames(answer.body)[1]["x-attempt"] == "3"
    answer = call(door, "Missing", version=version)
    assert answer.status == 200 and answer.headers["grpc-status"] == "12"
    for host, more in (("none", []), ("app", [("x-late", "1"), ("x-wait", "100000")])):  # answers of our own
        answer = call(door, "Unary", version=version, host=host, headers=more)
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, BINARY, b"")
        assert answer.headers["grpc-status"] == "14" or (more and answer.headers["grpc-status"] == "4")  # it knew the deadline
    wait_until("its access line", lambda: '"POST /t.T/Missing HTTP/' in door.access_log.read_text())


@pytest.mark.parametrize("body", [b"AAAAA", b"AAA", b"AA*A", b"A===", b"AAAAAA=A", b"AA AA==="])
@pytest.mark.parametrize("version", ["h1", "h2"])
def test_bad_base64_is_refused(door, version, body):
    answer = call(door, "Unary", version=version, kind=TEXT, body=body)
    assert (answer.status, answer.body) == (400, b"Bad gRPC-web request, invalid base64 data.")


def test_cors_goes_with_it(door):
    asks = [("origin", "https://a.test"), ("access-control-request-method", "POST"),
            ("access-control-request-headers", "x-grpc-web")]
    answer = ask("h1", ("127.0.0.1", door.ports["web"]), "OPTIONS", "/t.T/Unary", "app", headers=asks)
    assert answer.status == 200 and answer.headers["access-control-allow-origin"] == "https://a.test"
    answer = call(door, "Unary", headers=[("origin", "https://a.test")])
    assert answer.headers["access-control-expose-headers"] == "grpc-status,grpc-message"


def test_elsewhere_and_for_others_bytes_pass_untouched(door):
    body = base64.b64encode(frame(b"x"))
    told = call(door, "Unary", port="plain", host="page", kind=TEXT, body=body).json()  # a port of HTTP
    assert dict(told["headers"])["content-type"] == TEXT and told["length"] == len(body)
    told = call(door, "Unary", port="web", host="page", kind="application/json", body=b"{}").json()  # no gRPC-Web
    assert dict(told["headers"])["content-type"] == "application/json" and "te" not in dict(told["headers"])
    answer = call(door, "Unary", port="web", host="page", kind=BINARY)  # the endpoint speaks no gRPC: its answer is left as it is
    assert dict(answer.json()["headers"])["content-type"] == "application/grpc+proto"
    for version in ("h1", "h2"):
        answer = ask(version, ("127.0.0.1", door.ports["web"]), "GET", "/bytes/100000", "page")
        assert answer.status == 200 and len(answer.body) == 100000


def test_many_at_once_and_clients_that_leave(door):
    results = []

    def work(n):
        c = CALLERS["h2"](("127.0.0.1", door.ports["web"]))
        left = c.open("POST", "/t.T/Both", "app", [("content-type", BINARY)], end=False)
        c.send(left, frame(b"x"), end=False)
        for i in range(10):
            message = b"%d-%d" % (n, i)
            stream = c.open("POST", "/t.T/Unary", "app", [("content-type", TEXT), ("accept", TEXT)], end=False)
            c.send(stream, base64.b64encode(frame(message)))
            results.append(frames(plain_of(c.wait(stream).body))[0] == [message])
        c.close()  # in the middle of Both

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(2 * PATIENCE)
    assert results == [True] * 80
    assert call(door, "Unary").status == 200
