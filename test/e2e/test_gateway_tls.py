"""Gateways that end TLS, or pass it on, by server name; credentials from files and from documents."""

import base64
import hashlib
import json
import re
import socket
import ssl
import subprocess
import threading
import urllib.parse

import pytest
from mesh import PATIENCE, wait_until
from peers import end_listening
from test_standalone import ENTRY, Edge, apps, authority, free_port, leaf, revoked  # noqa: F401 (a fixture)

GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: tls}}
spec:
  selector: {{edge: here}}
  servers:
  - port: {{number: {port}, name: simple, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [a.test]
    tls: {{mode: SIMPLE, serverCertificate: {certs}/a.crt, privateKey: {certs}/a.key}}
  - port: {{number: {port}, name: mutual, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: ['*.b.test']
    tls: {{mode: MUTUAL, credentialName: shown, subjectAltNames: [friend.test], caCrl: {certs}/b.crl}}
  - port: {{number: {port}, name: optional, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [o.test]
    tls: {{mode: OPTIONAL_MUTUAL, credentialName: shown, minProtocolVersion: TLSV1_3}}
  - port: {{number: {port}, name: listed, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [listed.test]
    tls: {{mode: MUTUAL, serverCertificate: {certs}/a.crt, privateKey: {certs}/a.key, caCertificates: {ca_file}, caCrl: {certs}/ca.crl}}
  - port: {{number: {port}, name: named-list, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [named-list.test]
    tls: {{mode: OPTIONAL_MUTUAL, credentialName: with-list}}
  - port: {{number: {port}, name: files-of-two, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [files.two.test]
    tls:
      mode: SIMPLE
      tlsCertificates:
      - {{serverCertificate: {certs}/rsa.crt, privateKey: {certs}/rsa.key}}
      - {{serverCertificate: {certs}/ec.crt, privateKey: {certs}/ec.key}}
  - port: {{number: {port}, name: two-names, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [names.two.test]
    tls: {{mode: MUTUAL, credentialNames: [rsa, ec], caCertCredentialName: other-clients}}
  - port: {{number: {port}, name: by-hash, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [hash.test]
    tls: {{mode: MUTUAL, serverCertificate: {certs}/a.crt, privateKey: {certs}/a.key, caCertificates: {ca_file}, verifyCertificateHash: ['{hash}']}}
  - port: {{number: {port}, name: by-key, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [key.test]
    tls:
      mode: OPTIONAL_MUTUAL
      serverCertificate: {certs}/a.crt
      privateKey: {certs}/a.key
      caCertificates: {ca_file}
      verifyCertificateSpki: ['{spki}']
      verifyCertificateHash: ['{other_hash}']
  - port: {{number: {port}, name: pass, protocol: TLS}}
    bind: 127.0.0.1
    hosts: ['*.pass.test']
    tls: {{mode: PASSTHROUGH}}
  - port: {{number: {port}, name: bytes, protocol: TLS}}
    bind: 127.0.0.1
    hosts: [bytes.test]
    tls: {{mode: SIMPLE, serverCertificate: {certs}/a.crt, privateKey: {certs}/a.key}}
  - port: {{number: {plain}, name: plain, protocol: HTTP}}
    bind: 127.0.0.1
    hosts: ['*']
    tls: {{httpsRedirect: true}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ['*']
  gateways: [tls]
  http:
  - route: [{{destination: {{host: app.test}}}}]
  tls:
  - match: [{{sniHosts: [in.pass.test]}}]
    route: [{{destination: {{host: origin.test}}}}]
  tcp:
  - match: [{{port: {port}}}]
    route: [{{destination: {{host: app.test}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: origin}}
spec:
  hosts: [origin.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 443, name: tls, protocol: TLS}}]
  endpoints: [{{address: 127.0.0.1, ports: {{tls: {origin}}}}}]
---
{two}---
apiVersion: weft/v1
kind: Credential
metadata: {{name: with-list}}
spec:
  certificate: |
{cert}
  privateKey: |
{key}
---
apiVersion: weft/v1
kind: Credential
metadata: {{name: with-list-cacert}}
spec:
  caCertificates: |
{ca}
  crl: |
{crl}
---
apiVersion: weft/v1
kind: Credential
metadata: {{name: shown}}
spec:
  certificate: |
{cert}
  privateKey: |
{key}
  caCertificates: |
{ca}
"""


def indented(path):
    return "\n".join("    " + line for line in path.read_text().strip().split("\n"))


def fingerprint(path):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(path.read_text())).digest().hex(":")


def spki(key):
    der = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], capture_output=True, check=True).stdout
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def credential(name, **texts):
    rows = "".join(f"  {k}: |\n{indented(v)}\n" for k, v in texts.items())
    return f"---\napiVersion: weft/v1\nkind: Credential\nmetadata: {{name: {name}}}\nspec:\n{rows}"


class Origin:
    """A TLS server of its own, that says one line."""

    def __init__(self, certs):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certs / "origin.crt", certs / "origin.key")
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.context = context
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.socket.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(c, server_side=True) as s:
                    s.sendall(b"from the origin\n")
            except OSError:
                pass


@pytest.fixture(scope="module")
def edge(tmp_path_factory, apps):  # noqa: F811
    where = tmp_path_factory.mktemp("gateway-tls")
    ca, certs = authority(where / "ca"), where / "certs"
    leaf(ca, "a", "DNS:a.test", certs)
    leaf(ca, "b", "DNS:*.b.test,DNS:o.test", certs)
    leaf(ca, "origin", "DNS:in.pass.test", certs)
    leaf(ca, "friend", "URI:spiffe://friends/one,DNS:friend.test", certs, subject="/O=Acme, Inc./CN=friend")
    leaf(ca, "stranger", "DNS:stranger.test", certs)
    leaf(ca, "ec", "DNS:*.two.test", certs)
    leaf(ca, "rsa", "DNS:*.two.test", certs, key=["rsa:2048"])
    other = authority(where / "other", "other")
    leaf(other, "foreign", "DNS:friend.test", certs, "other")
    for name in ("ca.crl", "b.crl"):
        revoked(ca, [], certs / name)
    revoked(ca, ["stranger"], certs / "stranger.crl")
    e = Edge(where)
    e.ca, e.certs, e.authority = ca / "ca.pem", certs, ca
    e.port, e.plain = free_port(), free_port()
    origin = Origin(certs)
    e.write("services.d/edge.ini", "[gateway edge]\nlabel.edge = here\n")
    e.write("app.yaml", ENTRY.format(name="app", location="MESH_EXTERNAL", port=apps["a"], more=""))
    e.document = GATEWAY.format(port=e.port, plain=e.plain, certs=certs, origin=origin.port, cert=indented(certs / "b.crt"),
                                key=indented(certs / "b.key"), ca=indented(e.ca), ca_file=e.ca, crl=indented(certs / "stranger.crl"),
                                 hash=fingerprint(certs / "friend.crt").upper(), other_hash=fingerprint(certs / "a.crt").replace(":", ""),
                                 spki=spki(certs / "friend.key"), two=credential("rsa", certificate=certs / "rsa.crt", privateKey=certs / "rsa.key") +
                                 credential("ec", certificate=certs / "ec.crt", privateKey=certs / "ec.key", caCertificates=e.ca) +
                                 credential("other-clients", caCertificates=other / "other.pem"))
    e.write("gateway.yaml", e.document)
    yield e.start()
    e.stop()
    end_listening(origin.socket)


def call(e, name, *more, path="/"):
    """(exit code, status, HTTP version, body) of curl."""
    r = subprocess.run(["curl", "-sS", "--max-time", str(PATIENCE), "--cacert", e.ca, "--connect-to", f"::127.0.0.1:{e.port}",
                        "-w", "\n%{http_code} %{http_version}", *more, f"https://{name}:{e.port}{path}"],
                       capture_output=True, text=True)
    body, _, last = r.stdout.rpartition("\n")
    code, version = last.split()
    return r.returncode, int(code), version, body


def client(e, name):
    return ["--cert", e.certs / f"{name}.crt", "--key", e.certs / f"{name}.key"]


@pytest.mark.parametrize("flag, version", [("--http1.1", "1.1"), ("--http2", "2")])
def test_a_server_shows_its_certificate_and_serves_both_versions(edge, flag, version):
    assert call(edge, "a.test", flag)[:3] == (0, 200, version)


@pytest.mark.parametrize("flag", ["--tlsv1.3", ["--tls-max", "1.2"]])
def test_both_versions_of_tls(edge, flag):
    assert call(edge, "a.test", *([flag] if isinstance(flag, str) else flag))[:2] == (0, 200)


def test_the_request_is_told_as_https_from_that_client(edge):
    sent = json.loads(call(edge, "a.test", "-H", "x-forwarded-proto: gopher", "-H", "x-forwarded-for: 1.2.3.4", path="/headers")[3])["headers"]
    assert [v for k, v in sent if k == "x-forwarded-proto"] == ["https"]
    assert [v for k, v in sent if k == "x-forwarded-for"] == ["1.2.3.4,127.0.0.1"]


def test_a_client_must_show_a_certificate_with_an_accepted_name(edge):
    assert call(edge, "x.b.test", *client(edge, "friend"))[:2] == (0, 200)
    assert call(edge, "x.b.test")[0] != 0
    assert call(edge, "x.b.test", *client(edge, "stranger"))[0] != 0


# SNI -> what that server asks of its clients.
SERVERS = {"a.test": None, "o.test": "friend", "x.b.test": "friend", "hash.test": "friend", "names.two.test": "foreign", "files.two.test": None}


def status_for(edge, server, host, flag="--http2"):
    shown = client(edge, SERVERS[server]) if SERVERS[server] else []
    return call(edge, server, "-k", flag, *shown, "-H", f"Host: {host}")[1]


@pytest.mark.parametrize("server", SERVERS)
def test_a_connection_serves_the_hosts_of_its_own_server_alone(edge, server):
    assert {host: status_for(edge, server, host) for host in SERVERS} == {host: 200 if host == server else 421 for host in SERVERS}


@pytest.mark.parametrize("flag", ["--http1.1", "--http2"])
def test_however_the_host_of_another_server_is_spelt(edge, flag):
    for host in (f"o.test:{edge.port}", "O.Test", "o.test."):
        assert status_for(edge, "a.test", host, flag) == 421
        assert status_for(edge, "o.test", host, flag) == 200
    assert status_for(edge, "a.test", "nobody.test", flag) == 404


def client_certs(edge, name, *more):
    """x-forwarded-client-cert as the application gets it."""
    code, status, _, body = call(edge, name, "-H", "x-forwarded-client-cert: By=me;URI=spiffe://mesh.test/forged", *more, path="/headers")
    assert (code, status) == (0, 200)
    return [v for k, v in json.loads(body)["headers"] if k.lower() == "x-forwarded-client-cert"]


@pytest.mark.parametrize("flag", [["--tls-max", "1.2"], ["--http2"]])
def test_the_application_is_told_whose_certificate_came(edge, flag):
    pem = (edge.certs / "friend.crt").read_text()
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    [told] = client_certs(edge, "x.b.test", *client(edge, "friend"), *flag)
    given = re.fullmatch(f'Hash={digest};Cert="([^"]*)";Subject="CN=friend,O=Acme\\\\, Inc.";URI=spiffe://friends/one;DNS=friend.test', told)
    assert given and urllib.parse.unquote(given[1]) == pem


def test_without_a_certificate_nothing_is_told(edge):
    assert client_certs(edge, "o.test") == [] and client_certs(edge, "a.test") == []
    [told] = client_certs(edge, "o.test", *client(edge, "stranger"))
    assert told.endswith(';Subject="CN=stranger";URI=;DNS=stranger.test')  # one that names no workload


def test_an_optional_certificate_is_verified_if_there_is_one(edge):
    assert call(edge, "o.test")[:2] == (0, 200)
    assert call(edge, "o.test", *client(edge, "stranger"))[:2] == (0, 200)
    assert call(edge, "o.test", *client(edge, "foreign"))[0] != 0
    assert call(edge, "o.test", "--tls-max", "1.2")[0] != 0


def test_a_client_on_the_list_is_refused_as_soon_as_the_file_says_so(edge):
    def enters(name, *more):
        return call(edge, "listed.test", "-k", *client(edge, name), *more)[0] == 0

    assert enters("friend") and enters("stranger") and enters("stranger", "--tls-max", "1.2")
    revoked(edge.authority, ["stranger"], edge.certs / "ca.crl")
    wait_until("the stranger is out", lambda: not enters("stranger"))
    assert enters("friend") and not enters("stranger", "--tls-max", "1.2")
    (edge.certs / "ca.crl").write_text("nonsense")  # the last good one stays in force
    wait_until("that is told", lambda: "not a list of revoked certificates" in edge.log.read_text())
    assert enters("friend") and not enters("stranger")
    revoked(edge.authority, [], edge.certs / "ca.crl")
    wait_until("the stranger is in again", lambda: enters("stranger"))


def test_a_list_in_a_file_goes_with_a_credential(edge):
    assert call(edge, "x.b.test", *client(edge, "friend"))[:2] == (0, 200)
    revoked(edge.authority, ["friend"], edge.certs / "b.crl")
    wait_until("the friend is out", lambda: call(edge, "x.b.test", *client(edge, "friend"))[0] != 0)
    revoked(edge.authority, [], edge.certs / "b.crl")
    wait_until("the friend is in again", lambda: call(edge, "x.b.test", *client(edge, "friend"))[0] == 0)


def test_a_credential_has_a_list_too(edge):
    assert call(edge, "named-list.test", "-k")[:2] == (0, 200)
    assert call(edge, "named-list.test", "-k", *client(edge, "friend"))[:2] == (0, 200)
    assert call(edge, "named-list.test", "-k", *client(edge, "stranger"))[0] != 0


def test_a_client_may_be_known_by_the_hash_of_its_certificate_or_key(edge):
    for name in ("hash.test", "key.test"):
        assert call(edge, name, "-k", *client(edge, "friend"))[:2] == (0, 200)
        for version in ("--tlsv1.3", "--tlsv1.2"):
            assert call(edge, name, "-k", version, "--tls-max", version[-3:], *client(edge, "stranger"))[0] != 0
    assert call(edge, "hash.test", "-k")[0] != 0
    assert call(edge, "key.test", "-k")[:2] == (0, 200)  # without one there is nothing to compare


def kind_of(edge, name, *more):
    """RSA or EC: the certificate that a client gets."""
    r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-servername", name, "-CAfile", edge.ca, *more],
                       input="", capture_output=True, text=True)
    return re.search(r"Peer signature type: (\w+)", r.stdout)[1].split("-")[0] if "Verify return code: 0" in r.stdout else None


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_of_two_certificates_each_client_gets_what_it_understands(edge, version):
    shows = client(edge, "foreign")
    for name, more in (("files.two.test", []), ("names.two.test", ["-cert", shows[1], "-key", shows[3]])):
        assert kind_of(edge, name, version, "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256", *more) in ("RSA", "rsa_pss_rsae_sha256")
        assert kind_of(edge, name, version, "-sigalgs", "ECDSA+SHA256", *more) in ("ECDSA", "ecdsa_secp256r1_sha256")


def test_a_credential_for_clients_beats_the_authorities_of_the_other(edge):
    assert call(edge, "names.two.test", *client(edge, "foreign"))[:2] == (0, 200)
    assert call(edge, "names.two.test", *client(edge, "friend"))[0] != 0  # whom `ec` would believe


def test_names_that_no_server_has_are_refused(edge):
    for name in ("n.test", "b.test", "out.pass.test"):
        assert call(edge, name, "-k")[0] != 0
    with socket.create_connection(("127.0.0.1", edge.port), PATIENCE) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        s.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            assert s.recv(100) == b"" and False


def shake(edge, name):
    context = ssl.create_default_context(cafile=edge.ca)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", edge.port), PATIENCE), server_hostname=name)


def test_tls_is_passed_on_by_name(edge):
    with shake(edge, "in.pass.test") as s:
        assert s.recv(100) == b"from the origin\n"


def test_tls_of_any_protocol_ends_and_its_bytes_go_on(edge):
    context = ssl.create_default_context(cafile=edge.ca)
    context.check_hostname = False  # it shows a.test's
    with context.wrap_socket(socket.create_connection(("127.0.0.1", edge.port), PATIENCE), server_hostname="bytes.test") as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.")


def test_plain_text_is_sent_to_https(edge):
    r = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-H", "Host: any.test",
                        f"http://127.0.0.1:{edge.plain}/a?b=c"], capture_output=True, text=True)
    assert r.stdout == "301 https://any.test/a?b=c"


def serial(edge, name):
    """Of the certificate that is shown."""
    with shake(edge, name) as s:
        return s.getpeercert()["serialNumber"]


def test_a_renewed_file_is_shown_without_a_restart(edge):
    before = serial(edge, "a.test")
    leaf(edge.authority, "a", "DNS:a.test", edge.certs)
    wait_until("the new one is shown", lambda: serial(edge, "a.test") != before)


def test_a_renewed_credential_is_shown_and_never_printed(edge):
    before = serial(edge, "o.test")
    leaf(edge.authority, "new", "DNS:o.test", edge.certs)
    new = edge.document.replace(indented(edge.certs / "b.crt"), indented(edge.certs / "new.crt"))
    edge.write("gateway.yaml", new.replace(indented(edge.certs / "b.key"), indented(edge.certs / "new.key")))
    wait_until("the new one is shown", lambda: serial(edge, "o.test") != before)
    key = (edge.certs / "new.key").read_text().split("\n")[1]
    assert key not in edge.page("/dump")[1] and key not in edge.log.read_text()
