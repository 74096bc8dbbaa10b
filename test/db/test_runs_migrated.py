"""Runs of before 0004 may overlap; after it, each tweet belongs to one."""

from collections.abc import Callable

from stream import db
from stream.keys import Cursor, Run
from stream.store import feed
from stream.store.migrations import available, migrate
from stream.tweet import LaneId, TweetId

LEDGER = """
CREATE TABLE schema_migrations (
    number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
APPLIED = "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)"
RUNS = "INSERT INTO runs VALUES (1, 1, 1000, 2000), (1, 2, 1500, 1700), (2, 1, 10, 20)"


async def test_what_was_stored_before_is_one_run_for_each_source(
    empty_database: Callable[[], str],
) -> None:
    async with db.connect(empty_database()) as database:
        await database.execute(LEDGER)
        for each in available()[:3]:
            await database.execute(each.sql)
            await database.execute(APPLIED, each.number, each.name, each.checksum)
        await database.execute(RUNS)
        await migrate(database)
        rows = await database.fetch("SELECT * FROM ingest_runs ORDER BY source_id, run")
        assert [tuple(row) for row in rows] == [
            (1, 1, 1000, 2000, True),
            (1, 2, 1500, 1700, True),
            (1, 3, 1000, 2000, False),
            (2, 1, 10, 20, False),
        ]
        async with database.acquire() as connection:
            assert await feed.head(connection) == Cursor(
                {Run(LaneId(1), 3): TweetId(2000), Run(LaneId(2), 1): TweetId(20)}
            )
