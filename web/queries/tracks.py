"""The list of tracks, and their counts, by the days of the user's own time zone."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from stream.cells import counts
from stream.cells.counts import Sum
from stream.cells.databases import Cells
from stream.db import Executor
from stream.query import TrackKind
from stream.store import track_list
from stream.store.statistics import Step
from stream.store.track_list import ALL_TRACKS, DayStart, TrackFilter, TrackSummary, TrackTotals
from stream.tweet import TrackId
from web.local_time import UTC_ZONE, midnight
from web.person import Person

STEP_LENGTHS: dict[Step, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}


def next_hour(moment: datetime) -> datetime:
    """The first whole hour of UTC that is not before this moment."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return hour if hour == moment else hour + STEP_LENGTHS["hour"]


async def tweets_by_day(
    cells: Cells,
    connection: Executor,
    track_ids: Sequence[TrackId],
    begins: Sequence[datetime],
    end: datetime,
) -> list[int]:
    """Tweets of these tracks together, of days that begin at these times; the last ends at `end`.

    By hours, and by minutes where a day begins within an hour (as it does in India). Where the
    minutes have expired, the hour belongs to the day in which it begins.
    """
    tweets = [0] * len(begins)
    hours = await counts.track_counts(cells, connection, track_ids, "hour", begins[0], end)
    for each in hours.value:
        tweets[bisect_right(begins, each.time) - 1] += each.tweets
    split = [begin for begin in begins if next_hour(begin) != begin]
    rest = await counts.counts_in_rest_of_hour(cells, connection, track_ids, split)
    for each in rest.value:
        # The hour was counted for the day before, or (the very first) not at all.
        day = bisect_right(begins, each.time) - 1
        tweets[day] += each.tweets
        if day:
            tweets[day - 1] -= each.tweets
    return tweets


async def overview(
    cells: Cells,
    connection: Executor,
    person: Person,
    wanted: TrackFilter = ALL_TRACKS,
    zone: ZoneInfo = UTC_ZONE,
) -> Sum[list[TrackSummary]]:
    """The tracks that the user sees, one page of them; today is the day of this zone."""
    return await counts.overview(cells, connection, person.id, wanted, day_start(zone))


async def totals(
    cells: Cells, connection: Executor, track_id: TrackId, zone: ZoneInfo
) -> TrackTotals:
    """How many tweets a track has; today is the day of this zone."""
    return await counts.totals(cells, connection, track_id, day_start(zone))


def day_start(zone: ZoneInfo) -> DayStart:
    began = midnight(datetime.now(UTC), zone)
    return DayStart(began, next_hour(began))


def normalized(value: str) -> str:
    """Normalize a track's value: spaces and capital letters make no difference."""
    return " ".join(value.lower().split())


async def known_values(connection: Executor, person: Person, kind: TrackKind) -> set[str]:
    """The normalized values of all tracks of this kind that the user sees."""
    return {normalized(value) for value in await track_list.values(connection, person.id, kind)}
