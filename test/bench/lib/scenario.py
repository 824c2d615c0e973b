"""The scenarios that are: warm up, load for a while, count CPU; contenders interleaved."""
import time

from .chain import Chain
from .load import h2load, hload, measured, per1k, start_origin, wrk
from .table import table


def headline(name):
    """The metric that ratios are of."""
    return "p50_us" if name == "latency" else "cpu_hops_s/GB" if name.startswith("bulk") else "cpu_hops_ms/1k"


def std_row(m):
    d = {"rps": m["rps"]}
    for k in m["cpu"]:
        d[f"cpu_{k}_ms/1k"] = per1k(m, k)
    hops = [k for k in m["cpu"] if k in "ABP"]
    if hops:
        d["cpu_hops_ms/1k"] = sum(per1k(m, k) for k in hops)
        d["hops/ctl"] = d["cpu_hops_ms/1k"] / max(1e-9, per1k(m, "origin") + per1k(m, "client"))
    d["err"] = m["errors"] + m.get("non2xx", 0)
    d["noise_cores"] = m["other_cores"]
    d["steal"] = m["steal"]
    return d


def sc_rps(a):
    """1. HTTP/1.1 keep-alive max RPS, client -> A -> mTLS -> B -> origin"""
    return "http", [(f"c{a.conns}", lambda c: hload(c.port, "max", a.conns, a.dur))], std_row, 1.0


def sc_rps_plain(a):
    """1p. same, plaintext between A and B (control: cost without TLS)"""
    return "http-plain", [(f"c{a.conns}", lambda c: hload(c.port, "max", a.conns, a.dur))], std_row, 1.0


def sc_hop(a):
    """1h. one plaintext HTTP hop"""
    return "http-hop", [(f"c{a.conns}", lambda c: hload(c.port, "max", a.conns, a.dur))], std_row, 1.0


def sc_latency(a):
    """1l. open-loop latency at fixed rates (includes 'direct' as reference)"""
    cases = []
    for rate in [int(x) for x in a.rates.split(",")]:
        for n in [int(x) for x in a.latconns.split(",")]:
            cases.append((f"{rate}rps/c{n}", lambda c, r=rate, n=n: hload(c.port, "rate", n, a.dur, rate=r)))

    def row(m):
        d = {f"{k}_us": m[f"{k}_us"] for k in ("p50", "p90", "p99", "p999")}
        hops = [k for k in m["cpu"] if k in "AB"]
        if hops:
            d["cpu_hops_ms/1k"] = sum(per1k(m, k) for k in hops)
        d["err"] = m["errors"] + m["non2xx"] + m["dropped"]
        d["noise_cores"] = m["other_cores"]
        return d
    return "http", cases, row, 0.5


def sc_h2(a):
    """2. HTTP/2: h2c client -> A -> mTLS (h2 where supported) -> B -> h1 origin"""
    return "http2", [("c8m16", lambda c: h2load(c.port, 8, 16, a.dur))], std_row, 1.0


def sc_grpc(a):
    """2g. as h2, 100-byte POSTs (gRPC-like unary)"""
    f = a.scratch + "/body"
    open(f, "wb").write(b"\0\0\0\0_" + b"g" * 95)
    return "http2", [("c8m16", lambda c: h2load(c.port, 8, 16, a.dur, body=f))], std_row, 1.0


def sc_hs(mode):
    def f(a):
        return mode, [("c16", lambda c: hload(c.port, "cps", 16, a.dur))], std_row, 1.0
    f.__doc__ = {"tcp": "3. new connection per request, L4, full mTLS 1.3 handshake each",
                 "tcp-resume": "3r. same with session resumption allowed",
                 "tcp-plain": "3p. same without TLS (control: subtract to get the handshake itself)"}[mode]
    return f


def sc_bulk(mode):
    def f(a):
        def row(m):
            gb = m["bytes"] / 1e9
            d = {"MB/s": m["bytes"] / 1e6 / m["wall"]}
            for k in m["cpu"]:
                d[f"cpu_{k}_s/GB"] = m["cpu"][k] / gb
            hops = [k for k in m["cpu"] if k in "AB"]
            if hops:
                t = sum(m["cpu"][k] for k in hops) / gb
                d["cpu_hops_s/GB"] = t
                d["MB/s_per_core_per_hop"] = 1000 / t * len(hops) if t else 0
            d["err"] = m["errors"]
            d["noise_cores"] = m["other_cores"]
            return d
        return mode, [(f"c{n}", lambda c, n=n: hload(c.port, "bulk", n, a.dur)) for n in (1, 8)], row, 0.3
    f.__doc__ = {"tcp-resume": "4. L4 bulk download over mTLS", "tcp-plain": "4p. L4 bulk, plaintext",
                 "http": "4h. bulk through the HTTP path, mTLS"}[mode]
    return f


def sc_crowd(a):
    """8. a few busy connections among many that are open and silent"""
    def row(m):
        d = std_row(m)
        d.update(lost=m["lost"], p50_us=m["p50_us"], p99_us=m["p99_us"])
        return d
    n = a.crowd
    return "http", [(f"{a.conns} of {n + a.conns}", lambda c: hload(c.port, "max", n + a.conns, a.dur, idle=n))], row, 0


def sc_mixed(a):
    """9. bodies of mixed sizes (--mix SIZE:SHARE,...), chosen at random with the same seed"""
    def row(m):
        d = std_row(m)
        d["MB/s"] = m["bytes"] / 1e6 / m["wall"]
        return d
    return "http", [(f"c{a.conns} {a.mix}", lambda c: hload(c.port, "max", a.conns, a.dur, mix=a.mix))], row, 0.5


def sc_edge(a):
    """7. gateway: TLS termination (h1, h2, and new TLS connection per request) -> plaintext origin"""
    return "edge", [("h1 c64", lambda c: wrk(c.port, 64, int(a.dur))),
                    ("h2 c8m16", lambda c: h2load(c.port, 8, 16, int(a.dur), tls=True)),
                    ("h1 new conn", lambda c: wrk(c.port, 16, int(a.dur), close=True))], std_row, 1.0


SC = {"rps": sc_rps, "rps-plain": sc_rps_plain, "hop": sc_hop, "latency": sc_latency, "h2": sc_h2, "grpc": sc_grpc,
      "handshake": sc_hs("tcp"), "handshake-resume": sc_hs("tcp-resume"), "handshake-plain": sc_hs("tcp-plain"),
      "bulk": sc_bulk("tcp-resume"), "bulk-plain": sc_bulk("tcp-plain"), "bulk-http": sc_bulk("http"), "edge": sc_edge,
      "crowd": sc_crowd, "mixed": sc_mixed}


def start_chains(name, mode, oport, a):
    """Those that support the scenario, started and asked once; and the versions."""
    chains, versions = [], {}
    for spec in a.contenders:
        c = Chain(spec, mode, oport, a)
        if not c.supported():
            print(f"# {spec}: does not support {name}", flush=True)
            continue
        try:
            c.start()
            if mode not in ("edge", "http2"):
                m = hload(c.port, "max", 1, 0.3)
                if not m["requests"] or m["errors"] or m["non2xx"]:
                    raise RuntimeError(f"{spec}: the first request: {m}")
        except RuntimeError as e:
            print(f"# FAILED {e}", flush=True)
            a.failed = True
            c.stop()
            continue
        versions.update({h.name: h.version() for h in c.hops})
        chains.append(c)
    return chains, versions


def run_std(name, a):
    mode, cases, row, warm = SC[name](a)
    origin, oport = start_origin(a)
    chains, versions = start_chains(name, mode, oport, a)
    res = []
    for rnd in range(a.rounds):
        for case, fn in cases:
            for c in chains if rnd % 2 == 0 else chains[::-1]:
                if warm:
                    d, a.dur = a.dur, 1 if mode in ("edge", "http2") else warm
                    fn(c)
                    a.dur = d
                m = measured(c, origin, lambda: fn(c))
                if m is None:
                    continue
                m.update(scenario=name, case=case, contender=c.spec, round=rnd, workers=a.workers, row=row(m))
                m["key"] = headline(name)
                res.append(m)
                time.sleep(0.1)
    for c in chains:
        c.stop()
    res.sort(key=lambda m: [c.spec for c in chains].index(m["contender"]))
    table(f"{name}: {SC[name].__doc__}", res, a.base)
    print("versions:", "; ".join(f"{k} = {v}" for k, v in versions.items()))
    return res
