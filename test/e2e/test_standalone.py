"""`weft agent run --standalone`: one proxy from files; loads are whole or not at all."""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess

import pytest
from conftest import APP
from mesh import PATIENCE, PYTHON, Failed, UnixHTTP, binary, free_port, wait_until

ENTRY = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  location: {location}
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}{more}}}]
---
"""
STRICT = """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
MESH = ", serviceAccount: {account}, labels: {{security.istio.io/tlsMode: istio}}"


def openssl(where, *argv):
    subprocess.run(["openssl", *argv], cwd=where, check=True, capture_output=True)


def authority(where, name="ca"):
    where.mkdir(exist_ok=True)
    openssl(where, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out",
            f"{name}.pem", "-days", "2", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")
    return where


def revoked(ca, names, out, authority_name="ca"):
    """`out`: the authority's list with the certificates of these names, put in place whole."""
    (ca / "crl.cnf").write_text("[ca]\ndefault_ca = c\n[c]\ndatabase = index.txt\ndefault_md = sha256\ndefault_crl_days = 1\n")
    (ca / "index.txt").write_text("")
    by = ["-config", "crl.cnf", "-cert", f"{authority_name}.pem", "-keyfile", f"{authority_name}.key"]
    for name in names:
        openssl(ca, "ca", *by, "-revoke", f"{name}.crt")
    openssl(ca, "ca", *by, "-gencrl", "-out", "new.crl")
    os.replace(ca / "new.crl", out)


def put(file, at, mode):
    """A copy in its place, whole at any moment."""
    fresh = file.with_name("copy.tmp")
    shutil.copy(file, fresh)
    os.chmod(fresh, mode)
    os.replace(fresh, at)


def leaf(ca, name, sans, out, authority_name="ca", subject=None, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """NAME.crt and NAME.key in `out`, each put in place whole."""
    (ca / f"{name}.ext").write_text(f"basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectAltName={sans}\n")
    openssl(ca, "req", "-newkey", *key, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
            "-subj", subject or f"/CN={name}")
    openssl(ca, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority_name}.pem", "-CAkey", f"{authority_name}.key",
            "-CAcreateserial", "-days", "1", "-extfile", f"{name}.ext", "-out", f"{name}.crt")
    out.mkdir(exist_ok=True)
    for suffix, mode in (("key", 0o600), ("crt", 0o644)):
        put(ca / f"{name}.{suffix}", out / f"{name}.{suffix}", mode)


class Edge:
    """A standalone agent and its folder."""

    def __init__(self, where, settings=""):
        self.dir = where / "dir"
        self.socket, self.log = where / "agent.sock", where / "log"
        (self.dir / "services.d").mkdir(parents=True)
        (self.dir / "agent.ini").write_text(f"[agent]\nadmin = off\nmetrics = off\nhealth = off\n{settings}")
        self.process = None

    def write(self, name, text):
        """A new file in the place of the old one: one change of the folder, hence one load."""
        fresh = self.dir.parent / f"{self.dir.name}.tmp"
        fresh.write_text(text)
        os.replace(fresh, self.dir / name)

    def argv(self):
        return [binary(), "agent", "--standalone", str(self.dir), "--socket", str(self.socket)]

    def start(self):
        self.process = subprocess.Popen(self.argv(), stdout=subprocess.DEVNULL, stderr=open(self.log, "ab"))
        wait_until("it is ready", lambda: self.process.poll() is None and self.page("/readyz")[0] == 200)
        return self

    def page(self, target):
        c = UnixHTTP(self.socket)
        try:
            c.request("GET", target)
            r = c.getresponse()
            return r.status, r.read().decode()
        except (OSError, http.client.HTTPException) as e:
            raise Failed(str(e)) from None
        finally:
            c.close()

    def status(self):
        return json.loads(self.page("/status")[1])

    def wait_revision(self, n):
        wait_until(f"revision {n}", lambda: self.status()["revision"] == n)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        return self.process.returncode if self.process else None


def front(http, *servers, bind="127.0.0.1"):
    """A Gateway for `[gateway door]` with `label.istio = ingressgateway`; a server is
    (name, protocol, port). `http`: the rules of its VirtualService, for every host."""
    ports = [f"  - port: {{number: {port}, name: {name}, protocol: {protocol}}}\n    bind: {bind}\n    hosts: [\"*\"]\n"
             for name, protocol, port in servers]
    head = "apiVersion: networking.istio.io/v1\nkind: {}\nmetadata: {{name: door}}\nspec:\n"
    return (f"{head.format('Gateway')}  selector: {{istio: ingressgateway}}\n  servers:\n{''.join(ports)}---\n"
            f"{head.format('VirtualService')}  hosts: [\"*\"]\n  gateways: [door]\n  http:\n{http}---\n")


def get(port, host="x", path="/"):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        c.request("GET", path, headers={"Host": host})
        r = c.getresponse()
        return r.status, r.getheader("x-app"), r.read().decode()
    except (OSError, http.client.HTTPException) as e:
        return 0, None, type(e).__name__
    finally:
        c.close()


@pytest.fixture(scope="module")
def apps():
    """{"a": port, "b": port}"""
    ports, running = {}, []
    for name in ("a", "b"):
        ports[name] = free_port()
        running.append(subprocess.Popen([PYTHON, str(APP)], env={**os.environ, "PORT": str(ports[name]), "NAME": name, "BIND": "127.0.0.1"},
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for port in ports.values():
        wait_until("the app answers", lambda port=port: get(port)[0] == 200)
    yield ports
    for p in running:
        p.terminate()
        p.wait(PATIENCE)


@pytest.fixture
def edge(tmp_path, apps):
    """A plain edge: everything goes to app a."""
    e = Edge(tmp_path)
    e.port = free_port()
    e.write("services.d/main.ini", f"[listener main]\nbind = 127.0.0.1:{e.port}\nservice = app.test\n")
    e.write("app.yaml", ENTRY.format(name="app", location="MESH_EXTERNAL", port=apps["a"], more=""))
    yield e.start()
    e.stop()


def test_it_serves_from_files_alone(edge):
    assert get(edge.port)[:2] == (200, "a")
    status = edge.status()
    assert status["mode"] == "standalone" and status["revision"] == 1 and status["ready"] and not status["capture"]
    assert len(status["standalone"]["digest"]) == 64 and status["standalone"]["problem"] == ""
    assert edge.page("/metrics")[1].count("weft_control_plane_connected 0") == 1


def test_a_change_is_loaded(edge, apps):
    edge.write("app.yaml", ENTRY.format(name="app", location="MESH_EXTERNAL", port=apps["b"], more=""))
    edge.wait_revision(2)
    assert get(edge.port)[:2] == (200, "b")


def test_documents_of_several_files_are_one_set(edge, apps):
    edge.write("more.json", json.dumps({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "app"},
                                        "spec": {"hosts": ["app.test"], "http": [{"directResponse": {"status": 418}}]}}))
    edge.wait_revision(2)
    assert get(edge.port)[0] == 418
    (edge.dir / "more.json").unlink()
    edge.wait_revision(3)
    assert get(edge.port)[:2] == (200, "a")
    edge.write("more.ini", "[VirtualService app]\nhosts = app.test\n[.http]\ndirectResponse.status = 418\n")
    edge.wait_revision(4)
    assert get(edge.port)[0] == 418
    (edge.dir / "more.ini").unlink()
    edge.wait_revision(5)


@pytest.mark.parametrize("name, text, told", [
    ("bad.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  hosst: [a]\n",
     ["bad.yaml:5:", "WEFT1203", "hosts"]),
    ("bad.ini", "[VirtualService x]\nhosst = a\n", ["bad.ini:2:", "WEFT1203", "hosts"]),
    ("app2.yaml", ENTRY.format(name="app", location="MESH_EXTERNAL", port=1, more=""), ["app2.yaml:1", "given twice", "app.yaml:1"]),
    ("cut.yaml", "kind: [\n", ["cut.yaml:"]),
    ("services.d/x.ini", "[listener x]\nbind = nowhere\n", ["x.ini:2", "IP:PORT"]),
    ("vs.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  hosts: [a.test]\n  http:\n"
     "  - route: [{destination: {host: app.test, subset: v9}}]\n", ["vs.yaml:7:", "v9"]),
])
def test_a_bad_set_is_refused_and_what_runs_stays(edge, name, text, told):
    edge.write(name, text)
    wait_until("it is told", lambda: edge.status()["standalone"]["problem"])
    log = edge.log.read_text()
    for part in (*told, "keeping revision 1"):
        assert part in log, (part, log)
    assert edge.status()["revision"] == 1 and get(edge.port)[:2] == (200, "a")
    (edge.dir / name).unlink()
    edge.wait_revision(2)
    assert edge.status()["standalone"]["problem"] == "" and get(edge.port)[:2] == (200, "a")


def test_a_bad_set_at_the_start_ends_it(tmp_path):
    e = Edge(tmp_path)
    e.write("bad.yaml", "kind: Nothing\n")
    done = subprocess.run(e.argv(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 4 and "bad.yaml:1" in done.stderr, done.stderr


def test_sighup_loads(edge, apps):
    before = edge.status()["revision"]
    edge.process.send_signal(signal.SIGHUP)
    edge.wait_revision(before + 1)


def test_the_folder_may_be_replaced(edge, apps):
    fresh = edge.dir.parent / "fresh"
    shutil.copytree(edge.dir, fresh)
    (fresh / "app.yaml").write_text(ENTRY.format(name="app", location="MESH_EXTERNAL", port=apps["b"], more=""))
    os.rename(edge.dir, edge.dir.parent / "old")
    os.rename(fresh, edge.dir)
    wait_until("the new folder is served", lambda: get(edge.port)[1] == "b")
    edge.write("app.yaml", ENTRY.format(name="app", location="MESH_EXTERNAL", port=apps["a"], more=""))
    wait_until("and watched", lambda: get(edge.port)[1] == "a")


def test_kept_connections_survive_loads(edge, apps):
    c = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=PATIENCE)
    for turn, app in ((2, "b"), (3, "a")):
        edge.write("app.yaml", ENTRY.format(name="app", location="MESH_EXTERNAL", port=apps[app], more=""))
        edge.wait_revision(turn)
        c.request("GET", "/", headers={"Host": "x"})
        r = c.getresponse()
        assert (r.status, r.getheader("x-app")) == (200, app)
        r.read()
    c.close()


def test_nothing_is_written_and_the_end_is_clean(edge):
    before = sorted(p.name for p in edge.dir.rglob("*"))
    assert edge.stop() == 0
    assert sorted(p.name for p in edge.dir.rglob("*")) == before


# ---- mutual TLS between two of them ----


@pytest.fixture
def pair(tmp_path, apps):
    """out -> mutual TLS -> in (STRICT) -> app a."""
    ca = authority(tmp_path / "ca")
    ends = {}
    for name in ("in", "out"):
        ends[name] = e = Edge(tmp_path / name)
        e.port, e.ca = free_port(), ca
        leaf(ca, name, f"URI:spiffe://mesh.test/ns/default/sa/{name}", e.dir / "certs")
        shutil.copy(ca / "ca.pem", e.dir / "certs" / "roots.pem")
    i, o = ends["in"], ends["out"]
    i.write("services.d/in.ini", f"[service in]\nlisten = 127.0.0.1:{i.port}\nport = {apps['a']}\nprotocol = http\n")
    i.write("strict.yaml", STRICT)
    o.write("services.d/main.ini", f"[listener main]\nbind = 127.0.0.1:{o.port}\nservice = app.test\n")
    o.write("app.yaml", ENTRY.format(name="app", location="MESH_INTERNAL", port=i.port, more=MESH.format(account="in")))
    yield i.start(), o.start()
    for e in ends.values():
        e.stop()


def test_identities_come_from_the_certificates(pair):
    i, o = pair
    status, app, body = get(o.port)
    assert (status, app) == (200, "a")
    xfcc = {k.lower(): v for k, v in json.loads(body)["headers"]}["x-forwarded-client-cert"]
    assert "By=spiffe://mesh.test/ns/default/sa/in;" in xfcc and "URI=spiffe://mesh.test/ns/default/sa/out" in xfcc
    assert get(i.port)[0] == 0  # STRICT: no plaintext
    assert i.status()["trustDomain"] == "mesh.test"


def test_another_identity_is_not_spoken_to(pair):
    i, o = pair
    o.write("app.yaml", ENTRY.format(name="app", location="MESH_INTERNAL", port=i.port, more=MESH.format(account="other")))
    o.wait_revision(2)
    assert get(o.port)[0] == 503


def served(port):
    """Fingerprint of the certificate that is shown there."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["istio-http/1.1"])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s, context.wrap_socket(s) as t:
        return t.getpeercert(binary_form=True)


def test_certificates_are_loaded_again(pair):
    i, o = pair
    before = served(i.port)
    old = json.loads(i.page("/certs")[1])["certificates"][0]["fingerprint"]
    leaf(i.ca, "in", "URI:spiffe://mesh.test/ns/default/sa/in", i.dir / "certs")
    wait_until("the new one is known", lambda: json.loads(i.page("/certs")[1])["certificates"][0]["fingerprint"] != old)
    wait_until("the new one is shown", lambda: served(i.port) != before)
    assert get(o.port)[:2] == (200, "a")


def test_a_key_that_does_not_fit_is_refused(pair):
    i, o = pair
    revision, before = i.status()["revision"], served(i.port)
    other = authority(i.dir.parent / "other")
    leaf(other, "in", "URI:spiffe://mesh.test/ns/default/sa/in", other / "out")
    put(other / "out" / "in.key", i.dir / "certs" / "in.key", 0o600)
    wait_until("it is told", lambda: i.status()["standalone"]["problem"])
    assert "in.crt" in i.log.read_text() and i.status()["revision"] == revision and served(i.port) == before
    assert get(o.port)[:2] == (200, "a")


def test_a_key_for_everybody_is_refused(tmp_path):
    e = Edge(tmp_path)
    leaf(authority(tmp_path / "ca"), "x", "DNS:x.test", e.dir / "certs")
    os.chmod(e.dir / "certs" / "x.key", 0o644)
    done = subprocess.run(e.argv(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 4 and "x.key" in done.stderr and "chmod" in done.stderr


def test_loads_cost_running_requests_nothing(edge, apps):
    """A reload every few milliseconds under load: not one request fails."""
    seen = 0
    c = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=PATIENCE)
    while seen % 20 or seen < 500 or edge.status()["revision"] <= 5:
        if seen % 20 == 0:
            edge.process.send_signal(signal.SIGHUP)
        c.request("GET", "/", headers={"Host": "x"})
        r = c.getresponse()
        assert r.status == 200
        r.read()
        seen += 1
    c.close()
