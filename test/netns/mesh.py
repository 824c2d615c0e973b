"""A mesh on one machine: network namespaces as hosts on one bridge, the real binary in each.

    with Mesh() as m:
        m.server()
        m.host("web").service("web", 8080, version="v1").join()
        m.host("shop").service("shop", 8080).join()
        m.wait_ready()
        m.apply("kind: VirtualService ...")
        m["shop"].http("http://web:8080/")

Every host has an address 10.77.0.N and fd77::N, its own WEFT_* folders, resolv.conf and nsswitch.conf. A namespace of its own holds
the bridge ("lan", 10.77.0.254), where the wire is captured and a small nameserver lives. Names of namespaces begin with the
process that owns them, so that runs do not collide and a run that was killed is cleaned up by the next one.
"""

import atexit
import ctypes
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON = "/usr/bin/python3"
NAMESERVER = "10.77.0.254"
PORT = 15012
NETNS_ETC = pathlib.Path("/etc/netns")
PR_SET_PDEATHSIG = 1
PATIENCE = 30  # seconds for what has to happen: a busy machine stands still for some of them, and who waits in vain fails anyway


class Failed(Exception):
    """Something that had to happen did not."""


def binary():
    return os.environ.get("WEFT_BIN") or str(ROOT / "build" / "release" / "weft")


def ip(*args, check=True, text=None):
    done = subprocess.run(["ip", *args], input=text, capture_output=True, text=True)
    if check and done.returncode:
        raise Failed(f"ip {' '.join(args)}: {done.stderr.strip()}")
    return done


def require():
    """Can namespaces be made here? A machine where not gets a clear message, never a skip."""
    why = None
    name = f"wt-{os.getpid()}z-probe"
    if not shutil.which("ip"):
        why = "the command ip is missing (apt-get install iproute2)"
    elif os.geteuid() != 0:
        why = "it needs root"
    else:
        made = ip("netns", "add", name, check=False)
        if made.returncode == 0:
            linked = ip("-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1", check=False)
            ip("netns", "del", name, check=False)
            why = linked.stderr.strip() if linked.returncode else None
        else:
            why = made.stderr.strip()
    if why and not os.path.ismount("/"):
        why += '; "/" is no mount point here: in a chroot, `mount --bind DIR DIR` before chroot DIR'
    if why:
        raise Failed(f"network namespaces cannot be made on this machine: {why}.\n"
                     "The end-to-end tests and the demo run real hosts in namespaces: run them as root, outside a container or "
                     "in one with CAP_SYS_ADMIN and CAP_NET_ADMIN.")
    if not os.access(binary(), os.X_OK):
        raise Failed(f"{binary()} is not there: run make first")


def wait_until(what, probe, seconds=PATIENCE, every=0.02):
    """Ask `probe` until it answers something true, and return that. An exception in it counts as not yet."""
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            found = probe()
            if found:
                return found
        except (OSError, ValueError, KeyError, Failed) as e:
            last = e
        if time.monotonic() > end:
            raise Failed(f"waited {seconds:g} s: {what}" + (f" ({last})" if last else ""))
        time.sleep(every)


PORTS = range(20000, 65000)
held = []


def free_port():
    """A port of this machine for a program that opens it later. None of those that the kernel gives to connections, and none
    that this run or another one has been given."""
    low, high = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = [p for p in PORTS if not low <= p <= high] or PORTS
    while True:
        port = random.choice(ports)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0weft-test-port-{port}")  # as long as this process lives
            with socket.create_server(("127.0.0.1", port), reuse_port=False):
                held.append(claim)
                return port
        except OSError:
            claim.close()


def owner_alive(tag):
    return os.path.exists(f"/proc/{tag}")


def sweep(pattern):
    """End what runs in namespaces whose name matches, and remove them."""
    for line in ip("netns", "list", check=False).stdout.splitlines():
        name = line.split()[0] if line.split() else ""
        if not re.fullmatch(pattern, name):
            continue
        for pid in ip("netns", "pids", name, check=False).stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        ip("netns", "del", name, check=False)
        shutil.rmtree(NETNS_ETC / name, ignore_errors=True)


def sweep_stale():
    tags = set(re.findall(r"^wt-(\d+)[a-z]-", ip("netns", "list", check=False).stdout, re.M))
    for tag in tags:
        if not owner_alive(tag):
            sweep(rf"wt-{tag}[a-z]-.*")


class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path, timeout=PATIENCE):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path, method, target, body=None, headers=None):
    """One HTTP call to a Unix socket: (status, body as text)."""
    c = UnixHTTP(path)
    try:
        c.request(method, target, body=body, headers=headers or {})
        r = c.getresponse()
        return r.status, r.read().decode()
    except (OSError, http.client.HTTPException) as e:
        raise Failed(f"{method} {target} at {path}: {type(e).__name__}: {e}") from None
    finally:
        c.close()


class Process:
    """A process in a host's namespace; its output goes to a file."""

    def __init__(self, host, name, argv, env=None, stdin=None, stdout=None):
        self.name, self.host = name, host
        self.log = host.dir / f"{name}.log"
        self.argv = argv
        out = open(self.log, "ab")
        keep = host.mesh.keep
        libc = ctypes.CDLL(None)

        def before():
            if not keep:  # a run that is killed takes its processes along
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

        self.popen = subprocess.Popen(["ip", "netns", "exec", host.ns, *argv], env={**host.env, **(env or {})},
                                      stdin=stdin or subprocess.DEVNULL, stdout=stdout or out, stderr=out,
                                      cwd=str(host.dir), start_new_session=True, preexec_fn=before)
        out.close()
        host.processes.append(self)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def stop(self, sig=signal.SIGTERM, seconds=PATIENCE):
        """End it; by force when it does not listen. Returns its exit code."""
        if self.alive():
            self.popen.send_signal(sig)
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(PATIENCE)
        for f in (self.popen.stdin, self.popen.stdout):
            if f:
                f.close()
        if self in self.host.processes:
            self.host.processes.remove(self)
        return self.popen.returncode

    def kill(self):
        return self.stop(signal.SIGKILL)

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Host:
    def __init__(self, mesh, name, number):
        self.mesh, self.name = mesh, name
        self.ns = f"wt-{mesh.tag}-{name}"
        self.ip4, self.ip6 = f"10.77.0.{number}", f"fd77::{number:x}"
        self.dir = mesh.dir / name
        self.config, self.state = self.dir / "etc", self.dir / "var"
        self.socket, self.agent_socket = self.dir / "api.sock", self.dir / "agent.sock"
        self.processes, self.apps, self.offered = [], {}, []
        self.agent = self.hand_process = None
        self.as_service = []  # words in front of the daemons' command: another account, see account()
        self.join_flags = []
        path = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        self.env = {"PATH": f"{mesh.xtables}:{path}" if mesh.xtables else path, "LANG": "C.UTF-8",
                    "WEFT_CONFIG_DIR": str(self.config), "WEFT_STATE_DIR": str(self.state),
                    "WEFT_SOCKET": str(self.socket), "WEFT_AGENT_SOCKET": str(self.agent_socket)}
        for variable in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if variable in os.environ:
                self.env[variable] = os.environ[variable]
        (self.config / "services.d").mkdir(parents=True)
        self.state.mkdir()
        self._namespace()

    def _namespace(self):
        etc = NETNS_ETC / self.ns
        etc.mkdir(parents=True)
        (etc / "resolv.conf").write_text(f"nameserver {NAMESERVER}\noptions timeout:5 attempts:5\n")
        for name, text in (("nsswitch.conf", "hosts: files dns\n"), ("hosts", "127.0.0.1 localhost\n::1 localhost\n")):
            if os.path.exists(f"/etc/{name}"):
                (etc / name).write_text(text)
        ip("netns", "add", self.ns)
        self.mesh.namespaces.append(self.ns)
        if self.name == "lan":
            # An address of its own: without, the bridge takes that of a port, another one whenever a host is added.
            ip("-n", self.ns, "-batch", "-", text="link set lo up\n"
               "link add br0 address 02:77:65:66:74:fe type bridge forward_delay 0 stp_state 0\nlink set br0 up\n"
               f"address add {NAMESERVER}/24 dev br0\naddress add fd77::fe/64 dev br0 nodad\n")
            return
        lan = self.mesh.lan.ns
        ip("-batch", "-", text=f"link add eth0 netns {self.ns} type veth peer name {self.name} netns {lan}\n")
        ip("-n", lan, "-batch", "-", text=f"link set dev {self.name} master br0\nlink set dev {self.name} up\n")
        ip("-n", self.ns, "-batch", "-", text="link set lo up\nlink set eth0 up\n"
           f"address add {self.ip4}/24 dev eth0\naddress add {self.ip6}/64 dev eth0 nodad\n")

    # ---- commands and processes ----

    def account(self, uid, *capabilities):
        """The daemons of this host run as this user, with these capabilities and no others, as their units have it; root's
        commands prepare the files for it."""
        keep = ",".join(["-all", *(f"+{c}" for c in capabilities)])
        self.as_service = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", f"--inh-caps={keep}",
                           f"--ambient-caps={keep}", f"--bounding-set={keep}", "--no-new-privs"]
        self.join_flags = ["--user", str(uid)]
        os.chmod(self.mesh.dir, 0o711)
        for d in (self.dir, self.state):
            os.chown(d, uid, uid)
        return self

    def run(self, *argv, text=None, seconds=2 * PATIENCE, env=None):
        """A command in this host; a str runs by sh. Returns CompletedProcess with texts."""
        if len(argv) == 1 and " " in argv[0]:
            argv = ("sh", "-c", argv[0])
        return subprocess.run(["ip", "netns", "exec", self.ns, *map(str, argv)], input=text, capture_output=True, text=True,
                              timeout=seconds, env={**self.env, **(env or {})}, cwd=str(self.dir))

    def weft(self, *argv, **more):
        return self.run(binary(), *argv, **more)

    def start(self, name, *argv, **more):
        return Process(self, name, list(map(str, argv)), **more)

    def curl(self, *argv, **more):
        return self.run("curl", "-sS", "--max-time", str(PATIENCE), *argv, **more)

    def app(self, name, port, *argv, ready=None, **env):
        """Start a program of ours and wait until it listens on 127.0.0.1 or this host's address."""
        known = {k: str(v) for k, v in env.items()}
        p = self.start(f"app-{name}", PYTHON, *argv, env={"PORT": str(port), **known})
        self.apps[name] = p
        wait_until(f"{name} on {self.name} listens on {port}", lambda: p.alive() and self.listens(ready or port))
        return self

    def listens(self, port):
        return bool(self.run("ss", "-Hltn", f"sport = :{port}").stdout.strip())

    # ---- membership ----

    def service(self, name, port, file=None, kind="service", **keys):
        """Register by services.d; label_tier=x becomes label.tier = x."""
        lines = [f"[{kind} {name}]"] + ([f"port = {port}"] if port else [])
        lines += [f"{k.replace('label_', 'label.', 1)} = {v}" for k, v in keys.items()]
        (self.config / "services.d" / f"{file or name}.ini").write_text("\n".join(lines) + "\n")
        self.offered.append(f"{keys.get('namespace', 'default')}/{name}")
        return self

    def settings(self, **keys):
        if self.mesh.capture:
            keys.setdefault("capture", self.mesh.capture.split("-")[0])
        lines = ["[agent]"] + [f"{k} = {v}" for k, v in keys.items()]
        (self.config / "agent.ini").write_text("\n".join(lines) + "\n")
        return self

    def join(self, token=None, start=True, **limits):
        if not token and not limits and any(name in h.offered for h in self.mesh.hosts.values() if h is not self for name in self.offered):
            limits = {"services": ",".join(self.offered)}  # a name that another host has needs a grant
        token = token or self.mesh.token(**limits)
        done = self.weft("join", "--name", self.name, *self.join_flags, token)
        if done.returncode:
            raise Failed(f"{self.name}: weft join: {done.stdout}{done.stderr}")
        if start:
            self.start_agent()
        return self

    @property
    def access_log(self):
        return self.dir / "access.log"

    def start_agent(self, *flags, ready=True, env=None):
        if not (self.config / "agent.ini").exists():
            self.settings(access_log=self.access_log)
        self.agent = self.start("agent", *self.as_service, binary(), "agent", "run", *flags, env=env)
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=PATIENCE):
        def probe():
            if not self.agent.alive():
                raise Failed(f"the agent of {self.name} ended with {self.agent.popen.returncode}")
            return self.page("/readyz")[0] == 200
        wait_until(f"the agent of {self.name} is ready", probe, seconds)

    def page(self, target, method="GET"):
        return ask(self.agent_socket, method, target)

    def status(self):
        return json.loads(self.page("/status")[1])

    def metrics(self):
        return self.page("/metrics")[1]

    def metric(self, name, **labels):
        """Sum of the series of this name that have these labels."""
        total = 0.0
        for line in self.metrics().splitlines():
            if not re.match(rf"{re.escape(name)}[{{ ]", line):
                continue
            if all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    # ---- a hand inside the namespace: requests without starting a process each ----

    def hand(self, op, **args):
        if self.hand_process is None or not self.hand_process.alive():
            self.hand_process = self.start("hand", PYTHON, "-u", HERE / "hand.py", stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE)
        p = self.hand_process.popen
        p.stdin.write(json.dumps({"op": op, **args}).encode() + b"\n")
        p.stdin.flush()
        line = p.stdout.readline()
        if not line:
            raise Failed(f"the hand in {self.name} is gone: {self.hand_process.text()[-800:]}")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer["answer"]

    def http(self, url, method="GET", headers=None, body=None, timeout=PATIENCE, to=None):
        """One request on a fresh connection: Answer; status 0 and the reason in `error` if there was no answer."""
        return Answer(self.hand("http", url=url, method=method, headers=headers or {}, body=body, timeout=timeout, to=to))

    def many(self, url, count, threads=4, headers=None, timeout=PATIENCE):
        """`count` requests on `threads` kept connections: [Answer]."""
        return [Answer(a) for a in self.hand("many", url=url, count=count, threads=threads, headers=headers or {},
                                             timeout=timeout)]

    def tcp(self, to, **args):
        """Raw bytes: see hand.py tcp()."""
        return self.hand("tcp", to=to, **args)

    def resolve(self, name, family=4):
        return self.hand("resolve", name=name, family=family)

    def load(self, url, threads=2, headers=None):
        return Load(self, self.hand("load_start", url=url, threads=threads, headers=headers or {}))


class Answer:
    def __init__(self, d):
        self.status, self.body, self.error, self.ms = d["status"], d["body"], d["error"], d["ms"]
        self.headers = {k.lower(): v for k, v in d["headers"]}

    def json(self):
        return json.loads(self.body)

    @property
    def is_refused(self):
        """There was none, and not because the caller had waited long enough."""
        return self.status == 0 and "timed out" not in self.error

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r} {self.error or ''} {self.ms} ms>"


class Load:
    """Requests in the background, one after another on each thread."""

    def __init__(self, host, number):
        self.host, self.number = host, number

    def seen(self):
        return self.host.hand("load_look", number=self.number)

    def wait_for(self, count, seconds=2 * PATIENCE):
        start = self.seen()["total"]
        wait_until(f"{count} more requests pass", lambda: self.seen()["total"] >= start + count, seconds)

    def stop(self):
        """{"total", "statuses": {"200": n}, "errors": [text], "apps": {"web-v1": n}}; apps by their header x-app"""
        return self.host.hand("load_stop", number=self.number)


class Capture:
    """What crosses the wire, as tcpdump on the bridge sees it."""

    DISCARD = 9  # a datagram to there marks the end: what tcpdump has not read when it is told to stop is lost

    def __init__(self, mesh):
        self.mesh, self.file = mesh, mesh.dir / f"wire-{time.monotonic_ns()}.pcap"  # begins with 24 bytes once tcpdump listens
        self.process = mesh.lan.start("tcpdump", "tcpdump", "-i", "br0", "-U", "-s", "0", "-w", self.file, "--immediate-mode",
                                      "tcp", "or", "udp", "port", self.DISCARD)
        wait_until("tcpdump listens", lambda: self.file.stat().st_size >= 24)

    def stop(self):
        """The bytes of all packets up to now."""
        end = f"end of the capture {time.monotonic_ns()}"

        def is_written():
            self.mesh.lan.hand("udp", to=f"{self.mesh.control.ip4}:{self.DISCARD}", text=end)
            return end.encode() in self.file.read_bytes()
        wait_until("tcpdump has seen the end", is_written)
        self.process.stop(signal.SIGINT)
        return self.file.read_bytes()


class Mesh:
    letters = iter("abcdefghijklmnopqrstuvwxy" * 40)

    def __init__(self, keep=False, tag=None, capture=None):
        """capture: nftables, or iptables-nft and iptables-legacy for iptables in its two flavours; None: as the agent likes."""
        self.keep, self.capture, self.xtables = keep, capture, None
        require()
        sweep_stale()
        self.tag = tag or f"{os.getpid()}{next(Mesh.letters)}"
        if tag:
            sweep(rf"wt-{re.escape(tag)}-.*")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"wt-{self.tag}-", dir="/tmp"))
        self.dir.chmod(0o755)  # other users must reach the sockets, to be refused there
        self.hosts, self.namespaces, self.number = {}, [], 0
        if capture and capture.startswith("iptables-"):
            self.xtables = self.dir / "xtables"
            self.xtables.mkdir()
            for name in ("iptables", "ip6tables"):
                for part in ("", "-save", "-restore"):
                    (self.xtables / (name + part)).symlink_to(f"/usr/sbin/xtables-{capture.removeprefix('iptables-')}-multi")
        self.control = None
        self.server_process = None
        atexit.register(self.close)
        self.lan = Host(self, "lan", 254)
        self.lan.start("nameserver", PYTHON, "-u", HERE / "nameserver.py", NAMESERVER)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.dump()
        self.close()

    def __getitem__(self, name):
        return self.hosts[name]

    def host(self, name):
        if not self.hosts:  # the first one that may ask
            wait_until("the nameserver listens", lambda: self.lan.run("ss", "-Hlun", "sport = :53").stdout.strip())
        self.number += 1
        self.hosts[name] = Host(self, name, 9 + self.number)
        return self.hosts[name]

    # ---- the control plane ----

    def server(self, name="control", *flags):
        self.control = self.hosts.get(name) or self.host(name)
        done = self.control.weft("server", "init", *self.control.join_flags, "--advertise", f"{self.control.ip4}:{PORT}", *flags)
        if done.returncode:
            raise Failed(f"weft server init: {done.stdout}{done.stderr}")
        self.first_output = done.stdout
        self.start_server()
        return self.control

    def start_server(self, env=None):
        c = self.control
        self.server_process = c.start("server", *c.as_service, binary(), "server", "run", env=env)

        def probe():
            if not self.server_process.alive():
                raise Failed(f"the server ended with {self.server_process.popen.returncode}")
            return ask(c.socket, "GET", "/readyz")[0] == 200
        wait_until("the server is ready", probe)

    def api(self, method, target, body=None, headers=None):
        """(status, decoded answer)."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        status, text = ask(self.control.socket, method, target, body, headers)
        return status, json.loads(text) if text[:1] in ("{", "[") else text

    def token(self, **limits):
        status, answer = self.api("POST", "/v1/tokens", {k: str(v) for k, v in limits.items()})
        if status != 201:
            raise Failed(f"token: {status} {answer}")
        return answer["token"]

    def apply_raw(self, text, name="test.yaml"):
        """weft apply -f FILE as a person runs it: CompletedProcess."""
        path = self.control.dir / name
        path.write_text(text)
        return self.control.weft("apply", "-f", name)

    def apply(self, text, sync=True):
        """Apply documents (a text, or the path of a file) and wait until every agent has them."""
        if isinstance(text, pathlib.Path):
            done = self.control.weft("apply", "-f", str(text))
        else:
            done = self.apply_raw(text)
        if done.returncode:
            raise Failed(f"weft apply: exit {done.returncode}: {done.stdout}{done.stderr}")
        if sync:
            self.wait_synced()
        return done

    def delete(self, kind, name, ns="default", sync=True):
        status, answer = self.api("DELETE", f"/v1/namespaces/{ns}/{kind}/{name}")
        if status not in (200, 404):
            raise Failed(f"delete {kind} {name}: {status} {answer}")
        if sync:
            self.wait_synced()

    def clear(self):
        """Delete every document, for the next test."""
        for kind in ("virtualservice", "gateway", "destinationrule", "serviceentry", "workloadentry", "peerauthentication", "sidecar",
                     "ratelimit", "credential", "meshconfig"):
            for o in self.api("GET", f"/v1/{kind}")[1]["items"]:
                self.delete(kind, o["metadata"]["name"], o["metadata"]["namespace"], sync=False)
        self.wait_synced()

    def revision(self):
        return self.api("GET", "/v1/status")[1]["revision"]

    def agents(self):
        return [h for h in self.hosts.values() if h.agent and h.agent.alive()]

    def wait_synced(self, seconds=PATIENCE):
        """Until every agent that runs serves the server's revision."""
        want = self.revision()
        for h in self.agents():
            wait_until(f"{h.name} serves revision {want}", lambda h=h: h.status()["revision"] >= want, seconds)

    def wait_service(self, client, url, seconds=PATIENCE, good=lambda a: a.status == 200):
        """Until `client` gets an answer there."""
        last = [None]

        def probe():
            last[0] = client.http(url)
            return last[0] if good(last[0]) else None
        try:
            return wait_until(f"{client.name} reaches {url}", probe, seconds)
        except Failed as e:
            raise Failed(f"{e}; the last answer was {last[0]}") from None

    def wait_apps(self, client, url, *names):
        """Until `client` gets answers from all of these there, by their names, and no other answers."""
        def seen():
            return {a.json()["app"] if a.status == 200 else a.status for a in client.many(url, 20, threads=1)}
        wait_until(f"{client.name} reaches {', '.join(names)} at {url}", lambda: seen() == set(names))

    # ---- the end ----

    def dump(self, out=sys.stderr, lines=40):
        """What the processes said last; for a failure."""
        for h in [self.lan, *self.hosts.values()]:
            for log in sorted(h.dir.glob("*.log")):
                text = log.read_text(errors="replace").splitlines()[-lines:]
                if text:
                    print(f"---- {h.name}/{log.name}", *text, sep="\n", file=out)

    def close(self, force=False):
        if self.keep and not force:
            return
        atexit.unregister(self.close)
        everyone = [p for h in [*self.hosts.values(), self.lan] for p in h.processes]
        for p in everyone:
            if p.alive():
                p.popen.terminate()
        end = time.monotonic() + 3
        for p in everyone:
            try:
                p.popen.wait(max(0.05, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                p.popen.kill()
                p.popen.wait(PATIENCE)
            p.stop()
        for name in self.namespaces:
            ip("netns", "del", name, check=False)
            shutil.rmtree(NETNS_ETC / name, ignore_errors=True)
        self.namespaces = []
        shutil.rmtree(self.dir, ignore_errors=True)
        try:
            NETNS_ETC.rmdir()  # only when nobody else uses it
        except OSError:
            pass


def _ended(number, _frame):
    sys.exit(128 + number)


signal.signal(signal.SIGTERM, _ended)  # so that atexit runs
