"""A server of its own process, that a test kills and freezes."""

import asyncio
import signal


class ServerProcess:
    """The process of a server; a class for each kind of server starts it."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        """Let it stand still: connections stay open, but nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Kill it, if it runs."""
        if self.runs:
            await self.kill()
