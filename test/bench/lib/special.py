"""The scenarios with a shape of their own: memory, many routes, pushes under load."""
import http.client, json, subprocess, time

from .chain import Chain
from .load import hload, measured, per1k, start_origin
from .member import Member
from .proc import BUILD, cpu, mem, procs, stop
from .table import table


def result(a, case, contender, rnd, key, row, **more):
    return dict(scenario=a.scenario, case=case, contender=contender, round=rnd, workers=a.workers, key=key, row=row, **more)


def started(spec, mode, oport, a, extra=None):
    """A chain that answers, or None if it does not support this."""
    c = Chain(spec, mode, oport, a, extra)
    if not c.supported():
        print(f"# {spec}: does not support {mode}", flush=True)
        return None
    try:
        c.start()
    except RuntimeError:
        c.stop()
        a.failed = True
        return None
    return c


# ---------------------------------------------------------------- idle connections
def hold(c, n, path=None):
    """Memory while n connections are open and silent, and how many are still open then."""
    cmd = [f"{BUILD}/hload", "-m", "idle", "-p", str(c.port), "-c", str(n), "-d", "60"]
    p = subprocess.Popen(cmd + (["-u", path] if path else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    procs.append(p)
    p.stdout.readline()                   # {"ready":N}
    time.sleep(1.0)
    now = {k: mem(q) for k, q in c.pids().items()}
    p.stdin.write("x\n")
    p.stdin.flush()
    alive = json.loads(p.stdout.readline())["alive"]
    p.wait()
    procs.remove(p)
    return now, alive


def run_idle(a):
    """5. memory with N idle connections; mode tcp: each owns an mTLS leg; http: the first proxy keeps a pool"""
    res = []
    for mode in a.modes.split(","):
        for rnd in range(a.rounds):
            for spec in a.contenders:
                if spec == "direct":
                    continue
                origin, oport = start_origin(a)
                c = started(spec, mode, oport, a)
                if c:
                    time.sleep(0.5)
                    base = {k: mem(p) for k, p in c.pids().items()}
                    for n in [int(x) for x in a.counts.split(",")]:
                        now, alive = hold(c, n, "/delay/3000" if mode == "http" and a.inflight else None)
                        d = {"alive": alive}
                        for k in now:
                            d[f"{k}_rss0_MB"] = base[k][0] / 1e6
                            d[f"{k}_rss_MB"] = now[k][0] / 1e6
                            d[f"{k}_KB/conn"] = (now[k][1] - base[k][1]) / 1024 / n
                        d["hops_KB/conn"] = sum(d[f"{k}_KB/conn"] for k in now)
                        res.append(result(a, f"{mode} n={n}", spec, rnd, "hops_KB/conn", d))
                        time.sleep(1.0)
                    c.stop()
                stop(origin)
    table("idle: " + run_idle.__doc__, res, a.base)
    return res


def run_memory(a):
    """6. memory of a proxy that has just started and does nothing; weft@member: of an agent that has joined a mesh"""
    res = []
    origin, oport = start_origin(a)
    for rnd in range(a.rounds):
        for spec in a.contenders:
            c = Member(a) if spec == "weft@member" else started(spec, "http", oport, a)
            if not c:
                continue
            if spec == "weft@member":
                c.start()
            time.sleep(3)
            rss, pss = mem(list(c.pids().values())[0])
            if not rss:
                raise RuntimeError(f"{spec}: ended by itself")
            res.append(result(a, "idle", spec, rnd, "rss_MB", {"rss_MB": rss / 1e6, "pss_MB": pss / 1e6}))
            c.stop()
    stop(origin)
    table("memory: " + run_memory.__doc__, res, a.base)
    return res


# ---------------------------------------------------------------- many routes
def status(prt, host):
    try:
        h = http.client.HTTPConnection("127.0.0.1", prt, timeout=5)
        h.request("GET", "/", headers={"Host": host})
        s = h.getresponse().status
        h.close()
        return s
    except OSError:
        return 0


class Routes:
    """One proxy with N routes. Each generation sends every route to the other of two origins, and has a route
    gen<N>.mesh.test that no other has: by that one sees from outside that it is in force."""
    def __init__(self, spec, a, origins, n):
        self.gen, self.origins = 0, origins
        self.chain = started(spec, "routes", origins[0], a, extra={"ROUTES": str(n), "MASTER": "1", "GEN": "0"})
        self.hop = self.chain and self.chain.hops[0]

    def is_in_force(self, gen):
        return status(self.hop.listen, f"gen{gen}.mesh.test") == 200

    def push(self, each=lambda: None):
        """Seconds until the next generation is in force."""
        self.gen += 1
        self.hop.env.update(GEN=str(self.gen), NEXT=str(self.origins[self.gen % 2]))
        self.hop.conf()
        assert not self.is_in_force(self.gen), f"{self.hop.name}: generation {self.gen} before it was pushed"
        t, again = time.time(), 15
        self.hop.reload()
        while not self.is_in_force(self.gen):
            if time.time() - t > 60:
                raise RuntimeError(f"{self.hop.name}: generation {self.gen} is not in force after 60 s")
            if time.time() - t > again:       # HAProxy's master takes no signal while it starts itself anew
                again += 15
                print(f"# {self.hop.name}: generation {self.gen} is asked for again", flush=True)
                self.hop.reload()
            each()
            time.sleep(0.05)
        return time.time() - t


def run_scale(a):
    """7. N routes, each with its own backend: start, memory, CPU per request; --reload: all of them changed"""
    res = []
    (origin, oport), (_, other) = start_origin(a), start_origin(a)
    for n in [int(x) for x in a.routes.split(",")]:
        for rnd in range(a.rounds):
            for spec in a.contenders:
                t0 = time.time()
                r = Routes(spec, a, (oport, other), n) if spec != "direct" else None
                if not r or not r.chain:
                    continue
                pid = r.hop.p.pid
                d = {"start_s": time.time() - t0, "start_cpu_s": cpu(pid)}
                m = measured(r.chain, origin, lambda: hload(r.hop.listen, "max", 32, a.dur, host=f"svc{n * 9 // 10}.mesh.test"))
                d.update(zip(("rss_MB", "pss_MB"), (x / 1e6 for x in mem(pid))))
                d.update({"cpu_hops_ms/1k": per1k(m, "A"), "noise_cores": m["other_cores"], "err": m["errors"] + m["non2xx"]})
                if a.reload:
                    c0, peak = cpu(pid), [0]
                    d["reload_s"] = r.push(lambda: peak.__setitem__(0, max(peak[0], mem(pid)[1])))
                    time.sleep(1)
                    d["reload_cpu_s"] = cpu(pid) - c0
                    d["reload_peak_MB"] = peak[0] / 1e6
                res.append(result(a, f"routes={n}", spec, rnd, "cpu_hops_ms/1k", d))
                r.chain.stop()
    table("scale: " + run_scale.__doc__, res, a.base)
    return res


def run_push(a):
    """10. open-loop latency at --rates with N routes (the last of --routes): left alone, and while all are pushed twice"""
    res = []
    (_, oport), (_, other) = start_origin(a), start_origin(a)
    n, rate = int(a.routes.split(",")[-1]), int(a.rates.split(",")[0])
    load = [f"{BUILD}/hload", "-m", "rate", "-r", str(rate), "-c", "16", "-d", str(a.dur), "-H", f"svc{n // 2}.mesh.test"]
    for rnd in range(a.rounds):
        for spec in a.contenders if rnd % 2 == 0 else a.contenders[::-1]:
            r = Routes(spec, a, (oport, other), n)
            if not r.chain:
                continue
            for case in ("left alone", "pushed"):
                c0 = cpu(r.hop.p.pid)
                t0 = time.time()
                p = subprocess.Popen(load + ["-p", str(r.hop.listen)], stdout=subprocess.PIPE, text=True)
                procs.append(p)
                took = []
                while case == "pushed" and len(took) < 2:
                    time.sleep(max(0, t0 + 0.5 + len(took) * (a.dur / 2) - time.time()))
                    took.append(r.push())
                over = p.poll() is not None
                m = json.loads(p.communicate(timeout=a.dur + 90)[0].splitlines()[-1])
                procs.remove(p)
                if over:
                    print(f"# {spec}: the pushes took longer than the load, give a longer --dur", flush=True)
                d = {f"{k}_us": m[f"{k}_us"] for k in ("p50", "p90", "p99", "p999", "max")}
                d.update({"err": m["errors"] + m["non2xx"] + m["dropped"], "cpu_s": cpu(r.hop.p.pid) - c0,
                          "pushes": len(took), "in_force_s": max(took, default=0)})
                res.append(result(a, f"{n} routes, {rate} rps, {case}", spec, rnd, "p99_us", d))
            r.chain.stop()
    table("push: " + run_push.__doc__, res, a.base)
    return res


SPECIAL = {"idle": run_idle, "memory": run_memory, "scale": run_scale, "push": run_push}
