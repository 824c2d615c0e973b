"""Load generators, the origin, and whose CPU a window cost."""
import json, re, resource, subprocess, time

from .proc import BUILD, cpu, machine, port, spawn, wait_port

on_warm = [None]


def hload(prt, mode, conns, secs, rate=0, path=None, host=None, idle=0, mix=None):
    cmd = [f"{BUILD}/hload", "-m", mode, "-p", str(prt), "-c", str(conns), "-d", str(secs)]
    if rate:
        cmd += ["-r", str(rate)]
    if path:
        cmd += ["-u", path]
    if host:
        cmd += ["-H", host]
    if idle:
        cmd += ["-i", str(idle)]
    if mix:
        cmd += ["-x", mix]
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    p.stdout.readline()                    # {"warm":N}: every connection has had one response
    if on_warm[0]:
        on_warm[0]()
    out, err = p.communicate(timeout=secs + 90)
    if p.returncode:
        raise RuntimeError(err)
    return json.loads(out)


def h2load(prt, conns, streams, secs, tls=False, body=None):
    cmd = ["h2load", "-t1", "-c", str(conns), "-m", str(streams), "-D", str(max(1, int(secs))), "-H", ":authority: svc.mesh.test"]
    if body:
        cmd += ["-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers"]
    r = subprocess.run(cmd + [f"{'https' if tls else 'http'}://127.0.0.1:{prt}/"], capture_output=True, text=True,
                       timeout=secs + 60)
    o = r.stdout
    m = re.search(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", o)
    f = re.search(r"finished in ([\d.]+)(\w+), ([\d.]+) req/s", o)
    st = re.search(r"status codes: (\d+) 2xx", o)
    n = int(st.group(1)) if st else 0
    if "protocol: http/1.1" in o:       # not what this case measures
        return None
    return {"requests": n, "errors": int(m.group(4)) if m else 1, "non2xx": max(0, int(m.group(2)) - n) if m else 0,
            "rps": float(f.group(3)) if f else 0, "secs": secs, "proto": (re.search(r"Application protocol: (\S+)", o) or
                                                                         [0, "?"])[1]}


def wrk(prt, conns, secs, tls=True, close=False):
    cmd = ["wrk", "-t1", f"-c{conns}", f"-d{secs}s", "--latency", "-H", "Host: svc.mesh.test"]
    if close:
        cmd += ["-H", "Connection: close"]
    o = subprocess.run(cmd + [f"{'https' if tls else 'http'}://127.0.0.1:{prt}/"], capture_output=True, text=True,
                       timeout=secs + 60).stdout
    n = int(re.search(r"(\d+) requests in", o).group(1))
    e = re.search(r"Non-2xx or 3xx responses: (\d+)", o)
    return {"requests": n, "errors": int(e.group(1)) if e else 0, "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", o).group(1)),
            "secs": secs}


def measured(chain, origin, fn):
    """Run fn() and attribute CPU seconds to each process."""
    pids = dict(chain.pids(), origin=origin.pid)
    z = {}

    def snap():
        z.update(b=machine(), c={k: cpu(p) for k, p in pids.items()}, r=resource.getrusage(resource.RUSAGE_CHILDREN),
                 t=time.time())
    snap()
    on_warm[0] = snap                      # hload: start again once connections (and handshakes) are up
    m = fn()
    on_warm[0] = None
    wall = time.time() - z["t"]
    if m is None:
        return None
    r1 = resource.getrusage(resource.RUSAGE_CHILDREN)
    c = {k: cpu(p) - z["c"][k] for k, p in pids.items()}
    (b0, s0), (b1, s1) = z["b"], machine()
    c["client"] = m.get("cpu_self", r1.ru_utime + r1.ru_stime - z["r"].ru_utime - z["r"].ru_stime)
    m["cpu"] = c
    m["wall"] = wall
    m["other_cores"] = max(0.0, (b1 - b0 - sum(c.values())) / wall)
    m["steal"] = (s1 - s0) / wall
    return m


def per1k(m, k):
    return m["cpu"].get(k, 0) * 1000 / max(1, m["requests"]) * 1000      # CPU ms per 1,000 requests


def start_origin(a, threads=1, prt=None):
    prt = prt or port()
    o = spawn([f"{BUILD}/origin", "-p", str(prt), "-t", str(threads), "-s", str(a.body)])
    wait_port(o, prt, what="origin")
    return o, prt
