"""What rules do with requests besides sending them somewhere: the documents of Istio, through real agents."""

import re

import pytest
from mesh import wait_until
from test_routing import virtual_service

ROUTE = "  route:\n  - destination:\n      host: web\n"


def lower(pairs):
    return [(k.lower(), v) for k, v in pairs]


def test_headers_are_edited_both_ways(m, clean):
    m.apply(virtual_service("- headers:\n    request:\n      set: {x-set: 'from %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', Host: other.test}\n"
                            "      add: {x-more: two}\n      remove: [x-gone]\n    response:\n      set: {x-said: 'yes'}\n" + ROUTE))
    answer = m["client"].http("http://web:8080/", headers={"x-gone": "1", "x-more": "one", "x-set": "mine"})
    told = lower(answer.json()["headers"])
    assert answer.json()["host"] == "other.test"
    assert [v for k, v in told if k == "x-set"][0].startswith("from ") and ("x-gone", "1") not in told
    assert [v for k, v in told if k == "x-more"] == ["one", "two"]
    assert answer.headers["x-said"] == "yes"


@pytest.mark.parametrize("match,rewrite,asked,got", [
    ("uri: {prefix: /api/}", "uri: /", "/api/x?q=1", "/x?q=1"),
    ("uri: {exact: /foo}", "uri: /new/path", "/foo?k=v", "/new/path?k=v"),
    ("uri: {prefix: /}", "uriRegexRewrite: {match: '^/service/([^/]+)(/.*)$', rewrite: '\\2/instance/\\1'}",
     "/service/foo/v1", "/v1/instance/foo"),
])
def test_paths_are_rewritten(m, clean, match, rewrite, asked, got):
    m.apply(virtual_service(f"- match:\n  - {match}\n  rewrite:\n    {rewrite}\n" + ROUTE))
    told = m["client"].http("http://web:8080" + asked).json()
    assert told["path"] == got and ("x-envoy-original-path", asked) in lower(told["headers"])


def test_redirects_and_answers_ask_nobody(m, clean):
    m.apply(virtual_service("- match:\n  - uri: {prefix: /old}\n  redirect: {prefixRewrite: /new, authority: there.test, redirectCode: 302}\n"
                            "- directResponse: {status: 418, body: {string: short}}\n"))
    answer = m["client"].http("http://web:8080/old/x?q=1")
    assert answer.status == 302 and answer.headers["location"] == "http://there.test/new/x?q=1"
    answer = m["client"].http("http://web:8080/else")
    assert answer.status == 418 and answer.body == "short"


def test_faults_delay_and_abort(m, clean):
    m.apply(virtual_service("- match:\n  - uri: {prefix: /late}\n  fault: {delay: {fixedDelay: 0.4s, percentage: {value: 100}}}\n" + ROUTE +
                            "- fault: {abort: {httpStatus: 555, percentage: {value: 100}}}\n" + ROUTE))
    answer = m["client"].http("http://web:8080/late")
    assert answer.status == 200 and answer.ms >= 380
    answer = m["client"].http("http://web:8080/")
    assert answer.status == 555 and answer.body == "fault filter abort"


def test_preflights_are_answered_by_the_agent(m, clean):
    m.apply(virtual_service("- corsPolicy: {allowOrigins: [{exact: https://shop.test}], allowMethods: [GET, POST], maxAge: 1h}\n" + ROUTE))
    answer = m["client"].http("http://web:8080/", method="OPTIONS",
                              headers={"Origin": "https://shop.test", "Access-Control-Request-Method": "POST"})
    said = answer.headers
    assert answer.status == 200 and answer.body == ""
    assert said["access-control-allow-origin"] == "https://shop.test" and said["access-control-allow-methods"] == "GET,POST"
    assert said["access-control-max-age"] == "3600"


def test_a_mirror_gets_copies(m, clean):
    m.apply(virtual_service("- mirror: {host: bank, port: {number: 8081}}\n" + ROUTE))
    wanted = [f"/copied/{i}" for i in range(10)]
    answers = [m["client"].http("http://web:8080" + path) for path in wanted]
    assert all(a.status == 200 and a.json()["app"].startswith("web-") for a in answers)
    copies = lambda: sorted(re.findall(r'"GET (/copied/\d+) ', m["vault"].access_log.read_text()))  # noqa: E731
    wait_until("each request has one copy", lambda: copies() == wanted, 10)


def web_policy(policy, subset=""):
    return ("---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: web\nspec:\n  host: web\n"
            f"  trafficPolicy: {policy}\n  subsets:\n  - name: v1\n    labels: {{version: v1}}\n{subset}")


def test_a_crowd_meets_the_limits_of_the_service(m, clean):
    m.apply(web_policy("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}}"))
    answers = m["client"].many("http://web:8080/delay/1", 24, threads=6)
    refused = [a for a in answers if a.status == 503]
    assert len(refused) >= 6 and len(answers) > len(refused) and {a.status for a in answers} == {200, 503}
    assert all(a.headers.get("x-envoy-overloaded") == "true" for a in refused)
    assert m["client"].metric("istio_requests_total", reporter="source", response_flags="UO") >= len(refused)
    assert all(a.status == 200 for a in m["client"].many("http://web:8080/", 10, threads=1))


def test_the_service_has_its_limits_for_those_outside_the_mesh_too(m, clean):
    """They are not known to be limited: it is the host of the service that refuses, though it never calls that service itself."""
    rule = web_policy("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, h2UpgradePolicy: UPGRADE}}}")
    m.apply(rule.replace("name: web", "name: bank").replace("host: web", "host: bank"))
    answers = m["outsider"].many(f"http://{m['vault'].ip4}:8081/delay/0.2", 24, threads=6)
    refused = [a for a in answers if a.status == 503]
    assert len(refused) >= 4 and len(answers) > len(refused) and {a.status for a in answers} == {200, 503}
    assert all(a.headers.get("x-envoy-overloaded") == "true" for a in refused)


def test_a_service_that_selects_workloads_limits_them(m, clean):
    m.apply("apiVersion: v1\nkind: Service\nmetadata: {name: front}\nspec:\n  selector: {app: bank}\n"
            "  ports: [{name: http, port: 80, targetPort: 8081}]\n" +
            web_policy("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}").replace("web", "front"))
    answers = m["outsider"].many(f"http://{m['vault'].ip4}:8081/delay/0.2", 24, threads=6)
    assert len([a for a in answers if a.status == 503]) >= 4 and {a.status for a in answers} == {200, 503}


def test_further_ports_of_a_service_are_taken_in_by_its_host(m, clean):
    m.apply("apiVersion: v1\nkind: Service\nmetadata: {name: bank}\nspec:\n  selector: {app: bank}\n"
            "  ports: [{name: http, port: 8081}, {name: http-admin, port: 90, targetPort: 8099}, {name: http-safe, port: 91, targetPort: 8082}]\n" +
            web_policy("{portLevelSettings: [{port: {number: 90}, connectionPool: {tcp: {maxConnections: 1}, "
                       "http: {http1MaxPendingRequests: 1}}}]}").replace("web", "bank"))
    answer = m["client"].http("http://bank:90/")
    assert answer.status == 200 and answer.json()["app"] == "secret"
    assert "sa/client" in dict(lower(answer.json()["headers"]))["x-forwarded-client-cert"]
    answers = m["outsider"].many(f"http://{m['vault'].ip4}:8099/delay/0.2", 24, threads=6)
    assert len([a for a in answers if a.status == 503]) >= 4 and {a.status for a in answers} == {200, 503}
    assert m["client"].http("http://bank:8081/").json()["app"] == "bank"
    assert m["client"].http("http://bank:91/").status == 503  # nobody's: that port is another service's


def test_a_rule_for_other_namespaces_alone_does_not_hold_in_its_own(m, clean):
    m.apply(web_policy("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}") + "  exportTo: [elsewhere]\n")
    assert all(a.status == 200 for a in m["client"].many("http://web:8080/delay/0.1", 24, threads=6))


def test_who_may_not_be_refused_waits(m, clean):
    m.apply(web_policy("{connectionPool: {tcp: {maxConnections: 1}}}"))
    answers = m["client"].many("http://web:8080/delay/0.05", 24, threads=6)
    assert [a.status for a in answers] == [200] * 24


def test_a_subset_has_a_policy_of_its_own(m, clean):
    m.apply(web_policy("{loadBalancer: {simple: RANDOM}}", "    trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}\n") +
            virtual_service("- match:\n  - uri: {prefix: /delay}\n  route:\n  - destination: {host: web, subset: v1}\n" + "-" + ROUTE[1:]))
    seen = {a.status for a in m["client"].many("http://web:8080/delay/1", 12, threads=4)}
    assert seen == {200, 503}
    assert all(a.status == 200 for a in m["client"].many("http://web:8080/", 20, threads=4))


def test_a_delegate_of_another_namespace_has_the_rules(m, clean):
    m.apply(virtual_service("- match:\n  - uri: {prefix: /api}\n  delegate: {name: api, namespace: team}\n" + "-" + ROUTE[1:]) +
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: api\n  namespace: team\nspec:\n  http:\n"
            "  - match:\n    - uri: {prefix: /api/bank}\n    route:\n    - destination: {host: bank.default.svc.cluster.local, port: {number: 8081}}\n"
            "  - directResponse: {status: 418}\n")
    m.wait_service(m["client"], "http://web:8080/")
    wait_until("the bank answers", lambda: m["client"].http("http://web:8080/api/bank/x").status == 200)
    assert m["client"].http("http://web:8080/api/bank/x").json()["app"] == "bank"
    assert m["client"].http("http://web:8080/api/else").status == 418
    assert m["client"].http("http://web:8080/").json()["app"].startswith("web-")


@pytest.mark.parametrize("http,says", [
    ("- headers: {request: {set: {':path': /x}}}\n" + ROUTE, "pseudo header"),
    ("- headers: {request: {set: {x-a: '50%'}}}\n" + ROUTE, "single '%'"),
    ("- headers: {response: {set: {content-length: '5'}}}\n" + ROUTE, "belongs to each connection"),
    ("- rewrite: {uriRegexRewrite: {match: 'a', rewrite: '\\1'}}\n" + ROUTE, "no group"),
    ("- redirect: {uri: /x, redirectCode: 404}\n", "redirectCode"),
])
def test_what_cannot_be_is_refused_with_its_place(m, clean, http, says):
    done = m.apply_raw(virtual_service(http))
    assert done.returncode != 0 and says in done.stdout + done.stderr, done
