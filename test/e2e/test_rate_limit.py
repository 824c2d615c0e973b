"""RateLimit through real agents. Buckets fill up within an hour, so that tests count and no test is about time."""

import http.client

import pytest
from mesh import PATIENCE, wait_until
from test_routing import virtual_service
from test_standalone import ENTRY, Edge, apps, free_port  # noqa: F401 (a fixture)

BANK = "http://bank:8081/"


def rate_limit(limits, name="bank", app="bank"):
    lines = "".join(f"  - {one}\n" for one in limits)
    return (f"---\napiVersion: weft/v1\nkind: RateLimit\nmetadata:\n  name: {name}\nspec:\n"
            f"  selector: {{matchLabels: {{app: {app}}}}}\n  limits:\n{lines}")


def counts(host, name="bank", limit="all"):
    return tuple(int(host.metric("weft_rate_limit_requests_total", rate_limit=f"default/{name}", limit=limit, result=result))
                 for result in ("allowed", "refused"))


def test_a_crowd_gets_exactly_what_is_allowed(m, clean):
    m.apply(rate_limit(["{name: all, requests: 20, interval: 1h}"]))
    assert counts(m["vault"]) == (0, 0)
    answers = m["client"].many(BANK, 60, threads=6)
    allowed, refused = ([a for a in answers if a.status == s] for s in (200, 429))
    assert len(allowed) == 20 and len(refused) == 40
    assert sorted(int(a.headers["ratelimit-remaining"]) for a in allowed) == list(range(20))
    assert {a.headers["ratelimit-limit"] for a in answers} == {"20"}
    assert all(a.body == "local_rate_limited" and a.headers["x-envoy-ratelimited"] == "true" for a in refused)
    assert all(0 < int(a.headers["retry-after"]) <= 180 for a in refused)
    assert counts(m["vault"]) == (20, 40)  # and nobody tried again
    assert m["vault"].metric("istio_requests_total", reporter="destination", response_flags="RL", response_code="429") >= 40
    wait_until("the log tells", lambda: m["vault"].access_log.read_text().count(" 429 RL local_rate_limited ") >= 40)
    assert all(a.status == 200 for a in m["client"].many("http://safe:8082/", 30))  # the neighbour on that host
    assert all(a.status == 200 for a in m["client"].many("http://web:8080/", 30))


def test_a_limit_is_attached_to_a_service_by_its_name_or_document(m, clean):
    limits = "\n  limits: [{name: all, requests: 3, interval: 1h}]\n"
    named, document = ("---\napiVersion: weft/v1\nkind: RateLimit\nmetadata: {name: %s}\nspec:\n  targetRefs: [{kind: Service, name: %s}]" % names
                       + limits for names in (("bank", "bank"), ("front", "front")))
    service = ("---\napiVersion: v1\nkind: Service\nmetadata: {name: front}\nspec:\n  selector: {app: safe}\n"
               "  ports: [{name: http, port: 80, targetPort: 8082}]\n")
    m.apply(named)
    assert [a.status for a in m["client"].many(BANK, 5, threads=1)] == [200] * 3 + [429] * 2
    assert all(a.status == 200 for a in m["client"].many("http://safe:8082/", 5, threads=1))
    m.delete("ratelimit", "bank")
    m.apply(service + document)
    assert [a.status for a in m["client"].many("http://safe:8082/", 5, threads=1)] == [200] * 3 + [429] * 2
    assert all(a.status == 200 for a in m["client"].many(BANK, 5, threads=1))
    m.delete("service", "front")  # the limit waits for somebody who offers it
    assert all(a.status == 200 for a in m["client"].many("http://safe:8082/", 5, threads=1))


def test_a_push_refills_nothing_and_a_deletion_ends_it(m, clean):
    m.apply(rate_limit(["{name: all, requests: 5, interval: 1h}"]))
    assert [a.status for a in m["client"].many(BANK, 4, threads=1)] == [200] * 4
    m.apply(virtual_service("- route:\n  - destination: {host: bank, port: {number: 8081}}\n", name="bank", host="bank"))
    m.apply(rate_limit(["{name: all, requests: 5, interval: 1h}", "{name: huge, requests: 1000000}"]))
    assert [a.status for a in m["client"].many(BANK, 3, threads=1)] == [200, 429, 429]
    m.delete("ratelimit", "bank")
    assert [a.status for a in m["client"].many(BANK, 10, threads=1)] == [200] * 10
    assert "weft_rate_limit" not in m["vault"].metrics()


def test_callers_are_told_apart_by_identity_and_by_header(m, clean):
    m.apply(rate_limit(["{name: peer, requests: 3, interval: 1h, key: {principal: true}}"]))
    m.wait_service(m["web-v1"], BANK)  # takes one; its first call brings the rules of the bank
    web = [a.status for a in m["web-v1"].many(BANK, 6, threads=1)]
    client = [a.status for a in m["client"].many(BANK, 6, threads=1)]
    assert client == [200] * 3 + [429] * 3 and web[-3:] == [429] * 3
    assert m["vault"].metric("weft_rate_limit_keys", limit="peer") == 2
    m.apply(rate_limit(["{name: user, requests: 2, interval: 1h, status: 503, responseHeaders: OFF, key: {header: X-User}}"]))
    for user in ("ann", "bob"):
        answers = m["client"].many(BANK, 4, threads=1, headers={"x-user": user})
        assert [a.status for a in answers] == [200, 200, 503, 503]
        assert not [h for a in answers for h in a.headers if h.startswith("ratelimit") or h == "retry-after"]


def test_only_those_who_are_selected_hear_of_it(m, clean):
    m.apply(rate_limit(["{name: all, requests: 5, interval: 1h}"]))
    told = {name: '"object":"default/bank"' in m[name].page("/config_dump")[1] for name in ("vault", "client", "web-v1", "web-v2")}
    assert told == {"vault": True, "client": False, "web-v1": False, "web-v2": False}
    m.apply(rate_limit(["{name: all, requests: 5, interval: 1h}"], app="web"))
    told = {name: '"object":"default/bank"' in m[name].page("/config_dump")[1] for name in ("vault", "client", "web-v1", "web-v2")}
    assert told == {"vault": False, "client": False, "web-v1": True, "web-v2": True}
    assert [a.status for a in m["client"].many(BANK, 10, threads=1)] == [200] * 10
    statuses = [a.status for a in m["client"].many("http://web:8080/", 100, threads=1)]
    assert statuses.count(200) == 10  # each of the two workloads counts for itself


def test_what_cannot_be_meant_is_told(m, clean):
    done = m.apply_raw(rate_limit(["{name: all, requests: 1, interval: 24h, burst: 1000}"]))
    assert done.returncode == 4 and "more than 366 days" in done.stdout + done.stderr
    done = m.apply_raw(rate_limit(["{name: all, requests: 1, route: nowhere}"]))
    assert done.returncode == 0 and "is bound to a gateway" in done.stdout + done.stderr


# ---- at a gateway ----

GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  selector: {{edge: here}}
  servers:
  - {{port: {{number: {one}, name: one, protocol: HTTP}}, bind: 127.0.0.1, hosts: ['*']}}
  - {{port: {{number: {two}, name: two, protocol: HTTP}}, bind: 127.0.0.1, hosts: ['*']}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ['*']
  gateways: [gw]
  http:
  - name: checkout
    match: [{{uri: {{prefix: /checkout}}, name: some}}]
    corsPolicy: {{allowOrigins: [{{exact: https://shop.test}}], allowMethods: [GET]}}
    route: [{{destination: {{host: app.test}}}}]
  - name: answer
    match: [{{uri: {{prefix: /answer}}}}]
    directResponse: {{status: 418}}
  - route: [{{destination: {{host: app.test}}}}]
---
apiVersion: weft/v1
kind: RateLimit
metadata: {{name: edge}}
spec:
  selector: {{matchLabels: {{edge: here}}}}
  limits:
  - {{name: checkout, route: checkout, requests: 4, interval: 1h}}
  - {{name: answer, route: answer, requests: 2, interval: 1h}}
  - {{name: each, requests: 1000, interval: 1h, key: {{sourceIp: true}}}}
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory, apps):  # noqa: F811
    e = Edge(tmp_path_factory.mktemp("rate-limit"))
    e.one, e.two = free_port(), free_port()
    e.write("services.d/edge.ini", "[gateway edge]\nlabel.edge = here\n")
    e.write("app.yaml", ENTRY.format(name="app", location="MESH_EXTERNAL", port=apps["a"], more=""))
    e.write("gateway.yaml", GATEWAY.format(one=e.one, two=e.two))
    yield e.start()
    e.stop()


def ask(port, path, method="GET", **headers):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    c.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    r = c.getresponse()
    r.read()
    c.close()
    return r


def test_a_route_of_a_gateway_has_a_limit_at_all_its_ports(edge):
    assert [ask(p, "/checkout/1").status for p in (edge.one, edge.two) * 3] == [200] * 4 + [429] * 2
    assert [ask(edge.two, "/answer").status for _ in range(4)] == [418, 418, 429, 429]
    assert [ask(edge.one, "/else").status for _ in range(10)] == [200] * 10
    preflight = ask(edge.one, "/checkout", "OPTIONS", Origin="https://shop.test", Access_Control_Request_Method="GET")
    assert preflight.status == 200  # takes nothing, and a browser may read the refusal
    refusal = ask(edge.one, "/checkout", Origin="https://shop.test")
    assert refusal.status == 429 and refusal.getheader("access-control-allow-origin") == "https://shop.test"
    text = edge.page("/metrics")[1]
    assert 'rate_limit="default/edge",limit="each",result="allowed"} 16\n' in text  # what another refused is not taken
