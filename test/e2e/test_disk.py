"""A disk that is full or breaks: writes are refused and change nothing, the process lives on, and room that returns is used at once."""

import datetime
import errno
import json
import re
import shutil
import subprocess
import time

import pytest
from faults import KILL_AFTER, KILL_BEFORE, KILL_TORN, Disk, Key, Lone, join_request, preload
from conftest import APP
from mesh import PATIENCE, Failed, Mesh, wait_until
from test_crash import document, generation_of


@pytest.fixture
def s():
    with Lone() as lone:
        done = lone.init()
        assert done.returncode == 0, done.stderr
        lone.start()
        yield lone


def apply(s, *documents):
    return s.api("POST", "/v1/apply", "---\n" + "\n---\n".join(json.dumps(d) for d in documents))


def check(s, orphans=0):
    """The stopped server's files are whole."""
    done = s.weft("server", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"; {orphans} unfinished commits" in done.stdout, done.stdout


class Writes:
    """Every kind of write there is, each with what must be true when it was refused and when it was not."""

    def __init__(self, s):
        self.s, self.generation, self.key = s, 0, Key(s.dir, "writer")
        token = s.api("POST", "/v1/tokens", {})[1]["token"]
        answer = s.tls("POST", "/v1/join", join_request(token, "writer", self.key.csr))[1]
        self.key.chain.write_text(answer["certificate"])
        self.spare, self.joined = Key(s.dir, "spare"), 0

    def _count(self, what):
        return len(self.s.api("GET", f"/v1/{what}")[1]["items"])

    def apply(self, count=1):
        self.generation += 1
        names = [f"d{count}-{i}" for i in range(count)]
        before = self.s.api("GET", "/v1/status")[1]["revision"]
        status, answer = apply(self.s, *(document(n, self.generation) for n in names))
        done = status == 200
        assert self.s.api("GET", "/v1/status")[1]["revision"] == before + done
        stored = {o["metadata"]["name"]: generation_of(o) for o in self.s.api("GET", "/v1/serviceentry")[1]["items"]}
        assert {stored.get(n) == self.generation for n in names} == {done}, "half an apply"
        return status, answer

    def apply_many(self):
        return self.apply(count=150)

    def token(self):
        before = self._count("tokens")
        status, answer = self.s.api("POST", "/v1/tokens", {})
        assert self._count("tokens") == before + (status == 201)
        return status, answer

    def renew(self):
        before = self._count("certificates")
        status, answer = self.s.tls("POST", "/v1/agent/certificates", {"requests": [{"kind": "host", "csr": self.key.csr}]},
                                    (self.key.chain, self.key.path))
        assert self._count("certificates") == before + (status == 200)
        return status, answer

    def join(self):
        """The token is made before the fault: see sweep()."""
        status, answer = self.s.tls("POST", "/v1/join", join_request(self.prepared, f"h{self.joined}", self.spare.csr))
        return status, answer

    def prepare(self, kind):
        if kind == "join":
            self.joined += 1
            self.spare = Key(self.s.dir, f"spare-{self.joined}")
            self.prepared = self.s.api("POST", "/v1/tokens", {})[1]["token"]


@pytest.mark.parametrize("error,short,status", [(errno.ENOSPC, False, 507), (errno.ENOSPC, True, 507), (errno.EIO, False, 503)])
def test_each_write_of_each_call_fails_once(s, error, short, status):
    w = Writes(s)
    for kind in ("apply", "apply_many", "token", "renew", "join"):
        for number in range(1, 200):
            w.prepare(kind)
            s.disk.fail(error, at=number, until=number, short=short)
            got, answer = getattr(w, kind)()
            reached, _ = s.disk.seen >= number, s.disk.heal()
            assert s.alive()
            assert got in (200, 201, status), (kind, number, got, answer)
            if got == status:
                assert answer["status"] == status and ("free some space" in answer["detail"]) == (status == 507), answer
            got, answer = getattr(w, kind)()
            assert got in (200, 201), (kind, number, "the next one", got, answer)
            if not reached:
                break
        assert number > 2, f"{kind} wrote nothing"
    s.kill()
    check(s)


def test_a_full_disk_refuses_writes_and_nothing_else(s):
    w = Writes(s)
    assert w.apply()[0] == 200
    s.disk.fail(errno.ENOSPC)
    for kind in ("apply", "apply_many", "token", "renew"):
        got, answer = getattr(w, kind)()
        assert got == 507 and "free some space" in answer["detail"], (kind, got, answer)
    for path in ("status", "serviceentry", "hosts", "tokens", "audit", "revisions", "endpoints"):
        assert s.api("GET", f"/v1/{path}")[0] == 200
    assert s.alive()
    s.disk.heal()
    for kind in ("apply", "apply_many", "token", "renew"):
        assert getattr(w, kind)()[0] in (200, 201)
    s.kill()
    check(s)


def test_what_a_failed_apply_wrote_is_removed_by_the_next(s):
    w = Writes(s)
    s.disk.fail(errno.ENOSPC, at=60)  # some batches are written, then neither the rest nor the clearing up
    assert w.apply_many()[0] == 507 and s.disk.seen > 60
    s.disk.heal()
    assert w.apply()[0] == 200
    s.kill()
    check(s, orphans=0)


def test_a_server_starts_on_a_full_disk(s):
    w = Writes(s)
    assert w.apply()[0] == 200
    s.disk.kill_at(60, KILL_AFTER)
    with pytest.raises(Failed):
        w.apply_many()
    s.process.wait(PATIENCE)
    s.disk.fail(errno.ENOSPC, match="weft.db-wal")  # the index of the log (-shm) it needs; the kill left one
    s.start()
    assert [o["metadata"]["name"] for o in s.api("GET", "/v1/serviceentry")[1]["items"]] == ["d1-0"]
    assert w.apply()[0] == 507
    s.disk.heal()
    assert w.apply()[0] == 200
    s.kill()
    check(s, orphans=0)


def test_a_real_full_disk(tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    # Room for the log at its longest (4 MB and a commit): on a busy machine an apply is cut into many small transactions.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", state], check=True)
    try:
        with Lone(state) as s:
            assert s.init().returncode == 0
            s.start()
            w = Writes(s)
            with open(state / "ballast", "wb", buffering=0) as f, pytest.raises(OSError):
                while True:
                    f.write(bytes(4096))
            refused = None
            for _ in range(400):  # the log that is there already has some room left
                refused, answer = w.apply()
                if refused != 200:
                    break
            assert refused == 507 and "free some space" in answer["detail"], answer
            assert s.alive() and s.api("GET", "/v1/serviceentry")[0] == 200
            (state / "ballast").unlink()
            assert w.apply()[0] == 200 and w.apply_many()[0] == 200 and w.renew()[0] == 200
            s.kill()
            check(s)
    finally:
        subprocess.run(["umount", "-l", state], check=True)


# ---- the agent ----

def test_an_agent_with_a_full_disk_takes_rules_and_certificates():
    with Mesh() as m:
        control = m.server()
        ini = control.config / "server.ini"
        ini.write_text(re.sub("; leaf_lifetime = .*", "leaf_lifetime = 1m", ini.read_text()))
        m.server_process.stop()
        m.start_server()
        web = m.host("web").service("web", 8080, protocol="http").app("web", 8080, APP, NAME="web")
        disk = Disk(web.dir / "board")
        web.env.update(LD_PRELOAD=preload(), SHIM_DIR=str(web.state), SHIM_CONTROL=str(disk.path))
        web.join(start=False)
        disk.fail(errno.ENOSPC)  # before the agent makes its first key and stores its first state
        web.start_agent()
        m.wait_service(web, "http://web:8080/")

        def serials():
            return {c["identity"]: c["serial"] for c in json.loads(web.page("/certs")[1])["certificates"] if "serial" in c}
        before = wait_until("three identities", lambda: len(serials()) == 3 and serials())
        m.apply(json.dumps(document("x", 1)))
        wait_until("all are renewed", lambda: all(serials()[i] != before[i] for i in before), 60)
        assert web.http("http://web:8080/").status == 200
        assert not (web.state / "agent" / "state.json").exists() and "is used but not on the disk" in web.agent.text()
        disk.heal()
        wait_until("the state is on the disk", lambda: (web.state / "agent" / "state.json").exists())
        web.agent.kill()
        m.server_process.kill()
        web.start_agent()  # from the disk alone
        assert web.http("http://web:8080/").status == 200


def certificates(host):
    """identity -> serial, as the agent uses them."""
    return {c["identity"]: c["serial"] for c in json.loads(host.page("/certs")[1])["certificates"] if "serial" in c}


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def ends(host):
    """When each of its certificates ends."""
    return [seconds(c["notAfter"]) for c in json.loads(host.page("/certs")[1])["certificates"]]


def moments(process, pattern):
    """When its log had such lines."""
    return [seconds(at) for at in re.findall(rf"(?m)^(\S+Z) .*{pattern}", process.text())]


def test_renewals_wait_for_a_server_with_a_full_disk():
    with Mesh() as m:
        control = m.server()
        ini = control.config / "server.ini"
        ini.write_text(re.sub("; leaf_lifetime = .*", "leaf_lifetime = 1m", ini.read_text()))
        m.server_process.stop()
        disk = Disk(control.dir / "board")
        control.env.update(LD_PRELOAD=preload(), SHIM_DIR=str(control.state), SHIM_CONTROL=str(disk.path))
        m.start_server()
        for name in ("web", "caller"):
            m.host(name).service(name, 8080, protocol="http").app(name, 8080, APP, NAME=name).join()
        m.apply("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: istio-system}\n"
                "spec: {mtls: {mode: STRICT}}\n")
        web, caller = m["web"], m["caller"]
        m.wait_service(caller, "http://web:8080/")
        wait_until("three identities each", lambda: all(len(certificates(h)) == 3 for h in (web, caller)))
        refused = "certificates were not renewed, trying again: the server answered 507"

        def issued():
            return int(re.search(r"(?m)^citadel_server_success_cert_issuance_count (\d+)$", m.api("GET", "/metrics")[1])[1])

        def ledger():
            return {c["serial"] for c in m.api("GET", "/v1/certificates")[1]["items"]}

        # Full: nothing is lost, nothing changes, the present certificates serve on.
        disk.fail(errno.ENOSPC)
        wait_until("the first try", lambda: moments(web.agent, refused))  # no answer of before is on its way to it any more
        known, count, before = ledger(), issued(), certificates(web)
        wait_until("five tries", lambda: len(moments(web.agent, refused)) >= 5, 90)
        tries = moments(web.agent, refused)[:5]
        gaps = [b - a for a, b in zip(tries, tries[1:])]
        assert sum(gaps) >= 9, gaps  # 1, 2, 4, then a twelfth of the life, 5; a line of the log may be late
        assert certificates(web) == before and set(before.values()) <= known and ledger() == known and issued() == count
        assert caller.http("http://web:8080/").status == 200 and web.status()["link"]["connected"]

        # Room: renewed without anybody's help, and every certificate that is used is in the ledger.
        disk.heal()
        wait_until("all are renewed", lambda: all(certificates(web)[i] != before[i] for i in before), 60)
        assert known <= ledger() and set(certificates(web).values()) <= ledger()
        assert caller.http("http://web:8080/").status == 200

        # Full for longer than a certificate lives: closed rather than plain, and back by itself.
        disk.fail(errno.ENOSPC)
        known = ledger()
        wait_until("all certificates have ended", lambda: max(ends(web) + ends(caller)) < time.time() - 1, 150, every=0.5)
        web.agent.kill()  # a connection that was made before would live on
        web.start_agent()
        assert caller.http("http://web:8080/", timeout=5).status != 200
        assert ledger() == known and m.server_process.alive()
        disk.heal()
        wait_until("traffic is back", lambda: caller.http("http://web:8080/", timeout=5).status == 200, 60)
        assert known <= ledger() and set(certificates(web).values()) <= ledger()

        m.server_process.kill()
        done = control.weft("server", "check")
        assert done.returncode == 0, done.stdout + done.stderr


# ---- setting up and starting ----

def test_init_killed_at_each_step_can_be_repeated():
    with Lone() as s:
        for how in (KILL_BEFORE, KILL_AFTER, KILL_TORN):
            number, ended = 0, None
            while ended != 0:
                shutil.rmtree(s.state, ignore_errors=True)
                shutil.rmtree(s.config, ignore_errors=True)
                number += 1
                s.disk.kill_at(number, how)
                done = s.init()
                ended, was_set_up = done.returncode, (s.config / "server.ini").exists()
                assert ended in (0, -9) and (ended == 0) <= was_set_up
                s.disk.heal()
                done = s.init()
                assert done.returncode == (5 if was_set_up else 0), done.stderr
                check(s)
                assert not (s.state / "init.unfinished").exists()
            assert number > 20
        s.start()
        assert s.api("GET", "/v1/tokens")[1]["items"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_init_on_a_failing_disk_says_so_and_can_be_repeated(error):
    with Lone() as s:
        number, ended = 0, None
        while ended != 0:
            shutil.rmtree(s.state, ignore_errors=True)
            shutil.rmtree(s.config, ignore_errors=True)
            number += 1
            s.disk.fail(error, at=number, until=number)
            done = s.init()
            ended = done.returncode
            s.disk.heal()
            if ended != 0:
                assert ended in (3, 4) and done.stderr.startswith("weft: ") and not done.stdout, (number, ended, done.stderr)
                assert not (s.config / "server.ini").exists()
                assert s.init().returncode == 0
            check(s)
            if s.disk.seen < number:
                break
        assert number > 20


def test_a_start_on_a_failing_disk_ends_or_works_and_never_harms(s):
    assert apply(s, document("kept", 1))[0] == 200
    s.kill()
    for number in range(1, 60):
        s.disk.fail(errno.EIO, at=number, until=number)
        try:
            s.start()
            assert s.api("GET", "/v1/status")[1]["revision"] == 1
        except Failed:
            assert s.process.returncode == 3 and "weft: " in s.log().splitlines()[-1]
        s.kill()
        reached, _ = s.disk.seen >= number, s.disk.heal()
        check(s)
        if not reached:
            break
    s.start()
    assert s.api("GET", "/v1/status")[1]["revision"] == 1


def test_init_leaves_a_server_alone_whose_settings_are_gone(s):
    s.kill()
    (s.config / "server.ini").unlink()
    before = {p: p.read_bytes() for p in (s.state / "ca").iterdir()}
    done = s.init()
    assert done.returncode == 5 and "put that back" in done.stderr
    assert {p: p.read_bytes() for p in (s.state / "ca").iterdir()} == before


# ---- what must not be started ----

def test_two_servers_on_one_folder_are_refused(s):
    done = s.weft("server", "run")
    assert done.returncode == 5 and "is open in another weft server" in done.stderr
    done = s.weft("server", "check")
    assert done.returncode == 5 and "is open in another weft server" in done.stderr
    assert s.api("GET", "/v1/status")[0] == 200


def refused(s, words, code=(3, 4)):
    before = {p.name: p.read_bytes() for p in s.state.iterdir() if p.is_file() and not p.name.endswith(("-shm", ".lock"))}
    done = s.weft("server", "run")
    assert done.returncode in code and words in done.stderr, (done.returncode, done.stderr)
    after = {p.name: p.read_bytes() for p in s.state.iterdir() if p.is_file() and not p.name.endswith(("-shm", ".lock"))}
    assert after == before, "a refused database was written to"
    assert s.weft("server", "check").returncode == 1


def test_a_database_of_a_newer_version_is_refused_by_name(s):
    s.kill(15)
    subprocess.run(["sqlite3", s.state / "weft.db", "PRAGMA user_version = 99"], check=True)
    refused(s, "it was written by a newer weft")


@pytest.mark.parametrize("damage,words", [
    (lambda b: b"", None),
    (lambda b: b[:len(b) // 2 // 4096 * 4096], "restore a backup"),
    (lambda b: b[:1000], "restore a backup"),
    (lambda b: b"not a database, and longer than a header of one" * 300, "not a database of weft"),
    (lambda b: b[:4096] + bytes(4096 * 3) + b[4096 * 4:], "damaged"),
])
def test_a_damaged_database_is_refused_and_not_written_to(s, damage, words):
    assert apply(s, *(document(f"x{i}", 1) for i in range(50)))[0] == 200
    s.kill(15)
    path = s.state / "weft.db"
    path.write_bytes(damage(path.read_bytes()))
    refused(s, words or "is empty: restore a backup")


def test_a_wal_that_was_cut_loses_its_end_only(s):
    """What kill -9 with a torn write leaves: the commits before the tear are there, nothing is half there."""
    for g in range(1, 6):
        assert apply(s, document("x", g))[0] == 200
    s.kill()
    wal = s.state / "weft.db-wal"
    whole = wal.read_bytes()
    for keep in range(len(whole), 0, -max(4120 // 2, len(whole) // 60)):
        for name in ("weft.db-wal", "weft.db-shm"):
            (s.state / name).unlink(missing_ok=True)
        copy = s.dir / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(s.state, copy)
        (copy / "weft.db-wal").write_bytes(whole[:keep])
        done = s.weft("server", "check", "--state-dir", copy)
        assert done.returncode == 0, (keep, done.stdout)


@pytest.mark.parametrize("sql,part,words", [
    ("DELETE FROM kv WHERE CAST(key AS TEXT) GLOB '/obj/*/0'", "revisions", "is missing"),
    ("DELETE FROM kv WHERE CAST(key AS TEXT) GLOB '/rev/*1'", "revisions", "history does not lead to"),
    ("UPDATE kv SET value = json_set(value, '$.objects', 7) WHERE CAST(key AS TEXT) GLOB '/rev/*1'", "revisions", "as many objects"),
    ("UPDATE kv SET value = replace(value, 'host.join', 'host.john') WHERE CAST(key AS TEXT) GLOB '/audit/*'", "audit", "was changed"),
    ("DELETE FROM kv WHERE CAST(key AS TEXT) GLOB '/reg/pin/*'", "hosts", "is missing"),
    ("UPDATE kv SET value = '{\"id\":\"other\"}' WHERE CAST(key AS TEXT) GLOB '/reg/hostname/*'", "hosts", "another host"),
    ("UPDATE kv SET value = json_set(value, '$.uses_left', 1) WHERE CAST(key AS TEXT) GLOB '/token/*'", "tokens", "was used by 1 keys"),
])
def test_check_names_what_does_not_fit(s, sql, part, words):
    Writes(s)
    assert apply(s, document("x", 1))[0] == 200
    s.kill(15)
    check(s)
    subprocess.run(["sqlite3", s.state / "weft.db", sql], check=True)
    done = s.weft("server", "check")
    line = next(x for x in done.stdout.splitlines() if x.split()[0] == part)
    assert done.returncode == 1 and words in line, done.stdout


def test_check_notices_files_of_two_authorities(s):
    s.kill(15)
    with Lone() as other:
        assert other.init().returncode == 0
        shutil.copy(other.state / "ca" / "issuer.key", s.state / "ca" / "issuer.key")
    done = s.weft("server", "check")
    assert done.returncode == 1 and "issuer.key is not the key of issuer.crt" in done.stdout, done.stdout
    done = s.weft("server", "run")
    assert done.returncode == 4 and "issuer.key is not the key of issuer.crt" in done.stderr
