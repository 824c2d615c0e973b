"""Runs a table of tricky HTTP/1.1 requests against one address and judges them: http1_cases.py TABLE HOST PORT ORIGIN_PORT.

An origin in the same process records every complete message that reaches it. A row says how many may (max_fwd), what status is
right, and whether the request is to be accepted. Prints one line per row that is wrong, then "N right, M wrong".

WEFT_AGENT_SOCKET is the agent's that stands between: a row is over when it has no request under way any more.
"""

import base64
import json
import os
import pathlib
import re
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "netns"))

from mesh import PATIENCE, ask, wait_until  # noqa: E402

QUIET = 0.25  # no more bytes for so long: the answer is over
HOPELESS = 1.5  # so long an answer is waited for where there need be none


class Origin:
    """A lenient server: what it takes for a complete message is what a careless application would take for one."""

    def __init__(self, port):
        self.lock, self.heads = threading.Lock(), []
        self.socket = socket.create_server(("0.0.0.0", port), backlog=256)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            threading.Thread(target=self.serve, args=(self.socket.accept()[0],), daemon=True).start()

    def serve(self, s):
        f = s.makefile("rb")
        try:
            while head := self.head(f):
                self.body(f, s, head)
                with self.lock:
                    self.heads.append(head)
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"" if head.startswith(b"HEAD") else b"ok"))
        except (OSError, ValueError):
            pass
        s.close()

    @staticmethod
    def head(f):
        lines = []
        while line := f.readline(1 << 20):
            if line.strip(b"\r\n") == b"":
                return b"".join(lines)
            lines.append(line)
        return None

    @staticmethod
    def exactly(f, n):
        if len(f.read(n)) < n:
            raise ValueError("cut")

    def body(self, f, s, head):
        low = head.lower()
        length = re.search(rb"\ncontent-length:[ \t]*([0-9]+)", low)
        chunked = re.search(rb"\ntransfer-encoding:[^\n]*chunked", low)
        if (chunked or length) and b"100-continue" in low:
            s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if chunked:
            while size := int(re.match(rb"\s*([0-9a-fA-F]*)", f.readline()).group(1) or b"0", 16):
                self.exactly(f, size + 2)
            if self.head(f) is None:
                raise ValueError("cut")
        elif length:
            self.exactly(f, int(length.group(1)))

    def take(self):
        with self.lock:
            heads, self.heads = self.heads, []
        return heads


def statuses(answer):
    """Of what is no interim answer."""
    return [int(x) for x in re.findall(rb"HTTP/1\.[01] (\d\d\d)", answer) if x[:1] != b"1"]


def exchange(to, raw, must_answer):
    """What came back until the peer closed or fell silent."""
    answer = b""
    with socket.create_connection(to, PATIENCE) as s:
        s.settimeout(QUIET)
        end = time.monotonic() + (PATIENCE if must_answer else HOPELESS)
        try:
            s.sendall(raw)
        except OSError:
            return answer
        while time.monotonic() < end:
            try:
                part = s.recv(65536)
            except TimeoutError:
                if answer and (statuses(answer) or not must_answer):
                    break
                continue
            except OSError:
                return answer
            if not part:
                return answer
            answer += part
    return answer


def judge(case, answer, heads):
    first = next(iter(statuses(answer)), 0)
    if any(b"/evil" in h.split(b"\n")[0] for h in heads) and case["max_fwd"] < 2:
        return "smuggled"
    if case["verdict"] == "accept":
        return None if first == 200 and heads else f"not accepted: status {first}, {len(heads)} complete"
    if case["verdict"] == "reject":
        if heads:
            return f"passed on {len(heads)} complete"
        ok = set(case["status"]) | {400, 405, 408, 413, 414, 417, 422, 431, 501, 502, 505}
        return None if first in ok or first == 0 else f"status {first}"
    return None if len(heads) <= case["max_fwd"] else f"passed on {len(heads)}, at most {case['max_fwd']}"


def is_quiet():
    return "\nweft_requests 0\n" in ask(os.environ["WEFT_AGENT_SOCKET"], "GET", "/metrics")[1]


def main():
    table, host, port, origin_port = sys.argv[1:]
    origin = Origin(int(origin_port))
    right = wrong = 0
    for line in open(table, encoding="utf-8"):
        case = json.loads(line)
        origin.take()
        answer = exchange((host, int(port)), base64.b64decode(case["raw_b64"]), case["verdict"] == "accept")
        wait_until("nothing is under way", is_quiet)
        time.sleep(0.01)  # the origin takes what the agent sent
        why = judge(case, answer, origin.take())
        if why:
            print(case["id"], why)
        right, wrong = right + (not why), wrong + bool(why)
    print(f"{right} right, {wrong} wrong")


main()
