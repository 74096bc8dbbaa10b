"""Where a source can resume: before what any of its lanes lacks."""

import uuid

import msgspec

from stream.db import Database
from stream.store import ingest_log
from stream.store.ingest_log import OUT_OF_USE
from stream.tweet import NetworkCursor, SourceId

SOURCE = SourceId(1)
NOW = 1_790_000_000_000_000
ADD = """
INSERT INTO positions (journal, source_id, position, network_cursor) VALUES ($1, $2, 0, $3)
"""


async def test_it_is_that_of_the_slowest_lane_in_use(connected: Database) -> None:
    await connected.execute(
        "INSERT INTO sources (name, network, lanes) VALUES ('main', 'bluesky', 2)"
    )
    await connected.execute("INSERT INTO lanes (id, source_id, number) VALUES (2, 1, 1), (3, 1, 2)")

    async def add(lane: int, time: int) -> None:
        body = msgspec.json.encode(NetworkCursor("a.example", "v2", None, time))
        await connected.execute(ADD, uuid.uuid4(), lane, body)

    async def found() -> int | None:
        async with connected.acquire() as connection:
            cursor = await ingest_log.network_cursor(connection, SOURCE)
        return None if cursor is None else cursor.time

    assert await found() is None
    await add(1, 0)  # a connection was opened, and nothing has come
    assert await found() is None
    await add(1, NOW)
    await add(1, NOW + 5)  # of another journal, which is newer
    await add(3, NOW - 3)  # the third lane is not in use
    await add(2, NOW - OUT_OF_USE)  # it was not in use for long
    assert await found() == NOW + 5
    await add(2, NOW - 7)
    assert await found() == NOW - 7
