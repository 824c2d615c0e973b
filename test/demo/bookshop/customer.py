"""Buys at the till: waits for its greeting, names prices, prints what it says.

    customer.py HOST PORT PRICE...
"""

import socket
import sys


def main():
    host, port, *prices = sys.argv[1:]
    with socket.create_connection((host, int(port)), 5) as s, s.makefile("rw", newline="\n") as lines:
        print(lines.readline().rstrip())
        for price in [*prices, "done"]:
            lines.write(price + "\n")
            lines.flush()
            print(f"> {price}\n{lines.readline().rstrip()}")


main()
