"""Endpoints that fail are left out and come back: three instances, one killed, one answering half of its requests with errors."""

import http.client
import http.server
import json
import socket
import threading

import pytest
from mesh import PATIENCE, wait_until
from test_standalone import Edge, free_port

DOCUMENTS = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: app}}
spec:
  hosts: [app.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
{endpoints}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app}}
spec:
  hosts: [app.test]
  http:
  - route: [{{destination: {{host: app.test}}}}]
    retries: {{attempts: 3, retryOn: "5xx,reset,connect-failure"}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: app.test
  trafficPolicy:
    loadBalancer: {{simple: ROUND_ROBIN}}
    outlierDetection: {{consecutive5xxErrors: 4, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 70}}
    retryBudget: {{percent: 20, minRetryConcurrency: 3}}
"""


class Instance:
    """Answers 200; `bad` of every ten requests with 500."""

    def __init__(self, port):
        self.port, self.bad, self.seen, self.server = port, 0, 0, None
        self.start()

    def start(self):
        me = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                me.connections.append(self.connection)

            def do_GET(self):
                me.seen += 1
                self.send_response(500 if me.seen % 10 < me.bad else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.connections = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def kill(self):
        self.server.shutdown()
        self.server.server_close()
        for c in self.connections:  # kept ones would go on being answered
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself


@pytest.fixture
def world(tmp_path):
    instances = [Instance(free_port()) for _ in range(3)]
    e = Edge(tmp_path)
    e.port = free_port()
    e.write("services.d/main.ini", f"[listener main]\nbind = 127.0.0.1:{e.port}\nservice = app.test\n")
    e.write("all.yaml", DOCUMENTS.format(endpoints="\n".join(f"  - {{address: 127.0.0.1, ports: {{http: {i.port}}}}}" for i in instances)))
    yield e.start(), instances
    e.stop()
    for i in instances:
        i.kill()


def ask(e, times):
    """How many of so many requests were not answered with 200."""
    c = http.client.HTTPConnection("127.0.0.1", e.port, timeout=PATIENCE)
    wrong = 0
    for _ in range(times):
        c.request("GET", "/", headers={"Host": "app.test"})
        r = c.getresponse()
        r.read()
        wrong += r.status != 200
    c.close()
    return wrong


def metric(e, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in e.page("/metrics")[1].splitlines() if line.startswith(name))


def endpoint(e, port):
    clusters = json.loads(e.page("/clusters")[1])["clusters"]
    return next(x for c in clusters for x in c["endpoints"] if x["address"] == f"127.0.0.1:{port}")


def told(e, what, port):
    return sum(what in line and f"endpoint=127.0.0.1:{port} " in line for line in e.log.read_text().splitlines())


def test_a_return_is_told_without_requests_too(world):
    e, (killed, _, _) = world
    killed.kill()
    ask(e, 60)
    gone = told(e, "endpoint left out", killed.port)  # once; more often if these requests took longer than it stays out
    assert gone == metric(e, "envoy_cluster_outlier_detection_ejections_enforced_total") >= 1
    wait_until("its return is told", lambda: told(e, "endpoint is back", killed.port) == gone)


def test_a_fault_story(world):
    e, (killed, flaky, good) = world
    assert ask(e, 300) == 0
    killed.kill()
    flaky.bad = 5
    wrong = ask(e, 3000)
    retries = metric(e, "weft_retries_total")
    print(f"errors {wrong} of 3000, retries {retries:.0f}, ejections {metric(e, 'envoy_cluster_outlier_detection_ejections_enforced_total'):.0f}")
    assert wrong <= 3
    assert 0 < retries <= 0.2 * 3000
    assert metric(e, "envoy_cluster_outlier_detection_ejections_enforced_total") >= 2
    assert "endpoint left out" in e.log.read_text()
    wait_until("both are out", lambda: ask(e, 20) == 0 and endpoint(e, killed.port)["out"])
    killed.start()
    flaky.bad = 0
    seen = killed.seen, flaky.seen
    wait_until("both are asked again", lambda: ask(e, 20) == 0 and killed.seen > seen[0] + 5 and flaky.seen > seen[1] + 5, 90)
    active = "envoy_cluster_outlier_detection_ejections_active"
    wait_until("nobody is out", lambda: ask(e, 20) == 0 and metric(e, active) == 0, 90)
    for i in (killed, flaky):  # each return is told once, however many threads see it
        gone = told(e, "endpoint left out cluster=", i.port)
        assert gone >= 1
        wait_until("its returns are told", lambda i=i, gone=gone: told(e, "endpoint is back cluster=", i.port) == gone)


def test_when_all_are_out_nobody_is_asked(world):
    e, instances = world
    e.write("all.yaml", (e.dir / "all.yaml").read_text().replace("maxEjectionPercent: 70", "maxEjectionPercent: 100").replace(
        "baseEjectionTime: 2s", "baseEjectionTime: 60s"))
    e.wait_revision(2)
    for i in instances:
        i.bad = 10
    assert ask(e, 10) == 10
    wait_until("all are out", lambda: ask(e, 1) == 1 and metric(e, "envoy_cluster_outlier_detection_ejections_active") == 3)
    before = sum(i.seen for i in instances)
    c = http.client.HTTPConnection("127.0.0.1", e.port, timeout=PATIENCE)
    c.request("GET", "/", headers={"Host": "app.test"})
    r = c.getresponse()
    assert r.status == 503 and r.read() == b"no healthy upstream"
    assert sum(i.seen for i in instances) == before
