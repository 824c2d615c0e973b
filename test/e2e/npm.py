"""Peers that are written for Node.js: their modules are installed by npm into build/npm, once."""

import os
import shutil
import subprocess

import pytest
from mesh import HERE, ROOT, wait_until

MODULES = ("@grpc/grpc-js@1.14", "ws@8")
WHERE = ROOT / "build" / "npm"
NODE = HERE
ENV = {"NODE_PATH": str(WHERE / "node_modules")}


@pytest.fixture(scope="session")
def npm_modules():
    if shutil.which("npm") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("npm is missing; CI=true test/deps.sh installs it")
        pytest.skip("npm is missing (apt-get install npm): no peers by grpc-js and ws")
    if not all((WHERE / "node_modules" / m.rsplit("@", 1)[0] / "package.json").exists() for m in MODULES):
        WHERE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(WHERE), *MODULES],
                              capture_output=True, text=True, timeout=180)
        if done.returncode:
            pytest.fail(f"npm install {' '.join(MODULES)}: {done.stderr[-1500:]}; is its registry in reach?")
    return WHERE


def node(host, script, *argv, port):
    """Start a script of test/netns in a host, and wait until it listens."""
    p = host.start(f"node-{port}", "node", NODE / script, *argv, env=ENV)
    wait_until(f"{script} listens on {port}", lambda: p.alive() and host.listens(port))
    return p
