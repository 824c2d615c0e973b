"""One server (or any weft command) on loopback, over a disk that fails on command: test/fault/shim.c.

    with Lone() as s:
        s.init(); s.start()
        s.disk.kill_at(7)          # kill -9 at the 7th write, fsync, rename, ... below the state folder
        s.disk.fail(errno.ENOSPC)  # from now on; s.disk.heal() ends it
"""

import base64
import ctypes
import http.client
import json
import mmap
import os
import pathlib
import shutil
import signal
import ssl
import struct
import subprocess
import tempfile
import time

from mesh import PATIENCE, PR_SET_PDEATHSIG, ROOT, Failed, ask, binary, free_port, wait_until

SOURCE = ROOT / "test" / "fault" / "shim.c"
KILL_BEFORE, KILL_AFTER, KILL_TORN, FAIL, FAIL_SHORT = 1, 2, 3, 4, 5
WRITE, SYNC, TRUNCATE, RENAME, CREATE, UNLINK = 1, 2, 4, 8, 16, 32
EVERYTHING = 63
FOREVER = 1 << 60


def shim():
    """Built once per run, beside the binary."""
    out = ROOT / "build" / "shim.so"
    if not out.exists() or out.stat().st_mtime < SOURCE.stat().st_mtime:
        out.parent.mkdir(exist_ok=True)
        fresh = out.with_name(f"shim-{os.getpid()}.so")
        subprocess.run(["cc", "-O1", "-Wall", "-Wno-nonnull-compare", "-shared", "-fPIC", "-o", fresh, SOURCE, "-ldl"], check=True)
        fresh.replace(out)
    return out


class Disk:
    """The switchboard that a preloaded process reads."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(4096))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)

    def _set(self, at, until, action, error, kinds, match):
        self.heal()
        self.map[16:48] = struct.pack("<4q", until, action, error, kinds)
        self.map[48:128] = match.encode().ljust(80, b"\0")
        self.map[0:8] = bytes(8)
        self.map[8:16] = struct.pack("<q", at)  # last: it arms

    def kill_at(self, number, how=KILL_BEFORE, kinds=EVERYTHING, match=""):
        self._set(number, number, how, 0, kinds, match)

    def fail(self, error, at=1, until=FOREVER, kinds=EVERYTHING & ~UNLINK, match="", short=False):
        self._set(at, until, FAIL_SHORT if short else FAIL, error, kinds, match)

    def count(self):
        """Only count, from now on."""
        self._set(FOREVER, FOREVER, FAIL, 0, EVERYTHING, "")

    def heal(self):
        self.map[8:16] = bytes(8)

    @property
    def seen(self):
        return struct.unpack("<q", self.map[0:8])[0]


def preload():
    asan = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    first = [asan] if "asan" in binary() else []  # a sanitizer wants to be the first
    return " ".join([*first, str(shim())])


def die_with_us():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Lone:
    """A server without namespaces: Unix socket and TLS port on 127.0.0.1."""

    def __init__(self, state=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weft-crash-"))
        self.config, self.state = self.dir / "etc", pathlib.Path(state) if state else self.dir / "var"
        self.socket = self.dir / "api.sock"
        self.disk = Disk(self.dir / "board")
        self.port = free_port()
        self.env = {**os.environ, "WEFT_CONFIG_DIR": str(self.config), "WEFT_STATE_DIR": str(self.state),
                    "WEFT_SOCKET": str(self.socket), "LD_PRELOAD": preload(), "SHIM_DIR": str(self.state),
                    "SHIM_CONTROL": str(self.disk.path)}
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.kill()
        if kind:
            print(self.log()[-3000:])
        shutil.rmtree(self.dir, ignore_errors=True)

    def log(self):
        path = self.dir / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def weft(self, *argv, env=None):
        return subprocess.run([binary(), *map(str, argv)], env={**self.env, **(env or {})}, capture_output=True, text=True,
                              timeout=2 * PATIENCE)

    def init(self, *flags):
        return self.weft("server", "init", "--listen", f"127.0.0.1:{self.port}", *flags)

    def start(self, ready=True):
        with open(self.dir / "server.log", "ab") as log:
            self.process = subprocess.Popen([binary(), "server", "run"], env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=die_with_us)
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, seconds=PATIENCE):
        wait_until("the server is ready or over",
                   lambda: not self.alive() or ask(self.socket, "GET", "/readyz")[0] == 200, seconds, every=0.003)
        if not self.alive():
            raise Failed(f"the server ended with {self.process.returncode}: {self.log()[-500:]}")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, sig=signal.SIGKILL):
        if self.process is not None:
            if self.alive():
                self.process.send_signal(sig)
            self.process.wait(PATIENCE)
        return self.process and self.process.returncode

    # ---- callers; Failed: no answer, so nobody knows what happened ----

    def api(self, method, target, body=None, headers=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        status, text = ask(self.socket, method, target, body, headers)
        try:
            return status, json.loads(text) if text[:1] in ("{", "[") else text
        except ValueError:
            raise Failed("half an answer") from None

    def tls(self, method, target, body, certificate=None):
        """A call at the TLS port; `certificate` is (chain, key), two paths."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        c = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=PATIENCE)
        try:
            c.request(method, target, body=json.dumps(body))
            r = c.getresponse()
            return r.status, json.loads(r.read())
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise Failed(f"{method} {target}: {type(e).__name__}: {e}") from None
        finally:
            c.close()


class Key:
    """A host's key and request, made by openssl."""

    def __init__(self, folder, name):
        self.path, self.chain = folder / f"{name}.key", folder / f"{name}.crt"
        done = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                               "/CN=x", "-keyout", self.path], capture_output=True, text=True, check=True)
        self.csr = done.stdout[done.stdout.index("-----BEGIN"):]


def join_request(token, name, csr):
    """The body of POST /v1/join for a join string."""
    _, _, ident, text, _ = token.split(".", 4)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))[:16]  # behind it stands a checksum
    secret = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return {"token": ident, "secret": secret, "name": name, "address": "127.0.0.1", "version": "0", "time": int(time.time() * 1000),
            "csr": csr}
