"""The control plane against callers who err, pry or flood: one clear answer each, and nothing changes."""

import json
import sys
import time

import pytest
from mesh import wait_until

VIRTUAL_SERVICE = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                   "metadata": {"name": "w", "namespace": "default"},
                   "spec": {"hosts": ["api.example.com"], "http": [{"route": [{"destination": {"host": "api.example.com"}}]}]}}

# Speaks to the TLS port from inside a host: argv is address, certificate ("" for none); requests come in, answers go out.
CLIENT = r"""
import json, socket, ssl, struct, sys
address, certificate = sys.argv[1:3]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
tls.check_hostname, tls.verify_mode, tls.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
if certificate:
    tls.load_cert_chain(certificate + ".crt", certificate + ".key")
for line in sys.stdin:
    ask = json.loads(line)
    s = tls.wrap_socket(socket.create_connection((address, 15012), timeout=30))
    out = b""
    try:
        s.sendall(ask["head"].encode() + b"\r\n\r\n" + b"x" * ask.get("fill", 0) + ask.get("body", "").encode())
        for frame in ask.get("frames", []):
            s.sendall(struct.pack(">I", len(frame)) + frame.encode())
        while part := s.recv(65536):
            out += part
    except OSError:
        pass
    print(json.dumps(out.decode("latin1")), flush=True)
"""


def ask(host, head, certificate="", **more):
    done = host.run(sys.executable, "-c", CLIENT, host.mesh.control.ip4, str(certificate),
                    text=json.dumps({"head": head, **more}) + "\n")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def status(answer):
    return int(answer.split(" ")[1]) if answer else 0


@pytest.fixture(scope="module")
def member(empty):
    h = empty.host("member").service("known", 8080, protocol="http")
    h.join()
    return h


@pytest.mark.parametrize("body", ['{"service":"web"}', '{"services":["web"]}', "[]", '{"uses":true}'])
def test_a_token_wish_that_is_not_understood_makes_no_open_token(empty, body):
    before = len(empty.api("GET", "/v1/tokens")[1]["items"])
    assert empty.api("POST", "/v1/tokens", body)[0] == 422
    assert len(empty.api("GET", "/v1/tokens")[1]["items"]) == before


def test_a_slip_in_a_switch_changes_nothing(empty):
    revision = empty.revision()
    for query in ("delete=yes", "dryRun=1", "dry-run=true"):
        assert empty.api("POST", f"/v1/apply?{query}", VIRTUAL_SERVICE)[0] == 400, query
    assert empty.revision() == revision


def test_a_name_in_a_path_is_decoded_and_held_to_names(empty):
    assert "default/x is not there" in empty.api("GET", "/v1/namespaces/def%61ult/virtualservices/x")[1]["detail"]
    assert empty.api("GET", "/v1/namespaces/default/virtualservices/a%2Fb")[0] == 404


def test_a_poll_keeps_its_namespace_and_ends_without_a_change(empty):
    after = empty.revision()
    assert empty.api("GET", f"/v1/virtualservices?after={after}&wait=0s")[0] == 304
    assert empty.api("PUT", "/v1/namespaces/default/virtualservices/w", VIRTUAL_SERVICE)[0] == 200
    assert [o["metadata"]["name"] for o in empty.api("GET", f"/v1/virtualservices?after={after}")[1]["items"]] == ["w"]
    assert empty.api("GET", f"/v1/virtualservices?namespace=other&after={after}")[1]["items"] == []
    empty.clear()


def test_strangers_get_nothing_and_may_send_little(member):
    assert status(ask(member, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close")) == 401
    big = "POST /v1/apply HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 40000"
    assert status(ask(member, big, fill=40000)) == 413


def test_an_agents_certificate_opens_only_the_agents_doors(member):
    certificate = member.state / "agent" / "host"
    for path in ("/v1/status", "/v1/hosts", "/v1/virtualservices", "/metrics"):
        assert status(ask(member, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close", certificate)) == 403, path
    assert status(ask(member, "GET /v1/agent/stream HTTP/1.1\r\nHost: x\r\nConnection: close", certificate)) == 426
    known = member.state / "agent" / "svid-default.known"
    wait_until("the service has its certificate", lambda: known.with_name("svid-default.known.crt").exists())
    assert status(ask(member, "GET /v1/agent/stream HTTP/1.1\r\nHost: x\r\nConnection: close", known)) == 403


def test_one_bad_request_does_not_cost_the_host_its_other_certificates(member):
    csr = "-----BEGIN CERTIFICATE REQUEST-----\nx\n-----END CERTIFICATE REQUEST-----\n"
    body = json.dumps({"requests": [{"kind": "service", "namespace": "default", "service": "a b", "account": "a", "csr": csr},
                                    {"kind": "host", "csr": csr}]})
    head = f"POST /v1/agent/certificates HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
    answer = ask(member, head, member.state / "agent" / "host", body=body)
    assert status(answer) == 200 and answer.count('"problem"') == 2, answer


def test_guessing_tokens_is_slowed_down(empty):
    stranger = empty.host("stranger")
    body = json.dumps({"time": int(time.time() * 1000), "secret": "x"})
    head = f"POST /v1/join HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
    lines = (json.dumps({"head": head, "body": body}) + "\n") * 65
    done = stranger.run(sys.executable, "-c", CLIENT, empty.control.ip4, "", text=lines)
    codes = [status(json.loads(line)) for line in done.stdout.splitlines()]
    assert codes.count(403) == 60 and codes.count(429) == 5, codes


def test_an_ejected_host_is_cut_and_stays_out(empty, member):
    done = empty.control.weft("host", "eject", "member")
    assert done.returncode == 0, done.stderr
    wait_until("the session is cut", lambda: not member.status()["link"]["connected"])
    stream = "GET /v1/agent/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: weft-sync/1"
    assert status(ask(member, stream, member.state / "agent" / "host")) == 403
    wait_until("its services are withdrawn",
               lambda: not [s for s in empty.api("GET", "/v1/endpoints")[1]["items"] if s["endpoints"]["workloads"]])
