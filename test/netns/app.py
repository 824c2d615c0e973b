"""A plain program for tests: HTTP that tells what it saw, or TCP in several manners. Knows nothing of the mesh.

    PORT=8080 NAME=web app.py             HTTP (paths below)
    PORT=8443 CERT=FILE KEY=FILE app.py   the same by TLS; CLIENTS=FILE: only for certificates of these authorities
    PORT=9000 MODE=echo app.py            TCP: every byte back
    PORT=9000 MODE=banner app.py          TCP: speaks first, then answers lines
    PORT=9000 MODE=count app.py           TCP: reads to the end of the other side, then tells how many bytes (half-close)

HTTP: /status/503   /delay/1.5   /bytes/100000   /chunked/5   /close (ends without an answer)   /fail/N (503 while a count of
N lasts)   anything else: what was asked, as JSON. BIND is the address (default: all, both families).
"""

import json
import os
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.environ.get("NAME", "app")
PORT = int(os.environ["PORT"])
BIND = os.environ.get("BIND", "::")
LOCK = threading.Lock()
COUNTS = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-App", NAME)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            out = b""
            while True:
                n = int(self.rfile.readline().split(b";")[0], 16)
                out += self.rfile.read(n)
                self.rfile.readline()
                if n == 0:
                    return out
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def chunked(self, count):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(count):
            piece = f"piece {i}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        body = self.body()
        path = self.path.split("?")[0]
        word, _, value = path.strip("/").partition("/")
        with LOCK:
            COUNTS[path] = COUNTS.get(path, 0) + 1
            seen = COUNTS[path]
        if word == "delay":
            time.sleep(float(value))
        elif word == "status":
            return self.answer(int(value), f"status {value} by {NAME}\n".encode(), "text/plain")
        elif word == "bytes":
            return self.answer(200, b"b" * int(value), "application/octet-stream")
        elif word == "chunked":
            return self.chunked(int(value))
        elif word == "fail" and seen <= int(value.split("/")[0]):
            return self.answer(503, f"failure {seen}\n".encode(), "text/plain")
        elif word == "close":
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        told = {"app": NAME, "method": self.command, "path": self.path, "host": self.headers.get("Host"),
                "headers": [[k, v] for k, v in self.headers.items()], "body_bytes": len(body), "seen": seen,
                "peer": self.client_address[0], **tls_of(self.connection), "body": body[:200].decode("utf-8", "replace")}
        return self.answer(200, json.dumps(told).encode())

    do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = do_GET


def tls_of(connection):
    if not isinstance(connection, ssl.SSLSocket):
        return {}
    shown = connection.getpeercert() or {}
    return {"tls": connection.version(), "sni": getattr(connection, "asked", None), "alpn": connection.selected_alpn_protocol(),
            "client": [value for part in shown.get("subject", ()) for _, value in part]}


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in BIND else socket.AF_INET
    daemon_threads = True
    request_queue_size = 256
    context = None

    def wrap(self, cert, key, clients):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        self.context.sni_callback = lambda connection, name, _: setattr(connection, "asked", name)
        if clients:
            self.context.load_verify_locations(clients)
            self.context.verify_mode = ssl.CERT_REQUIRED

    def finish_request(self, request, client_address):
        if self.context:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)


def tcp_client(c, mode):
    with c:
        try:
            if mode == "banner":
                c.sendall(f"220 {NAME} ready\r\n".encode())
            total = 0
            while True:
                piece = c.recv(65536)
                if not piece:
                    break
                total += len(piece)
                if mode == "echo":
                    c.sendall(piece)
                elif mode == "banner":
                    c.sendall(b"250 " + piece)
            if mode == "count":
                c.sendall(f"{NAME} saw {total} bytes, then your end\n".encode())
        except OSError:
            pass


def main():
    mode = os.environ.get("MODE", "http")
    if mode == "http":
        server = Server((BIND, PORT), Handler)
        if "CERT" in os.environ:
            server.wrap(os.environ["CERT"], os.environ["KEY"], os.environ.get("CLIENTS"))
        server.serve_forever()
    family = socket.AF_INET6 if ":" in BIND else socket.AF_INET
    s = socket.create_server((BIND, PORT), family=family, backlog=256, dualstack_ipv6=BIND == "::")
    while True:
        c, _ = s.accept()
        threading.Thread(target=tcp_client, args=(c, mode), daemon=True).start()


main()
