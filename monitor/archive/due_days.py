"""Which days are due: closed ones for archiving, expired ones for deletion.

A day is closed when it is over by the clock, and in the journals of this machine. A tweet is kept
as long as any of its tracks requires: `tracks.keep_days`, or retention.tweets_days. A tweet without
a match is kept for retention.unmatched_days.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from stream.config import RetentionSettings
from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.journal import read_id, segments
from stream.store import ingest_log, partitions, tracks
from stream.store.partitions import day_bounds
from stream.store.tracks import OwnRetention

GRACE = timedelta(hours=1)  # after its end a day is closed


async def closed_days(
    connection: Executor, days: Iterable[date], data_dir: Path, now: datetime
) -> list[date]:
    """Select the days that get no more tweets, as far as this machine can know.

    Tweets that arrive later all the same, from another machine's journal, have the day archived
    again.
    """
    waiting = await _oldest_unstored(connection, data_dir / "journal")
    until = now if waiting is None else min(now, waiting + GRACE)
    return [day for day in days if day_bounds(day)[1] + GRACE <= until]


async def _oldest_unstored(connection: Executor, journals: Path) -> datetime | None:
    """Time of the oldest frame that is in a journal here but not in Postgres."""
    names = {read_id(path): path.parent for path in journals.glob("*/id")}
    known = [name for name in names if name is not None]
    positions = await ingest_log.positions_of(connection, known)
    times = [
        time
        for name, folder in names.items()
        if name is not None and (time := _time_at(folder, positions.get(name, 0))) is not None
    ]
    return min(times, default=None)


def _time_at(folder: Path, position: int) -> datetime | None:
    """Time of the first record at or after a position; None when there is none."""
    paths = segments.files(folder, segments.RAW, segments.COMPRESSED)
    ends = [segments.start_of(path) for path in paths[1:]]
    for index, path in enumerate(paths):
        if index < len(ends) and ends[index] <= position:
            continue
        try:
            for at, microseconds in segments.record_times(path):
                if at >= position:
                    return datetime.fromtimestamp(microseconds / 1e6, UTC)
        except (OSError, TwitterstreamError):
            continue  # trimmed or replaced at this moment: it is stored, or found next time
    return None


class ExpiredTweets(msgspec.Struct, frozen=True):
    """Which tweets of one day have expired."""

    day: date
    age: int  # whole days since the day was over
    limit: int | None  # retention.tweets_days; None: for ever
    expired: tuple[int, ...]  # tracks whose own keep_days is over
    kept: tuple[int, ...]  # and those whose own keep_days is not
    others: bool  # all other tracks
    unmatched: bool  # tweets that match no track

    @property
    def nothing(self) -> bool:
        return not (self.expired or self.others or self.unmatched)

    @property
    def rule(self) -> str:
        """Identifies what expires, so that a day is not processed twice for the same."""
        key = repr((self.expired, self.kept, self.others, self.unmatched))
        return hashlib.sha256(key.encode()).hexdigest()


def expired_tweets(
    day: date, today: date, keep: RetentionSettings, own: Sequence[OwnRetention]
) -> ExpiredTweets:
    """Tracks whose tweets of a day have expired."""
    age = (today - day).days - 1
    unmatched = keep.unmatched_days or keep.tweets_days
    # A new track changes nothing about days before it.
    tracks_then = [track for track in own if track.created_at < day_bounds(day)[1]]
    return ExpiredTweets(
        day=day,
        age=age,
        limit=keep.tweets_days or None,
        expired=tuple(track.id for track in tracks_then if track.keep_days <= age),
        kept=tuple(track.id for track in tracks_then if track.keep_days > age),
        others=0 < keep.tweets_days <= age,
        unmatched=0 < unmatched <= age,
    )


async def expired_by_day(connection: Executor, keep: RetentionSettings) -> list[ExpiredTweets]:
    """Expired tweets of every day in Postgres, oldest first."""
    own = await tracks.own_retention(connection)
    today = datetime.now(UTC).date()
    return [expired_tweets(day, today, keep, own) for day in await partitions.days(connection)]


async def is_due_as_a_whole(connection: Executor, found: ExpiredTweets) -> bool:
    """Whether all of a day has expired: no track that keeps its tweets longer has any there."""
    if not (found.others and found.unmatched):
        return False
    return not await partitions.has_matches(connection, found.day, found.kept)


async def due_as_a_whole(connection: Executor, keep: RetentionSettings) -> list[date]:
    """The days of which all has expired, oldest first."""
    found = await expired_by_day(connection, keep)
    return [each.day for each in found if await is_due_as_a_whole(connection, each)]
