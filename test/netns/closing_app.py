"""An application that closes its connections behind every second answer, without a word: answer and end arrive together."""

import os
import socket
import threading

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def serve(c):
    with c, c.makefile("rb") as lines:
        for turn in (1, 2):
            length = 0
            while (line := lines.readline().lower()) not in (b"\r\n", b""):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if line == b"":
                return
            lines.read(length)
            c.send(ANSWER, socket.MSG_MORE if turn == 2 else 0)
        c.shutdown(socket.SHUT_WR)


with socket.create_server(("0.0.0.0", int(os.environ["PORT"])), backlog=128) as s:
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
