"""Requests from inside a namespace, told by lines of JSON on standard input; one line of JSON answers each.

Knows nothing of weft: it resolves names and opens sockets as any program of the host does.
"""

import http.client
import json
import socket
import sys
import threading
import time
import urllib.parse

BODY_KEPT = 64 * 1024
PATIENCE = 30  # seconds


class To(http.client.HTTPConnection):
    """A connection to `to` (IP, port) whatever the URL's host says."""

    def __init__(self, host, port, timeout, to):
        super().__init__(host, port, timeout=timeout)
        self.to = to

    def connect(self):
        self.sock = socket.create_connection(self.to or (self.host, self.port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def connection(url, timeout, to=None):
    u = urllib.parse.urlsplit(url)
    if to:
        ip, port = to.rsplit(":", 1)
        to = (ip.strip("[]"), int(port))
    return To(u.hostname, u.port or 80, timeout, to), (u.path or "/") + ("?" + u.query if u.query else "")


def exchange(c, path, method="GET", headers=None, body=None):
    start = time.monotonic()
    answer = {"status": 0, "headers": [], "body": "", "error": None}
    try:
        c.request(method, path, body=body.encode() if isinstance(body, str) else body, headers=headers or {})
        r = c.getresponse()
        answer["status"], answer["headers"] = r.status, r.getheaders()
        answer["body"] = r.read().decode("utf-8", "replace")[:BODY_KEPT]
    except (OSError, http.client.HTTPException) as e:
        answer["status"], answer["error"] = 0, f"{type(e).__name__}: {e}"
        c.close()
    answer["ms"] = round((time.monotonic() - start) * 1000)
    return answer


def do_http(url, method, headers, body, timeout, to):
    c, path = connection(url, timeout, to)
    try:
        return exchange(c, path, method, headers, body)
    finally:
        c.close()


def do_many(url, count, threads, headers, timeout):
    answers, lock = [], threading.Lock()
    left = iter(range(count))

    def work():
        c, path = connection(url, timeout)
        while True:
            with lock:
                if next(left, None) is None:
                    break
            a = exchange(c, path, "GET", headers)
            with lock:
                answers.append(a)
        c.close()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return answers


class Load:
    def __init__(self, url, threads, headers):
        self.total, self.statuses, self.errors, self.apps = 0, {}, [], {}
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.workers = [threading.Thread(target=self.work, args=(url, headers)) for _ in range(threads)]
        for w in self.workers:
            w.start()

    def work(self, url, headers):
        c, path = connection(url, PATIENCE)
        while not self.stopping.is_set():
            a = exchange(c, path, "GET", headers)
            with self.lock:
                self.total += 1
                key = str(a["status"])
                self.statuses[key] = self.statuses.get(key, 0) + 1
                if a["status"] != 200 and len(self.errors) < 10:
                    self.errors.append(a["error"] or a["body"][:200])
                app = next((v for k, v in a["headers"] if k.lower() == "x-app"), "-")
                self.apps[app] = self.apps.get(app, 0) + 1
        c.close()

    def look(self):
        with self.lock:
            return {"total": self.total, "statuses": self.statuses, "errors": self.errors, "apps": self.apps}

    def stop(self):
        self.stopping.set()
        for w in self.workers:
            w.join()
        return self.look()


LOADS = []


def do_load_start(url, threads, headers):
    LOADS.append(Load(url, threads, headers))
    return len(LOADS) - 1


def do_load_look(number):
    return LOADS[number].look()


def do_load_stop(number):
    return LOADS[number].stop()


def do_tcp(to, send="", first=0, shut=False, until=None, timeout=PATIENCE, size=0, gap=0.0):
    """Connect; read `first` bytes; send `send` (and `size` more bytes "x"); perhaps end our side; read until `until` is
    seen, or the end (shut or until given), within `timeout`. Answers what came and how it ended."""
    host, port = to.rsplit(":", 1)
    got, how, start = b"", "open", time.monotonic()
    greeted_ms = None
    try:
        s = socket.create_connection((host.strip("[]"), int(port)), timeout)
    except OSError as e:
        return {"got": "", "bytes": 0, "how": f"{type(e).__name__}: {e}", "ms": round((time.monotonic() - start) * 1000),
                "greeted_ms": None, "connected": False}
    with s:
        try:
            while len(got) < first:
                piece = s.recv(first - len(got))
                if not piece:
                    how = "end"
                    break
                got += piece
                greeted_ms = round((time.monotonic() - start) * 1000)
            if gap:
                time.sleep(gap)
            if how == "open" and (send or size):
                s.sendall(send.encode("latin-1") + b"x" * size)
            if shut:
                s.shutdown(socket.SHUT_WR)
            while how == "open" and (shut or until is not None):
                if until is not None and until.encode("latin-1") in got:
                    break
                piece = s.recv(65536)
                if not piece:
                    how = "end"
                got += piece
        except OSError as e:
            how = f"{type(e).__name__}: {e}"
    return {"got": got[:BODY_KEPT].decode("latin-1"), "bytes": len(got), "how": how, "greeted_ms": greeted_ms,
            "ms": round((time.monotonic() - start) * 1000), "connected": True}


def do_udp(to, text):
    host, port = to.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), (host, int(port)))


def do_resolve(name, family):
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror:
        return []
    return sorted({f[4][0] for f in found})


def main():
    for line in sys.stdin:
        args = json.loads(line)
        try:
            answer = {"answer": globals()["do_" + args.pop("op")](**args)}
        except Exception as e:  # told to the test, which fails by it
            answer = {"failed": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


main()
