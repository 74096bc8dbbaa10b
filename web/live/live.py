"""The parts of watching, beside one running application."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator

from aiohttp import web

from stream.stored import Cursor
from web.accounts.secrets import hashed
from web.live.channel import Channel
from web.live.follower import Follower
from web.live.lookback import Past, look_back, not_looked_at
from web.live.seats import Seat, Seats
from web.problem import Problem
from web.site import SITE, Site, caller, person

logger = logging.getLogger(__name__)

AT_ONCE = 2  # viewers that look back
MOST_WAITING = 20  # for that; when all come back at once, the others go on from now
_FOREIGN = "This was asked for by another site."
_GOODBYE = "The server ends, and may be back in a moment."


class Live:
    """One follower, and the seats of those who watch."""

    def __init__(self, here: Site) -> None:
        self._here = here
        self.follower = Follower(here.database)
        self.seats = Seats(here.database, self.follower.audience, here.settings.web.viewers)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def look_back(self, channel: Channel, cursor: Cursor) -> Past:
        """What a view would have shown since; when too many ask, only how much that was."""
        database = self._here.database
        if self._waiting >= MOST_WAITING:
            return Past([], 0, await not_looked_at(database, cursor))
        self._waiting += 1
        try:
            async with self._room:
                return await look_back(database, channel, cursor)
        finally:
            self._waiting -= 1


LIVE: web.AppKey[Live] = web.AppKey("live", Live)


def attach(app: web.Application) -> None:
    """Let people and programs watch what this application shows."""
    app[LIVE] = Live(app[SITE])
    app.cleanup_ctx.append(_beside)
    app.on_shutdown.append(_end)


async def _beside(app: web.Application) -> AsyncIterator[None]:
    live = app[LIVE]
    tasks = [
        asyncio.create_task(live.follower.run(), name="live follower"),
        asyncio.create_task(live.seats.run(), name="live seats"),
    ]
    for task in tasks:
        task.add_done_callback(_mourn)
    yield
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)


def _mourn(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s has ended", task.get_name(), exc_info=error)


async def _end(app: web.Application) -> None:
    app[LIVE].seats.end_all(Problem("unavailable", _GOODBYE, retry_after=1))


@contextlib.contextmanager
def seated(request: web.Request) -> Iterator[Seat]:
    """A seat for who asks. Problem when there is none, or a foreign page asks in his browser.

    A browser lets any page open a socket, and sends the cookies along; only the Origin tells.
    """
    who = person(request)
    origin = request.headers.get("Origin")
    if who.session is not None and origin is not None and origin != caller(request).origin:
        raise Problem("forbidden", _FOREIGN)
    seats = request.config_dict[LIVE].seats
    seat = seats.take(who, who.session or hashed(_token(request)))
    try:
        yield seat
    finally:
        seats.give_back(seat)


def _token(request: web.Request) -> str:
    """By which he came in: the guard has seen that it is good."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else request.query.get("token", "")
