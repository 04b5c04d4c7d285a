"""Clients that send half a request, in a process of its own: `python -m … URL KIND COUNT SECONDS`.

A connection that the service closes is opened again, so that there are always as many. It prints a line
once all are open, and at the end how many had to be opened again.
"""

import contextlib
import socket
import sys
import time
from urllib.parse import urlsplit

from benchmarks.trial.place import allow_descriptors

HALVES = {
    "half-a-head": b"GET /health HTTP/1.1\r\nHost: local",
    "half-a-body": b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
    "byte-by-byte": b"G",
}


def main() -> None:
    url, kind, count, seconds = sys.argv[1:5]
    allow_descriptors(int(count) + 100)
    address = urlsplit(url)
    opened = 0

    def connect() -> socket.socket:
        nonlocal opened
        connection = socket.create_connection((address.hostname, address.port), timeout=30)
        connection.sendall(HALVES[kind])
        connection.setblocking(False)
        opened += 1
        return connection

    connections = [connect() for _ in range(int(count))]
    print("open", flush=True)
    until = time.monotonic() + float(seconds)
    while (turn := time.monotonic()) < until:
        for number, connection in enumerate(connections):
            try:
                if kind == "byte-by-byte":
                    connection.send(b"a")
                with contextlib.suppress(BlockingIOError):
                    connection.recv(65536)  # a 408 or the end
                    raise ConnectionError
            except ConnectionError:
                connection.close()
                connections[number] = connect()
        time.sleep(max(0.0, turn + 1 - time.monotonic()))
    print(opened - len(connections), flush=True)


if __name__ == "__main__":
    main()
