"""HTTP of both versions in plain Python, to stand on either side of a proxy: an origin that tells what it saw, and callers.

    PORT=8080 [BIND=::] [NAME=app] peers.py     an origin in a process; Origin(port) is one in a thread

Version 2 is spoken with clients that open with its preface (h2c by prior knowledge), 1.1 with the others. Paths:
    /bytes/N  N bytes of pattern()      /echo  every byte back as it comes      /status/N      /delay/S
    /trailers  a body with trailers     /hints  three 1xx before the answer           /early/N  answers N before it reads the body
    /fail/N/KEY  503 N times for this key     /grpc/N  an answer of gRPC with status N in the head alone
    anything else: what was asked, as JSON
"""

import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
import traceback

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (ConnectionTerminated, DataReceived, InformationalResponseReceived, RequestReceived, ResponseReceived,
                       StreamEnded, StreamReset, TrailersReceived)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 1 << 20
PATIENCE = 30  # seconds


def pattern(n):
    """n bytes in which a piece that is lost, doubled or moved shows."""
    return b"".join(struct.pack(">I", i) for i in range((n + 3) // 4))[:n]


def digest(body):
    return hashlib.sha256(body).hexdigest()


class Request:
    def __init__(self, version, method, path, authority, headers):
        self.version, self.method, self.path, self.authority, self.headers = version, method, path, authority, headers
        self.body, self.trailers = b"", []

    def get(self, name):
        return next((v for k, v in self.headers if k.lower() == name), None)


class Reply:
    def __init__(self, status=200, body=b"", headers=(), trailers=(), hints=(), delay=0.0):
        self.status, self.body, self.headers, self.trailers = status, body, list(headers), list(trailers)
        self.hints, self.delay = list(hints), delay


COUNTS, LOCK = {}, threading.Lock()


def reply_to(q, name):
    word, _, value = q.path.split("?")[0].strip("/").partition("/")
    mark = [("x-app", name), ("x-version", q.version)]
    if word == "bytes":
        return Reply(200, pattern(int(value)), mark)
    if word in ("status", "early"):
        return Reply(int(value), b"" if value in ("204", "304") else f"status {value}\n".encode(), mark)
    if word == "trailers":
        return Reply(200, b"with trailers", [*mark, ("trailer", "x-sum")], trailers=[("x-sum", "abc"), ("grpc-status", "0")])
    if word == "hints":
        return Reply(200, b"hinted", mark, hints=[(103, [("link", "</a.css>; rel=preload")]), (102, []),
                                                  (103, [("link", "</b.js>; rel=preload")])])
    if word == "grpc":
        return Reply(200, b"", [*mark, ("content-type", "application/grpc"), ("grpc-status", value)])
    if word == "fail":
        with LOCK:
            COUNTS[q.path] = seen = COUNTS.get(q.path, 0) + 1
        if seen <= int(value.split("/")[0]):
            return Reply(503, b"failure\n", mark)
    told = {"app": name, "version": q.version, "method": q.method, "path": q.path, "authority": q.authority, "headers": q.headers,
            "length": len(q.body), "digest": digest(q.body), "trailers": q.trailers}
    return Reply(200, json.dumps(told).encode(), [*mark, ("content-type", "application/json")],
                 delay=float(value) if word == "delay" else 0.0)


class Closed(Exception):
    """The peer is gone."""


def end_listening(s):
    """Also for a thread that waits in accept: close alone would leave the port open until the next caller."""
    s.shutdown(socket.SHUT_RDWR)
    s.close()


# ---- HTTP/1.1 ----


class Reader:
    def __init__(self, sock, first=b""):
        self.sock, self.kept = sock, first

    def fill(self):
        part = self.sock.recv(1 << 16)
        if not part:
            raise Closed
        self.kept += part

    def line(self):
        while b"\n" not in self.kept:
            self.fill()
        line, _, self.kept = self.kept.partition(b"\n")
        return line.rstrip(b"\r").decode("latin-1")

    def exactly(self, n):
        parts, have = [self.kept], len(self.kept)
        while have < n:
            part = self.sock.recv(1 << 18)
            if not part:
                raise Closed
            parts.append(part)
            have += len(part)
        all_of_it = b"".join(parts)
        self.kept = all_of_it[n:]
        return all_of_it[:n]

    def to_the_end(self):
        try:
            while True:
                self.fill()
        except Closed:
            out, self.kept = self.kept, b""
            return out

    def fields(self):
        out = []
        while line := self.line():
            name, _, value = line.partition(":")
            out.append((name.lower(), value.strip()))
        return out

    def chunks(self, on_data):
        """To the end of a chunked body; returns its trailers."""
        while size := int(self.line().split(";")[0], 16):
            on_data(self.exactly(size))
            self.line()
        return self.fields()


def head_of(first, headers):
    return "".join([first, "\r\n", *(f"{k}: {v}\r\n" for k, v in headers), "\r\n"]).encode("latin-1")


class H1Server:
    def __init__(self, origin, sock, first):
        self.origin, self.sock, self.reader = origin, sock, Reader(sock, first)

    def serve(self):
        while True:
            method, path, _ = self.reader.line().split(" ")
            headers = self.reader.fields()
            q = Request("1.1", method, path, dict(headers).get("host", ""), headers)
            if path.startswith("/early"):
                self.answer(q)
                self.body(q, lambda _: None)
            elif path == "/echo":
                self.sock.sendall(head_of("HTTP/1.1 200 OK", [("transfer-encoding", "chunked")]))
                self.body(q, lambda part: self.sock.sendall(b"%x\r\n%s\r\n" % (len(part), part)))
                self.sock.sendall(b"0\r\n\r\n")
            else:
                parts = []
                self.body(q, parts.append)
                q.body = b"".join(parts)
                self.answer(q)

    def body(self, q, on_data):
        if (q.get("transfer-encoding") or "").lower() == "chunked":
            q.trailers = self.reader.chunks(on_data)
        elif int(q.get("content-length") or 0):
            on_data(self.reader.exactly(int(q.get("content-length"))))

    def answer(self, q):
        self.origin.saw(q)
        r = reply_to(q, self.origin.name)
        time.sleep(r.delay)
        for status, headers in r.hints:
            self.sock.sendall(head_of(f"HTTP/1.1 {status} Hint", headers))
        bodiless = q.method == "HEAD" or r.status in (204, 304)
        framing = [("transfer-encoding", "chunked")] if r.trailers else [("content-length", str(len(r.body)))]
        out = head_of(f"HTTP/1.1 {r.status} Some", r.headers + (framing if r.status != 204 else []))
        if not bodiless and r.trailers:
            out += b"%x\r\n%s\r\n0\r\n" % (len(r.body), r.body) + head_of("", r.trailers)[2:]
        elif not bodiless:
            out += r.body
        self.sock.sendall(out)


# ---- HTTP/2 ----


class H2:
    """One connection of either side: what goes out waits for credit here."""

    def __init__(self, sock, client, settings=None, upgraded=False):
        self.sock, self.lock = sock, threading.RLock()
        self.c = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        self.c.local_settings = Settings(client, {SettingCodes.INITIAL_WINDOW_SIZE: WINDOW, **(settings or {})})
        self.waiting = {}  # stream -> [bytes, trailers or None, ended]
        self.c.initiate_upgrade_connection() if upgraded else self.c.initiate_connection()
        self.c.increment_flow_control_window(WINDOW * 8)
        self.push()

    def push(self):
        with self.lock:
            out = self.c.data_to_send()
            if out:
                self.sock.sendall(out)

    def events(self, data=None):
        if data is None:
            data = self.sock.recv(1 << 16)
        if not data:
            raise Closed
        with self.lock:
            found = self.c.receive_data(data)
            for e in found:
                if isinstance(e, DataReceived) and e.flow_controlled_length:
                    self.c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                elif isinstance(e, StreamReset):
                    self.waiting.pop(e.stream_id, None)
            self.flush()
        return found

    def send(self, stream, body, trailers=None, end=True):
        with self.lock:
            entry = self.waiting.setdefault(stream, [b"", None, False])
            entry[0] += body
            entry[1], entry[2] = trailers, end
            self.flush()

    def flush(self):
        with self.lock:
            for stream, (body, trailers, end) in list(self.waiting.items()):
                at = 0
                while at < len(body):
                    n = min(self.c.local_flow_control_window(stream), self.c.max_outbound_frame_size, len(body) - at)
                    if n <= 0:
                        break
                    self.c.send_data(stream, body[at:at + n])
                    at += n
                self.waiting[stream][0] = body[at:]
                if at == len(body):
                    del self.waiting[stream]
                    if end and trailers:
                        self.c.send_headers(stream, trailers, end_stream=True)
                    elif end:
                        self.c.end_stream(stream)
            self.push()


class H2Server(H2):
    def __init__(self, origin, sock, first):
        super().__init__(sock, False, {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        self.origin, self.first, self.requests, self.parts = origin, first, {}, {}

    def serve(self):
        data = self.first
        while True:
            for e in self.events(data):
                self.on(e)
            data = None

    def on(self, e):
        if isinstance(e, RequestReceived):
            h = dict(e.headers)
            rest = [(k, v) for k, v in e.headers if not k.startswith(":")]
            q = self.requests[e.stream_id] = Request("2", h[":method"], h.get(":path", ""), h.get(":authority", ""), rest)
            self.parts[e.stream_id] = []
            if q.path.startswith("/early"):
                self.answer(e.stream_id, q)
            elif q.path == "/echo":
                self.c.send_headers(e.stream_id, [(":status", "200")])
                self.push()
        elif isinstance(e, DataReceived):
            q = self.requests.get(e.stream_id)
            if q and q.path == "/echo":
                self.send(e.stream_id, e.data, end=False)
            elif q:
                self.parts[e.stream_id].append(e.data)
        elif isinstance(e, TrailersReceived):
            self.requests[e.stream_id].trailers = e.headers
        elif isinstance(e, StreamEnded):
            q = self.requests.pop(e.stream_id)
            q.body = b"".join(self.parts.pop(e.stream_id))
            if q.path == "/echo":
                self.send(e.stream_id, b"")
            elif not q.path.startswith("/early"):
                self.answer(e.stream_id, q)
        elif isinstance(e, StreamReset):
            self.requests.pop(e.stream_id, None)

    def answer(self, stream, q):
        self.origin.saw(q)
        r = reply_to(q, self.origin.name)
        if r.delay:
            later = threading.Timer(r.delay, self.write, (stream, q, r))
            later.daemon = True  # nobody waits for it at the end
            later.start()
        else:
            self.write(stream, q, r)

    def write(self, stream, q, r):
        try:
            with self.lock:
                for status, headers in r.hints:
                    self.c.send_headers(stream, [(":status", str(status)), *headers])
                bodiless = q.method == "HEAD" or r.status in (204, 304) or not (r.body or r.trailers)
                self.c.send_headers(stream, [(":status", str(r.status)), *r.headers], end_stream=bodiless)
                self.push()
                if not bodiless:
                    self.send(stream, r.body, r.trailers)
        except (OSError, ProtocolError):
            pass  # it was reset meanwhile


class Origin:
    def __init__(self, port=0, bind="127.0.0.1", name="app"):
        self.name, self.seen = name, []
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        self.socket = socket.create_server((bind, port), family=family, backlog=256, dualstack_ipv6=bind == "::")
        self.port = self.socket.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def saw(self, q):
        self.seen.append(q)

    def accept(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        try:
            first = s.recv(1 << 16)
            while first and first[:3] == b"PRI" and len(first) < 24:
                first += s.recv(1 << 16)
            if first:
                (H2Server if first.startswith(PREFACE) else H1Server)(self, s, first).serve()
        except (OSError, Closed):
            pass
        except Exception:
            traceback.print_exc(file=sys.stderr)
        finally:
            s.close()

    def close(self):
        end_listening(self.socket)


# ---- callers ----


class Answer:
    def __init__(self):
        self.status, self.headers, self.body, self.trailers, self.hints, self.reset = 0, {}, b"", [], [], None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:120]!r} {self.trailers} reset={self.reset}>"


class H1Caller:
    """One request after the other on a connection."""

    def __init__(self, to, timeout=PATIENCE):
        self.sock = socket.create_connection(to, timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader(self.sock)

    def ask(self, method, path, host, headers=(), body=b"", length=True, trailers=(), expect=False):
        headers = [("host", host), *headers]
        if trailers or (body and not length):
            headers.append(("transfer-encoding", "chunked"))
        elif body or method in ("POST", "PUT"):
            headers.append(("content-length", str(len(body))))
        if expect:
            headers.append(("expect", "100-continue"))
        self.sock.sendall(head_of(f"{method} {path} HTTP/1.1", headers))
        a = Answer()
        if expect:
            self.head(a)  # 100, or the answer
        if not a.status:
            sender = threading.Thread(target=self.send, args=(body, length and not trailers, trailers), daemon=True)
            sender.start()
            self.rest(a, method)
            sender.join(PATIENCE)
        return a

    def send(self, body, length, trailers):
        try:
            if length:
                return self.sock.sendall(body)
            for at in range(0, len(body), 50000):
                part = body[at:at + 50000]
                self.sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            if body or trailers:
                self.sock.sendall(b"0\r\n" + head_of("", trailers)[2:])
        except OSError:
            pass  # the answer tells why

    def head(self, a):
        status = int(self.reader.line().split(" ")[1])
        headers = self.reader.fields()
        if status < 200 and status != 101:
            a.hints.append((status, dict(headers)))
        else:
            a.status, a.headers = status, dict(headers)
            a.all_headers = headers

    def rest(self, a, method):
        try:
            while not a.status:
                self.head(a)
            if method == "HEAD" or a.status in (101, 204, 304):
                return
            parts = []
            if a.headers.get("transfer-encoding") == "chunked":
                try:
                    a.trailers = self.reader.chunks(parts.append)
                finally:
                    a.body = b"".join(parts)
            elif "content-length" in a.headers:
                a.body = self.reader.exactly(int(a.headers["content-length"]))
            else:
                a.body = self.reader.to_the_end()
        except (Closed, ConnectionError):
            a.reset = "closed"

    def close(self):
        self.sock.close()


class H2Caller(H2):
    """h2c by prior knowledge; one request at a time, or open() and wait() for several."""

    def __init__(self, to, timeout=PATIENCE, settings=None):
        sock = socket.create_connection(to, timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock, True, {SettingCodes.ENABLE_PUSH: 0, **(settings or {})})
        self.answers, self.over, self.goaway = {}, set(), None

    def open(self, method, path, host, headers=(), end=True, pseudo=()):
        with self.lock:
            stream = self.c.get_next_available_stream_id()
            self.answers[stream] = Answer()
            self.c.send_headers(stream, [(":method", method), (":scheme", "http"), (":path", path), (":authority", host), *pseudo,
                                         *headers], end_stream=end)
            self.push()
        return stream

    def turn(self):
        for e in self.events():
            a = self.answers.get(getattr(e, "stream_id", None))
            if isinstance(e, ConnectionTerminated):
                self.goaway = e
            if a is None:
                continue
            if isinstance(e, InformationalResponseReceived):
                h = dict(e.headers)
                a.hints.append((int(h.pop(":status")), h))
            elif isinstance(e, ResponseReceived):
                a.headers = dict(e.headers)
                a.all_headers = [(k, v) for k, v in e.headers if k != ":status"]
                a.status = int(a.headers.pop(":status"))
            elif isinstance(e, DataReceived):
                a.body += e.data
            elif isinstance(e, TrailersReceived):
                a.trailers = e.headers
            elif isinstance(e, StreamReset):
                a.reset = ErrorCodes(e.error_code).name
                self.over.add(e.stream_id)
            elif isinstance(e, StreamEnded):
                self.over.add(e.stream_id)

    def wait(self, stream):
        a = self.answers[stream]
        try:
            while stream not in self.over:
                self.turn()
        except (Closed, ConnectionError):
            a.reset = a.reset or "closed"
        return a

    def ask(self, method, path, host, headers=(), body=b"", length=True, trailers=(), expect=False):
        headers = list(headers)
        if body and length and not trailers:
            headers.append(("content-length", str(len(body))))
        if expect:
            headers.append(("expect", "100-continue"))
        more = bool(body or trailers)
        stream = self.open(method, path, host, headers, end=not more)
        while expect and not self.answers[stream].hints and not self.answers[stream].status:
            self.turn()
        if more:
            self.send(stream, body, trailers=list(trailers))
        return self.wait(stream)

    def close(self):
        self.sock.close()


class H2cCaller(H2Caller):
    """It asked in HTTP/1.1 and goes on in HTTP/2; the answer is stream 1's."""

    def __init__(self, to, request, timeout=PATIENCE):
        sock = socket.create_connection(to, timeout)
        sock.sendall(request.encode())
        self.switched = b""
        while not self.switched.endswith(b"\r\n\r\n"):
            self.switched += sock.recv(1) or b"\r\n\r\n"
        H2.__init__(self, sock, True, {SettingCodes.ENABLE_PUSH: 0}, upgraded=True)
        self.answers, self.over, self.goaway = {1: Answer()}, set(), None


CALLERS = {"h1": H1Caller, "h2": H2Caller}


def ask(version, to, method, path, host, **more):
    """One request on a connection of its own."""
    c = CALLERS[version](to)
    try:
        return c.ask(method, path, host, **more)
    finally:
        c.close()


if __name__ == "__main__":
    Origin(int(os.environ["PORT"]), os.environ.get("BIND", "::"), os.environ.get("NAME", "app"))
    threading.Event().wait()
