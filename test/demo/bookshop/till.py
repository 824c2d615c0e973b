"""The till: a TCP service that speaks first, as mail and database servers do. It then adds up the prices it is told.

    220 till ready
    > 12.50
    250 total 12.50
    > done
    221 12.50, thank you
"""

import os
import socket
import threading


def sell(c):
    with c, c.makefile("rw", newline="\n") as lines:
        try:
            lines.write("220 till ready\n")
            lines.flush()
            total = 0.0
            for line in lines:
                word = line.strip()
                if word == "done":
                    break
                try:
                    total += float(word)
                    lines.write(f"250 total {total:.2f}\n")
                except ValueError:
                    lines.write(f"500 not a price: {word}\n")
                lines.flush()
            lines.write(f"221 {total:.2f}, thank you\n")
            lines.flush()
        except OSError:
            pass  # the customer left


def main():
    s = socket.create_server(("0.0.0.0", int(os.environ.get("PORT", "9000"))), backlog=64)
    while True:
        c, _ = s.accept()
        threading.Thread(target=sell, args=(c,), daemon=True).start()


main()
