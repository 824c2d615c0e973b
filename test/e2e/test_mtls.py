"""Mutual TLS between members; PERMISSIVE, STRICT; who calls is known by certificate and by nothing else."""

import json
import re

import pytest
from conftest import on_each_backend as m  # noqa: F401
from mesh import Capture, wait_until

STRICT = """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: istio-system
spec:
  mtls:
    mode: STRICT
"""
MARKER = "marker-8d1f"


def headers(answer):
    return {k.lower(): v for k, v in answer.json()["headers"]}


def test_the_wire_holds_no_plaintext(m):
    capture = Capture(m)
    answer = m["client"].http("http://web:8080/", method="POST", headers={"x-note": MARKER}, body=MARKER * 50)
    wire = capture.stop()
    assert answer.status == 200 and headers(answer)["x-note"] == MARKER and answer.json()["body_bytes"] == len(MARKER) * 50
    assert len(wire) > 500 and MARKER.encode() not in wire and b"x-note" not in wire


def test_the_capture_would_have_seen_it(m):
    capture = Capture(m)
    m["outsider"].http(f"http://{m['web-v1'].ip4}:8080/", headers={"x-note": MARKER})
    assert MARKER.encode() in capture.stop()


def test_the_called_knows_the_caller(m):
    xfcc = headers(m["client"].http("http://bank:8081/"))["x-forwarded-client-cert"]
    assert "By=spiffe://cluster.local/ns/default/sa/bank;" in xfcc
    assert "URI=spiffe://cluster.local/ns/default/sa/client" in xfcc


def test_two_services_on_one_host_have_two_identities(m):
    by = [headers(m["client"].http(f"http://{n}/"))["x-forwarded-client-cert"].split(";")[0] for n in ("bank:8081", "safe:8082")]
    assert by == ["By=spiffe://cluster.local/ns/default/sa/bank", "By=spiffe://cluster.local/ns/default/sa/safe"]


def test_a_stranger_cannot_claim_an_identity(m):
    forged = "By=x;URI=spiffe://cluster.local/ns/default/sa/client"
    told = headers(m["outsider"].http(f"http://{m['vault'].ip4}:8081/", headers={"x-forwarded-client-cert": forged}))
    assert "sa/client" not in told.get("x-forwarded-client-cert", "")
    told = headers(m["client"].http("http://bank:8081/", headers={"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/x/sa/root"}))
    assert "sa/root" not in told["x-forwarded-client-cert"]


def test_permissive_takes_both(m):
    assert m["outsider"].http(f"http://{m['vault'].ip4}:8081/").status == 200
    assert m["client"].http("http://bank:8081/").status == 200
    v = m["vault"]
    assert v.metric("istio_requests_total", reporter="destination", connection_security_policy="none") >= 1
    assert v.metric("istio_requests_total", reporter="destination", connection_security_policy="mutual_tls") >= 1


def test_strict_refuses_plaintext_from_outside(m, clean):
    before = m["outsider"].http(f"http://{m['vault'].ip4}:8081/")
    m.apply(STRICT)
    for host, port in (("vault", 8081), ("vault", 8082), ("web-v1", 8080)):
        answer = m["outsider"].http(f"http://{m[host].ip4}:{port}/")
        assert answer.is_refused, answer
    assert before.status == 200
    assert [m["client"].http(f"http://{n}/").status for n in ("web:8080", "bank:8081", "safe:8082")] == [200] * 3
    assert m["outsider"].http(f"http://{m['vault'].ip4}:8099/").status == 200  # no service, no rule


def test_strict_counts_for_the_hosts_own_address_too(m, clean):
    m.apply(STRICT)
    assert m["vault"].http(f"http://{m['vault'].ip4}:8081/").status == 0
    assert m["vault"].http("http://bank:8081/").status == 200


def test_strict_for_one_workload(m, clean):
    m.apply(STRICT.replace("istio-system", "default").replace("name: default", "name: bank")
            .replace("spec:\n", "spec:\n  selector:\n    matchLabels:\n      app: bank\n"))
    assert m["outsider"].http(f"http://{m['vault'].ip4}:8081/").status == 0
    assert m["outsider"].http(f"http://{m['vault'].ip4}:8082/").status == 200


def test_strict_with_an_exception_for_a_port(m, clean):
    m.apply(STRICT + "---\n" + STRICT.replace("istio-system", "default").replace("name: default", "name: bank")
            .replace("spec:\n", "spec:\n  selector:\n    matchLabels:\n      app: bank\n")
            + "  portLevelMtls:\n    8081:\n      mode: PERMISSIVE\n")
    assert m["outsider"].http(f"http://{m['vault'].ip4}:8081/").status == 200
    assert m["outsider"].http(f"http://{m['vault'].ip4}:8082/").status == 0


def test_taking_strict_back(m, clean):
    m.apply(STRICT)
    assert m["outsider"].http(f"http://{m['vault'].ip4}:8081/").status == 0
    m.delete("peerauthentication", "default", "istio-system")
    assert m["outsider"].http(f"http://{m['vault'].ip4}:8081/").status == 200


@pytest.mark.parametrize("alpn", ["istio", "istio-peer-exchange", None])
def test_tls_without_a_certificate_is_no_way_in(m, clean, alpn):
    m.apply(STRICT)
    tls = ["openssl", "s_client", "-connect", f"{m['vault'].ip4}:8081", "-quiet", *(["-alpn", alpn] if alpn else [])]
    done = m["outsider"].run(*tls, text="GET / HTTP/1.1\r\nHost: bank\r\n\r\n")
    assert "200 OK" not in done.stdout and '"app"' not in done.stdout


def test_a_self_made_certificate_is_no_way_in(m, clean):
    m.apply(STRICT)
    o = m["outsider"]
    done = o.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k.pem",
                 "-out", "c.pem", "-days", "1", "-subj", "/", "-addext",
                 "subjectAltName=critical,URI:spiffe://cluster.local/ns/default/sa/client")
    assert done.returncode == 0, done.stderr
    done = o.run("openssl", "s_client", "-connect", f"{m['vault'].ip4}:8081", "-quiet", "-alpn", "istio", "-cert", "c.pem", "-key",
                 "k.pem", text="GET / HTTP/1.1\r\nHost: bank\r\n\r\n")
    assert "200 OK" not in done.stdout and '"app"' not in done.stdout


def test_certificates_are_of_the_mesh_ca(m):
    done = m["outsider"].run("openssl", "s_client", "-connect", f"{m['vault'].ip4}:8081", "-alpn", "istio", "-showcerts", text="")
    leaf = m["outsider"].run("openssl", "x509", "-noout", "-text", text=done.stdout)
    assert "URI:spiffe://cluster.local/ns/default/sa/bank" in leaf.stdout, done.stdout + done.stderr


def test_keys_are_private_and_pages_show_fingerprints(m):
    v = m["vault"]
    for key in (v.state / "agent").rglob("*.key"):
        assert key.stat().st_mode & 0o777 == 0o600, key
    certs = json.loads(v.page("/certs")[1])["certificates"]
    assert {"bank", "safe"} <= {c["identity"].rsplit("/", 1)[1] for c in certs}
    assert all(re.fullmatch(r"[0-9a-fA-F:]{40,}", c["fingerprint"]) for c in certs)
    for page in ("/config_dump", "/clusters", "/certs", "/status", "/metrics"):
        assert "PRIVATE KEY" not in v.page(page)[1]


def test_renewal_needs_no_restart(m):
    serials = {c["serial"] for c in json.loads(m["vault"].page("/certs")[1])["certificates"]}
    assert len(serials) >= 4  # host, callers, bank, safe
    assert m.api("GET", "/v1/certificates")[0] == 200
    issued = {c["serial"] for c in m.api("GET", "/v1/certificates")[1]["items"]}
    wait_until("the ledger knows them all", lambda: serials <= issued)


def test_an_orderly_stop_does_not_forget_a_policy(m, clean):
    # A stopping agent withdraws its services, and the server then sends it less: that must not be what it starts from again.
    m.apply(STRICT.replace("istio-system", "default").replace("spec:", "spec:\n  selector:\n    matchLabels:\n      app: bank"))
    vault = m["vault"]
    assert vault.agent.stop() == 0
    wait_until("its callers are told that it is gone", lambda: m["client"].http("http://bank:8081/").status == 503)
    m.server_process.kill()
    try:
        vault.start_agent()
        outside = m["outsider"].http(f"http://{vault.ip4}:8081/")
        inside = m["client"].http("http://bank:8081/")
    finally:
        m.start_server()
        wait_until("all agents are back", lambda: all(h.status()["link"]["connected"] for h in m.agents()))
    assert outside.status == 0, outside
    assert inside.status == 503, inside  # still as they were told; its name stays
