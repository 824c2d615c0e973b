"""TLS with servers outside of the mesh: DestinationRule tls SIMPLE and MUTUAL, from a plain request of an application."""

import subprocess

import pytest
from conftest import APP, Mesh
from mesh import wait_until
from test_standalone import revoked

HOST = "api.example.com"


def openssl(*args, cwd):
    subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True)


def authority(folder, name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", f"{name}.key",
            "-out", f"{name}.pem", "-subj", f"/CN={name}", cwd=folder)


def certificate(folder, name, by, sans, usage="serverAuth"):
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=folder)
    (folder / f"{name}.ext").write_text(f"subjectAltName={sans}\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-days", "2", "-extfile", f"{name}.ext",
            "-out", f"{name}.crt", cwd=folder)
    (folder / f"{name}.key").chmod(0o640)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp("files")
    authority(d, "good")
    authority(d, "other")
    certificate(d, "server", "good", f"DNS:{HOST},DNS:*.alt.test,URI:spiffe://elsewhere/api")
    certificate(d, "client", "other", "DNS:client.test", "clientAuth")
    return d


@pytest.fixture(scope="module")
def m(folder):
    with Mesh() as mesh:
        mesh.server()
        client = mesh.host("client").service("client", 8080, protocol="http").app("client", 8080, APP, NAME="client")
        out = mesh.host("outside")
        files = {"CERT": str(folder / "server.crt"), "KEY": str(folder / "server.key")}
        out.app("simple", 8443, APP, NAME="simple", **files)
        out.app("mutual", 8444, APP, NAME="mutual", CLIENTS=str(folder / "other.pem"), **files)
        client.join()
        yield mesh


@pytest.fixture
def clean(m):
    yield m
    m.clear()


def documents(m, tls, target=8443, host=HOST, protocol="HTTP", selector=""):
    return f"""apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api}}
spec:
  hosts: [{host}]
  ports: [{{number: 80, name: port, protocol: {protocol}, targetPort: {target}}}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{{address: {m["outside"].ip4}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: api}}
spec:
  host: {host}
  {selector}
  trafficPolicy:
    tls: {tls}
"""


def credential(name, **texts):
    rows = "".join(f"  {k}: |\n" + "".join(f"    {line}\n" for line in v.read_text().strip().split("\n")) for k, v in texts.items())
    return f"---\napiVersion: weft/v1\nkind: Credential\nmetadata: {{name: {name}}}\nspec:\n{rows}"


def ask(m, tls, target=8443, host=HOST, status=200):
    """The answer of this status that comes under the rule."""
    m.apply(documents(m, tls, target, host))
    return m.wait_service(m["client"], f"http://{host}/", good=lambda a: a.status == status)


def test_a_plain_request_leaves_as_tls_with_the_name_of_its_host(m, clean, folder):
    told = ask(m, f"{{mode: SIMPLE, caCertificates: {folder}/good.pem}}").json()
    assert told["app"] == "simple" and told["sni"] == HOST and told["alpn"] == "http/1.1" and told["client"] == []
    assert told["tls"] == "TLSv1.3" and told["host"] == HOST


def test_the_servers_authority_is_checked(m, clean, folder):
    ask(m, f"{{mode: SIMPLE, caCertificates: {folder}/other.pem}}", status=503)
    assert m["client"].metric("istio_requests_total", response_flags="UF,URX", response_code="503") >= 1
    ask(m, "{mode: SIMPLE}", status=503)  # the system's authorities know it as little
    assert ask(m, "{mode: SIMPLE, insecureSkipVerify: true}").json()["app"] == "simple"


@pytest.mark.parametrize("more,sni,status", [
    ("sni: other.test", "other.test", 200),  # an explicit name: the chain alone is checked
    ("sni: other.test, subjectAltNames: [b.alt.test]", "other.test", 200),
    ("subjectAltNames: ['spiffe://elsewhere/api']", HOST, 200),
    ("subjectAltNames: [no.test, a.b.alt.test]", HOST, 503),
])
def test_names_asked_for_and_accepted(m, clean, folder, more, sni, status):
    answer = ask(m, f"{{mode: SIMPLE, caCertificates: {folder}/good.pem, {more}}}", status=status)
    assert status != 200 or answer.json()["sni"] == sni


def test_without_names_the_server_must_be_the_host_that_was_asked_for(m, clean, folder):
    ask(m, f"{{mode: SIMPLE, caCertificates: {folder}/good.pem}}", host="wrong.example.com", status=503)
    assert ask(m, f"{{mode: SIMPLE, caCertificates: {folder}/good.pem}}", host="x.alt.test").json()["sni"] == "x.alt.test"


def test_mutual_shows_a_certificate(m, clean, folder):
    ask(m, f"{{mode: SIMPLE, caCertificates: {folder}/good.pem}}", target=8444, status=503)
    told = ask(m, f"{{mode: MUTUAL, caCertificates: {folder}/good.pem, clientCertificate: {folder}/client.crt, "
                  f"privateKey: {folder}/client.key}}", target=8444).json()
    assert told["app"] == "mutual" and told["client"] == ["client"]


def test_a_credential_takes_the_place_of_files(m, clean, folder):
    tls, mine = "{mode: MUTUAL, credentialName: shown}", "workloadSelector: {matchLabels: {app: client}}"
    texts = credential("shown", certificate=folder / "client.crt", privateKey=folder / "client.key") + credential(
        "shown-cacert", caCertificates=folder / "good.pem")
    m.apply(documents(m, tls, 8444) + texts)  # not a gateway, and not selected: it is not given the key
    wait_until("the rule is in force", lambda: m["client"].http(f"http://{HOST}/").status == 503)
    assert "credentialName shown is no Credential" in m["client"].agent.text()
    m.apply(documents(m, tls, 8444, selector=mine))
    wait_until("it may show it", lambda: m["client"].http(f"http://{HOST}/").status == 200)
    assert m["client"].http(f"http://{HOST}/").json()["client"] == ["client"]
    m.apply(documents(m, tls.replace("shown", "other"), 8444, selector=mine))
    wait_until("there is none", lambda: m["client"].http(f"http://{HOST}/").status == 503)


def test_bare_bytes_leave_as_tls_too(m, clean, folder):
    request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    m.apply(documents(m, f"{{mode: SIMPLE, caCertificates: {folder}/good.pem, sni: bare.test}}", protocol="TCP"))
    wait_until("the tunnel is open", lambda: '"sni": "bare.test"' in m["client"].tcp(f"{HOST}:80", send=request, until="}", timeout=5)["got"])


def test_a_missing_file_is_told_and_taken_once_it_is_there(m, clean, folder):
    ask(m, f"{{mode: SIMPLE, caCertificates: {folder}/late.pem}}", status=503)
    assert f"{folder}/late.pem" in m["client"].agent.text()
    (folder / "late.pem").write_bytes((folder / "other.pem").read_bytes())
    (folder / "late.pem").write_bytes((folder / "good.pem").read_bytes())
    wait_until("the file is read", lambda: m["client"].http(f"http://{HOST}/").status == 200)


def test_a_server_on_the_list_is_not_called(m, clean, folder):
    revoked(folder, [], folder / "good.crl", "good")
    tls = f"{{mode: SIMPLE, caCertificates: {folder}/good.pem, caCrl: {folder}/good.crl}}"
    assert ask(m, tls).json()["app"] == "simple"
    revoked(folder, ["server"], folder / "good.crl", "good")
    wait_until("the server is not called", lambda: m["client"].http(f"http://{HOST}/").status == 503)
    revoked(folder, [], folder / "good.crl", "good")
    wait_until("the server is called again", lambda: m["client"].http(f"http://{HOST}/").status == 200)


def test_out_through_one_of_two_gateways_of_a_host(m, clean, folder):
    """Istio's task for egress: the mesh's TLS to the gateway, and the gateway's own certificate to the outside."""
    out = m.host("out")
    for name in ("ingress", "egress"):
        out.service(f"istio-{name}gateway", 0, kind="gateway", namespace="istio-system", label_istio=f"{name}gateway")
    out.join()
    gateway_host = "istio-egressgateway.istio-system.svc.cluster.local"
    m.apply(f"""apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: egress, namespace: istio-system}}
spec:
  hosts: [{gateway_host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: {out.ip4}, serviceAccount: istio-egressgateway}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api}}
spec:
  hosts: [{HOST}]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 443, name: tls, protocol: HTTP, targetPort: 8444}}]
  endpoints: [{{address: {m['outside'].ip4}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: out}}
spec:
  selector: {{istio: egressgateway}}
  servers:
  - port: {{number: 80, name: https-for-tls-origination, protocol: HTTPS}}
    hosts: [{HOST}]
    tls: {{mode: ISTIO_MUTUAL}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: to-the-gateway}}
spec:
  host: {gateway_host}
  subsets:
  - name: api
    trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, tls: {{mode: ISTIO_MUTUAL, sni: {HOST}}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: outside, namespace: istio-system}}
spec:
  host: {HOST}
  trafficPolicy: {{portLevelSettings: [{{port: {{number: 443}}, tls: {{mode: MUTUAL, credentialName: shown, sni: {HOST}}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: api}}
spec:
  hosts: [{HOST}]
  gateways: [out, mesh]
  http:
  - match: [{{gateways: [mesh], port: 80}}]
    route: [{{destination: {{host: {gateway_host}, subset: api, port: {{number: 80}}}}}}]
  - match: [{{gateways: [out], port: 80}}]
    route: [{{destination: {{host: {HOST}, port: {{number: 443}}}}}}]
""" + credential("shown", caCertificates=folder / "good.pem", certificate=folder / "client.crt", privateKey=folder / "client.key")
            .replace("{name: shown}", "{name: shown, namespace: istio-system}"))
    told = m.wait_service(m["client"], f"http://{HOST}/").json()
    assert told["app"] == "mutual" and told["peer"].endswith(out.ip4) and "client" in told["client"] and told["sni"] == HOST
