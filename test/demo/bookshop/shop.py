"""What the four HTTP services of the bookshop share: a small HTTP/1.1 server, calls to the others, and knobs.

A service is a table of paths. Services call each other by plain names and plain HTTP, one connection per call kept open
per thread, and hand on the headers that belong to one visit (the end user and the tracing headers), as any well-behaved
program does. Nothing here knows of a mesh.

Knobs, by environment or while it runs (GET /knobs?DELAY=2&FAIL_PERCENT=0):
    PORT          where to listen
    VERSION       shown in answers
    GREETING      a word of the front page
    DELAY         seconds before each answer
    FAIL_PERCENT  how many of a hundred answers are 503
"""

import http.client
import json
import os
import random
import socket
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANDED_ON = ("end-user", "x-request-id", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "b3",
             "traceparent", "tracestate", "x-cloud-trace-context", "x-datadog-trace-id", "grpc-trace-bin", "user-agent")

KNOBS = {"VERSION": "v1", "GREETING": "Welcome", "DELAY": "0", "FAIL_PERCENT": "0"}
KNOBS.update({k: os.environ[k] for k in KNOBS if k in os.environ})

_kept = threading.local()


def knob(name):
    return KNOBS[name]


def call(url, headers):
    """GET a neighbour: (status, decoded JSON or None). A connection that went stale is opened anew once."""
    u = urllib.parse.urlsplit(url)
    kept = _kept.__dict__.setdefault("connections", {})
    for last in (False, True):
        c = kept.get(u.netloc)
        fresh = c is None
        if fresh:
            c = kept[u.netloc] = http.client.HTTPConnection(u.hostname, u.port, timeout=10)
        try:
            c.request("GET", u.path, headers=headers)
            r = c.getresponse()
            body = r.read()
            try:
                return r.status, json.loads(body)
            except ValueError:
                return r.status, None
        except (OSError, http.client.HTTPException):
            c.close()
            kept.pop(u.netloc, None)
            if fresh or last:
                return 503, None
    return 503, None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    pages = {}

    def log_message(self, *_):
        pass

    def handed_on(self):
        return {k: v for k, v in self.headers.items() if k.lower() in HANDED_ON}

    def answer(self, status, body, kind="application/json"):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-App", knob("VERSION"))
        self.end_headers()
        self.wfile.write(body)

    def turn_knobs(self, query):
        for key, value in urllib.parse.parse_qsl(query):
            if key not in KNOBS:
                return self.answer(400, {"error": f"no knob {key}", "knobs": list(KNOBS)})
            KNOBS[key] = value
        return self.answer(200, KNOBS)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/knobs":
            return self.turn_knobs(query)
        if path == "/health":
            return self.answer(200, {"status": "healthy"})
        if path == "/headers":
            return self.answer(200, dict(self.headers.items()))
        time.sleep(float(knob("DELAY")))
        if random.uniform(0, 100) < float(knob("FAIL_PERCENT")):
            return self.answer(503, {"error": "this instance is not well today", "host": socket.gethostname()})
        for prefix, page in self.pages.items():
            if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                return page(self, path[len(prefix):].strip("/"))
        return self.answer(404, {"error": "no such page"})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def serve(port, pages):
    """Serve until killed. `pages` maps a path prefix to a function (handler, rest of the path)."""
    Handler.pages = pages
    try:
        Server(("0.0.0.0", int(os.environ.get("PORT", port))), Handler).serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
