"""Varnish's test program as both peers: each file of test/vtc has a client, a server, or both, and a weft door stands between.

Macros: ${door}, ${door2}: a listener for clients of either version; its endpoint ${origin} speaks HTTP/1.1, the other's HTTP/2.
"""

import os
import shutil
import subprocess

import pytest
from mesh import ROOT
from test_http2 import ENTRY
from test_standalone import Edge, free_port

VTC = sorted((ROOT / "test" / "vtc").glob("*.vtc"))
RULE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  http:
  - retries: {{attempts: 0}}
    route: [{{destination: {{host: {name}.test}}}}]
---
"""


@pytest.fixture(scope="session")
def varnishtest():
    found = shutil.which("varnishtest")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("varnishtest is missing; CI=true test/deps.sh installs it")
        pytest.skip("varnishtest is missing (apt-get install varnish): no peers by it")
    return found


@pytest.fixture
def door(tmp_path):
    e = Edge(tmp_path, f"access_log = {tmp_path / 'access.log'}\n")
    e.ports = {name: free_port() for name in ("door", "door2", "origin")}
    for name, at, protocol in (("one", "door", "HTTP"), ("two", "door2", "HTTP2")):
        e.write(f"services.d/{name}.ini", f"[listener {name}]\nbind = 127.0.0.1:{e.ports[at]}\nservice = {name}.test\n")
        e.write(f"{name}.yaml", ENTRY.format(name=name, protocol=protocol, port=e.ports["origin"]) +
                RULE.format(name=name))
    yield e.start()
    e.stop()


@pytest.mark.parametrize("vtc", VTC, ids=lambda p: p.stem)
def test_peers_of_varnishtest(varnishtest, door, vtc, tmp_path):
    macros = [word for name, port in door.ports.items() for word in ("-D", f"{name}=127.0.0.1:{port}")]
    done = subprocess.run([varnishtest, "-v", "-t", "60", *macros, str(vtc)], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=90)
    assert done.returncode == 0, done.stdout[-12000:]


def test_there_are_files_to_run():
    assert len(VTC) >= 10
