"""Which days are over: in time, and in the journals of this machine."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from monitor.archive.manifest import day_bounds
from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.journal import segments

SETTLED = timedelta(hours=1)  # after its end a day counts as over

_POSITIONS = "SELECT journal, position FROM positions WHERE journal = ANY ($1::uuid[])"


async def closed(
    connection: Executor, days: Iterable[date], data_dir: Path, now: datetime
) -> list[date]:
    """Those of these days to which nothing more will come, as far as can be known.

    What comes later all the same (from another machine's journal) has the day archived again.
    """
    waiting = await _oldest_unstored(connection, data_dir / "journal")
    until = now if waiting is None else min(now, waiting + SETTLED)
    return [day for day in days if day_bounds(day)[1] + SETTLED <= until]


async def _oldest_unstored(connection: Executor, journals: Path) -> datetime | None:
    """When the oldest frame was received that is in a journal here and not in Postgres."""
    names = {_identity(path): path.parent for path in journals.glob("*/id")}
    rows = await connection.fetch(_POSITIONS, [name for name in names if name is not None])
    positions = {row["journal"]: row["position"] for row in rows}
    times = [
        time
        for name, folder in names.items()
        if name is not None and (time := _time_at(folder, positions.get(name, 0))) is not None
    ]
    return min(times, default=None)


def _identity(path: Path) -> uuid.UUID | None:
    try:
        return uuid.UUID(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def _time_at(folder: Path, position: int) -> datetime | None:
    """When the first record at or behind a position was received; None when there is none."""
    paths = sorted(folder.glob(f"*{segments.RAW}*"), key=segments.start_of)
    ends = [segments.start_of(path) for path in paths[1:]]
    for index, path in enumerate(paths):
        if index < len(ends) and ends[index] <= position:
            continue
        try:
            for at, microseconds in _records(path):
                if at >= position:
                    return datetime.fromtimestamp(microseconds / 1e6, UTC)
        except (OSError, TwitterstreamError):
            continue  # trimmed or exchanged at this moment: then it is stored, or seen next time
    return None


def _records(path: Path) -> Iterator[tuple[int, int]]:
    """Position and time of each record of a segment."""
    at = segments.start_of(path)
    with segments.open_segment(path) as file:
        while len(header := segments.read(file, segments.HEADER.size, path)) == (
            segments.HEADER.size
        ):
            length, _, stamp = segments.HEADER.unpack(header)
            if length > segments.MAX_BODY:
                return
            yield at, stamp & segments.TIME_MASK
            segments.read(file, length, path)
            at += segments.HEADER.size + length
