"""Sockets of open streams: larger buffers, and ends that no client expects."""

import socket
import struct

from aiohttp import web

SOCKET_BYTES = 1 << 20  # send buffer; a smaller one waits for delayed ACKs
_WITHOUT_LINGER = struct.pack("ii", 1, 0)


def enlarge(request: web.Request) -> None:
    """Give the request's socket a large send buffer."""
    sock = _socket(request)
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)


def drop(request: web.Request, *, reset: bool) -> None:
    """Close the request's connection: after what is buffered, or at once by a reset."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    sock = _socket(request)
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _WITHOUT_LINGER)
    transport.abort()


def _socket(request: web.Request) -> socket.socket | None:
    transport = request.transport
    return None if transport is None else transport.get_extra_info("socket")
