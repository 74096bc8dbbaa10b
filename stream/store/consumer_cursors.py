"""How far jobs and sinks have read the tables: the table consumer_cursors."""

from stream.db import Executor, row_count

_CURSOR = "SELECT cursor FROM consumer_cursors WHERE name = $1"
_START = "INSERT INTO consumer_cursors (name, cursor) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_ADVANCE = "UPDATE consumer_cursors SET cursor = $3, at = now() WHERE name = $1 AND cursor = $2"
_SAVE = """
INSERT INTO consumer_cursors (name, cursor) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor, at = now()
"""

TOP_ITEMS, NATIVE_IDS = "tops", "ids"  # the names of the consumers


async def read(connection: Executor, consumer: str) -> str | None:
    """How far a consumer has read; None: it has not begun."""
    rows = await connection.fetch(_CURSOR, consumer)
    return rows[0]["cursor"] if rows else None


async def start_at(connection: Executor, consumer: str, cursor: str) -> None:
    """Start at this cursor, unless the consumer has started."""
    await connection.execute(_START, consumer, cursor)


async def advance(connection: Executor, consumer: str, cursor: str, reached: str) -> bool:
    """Move from one cursor to the next; False: another daemon has read from there already."""
    return bool(row_count(await connection.execute(_ADVANCE, consumer, cursor, reached)))


async def save(connection: Executor, consumer: str, cursor: str) -> None:
    """Note how far a consumer has read, whatever was noted before."""
    await connection.execute(_SAVE, consumer, cursor)
