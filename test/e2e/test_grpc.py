"""gRPC through the mesh, by grpc-js on both sides."""

import json
import time

import pytest
from mesh import Mesh, wait_until
from npm import ENV, NODE, node, npm_modules  # noqa: F401
from test_routing import virtual_service

pytestmark = pytest.mark.usefixtures("npm_modules")


@pytest.fixture(scope="module")
def m(npm_modules):  # noqa: F811
    with Mesh() as mesh:
        mesh.server()
        caller = mesh.host("caller").service("caller", 8080, protocol="http")
        host = mesh.host("host").service("web", 9000, protocol="grpc")
        node(host, "grpc_peer.js", "serve", 9000, port=9000)
        host.join()
        caller.join()
        wait_until("the service answers", lambda: call(mesh, "Unary")["code"] == 0)
        yield mesh


@pytest.fixture
def clean(m):
    yield m
    m.clear()


def call(mesh, method, *messages, to="web:9000", **wish):
    done = mesh["caller"].run("node", NODE / "grpc_peer.js", "call", to, env=ENV,
                              text=json.dumps({"method": method, "messages": list(messages) or ["m"], **wish}))
    assert done.returncode == 0 and done.stdout, done.stderr
    return json.loads(done.stdout)


def test_one_message_each_way(m):
    told = call(m, "Unary", "hello", metadata={"x-mine": "1"})
    assert (told["code"], told["messages"]) == (0, ["hello"])
    assert told["head"]["server"] == "envoy" and told["end"]["x-attempt"] == "1"


def test_large_messages(m):
    told = call(m, "Unary", "x" * 2000000)
    assert told["messages"] == [{"length": 2000000, "first": ord("x")}]
    told = call(m, "Down", metadata={"x-count": "20", "x-size": "100000"})
    assert told["code"] == 0 and [t["length"] for t in told["messages"]] == [100000] * 20
    assert [t["first"] - 97 for t in told["messages"]] == list(range(20))


def test_streams_of_each_kind(m):
    assert call(m, "Down", metadata={"x-count": "3"})["messages"] == ["aaaaa", "bbbbb", "ccccc"]
    assert call(m, "Up", *["12345"] * 50)["messages"] == ["50 messages, 250 bytes"]
    told = call(m, "Both", *[f"m{i}" for i in range(20)])  # each waits for the answer to the one before
    assert told["code"] == 0 and told["messages"] == [f"m{i}" for i in range(20)]


def test_statuses_arrive_as_they_were_said(m):
    told = call(m, "Unary", metadata={"x-code": "9"})
    assert (told["code"], told["details"]) == (9, "as you wish: ü 100%")
    told = call(m, "Down", metadata={"x-code": "11", "x-count": "2"})  # behind messages: in trailers
    assert (told["code"], len(told["messages"])) == (11, 2)


def test_a_deadline_travels_and_holds(m):
    left = int(call(m, "Unary", deadline_ms=60000)["end"]["x-left"])
    assert 0 < left <= 60000
    told = call(m, "Unary", deadline_ms=300, metadata={"x-wait": "100000"})  # it would be told 0 then
    assert told["code"] in (4, 14)  # of the caller and its agent, whoever is the first to tell


def test_a_routes_timeout_bounds_the_deadline(m, clean):
    rule = "- timeout: {}\n  route:\n  - destination:\n      host: web\n"
    m.apply(virtual_service(rule.format("1s")))
    told = call(m, "Unary", metadata={"x-wait": "100000"})
    assert told["code"] in (4, 14)  # whoever of us and the endpoint is the first to tell
    m.apply(virtual_service(rule.format("30s")))
    left = int(call(m, "Unary", deadline_ms=90000)["end"]["x-left"])
    assert 0 < left <= 30000


def test_a_caller_that_leaves_ends_the_call(m):
    told = call(m, "Down", metadata={"x-count": "1000", "x-size": "50000"}, leave_after=3)
    assert told["code"] == 1
    for host in ("caller", "host"):
        wait_until("the line", lambda h=host: "DC downstream_remote_disconnect" in m[h].access_log.read_text())
    assert call(m, "Unary")["code"] == 0


def test_unavailable_is_tried_again_by_default(m):
    told = call(m, "Unary", metadata={"x-fail": "2", "x-key": f"default{time.monotonic_ns()}"})
    assert told["code"] == 0 and told["end"]["x-attempt"] == "3"


@pytest.mark.parametrize("word, code", [("cancelled", 1), ("deadline-exceeded", 4), ("resource-exhausted", 8), ("internal", 13),
                                        ("unavailable", 14)])
def test_statuses_to_try_again(m, clean, word, code):
    m.apply(virtual_service(f"- retries: {{attempts: 2, retryOn: {word}, backoff: 1ms}}\n"
                            "  route: [{destination: {host: web}}]"))
    told = call(m, "Unary", metadata={"x-code": str(code)})
    assert (told["code"], told["end"]["x-attempt"]) == (code, "3")
    other = 13 if code != 13 else 14
    assert call(m, "Unary", metadata={"x-code": str(other)})["end"]["x-attempt"] == "1"


def test_our_own_answers_are_grpcs(m, clean):
    m.apply(virtual_service("- match:\n  - uri: {prefix: /t.T/Unary}\n"
                            "  fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}\n"
                            "  route:\n  - destination:\n      host: web\n"
                            "- match:\n  - uri: {prefix: /t.T/Up}\n  directResponse: {status: 403, body: {string: not you}}\n"))
    told = call(m, "Unary")
    assert (told["code"], told["details"]) == (8, "fault filter abort")
    told = call(m, "Up")
    assert (told["code"], told["details"]) == (7, "not you")
    assert call(m, "Both")["code"] == 12  # no route: UNIMPLEMENTED


def test_calls_and_messages_are_counted(m):
    def counts(host, reporter):
        of = {"reporter": reporter, "destination_service_name": "web", "request_protocol": "grpc"}
        return [m[host].metric("istio_requests_total", response_code="200", grpc_response_status="9", **of),
                m[host].metric("istio_request_messages_total", **of), m[host].metric("istio_response_messages_total", **of)]
    before = {h: counts(h, r) for h, r in (("caller", "source"), ("host", "destination"))}
    call(m, "Up", *["x"] * 7)
    call(m, "Down", metadata={"x-count": "5", "x-code": "9"})
    for host, reporter in (("caller", "source"), ("host", "destination")):
        wait_until("they are counted", lambda: [a - b for a, b in zip(counts(host, reporter), before[host])] == [1, 8, 6])
    line = wait_until("the line", lambda: [x for x in m["caller"].access_log.read_text().splitlines() if "/t.T/Down" in x])[-1]
    assert '"POST /t.T/Down HTTP/2" 200 ' in line
