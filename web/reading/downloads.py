"""Tweets as a file that is written while it is taken: only so many at once.

Whoever opens many and reads none of them shall cost the others nothing.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator

from aiohttp import web

from web.person import UserId
from web.problem import Problem
from web.reading import export, tweets
from web.reading.cursors import Order
from web.reading.export import Format
from web.reading.tweets import Wanted
from web.site import site

MOST = 16  # downloads at once
MOST_OF_ONE = 4  # of one user
AT_ONCE = 2  # of them that read from the database; the pages need its connections, too
RETRY = 10  # seconds after which there may be room
_FULL = "So many download already that there is no room now: try again in a moment."
_YOURS = "You have {most} downloads running already: wait until one of them is done, or end one."


class Downloads:
    """Those of this copy of the program."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(AT_ONCE)
        self._of_user: Counter[UserId] = Counter()

    @contextlib.contextmanager
    def room(self, user: UserId) -> Iterator[None]:
        """For one more. Problem when there is none."""
        if self._of_user[user] >= MOST_OF_ONE:
            raise Problem("too_many", _YOURS.format(most=MOST_OF_ONE), retry_after=RETRY)
        if self._of_user.total() >= MOST:
            raise Problem("too_many", _FULL, retry_after=RETRY)
        self._of_user[user] += 1
        try:
            yield
        finally:
            self._of_user[user] -= 1
            self._of_user += Counter()  # forget who has none


_DOWNLOADS: web.AppKey[Downloads] = web.AppKey("downloads", Downloads)


def install(app: web.Application) -> None:
    """Count the downloads from this application."""
    app[_DOWNLOADS] = Downloads()


async def send(
    request: web.Request,
    wanted: Wanted,
    form: Format,
    *,
    order: Order = "newest",
    name: str | None = None,
    limit: int | None = None,
) -> web.StreamResponse:
    """Answer with all of them. Problem when too many do so already."""
    downloads = request.config_dict[_DOWNLOADS]
    with downloads.room(wanted.person.id):
        batches = tweets.every(site(request).database, wanted, downloads.turn, order)
        async with contextlib.aclosing(batches):
            return await export.send(request, batches, form, name, limit)
