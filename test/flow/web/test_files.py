"""Files of ours: whole, once, and the connection serves for the next one."""

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages


@pytest.mark.parametrize("path", ["/static/style.css", "/static/vendor/htmx.min.js", "/login"])
async def test_many_come_over_one_connection(pages: "Pages", path: str) -> None:
    host, port = pages.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    bodies = []
    for _ in range(3):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        bodies.append(await reader.readexactly(int(length[1])))
    writer.close()
    await writer.wait_closed()
    assert len(bodies[0]) > 500
    if path != "/login":
        assert bodies[0] == bodies[1] == bodies[2]
