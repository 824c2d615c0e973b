"""Clients that are slow, many, or both: what they hold is bounded, and the others are served."""

import socket
import struct
import sys
import threading
import time

import pytest
from mesh import HERE, PATIENCE, wait_until
from test_http2 import ENTRY
from test_standalone import Edge, free_port, front

sys.path.insert(0, str(HERE))

from peers import Closed, H2Caller, Origin, Reader, ask, pattern  # noqa: E402


class Door(Edge):
    def __init__(self, where, settings="", files=None, section=""):
        super().__init__(where, f"access_log = {where / 'access.log'}\n{settings}")
        self.access_log, self.files, self.origin = where / "access.log", files, Origin()
        self.to = ("127.0.0.1", free_port())
        self.write("services.d/door.ini", f"[gateway door]\nlabel.istio = ingressgateway\n{section}")
        rule = "  - route: [{destination: {host: app.test}}]\n"
        self.write("all.yaml", front(rule, ("http", "HTTP", self.to[1]), bind="0.0.0.0") +
                   ENTRY.format(name="app", protocol="HTTP", port=self.origin.port))

    def argv(self):
        limit = ["prlimit", f"--nofile={self.files}:{self.files}"] if self.files else []
        return [*limit, *super().argv()]

    def connect(self, source="127.0.0.1"):
        """None: it was reset at once."""
        try:
            return socket.create_connection(self.to, PATIENCE, (source, 0))
        except ConnectionResetError:
            return None

    def stop(self):
        super().stop()
        self.origin.close()


@pytest.fixture
def door(tmp_path):
    made = []

    def make(**more):
        made.append(Door(tmp_path, **more).start())
        return made[-1]
    yield make
    for d in made:
        d.stop()


def served(sock, path="/"):
    """One request on the connection; the connection stays. False: it is closed."""
    if sock is None:
        return False
    try:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        reader = Reader(sock)
        assert reader.line() == "HTTP/1.1 200 OK"
        length = next(int(h.split(":")[1]) for h in iter(reader.line, "") if h.startswith("content-length"))
        reader.exactly(length)
        return True
    except (OSError, Closed):
        return False


def test_a_body_that_trickles_is_refused_in_time_and_one_that_flows_is_not(door):
    d = door()
    slow1, waits, flows = d.connect(), d.connect(), d.connect()
    slow2 = H2Caller(d.to, timeout=PATIENCE)
    head = "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n"
    slow1.sendall((head % (100000, "")).encode())
    flows.sendall((head % (6000, "")).encode())
    stream = slow2.open("POST", "/up2", "x", [("content-length", "100000")], end=False)
    endless = slow2.open("POST", "/stream", "x", end=False)  # of no known length: it may take as long as it likes
    waits.sendall(b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    began = time.monotonic()
    for _ in range(12):  # 12 s: some bytes, but too few of two of them
        time.sleep(1)
        flows.sendall(b"x" * 500)
        for s in (slow1,):
            try:
                s.sendall(b"x" * 20)
            except OSError:
                pass
        if stream not in slow2.over and time.monotonic() - began < 9:
            slow2.send(stream, b"x" * 20, end=False)
    assert Reader(slow1).line() == "HTTP/1.1 408 Request Timeout"
    answer = slow2.wait(stream)
    assert answer.status == 408
    assert Reader(flows).line() == "HTTP/1.1 200 OK"
    waits.sendall(b"0\r\n\r\n")
    assert Reader(waits).line() == "HTTP/1.1 200 OK"
    slow2.send(endless, b"late")
    assert slow2.wait(endless).json()["length"] == 4
    for path in ("/up ", "/up2 "):
        wait_until("its access line", lambda: [x for x in d.access_log.read_text().splitlines()
                                               if f"POST {path}" in x and " 408 - request_overall_timeout " in x])
    for s in (slow1, waits, flows, slow2.sock):
        s.close()


def test_an_address_has_as_many_connections_as_it_may(door):
    d = door(settings="connections_per_source = 20\n")
    kept = [d.connect() for _ in range(20)]
    assert all(served(s) for s in kept)
    assert not served(d.connect()) and not served(d.connect())
    assert served(d.connect("127.0.0.2")) and served(kept[7])  # others, and who was here
    kept.pop().close()
    wait_until("there is room again", lambda: served(d.connect()))
    wait_until("its access line", lambda: " 0 - connections_per_source " in d.access_log.read_text())


def test_behind_a_balancer_the_client_counts(door):
    d = door(settings="connections_per_source = 3\n", section="proxy_protocol = true\n")

    def come(source):
        s = d.connect()
        s.sendall(f"PROXY TCP4 {source} 10.0.0.1 1000 80\r\n".encode())
        return s

    kept = [come("192.0.2.1") for _ in range(3)]
    assert all(served(s) for s in kept) and not served(come("192.0.2.1"))
    others = [come(f"192.0.2.{n}") for n in range(2, 12)]
    assert all(served(s) for s in others)


def test_where_there_is_no_room_the_idle_make_it(door):
    d = door(settings="workers = 1\nconnections_per_source = 100000\n", files=512)  # room for 128
    busy = d.connect()
    busy.sendall(b"GET /delay/4 HTTP/1.1\r\nHost: x\r\n\r\n")
    kept = []
    for _ in range(300):
        s = d.connect()
        assert served(s)
        kept.append(s)
    gone = sum(1 for s in kept if not served(s))
    assert 128 <= gone < 300 and Reader(busy).line() == "HTTP/1.1 200 OK"
    assert "no_room" not in d.access_log.read_text()  # nothing was refused
    assert d.page("/readyz")[0] == 200  # there are descriptors for the pages, too


@pytest.mark.parametrize("how", ["heads", "bodies", "readers", "silent"])
def test_a_crowd_of_slow_clients_does_not_stop_the_others(door, how):
    d = door()
    crowd, failed = [], []
    for i in range(1500):
        s = socket.socket()
        if how == "readers":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        s.settimeout(PATIENCE)
        s.connect(d.to)
        if how == "heads":
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-")
        elif how == "bodies":
            s.sendall(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nx")
        elif how == "readers" and i < 300:
            s.sendall(b"GET /bytes/300000 HTTP/1.1\r\nHost: x\r\n\r\n")
        crowd.append(s)

    def work():
        for _ in range(25):
            if ask("h1", d.to, "GET", "/bytes/2000", "x").body != pattern(2000):
                failed.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join(4 * PATIENCE)
    assert not failed
    for s in crowd:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    assert ask("h1", d.to, "GET", "/", "x").status == 200
