"""Finer points of rules for HTTP, at a gateway and at a listener for callers of this host. Each row has a host of its own."""

import http.client
import json

import pytest
from mesh import PATIENCE
from test_standalone import ENTRY, Edge, apps, free_port, front  # noqa: F401

A = "    route: [{destination: {host: a.test}}]\n"
B = "  - route: [{destination: {host: b.test}}]\n"


def if_(match, then=A, otherwise=B):
    return f"  - match: [{match}]\n{then}{otherwise}"


# name, rules, (method, path, fields), what comes: status, and then what `field` says (None: it is not there)
ROWS = [
    # What the gateway says of a client counts, also in rules; what the client says of itself does not.
    ("proto", if_("{headers: {x-forwarded-proto: {exact: http}}}"), ("GET", "/", []), (200, "x-app", "a")),
    ("proto-said", if_("{headers: {x-forwarded-proto: {exact: https}}}"), ("GET", "/", [("X-Forwarded-Proto", "https")]),
     (200, "x-app", "b")),
    ("from", if_("{headers: {x-forwarded-for: {regex: '.*127[.]0[.]0[.]1'}}}"), ("GET", "/", []), (200, "x-app", "a")),
    ("from-several", if_("{headers: {x-forwarded-for: {exact: '1.1.1.1,2.2.2.2,127.0.0.1'}}}"),
     ("GET", "/", [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")]), (200, "x-app", "a")),
    ("id", if_("{headers: {x-request-id: {}}}"), ("GET", "/", []), (200, "x-app", "a")),
    ("orders", if_("{headers: {x-envoy-retry-on: {}}}"), ("GET", "/", [("X-Envoy-Retry-On", "5xx")]), (200, "x-app", "b")),
    ("cert", if_("{headers: {x-forwarded-client-cert: {}}}"), ("GET", "/", [("X-Forwarded-Client-Cert", "URI=me")]),
     (200, "x-app", "b")),
    ("lists", if_("{headers: {x: {exact: a}}}"), ("GET", "/", [("X", "a"), ("X", "b")]), (200, "x-app", "b")),
    ("gates", if_("{gateways: [door], sourceLabels: {app: nobody}}"), ("GET", "/", []), (200, "x-app", "a")),
    # Answers of the proxy itself.
    ("dead", "  - route: [{destination: {host: dead.test}}]\n    headers: {response: {set: {x-rule: '%RESPONSE_CODE%'}}}\n",
     ("GET", "/", []), (503, "x-rule", "503")),
    ("id-told", "  - directResponse: {status: 200}\n    headers: {response: {set: {x-rule: 'id %REQ(x-request-id)%'}}}\n",
     ("GET", "/", [("X-Request-Id", "seven")]), (200, "x-rule", "id seven")),
    ("way", "  - match: [{uri: {prefix: /old}}]\n    rewrite: {uri: /new}\n" + A +
     "    headers: {response: {set: {x-rule: '%REQ(:path)% %REQ(x-envoy-original-path?:path)%'}}}\n", ("GET", "/old/x?q=1", []),
     (200, "x-rule", "/new/x?q=1 /old/x?q=1")),
    ("again", "  - route: [{destination: {host: a.test}}]\n"
     "    headers: {request: {set: {x-envoy-retry-on: '5xx', x-envoy-max-retries: '2'}}, response: {add: {x-rule: 'yes'}}}\n",
     ("GET", "/fail/2/again", []), (200, "x-rule", "yes")),
    ("edge", "  - route: [{destination: {host: a.test}}]\n    headers: {response: {add: {x-rule: 'yes'}}}\n",
     ("GET", "/fail/2/edge", [("X-Envoy-Retry-On", "5xx"), ("X-Envoy-Max-Retries", "2")]), (503, "x-rule", "yes")),
    ("star", "  - route: [{destination: {host: a.test}}]\n    corsPolicy: {allowOrigins: [{prefix: '*'}], allowMethods: ['*']}\n",
     ("OPTIONS", "/", [("Origin", "https://o.test"), ("Access-Control-Request-Method", "PATCH")]),
     (200, "access-control-allow-methods", "PATCH")),
]


def call(port, host, method, path, fields):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", host), *fields]:
            c.putheader(name, value)
        c.endheaders()
        r = c.getresponse()
        return r, r.read().decode()
    finally:
        c.close()


@pytest.fixture(scope="module")
def edge(tmp_path_factory, apps):  # noqa: F811
    e = Edge(tmp_path_factory.mktemp("rules"))
    e.port, e.inner = free_port(), free_port()
    e.write("services.d/door.ini", "[gateway door]\nlabel.istio = ingressgateway\n"
            f"[listener inner]\nbind = 127.0.0.1:{e.inner}\nservice = a.test\n")
    entries = "".join(ENTRY.format(name=name, location="MESH_EXTERNAL", port=port, more="")
                      for name, port in {**apps, "dead": free_port()}.items())
    rules = "".join("apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                    f"metadata: {{name: {name}}}\nspec:\n  hosts: [{name}.lab]\n  gateways: [door]\n  http:\n{http_rules}---\n"
                    for name, http_rules, _, _ in ROWS)
    mesh = ("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: inner}\nspec:\n  hosts: [a.test]\n"
            "  http:\n"
            "  - match: [{scheme: {exact: https}, uri: {prefix: /red}}]\n    redirect: {uri: /there}\n"
            "  - match: [{scheme: {exact: https}}]\n    directResponse: {status: 418}\n" + "  -" + A[3:] + "---\n")
    e.write("all.yaml", entries + rules + mesh + front("  - directResponse: {status: 404}\n", ("http", "HTTP", e.port)))
    yield e.start()
    e.stop()


@pytest.mark.parametrize("name,asked,want", [(name, asked, want) for name, _, asked, want in ROWS], ids=[row[0] for row in ROWS])
def test_a_rule_decides_and_edits(edge, name, asked, want):
    r, body = call(edge.port, f"{name}.lab", *asked)
    assert (r.status, r.getheader(want[1])) == (want[0], want[2]), body


def test_orders_of_clients_do_not_reach_the_endpoint(edge):
    sent = [("X-Envoy-Original-Path", "/lie"), ("X-Envoy-Max-Retries", "9"), ("X-Envoy-Internal", "true"), ("X-Mine", "1")]
    r, body = call(edge.port, "id.lab", "GET", "/", sent)
    names = [k for k, _ in json.loads(body)["headers"]]
    assert r.status == 200 and "x-mine" in names
    assert not {"x-envoy-original-path", "x-envoy-max-retries", "x-envoy-internal"} & set(names)


def test_an_application_tells_the_scheme_on(edge):
    told = [("X-Forwarded-Proto", "https")]
    assert call(edge.inner, "a.test", "GET", "/", [])[0].status == 200
    assert call(edge.inner, "a.test", "GET", "/", told)[0].status == 418
    r, _ = call(edge.inner, "a.test", "GET", "/red", told)
    assert (r.status, r.getheader("location")) == (301, "https://a.test/there")
    assert call(edge.inner, "a.test", "GET", "/", [("X-Forwarded-Proto", "gopher")])[0].status == 200


@pytest.mark.parametrize("path,fields,status", [
    ("/fail/2/plain", {}, 503),
    ("/fail/2/five", {"Retry-On": "5xx", "Max-Retries": "2"}, 200),
    ("/fail/2/few", {"Retry-On": "5xx", "Max-Retries": "1"}, 503),
    ("/fail/2/default", {"Retry-On": "5xx"}, 200),  # the two of the default policy
    ("/fail/2/codes", {"Retriable-Status-Codes": "404, 503"}, 200),  # by which it tries again, where any are named
    ("/fail/2/none", {"Retry-On": "5xx, nonsense", "Max-Retries": "0"}, 503),
    ("/delay/60", {"Upstream-Rq-Timeout-Ms": "100"}, 504),
    ("/delay/60", {"Upstream-Rq-Per-Try-Timeout-Ms": "100"}, 504),
    ("/delay/0.2", {"Upstream-Rq-Timeout-Ms": "soon"}, 200),
])
def test_callers_of_this_host_may_order(edge, path, fields, status):
    r, body = call(edge.inner, "a.test", "GET", path, [(f"X-Envoy-{k}", v) for k, v in fields.items()])
    assert r.status == status, body


def test_orders_are_for_the_proxy(edge):
    sent = [("X-Envoy-Retry-On", "5xx"), ("X-Envoy-Upstream-Rq-Timeout-Ms", "5000"), ("X-Envoy-Force-Trace", "true")]
    fields = dict(json.loads(call(edge.inner, "a.test", "GET", "/", sent)[1])["headers"])
    assert fields["x-envoy-expected-rq-timeout-ms"] == "5000"
    assert not {"x-envoy-retry-on", "x-envoy-upstream-rq-timeout-ms", "x-envoy-force-trace"} & set(fields)
