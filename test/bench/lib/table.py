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


def ratios(results, case, contender, base):
    """Of the headline metric, round by round: both were measured within the same minute."""
    b = {r["round"]: r["row"].get(r["key"]) for r in of(results, case, base)}
    return [r["row"][r["key"]] / b[r["round"]] for r in of(results, case, contender)
            if r["row"].get(r["key"]) is not None and b.get(r["round"])]


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


def summary(named):
    """[(row of the bench, results)]: only headline metrics, for people."""
    print("| row | case | metric | contender | min | median | max | ratio, median (min..max) | rounds | noise, cores |")
    print("|---" * 10 + "|")
    for name, results in named:
        base = pick_base(results, None)
        for case in unique(r["case"] for r in results):
            for who in unique(r["contender"] for r in results if r["case"] == case):
                rs = of(results, case, who)
                v = [r["row"][r["key"]] for r in rs if r["row"].get(r["key"]) is not None]
                noise = [r["row"]["noise_cores"] for r in rs if "noise_cores" in r["row"]]
                if v:
                    print(f"| {name} | {case} | {rs[0]['key']} | {who} | {fmt(min(v))} | {fmt(statistics.median(v))} | {fmt(max(v))} | "
                          f"{span(ratios(results, case, who, base))} | {len(v)} | {fmt(statistics.median(noise)) if noise else '-'} |")
