"""What was measured of a machine, as series over time for the charts of the Health page."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec

from stream.cells import counts
from stream.cells.databases import Cells
from stream.db import Executor
from stream.store import machine_history, statistics
from stream.store.machine_history import Averages, FreeSpace

Span = Literal["hour", "day", "week", "month"]
SPANS: tuple[Span, ...] = get_args(Span)
MINUTE = 60  # seconds
_STEPS: Mapping[Span, tuple[timedelta, timedelta]] = {  # length of the span, and of each step
    "hour": (timedelta(hours=1), timedelta(minutes=1)),
    "day": (timedelta(days=1), timedelta(minutes=5)),
    "week": (timedelta(days=7), timedelta(hours=1)),
    "month": (timedelta(days=30), timedelta(hours=4)),
}


class Series(msgspec.Struct, frozen=True):
    """A series as charts.js draws it: a value for each of the chart's times."""

    label: str
    values: Sequence[float | None]
    unit: str | None = None


class Charts(msgspec.Struct, frozen=True):
    """All charts of one machine over one span, by the name of the chart."""

    times: Sequence[int]  # seconds since 1970, when each step begins
    charts: Mapping[str, Sequence[Series]]


async def charts(
    cells: Cells, connection: Executor, host: str, span: Span, now: datetime
) -> Charts:
    """Everything that is measured, in some hundred steps up to now.

    Of the last hour the running minute is left out: it has not been measured yet.
    """
    length, step = _STEPS[span]
    seconds = int(step.total_seconds())
    end = int(now.timestamp()) // seconds * seconds + (seconds if seconds > MINUTE else 0)
    times = range(end - int(length.total_seconds()), end, seconds)
    begins = [datetime.fromtimestamp(time, now.tzinfo) for time in times]
    measured = await machine_history.averages(connection, host, begins[0], step)
    free = await machine_history.free_space(connection, host, begins, step)
    came = await counts.source_counts(cells, connection, begins[0], step)
    tweets = {each.time.timestamp(): each.tweets for each in came.value}
    first = (await statistics.first_minute(connection) or now).timestamp()
    rates = [
        _rate(tweets.get(time, 0), min(time + seconds, now.timestamp()) - max(time, first))
        for time in times
    ]
    return Charts(
        times,
        {
            "tweets": [Series("Tweets per second", rates)],
            "disk": _free_of_volumes(times, free),
            **_measured_charts(times, measured),
        },
    )


def _rate(tweets: int, observed: float) -> float | None:
    """Tweets per second; None in a step that was observed for less than a minute."""
    return None if observed < MINUTE else round(tweets / observed, 3)


def _measured_charts(
    times: Sequence[int], measured: Sequence[Averages]
) -> Mapping[str, Sequence[Series]]:
    by_time = {each.time.timestamp(): each for each in measured}
    found = [by_time.get(time) for time in times]

    def series(field: str, label: str, unit: str) -> Series:
        values = (None if each is None else getattr(each, field) for each in found)
        return Series(label, [None if each is None else round(each, 4) for each in values], unit)

    return {
        "cpu": [series("cpu", "Average", "percent"), series("cpu_max", "Maximum", "percent")],
        "memory": [
            series("memory", "Used on the machine", "bytes"),
            series("process", "Used by the collector", "bytes"),
        ],
        "lag": [series("lag", "Age of the oldest waiting message", "seconds")],
        "waiting": [series("waiting", "Waiting in the journal", "bytes")],
        "latency": [
            series("p50", "Median", "seconds"),
            series("p99", "99th percentile", "seconds"),
        ],
        "database": [series("database", "Database", "bytes")],
    }


def _free_of_volumes(times: Sequence[int], free: Sequence[FreeSpace]) -> list[Series]:
    by_time = {(each.volume, each.time.timestamp()): each.free for each in free}
    return [
        Series(f"Free for {name}", [by_time.get((name, time)) for time in times], "bytes")
        for name in sorted({each.volume for each in free})
    ]
