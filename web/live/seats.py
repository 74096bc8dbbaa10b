"""Who is let in to watch, how many at once, and until when."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable

from stream.db import Database, Executor
from stream.errors import TwitterstreamError
from stream.tweet import TrackId
from web.accounts import sessions, tokens
from web.live.audience import Audience
from web.person import Person, UserId
from web.problem import Problem
from web.reading import watched

logger = logging.getLogger(__name__)

CHECK_EVERY = 2.0  # seconds between two looks whether everybody may still watch
SHARE = 4  # of all seats, one user has at most one in so many
_FULL = "So many watch already that there is no room now: try again in a minute."
_YOURS = "You watch in so many places already ({most}) that there is no room for another one."
_LOGGED_OUT = "You are logged out, or this token is not valid any more."
_CHANGED = "What you may see was changed: connect again."
_NOT_SEEN = "There is no such track any more, or it is not shared with you any more."


class Seat:
    """One connection that watches. `key`: the hash of the session or token that opened it."""

    def __init__(self, person: Person, key: bytes) -> None:
        self.person = person
        self.key = key
        self.tracks: frozenset[TrackId] = frozenset()  # those it watches
        self.problem: Problem | None = None
        self.over = asyncio.Event()

    def end(self, problem: Problem) -> None:
        """Whoever sits there is told why, and goes."""
        if self.problem is None:
            self.problem = problem
            self.over.set()


class Seats:
    """All seats of this copy of the program."""

    def __init__(self, database: Database, audience: Audience, most: int) -> None:
        self.most = most
        self.most_of_one = max(1, most // SHARE)
        self._database = database
        self._audience = audience
        self._seats: set[Seat] = set()
        self._of_user: Counter[UserId] = Counter()
        self._taken = asyncio.Event()

    @property
    def taken(self) -> int:
        return len(self._seats)

    def take(self, person: Person, key: bytes) -> Seat:
        """Problem when there is none."""
        if len(self._seats) >= self.most:
            raise Problem("too_many", _FULL, retry_after=60)
        if self._of_user[person.id] >= self.most_of_one:
            raise Problem("too_many", _YOURS.format(most=self.most_of_one), retry_after=60)
        seat = Seat(person, key)
        self._seats.add(seat)
        self._of_user[person.id] += 1
        self._taken.set()
        return seat

    def give_back(self, seat: Seat) -> None:
        self._seats.discard(seat)
        self._of_user[seat.person.id] -= 1
        self._of_user += Counter()  # forget who has none

    def end_all(self, problem: Problem) -> None:
        for seat in self._seats:
            seat.end(problem)

    async def run(self) -> None:
        """Until cancelled: see whether those who watch still may."""
        while True:
            if not self._seats:
                self._taken.clear()
                await self._taken.wait()
            await asyncio.sleep(CHECK_EVERY)
            try:
                async with self._database.acquire() as connection:
                    await self._check(connection)
            except TwitterstreamError as error:
                logger.info("who may watch cannot be asked now", extra={"why": str(error)})

    async def _check(self, connection: Executor) -> None:
        seats = list(self._seats)
        by_session = {each.key for each in seats if each.person.session is not None}
        by_token = {each.key for each in seats if each.person.session is None}
        alive = await sessions.alive(connection, by_session) if by_session else {}
        alive |= await tokens.alive(connection, by_token) if by_token else {}
        # Only those of before the question: of whoever came since, the answer says nothing.
        _end_where(seats, lambda seat: seat.key not in alive, Problem("login_needed", _LOGGED_OUT))
        # A view is as wide as its person's rights were when it began. Not of the final codes: who
        # comes again has the view that is his now.
        _end_where(
            seats,
            lambda seat: alive.get(seat.key) != seat.person.rights,
            Problem("unavailable", _CHANGED, retry_after=1),
        )
        pairs = {(each.person.id, track) for each in seats for track in each.tracks}
        seen = await watched.still_seen(connection, pairs)
        gone = pairs - seen
        _end_where(
            seats,
            lambda seat: any((seat.person.id, track) in gone for track in seat.tracks),
            Problem("not_found", _NOT_SEEN, field="track"),
        )
        for channel in list(self._audience.channels):
            if channel.view.within is not None:
                channel.scope = await watched.tracks_of(connection, channel.view.within)


def _end_where(seats: Iterable[Seat], is_wrong: Callable[[Seat], bool], problem: Problem) -> None:
    for seat in filter(is_wrong, seats):
        seat.end(problem)
