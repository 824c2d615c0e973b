"""Tables. A result is {scenario, case, contender, round, row: {metric: number}, key: the metric that ratios are of, ...}."""
import statistics


def fmt(v):
    if v is None:
        return "-"
    return f"{v:.0f}" if abs(v) >= 1000 else f"{v:.1f}" if abs(v) >= 10 else f"{v:.2f}" if abs(v) >= 0.1 or v == 0 else f"{v:.3f}"


def unique(items):
    return list(dict.fromkeys(items))


def of(results, case, contender):
    return [r for r in results if r["case"] == case and r["contender"] == contender]


def medians(results):
    keys = unique(k for r in results for k in r["row"])
    return {k: statistics.median(r["row"][k] for r in results if k in r["row"]) for k in keys}


def ratios(results, case, contender, base, key=None):
    """Of the headline metric, or another, round by round: both were measured within the same minutes."""
    def of_round(name):
        return {r["round"]: r["row"].get(key or r["key"]) for r in of(results, case, name)}
    b = of_round(base)
    return [v / b[n] for n, v in of_round(contender).items() if v is not None and b.get(n)]


def span(v):
    return f"{statistics.median(v):.2f} ({min(v):.2f}..{max(v):.2f})" if v else "-"


def pick_base(results, base):
    names = unique(r["contender"] for r in results)
    return base or next((n for n in names if n != "direct"), names[0] if names else None)


def table(title, results, base=None):
    """Everything that was measured: medians over the rounds."""
    base = pick_base(results, base)
    print(f"\n### {title}\n")
    for case in unique(r["case"] for r in results):
        mine = [r for r in results if r["case"] == case]
        keys = unique(k for r in mine for k in r["row"])
        print(f"case **{case}**: medians of {1 + max(r['round'] for r in mine)} rounds; ratio: {mine[0]['key']} to that of {base}"
              f" in the same round, median (min..max)\n")
        print("| contender | " + " | ".join(keys) + " | ratio |")
        print("|---" * (len(keys) + 2) + "|")
        for name in unique(r["contender"] for r in mine):
            med = medians(of(results, case, name))
            print(f"| {name} | " + " | ".join(fmt(med.get(k)) for k in keys) + f" | {span(ratios(results, case, name, base))} |")
        print(flush=True)


MORE = {"scale": ("start_s", "rss_MB", "reload_s", "reload_cpu_s", "reload_peak_MB"), "push": ("p50_us", "max_us", "in_force_s"),
        "latency": ("p99_us",)}      # metrics of a summary besides the headline


def summary(named):
    """For people; named: [(row of the bench, results)]. Features that all contenders of a case have are left out."""
    print("| row | case | metric | HAProxy | nginx | nginx / HAProxy | weft | weft / HAProxy | rounds | noise |")
    print("|---" * 10 + "|")
    for name, results in named:
        base = pick_base(results, None)
        for case in unique(r["case"] for r in results):
            mine = [r for r in results if r["case"] == case]
            names = {n.split("@")[0]: n for n in reversed(unique(r["contender"] for r in mine))}
            for extra in [None] + [n for n in unique(r["contender"] for r in mine) if n not in names.values()]:
                for key in [mine[0]["key"], *MORE.get(mine[0]["scenario"], ())]:
                    summary_line(name, case, results, base, names if not extra else names | {"weft": extra}, key)


def summary_line(name, case, results, base, names, key):
    cells = []
    for who in ("haproxy", "nginx", "weft"):
        v = [r["row"][key] for r in of(results, case, names.get(who)) if r["row"].get(key) is not None]
        cells.append(fmt(statistics.median(v)) if v else "-")
        if who != "haproxy":
            cells.append(span(ratios(results, case, names.get(who), base, key)))
    if cells[0] == "0.00" and cells[3] == "0.00":
        return
    mine = of(results, case, names["weft"])
    noise = [r["row"]["noise_cores"] for r in mine if "noise_cores" in r["row"]]
    who = "" if "@" not in names["weft"] or "member" not in names["weft"] else ", member of a mesh"
    print(f"| {name} | {case}{who} | {key} | " + " | ".join(cells) + f" | {len(mine)} | "
          f"{fmt(statistics.median(noise)) if noise else '-'} |")
