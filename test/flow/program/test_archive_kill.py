"""SIGKILL at random moments of archiving, dropping, restoring and verifying: no row lost, none
twice."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deleting import delete_tweets
from stream import db
from stream.tweet import NativeId

if TYPE_CHECKING:
    from test.conftest import Eventually
    from test.flow.conftest import OpenTables, Tables
    from test.flow.program.conftest import MakeProgram, Program

DAY = "2026-03-14"
NUMBER = 10_000
KILLS = 20
OFTEN = ("run", "restore")  # at least three times each
FILL = f"""
SELECT ensure_day('{DAY}');
INSERT INTO tweets (id, received_at, network, native_id, kind, author_id, text, doc)
SELECT tweet_key(at, 1), at, 'x_v2', n::text, 'original', (n % 9)::text, 'snow ' || n,
    jsonb_build_object('n', n, 'text', repeat(md5(n::text), 20))
FROM (SELECT n, timestamptz '{DAY} 00:00+00' + n * interval '8 s' AS at
      FROM generate_series(1, {NUMBER}) AS n) AS made;
INSERT INTO tweet_ids (network, native_id, tweet_id) SELECT network, native_id, id FROM tweets;
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT id, 1 + id / 4096 % 3, received_at, 'snow', 'text', 'own' FROM tweets;
INSERT INTO track_minutes SELECT track_id, date_trunc('minute', received_at, 'UTC'), count(*)
FROM matches GROUP BY 1, 2;
INSERT INTO track_hours SELECT track_id, date_trunc('hour', received_at, 'UTC'), count(*), 0
FROM matches GROUP BY 1, 2;
INSERT INTO track_days SELECT track_id, received_at::date, count(*), 0 FROM matches GROUP BY 1, 2;
"""
ROWS = (
    "SELECT tweets.*, doc::text FROM tweets ORDER BY id",
    "SELECT * FROM matches ORDER BY tweet_id, track_id",
)
# Roll-ups that are not what a count from scratch gives.
WRONG = """
WITH counted AS (
    SELECT track_id, date_trunc('minute', received_at, 'UTC') AS at, count(*) AS tweets
    FROM matches GROUP BY 1, 2
    UNION ALL SELECT track_id, date_trunc('hour', received_at, 'UTC'), count(*)
    FROM matches GROUP BY 1, 2
    UNION ALL SELECT track_id, received_at::date, count(*) FROM matches GROUP BY 1, 2
), kept AS (
    SELECT track_id, minute AS at, tweets FROM track_minutes WHERE tweets > 0
    UNION ALL SELECT track_id, hour, tweets FROM track_hours WHERE tweets > 0
    UNION ALL SELECT track_id, day, tweets FROM track_days WHERE tweets > 0
)
(SELECT * FROM counted EXCEPT ALL SELECT * FROM kept)
UNION ALL (SELECT * FROM kept EXCEPT ALL SELECT * FROM counted)
"""
NOBODY = (
    "SELECT count(*) = 0 FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'twitterstream'"
)
AWAY = "SELECT to_regclass('tweets_20260314') IS NULL"
TOUCH = f"INSERT INTO archive_changes (day) VALUES ('{DAY}')"
SEED = 20260314


class Life:
    """A day that is archived, dropped, restored and looked at, by processes that are killed."""

    def __init__(self, program: Program, tables: Tables, eventually: Eventually) -> None:
        self.eventually = eventually
        self.program = program
        self.tables = tables
        self.random = random.Random(int(os.environ.get("TEST_SEED", SEED)))
        self.took: dict[str, float] = {}  # seconds that each step takes
        self.kills: Counter[str] = Counter()
        self.deleted: list[int] = []

    async def step(self) -> tuple[str, ...]:
        """What comes next, from the state that there is."""
        if await self.tables.one(AWAY):
            await self.delete()
            return ("run", "--day", DAY) if self.random.random() < 0.4 else ("restore", DAY)
        if self.random.random() < 0.2:
            return ("verify",)
        await self.tables.rows(TOUCH)
        return ("run", "--day", DAY, "--drop")

    async def delete(self) -> None:
        """The network wants a tweet deleted, wherever it is by now."""
        number = len(self.deleted) * 7 + 3
        self.deleted.append(number)
        async with db.connect(self.tables.url) as database:
            await delete_tweets(database, "x_v2", {NativeId(str(number)): datetime.now(UTC)})

    async def live(self) -> None:
        """Begin a step and kill it somewhere; the first ones show how long it takes."""
        words = await self.step()
        name = " ".join(words)
        process = await asyncio.create_subprocess_exec(
            *self.program._command("archive", *words), stdout=-1, stderr=-1
        )
        began = time.monotonic()
        limit = self.random.uniform(0.45, 1) * self.took[name] if name in self.took else None
        try:
            async with asyncio.timeout(limit):
                said, wrong = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
            self.kills[words[0]] += 1
            await self.eventually(self.nobody_works)
        else:
            self.took[name] = time.monotonic() - began
            # The lock of one that was killed lives a moment longer.
            text = (said + wrong).decode()
            assert process.returncode == 0 or "another archiver" in text.lower(), text

    async def nobody_works(self) -> bool:
        """What a process had asked of Postgres before it died is done, or has been given up."""
        return bool(await self.tables.one(NOBODY))

    async def check(self) -> None:
        """Whatever happened, the day is there or it is archived, and never a part of it."""
        if await self.tables.one(AWAY):
            states = await self.tables.rows("SELECT state FROM archives")
            assert states == [("dropped",)]
        else:
            found = await self.tables.one("SELECT count(*) FROM tweets")
            assert NUMBER - len(self.deleted) <= found <= NUMBER
            assert await self.tables.one("SELECT count(*) FROM matches") == found

    async def until(self, *words: str) -> None:
        """Run a step to its end."""
        while True:
            process = await asyncio.create_subprocess_exec(
                *self.program._command("archive", *words), stdout=-1, stderr=-1
            )
            said = b"".join(await process.communicate()).decode()
            if process.returncode == 0:
                return
            assert "another process" in said.lower(), said


async def test_killed_anywhere_it_loses_no_row_and_has_none_twice(
    make_program: MakeProgram,
    open_tables: OpenTables,
    eventually: Eventually,
    database: str,
    tmp_path: Path,
) -> None:
    """TEST_SEED repeats the moments."""
    program = make_program("main", database, archive={"url": str(tmp_path / "archive")})
    tables = open_tables(database)
    await tables.rows(FILL)
    before = [await tables.rows(query) for query in ROWS]
    life = Life(program, tables, eventually)
    while life.kills.total() < KILLS or min(life.kills[word] for word in OFTEN) < 3:
        await life.live()
        await life.check()
    print(life.kills, life.took)  # noqa: T201  # shown when the test fails
    if not await tables.one(AWAY):
        await tables.rows(TOUCH)
        await life.until("run", "--day", DAY, "--drop")
    await life.until("restore", DAY)
    gone = {str(number) for number in life.deleted}
    keys = {row[0] for row in before[0] if row[5] in gone}
    assert len(keys) == len(gone) > 0
    assert await tables.rows(ROWS[0]) == [row for row in before[0] if row[0] not in keys]
    assert await tables.rows(ROWS[1]) == [row for row in before[1] if row[0] not in keys]
    assert await tables.rows(WRONG) == []
    await life.until("run", "--day", DAY, "--drop")
    folder = tmp_path / "archive" / "tweets" / f"day={DAY}" / "part=0"
    assert len(list(folder.iterdir())) == 4  # nothing that a kill left
