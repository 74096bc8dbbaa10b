"""Who may watch live, how many at once, and until when; and the parts that run for all of them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

from aiohttp import web

from stream.backoff import supervised
from stream.db import Database, Executor
from stream.errors import DatabaseAway
from stream.store import sharing
from stream.tweet import TrackId, UserId
from web.accounts.credentials import ACCESS_CHANGED, LOGGED_OUT, current_rights
from web.context import APP_CONTEXT, AppContext, is_foreign, person
from web.limiters import AdmissionLimiter
from web.live.broadcaster import Broadcaster
from web.live.follower import Follower
from web.person import Person
from web.problem import Problem

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 2.0  # seconds between two checks whether all may still watch
CHECK_TIMEOUT = 30.0  # seconds for one check
RETRY_AFTER = 60  # seconds after which there may be a free slot
VISIBLE_FOR = 2.0  # seconds for which an answer about visible tracks holds
CACHED_USERS_MAX = 10_000
CATCHING_UP_MAX, CATCHING_UP_QUEUE = 2, 18  # viewers; others continue from now
RESTART_DELAY = 1.0  # seconds until a background loop that failed is started again
_FULL = "Too many live connections are open: try again in a minute."
_YOURS = "You have {max} live connections open already: close one of them first."
_UNCHECKED = "Your access could not be checked: connect again."
_HIDDEN = "This track was removed, or is not shared with you any more."
_FOREIGN = "This request comes from another site."
_SHUTDOWN = "The server is shutting down, and may be back in a moment."


class ViewerSlot:
    """One live connection, and whether it was ended from here."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.tracks: frozenset[TrackId] = frozenset()  # those it watches
        self.problem: Problem | None = None
        self.ended = asyncio.Event()

    def end(self, problem: Problem) -> None:
        """End the connection; the viewer gets this problem as the reason."""
        if self.problem is None:
            self.problem = problem
            self.ended.set()


class _Visible(NamedTuple):
    tracks: frozenset[TrackId]
    at: float


class VisibleTracksCache:
    """The tracks that each user sees, as of a moment ago: read once for all their connections."""

    def __init__(self) -> None:
        self._known: dict[UserId, _Visible] = {}

    async def tracks_of(self, connection: Executor, user: UserId) -> frozenset[TrackId]:
        """All tracks that this user sees."""
        if (tracks := self.known(user)) is None:
            at = time.monotonic()
            tracks = frozenset(await sharing.visible_tracks(connection, user))
            if len(self._known) >= CACHED_USERS_MAX:
                self._known.clear()
            self._known[user] = _Visible(tracks, at)
        return tracks

    def known(self, user: UserId) -> frozenset[TrackId] | None:
        """Tracks of the user from the cache; None when they are too old."""
        known = self._known.get(user)
        is_fresh = known is not None and time.monotonic() - known.at <= VISIBLE_FOR
        return known.tracks if known is not None and is_fresh else None


class ViewerSlots:
    """All live connections of this process; ends those whose users may not watch any more."""

    def __init__(
        self,
        database: Database,
        broadcaster: Broadcaster,
        visible: VisibleTracksCache,
        slots_max: int,
        per_user_max: int,
    ) -> None:
        self._visible = visible
        self._database = database
        self._broadcaster = broadcaster
        self._slots: set[ViewerSlot] = set()
        self._all = AdmissionLimiter(slots_max)
        self._by_user = AdmissionLimiter(per_user_max)
        self._taken = asyncio.Event()

    @contextlib.asynccontextmanager
    async def take(self, person: Person) -> AsyncIterator[ViewerSlot]:
        """Hold a slot. Problem when there is none."""
        full = Problem("too_many", _FULL, retry_after=RETRY_AFTER)
        yours = Problem(
            "too_many", _YOURS.format(max=self._by_user.running), retry_after=RETRY_AFTER
        )
        async with self._all.admit(full), self._by_user.admit(yours, person.id):
            slot = ViewerSlot(person)
            self._slots.add(slot)
            self._taken.set()
            try:
                yield slot
            finally:
                self._slots.discard(slot)

    def end_all(self, problem: Problem) -> None:
        for slot in self._slots:
            slot.end(problem)

    async def run(self) -> None:
        """Check repeatedly whether viewers may still watch, until cancelled."""
        while True:
            if not self._slots:
                self._taken.clear()
                await self._taken.wait()
            await asyncio.sleep(CHECK_INTERVAL)
            await self._check_or_end()

    async def _check_or_end(self) -> None:
        """End all when the check fails, except while the database is away.

        An outage of the database ends no connection: nothing new can be read until it is over.
        """
        try:
            async with asyncio.timeout(CHECK_TIMEOUT), self._database.acquire() as connection:
                await self._check(connection)
        except DatabaseAway as error:
            logger.info("access of live viewers cannot be checked", extra={"why": str(error)})
        except Exception:
            logger.exception("access of live viewers cannot be checked: all their connections end")
            self.end_all(Problem("unavailable", _UNCHECKED, retry_after=1))

    async def _check(self, connection: Executor) -> None:
        # Only the slots of before the query: its answer says nothing about later ones.
        slots = list(self._slots)
        rights = await current_rights(connection, [each.person for each in slots])
        _end_where(
            slots, lambda slot: slot.person.key not in rights, Problem("login_needed", LOGGED_OUT)
        )
        # A view is as wide as its user's rights were when it began. The code is not final: a viewer
        # that connects again has the new rights.
        _end_where(
            slots,
            lambda slot: rights.get(slot.person.key) != slot.person.rights,
            Problem("unavailable", ACCESS_CHANGED, retry_after=1),
        )
        pairs = {(each.person.id, track) for each in slots for track in each.tracks}
        hidden = pairs - await sharing.still_visible(connection, pairs)
        _end_where(
            slots,
            lambda slot: any((slot.person.id, track) in hidden for track in slot.tracks),
            Problem("not_found", _HIDDEN, field="track"),
        )
        for channel in list(self._broadcaster.channels):
            if channel.subscription.within is not None:
                channel.scope = await self._visible.tracks_of(
                    connection, channel.subscription.within
                )


def _end_where(
    slots: Iterable[ViewerSlot], is_wrong: Callable[[ViewerSlot], bool], problem: Problem
) -> None:
    for slot in filter(is_wrong, slots):
        slot.end(problem)


class Live:
    """What one running application needs for live viewers."""

    def __init__(self, here: AppContext) -> None:
        self.database = here.database
        self.cells = here.cells
        self.follower = Follower(here.cells)
        self.visible = VisibleTracksCache()
        self.slots = ViewerSlots(
            here.database,
            self.follower.broadcaster,
            self.visible,
            here.settings.web.max_live_connections,
            here.settings.web.max_live_per_user,
        )
        self.catching_up = AdmissionLimiter(CATCHING_UP_MAX, CATCHING_UP_QUEUE)


LIVE: web.AppKey[Live] = web.AppKey("live", Live)


def attach(app: web.Application) -> None:
    """Let people and programs watch what this application stores."""
    app[LIVE] = Live(app[APP_CONTEXT])
    app.cleanup_ctx.append(_background)
    app.on_shutdown.append(_end)


async def _background(app: web.Application) -> AsyncIterator[None]:
    """Run the loops of live views while the application runs."""
    live = app[LIVE]
    loops = {"live follower": live.follower.run, "live access checks": live.slots.run}
    tasks = [
        asyncio.create_task(supervised(name, loop, RESTART_DELAY), name=name)
        for name, loop in loops.items()
    ]
    yield
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end(app: web.Application) -> None:
    app[LIVE].slots.end_all(Problem("unavailable", _SHUTDOWN, retry_after=1))


@contextlib.asynccontextmanager
async def viewer_slot(request: web.Request) -> AsyncIterator[ViewerSlot]:
    """A slot for this request. Problem when there is none, or another site opened the connection.

    Browsers let any page open a WebSocket, and send our cookies along: only Origin shows whose it
    is.
    """
    who = person(request)
    if who.session is not None and is_foreign(request):
        raise Problem("forbidden", _FOREIGN)
    async with request.config_dict[LIVE].slots.take(who) as slot:
        yield slot
