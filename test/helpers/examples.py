"""The programs of examples/, run as their first lines say, against a running installation."""

import asyncio
import os
import sys
from pathlib import Path

from web_app import WebApp

FOLDER = Path(__file__).resolve().parents[2] / "examples"


class Example:
    """A program of examples/ with a user's token."""

    def __init__(self, app: WebApp, token: str, name: str) -> None:
        self.app = app
        self.path = FOLDER / name
        self.environment = os.environ | {"TWEETS_TOKEN": token, "PYTHONUNBUFFERED": "1"}

    async def start(self, *words: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            self.path,
            *map(str, words),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *words: object) -> str:
        """What it prints until it ends by itself."""
        process = await self.start(*words)
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()


async def example(app: WebApp, name: str, user: str = "ana") -> Example:
    program = await app.api_client(user, scopes=("read",))
    return Example(app, program.token, name)
