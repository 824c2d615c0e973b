"""What it tells about itself: metrics by Istio's names, Envoy's access log, health and admin pages."""

import json
import os
import re
import signal

import pytest
from mesh import wait_until

LABELS = ("reporter source_workload source_canonical_service source_canonical_revision source_workload_namespace source_principal "
          "source_app source_version source_cluster destination_workload destination_workload_namespace destination_principal "
          "destination_app destination_version destination_service destination_canonical_service destination_canonical_revision "
          "destination_service_name destination_service_namespace destination_cluster request_protocol response_code "
          "grpc_response_status response_flags connection_security_policy").split()

LINE = re.compile(r'\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "(?P<method>\S+) (?P<path>\S+) (?P<protocol>\S+)" (?P<code>\d+) '
                  r'(?P<flags>\S+) (?P<details>\S+) (?P<termination>\S+) "(?P<tls>[^"]*)" (?P<received>\d+) (?P<sent>\d+) '
                  r'(?P<duration>\d+) (?P<service>\d+|-) "(?P<forwarded>[^"]*)" "(?P<agent>[^"]*)" "(?P<id>[^"]*)" '
                  r'"(?P<authority>[^"]*)" "(?P<upstream>[^"]*)" (?P<cluster>\S+) \S+ \S+ \S+ (?P<sni>\S+) (?P<route>\S+)')


def series(text, name):
    for line in text.splitlines():
        if line.startswith(name + "{"):
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line[:line.rindex("}")]))
            yield labels, float(line.rsplit(" ", 1)[1])


def test_requests_are_counted_on_both_sides_with_istios_labels(m):
    before = {h: m[h].metric("istio_requests_total", destination_service_name="bank", response_code="418") for h in ("client", "vault")}
    for _ in range(3):
        m["client"].http("http://bank:8081/status/418")
    for h, reporter in (("client", "source"), ("vault", "destination")):
        def found(h=h, reporter=reporter):
            return [(labels, n) for labels, n in series(m[h].metrics(), "istio_requests_total")
                    if labels["reporter"] == reporter and labels["destination_service_name"] == "bank" and labels["response_code"] == "418"]
        wait_until("three are counted", lambda: sum(n for _, n in found()) == before[h] + 3)
        labels = found()[0][0]
        assert list(labels) == LABELS
        assert labels["source_principal"] == "spiffe://cluster.local/ns/default/sa/client"
        assert labels["destination_principal"] == "spiffe://cluster.local/ns/default/sa/bank"
        assert labels["destination_service"] == "bank.default.svc.cluster.local" and labels["request_protocol"] == "http"
        assert labels["connection_security_policy"] == ("unknown" if reporter == "source" else "mutual_tls")


def test_durations_and_sizes_are_histograms(m):
    m["client"].http("http://bank:8081/", method="POST", body="x" * 5000)
    text = m["client"].metrics()
    for name in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
        assert f"# TYPE {name} histogram" in text
        of_bank = [(x, n) for x, n in series(text, name + "_bucket") if x["destination_service_name"] == "bank" and x["response_code"] == "200"]
        bounds = [x["le"] for x, _ in of_bank]
        assert bounds[-1] == "+Inf" and len(bounds) >= 10
        assert of_bank[-1][1] == sum(n for x, n in series(text, name + "_count")
                                     if x["destination_service_name"] == "bank" and x["response_code"] == "200")
        values = [n for _, n in of_bank]
        assert values == sorted(values)


def test_metrics_are_well_formed(m):
    for host in ("client", "vault"):
        for line in m[host].metrics().splitlines():
            assert re.fullmatch(r'#.*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{(\w+="(?:[^"\\]|\\.)*",?)*\})? -?[0-9.e+]+(Inf)?', line), line


def test_failures_have_their_flags(m):
    m["client"].http("http://bank:8081/close")
    assert m["client"].metric("istio_requests_total", destination_service_name="bank", response_code="503") >= 1


def test_the_server_has_metrics(m):
    text = m.api("GET", "/metrics")[1]
    for name in ("pilot_xds", "pilot_services", "citadel_server_success_cert_issuance_count", "weft_revision", "istio_build"):
        assert re.search(rf"^{name}[ {{]", text, re.M), name


def test_the_access_log_is_envoys_default_format(m):
    mark = "/logged/exactly?this=1"
    m["client"].http("http://bank:8081" + mark, headers={"user-agent": "tester/1.0"}, method="POST", body="12345")

    def line_of(h):
        for line in m[h].access_log.read_text().splitlines():
            if mark in line:
                return line
        return None
    for h, cluster in (("client", "outbound|8081||bank.default.svc.cluster.local"), ("vault", "inbound|8081||")):
        line = wait_until(f"{h} writes the line", lambda h=h: line_of(h))
        found = LINE.fullmatch(line)
        assert found, line
        assert (found["method"], found["path"], found["protocol"], found["code"]) == ("POST", mark, "HTTP/1.1", "200")
        assert (found["flags"], found["details"], found["received"], found["agent"]) == ("-", "via_upstream", "5", "tester/1.0")
        assert found["cluster"] == cluster and found["authority"] == "bank:8081" and int(found["sent"]) > 0
        assert re.fullmatch(r"[0-9a-f-]{36}", found["id"])
    lines = [line_of("client"), line_of("vault")]
    assert LINE.fullmatch(lines[0])["id"] == LINE.fullmatch(lines[1])["id"]  # one request, one id on both hosts


def test_a_log_line_cannot_be_forged(m):
    got = m["client"].tcp(f"{m['client'].resolve('bank')[0]}:8081", until="\r\n\r\n",
                          send='GET /forge HTTP/1.1\r\nHost: bank\r\nUser-Agent: a" "b" [2020-01-01] "GET /fake\r\n\r\n')
    assert got["got"].startswith("HTTP/1.1 200")
    line = wait_until("the line is there", lambda: next((x for x in m["client"].access_log.read_text().splitlines() if "/forge" in x), None))
    assert line.count("\n") == 0 and line.startswith("[20")


PAGES = {"/": "/healthz", "/healthz": "ok", "/readyz": "ready", "/healthz/ready": "ready", "/metrics": "# TYPE", "/stats/prometheus": "# TYPE",
         "/status": '"ready":true', "/config_dump": "{", "/clusters": '"clusters"', "/certs": '"fingerprint"', "/logging": "level:"}


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_the_agent(m, page):
    status, text = m["client"].page(page)
    assert status == 200 and PAGES[page] in text
    assert m["client"].http(f"http://127.0.0.1:15000{page}").status == 200


def test_json_pages_are_json(m):
    for page in ("/status", "/config_dump", "/clusters", "/certs"):
        json.loads(m["client"].page(page)[1])


def test_what_each_port_shows(m):
    c = m["client"]
    assert c.http("http://127.0.0.1:15020/metrics").status == 200 and c.http("http://127.0.0.1:15020/config_dump").status == 404
    assert c.http("http://127.0.0.1:15021/healthz/ready").status == 200 and c.http("http://127.0.0.1:15021/metrics").status == 404
    assert m["outsider"].http(f"http://{c.ip4}:15021/healthz/ready").status == 200  # for load balancers
    for port in (15000, 15020):
        assert m["outsider"].http(f"http://{c.ip4}:{port}/").status == 0  # loopback only


def test_pages_are_not_for_other_sites(m):
    assert m["client"].http("http://127.0.0.1:15000/status", headers={"Host": "evil.example.com"}).status == 403


def test_unknown_pages_and_methods(m):
    assert m["client"].page("/nothing")[0] == 404
    assert m["client"].page("/status", "DELETE")[0] == 405
    assert m["client"].page("/logging?level=loud", "POST")[0] == 400


def test_the_server_is_healthy(m):
    assert m.api("GET", "/healthz") == (200, "ok\n") and m.api("GET", "/readyz")[0] == 200


def test_every_change_is_in_the_audit(m):
    m.apply("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: audited\nspec: {}\n")
    m.delete("peerauthentication", "audited")
    actions = [row["action"] for row in m.api("GET", "/v1/audit")[1]["items"]]
    assert {"apply", "delete", "token.create", "host.join"} <= set(actions)
    done = m.control.weft("get", "audit")
    assert done.returncode == 0 and "token.create" in done.stdout


def test_the_access_log_is_reopened_for_rotation(m):
    c = m["client"]
    old = c.access_log.with_suffix(".1")
    c.access_log.rename(old)
    os.kill(c.agent.pid, signal.SIGUSR1)
    wait_until("there is a new file", c.access_log.exists)
    c.http("http://web:8080/after-rotation")
    wait_until("the line is in the new file", lambda: "after-rotation" in c.access_log.read_text())
    assert "after-rotation" not in old.read_text()
