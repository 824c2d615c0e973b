"""HTTP/2 on either side of a real agent, in every pairing with HTTP/1.1: a gateway that is one process with files."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys

import pytest
from mesh import HERE, PATIENCE, wait_until
from test_standalone import Edge, authority, free_port, leaf

sys.path.insert(0, str(HERE))

from peers import CALLERS, H2Caller, Origin, ask, digest, pattern  # noqa: E402

ENTRY = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: {protocol}}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
---
"""
GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: door}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    hosts: ["*"]
---
"""
RULES = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  gateways: [door]
  http:
  - match: [{{uri: {{prefix: /redirect}}}}]
    redirect: {{uri: /there, redirectCode: 307}}
  - match: [{{uri: {{prefix: /direct}}}}]
    directResponse: {{status: 418, body: {{string: short}}}}
  - match: [{{uri: {{prefix: /fault}}}}]
    fault: {{abort: {{httpStatus: 555, percentage: {{value: 100}}}}}}
    route: [{{destination: {{host: {name}.test}}}}]
  - match: [{{uri: {{prefix: /delay}}}}]
    timeout: 0.2s
    route: [{{destination: {{host: {name}.test}}}}]
  - match: [{{uri: {{prefix: /fail}}}}]
    retries: {{attempts: 3, retryOn: 5xx, backoff: 1ms}}
    route: [{{destination: {{host: {name}.test}}}}]
  - match: [{{uri: {{prefix: /mirror}}}}]
    mirror: {{host: mirror.test}}
    route: [{{destination: {{host: {name}.test}}}}]
  - match: [{{uri: {{prefix: /edit}}}}]
    rewrite: {{uri: /edited, authority: other.test}}
    headers:
      request: {{set: {{x-how: "%PROTOCOL%"}}, remove: [x-gone]}}
      response: {{add: {{x-said: "%RESPONSE_CODE%"}}, remove: [x-app]}}
    route: [{{destination: {{host: {name}.test}}}}]
  - match: [{{uri: {{prefix: /dead}}}}]
    route: [{{destination: {{host: dead.test}}}}]
  - match: [{{withoutHeaders: {{x-nowhere: {{}}}}}}]
    route: [{{destination: {{host: {name}.test}}}}]
---
"""
LARGE = pattern(1500013)


class Door(Edge):
    """A gateway at .to, in front of one origin that is called h1.test and h2.test; mirror.test is another."""

    def __init__(self, where):
        super().__init__(where, f"access_log = {where / 'access.log'}\n")
        self.access_log = where / "access.log"
        self.origin, self.mirror = Origin(), Origin(name="mirror")
        self.to = ("127.0.0.1", free_port())
        self.write("services.d/door.ini", "[gateway door]\nlabel.istio = ingressgateway\n")
        entries = [("h1", "HTTP", self.origin.port), ("h2", "HTTP2", self.origin.port), ("mirror", "HTTP2", self.mirror.port),
                   ("dead", "HTTP2", free_port())]
        self.write("all.yaml", GATEWAY.format(port=self.to[1]) + "".join(RULES.format(name=n) for n in ("h1", "h2")) +
                   "".join(ENTRY.format(name=n, protocol=p, port=port) for n, p, port in entries))

    def lines(self, part):
        return [line for line in self.access_log.read_text().splitlines() if part in line] if self.access_log.exists() else []

    def line(self, part):
        """The access line of the one request that has this in its path."""
        return wait_until(f"the access line of {part}", lambda: self.lines(part))[-1]


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    d = Door(tmp_path_factory.mktemp("door"))
    yield d.start()
    d.stop()
    d.origin.close()
    d.mirror.close()


class Pair:
    def __init__(self, door, down, up):
        self.door, self.name, self.down, self.host = door, f"{down}-{up}", down, f"{up}.test"
        self.sent_as, self.got_as = {"h1": "HTTP/1.1", "h2": "HTTP/2"}[down], {"h1": "1.1", "h2": "2"}[up]

    def ask(self, method, path, **more):
        return ask(self.down, self.door.to, method, path, self.host, **more)


@pytest.fixture(params=["h1-h1", "h1-h2", "h2-h1", "h2-h2"])
def pair(request, door):
    return Pair(door, *request.param.split("-"))


def test_a_request_passes_in_every_pairing(pair):
    path = f"/a/{pair.name}?q=1"
    answer = pair.ask("GET", path, headers=[("x-mine", "1"), ("cookie", "a=1"), ("cookie", "b=2")] if pair.down == "h2" else
                      [("x-mine", "1"), ("cookie", "a=1; b=2")])
    told = answer.json()
    headers = dict(told["headers"])
    assert answer.status == 200 and told["version"] == pair.got_as == answer.headers["x-version"]
    assert (told["method"], told["path"], told["authority"]) == ("GET", path, pair.host)
    assert headers["x-mine"] == "1" and headers["cookie"] == "a=1; b=2" and headers["x-forwarded-proto"] == "http"
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-request-id"]) and headers["x-envoy-attempt-count"] == "1"
    assert answer.headers["server"] == "istio-envoy" and int(answer.headers["x-envoy-upstream-service-time"]) >= 0
    assert "connection" not in headers and "transfer-encoding" not in headers
    assert headers.get("content-length", "0") == "0"
    assert f'"GET {path} {pair.sent_as}" 200 - via_upstream' in pair.door.line(f'"GET {path} ')


@pytest.mark.parametrize("length", [True, False])
def test_large_bodies_pass_whole(pair, length):
    told = pair.ask("POST", "/up", body=LARGE, length=length).json()
    assert (told["length"], told["digest"]) == (len(LARGE), digest(LARGE))
    assert dict(told["headers"]).get("content-length") == (str(len(LARGE)) if length else None)
    if length:
        answer = pair.ask("GET", f"/bytes/{len(LARGE)}")
        assert answer.body == LARGE and answer.reset is None
    else:
        answer = pair.ask("POST", "/echo", body=LARGE, length=False)  # both ways at once
        assert answer.body == LARGE and answer.reset is None and "content-length" not in answer.headers


def test_trailers_pass_both_ways(pair):
    told = pair.ask("POST", "/t", headers=[("trailer", "x-check, x-more")], body=b"some",
                    trailers=[("x-check", "1"), ("x-more", "2")]).json()
    assert (told["length"], told["trailers"]) == (4, [["x-check", "1"], ["x-more", "2"]])
    assert dict(told["headers"])["trailer"] == "x-check, x-more"  # some servers look at no others
    answer = pair.ask("GET", "/trailers")
    assert answer.headers["trailer"] == "x-sum"
    assert answer.body == b"with trailers" and answer.trailers == [("x-sum", "abc"), ("grpc-status", "0")]


def test_answers_without_a_body(pair):
    answer = pair.ask("HEAD", "/bytes/1000")
    assert (answer.status, answer.body, answer.reset) == (200, b"", None)
    for status in (204, 304):
        answer = pair.ask("GET", f"/status/{status}")
        assert (answer.status, answer.body, answer.reset) == (status, b"", None)
    c = CALLERS[pair.down](pair.door.to)  # the connection goes on behind them
    asked = ("HEAD", "/", 200), ("GET", "/status/304", 304), ("GET", "/status/204", 204), ("GET", "/", 200)
    assert all(c.ask(method, path, pair.host).status == status for method, path, status in asked)
    c.close()


def test_informational_answers(pair):
    answer = pair.ask("POST", "/c", body=b"x" * 1000, expect=True)
    assert answer.hints[0][0] == 100 and answer.json()["length"] == 1000
    assert "expect" not in dict(answer.json()["headers"])
    answer = pair.ask("GET", "/hints")
    assert answer.body == b"hinted"
    assert answer.hints == [(103, {"link": "</a.css>; rel=preload"}), (102, {}), (103, {"link": "</b.js>; rel=preload"})]


@pytest.mark.parametrize("status", [200, 413])
def test_an_early_answer_to_a_large_upload_arrives(pair, status):
    answer = pair.ask("POST", f"/early/{status}", body=LARGE)
    assert (answer.status, answer.body) == (status, f"status {status}\n".encode())
    assert pair.ask("GET", "/").status == 200


def test_rules_do_the_same_for_each(pair):
    answer = pair.ask("GET", "/redirect?x=1")
    assert (answer.status, answer.headers["location"]) == (307, f"http://{pair.host}/there?x=1")
    answer = pair.ask("POST", "/direct", body=LARGE[:200000])
    assert (answer.status, answer.body) == (418, b"short")
    assert answer.headers.get("connection") == {"h1": "close"}.get(pair.down)  # nobody reads the rest of the request
    answer = pair.ask("GET", "/fault")
    assert (answer.status, answer.body) == (555, b"fault filter abort")
    told = pair.ask("GET", "/edit/this", headers=[("x-gone", "1")])
    assert told.headers["x-said"] == "200" and "x-app" not in told.headers
    told = told.json()
    assert (told["path"], told["authority"]) == ("/edited/this", "other.test")
    assert dict(told["headers"])["x-how"] == pair.sent_as and "x-gone" not in dict(told["headers"])
    answer = pair.ask("POST", f"/fail/2/{pair.down}{pair.host}", body=b"again" * 1000)
    assert answer.status == 200 and answer.json()["digest"] == digest(b"again" * 1000)
    assert dict(answer.json()["headers"])["x-envoy-attempt-count"] == "3"


def test_a_mirror_gets_the_same(pair):
    path = f"/mirror/{pair.name}"
    assert pair.ask("POST", path, body=b"copied").status == 200
    copy, = wait_until("the copy is there", lambda: [q for q in pair.door.mirror.seen if q.path == path])
    assert (copy.version, copy.authority, copy.body) == ("2", pair.host + "-shadow", b"copied")


def test_our_own_answers(pair):
    answer = pair.ask("GET", f"/delay/60?{pair.name}")
    assert (answer.status, answer.body) == (504, b"upstream request timeout")
    assert " 504 UT response_timeout " in pair.door.line(f"/delay/60?{pair.name}")
    answer = pair.ask("GET", "/", headers=[("x-nowhere", "1")])
    assert (answer.status, answer.body) == (404, b"")
    answer = pair.ask("GET", "/dead/" + pair.down + pair.host)
    assert answer.status == 503 and answer.body.startswith(b"upstream connect error or disconnect/reset before headers. ")
    line = pair.door.line("/dead/" + pair.down + pair.host)
    assert f"{pair.sent_as}\" 503 UF,URX " in line, line
    assert ask(pair.down, pair.door.to, "GET", "/", "nobody.test").status == 404


def test_grpc_callers_get_grpc_answers(pair):
    kind = [("content-type", "application/grpc"), ("te", "trailers")]
    told = pair.ask("POST", "/x", headers=[*kind, ("grpc-timeout", "5S")], body=b"\0\0\0\0\1x").json()
    headers = dict(told["headers"])
    assert headers["grpc-timeout"] == "5000m" and headers["x-envoy-expected-rq-timeout-ms"] == "5000"
    assert headers.get("te") == ("trailers" if (pair.down, pair.got_as) == ("h2", "2") else None)  # of one connection elsewhere
    for path, status, message in (("/", "12", None), ("/direct", "2", "short"), ("/fault", "2", "fault filter abort"),
                                  ("/dead", "14", "upstream connect error"), ("/delay/60", "14", "upstream request timeout")):
        answer = pair.ask("POST", path, headers=[*kind, *([("x-nowhere", "1")] if path == "/" else [])], body=b"\0\0\0\0\1x")
        assert (answer.status, answer.headers["grpc-status"], answer.body) == (200, status, b""), path
        assert answer.headers.get("grpc-message", "None").startswith(str(message)), path
        assert answer.headers["content-type"] == "application/grpc"
    answer = pair.ask("POST", "/grpc/5", headers=kind)
    assert (answer.status, answer.headers["grpc-status"]) == (200, "5")
    found = pair.door.page("/metrics")[1]
    assert re.search(r'istio_requests_total{.*request_protocol="grpc",response_code="200",grpc_response_status="5",', found)
    assert re.search(r'istio_request_messages_total{.*destination_service="h[12].test".*protocol="grpc",connection', found)


def test_streams_of_one_connection_do_not_wait_for_each_other(door):
    c = H2Caller(door.to)
    before = door.origin.connections
    slow = c.open("POST", "/echo", "h2.test", end=False)  # as long as we like
    quick = [c.open("GET", f"/bytes/{n}", "h2.test") for n in range(1000, 1050)]
    for n, stream in zip(range(1000, 1050), quick):
        assert c.wait(stream).body == pattern(n)
    assert slow not in c.over
    c.send(slow, b"late")
    assert c.wait(slow).body == b"late"
    assert door.origin.connections <= before + 4  # one per worker, and what was there
    c.close()


def test_a_stream_that_is_reset_harms_no_other(door):
    c = H2Caller(door.to)
    for up in ("h1.test", "h2.test"):
        gone, kept = (c.open("POST", f"/{what}-{up}", up, end=False) for what in ("gone", "kept"))
        c.c.reset_stream(gone)
        c.push()
        c.send(kept, b"whole")
        assert c.wait(kept).json()["length"] == 5
        assert " 0 DC downstream_remote_disconnect " in door.line(f"/gone-{up}")
    c.close()


def test_a_client_that_breaks_the_protocol_leaves_a_line(door):
    sock = socket.create_connection(door.to, PATIENCE)
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000" "000004080000000000" "00000000"))
    while sock.recv(65536):  # until our GOAWAY and the end
        pass
    sock.close()
    assert " 400 DPE http2.violation.of.messaging.rule " in door.line("http2.violation.of.messaging.rule")


BROKEN_PREFACE = b"INVALID CONNECTION PREFACE\r\n\r\n"


def whole(sock, said):
    """All that comes back, to a proper end."""
    sock.sendall(said)
    answer = b"".join(iter(lambda: sock.recv(65536), b""))
    sock.close()
    return answer


def test_a_broken_preface_is_not_answered_in_clear_text(door):
    assert whole(socket.create_connection(door.to, 10), BROKEN_PREFACE) == b""
    assert " 0 DPE http1.codec_error " in door.line("http1.codec_error")
    assert whole(socket.create_connection(door.to, 10), b"GET / NOW\r\nhost: h1.test\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.fixture
def elsewhere(tmp_path):
    """elsewhere(port) makes a gateway in front of h2.test at this port."""
    made = []

    def make(port, protocol="HTTP2", rules=""):
        e = Edge(tmp_path / str(port), f"access_log = {tmp_path / 'access.log'}\n")
        e.to = ("127.0.0.1", free_port())
        e.write("services.d/main.ini", f"[listener main]\nbind = 127.0.0.1:{e.to[1]}\nservice = app.test\n")
        e.write("all.yaml", ENTRY.format(name="app", protocol=protocol, port=port) + rules)
        made.append(e)
        return e.start()
    yield make
    for e in made:
        e.stop()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_at_the_application_a_grpc_deadline_bounds_the_whole_call(tmp_path, protocol):
    origin, e, to = Origin(), Edge(tmp_path), ("127.0.0.1", free_port())
    e.write("services.d/in.ini", f"[service in]\nlisten = 127.0.0.1:{to[1]}\nport = {origin.port}\nprotocol = {protocol}\n")
    kind = [("content-type", "application/grpc")]
    soon = [*kind, ("grpc-timeout", "150m")]
    try:
        e.start()
        for down in ("h1", "h2"):
            told = ask(down, to, "POST", "/x", "in", headers=[*kind, ("grpc-timeout", "1M")], body=b"some").json()
            assert told["version"] == {"http": "1.1", "grpc": "2"}[protocol]
            answer = ask(down, to, "POST", "/delay/60", "in", headers=soon, body=b"some")
            assert (answer.status, answer.headers["grpc-status"]) == (200, "4")
            assert answer.headers["grpc-message"] == "downstream duration timeout"
        c = H2Caller(to)
        answer = c.wait(c.open("POST", "/up", "in", soon, end=False))  # a request that does not end
        assert answer.headers["grpc-status"] == "4"
        c.close()
    finally:
        e.stop()
        origin.close()


def test_an_endpoint_may_be_spoken_to_as_the_client_does(elsewhere):
    origin = Origin()
    e = elsewhere(origin.port, "HTTP", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: app}\n"
                  "spec:\n  host: app.test\n  trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}\n")
    assert [ask(down, e.to, "GET", "/", "app.test").json()["version"] for down in ("h1", "h2", "h1")] == ["1.1", "2", "1.1"]
    origin.close()


def test_a_grpc_status_speaks_against_its_endpoint(elsewhere):
    origin = Origin()
    e = elsewhere(origin.port, "HTTP2", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: app}\n"
                  "spec:\n  host: app.test\n"
                  "  trafficPolicy:\n"
                  "    outlierDetection: {consecutive5xxErrors: 3, baseEjectionTime: 60s, maxEjectionPercent: 100}\n")
    kind = [("content-type", "application/grpc")]
    for status in ("5", "5", "5", "5", "14"):  # NOT_FOUND is no fault of the endpoint's; UNAVAILABLE, in three tries, is
        assert ask("h2", e.to, "POST", f"/grpc/{status}", "app.test", headers=kind).headers["grpc-status"] == status
    assert ask("h2", e.to, "POST", "/grpc/5", "app.test", headers=kind).headers["grpc-message"] == "no healthy upstream"
    origin.close()


# ---- programs that others wrote ----


def run(*argv, seconds=2 * PATIENCE):
    done = subprocess.run([str(a) for a in argv], capture_output=True, timeout=seconds)
    assert done.returncode == 0, (argv, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def url(door, path):
    return f"http://{door.to[0]}:{door.to[1]}{path}"


@pytest.mark.parametrize("up", ["h1", "h2"])
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl(door, tmp_path, version, up):
    (tmp_path / "large").write_bytes(LARGE)
    curl = ["curl", "-sS", "--max-time", str(PATIENCE), version, "-H", f"Host: {up}.test"]
    assert run(*curl, "-w", "%{http_version}", "-o", tmp_path / "out", url(door, f"/bytes/{len(LARGE)}")) == \
        (b"1.1" if "1" in version else b"2")
    assert (tmp_path / "out").read_bytes() == LARGE
    assert json.loads(run(*curl, "--data-binary", f"@{tmp_path / 'large'}", url(door, "/p")))["digest"] == digest(LARGE)
    assert json.loads(run(*curl, "-T", tmp_path / "large", "-H", "Transfer-Encoding: chunked", url(door, "/p")))["digest"] == \
        digest(LARGE)
    assert run(*curl, "-I", url(door, "/bytes/10")).startswith(b"HTTP/")
    if version == "--http1.1":  # over HTTP/2 curl 7.88 may then end its body short of the length it said, which is refused
        upload = ["-X", "POST", "--data-binary", f"@{tmp_path / 'large'}"]
        assert run(*curl, *upload, "-w", "%{http_code}", url(door, "/early/413")) == b"status 413\n413"


def test_nghttp(door):
    out = run("nghttp", "-nv", "-m", "20", "-H", ":authority: h2.test", url(door, "/bytes/100000")).decode()
    assert out.count(":status: 200") == 20 and "error" not in out.lower().replace("error_code=no_error", "")


def test_h2load(door):
    for up in ("h1", "h2"):
        out = run("h2load", "-n", "400", "-c", "4", "-m", "25", "-H", f":authority: {up}.test", url(door, "/bytes/5000")).decode()
        assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in out and "status codes: 400 2xx" in out, out


def test_nghttpd(elsewhere, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "large").write_bytes(LARGE)
    port = free_port()
    server = subprocess.Popen(["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", str(tmp_path / "root"), "--trailer", "x-sum: 1",
                               "--echo-upload", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until("nghttpd listens", lambda: ask("h2", ("127.0.0.1", port), "GET", "/large", "x").status == 200)
        e = elsewhere(port)
        for version in ("h1", "h2"):
            answer = ask(version, e.to, "GET", "/large", "app.test")
            assert (answer.status, answer.body) == (200, LARGE)
            # Behind a length HTTP/1.1 has no place for them.
            assert answer.trailers == ([("x-sum", "1")] if version == "h2" else [])
            assert ask(version, e.to, "POST", "/large", "app.test", body=LARGE[:300000], length=False).body == LARGE[:300000]
            assert ask(version, e.to, "GET", "/none", "app.test").status == 404
    finally:
        server.terminate()
        server.wait(PATIENCE)


TLS_DOOR = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: door}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {port}, name: https, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [app.test]
    tls: {{mode: SIMPLE, serverCertificate: {certs}/app.crt, privateKey: {certs}/app.key}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: door}}
spec:
  hosts: [app.test]
  gateways: [door]
  http: [{{route: [{{destination: {{host: app.test}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: app.test
  trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: {certs}/ca.pem}}}}
---
"""


def test_alpn_on_both_sides(tmp_path):
    """curl by TLS, a gateway, nghttpd by TLS: each side speaks what was agreed with it."""
    ca, certs = authority(tmp_path / "ca"), tmp_path / "certs"
    leaf(ca, "app", "DNS:app.test", certs)
    shutil.copy(ca / "ca.pem", certs)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "large").write_bytes(LARGE)
    back, front = free_port(), free_port()
    server = subprocess.Popen(["nghttpd", "-a", "127.0.0.1", "-d", str(tmp_path / "root"), str(back), certs / "app.key",
                               certs / "app.crt"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # speaks HTTP/2 only
    e = Edge(tmp_path / "edge")
    e.write("services.d/door.ini", "[gateway door]\nlabel.istio = ingressgateway\n")
    e.write("all.yaml", TLS_DOOR.format(port=front, certs=certs) + ENTRY.format(name="app", protocol="HTTP2", port=back))
    curl = ["curl", "-sS", "--max-time", str(PATIENCE), "--cacert", certs / "ca.pem",
            "--connect-to", f"app.test:{front}:127.0.0.1:{front}"]
    try:
        e.start()
        for version, agreed in (("--http2", b"2"), ("--http1.1", b"1.1")):
            out = run(*curl, version, "--retry", "3", "--retry-connrefused", "-w", "%{http_version}", "-o", tmp_path / "out",
                      f"https://app.test:{front}/large")
            assert out == agreed and (tmp_path / "out").read_bytes() == LARGE
        by_tls = ssl.create_default_context(cafile=certs / "ca.pem")

        def say(alpn, text):
            by_tls.set_alpn_protocols([alpn])
            return whole(by_tls.wrap_socket(socket.create_connection(("127.0.0.1", front), 10), server_hostname="app.test",
                                            suppress_ragged_eofs=False), text)
        # Who agreed on a version must speak it.
        assert say("http/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 505 ")
        answer = say("h2", BROKEN_PREFACE)
        assert answer[3:5] == b"\x04\x00" and b"\0\0\0\0\0\0\0\x01" in answer and b"HTTP/1.1" not in answer
    finally:
        e.stop()
        server.terminate()
        server.wait(PATIENCE)
