"""Whose time is up in Postgres, day by day: the one reading of the settings and rows that say so.

A tweet stays as long as any of its tracks wants it: `tracks.keep_days`, or retention.tweets_days.
One without a match stays retention.unmatched_days.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime

import msgspec

from monitor.archive import days
from monitor.archive.manifest import day_bounds
from stream.config import RetentionSettings
from stream.db import Executor

_TRACKS = """
SELECT id, keep_days, created_at FROM tracks WHERE keep_days IS NOT NULL ORDER BY id
"""
_ANY = """
SELECT EXISTS (
    SELECT FROM matches
    WHERE track_id = ANY ($1::bigint[]) AND received_at >= $2 AND received_at < $3) AS some
"""


class Due(msgspec.Struct, frozen=True):
    """Whose time is up on one day."""

    day: date
    age: int  # whole days since the day was over
    limit: int | None  # retention.tweets_days; None: for ever
    over: tuple[int, ...]  # tracks with a time of their own that is up
    kept: tuple[int, ...]  # and those whose time is not
    others: bool  # all other tracks
    unmatched: bool  # tweets that match no track

    @property
    def nothing(self) -> bool:
        return not (self.over or self.others or self.unmatched)

    @property
    def rule(self) -> str:
        """What makes one thinning of the day different from another."""
        told = repr((self.over, self.kept, self.others, self.unmatched))
        return hashlib.sha256(told.encode()).hexdigest()


class OwnTime(msgspec.Struct, frozen=True):
    """A track with a time of its own."""

    id: int
    keep_days: int
    created_at: datetime


def due(day: date, today: date, keep: RetentionSettings, own: Sequence[OwnTime]) -> Due:
    """What may go of a day."""
    age = (today - day).days - 1
    unmatched = keep.unmatched_days or keep.tweets_days
    # Only tracks that were there: a new one changes nothing about days long gone.
    there = [track for track in own if track.created_at < day_bounds(day)[1]]
    return Due(
        day=day,
        age=age,
        limit=keep.tweets_days or None,
        over=tuple(track.id for track in there if track.keep_days <= age),
        kept=tuple(track.id for track in there if track.keep_days > age),
        others=0 < keep.tweets_days <= age,
        unmatched=0 < unmatched <= age,
    )


async def dues(connection: Executor, keep: RetentionSettings) -> list[Due]:
    """Of every day in Postgres, oldest first."""
    own = [OwnTime(**row) for row in await connection.fetch(_TRACKS)]
    today = datetime.now(UTC).date()
    return [due(day, today, keep, own) for day in await days.present(connection)]


async def may_go(connection: Executor, found: Due) -> bool:
    """Whether a day is due as a whole: no track that wants to keep its tweets has any there."""
    if not (found.others and found.unmatched):
        return False
    [row] = await connection.fetch(_ANY, list(found.kept), *day_bounds(found.day))
    return not row["some"]


async def whole(connection: Executor, keep: RetentionSettings) -> list[date]:
    """The days that are due as a whole, oldest first."""
    return [each.day for each in await dues(connection, keep) if await may_go(connection, each)]
