"""Contenders: one process per hop, chained from the client to the origin."""
import os, subprocess, sys, time

from .proc import BENCH, port, spawn, stop, wait_port


class Hop:
    def __init__(self, spec, role, mode, listen, nxt, a, extra=None):
        self.name, _, feats = spec.partition("@")
        self.role, self.mode, self.listen = role, mode, listen
        self.run = os.path.join(a.scratch, f"{self.name}{'@' + feats if feats else ''}-{role}-{mode}-{listen}")
        os.makedirs(self.run, exist_ok=True)
        os.chmod(self.run, 0o755)
        self.env = dict(os.environ, ROLE=role, MODE=mode, LISTEN=str(listen), NEXT=str(nxt), WORKERS=str(a.workers),
                        RUN=self.run, CERTS=a.certs, FEATURES=feats, BENCH=BENCH, **(extra or {}))
        self.p = None

    def sh(self, body):
        return f'. "{BENCH}/contenders/_lib.sh"; . "{BENCH}/contenders/{self.name}.sh"; {body}'

    def supported(self):
        if not os.path.exists(f"{BENCH}/contenders/{self.name}.sh"):
            sys.exit(f"no contenders/{self.name}.sh")
        return subprocess.run(["bash", "-c", self.sh('c_supports "$MODE" "$ROLE"')], env=self.env).returncode == 0

    def version(self):
        r = subprocess.run(["bash", "-c", self.sh("c_version")], env=self.env, capture_output=True, text=True)
        return r.stdout.strip()

    def conf(self):
        subprocess.run(["bash", "-c", self.sh("c_conf; :")], env=self.env, check=True)

    def start(self):
        t = time.time()
        self.p = spawn(["bash", "-c", self.sh("c_start")], env=self.env, log=self.run + "/log")
        try:
            wait_port(self.p, self.listen, what=f"{self.name} {self.role}")
        except RuntimeError as e:
            with open(self.run + "/log", errors="replace") as f:
                print(f"# FAILED {e}\n{f.read()[-1500:]}", flush=True)
            raise
        return time.time() - t

    def reload(self):
        subprocess.run(["bash", "-c", self.sh(f"c_reload {self.p.pid}")], env=self.env, check=True)


class Chain:
    """client -> [hops] -> origin"""
    def __init__(self, spec, mode, oport, a, extra=None):
        self.spec, self.hops, self.port = spec, [], oport
        if spec == "direct":
            return
        if mode in ("edge", "routes", "http-hop", "tcp-hop"):
            m = {"http-hop": "http-plain", "tcp-hop": "tcp-plain"}.get(mode, mode)
            role = {"edge": "edge", "routes": "out"}.get(mode, "hop")
            h = Hop(spec, role, m, port(), oport, a, extra)
            self.hops, self.port = [h], h.listen
        else:
            base, _, feats = spec.partition("@")
            if "+" in feats:
                sys.exit(f"{spec}: features are of both hops and come last: A+B@feature")
            o, _, i = base.partition("+")
            i = i or o
            f = "@" + feats if feats else ""
            b = Hop(i + f, "in", mode, port(), oport, a, extra)
            h = Hop(o + f, "out", mode, port(), b.listen, a, extra)
            self.hops, self.port = [h, b], h.listen

    def supported(self):
        return all(h.supported() for h in self.hops)

    def start(self):
        for h in reversed(self.hops):
            h.conf()
            h.start()

    def stop(self):
        for h in self.hops:
            if h.p:
                stop(h.p)
                h.p = None

    def pids(self):
        return {{"out": "A", "in": "B"}.get(h.role, "P"): h.p.pid for h in self.hops}
