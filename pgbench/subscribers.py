"""Subscribers to a Redis channel that read and forget, all in one process.

    python -m pgbench.subscribers PORT CHANNEL NUMBER

One process, so that the work of a hundred clients does not take the processors of what is measured:
a subscriber is normally on another machine.
"""

import selectors
import socket
import sys
import time

BUFFER = 1 << 18  # bytes
PAUSE = 0.01  # seconds between two rounds of reading: fewer and larger pieces


def subscribed(port: int, channel: str) -> socket.socket:
    """A connection that has asked for the channel."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"SUBSCRIBE {channel}\r\n".encode())
    return connection


def main(port: int, channel: str, number: int) -> None:
    buffer = bytearray(BUFFER)
    with selectors.DefaultSelector() as selector:
        for _ in range(number):
            selector.register(subscribed(port, channel), selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                if not key.fileobj.recv_into(buffer):
                    sys.exit("Redis closed a connection.")
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
