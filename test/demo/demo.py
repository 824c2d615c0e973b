"""The bookshop on a mesh of nine hosts, told in acts. Every output is real; long command lines are
shown shortened.

Ends with a table of what was shown, and a non-zero exit code if anything was not so.
"""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "test" / "netns"))

from mesh import PYTHON, Capture, Failed, Mesh, binary, sweep, wait_until  # noqa: E402

SHOP = HERE / "bookshop"
EXAMPLES = ROOT / "docs" / "examples"
KEEP = bool(os.environ.get("KEEP"))
MARKER = "my-secret-marker-4711"
WIDTH = 110


class Stage:
    """What the reader sees."""

    def __init__(self):
        color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.bold, self.dim, self.green, self.red, self.plain = (
            ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m") if color else ("",) * 5)
        self.acts, self.results, self.start = 0, [], time.monotonic()

    def act(self, title):
        self.acts += 1
        print(f"\n{self.bold}{self.acts}. {title}{self.plain}\n")

    def say(self, text):
        print(f"   {text}")

    def command(self, host, text):
        print(f"   {self.dim}{host}${self.plain} {self.bold}{text}{self.plain}")

    def output(self, text, lines=14):
        rows = text.rstrip("\n").splitlines()
        for row in rows[:lines]:
            print("     " + (row if len(row) <= WIDTH else row[:WIDTH - 3] + "..."))
        if len(rows) > lines:
            print(f"     ... {len(rows) - lines} more lines")

    def run(self, host, text, shown=None, lines=14, env=None, only=None):
        """Show a command line as typed on that host, run it, show what it printed (or its lines with `only` in them)."""
        self.command(host.name, shown or text)
        words = shlex.split(text)
        if words[0] == "weft":
            words[0] = binary()
        done = host.run(*words, env=env)
        said = done.stdout + done.stderr
        self.output("\n".join(row for row in said.splitlines() if not only or only in row), lines)
        return done

    def check(self, claim, good, seen):
        self.results.append((claim, bool(good), seen))
        mark, color = ("so it is", self.green) if good else ("NOT SO", self.red)
        print(f"\n   {color}{mark}{self.plain}: {claim} ({seen})")

    def summary(self):
        wide = max(len(r[0]) for r in self.results)
        print(f"\n{self.bold}What was shown{self.plain}\n")
        for claim, good, seen in self.results:
            mark, color = ("shown ", self.green) if good else ("NOT SO", self.red)
            print(f"   {color}{mark}{self.plain}  {claim:{wide}}  {seen}")
        wrong = sum(not r[1] for r in self.results)
        print(f"\n   {len(self.results) - wrong} of {len(self.results)} shown, in {time.monotonic() - self.start:.0f} s.")
        return wrong


class Bookshop:
    def __init__(self, stage, mesh):
        self.s, self.m = stage, mesh

    # ---- the scene ----

    def hosts(self):
        m = self.m
        m.host("control")
        for name in ("edge", "front", "details", "reviews1", "reviews2", "reviews3", "ratings1", "ratings2", "outsider"):
            m.host(name)
        m["front"].service("front", 9080, protocol="http").app("front", 9080, SHOP / "front.py")
        m["details"].service("details", 9080, protocol="http", version="v1").app("details", 9080, SHOP / "details.py")
        m["details"].service("till", 9000, protocol="tcp").app("till", 9000, SHOP / "till.py")
        for n in (1, 2, 3):
            m[f"reviews{n}"].service("reviews", 9080, protocol="http", version=f"v{n}")
            m[f"reviews{n}"].app("reviews", 9080, SHOP / "reviews.py", VERSION=f"v{n}")
        for n in (1, 2):
            m[f"ratings{n}"].service("ratings", 9080, protocol="http", version="v1").app("ratings", 9080, SHOP / "ratings.py")
        m["edge"].service("edge", 0, kind="gateway", label_istio="ingressgateway")

    def build(self):
        s, m = self.s, self.m
        s.act("A mesh, from nothing")
        s.say("Ten network namespaces on one bridge stand for ten machines. Eight will be members; \"outsider\" never is.")
        s.say("The bookshop's programs already run: front page, details and till (one host, two services), reviews in")
        s.say("three versions, ratings twice. They speak plain HTTP and plain TCP, and know nothing of a mesh.\n")
        self.hosts()
        m.server("control")
        s.command("control", "weft server init && weft server run")
        s.output(re.sub(r"/tmp/wt-[^ ]*?/control", "", m.first_output), 12)
        offered = sorted({name.split("/")[1] for h in m.hosts.values() for name in h.offered})
        done = s.run(m.control, "weft token create --uses 8 --service " + ",".join(offered), lines=3)
        token = re.search(r"weft1\.\S+", done.stdout)
        if not token:
            raise Failed("no token was printed")
        members = [h for h in m.hosts.values() if h.name not in ("control", "outsider")]
        first = m["front"]
        print()
        s.command("front", "cat /etc/weft/services.d/front.ini")
        s.output((first.config / "services.d" / "front.ini").read_text())
        joined = s.run(first, f"weft join --name front {token[0]}", shown="weft join weft1....")
        s.command("front", "weft agent run")
        first.start_agent()
        s.say("\n   ... and the same two commands on the other seven.")
        for h in members:
            if h is not first:
                h.join(token[0])
        for name in ("details", "reviews", "ratings"):
            m.wait_service(first, f"http://{name}:9080/health", seconds=15)
        print()
        status = s.run(m.control, "weft status", lines=20)
        s.check("hosts join with a token and a pin, and are in sync", joined.returncode == 0 and status.returncode == 0,
                f"{len(members)} hosts")

    # ---- acts ----

    def names(self):
        s, front = self.s, self.m["front"]
        s.act("Names resolve, on every host, without /etc/hosts")
        seen = []
        for name in ("details", "reviews.default.svc.cluster.local", "till"):
            seen.append(s.run(front, f"getent ahostsv4 {name}", only="STREAM").stdout)
        print()
        s.say("Names outside the mesh go where they always went:")
        other = s.run(front, "getent ahostsv4 outside.test", only="STREAM").stdout
        s.check("mesh names resolve, other names pass through", all(x.startswith("240.240.") for x in seen)
                and other.startswith("10.77.0.254"), "3 names of services, 1 of the old nameserver")

    def door(self):
        s, m = self.s, self.m
        s.act("The door: a gateway on the edge host")
        self.apply("gateway.yaml")
        url = f"http://{m['edge'].ip4}/productpage"
        with contextlib.suppress(Failed):
            m.wait_service(m["outsider"], url)
        page = s.run(m["outsider"], f"curl -s {url}", shown=f"curl {url}")
        s.check("a visitor from outside sees the front page", "The Comedy of Errors" in page.stdout and "Reviews (v" in page.stdout,
                "edge > front > details, reviews, ratings")

    def wire(self):
        s, m = self.s, self.m
        s.act("Mutual TLS between hosts, and what the wire shows")
        s.say("We listen on the wire while a word of ours crosses it twice. First from outside the mesh, in plain HTTP:\n")
        capture = Capture(m)
        s.run(m["outsider"], f"curl -s -o /dev/null -H 'x-note: {MARKER}' http://{m['details'].ip4}:9080/details/0",
              shown=f"curl -H 'x-note: {MARKER}' http://{m['details'].ip4}:9080/details/0")
        plain = capture.stop().count(MARKER.encode())
        s.command("wire", f"tcpdump -i br0 ... | grep -c {MARKER}")
        s.output(str(plain))
        print()
        s.say("Then from a member, with the same plain program and plain URL. /headers of details tells us what it received:\n")
        capture = Capture(m)
        text = s.run(m["front"], f"curl -s -H 'x-note: {MARKER}' http://details:9080/headers",
                     shown=f"curl -H 'x-note: {MARKER}' http://details:9080/headers").stdout
        wire = capture.stop()
        s.command("wire", f"tcpdump -i br0 ... | grep -c {MARKER}")
        s.output(f"{wire.count(MARKER.encode())}     ({len(wire):,} bytes were captured)")
        caller = "URI=spiffe://cluster.local/ns/default/sa/front"
        s.check("between members everything is encrypted", plain > 0 and MARKER in text and MARKER.encode() not in wire
                and len(wire) > 500, f"marker on the wire: {plain} times plain, {wire.count(MARKER.encode())} times in the mesh")
        s.check("the server side knows who calls, by certificate", caller in text, caller[4:])

    def split(self):
        s, m = self.s, self.m
        s.act("A canary: 90 of 100 visitors see version 1, 10 see version 2")
        self.apply("reviews-subsets.yaml")
        self.apply("reviews-90-10.yaml")
        s.command("front", "1,000 times: curl http://reviews:9080/reviews/0")
        answers = m["front"].many("http://reviews:9080/reviews/0", 1000)
        by = {v: sum(a.status == 200 and a.json()["version"] == v for a in answers) for v in ("v1", "v2", "v3")}
        for v, n in by.items():
            s.output(f"{v} {n:4}  {'#' * (n // 20)}")
        s.check("a weighted split holds over 1,000 requests", sum(by.values()) == 1000 and 60 <= by["v2"] <= 140 and by["v3"] == 0,
                f"{by['v1']} to {by['v2']}")

    def header(self):
        s, m = self.s, self.m
        s.act("Routing by a header: Jason tries version 2, alone")
        s.say("A rule may be written as INI instead of YAML; it is the same to the mesh:\n")
        s.run(m.control, f"cat {EXAMPLES / 'reviews-jason-v2.ini'}", shown="cat docs/examples/reviews-jason-v2.ini", lines=12)
        self.apply("reviews-jason-v2.ini")
        url = f"http://{m['edge'].ip4}/productpage"
        jason = s.run(m["outsider"], f"curl -s -H 'end-user: jason' {url}", shown=f"curl -H 'end-user: jason' {url}").stdout
        other = s.run(m["outsider"], f"curl -s -H 'end-user: maria' {url}", shown=f"curl -H 'end-user: maria' {url}").stdout
        many = m["front"].many("http://reviews:9080/reviews/0", 100, headers={"end-user": "jason"})
        s.check("a header picks the version", "Reviews (v2)" in jason and "Reviews (v1)" in other
                and all(a.json()["version"] == "v2" for a in many), "jason v2, everyone else v1; 100 of 100 times")

    def retries(self):
        s, m = self.s, self.m
        s.act("Retries hide an instance that fails")
        s.say("One of the two instances of ratings falls ill: it answers 503 to everything.\n")
        self.knob("ratings2", "FAIL_PERCENT=100")
        self.apply("ratings-no-retries.yaml")
        bare = m["front"].many("http://ratings:9080/ratings/0", 200)
        lost = sum(a.status != 200 for a in bare)
        s.command("front", "200 times: curl http://ratings:9080/ratings/0")
        s.output(f"{200 - lost} answered, {lost} failed")
        print()
        self.apply("ratings-retries.yaml")
        helped = m["front"].many("http://ratings:9080/ratings/0", 200)
        still = sum(a.status != 200 for a in helped)
        s.command("front", "200 times: curl http://ratings:9080/ratings/0")
        s.output(f"{200 - still} answered, {still} failed")
        self.knob("ratings2", "FAIL_PERCENT=0", quiet=True)
        s.check("retries hide a failing instance", 40 <= lost <= 160 and still == 0, f"failures without: {lost}, with: {still}, of 200")

    def timeout(self):
        s, m = self.s, self.m
        s.act("A timeout bounds the waiting")
        s.say("Ratings becomes slow: three seconds for an answer.\n")
        self.knob("ratings1", "DELAY=3")
        self.knob("ratings2", "DELAY=3", quiet=True)
        self.apply("ratings-timeout.yaml")
        done = s.run(m["front"], "curl -s -w '\\nHTTP %{http_code} after %{time_total} s\\n' http://ratings:9080/ratings/0",
                     shown="curl -w '...' http://ratings:9080/ratings/0")
        for h in ("ratings1", "ratings2"):
            self.knob(h, "DELAY=0", quiet=True)
        m.delete("virtualservice", "ratings")
        found = re.search(r"HTTP (\d+) after ([\d.]+) s", done.stdout)
        code, took = (found[1], float(found[2])) if found else ("none", 0.0)
        s.check("a timeout answers 504, on time", code == "504" and 0.4 <= took <= 0.9, f"{code} after {took:.2f} s, rule says 0.5 s")

    def till(self):
        s, m = self.s, self.m
        s.act("TCP, too, even when the server speaks first")
        self.apply("till-tcp.yaml")
        done = s.run(m["front"], f"{PYTHON} {SHOP / 'customer.py'} till 9000 12.50 7.40", shown="customer till 9000 12.50 7.40")
        wait_until("the connection is counted", lambda: m["details"].metric(
            "istio_tcp_connections_closed_total", reporter="destination", connection_security_policy="mutual_tls"))
        opened = m["details"].metric("istio_tcp_connections_opened_total", reporter="destination",
                                     connection_security_policy="mutual_tls")
        print()
        s.say(f"Metrics of the host details: istio_tcp_connections_opened_total with mutual_tls is {opened:g}.")
        s.check("a server-first TCP service works over mutual TLS", done.stdout.startswith("220 till ready")
                and "221 19.90, thank you" in done.stdout and opened >= 1, "greeting first, then the sum")

    def strict(self):
        s, m = self.s, self.m
        s.act("STRICT: plaintext from outside is refused")
        url = f"http://{m['details'].ip4}:9080/details/0"
        shown = f"curl {url}"
        before = s.run(m["outsider"], f"curl -s -m 5 -w '\\nHTTP %{{http_code}}\\n' {url}", shown=shown, lines=3)
        print()
        self.apply("strict.yaml")
        after = s.run(m["outsider"], f"curl -sS -m 5 -w '\\nHTTP %{{http_code}}\\n' {url}", shown=shown, lines=3)
        inside = s.run(m["front"], "curl -s -w '\\nHTTP %{http_code}\\n' http://details:9080/details/0",
                       shown="curl http://details:9080/details/0", lines=3)
        s.check("STRICT refuses a caller from outside, not a member", "HTTP 200" in before.stdout and after.returncode != 0
                and "HTTP 000" in after.stdout and "HTTP 200" in inside.stdout,
                "outside 200 then refused, inside 200")

    def live(self):
        s, m = self.s, self.m
        s.act("A rule changes under traffic, and nobody notices")
        self.apply("reviews-v1.yaml")
        s.command("front", "curl http://reviews:9080/reviews/0, on and on, on four connections")
        load = m["front"].load("http://reviews:9080/reviews/0", threads=4)
        load.wait_for(300)
        print()
        for name in ("reviews-v3.yaml", "reviews-90-10.yaml", "reviews-v1.yaml", "reviews-v3.yaml"):
            self.apply(name)
            load.wait_for(300)
        seen = load.stop()
        failed = seen["total"] - seen["statuses"].get("200", 0)
        versions = sorted(set(seen["apps"]) - {"-"})
        print()
        s.say(f"{seen['total']:,} requests meanwhile, {failed} failed; versions seen: {', '.join(versions)}.")
        if seen["errors"]:
            s.output("\n".join(map(str, seen["errors"])))
        s.check("rules change live without a failed request", failed == 0 and "v1" in versions and "v3" in versions,
                f"4 changes, {seen['total']:,} requests, {failed} failed")

    def alone(self):
        s, m = self.s, self.m
        s.act("The server dies, and traffic goes on")
        load = m["front"].load("http://reviews:9080/reviews/0", threads=2)
        load.wait_for(100)
        s.run(m.control, f"kill -9 {m.server_process.pid}")
        m.server_process.kill()
        load.wait_for(300)
        s.run(m.control, "weft status", lines=2)
        seen = load.stop()
        failed = seen["total"] - seen["statuses"].get("200", 0)
        page = m["outsider"].http(f"http://{m['edge'].ip4}/productpage")
        s.say(f"\n   {seen['total']:,} requests before and after, {failed} failed. The door answers {page.status}.")
        s.check("traffic goes on without the server", failed == 0 and page.status == 200, f"{seen['total']:,} requests, {failed} failed")
        s.say("\n   Now the agent of front is restarted too, while there is no server: it serves from its disk.\n")
        s.run(m["front"], f"kill -9 {m['front'].agent.pid}")
        m["front"].agent.kill()
        s.command("front", "weft agent run")
        begin = time.monotonic()
        m["front"].start_agent()
        answer = m.wait_service(m["front"], "http://details:9080/details/0")
        took = time.monotonic() - begin
        s.run(m["front"], "curl -s http://details:9080/details/0", shown="curl http://details:9080/details/0", lines=2)
        s.check("an agent restarted meanwhile serves from disk", answer.status == 200 and took < 3,
                f"first answer {took:.2f} s after its start")
        print()
        s.command("control", "weft server run")
        m.start_server()

        def back():
            hosts = m.api("GET", "/v1/status")[1]["hosts"]
            return all(h.get("connected") for h in hosts)
        s.say("The server is back; so are its agents:")
        wait_until("all agents are connected again", back, 30)
        self.apply("reviews-v1.yaml")
        s.check("when it is back, changes flow again", m["front"].http("http://reviews:9080/reviews/0").json()["version"] == "v1",
                "all hosts connected, a new rule in force")

    def trace(self):
        s, m = self.s, self.m
        s.act("It leaves the host as it was")
        s.run(m["details"], f"kill {m['details'].agent.pid}")
        m["details"].agent.stop()
        rules = s.run(m["details"], "nft list ruleset")
        routes = s.run(m["details"], "ip route")
        m["details"].start_agent()
        s.check("a stopped agent leaves no trace", rules.returncode == 0 and not rules.stdout.strip() and "240.240" not in routes.stdout,
                "no table, no route")

    # ---- small helpers ----

    def apply(self, name):
        done = self.s.run(self.m.control, f"weft apply -f {EXAMPLES / name}", shown=f"weft apply -f docs/examples/{name}")
        if done.returncode:
            raise Failed(f"weft apply -f {name} ended with {done.returncode}")
        self.m.wait_synced()

    def knob(self, host, setting, quiet=False):
        url = f"http://127.0.0.1:9080/knobs?{setting}"
        if quiet:
            self.m[host].curl(url)
        else:
            self.s.run(self.m[host], f"curl -s '{url}'", shown=f"curl '{url}'", lines=1)

    def play(self):
        self.build()
        for act in (self.names, self.door, self.wire, self.split, self.header, self.retries, self.timeout, self.till, self.strict,
                    self.live, self.alone, self.trace):
            try:
                act()
            except (Failed, OSError, ValueError, subprocess.SubprocessError) as e:
                self.s.check(f"act \"{act.__name__}\"", False, f"{type(e).__name__}: {e}")


def stay(mesh):
    c = mesh.control
    weft = mesh.dir / "weft"  # the operator's command, on the host control
    env = " ".join(f"{k}={v}" for k, v in c.env.items() if k.startswith("WEFT_"))
    weft.write_text(f"#!/bin/sh\nexec ip netns exec {c.ns} env {env} {binary()} \"$@\"\n")
    weft.chmod(0o755)
    print(f"""
The mesh is still running (KEEP=1). Try:

  ip netns exec wt-demo-front curl http://details:9080/details/0
  ip netns exec wt-demo-front curl http://127.0.0.1:15000/clusters
  ip netns exec wt-demo-outsider curl -H 'end-user: jason' http://{mesh['edge'].ip4}/productpage
  {weft} status
  {weft} apply -f {EXAMPLES / 'reviews-90-10.yaml'}
  tail -f {mesh['front'].access_log}

Settings, keys and logs of each host are under {mesh.dir}/HOST. Stop it with:

  test/demo/demo.sh stop
""")


def stop():
    sweep(r"wt-demo-.*")
    for d in pathlib.Path("/tmp").glob("wt-demo-*"):
        shutil.rmtree(d, ignore_errors=True)
    print("The demo's hosts are gone.")


def main():
    if sys.argv[1:] == ["stop"]:
        stop()
        return 0
    stage, mesh, wrong = Stage(), None, 1
    try:
        for tool in ("curl", "tcpdump", "nft", "ss"):
            if not shutil.which(tool):
                raise Failed(f"{tool} is missing: make deps")
        mesh = Mesh(keep=KEEP, tag="demo" if KEEP else None)
        version = subprocess.run([binary(), "version"], capture_output=True, text=True).stdout.strip()
        print(f"{stage.bold}{version}: a bookshop on a service mesh{stage.plain}")
        Bookshop(stage, mesh).play()
        wrong = stage.summary()
        if wrong:
            mesh.dump()
    except Failed as e:
        print(f"\ndemo: {e}", file=sys.stderr)
        if mesh:
            mesh.dump()
    except KeyboardInterrupt:
        print("\ndemo: interrupted, cleaning up", file=sys.stderr)
    if mesh and KEEP:
        stay(mesh)
    elif mesh:
        mesh.close()
    return 1 if wrong else 0


sys.exit(main())
