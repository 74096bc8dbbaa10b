"""Serve the application on `web.listen`, for as long as it may."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from aiohttp import web

logger = logging.getLogger(__name__)
# What browsers and scanners do wrong is no news, and must not fill the log.
_quiet = logging.getLogger(f"{__name__}.clients")
_quiet.setLevel(logging.CRITICAL + 1)

RETRY = 10.0  # seconds between two attempts to have the port
GOODBYE = 1.0  # seconds for answers on their way, at the end
LONGEST_LINE = 16 * 1024  # bytes of an address or a header


class Server:
    """`opened` is called with the address each time that the port is had."""

    def __init__(
        self,
        build: Callable[[], web.Application],
        listen: str,
        opened: Callable[[str], None],
        *,
        retry: float = RETRY,
    ) -> None:
        host, _, port = listen.rpartition(":")
        self.host = host.removeprefix("[").removesuffix("]")
        self.port = int(port)
        self.build = build
        self.opened = opened
        self.retry = retry
        self.address: str | None = None  # while it serves

    async def run(self) -> None:
        """Serve until cancelled. A port that cannot be had is said, and tried for again."""
        said = ""
        while True:
            try:
                await self._serve()
            except OSError as error:
                if said != str(error):
                    said = str(error)
                    logger.warning(
                        "web.listen cannot be had; it is tried for again and again",
                        extra={"listen": f"{self.host}:{self.port}", "why": said},
                    )
            await asyncio.sleep(self.retry)

    async def _serve(self) -> None:
        runner = web.AppRunner(
            self.build(),
            access_log=None,
            logger=_quiet,
            handle_signals=False,
            shutdown_timeout=GOODBYE,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
            host, port = runner.addresses[0][:2]
            shown = f"[{host}]" if ":" in host else host
            self.address = f"http://{shown}:{port}"
            self.opened(self.address)
            await asyncio.Event().wait()
        finally:
            self.address = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * GOODBYE):
                    await runner.cleanup()
