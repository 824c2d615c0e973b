"""Sidecars: what the callers of a host see, and what its services take in (behaviours E01, E04, E06)."""

import pytest
from conftest import APP
from mesh import Mesh, wait_until
from test_standalone import authority, leaf

STRICT = """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: istio-system
spec:
  mtls:
    mode: STRICT
"""
SELECTED = "  workloadSelector: {labels: {app: reviews}}\n"
TAKEN = SELECTED + "  ingress:\n  - port: {number: 9080, protocol: HTTP}\n    defaultEndpoint: 127.0.0.1:9080\n"


def sidecar(spec, name="one", ns="shop"):
    return f"---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata:\n  name: {name}\n  namespace: {ns}\nspec:\n{spec}"


@pytest.fixture(scope="module")
def m():
    """front of namespace shop on one host; on the other reviews of shop, which listens on loopback alone, and safe of bank."""
    with Mesh() as mesh:
        mesh.server()
        b = mesh.host("back")
        b.service("reviews", 9080, protocol="http", namespace="shop").app("reviews", 9080, APP, NAME="reviews", BIND="127.0.0.1")
        b.service("safe", 9090, protocol="http", namespace="bank").app("safe", 9090, APP, NAME="safe")
        b.join()
        f = mesh.host("front").service("front", 8080, protocol="http", namespace="shop").app("front", 8080, APP, NAME="front")
        f.join()
        mesh.host("outsider").app("other", 8080, APP, NAME="other")
        mesh.wait_service(f, "http://safe.bank:9090/")
        yield mesh


@pytest.fixture
def clean(m):
    yield m
    m.delete("service", "reviews", "shop", sync=False)
    m.clear()


def resolves(host, name, there):
    wait_until(f"{host.name} {'knows' if there else 'does not know'} {name}", lambda: bool(host.resolve(name)) == there)


def test_an_application_on_loopback_is_reached_where_ingress_says_so(m, clean):
    f = m["front"]
    assert f.http("http://reviews:9080/").status == 503  # dialled at the host's address, where nobody listens
    m.apply(sidecar(TAKEN))
    answer = m.wait_service(f, "http://reviews:9080/")
    assert answer.headers["x-app"] == "reviews"
    m.apply(STRICT)
    assert m.wait_service(f, "http://reviews:9080/").headers["x-app"] == "reviews"
    assert m["outsider"].http(f"http://{m['back'].ip4}:9080/").status == 0


def test_egress_bounds_what_is_known(m, clean):
    f, b = m["front"], m["back"]
    m.apply(sidecar(TAKEN) + sidecar("  egress:\n  - hosts: [./*]\n", "ns"))
    m.wait_service(f, "http://reviews:9080/")
    resolves(f, "safe.bank", False)
    resolves(f, "reviews", True)
    assert f.http("http://safe.bank:9090/").status == 0
    resolves(b, "safe.bank", True)  # a host of several services calls as itself: another namespace's Sidecar is not for it
    code, held = f.page("/config_dump")
    assert code == 200 and "reviews.shop" in str(held) and "safe.bank" not in str(held)
    m.delete("sidecar", "ns", "shop")
    resolves(f, "safe.bank", True)
    assert m.wait_service(f, "http://safe.bank:9090/").headers["x-app"] == "safe"


def test_a_rule_may_send_to_what_is_not_known(m, clean):
    f = m["front"]
    m.apply(sidecar("  egress:\n  - hosts: [./*]\n", "ns") + """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: shop
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: safe.bank.svc.cluster.local, port: {number: 9090}}}]
""")
    assert m.wait_service(f, "http://reviews:9080/").headers["x-app"] == "safe"
    resolves(f, "safe.bank", False)


def test_capture_mode_none_opens_an_address_for_callers(m, clean):
    f = m["front"]
    m.apply(sidecar(TAKEN) + sidecar("  egress:\n  - port: {number: 9080, protocol: HTTP}\n    captureMode: NONE\n"
                                     "    hosts: [./*]\n  - hosts: [\"~/*\"]\n", "ns"))
    wait_until("the address is open", lambda: f.listens(9080))
    wait_until("reviews answers there",
               lambda: f.http("http://127.0.0.1:9080/", headers={"Host": "reviews"}).status == 200)
    assert f.http("http://127.0.0.1:9080/", headers={"Host": "safe.bank"}).status == 404
    m.delete("sidecar", "ns", "shop")
    wait_until("it is closed again", lambda: not f.listens(9080))


def test_a_port_that_nobody_registered_is_taken_in(m, clean):
    at = f"http://{m['back'].ip4}:9999/"
    o = m["outsider"]
    assert o.http(at).status == 0
    m.apply(sidecar(TAKEN + "  - port: {number: 9999, protocol: HTTP}\n    defaultEndpoint: 127.0.0.1:9080\n"))
    assert m.wait_service(o, at).headers["x-app"] == "reviews"
    m.apply(STRICT)
    assert o.http(at).status == 0


def test_unknown_destinations_pass_by(m, clean):
    m.apply(sidecar("  outboundTrafficPolicy: {mode: ALLOW_ANY}\n  egress:\n  - hosts: [\"~/*\"]\n", "ns"))
    assert m["front"].http(f"http://{m['outsider'].ip4}:8080/").headers["x-app"] == "other"


def test_what_is_not_there_yet_is_refused_with_its_line(m, clean):
    done = m.apply_raw(sidecar("  outboundTrafficPolicy:\n    mode: REGISTRY_ONLY\n"))
    assert done.returncode != 0
    for part in ("test.yaml:9:", "WEFT1601", "REGISTRY_ONLY", "ALLOW_ANY is what happens"):
        assert part in done.stderr, (part, done.stderr)


def test_limits_hold_at_the_service_for_all_callers(m, clean):
    f, o, b = m["front"], m["outsider"], m["back"]
    m.apply(sidecar(TAKEN + "  inboundConnectionPool: {http: {http2MaxRequests: 1}}\n"))
    m.wait_service(f, "http://reviews:9080/")
    for caller, at in ((f, "http://reviews:9080"), (o, f"http://{b.ip4}:9080")):  # in the mesh and out of it
        answers = caller.many(f"{at}/delay/1", 12, threads=4)
        refused = [a for a in answers if a.status == 503]
        assert {a.status for a in answers} == {200, 503}, answers
        assert all(a.headers.get("x-envoy-overloaded") == "true" for a in refused)


PORTS = """---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  ports:
  - {name: http-simple, port: 9443}
  - {name: http-mutual, port: 9444}
"""
ORIGINATE = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: shop}}
spec:
  host: reviews
  trafficPolicy:
    portLevelSettings:
    - port: {{number: 9443}}
      tls: {{mode: SIMPLE, caCertificates: {ca}/ca.pem, sni: web.test, subjectAltNames: [web.test]}}
"""


def test_tls_of_ingress_is_not_the_meshs(m, clean, tmp_path):
    o, b = m["outsider"], m["back"]
    ca, certs = authority(tmp_path / "ca"), tmp_path / "certs"
    leaf(ca, "web", "DNS:web.test", certs)
    leaf(ca, "friend", "DNS:friend.test", certs)
    files = f"serverCertificate: {certs}/web.crt, privateKey: {certs}/web.key, caCertificates: {ca}/ca.pem"
    m.apply(STRICT + PORTS + sidecar(TAKEN + f"""  - port: {{number: 9443, protocol: HTTPS}}
    defaultEndpoint: 127.0.0.1:9080
    tls: {{mode: SIMPLE, {files}}}
  - port: {{number: 9444, protocol: HTTPS}}
    defaultEndpoint: 127.0.0.1:9080
    tls: {{mode: MUTUAL, {files}}}
"""))

    def call(port, *more):
        done = o.curl("--cacert", f"{ca}/ca.pem", "--connect-to", f"::{b.ip4}:{port}", *more, f"https://web.test:{port}/x")
        return done.returncode, done.stdout.lower()

    wait_until("there is TLS", lambda: call(9443)[0] == 0)
    assert '"app": "reviews"' in call(9443)[1] and '"x-forwarded-proto", "https"' in call(9443)[1]
    assert o.http(f"http://{b.ip4}:9443/").status == 0  # no plaintext
    assert call(9444)[0] != 0  # no certificate
    code, body = call(9444, "--cert", f"{certs}/friend.crt", "--key", f"{certs}/friend.key", "-H", "x-forwarded-client-cert: uri=forged")
    assert code == 0 and '"app": "reviews"' in body and "forged" not in body
    assert ';subject=\\"cn=friend\\";uri=;dns=friend.test"]' in body
    assert "forwarded-client-cert" not in call(9443, "-H", "x-forwarded-client-cert: uri=forged")[1]
    # The mesh's own TLS is not taken there, and a caller of the same host has no way around the client's certificate.
    for caller in (m["front"], b):
        assert caller.http("http://reviews.shop:9443/").status == 503
        assert caller.http("http://reviews.shop:9444/").status == 503
    m.apply(ORIGINATE.format(ca=ca))
    assert m.wait_service(m["front"], "http://reviews.shop:9443/").headers["x-app"] == "reviews"
