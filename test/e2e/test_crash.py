"""kill -9 of the server at any moment: what was acknowledged is there, what was not is whole or absent.

Callers keep writing while the server is killed, at random moments and at chosen system calls (before, after and in the middle of
the N-th write, fsync, rename). Each notes what it was told. After each kill the files that it left are copied and judged by
`weft server check` and by SQL, independent of the server; then a server starts on the originals and must agree.

WEFT_SEED repeats a run, CRASH_ROUNDS sets its length.
"""

import hashlib
import json
import os
import random
import shutil
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest
from faults import EVERYTHING, KILL_AFTER, KILL_BEFORE, KILL_TORN, SYNC, WRITE, Key, Lone, join_request
from mesh import PATIENCE, Failed

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "130"))
SEED = int(os.environ.get("WEFT_SEED", random.SystemRandom().randrange(1 << 32)))


def document(name, generation):
    return {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": name, "namespace": "default"},
            "spec": {"hosts": [f"{name}.example.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                     "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1", "labels": {"generation": f"g{generation}"}}]}}


def generation_of(stored):
    return int(stored["spec"]["endpoints"][0]["labels"]["generation"][1:])


class Caller(threading.Thread):
    """Lets an actor act until it is told to stop or the server is gone."""

    def __init__(self, actor, over):
        super().__init__(daemon=True)
        self.actor, self.over, self.failure = actor, over, None

    def run(self):
        try:
            while not self.over.is_set():
                self.actor.once()
        except Failed:
            pass  # the server is gone: what was under way is unknown
        except BaseException as e:  # noqa: BLE001 - told by the main thread
            self.failure = e


class Applier:
    """Documents, singly, deleted, and many at once in one commit of several transactions."""

    BATCH = 150

    def __init__(self, s, number, rng):
        self.s, self.number, self.rng = s, number, rng
        self.names = [f"a{number}-{i}" for i in range(4)]
        self.known = {n: None for n in self.names}  # name -> generation, None: absent
        self.batch = [f"b{number}-{i}" for i in range(self.BATCH)]
        self.batch_known, self.under_way, self.acked, self.generation = None, {}, {}, 0

    def once(self):
        self.generation += 1
        g, dice = self.generation, self.rng.random()
        message = f"{self.number}-{g}"
        if dice < 0.15 and self.number == 0:
            self.under_way = {"batch": g}
            body = {"files": [{"name": "b.yaml", "text": "---\n" + "\n---\n".join(json.dumps(document(n, g)) for n in self.batch)}]}
            answer = self._apply(message, json.dumps(body))
            self.batch_known = g
        elif dice < 0.35:
            name = self.rng.choice(self.names)
            self.under_way = {name: None}
            answer = self._apply(message, json.dumps(document(name, 0)), "&delete=true")
            self.known[name] = None
        else:
            name = self.rng.choice(self.names)
            self.under_way = {name: g}
            answer = self._apply(message, json.dumps(document(name, g)))
            self.known[name] = g
        self.under_way = {}
        if any(r["result"] not in ("unchanged", "absent") for r in answer["results"]):
            self.acked[answer["revision"]] = message

    def _apply(self, message, body, more=""):
        kind = "application/vnd.weft.files+json" if body.startswith('{"files"') else "application/json"
        status, answer = self.s.api("POST", f"/v1/apply?message={message}{more}", body, {"content-type": kind})
        assert status == 200, (status, answer)
        return answer

    def judge(self, db, objects):
        for revision, message in self.acked.items():
            assert db.revisions.get(revision) == message, f"revision {revision} ({message}) was acknowledged and is gone"
        seen = {objects.get(n) for n in self.batch}
        if self.number == 0:
            assert len(seen) == 1, f"a commit of {self.BATCH} is half there: {seen}"
            g = seen.pop()
            assert g in (self.batch_known, self.under_way.get("batch", self.batch_known))
            self.batch_known = g
        for n in self.names:
            assert objects.get(n) in (self.known[n], self.under_way.get(n, self.known[n])), n
            self.known[n] = objects.get(n)
        self.under_way = {}


class Joiner:
    """Makes a token, joins with it, renews, ejects at times; whatever stays unknown is tried again in the next round."""

    def __init__(self, s, number, rng, keys):
        self.s, self.number, self.rng, self.keys = s, number, rng, keys
        self.made, self.tokens, self.hosts, self.serials, self.ejected = 0, {}, {}, set(), set()
        self.pending = None  # (token, name, key): a join without an answer
        self.ejecting = None

    def once(self):
        if self.ejecting:
            self._eject(*self.ejecting)
        if not self.pending:
            status, answer = self.s.api("POST", "/v1/tokens", {})
            assert status == 201, answer
            self.tokens[answer["id"]] = answer["token"]
            self.made += 1
            self.pending = (answer["token"], f"h{self.number}-{self.made}", self.keys.pop())
        token, name, key = self.pending
        status, answer = self.s.tls("POST", "/v1/join", join_request(token, name, key.csr))
        assert status == 200, f"a join whose answer was lost cannot be replayed: {answer}"
        key.chain.write_text(answer["certificate"])
        host, self.pending = answer["hostId"], None
        self.hosts[host] = (name, token, key)
        self._renew(host)
        if self.rng.random() < 0.3:
            self.ejecting = (host, key)
            self._eject(host, key)

    def _renew(self, host):
        name, token, key = self.hosts[host]
        status, answer = self.s.tls("POST", "/v1/agent/certificates", {"requests": [{"kind": "host", "csr": key.csr}]},
                                    (key.chain, key.path))
        assert status == 200, answer
        key.chain.write_text(answer["certificates"][0]["certificate"])
        self.serials.add(serial_of(answer["certificates"][0]["certificate"]))

    def _eject(self, host, key):
        status, answer = self.s.api("POST", f"/v1/hosts/{host}/eject", "")
        assert status in (200, 409), answer  # 409: it had happened
        self.ejected.add(host)
        self.ejecting = None

    def judge(self, db, _objects):
        for ident in self.tokens:
            assert ident in db.tokens, f"token {ident} was acknowledged and is gone"
        for host, (name, token, key) in self.hosts.items():
            assert host in db.hosts, f"host {name} had joined and is gone"
            assert db.hosts[host]["name"] == name
        for host in self.ejected:
            assert db.hosts[host]["state"] == "ejected"
        for serial in self.serials:
            assert serial in db.serials, "a certificate was handed out and is in no book"

    def retry(self):
        """With the server back: what was under way is done again, a spent token is refused to another key."""
        if self.hosts:
            host = list(self.hosts)[-1]
            if host not in self.ejected and not self.ejecting:
                self._renew(host)
        if self.hosts and self.rng.random() < 0.2:
            _, token, _ = self.rng.choice(list(self.hosts.values()))
            status, answer = self.s.tls("POST", "/v1/join", join_request(token, "thief", self.keys.peek().csr))
            assert status == 403 and "used" in answer["detail"], f"a token was used twice: {answer}"


def serial_of(pem):
    der = ssl.PEM_cert_to_DER_cert(pem[:pem.index("-----END CERTIFICATE-----") + 26])
    at = der.index(b"\x02\x10", 8)  # the first INTEGER of 16 bytes: ours always are
    return der[at + 2:at + 18].hex()


class Left:
    """What a kill left on the disk, read from a copy, without weft."""

    def __init__(self, s, number):
        self.dir = s.dir / f"left-{number}"
        shutil.copytree(s.state, self.dir)
        c = sqlite3.connect(self.dir / "weft.db")
        assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        head = c.execute("SELECT value->>'revision' FROM keys WHERE key = '/head'").fetchone()
        self.head = head[0] if head else 0
        self.revisions = dict(c.execute("SELECT revision, message FROM revisions"))
        self.tokens = {i: left for i, left in c.execute("SELECT id, uses_left FROM tokens")}
        rows = c.execute("SELECT id, name, state, pin FROM hosts").fetchall()
        self.hosts = {i: {"name": n, "state": st, "pin": p} for i, n, st, p in rows}
        self.serials = {r[0] for r in c.execute("SELECT serial FROM certificates")}
        self.audit = [r[0] for r in c.execute("SELECT value FROM keys WHERE key GLOB '/audit/*' ORDER BY key")]
        self.spent = c.execute("SELECT count(*) FROM keys WHERE key GLOB '/spent/*'").fetchone()[0]
        c.close()

    def judge(self, s):
        assert sorted(self.revisions) == list(range(1, self.head + 1)), "the history has a gap"
        assert len(set(self.revisions.values())) == len(self.revisions), "a commit is there twice"
        assert len({h["pin"] for h in self.hosts.values()}) == len(self.hosts), "a key is bound to two hosts"
        assert len({h["name"] for h in self.hosts.values()}) == len(self.hosts)
        previous = "0" * 64
        for n, row in enumerate(self.audit, 1):
            parsed = json.loads(row)
            assert parsed["n"] == n and parsed["previous"] == previous, f"audit row {n} does not continue the chain"
            previous = hashlib.sha256(row.encode()).hexdigest()
        actions = [json.loads(row)["action"] for row in self.audit]
        assert actions.count("host.join") == len(self.hosts) == self.spent, "a join without its row, or a row without its join"
        assert actions.count("apply") + actions.count("delete") == self.head, "a commit without its row in the audit log"
        done = s.weft("server", "check", "--state-dir", self.dir, env={"LD_PRELOAD": ""})
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.rmtree(self.dir)


def arm(s, rng):
    """Choose the moment. Returns the seconds to wait at most, and what was chosen."""
    if rng.random() < 0.35:
        return rng.uniform(0.002, 0.12), "a moment"
    how, kinds = rng.choice([KILL_BEFORE, KILL_AFTER, KILL_TORN]), rng.choice([EVERYTHING, WRITE, SYNC])
    number = rng.randrange(1, {SYNC: 25, WRITE: 90}.get(kinds, 120))
    s.disk.kill_at(number, how, kinds)
    return 0.25, f"call {number} of kinds {kinds}, how {how}"


@pytest.mark.skipif(ROUNDS == 0, reason="CRASH_ROUNDS is 0")
def test_kill_9_loses_nothing(capsys):
    rng = random.Random(SEED)
    with capsys.disabled():
        print(f"[WEFT_SEED={SEED}] ", end="", flush=True)
    with Lone() as s:
        assert s.init().returncode == 0
        s.start()
        actors = [Applier(s, 0, random.Random(rng.random())), Applier(s, 1, random.Random(rng.random()))]
        for i in (0, 1):
            actors.append(Joiner(s, i, random.Random(rng.random()), Keys(s.dir, i)))
        began = time.monotonic()
        number, left = 0, None
        while number < ROUNDS or (not much_happened(left) and number < 4 * ROUNDS):  # a busy machine does less in a round
            number += 1
            seconds, chosen = arm(s, rng)
            try:
                one_round(s, actors, seconds)
                left = Left(s, number)
                s.start()
                status, answer = s.api("GET", "/v1/serviceentry")
                assert status == 200 and s.api("GET", "/v1/status")[1]["revision"] == left.head
                objects = {o["metadata"]["name"]: generation_of(o) for o in answer["items"]}
                for a in actors:
                    a.judge(left, objects)
                left.judge(s)
                for a in actors[2:]:
                    a.retry()
            except (AssertionError, Failed) as e:
                raise AssertionError(f"round {number}, killed at {chosen} (WEFT_SEED={SEED}): {e}") from e
        with capsys.disabled():
            print(f"{number} kills, {left.head} revisions, {len(left.hosts)} hosts, {len(left.audit)} audit rows in "
                  f"{time.monotonic() - began:.0f} s ", end="", flush=True)
        assert much_happened(left), "hardly anything happened"


def much_happened(left):
    return left.head > ROUNDS / 4 and len(left.hosts) > ROUNDS / 8


class Keys:
    """Made when needed, and kept: openssl takes longer than a join."""

    def __init__(self, folder, number):
        self.folder, self.number, self.made, self.spare = folder, number, 0, []

    def pop(self):
        if self.spare:
            return self.spare.pop()
        self.made += 1
        return Key(self.folder, f"k{self.number}-{self.made}")

    def peek(self):
        """The one that pop() gives next."""
        if not self.spare:
            self.spare.append(self.pop())
        return self.spare[-1]


def one_round(s, actors, seconds):
    """Callers call until the server dies."""
    over = threading.Event()
    callers = [Caller(a, over) for a in actors]
    for c in callers:
        c.start()
    try:
        s.process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass  # it lives: now is the random moment
    s.kill()
    over.set()
    s.disk.heal()
    for c in callers:
        c.join(3 * PATIENCE)
        assert not c.is_alive(), "a caller hangs"
        if c.failure:
            raise c.failure
