"""The client's connection to a server, which is left at once when the server stands still."""

import asyncio
import ssl
from urllib.parse import ParseResult

from nats.aio import client
from nats.aio.transport import TcpTransport

DRAIN_TIMEOUT = 10.0  # seconds, as long as until a server is left that answers no pings


class AbortingTransport(TcpTransport):
    """Closes without waiting until the server has taken what was written, or answers.

    The client waits for that before it connects to another server; a frozen one never would, and
    TLS waits for it for 30 seconds. What the server did not acknowledge is sent again anyway.
    """

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        self.close()  # of a server that refused us
        await super().connect(uri, buffer_size, connect_timeout)

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: int,
    ) -> None:
        await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
        # The client does not say so, and asyncio would warn of it each time the server hangs up.
        self._io_writer._protocol._over_ssl = True  # type: ignore[union-attr]  # noqa: SLF001

    async def drain(self) -> None:
        """TimeoutError when the server takes nothing: it is left then."""
        async with asyncio.timeout(DRAIN_TIMEOUT):
            await super().drain()  # type: ignore[no-untyped-call]

    async def wait_closed(self) -> None:
        """Return at once, as `close` aborts: after a failed handshake the end is never reported."""

    def close(self) -> None:
        if self._io_writer is not None:
            self._io_writer.transport.abort()


def use_aborting_transport() -> None:
    """Let clients of this process use it: they take no other one."""
    client.TcpTransport = AbortingTransport  # type: ignore[attr-defined]
