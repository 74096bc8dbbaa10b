"""Passwords: argon2id, off the loop, few at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from web.problem import Problem

SHORTEST, LONGEST = 10, 1000  # characters
AT_ONCE = 2  # each takes 64 MiB and some 50 ms of a core
MOST_WAITING = 100

_hasher = PasswordHasher()
_nobody = _hasher.hash("nobody has this password")


class Passwords:
    """Hashes and checks, never more than a few at once: a flood of logins costs others nothing."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Problem when it is too short."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise Problem(
                "invalid",
                f"A password has at least {SHORTEST} characters; several words are easy to keep.",
                field="password",
            )
        async with self._room():
            return await asyncio.to_thread(_hasher.hash, password)

    async def fits(self, stored: str | None, password: str) -> bool:
        """Takes as long for a user that there is not, so that nobody learns who is one."""
        async with self._room():
            right = await asyncio.to_thread(_verify, stored or _nobody, password[:LONGEST])
        return right and stored is not None

    @contextlib.asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            words = "Too many people log in at this moment: try again in some seconds."
            raise Problem("too_many", words, retry_after=5)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


def _verify(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
