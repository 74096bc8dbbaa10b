"""The lanes table: the parts of a source that are stored by writers of their own.

The first lane in the home database is the source itself, and has no row.
"""

from collections.abc import Sequence

import msgspec

from stream.db import Executor
from stream.tweet import LaneId, SourceId

HOME = ""  # the name of the database that has sources and tracks, as a cell
# Seconds from when the first collector knows a new cell until it takes posts: by then the other
# collectors have to know it, too.
JOIN_AFTER = 600.0

_ALL = "SELECT id, source_id, cell, number FROM lanes ORDER BY id"
_CELLS = "SELECT id, cell FROM lanes UNION ALL SELECT id, '' FROM sources"
_ADD = """
INSERT INTO lanes (source_id, cell, number, takes_from)
SELECT $1, cell, number, CASE WHEN cell <> '' AND EXISTS (SELECT FROM positions)
    THEN now() + make_interval(secs => $4) ELSE 'epoch' END
FROM unnest($2::text[]) AS cell CROSS JOIN generate_series(0, $3::integer - 1) AS number
WHERE (cell, number) <> ('', 0)
ON CONFLICT (source_id, cell, number) DO NOTHING
"""
_TAKE_FROM = """
SELECT cell, extract(epoch FROM min(takes_from))::float8 AS at FROM lanes WHERE cell <> ''
GROUP BY cell
"""
# Ids that a conflict has used up are gone: so only what is missing is inserted.
_MISSING = """
SELECT EXISTS (
    SELECT FROM unnest($2::text[]) AS cell CROSS JOIN generate_series(0, $3::integer - 1) AS number
    WHERE (cell, number) <> ('', 0) AND NOT EXISTS (
        SELECT FROM lanes
        WHERE source_id = $1 AND lanes.cell = cell.cell AND lanes.number = number.number)
) AS some
"""


class Lane(msgspec.Struct, frozen=True):
    """A lane of a source: `number` counts from 0 within its cell, the database that stores it.

    `takes_from`: what was posted before (Unix time) belongs to cells that there were before.
    """

    id: LaneId
    source_id: SourceId
    cell: str
    number: int
    takes_from: float = 0.0


def first_lane(source_id: SourceId) -> LaneId:
    """The first lane of a source in the home database; without a bus, its only one."""
    return LaneId(source_id)


def in_use(source_id: SourceId, count: int, added: Sequence[Lane]) -> list[Lane]:
    """The lanes into which a source is divided now, `count` in each cell.

    `added`: the rows of the table; some may be of an earlier division into more lanes.
    """
    own = [each for each in added if each.source_id == source_id]
    first = Lane(first_lane(source_id), source_id, HOME, 0)
    return [each for each in (first, *own) if each.number < count]


async def get_all(connection: Executor) -> list[Lane]:
    """All lanes but the first ones of sources."""
    return [Lane(**row) for row in await connection.fetch(_ALL)]


async def cells_by_lane(connection: Executor) -> dict[LaneId, str]:
    """The cell of each lane, the first ones of sources included; none of them ever changes."""
    return {LaneId(row["id"]): row["cell"] for row in await connection.fetch(_CELLS)}


async def lanes_of(
    connection: Executor, source_id: SourceId, cells: Sequence[str], count: int
) -> list[Lane]:
    """The lanes of a source, `count` in each cell, in the order of cells and numbers; adds them."""
    [row] = await connection.fetch(_MISSING, source_id, cells, count)
    if row["some"]:
        await connection.execute(_ADD, source_id, cells, count, JOIN_AFTER)
    take_from = {row["cell"]: row["at"] for row in await connection.fetch(_TAKE_FROM)}
    known = {
        (each.cell, each.number): msgspec.structs.replace(
            each, takes_from=take_from.get(each.cell, 0.0)
        )
        for each in await get_all(connection)
        if each.source_id == source_id
    }
    known[HOME, 0] = Lane(first_lane(source_id), source_id, HOME, 0)
    return [known[cell, number] for cell in cells for number in range(count)]
