"""Rules decide where a request goes: matches, subsets, weights, retries, timeouts, balancing, gateways."""

import collections
import json
import re

import pytest
from conftest import APP
from mesh import wait_until
from test_standalone import authority, leaf

SUBSETS = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: web
spec:
  host: web
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
"""


def virtual_service(http, name="web", host="web"):
    body = "\n".join("  " + line for line in http.strip("\n").splitlines())
    return (f"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: {name}\nspec:\n"
            f"  hosts:\n  - {host}\n  http:\n{body}\n")


def to(subset, weight=None):
    return f"  - destination:\n      host: web\n      subset: {subset}\n" + (f"    weight: {weight}\n" if weight else "")


def apps(answers):
    return collections.Counter(a.json()["app"] if a.status == 200 else a.status for a in answers)


# One match and which requests it takes: (path, headers, method).
MATCHES = [
    ("uri: {exact: /a}", [("/a", {}, "GET"), ("/a?q=1", {}, "GET")], [("/a/", {}, "GET"), ("/ab", {}, "GET"), ("/A", {}, "GET")]),
    ("uri: {prefix: /api/}", [("/api/", {}, "GET"), ("/api/x", {}, "GET")], [("/api", {}, "GET"), ("/x/api/", {}, "GET")]),
    ("uri: {regex: '/item/[0-9]+'}", [("/item/42", {}, "GET")], [("/item/", {}, "GET"), ("/item/42/x", {}, "GET")]),
    ("{uri: {exact: /Shop}, ignoreUriCase: true}", [("/shop", {}, "GET"), ("/SHOP", {}, "GET")], [("/shops", {}, "GET")]),
    ("method: {exact: POST}", [("/", {}, "POST")], [("/", {}, "GET")]),
    ("headers: {end-user: {exact: jason}}", [("/", {"End-User": "jason"}, "GET")],
     [("/", {"end-user": "Jason"}, "GET"), ("/", {}, "GET")]),
    ("headers: {agent: {prefix: Moz}}", [("/", {"agent": "Mozilla"}, "GET")], [("/", {"agent": "xMoz"}, "GET")]),
    ("headers: {tier: {regex: 'gold|silver'}}", [("/", {"tier": "gold"}, "GET")], [("/", {"tier": "golden"}, "GET")]),
    ("headers: {x-there: {}}", [("/", {"x-there": "anything"}, "GET")], [("/", {}, "GET")]),
    ("withoutHeaders: {x-old: {exact: 'yes'}}", [("/", {}, "GET"), ("/", {"x-old": "no"}, "GET")], [("/", {"x-old": "yes"}, "GET")]),
    ("queryParams: {beta: {exact: 'true'}}", [("/?beta=true", {}, "GET"), ("/?a=b&beta=true", {}, "GET")],
     [("/?beta=false", {}, "GET"), ("/", {}, "GET")]),
    ("{uri: {prefix: /x}, headers: {a: {exact: b}}}", [("/x", {"a": "b"}, "GET")], [("/x", {}, "GET"), ("/", {"a": "b"}, "GET")]),
    ("authority: {exact: 'web:8080'}", [("/", {}, "GET")], []),
    ("port: 8080", [("/", {}, "GET")], []),
    ("port: 9999", [], [("/", {}, "GET")]),
]


@pytest.mark.parametrize("match,taken,left", MATCHES, ids=[x[0].replace(" ", "") for x in MATCHES])
def test_a_match_takes_what_istio_says(m, clean, match, taken, left):
    flow = match if match.startswith("{") else "{" + match + "}"
    m.apply(SUBSETS + virtual_service(f"- match:\n  - {flow}\n  route:\n{to('v2')}- route:\n{to('v1')}"))
    for requests, want in ((taken, "web-v2"), (left, "web-v1")):
        for path, headers, method in requests:
            answer = m["client"].http("http://web:8080" + path, method=method, headers=headers)
            assert answer.status == 200 and answer.json()["app"] == want, (path, headers, method, answer)


def test_hosts_that_no_service_has_are_known_by_their_rules(m, clean):
    send = "- route:\n  - destination: {host: bank, port: {number: 8081}}\n"
    m.apply(virtual_service(send, "old", "old.example.com") + virtual_service(send, "wild", "'*.wild.example'"))
    for host in ("old.example.com", "a.wild.example"):
        assert m["client"].http("http://web/", headers={"Host": host}).json()["app"] == "bank"
    assert m["client"].http("http://web/", headers={"Host": "new.example.com"}).status == 404


def test_the_first_match_wins(m, clean):
    m.apply(SUBSETS + virtual_service(f"- match:\n  - uri: {{prefix: /}}\n  route:\n{to('v1')}- match:\n  - uri: {{exact: /a}}\n"
                                      f"  route:\n{to('v2')}"))
    assert m["client"].http("http://web:8080/a").json()["app"] == "web-v1"


def test_any_of_several_matches(m, clean):
    m.apply(SUBSETS + virtual_service(f"- match:\n  - uri: {{exact: /a}}\n  - uri: {{exact: /b}}\n  route:\n{to('v2')}"
                                      f"- route:\n{to('v1')}"))
    assert [m["client"].http(f"http://web:8080/{p}").json()["app"] for p in "abc"] == ["web-v2", "web-v2", "web-v1"]


def test_no_route_is_404(m, clean):
    m.apply(SUBSETS + virtual_service(f"- match:\n  - uri: {{exact: /only}}\n  route:\n{to('v1')}"))
    assert m["client"].http("http://web:8080/only").status == 200
    assert m["client"].http("http://web:8080/other").status == 404


def test_without_rules_every_endpoint_gets_its_share(m):
    seen = apps(m["client"].many("http://web:8080/", 200, threads=1))  # by chance: nothing else is under way
    assert set(seen) == {"web-v1", "web-v2"} and min(seen.values()) >= 50, seen  # seven sigma


def test_weights_hold_over_a_thousand_requests(m, clean):
    m.apply(SUBSETS + virtual_service(f"- route:\n{to('v1', 90)}{to('v2', 10)}"))
    seen = apps(m["client"].many("http://web:8080/", 1000))
    assert seen["web-v1"] + seen["web-v2"] == 1000 and 45 <= seen["web-v2"] <= 160, seen  # six sigma


def test_weight_zero_gets_nothing(m, clean):
    m.apply(SUBSETS + virtual_service(f"- route:\n{to('v1', 100)}{to('v2', 0)}".replace("weight: None", "weight: 0")))
    assert apps(m["client"].many("http://web:8080/", 100)) == {"web-v1": 100}


def test_round_robin_takes_turns(m, clean):
    m.apply(SUBSETS.replace("  subsets:", "  trafficPolicy:\n    loadBalancer:\n      simple: ROUND_ROBIN\n  subsets:"))
    seen = apps(m["client"].many("http://web:8080/", 100, threads=1))
    assert abs(seen["web-v1"] - seen["web-v2"]) <= 2, seen


@pytest.mark.parametrize("simple", ["RANDOM", "LEAST_REQUEST"])
def test_other_balancers_use_all(m, clean, simple):
    m.apply(SUBSETS.replace("  subsets:", f"  trafficPolicy:\n    loadBalancer:\n      simple: {simple}\n  subsets:"))
    seen = apps(m["client"].many("http://web:8080/", 200, threads=1))
    assert set(seen) == {"web-v1", "web-v2"} and min(seen.values()) >= 40, seen


RETRY = "- route:\n  - destination:\n      host: web\n  retries:\n    attempts: {n}\n    perTryTimeout: 20s\n    retryOn: {on}\n"


def test_retries_hide_failures(m, clean):
    m.apply(virtual_service(RETRY.format(n=3, on="5xx")))
    answer = m["client"].http("http://web:8080/fail/2/a")  # each instance fails twice, then answers
    assert answer.status in (200, 503)
    answers = [m["client"].http(f"http://web:8080/fail/1/{i}") for i in range(20)]  # fails once per instance
    assert all(a.status == 200 for a in answers), answers


def asked(m, path):
    """How often the applications of web were asked for this path; a path is good for one test, for asking them counts too."""
    answers = [m[h].http("http://127.0.0.1:8080" + path) for h in ("web-v1", "web-v2")]
    return sum(a.json()["seen"] if a.status == 200 else int(a.body.split()[1]) for a in answers) - len(answers)


def test_retries_end(m, clean):
    m.apply(virtual_service(RETRY.format(n=2, on="5xx")))
    assert m["client"].http("http://web:8080/fail/99/end").status == 503
    assert asked(m, "/fail/99/end") == 3  # one request, two retries


def test_named_headers_of_an_answer_ask_for_another_try(m, clean):
    m.apply(virtual_service(RETRY.format(n=2, on="retriable-headers")))
    answer = m["client"].http("http://web:8080/named/it-has", headers={"x-envoy-retriable-header-names": "x-none, x-app"})
    assert answer.status == 200 and asked(m, "/named/it-has") == 3
    assert "x-envoy-retriable-header-names" not in answer.body.lower()
    answer = m["client"].http("http://web:8080/named/it-has-not", headers={"x-envoy-retriable-header-names": "x-none"})
    assert answer.status == 200
    assert asked(m, "/named/it-has-not") == 1


def test_a_rule_may_name_the_headers_itself(m, clean):
    m.apply(virtual_service(RETRY.format(n=1, on="retriable-headers") +
                            "  headers:\n    request:\n      set: {x-envoy-retriable-header-names: x-app}\n"))
    assert m["client"].http("http://web:8080/named/by-rule").status == 200
    assert asked(m, "/named/by-rule") == 2


def test_no_retries_when_told_so(m, clean):
    m.apply(virtual_service("- route:\n  - destination:\n      host: web\n  retries:\n    attempts: 0\n"))
    statuses = [m["client"].http(f"http://web:8080/fail/1/n{i}").status for i in range(5)]
    assert statuses == [503] * 5


def test_a_request_that_changes_things_is_not_repeated_by_default(m):
    answers = [m["client"].http(f"http://web:8080/status/500?{i}", method="POST", body="x") for i in range(3)]
    assert [a.status for a in answers] == [500] * 3


def test_default_retries_find_a_living_endpoint(m):
    """A host that is gone (nobody listens there any more) costs no request: connect failures are tried again elsewhere."""
    h = m["web-v2"]
    h.agent.kill()
    h.apps["web"].kill()
    try:
        answers = m["client"].many("http://web:8080/", 60, threads=2)
        assert apps(answers) == {"web-v1": 60}
    finally:
        h.app("web", 8080, APP, NAME="web-v2")
        h.start_agent()
        m.wait_apps(m["client"], "http://web:8080/", "web-v1", "web-v2")


def test_timeout_answers_504_on_time(m, clean):
    m.apply(virtual_service("- match:\n  - uri: {exact: /delay/60}\n  route:\n  - destination:\n      host: web\n  timeout: 0.5s\n"
                            "- route:\n  - destination:\n      host: web\n  timeout: 20s\n"))
    answer = m["client"].http("http://web:8080/delay/60")  # the caller's own patience ends earlier
    assert answer.status == 504 and answer.ms >= 450, answer
    assert m["client"].http("http://web:8080/delay/0.6").status == 200


def test_per_try_timeout_leaves_time_for_another_try(m, clean):
    m.apply(virtual_service("- route:\n  - destination:\n      host: web\n  timeout: 90s\n  retries:\n    attempts: 1\n"
                            "    perTryTimeout: 0.3s\n    retryOn: 5xx\n"))
    answer = m["client"].http("http://web:8080/delay/60")  # longer than the caller waits
    assert answer.status == 504 and answer.ms >= 550, answer


def test_streams_large_bodies_both_ways(m):
    answer = m["client"].http("http://web:8080/", method="POST", body="y" * 3_000_000)
    assert answer.status == 200 and answer.json()["body_bytes"] == 3_000_000
    done = m["client"].curl("-o", "/dev/null", "-w", "%{http_code} %{size_download}", "http://web:8080/bytes/5000000")
    assert done.stdout == "200 5000000"
    done = m["client"].curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@-", "http://web:8080/", text="z" * 100_000)
    assert '"body_bytes": 100000' in done.stdout
    assert m["client"].http("http://web:8080/chunked/5").body == "".join(f"piece {i}\n" for i in range(5))


def test_head_and_no_content(m):
    assert m["client"].http("http://web:8080/", method="HEAD").body == ""
    assert m["client"].http("http://web:8080/status/204").status == 204


def test_the_service_also_answers_on_port_80(m):
    assert m["client"].http("http://web/").json()["app"].startswith("web-")


def test_statuses_and_errors_pass_unchanged(m):
    for status in (201, 301, 404, 418, 500):
        assert m["client"].http(f"http://web:8080/status/{status}").status == status


def test_an_application_that_hangs_up_gives_503(m):
    assert m["client"].http("http://bank:8081/close").status == 503


@pytest.mark.parametrize("raw,status", [
    ("GET / HTTP/1.1\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
    ("GET / HTTP/1.1\r\nHost : web\r\n\r\n", "400"),
    ("GET / HTTP/1.1\r\nHost: web\r\nX: " + "a" * 70000 + "\r\n\r\n", "431"),
])
def test_ambiguous_requests_are_refused(m, raw, status):
    got = m["client"].tcp(f"{m['client'].resolve('web')[0]}:8080", send=raw, until="\r\n")["got"]
    assert got.startswith(f"HTTP/1.1 {status} "), got[:200]


def test_an_external_service_by_service_entry(m, clean):
    m.apply(f"""apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: other
spec:
  hosts:
  - other.example.com
  ports:
  - number: 8080
    name: http
    protocol: HTTP
  resolution: STATIC
  location: MESH_EXTERNAL
  endpoints:
  - address: {m['outsider'].ip4}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: other
spec:
  hosts:
  - other.example.com
  http:
  - timeout: 0.5s
    route:
    - destination:
        host: other.example.com
""")
    answer = m.wait_service(m["client"], "http://other.example.com:8080/x")
    told = answer.json()
    assert told["app"] == "other" and told["host"] == "other.example.com:8080"
    assert not any(k.lower() == "x-forwarded-client-cert" for k, _ in told["headers"])
    assert m["client"].http("http://other.example.com:8080/delay/60").status == 504


def test_workload_entries_are_the_endpoints_of_a_selector(m, clean):
    entry = ("---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\n"
             "spec: {{address: {ip}, labels: {{app: pair}}, ports: {{http: {port}}}}}\n")
    m.apply("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: pair}\nspec:\n  hosts: [pair.example.com]\n"
            "  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n  workloadSelector: {labels: {app: pair}}\n"
            + entry.format(name="one", ip=m["outsider"].ip4, port=8080) + entry.format(name="two", ip=m["vault"].ip4, port=8099))
    m.wait_service(m["client"], "http://pair.example.com/")
    wait_until("both serve", lambda: set(apps(m["client"].many("http://pair.example.com/", 10))) == {"other", "secret"})
    m.delete("workloadentry", "two")
    wait_until("one is left", lambda: set(apps(m["client"].many("http://pair.example.com/", 20))) == {"other"})


GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: door
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 8000
      name: http
      protocol: HTTP
    hosts:
    - shop.example.com
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: door
spec:
  hosts:
  - shop.example.com
  gateways:
  - door
  http:
  - match:
    - uri:
        prefix: /bank
    route:
    - destination:
        host: bank
        port:
          number: 8081
  - match:
    - uri:
        prefix: /web
    route:
    - destination:
        host: web
        port:
          number: 8080
"""


MUTUAL = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: strict-door}}
spec:
  selector: {{istio: strict}}
  servers:
  - port: {{number: 8443, name: https, protocol: HTTPS}}
    hosts: [shop.example.com]
    tls: {{mode: MUTUAL, serverCertificate: {certs}/shop.crt, privateKey: {certs}/shop.key, caCertificates: {certs}/ca.pem}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: strict-door}}
spec:
  hosts: [shop.example.com]
  gateways: [strict-door]
  http:
  - route: [{{destination: {{host: web, port: {{number: 8080}}}}}}]
"""


def test_a_gateways_client_and_the_gateway_are_both_told(m, clean, tmp_path):
    edge = m.host("edge-strict").service("edge-strict", 0, kind="gateway", label_istio="strict").join()
    certs = authority(tmp_path)
    tmp_path.chmod(0o755)
    leaf(certs, "shop", "DNS:shop.example.com", certs)
    leaf(certs, "friend", "DNS:friend.test", certs)
    m.apply(MUTUAL.format(certs=certs))
    argv = ["--connect-to", f"::{edge.ip4}:8443", "--cacert", certs / "ca.pem", "--cert", certs / "friend.crt", "--key", certs / "friend.key",
            "-H", "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/x/sa/root", "https://shop.example.com:8443/"]
    wait_until("the gateway serves", lambda: '"app"' in m["outsider"].curl(*argv).stdout)
    told = {k.lower(): v for k, v in json.loads(m["outsider"].curl(*argv).stdout)["headers"]}["x-forwarded-client-cert"]
    assert re.fullmatch('Hash=[0-9a-f]{64};Cert="[^"]*";Subject="CN=friend";URI=;DNS=friend.test,'
                        'By=spiffe://cluster.local/ns/default/sa/web[^,]*;URI=spiffe://cluster.local/ns/default/sa/edge-strict', told)
    m.delete("virtualservice", "strict-door", sync=False)
    m.delete("gateway", "strict-door")
    edge.agent.stop()


def test_a_gateway_opens_the_door(m, clean):
    edge = m.host("edge").service("edge", 0, kind="gateway", label_istio="ingressgateway").join()
    m.apply(GATEWAY)
    out, url = m["outsider"], f"http://{edge.ip4}:8000"
    host = {"Host": "shop.example.com"}
    for path in ("/bank/x", "/web/x"):
        wait_until(f"{path} is served", lambda path=path: out.http(url + path, headers=host).status == 200)
    assert out.http(url + "/web").status == 404
    assert out.http(url + "/bank/x", headers=host).json()["app"] == "bank"
    told = out.http(url + "/web/x", headers=host).json()
    assert told["app"].startswith("web-")
    xfcc = {k.lower(): v for k, v in told["headers"]}["x-forwarded-client-cert"]
    assert "sa/edge" in xfcc  # the gateway calls under its own name
    forged = {**host, "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/x/sa/root"}
    assert "sa/root" not in str(out.http(url + "/web/x", headers=forged).json()["headers"])
    assert out.http(url + "/other", headers=host).status == 404
    assert out.http(url + "/web", headers={"Host": "elsewhere.example.com"}).status == 404
    m.delete("virtualservice", "door", sync=False)  # first what refers to the other
    m.delete("gateway", "door")
    assert out.http(url + "/web", headers=host).status == 0  # closed again
    edge.agent.stop()
