"""Server and agent as a service manager runs them: an unprivileged account with the units' capabilities only, told to by
NOTIFY_SOCKET and WATCHDOG_USEC. The account is a number that no machine gives to anybody."""

import ctypes
import datetime
import json
import os
import pathlib
import re
import signal
import socket
import threading
import time

import pytest
from mesh import HERE, PATIENCE, Failed, Mesh, ask, binary, wait_until

APP = HERE / "app.py"
ACCOUNT = 64321
SERVER_SERVES = r"^STATUS=serving revision \d+, \d agents connected$"
AGENT_SERVES = r"^STATUS=serving revision \d+, services here: 1$"
AGENT_CAPABILITIES = ("net_admin", "net_bind_service")  # as in systemd/weft-agent.service

GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [shop.example.com]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: door}
spec:
  hosts: [shop.example.com]
  gateways: [door]
  http:
  - route:
    - destination: {host: web, port: {number: 8080}}
"""


class Manager:
    """The service manager's end of the notify socket: like the real one it reads at once."""

    def __init__(self, path):
        self.name, self.heard, self.read = str(path), [], 0  # read: how many of them a test has seen
        self.news = threading.Condition()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.name)  # no abstract name: those are of one network namespace
        os.chmod(self.name, 0o777)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            text = self.socket.recv(4096).decode()
            with self.news:
                self.heard.append(text)
                self.news.notify_all()

    def env(self, watchdog_ms=2000):
        return {"NOTIFY_SOCKET": self.name, "WATCHDOG_USEC": str(watchdog_ms * 1000)}

    def listen(self, seconds):
        """The next message, or None when it stays quiet so long."""
        with self.news:
            if not self.news.wait_for(lambda: len(self.heard) > self.read, seconds):
                return None
            self.read += 1
            return self.heard[self.read - 1]

    def wait(self, pattern, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            text = self.listen(max(0.01, end - time.monotonic()))
            if text and re.search(pattern, text):
                return text
        raise Failed(f"not heard: {pattern}; heard: {self.heard[-10:]}")

    def flush(self):
        """What was said up to now is old."""
        with self.news:
            self.read = len(self.heard)


@pytest.fixture(scope="module")
def s():
    """control, web (with a service and a gateway on port 80), caller: all of them as ACCOUNT. Leaves live a minute."""
    with Mesh() as m:
        control = m.host("control").account(ACCOUNT)
        m.manager = Manager(m.dir / "server-notify")
        init = control.weft("server", "init", "--user", ACCOUNT, "--advertise", f"{control.ip4}:15012")
        assert init.returncode == 0, init.stderr
        m.control = control
        ini = control.config / "server.ini"
        ini.write_text(re.sub(r"(?m)^; leaf_lifetime.*$", "leaf_lifetime = 1m", ini.read_text()))
        m.start_server(env=m.manager.env())
        for name in ("web", "caller"):
            h = m.host(name).account(ACCOUNT, *AGENT_CAPABILITIES)
            h.service(name, 8080, protocol="http").app(name, 8080, APP, NAME=name)
            if name == "web":
                h.service("door", 0, kind="gateway", label_istio="ingressgateway")
            h.join(start=False)
            h.manager = Manager(h.dir / "notify")
            h.start_agent(env=h.manager.env())
        m.apply(GATEWAY)
        m.wait_service(m["caller"], "http://web:8080/")
        for h, status in ((m, SERVER_SERVES), (m["caller"], AGENT_SERVES)):
            h.manager.wait(status)
            h.manager.wait("WATCHDOG=1")
            h.first_heard = list(h.manager.heard)
        yield m


def daemons(m):
    return [m.server_process, m["web"].agent, m["caller"].agent]


def test_the_processes_are_unprivileged(s):
    for p in daemons(s):
        status = pathlib.Path(f"/proc/{p.pid}/status").read_text()
        assert re.search(rf"^Uid:(\s+{ACCOUNT}){{4}}$", status, re.M), status
        capabilities = {k: int(v, 16) for k, v in re.findall(r"^Cap(\w+):\s+([0-9a-f]+)$", status, re.M)}
        want = 0 if p is s.server_process else 1 << 12 | 1 << 10
        assert capabilities["Eff"] == capabilities["Bnd"] == want, status
        assert "NoNewPrivs:\t1" in status


def test_every_file_is_the_accounts(s):
    """Those that root's commands made too: the services have to rewrite them."""
    for name in ("control", "web"):
        found = [p for p in s[name].state.rglob("*")]
        assert any(p.name in ("weft.db", "host.key") for p in found)
        for p in found:
            assert p.stat().st_uid == ACCOUNT, p
            assert p.suffix != ".key" or p.stat().st_mode & 0o777 == 0o600, p
    assert (s["control"].config / "server.ini").stat().st_uid == 0


def test_capture_and_names(s):
    caller = s["caller"]
    count = lambda: caller.metric("istio_requests_total", reporter="source", destination_service_name="web")  # noqa: E731
    before = count()
    answer = caller.http("http://web:8080/")
    assert answer.status == 200, answer
    wait_until("it is counted", lambda: count() == before + 1)
    assert caller.status()["capture"] is True and caller.resolve("web")[0].startswith("240.240.")


def test_a_gateway_on_port_80(s):
    answer = s.lan.http(f"http://{s['web'].ip4}/", headers={"Host": "shop.example.com"})
    assert answer.status == 200 and "web" in answer.body, answer


def test_who_may_talk_to_the_sockets(s):
    web = s["web"]
    assert web.agent_socket.stat().st_mode & 0o777 == 0o660 and web.agent_socket.stat().st_uid == ACCOUNT
    assert web.weft("status").returncode == 0  # root
    as_other = ["setpriv", "--reuid=64322", "--regid=64322", "--clear-groups"]
    in_group = ["setpriv", "--reuid=64322", f"--regid={ACCOUNT}", "--clear-groups"]
    assert web.run(*in_group, binary(), "status").returncode == 0
    assert web.run(*as_other, binary(), "status").returncode == 3
    assert s["control"].weft("get", "hosts").returncode == 0
    assert s["control"].run(*as_other, binary(), "get", "hosts").returncode == 6


def test_a_reload_takes_a_new_service_and_says_so(s):
    web = s["web"]
    web.app("late", 8099, APP, NAME="late")
    web.service("late", 8099, protocol="http")
    web.manager.flush()
    web.agent.popen.send_signal(signal.SIGHUP)
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", web.manager.wait("RELOADING"))
    assert web.manager.wait("^(READY|RELOADING)=1") == "READY=1"
    s.wait_service(s["caller"], "http://late:8099/")


def test_certificates_are_renewed(s):
    def serials():
        return {c["serial"] for c in json.loads(s["web"].page("/certs")[1])["certificates"]}

    first = serials()
    assert first
    wait_until("all certificates are new ones", lambda: not first & serials(), 60, every=0.2)
    assert s["caller"].http("http://web:8080/").status == 200
    # A life of a minute is renewed every ten seconds, though it is backdated by more than a sixth.
    times = {}
    for at, identity in re.findall(r"(?m)^(\S+Z) \w+ weft-agent certificate renewed identity=(\S+)", s["web"].agent.text()):
        times.setdefault(identity, []).append(datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp())
    # (A line of the log may be late.)
    assert times and all(b - a >= 5 for moments in times.values() for a, b in zip(moments, moments[1:])), times


# ---- the service manager ----

def test_ready_comes_once_with_a_status(s):
    """From the first message on, as the fixture started them."""
    for heard, status in ((s.first_heard, SERVER_SERVES), (s["caller"].first_heard, AGENT_SERVES)):
        assert heard.count("READY=1") == 1, heard
        assert any(re.match(status, text) for text in heard), heard


def threads(pid):
    return {int(t.name): (t / "comm").read_text().strip() for t in pathlib.Path(f"/proc/{pid}/task").iterdir()}


class Stopped:
    """Holds one thread of another process, as nothing short of a debugger can: the process itself goes on."""
    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid):
        self.tid, self.libc = tid, ctypes.CDLL(None, use_errno=True)

    def _ptrace(self, request):
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        if self.libc.ptrace(request, self.tid, None, None) != 0:
            raise Failed(f"ptrace {request:#x} of {self.tid}: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):
        self._ptrace(self.SEIZE)
        self._ptrace(self.INTERRUPT)
        os.waitpid(self.tid, self.WALL)

    def __exit__(self, *_):
        self._ptrace(self.DETACH)


def pings_within(manager, seconds):
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        count += manager.listen(max(0.01, end - time.monotonic())) == "WATCHDOG=1"
    return count


@pytest.mark.parametrize("who,thread", [("agent", "weft-worker-0"), ("agent", "weft-worker-1"), ("agent", "weft-handshake"),
                                        ("server", "weft-handshake")])
def test_a_thread_that_stands_still_stops_the_pings(s, who, thread):
    manager = s.manager if who == "server" else s["caller"].manager
    pid = (s.server_process if who == "server" else s["caller"].agent).pid
    tid = {name: tid for tid, name in threads(pid).items()}[thread]
    manager.flush()
    manager.wait("WATCHDOG=1")
    with Stopped(tid):
        # Two watchdogs long there is none, but for those that were on their way and one for what had turned before.
        assert any(not pings_within(manager, 4) for _ in range(3)), manager.heard[-20:]
        assert ask(s.control.socket, "GET", "/healthz")[0] == 200 if who == "server" else \
            s["caller"].page("/healthz")[0] == 200  # the loop itself lives, and yet no ping
    manager.wait("WATCHDOG=1")


def test_waiting_for_a_first_configuration_is_not_ready(s):
    h = s.host("alone").account(ACCOUNT, *AGENT_CAPABILITIES).join(start=False)
    h.manager = Manager(h.dir / "notify")
    s.server_process.kill()
    try:
        h.start_agent(ready=False, env=h.manager.env())
        h.manager.wait("^STATUS=waiting for a first configuration: .*refused")
        h.manager.wait("^EXTEND_TIMEOUT_USEC=")
        assert "READY=1" not in h.manager.heard
    finally:
        s.start_server(env=s.manager.env())
    h.manager.wait("^STATUS=serving revision")
    h.manager.wait("^READY=1$")  # what it means is said first


def test_without_a_server_the_disk_is_enough(s):
    caller = s["caller"]
    assert caller.agent.stop() == 0
    caller.manager.wait("^STOPPING=1$")
    s.server_process.kill()
    try:
        caller.manager.flush()
        caller.start_agent(env=caller.manager.env())
        caller.manager.wait("^READY=1$")
        caller.manager.wait("^STATUS=serving revision .* no server: ")
        assert caller.http("http://web:8080/").status == 200
    finally:
        s.start_server(env=s.manager.env())
    caller.manager.wait(AGENT_SERVES)


def test_root_gives_no_files_to_a_stranger(s, tmp_path):
    """--user is for root, for accounts that are there, and for folders that are nobody else's."""
    h = s["web"]
    (tmp_path / "other").mkdir()
    os.chmod(tmp_path, 0o755)
    for argv, want in ((("--user", "no-such-account", "--state-dir", tmp_path / "a"), "there is no such account"),
                       (("--user", ACCOUNT, "--state-dir", tmp_path / "other"), f"belongs to user 0, not to user {ACCOUNT}")):
        done = h.weft("server", "init", "--config-dir", tmp_path / "etc", *argv)
        assert done.returncode != 0 and want in done.stderr, done
        assert not (tmp_path / "a").exists() and not list((tmp_path / "other").iterdir())
