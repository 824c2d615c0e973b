"""End to end: the real binary in network namespaces. One mesh per module, for speed; tests of a module share it and leave it as
they found it (the fixture `clean` deletes every document afterwards).
"""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "netns"))

from mesh import HERE, Failed, Mesh, require  # noqa: E402

APP = HERE / "app.py"


def pytest_sessionstart(session):
    try:
        require()
    except Failed as e:
        pytest.exit(f"\n{e}", returncode=1)  # a machine that cannot run these tests has not passed them


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Mesh):
                report.sections.append(("what the processes said", Tail(value).text()))


def pytest_terminal_summary(terminalreporter):
    """What a test said that failed and was told again."""
    first = terminalreporter.stats.get("rerun", [])
    if first:
        terminalreporter.section("needed a second run")
        for report in first:
            terminalreporter.write_line(f"{report.nodeid}\n{report.longreprtext}")
        terminalreporter.section("needed a second run, end")


class Tail:
    def __init__(self, mesh):
        self.lines = []
        mesh.dump(out=self, lines=25)

    def write(self, text):
        self.lines.append(text)

    def text(self):
        return "".join(self.lines)


@pytest.fixture(scope="module")
def empty():
    """A mesh with a server and no host."""
    with Mesh() as m:
        m.server()
        yield m


def populate(mesh):
    """client (a service too, so that it has an identity), web in v1 and v2 (two hosts), bank and safe on one host, outsider."""
    mesh.server()
    c = mesh.host("client").service("client", 8080, protocol="http").app("client", 8080, APP, NAME="client")
    for v in ("v1", "v2"):
        h = mesh.host(f"web-{v}").service("web", 8080, protocol="http", version=v)
        h.app("web", 8080, APP, NAME=f"web-{v}")
        h.join()
    b = mesh.host("vault")
    b.service("bank", 8081, protocol="http").app("bank", 8081, APP, NAME="bank")
    b.service("safe", 8082).app("safe", 8082, APP, NAME="safe")  # no protocol: found out from the first bytes
    b.app("secret", 8099, APP, NAME="secret")  # registered nowhere
    b.join()
    mesh.host("outsider").app("other", 8080, APP, NAME="other")
    c.join()
    for name, port in (("web", 8080), ("bank", 8081), ("safe", 8082)):
        mesh.wait_service(c, f"http://{name}:{port}/")
    mesh.wait_apps(c, "http://web:8080/", "web-v1", "web-v2")  # the first answer came from one of them
    return mesh


@pytest.fixture(scope="module")
def m():
    with Mesh() as mesh:
        yield populate(mesh)


@pytest.fixture(scope="module", params=["nftables", "iptables-nft", "iptables-legacy"])
def on_each_backend(request):
    """The same mesh, once for each way to capture: `from conftest import on_each_backend as m`."""
    with Mesh(capture=request.param) as mesh:
        yield populate(mesh)


@pytest.fixture
def clean(m):
    yield m
    m.clear()
