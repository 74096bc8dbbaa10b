"""Reads what is newly stored, once for all who watch in this copy of the program."""

import asyncio
import logging

from stream import stored
from stream.db import Database
from stream.errors import DatabaseAway
from stream.stored import Cursor
from web.live.audience import Audience
from web.live.rate import Rate

logger = logging.getLogger(__name__)

TICK = 0.15  # seconds between two looks at what is new
SAY_EVERY = 2.0  # seconds between two words on how it goes
RETRY = 1.0  # seconds between two attempts to reach the database
PAGE = 500  # tweets read at a time
MOST_PAGES = 20  # in a row; who is further behind than that goes on with the newest
COUNTED = 1_000_000  # of those that are left out then, so many are counted at most


class Follower:
    """Works while somebody watches: `audience` are people, `readers` are programs.

    Programs read for themselves; they are only told, by `rung`, when there is something new.
    """

    def __init__(self, database: Database) -> None:
        self.audience = Audience()
        self.cursor: Cursor | None = None  # None: nobody has watched for a while
        self.handed: Cursor | None = None  # everything before it has been given to the viewers
        self.rate = Rate()
        self.is_away = False
        self.rung = asyncio.Event()
        self._database = database
        self._readers = 0
        self._watched = asyncio.Event()

    def wake(self) -> None:
        """Somebody has come."""
        self._watched.set()

    def come(self) -> None:
        """A program wants to be told when there is something new."""
        self._readers += 1
        self.wake()

    def go(self) -> None:
        self._readers -= 1

    async def begun(self) -> Cursor:
        """Where it has come to, as soon as that is known. DatabaseAway when it cannot be."""
        if self.cursor is None:
            async with self._database.acquire() as connection:
                head = await stored.head(connection)
            if self.cursor is None:
                self.cursor = self.handed = head
        return self.cursor

    async def run(self) -> None:
        """Until cancelled."""
        said = 0.0
        while True:
            if not self.audience.channels and not self._readers:
                self.cursor = self.handed = None
                self._watched.clear()
                await self._watched.wait()
                self.rate = Rate()
            await self._tick()
            now = asyncio.get_running_loop().time()
            if now - said > SAY_EVERY:
                said = now
                self.audience.stir()
            await asyncio.sleep(TICK)

    async def _tick(self) -> None:
        """Look once; trouble with the database is everybody's to know, and no end."""
        try:
            await self._look()
        except DatabaseAway:
            self._set_away(True)
            await asyncio.sleep(RETRY)
        except Exception:
            logger.exception("what is newly stored cannot be shown live")
            await asyncio.sleep(RETRY)
        else:
            self._set_away(False)

    def _set_away(self, is_away: bool) -> None:
        if self.is_away != is_away:
            self.is_away = is_away
            self.audience.stir()

    async def _look(self) -> None:
        await self.begun()
        if not self.audience.channels:
            await self._ring_if_new()
            return
        for _ in range(MOST_PAGES):
            if not await self._read():
                return
        await self._leave_behind()

    async def _ring_if_new(self) -> None:
        async with self._database.acquire() as connection:
            head = await stored.head(connection)
        if head != self.cursor:
            self.cursor = self.handed = head
            self._ring()

    async def _read(self) -> bool:
        """Show one page; whether there is more."""
        assert self.cursor is not None
        async with self._database.acquire() as connection:
            page = await stored.after(connection, self.cursor, PAGE)
            needed = page.tweets if self.audience.needs_matches else ()
            matches = await stored.matches(connection, needed)
        self.rate.add(len(page.tweets))
        self.cursor = page.cursor
        if page.tweets:
            self._ring()
            await self.audience.hand_out(page.tweets, matches)
        self.handed = page.cursor
        return page.more

    async def _leave_behind(self) -> None:
        """Too much is stored to be looked at, as after an outage: take the newest, say so."""
        assert self.cursor is not None
        async with self._database.acquire() as connection:
            newest = await stored.newest(connection, self.cursor, PAGE)
            left = await stored.count(connection, self.cursor, COUNTED) - PAGE
        if newest != self.cursor:
            self.cursor = self.handed = newest
            self.audience.skip(max(left, 1))

    def _ring(self) -> None:
        self.rung.set()
        self.rung = asyncio.Event()
