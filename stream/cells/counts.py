"""Counts of all cells, added: each cell keeps those of the tweets that it stores."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from stream.cells.databases import Answers, Cells
from stream.db import Executor
from stream.store import rollups, source_list, statistics, top_items, track_list, tracks
from stream.store.lanes import HOME
from stream.store.source_list import SourceSummary
from stream.store.statistics import Count, IngestRate, Step
from stream.store.top_items import ASPECTS, Aspect, Span, TopItem
from stream.store.track_list import (
    DayStart,
    TrackFilter,
    TrackNumbers,
    TrackSummary,
    TrackTotals,
)
from stream.store.tracks import NO_COUNTS, TrackCounts
from stream.tweet import SourceId, TrackId, UserId

T = TypeVar("T")

# Each cell is asked for so many times as many top items: what is frequent in all is not far down in
# any, as tweets are shared by the hash of their ids.
_DEEPER = 4


class Sum(msgspec.Struct, Generic[T], frozen=True):
    """Counts of all cells together, without those that did not answer."""

    value: T
    missing: tuple[str, ...] = ()


async def track_counts(
    cells: Cells,
    connection: Executor,
    track_ids: Sequence[TrackId],
    step: Step,
    begin: datetime,
    end: datetime,
) -> Sum[list[Count]]:
    """As `statistics.track_counts`."""
    return _added(
        await cells.ask(
            connection,
            lambda own, _: statistics.track_counts(own, track_ids, step, begin, end),
        )
    )


async def counts_in_rest_of_hour(
    cells: Cells, connection: Executor, track_ids: Sequence[TrackId], times: Sequence[datetime]
) -> Sum[list[Count]]:
    """As `statistics.counts_in_rest_of_hour`."""
    return _added(
        await cells.ask(
            connection, lambda own, _: statistics.counts_in_rest_of_hour(own, track_ids, times)
        )
    )


async def source_counts(
    cells: Cells, connection: Executor, begin: datetime, step: timedelta
) -> Sum[list[Count]]:
    """As `statistics.source_counts`."""
    return _added(
        await cells.ask(connection, lambda own, _: statistics.source_counts(own, begin, step))
    )


def _added(answers: Answers[list[Count]]) -> Sum[list[Count]]:
    lists = list(answers.by_cell.values())
    if len(lists) == 1:
        return Sum(lists[0], answers.missing)
    tweets: Counter[datetime] = Counter()
    for counts in lists:
        for each in counts:
            tweets[each.time] += each.tweets
    return Sum([Count(time, tweets[time]) for time in sorted(tweets)], answers.missing)


async def ingest_rate(cells: Cells, connection: Executor) -> Sum[IngestRate]:
    """As `statistics.ingest_rate`; home knows which sources are connected."""
    answers = await cells.ask(connection, lambda own, _: statistics.ingest_rate(own))
    found = answers.by_cell.values()
    rate = msgspec.structs.replace(
        answers.by_cell[HOME],
        tweets=sum(each.tweets for each in found),
        sources=max(each.sources for each in found),
    )
    return Sum(rate, answers.missing)


async def source_overview(cells: Cells, connection: Executor) -> Sum[list[SourceSummary]]:
    """As `source_list.overview`; home knows states and gaps."""
    answers = await cells.ask(connection, lambda own, _: source_list.overview(own))
    added: dict[int, list[SourceSummary]] = {}
    for found in answers.by_cell.values():
        for each in found:
            added.setdefault(each.id, []).append(each)
    summaries = [
        msgspec.structs.replace(
            each,
            per_minute=sum(part.per_minute for part in added[each.id]),
            last_hour=sum(part.last_hour for part in added[each.id]),
            last_day=sum(part.last_day for part in added[each.id]),
            rejected=sum(part.rejected for part in added[each.id]),
        )
        for each in answers.by_cell[HOME]
    ]
    return Sum(summaries, answers.missing)


class FrameTotals(msgspec.Struct, frozen=True):
    """The frames of a source by outcome: in total, and of the last five minutes."""

    frames: Counter[str]
    recent: Counter[str]


async def frame_totals(
    cells: Cells, connection: Executor, source_ids: Sequence[SourceId]
) -> Sum[dict[SourceId, FrameTotals]]:
    """As `rollups.frame_totals`, of several sources."""

    async def read(own: Executor, _: str) -> list[tuple[SourceId, str, int, int]]:
        return [
            (each, row["outcome"], row["frames"], row["recent"])
            for each in source_ids
            for row in await rollups.frame_totals(own, each)
        ]

    answers = await cells.ask(connection, read)
    totals = {each: FrameTotals(Counter(), Counter()) for each in source_ids}
    for found in answers.by_cell.values():
        for source_id, outcome, frames, recent in found:
            totals[source_id].frames[outcome] += frames
            totals[source_id].recent[outcome] += recent
    return Sum(totals, answers.missing)


# -- tracks ---------------------------------------------------------------------------------------


async def all_tracks(cells: Cells, connection: Executor) -> Sum[dict[TrackId, TrackCounts]]:
    """As `tracks.counts`."""
    answers = await cells.ask(connection, lambda own, _: tracks.counts(own))
    added: dict[TrackId, TrackCounts] = {}
    for found in answers.by_cell.values():
        for track_id, each in found.items():
            before = added.get(track_id, NO_COUNTS)
            times = [time for time in (before.last_at, each.last_at) if time is not None]
            added[track_id] = TrackCounts(
                before.total + each.total,
                before.last_hour + each.last_hour,
                before.last_day + each.last_day,
                before.usual_hour + each.usual_hour,
                max(times, default=None),
            )
    return Sum(added, answers.missing)


async def totals(
    cells: Cells, connection: Executor, track_id: TrackId, day: DayStart
) -> TrackTotals:
    """As `track_list.totals`."""
    answers = await cells.ask(connection, lambda own, _: track_list.totals(own, track_id, day))
    found = list(answers.by_cell.values())
    return TrackTotals(
        sum(each.last_minute for each in found),
        sum(each.last_hour for each in found),
        sum(each.today for each in found),
        sum(each.total for each in found),
        min((each.first_at for each in found if each.first_at is not None), default=None),
    )


async def overview(
    cells: Cells, connection: Executor, user_id: UserId, wanted: TrackFilter, day: DayStart
) -> Sum[list[TrackSummary]]:
    """As `track_list.overview`."""
    if not cells.others:
        return Sum(await track_list.overview(connection, user_id, wanted, day))
    order: list[TrackId] | None = None
    if wanted.sort in track_list.SORTED_BY_COUNTS:
        order = await _order(cells, connection, user_id, wanted, day)
        wanted = TrackFilter(ids=order)
    found = await track_list.overview(connection, user_id, wanted, day)
    ids = [each.id for each in found]
    answers = await cells.ask(
        connection, lambda own, _: track_list.numbers(own, ids, day), cells.others
    )
    summaries = [_with_numbers(each, answers.by_cell.values()) for each in found]
    if order is not None:
        places = {track_id: place for place, track_id in enumerate(order)}
        summaries.sort(key=lambda each: places[each.id])
    return Sum(summaries, answers.missing)


async def _order(
    cells: Cells, connection: Executor, user_id: UserId, wanted: TrackFilter, day: DayStart
) -> list[TrackId]:
    """The tracks of a page, of a list that is sorted by their counts in all cells."""
    ids = await track_list.ids(connection, user_id, wanted)
    answers = await cells.ask(
        connection, lambda own, _: track_list.sort_keys(own, ids, wanted.sort, day)
    )
    keys = dict.fromkeys(ids, 0.0)
    for found in answers.by_cell.values():
        for track_id, key in found.items():
            before = keys[track_id]
            keys[track_id] = max(before, key) if wanted.sort == "last" else before + key
    in_order = sorted(ids, key=lambda track_id: (-keys[track_id], -track_id))
    return in_order[wanted.offset :][: wanted.limit]


def _with_numbers(
    track: TrackSummary, others: Iterable[dict[TrackId, TrackNumbers]]
) -> TrackSummary:
    found = [numbers[track.id] for numbers in others if track.id in numbers]
    times = [track.last_at, *(each.last_at for each in found)]
    minutes = [track.minutes, *(each.minutes for each in found)]
    return msgspec.structs.replace(
        track,
        last_minute=track.last_minute + sum(each.last_minute for each in found),
        today=track.today + sum(each.today for each in found),
        total=track.total + sum(each.total for each in found),
        last_at=max((time for time in times if time is not None), default=None),
        minutes=[sum(some) for some in zip(*minutes, strict=True)],
    )


async def most_frequent_by_aspect(
    cells: Cells,
    connection: Executor,
    track_id: TrackId,
    span: Span,
    limit: int,
    aspects: Sequence[Aspect] = ASPECTS,
) -> Sum[dict[Aspect, list[TopItem]]]:
    """As `top_items.most_frequent_by_aspect`."""
    depth = limit * _DEEPER if cells.others else limit
    answers = await cells.ask(
        connection,
        lambda own, _: top_items.most_frequent_by_aspect(own, track_id, span, depth, aspects),
    )
    lists = list(answers.by_cell.values())
    if len(lists) == 1:
        found = {aspect: items[:limit] for aspect, items in lists[0].items()}
    else:
        found = {
            aspect: _most_frequent([each for tops in lists for each in tops[aspect]], limit)
            for aspect in aspects
        }
    return Sum(found, answers.missing)


def _most_frequent(items: Sequence[TopItem], limit: int) -> list[TopItem]:
    names = {each.item: each.name for each in items if each.name is not None}
    tweets: Counter[str] = Counter()
    for each in items:
        tweets[each.item] += each.tweets
    in_order = sorted(tweets.items(), key=lambda each: (-each[1], each[0]))
    return [TopItem(item, number, names.get(item)) for item, number in islice(in_order, limit)]
