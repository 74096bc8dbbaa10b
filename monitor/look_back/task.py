"""One look-back: matches messages, and commits what it finds together with how far it has come."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from monitor.look_back import store_found
from monitor.look_back.gathered import Gathered, Keep
from monitor.look_back.gone import Gone
from monitor.look_back.slices import JSON, Slices
from monitor.look_back.store_found import Target
from monitor.look_back.track_matcher import digest, networks_of
from stream.batch import ControlItem
from stream.config import Settings
from stream.db import Database, Executor
from stream.errors import RowRefused
from stream.incoming_tweets import StorePolicy
from stream.keys import to_datetime
from stream.matcher import Matcher
from stream.networks.registry import NETWORKS
from stream.store import look_back_queue, look_back_rows, sources
from stream.store.look_back_queue import LookedTrack, Step
from stream.store.look_back_rows import Added
from stream.store.look_backs import EARLIEST, RETRYING, LookBack
from stream.store.rollups import CountChanges
from stream.store.sources import SourceRow
from stream.store.tweets import IncomingTweet
from stream.text import sentence
from stream.tweet import NetworkName

CHECK_INTERVAL = 0.5  # seconds between two checks that it may go on
_TIME = "%Y-%m-%d %H:%M UTC"

Work: TypeAlias = Callable[[Executor, CountChanges], Awaitable[Added]]


class Ended(Exception):
    """It was cancelled, widened, or removed with its track, or another process does it.

    Or another user is next: then it waits for its turn.
    """


class Edited(Exception):
    """The track was edited: the look-back begins again."""


class SourceDisabled(Exception):
    """The look-back uses a source that is disabled, and waits until one is enabled again."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The source {name} is disabled. This continues when it is enabled.")


class State(msgspec.Struct, frozen=True):
    """The column `resume_at`: the track as it is looked for, and where to continue."""

    track: str  # see `digest`
    at: JSON = None
    notes: Sequence[str] = ()  # sentences about what is missing so far
    transaction: int = 0  # what was found was added by this one or later ones


_decode = msgspec.json.Decoder(State).decode


class Task:
    """A look-back that runs, for the track as it was when it began."""

    def __init__(
        self, database: Database, settings: Settings, row: LookBack, track: LookedTrack
    ) -> None:
        self.database = database
        self.settings = settings
        self.row = row
        self.track = track
        self.networks: Sequence[NetworkName] = networks_of(track)
        self.matcher = Matcher()
        self.digest = digest(track)
        self.resume_at = row.resume_at
        self.transaction = 0  # see State; known when it has begun
        self.source: SourceRow | None = None  # whose connection is used
        self.gone = Gone()
        self.notes: dict[str, None] = {}  # sentences for `reason`, in order
        self.turn_over: Callable[[], Awaitable[bool]] | None = None  # asked after each commit
        self._retry = ""  # a sentence for `reason` while it lasts
        self._works_since = time.monotonic()
        self._shown = row.reason
        if (state := self._state) is not None:
            self.notes.update(dict.fromkeys(state.notes))

    @property
    def _state(self) -> State | None:
        """None: it begins from the start, as when the track or, by psql, the column was changed."""
        try:
            state = None if self.resume_at is None else _decode(self.resume_at)
        except msgspec.DecodeError:
            return None
        return state if state is not None and state.track == self.digest else None

    @property
    def at(self) -> JSON:
        """Where to continue."""
        return None if (state := self._state) is None else state.at

    @property
    def since(self) -> int:
        """Microseconds since 1970; 0: as far as there is. Not before the start of the track."""
        times = [each for each in (self.row.since, self.track.starts_at) if each is not None]
        return round(max(times).timestamp() * 1e6) if times else 0

    @property
    def reason(self) -> str:
        return " ".join([*self.notes, *filter(None, [self._retry])])

    def note_pause(self) -> None:
        """The time until now was spent waiting, and does not count as work."""
        self._works_since = time.monotonic()

    def note_retry(self, why: str) -> None:
        """Why the network is retried at the moment; empty: it is read."""
        if self._retry:
            self.note_pause()
        self._retry = f"{sentence(why)} {RETRYING}" if why else ""

    def note(self, sentence: str) -> None:
        """Add a sentence to the reason, once."""
        self.notes[sentence] = None

    def has_nothing(self, since: int) -> bool:
        """Whether no post from then on, in microseconds since 1970, can belong to the track.

        Notes what its start and end leave out.
        """
        now, begin = datetime.now(UTC), to_datetime(since)
        starts_at, ends_at = self.track.starts_at, self.track.ends_at
        if starts_at is not None and starts_at > now:
            self.note(f"Nothing can be found: the track starts at {starts_at:{_TIME}}.")
            return True
        if ends_at is not None and ends_at <= begin:
            self.note(
                f"Nothing can be found: the track ended at {ends_at:{_TIME}}, and what can be"
                f" searched begins at {begin:{_TIME}}."
            )
            return True
        if starts_at is not None and starts_at > (self.row.since or EARLIEST):
            self.note(f"Only posts from the track's start on count: {starts_at:{_TIME}}.")
        if ends_at is not None and ends_at <= now:
            self.note(f"Only posts until the track's end count: {ends_at:{_TIME}}.")
        return False

    async def begin(self) -> None:
        """Begin, or begin again for an edited track; otherwise it continues."""
        async with self.database.acquire() as connection:
            following = await look_back_rows.next_transaction(connection)
            if self._state is not None:
                # A restored backup has a number of another server, which may be greater.
                self.transaction = min(self._state.transaction or following, following)
                return
            self.transaction = following
            self.resume_at = msgspec.json.encode(State(self.digest, transaction=following))
            await look_back_queue.begin_again(connection, self.row.id, self.resume_at)

    async def check(self) -> None:
        """Show the present reason; Ended when it was cancelled or removed, SourceDisabled."""
        async with self.database.acquire() as connection:
            if not await look_back_queue.is_running(connection, self.row.id):
                raise Ended
            if self.reason != self._shown:
                self._shown = self.reason
                await look_back_queue.note_reason(connection, self.row.id, self.reason)
            if self.source is not None:
                source = await sources.by_id(connection, self.source.id)
                if source is None or not source.enabled:
                    raise SourceDisabled(self.source.name)

    async def commit(self, at: JSON, progress: float | None, looked: int, work: Work) -> None:
        """Do the work, and note that it has come so far; Ended, Edited."""
        state = State(self.digest, at, list(self.notes), self.transaction)
        resume_at = msgspec.json.encode(state)
        now = time.monotonic()
        step = Step(resume_at, progress, looked, now - self._works_since, self.reason)
        async with self.database.transaction() as connection:
            track = await look_back_queue.lock_track(connection, self.row.track_id)
            if track is None:
                raise Ended
            if digest(track) != self.digest:
                raise Edited
            if not await look_back_queue.advance(connection, self.row, self.resume_at, step):
                raise Ended
            track_counts = CountChanges()
            added = await work(connection, track_counts)
            await track_counts.save(connection)
            if added.found or added.stored:
                await look_back_queue.add_result(connection, self.row.id, added.found, added.stored)
        self.resume_at, self._shown, self._works_since = resume_at, step.reason, now
        if self.turn_over is not None and await self.turn_over():
            raise Ended

    # -- messages ---------------------------------------------------------------------------------

    async def look_through(
        self,
        slices: Slices,
        *,
        at_original_time: bool,
        applies_accounts: bool,
        keep: Keep | None = None,
    ) -> None:
        """Look through messages, and store the posts that match, except those not to `keep`.

        Posts that are known to be `gone` are left out.
        """
        gathered: Gathered | None = None
        async with aclosing(self._watched(slices)) as watched:
            async for each in watched:
                if gathered is not None and gathered.source_id != each.source_id:
                    await self._store(gathered)
                    gathered = None
                if gathered is None:
                    target = self._target(each.network, at_original_time, applies_accounts)
                    gathered = Gathered(
                        each.source_id,
                        target,
                        self.matcher,
                        self.gone,
                        self.settings.max_frame_bytes,
                    )
                gathered.add(each, keep)
                if each.note:
                    self.note(sentence(each.note))
                if gathered.is_complete:
                    await self._store(gathered)
                    gathered = None
        if gathered is not None:
            await self._store(gathered)

    def _target(
        self, network: NetworkName, at_original_time: bool, applies_accounts: bool
    ) -> Target:
        policy = StorePolicy(
            network=network,
            keep_unmatched=False,
            erase=self.settings.deletions == "erase",
            respect_opt_out=self.settings.mastodon.respect_opt_out,
            names_authors=NETWORKS[network].looks_up_handle is not None,
            look_back=True,
        )
        keep_days = self.track.keep_days or self.settings.retention.tweets_days or None
        return Target(
            self.row.track_id,
            policy,
            self.row.started_at or self.row.requested_at,
            self.transaction,
            keep_days,
            at_original_time=at_original_time,
            applies_accounts=applies_accounts,
            until=self.track.ends_at if at_original_time else None,
        )

    async def _watched(self, slices: Slices) -> Slices:
        """These slices; checked now and then, also while the next one is awaited."""
        check_at = 0.0
        try:
            while True:
                following = asyncio.ensure_future(anext(slices))
                try:
                    while not (await asyncio.wait([following], timeout=CHECK_INTERVAL))[0]:
                        await self.check()
                    if time.monotonic() >= check_at:
                        await self.check()
                        check_at = time.monotonic() + CHECK_INTERVAL
                    each = following.result()
                except StopAsyncIteration:
                    return
                finally:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
                yield each
        finally:
            await slices.aclose()

    async def _store(self, gathered: Gathered) -> None:
        """Store what was gathered; where Postgres refuses a post, all the others.

        Each has a transaction of its own then, and what changes posts follows: a transaction that
        stored one after the other would not lock rows in order.
        """
        arrivals, items = gathered.batch.arrivals, gathered.batch.control_items
        try:
            await self._store_some(gathered, arrivals, items)
        except RowRefused:
            for arrival in arrivals:
                try:
                    await self._store_some(gathered, [arrival], None)
                except RowRefused as error:
                    self.note(f"A post cannot be stored: {error}.")
            await self._store_some(gathered, [], items)

    async def _store_some(
        self,
        gathered: Gathered,
        arrivals: Sequence[IncomingTweet],
        items: Sequence[ControlItem] | None,
    ) -> None:
        """Store some of what was gathered; `items` None: and it begins there when it continues."""
        batch = gathered.batch
        batch.arrivals, batch.control_items = list(arrivals), list(items or ())
        at, looked = (self.at, 0) if items is None else (gathered.at, gathered.looked)
        await self.commit(
            at,
            gathered.progress,
            looked,
            lambda connection, track_counts: store_found.store(
                connection, batch, gathered.gone, gathered.target, track_counts
            ),
        )
