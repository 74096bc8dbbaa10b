"""machine_minutes: rows that wait, rows that are shared, hours made of minutes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from monitor.measure.rollup import QUEUE_MAX, MinuteQueue
from stream import db
from stream.db import Database
from stream.errors import DatabaseAway, RowRefused
from stream.store import machine_history
from stream.store.machine_history import MachineMinute, SourceMinute

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)


def of_source(**changed: Any) -> SourceMinute:
    return msgspec.structs.replace(
        SourceMinute(
            network="x_v2",
            state="streaming",
            frames=100,
            tweets=90,
            bytes=5000,
            duplicates=3,
            unmatched=4,
            rejected=2,
            rejects={"no_id": 2},
            reconnects={},
            attempts=0,
            gap_seconds_today=10.0,
            lag_bytes=50,
            lag_seconds=0.5,
            frames_per_s=2.0,
            tweets_per_s=1.5,
            bytes_per_s=83.3,
            attempts_left=40,
        ),
        **changed,
    )


def minute(at: datetime, **changed: Any) -> MachineMinute:
    return msgspec.structs.replace(
        MachineMinute(
            host="here",
            at=at,
            cpu_percent=10.0,
            cpu_percent_max=20.0,
            load=1.0,
            memory_used=100,
            memory_total=1000,
            network_received=7,
            network_sent=8,
            process_memory=50,
            process_files=5,
            loop_lag_max=0.5,
            journal_lag_bytes=9,
            journal_lag_seconds=0.25,
            commit_p50=0.5,
            commit_p99=1.0,
            batch_frames=20.0,
            database_up=1.0,
            database_size=4000,
            database_connections=6,
            oldest_transaction=0.5,
            partitions=16,
            volumes={"data": {"path": "/", "total": 100, "used": 60, "free": 40}},
            sources={"main": of_source()},
            tables={"tweets": 1000},
        ),
        **changed,
    )


async def rows(database: Database) -> list[dict[str, Any]]:
    """What is in the table, oldest first, with its jsonb read."""
    found = [dict(row) for row in await database.fetch("SELECT * FROM machine_minutes ORDER BY at")]
    for row in found:
        for name in ("volumes", "sources", "tables"):
            row[name] = msgspec.json.decode(row[name])
    return found


async def add(database: Database, *wanted: MachineMinute) -> None:
    async with database.acquire() as connection:
        for each in wanted:
            await machine_history.insert(connection, each)


async def roll_up(database: Database, days: int) -> None:
    async with database.acquire() as connection:
        await machine_history.roll_up(connection, days)


async def test_a_minute_is_read_as_it_was_written(connected: Database) -> None:
    await add(connected, minute(HOUR), minute(HOUR))  # twice makes no difference
    [row] = await rows(connected)
    written = msgspec.to_builtins(minute(HOUR))
    assert row.pop("minutes") == 1
    assert row == written | {"at": HOUR}


async def test_two_daemons_of_one_machine_share_a_row(connected: Database) -> None:
    standby = minute(HOUR, sources={}, commit_p50=None, commit_p99=None, process_memory=80)
    await add(connected, minute(HOUR), standby)
    other = minute(HOUR, sources={"other": of_source(frames=5)}, database_up=0.5)
    await add(connected, other)
    [row] = await rows(connected)
    assert {name: each["frames"] for name, each in row["sources"].items()} == {
        "main": 100,
        "other": 5,
    }
    assert (row["commit_p50"], row["process_memory"], row["database_up"]) == (0.5, 80, 0.5)


async def test_a_source_that_one_daemon_collects_and_another_stores_is_one(
    connected: Database,
) -> None:
    collected = of_source(tweets=0, tweets_per_s=0.0, rejected=0, rejects={})
    stored = of_source(frames=0, bytes=0, frames_per_s=0.0, bytes_per_s=0.0, attempts_left=None)
    for each in (collected, stored, collected):
        await add(connected, minute(HOUR, sources={"main": each}))
    [row] = await rows(connected)
    assert row["sources"] == {"main": msgspec.to_builtins(of_source())}


async def test_minutes_wait_while_postgres_is_away(connected: Database) -> None:
    at = [HOUR + timedelta(minutes=n) for n in range(3)]
    # Nothing listens on port 1 of this machine.
    async with db.connect("postgresql://nobody@127.0.0.1:1/nothing") as away:
        waiting = MinuteQueue(away)
        waiting.waiting.extend(minute(each) for each in at)
        with pytest.raises(DatabaseAway):
            await waiting.write()
        assert len(waiting.waiting) == 3
    waiting.database = connected
    await waiting.write()
    assert [row["at"] for row in await rows(connected)] == at
    assert not waiting.waiting


async def test_what_waits_is_bounded(connected: Database) -> None:
    waiting = MinuteQueue(connected)
    waiting.waiting.extend(minute(HOUR + timedelta(minutes=n)) for n in range(QUEUE_MAX + 10))
    assert len(waiting.waiting) == QUEUE_MAX
    assert waiting.waiting[0].at == HOUR + timedelta(minutes=10)


async def test_a_minute_that_postgres_refuses_is_in_nobodys_way(connected: Database) -> None:
    waiting = MinuteQueue(connected)
    waiting.waiting.append(minute(HOUR, host="nul\0"))
    waiting.waiting.append(minute(HOUR))
    with pytest.raises(RowRefused):
        await waiting.write()
    await waiting.write()
    assert [row["host"] for row in await rows(connected)] == ["here"]


async def test_old_minutes_become_one_row_an_hour(connected: Database) -> None:
    second = of_source(
        state="waiting",
        frames=20,
        rejects={"no_id": 1, "too_deep": 4},
        reconnects={"silence": 1},
        gap_seconds_today=70.5,
        lag_bytes=900,
        frames_per_s=1.0,
        attempts_left=None,
    )
    await add(
        connected,
        minute(HOUR),
        minute(
            HOUR + timedelta(minutes=59),
            cpu_percent=30.0,
            cpu_percent_max=99.0,
            loop_lag_max=3.0,
            commit_p50=None,
            commit_p99=None,
            database_up=0.0,
            database_size=9000,
            sources={"main": second, "other": of_source()},
            volumes={"data": {"path": "/", "total": 100, "used": 70, "free": 30}},
            tables={"tweets": 2000},
        ),
        minute(HOUR + timedelta(minutes=60)),
        minute(HOUR + timedelta(minutes=5), host="there", sources={}),
    )
    await roll_up(connected, 1)
    here, there, later = sorted(await rows(connected), key=lambda row: (row["at"], row["host"]))
    assert (later["at"], later["minutes"]) == (HOUR + timedelta(hours=1), 60)
    assert (there["host"], there["sources"]) == ("there", {})
    assert (here["at"], here["minutes"]) == (HOUR, 60)
    assert (here["cpu_percent"], here["cpu_percent_max"], here["loop_lag_max"]) == (20.0, 99.0, 3.0)
    assert (here["network_received"], here["network_sent"]) == (14, 16)
    assert (here["commit_p50"], here["commit_p99"], here["database_up"]) == (0.5, 1.0, 0.5)
    assert (here["database_size"], here["tables"]) == (9000, {"tweets": 2000})
    assert here["volumes"]["data"]["used"] == 70
    assert here["sources"]["other"] == msgspec.to_builtins(of_source())
    main = here["sources"]["main"]
    assert (main["state"], main["network"]) == ("waiting", "x_v2")
    assert (main["frames"], main["tweets"], main["bytes"]) == (120, 180, 10_000)
    assert main["rejects"] == {"no_id": 3, "too_deep": 4}
    assert main["reconnects"] == {"silence": 1}
    assert (main["lag_bytes"], main["gap_seconds_today"]) == (900, 70.5)
    assert (main["frames_per_s"], main["attempts_left"]) == (1.5, 40)


async def test_rolling_up_twice_changes_nothing_and_late_minutes_are_too_late(
    connected: Database,
) -> None:
    await add(connected, minute(HOUR), minute(HOUR + timedelta(minutes=1)))
    await roll_up(connected, 1)
    before = await rows(connected)
    await roll_up(connected, 1)
    await add(connected, minute(HOUR, cpu_percent_max=100.0))
    await add(connected, minute(HOUR + timedelta(minutes=2), cpu_percent_max=100.0))
    await roll_up(connected, 1)
    assert await rows(connected) == before


async def test_young_minutes_and_young_hours_stay(connected: Database) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    young = [minute(now - timedelta(hours=n)) for n in range(3)]
    await add(connected, *young)
    await roll_up(connected, 1)
    assert [row["minutes"] for row in await rows(connected)] == [1, 1, 1]
    await add(connected, minute(now - timedelta(days=20)), minute(now - timedelta(days=9)))
    await roll_up(connected, 1)
    async with connected.acquire() as connection:
        await machine_history.prune(connection, 10)
    assert [row["minutes"] for row in await rows(connected)] == [60, 1, 1, 1]
