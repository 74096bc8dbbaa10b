"""Read tables as of one moment, and later only the rows that were written since.

It needs no column in them: PostgreSQL stores with each row the transaction that wrote it.
"""

from datetime import datetime

import msgspec

from stream.db import Executor

_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# What this snapshot does not see is written by transactions from its xmin on.
_MARK = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS mark, now() AS at"
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8 AS at"


class Snapshot(msgspec.Struct, frozen=True):
    """A mark for the next time, and a time of which everything is seen."""

    mark: str
    at: datetime


async def begin(connection: Executor) -> Snapshot:
    """Begin to read in this transaction, all as of now."""
    await connection.execute(_BEGIN)
    [row] = await connection.fetch(_MARK)
    return Snapshot(**row)


def changed_since(table: str, mark: str) -> str:
    """The condition for rows written since a mark, which is a parameter such as $1; null: all."""
    return f"({mark}::text IS NULL OR age({table}.xmin) <= age({mark}::xid8::xid))"


async def clock(connection: Executor) -> float:
    """The time by the clock of the server, in seconds since 1970."""
    [row] = await connection.fetch(_CLOCK)
    at: float = row["at"]
    return at
