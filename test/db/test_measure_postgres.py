"""What is asked of Postgres: gaps of the day, sizes, partitions, transactions, its folder."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from monitor.measure.pipeline import DAY, GapTimes
from monitor.measure.postgres import PostgresSampler
from stream import db
from stream.db import Database
from stream.notes import GapClosed, GapOpened
from stream.store import gaps, partitions, sources
from stream.tweet import SourceId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually


async def gap(database: Database, source: SourceId, began: float, ended: float | None) -> None:
    async with database.acquire() as connection:
        await gaps.open_gap(connection, source, GapOpened(began, "network", ""))
        if ended is not None:
            await gaps.close_gap(connection, source, GapClosed(ended))


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> float:
    """The clock of the test stands at noon of some day, UTC."""
    at = time.time() // DAY * DAY + DAY / 2
    monkeypatch.setattr(time, "time", lambda: at)
    return at


async def test_gaps_count_from_midnight_and_the_open_one_counts_on(
    connected: Database, noon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    midnight = noon - DAY / 2
    async with connected.acquire() as connection:
        main = await sources.add(connection, "main", "x_v2")
        other = await sources.add(connection, "other", "x_v2")
        quiet = await sources.add(connection, "quiet", "x_v2")
    await gap(connected, main, midnight - 500, midnight - 400)
    await gap(connected, main, midnight - 100, midnight + 30)
    await gap(connected, main, noon - 1000, noon - 995)
    await gap(connected, other, midnight - 100, None)
    gaps = GapTimes(connected)
    await gaps.look()
    assert gaps.today(main, delivering=True) == pytest.approx(35)
    assert gaps.today(other, delivering=False) == pytest.approx(DAY / 2)
    assert gaps.today(quiet, delivering=False) == 0
    monkeypatch.setattr(time, "time", lambda: noon + 7)
    assert gaps.today(main, delivering=True) == pytest.approx(35)
    assert gaps.today(other, delivering=False) == pytest.approx(DAY / 2 + 7)
    assert gaps.today(other, delivering=True) == pytest.approx(DAY / 2)  # it ended since we asked
    monkeypatch.setattr(time, "time", lambda: noon + DAY / 2 + 3)  # the next day
    assert gaps.today(main, delivering=True) == 0
    assert gaps.today(other, delivering=False) == pytest.approx(3)


async def test_sizes_add_partitions_to_their_table_also_detached_ones(connected: Database) -> None:
    today = datetime.now(UTC).date()
    days = [today + timedelta(n) for n in range(4)]
    async with connected.acquire() as connection:
        await partitions.ensure_days(connection, days)
        await connection.execute(f"ALTER TABLE tweets DETACH PARTITION tweets_{days[3]:%Y%m%d}")
        [real] = await connection.fetch(
            "SELECT sum(pg_total_relation_size(oid))::bigint AS bytes FROM pg_class"
            " WHERE relname LIKE 'tweets\\_2%' AND relkind = 'r'"
        )
    probe = PostgresSampler(connected)
    await probe.sample_sizes(connected)
    snapshot = await probe.sample()
    assert snapshot.tables["tweets"] == real["bytes"] > 0
    assert {"tracks", "gaps", "machine_minutes"} <= set(snapshot.tables)
    assert [name for name in snapshot.tables if name.startswith("tweets_")] == []
    assert snapshot.partitions == 7
    assert snapshot.days_ahead in (1, 2)  # it may be tomorrow by now
    assert snapshot.size is not None
    assert snapshot.size > sum(snapshot.tables.values())


async def test_a_forgotten_transaction_and_its_connection_are_seen(
    connected: Database, eventually: Eventually
) -> None:
    probe = PostgresSampler(connected)
    before = await probe.sample()
    async with connected.dedicated() as forgotten:
        await forgotten.execute("BEGIN; SELECT 1")

        async def old() -> bool:
            found = (await probe.sample()).oldest_transaction
            return found is not None and found > 0.05

        await eventually(old)
    assert before.up
    assert before.connections is not None
    assert before.connections_max is not None
    assert 1 <= before.connections <= before.connections_max


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="it may be anywhere")
async def test_the_folder_of_a_server_on_this_machine_is_found(connected: Database) -> None:
    probe = PostgresSampler(connected)
    await probe.sample_sizes(connected)
    assert probe.folder is not None
    assert (probe.folder / "PG_VERSION").exists()


async def test_a_server_that_is_not_there_is_not_up_and_says_why() -> None:
    # Nothing listens on port 1 of this machine.
    async with db.connect("postgresql://nobody:hidden@127.0.0.1:1/nothing") as away:
        snapshot = await PostgresSampler(away).sample()
    assert not snapshot.up
    assert "hidden" not in snapshot.error
    assert snapshot.error
    assert (snapshot.size, snapshot.partitions, snapshot.connections) == (None, None, None)
