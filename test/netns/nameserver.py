"""The nameserver that the hosts had before there was a mesh: knows outside.test, and answers NXDOMAIN to all else.

    nameserver.py ADDRESS
"""

import socket
import struct
import sys
import threading

KNOWN = {b"outside.test": "10.77.0.254", b"shadowed.default.svc.cluster.local": "192.0.2.1"}


def name_end(message, at):
    labels = []
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].lower())
        at += 1 + message[at]
    return b".".join(labels), at + 1


def answer(message):
    name, end = name_end(message, 12)
    kind = struct.unpack(">H", message[end:end + 2])[0]
    known = KNOWN.get(name)
    found = [known] if known and kind == 1 else []
    flags = 0x8180 | (0 if known else 3)
    out = message[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0) + message[12:end + 4]
    for a in found:
        out += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(a)
    return out


def serve_tcp(address):
    s = socket.create_server((address, 53), reuse_port=False)
    while True:
        c, _ = s.accept()
        with c:
            try:
                n = struct.unpack(">H", c.recv(2, socket.MSG_WAITALL))[0]
                a = answer(c.recv(n, socket.MSG_WAITALL))
                c.sendall(struct.pack(">H", len(a)) + a)
            except (OSError, struct.error, IndexError):
                pass


def main():
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind((sys.argv[1], 53))
    threading.Thread(target=serve_tcp, args=(sys.argv[1],), daemon=True).start()
    while True:
        message, peer = u.recvfrom(4096)
        try:
            u.sendto(answer(message), peer)
        except (IndexError, struct.error):
            pass


main()
