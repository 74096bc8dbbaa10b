"""What each source delivers of a track, and what is missing: tracks.reach and its view."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from stream.config import Settings
from stream.db import Database
from stream.reconciler import TrackReconciler
from stream.store import locks, track_reach, tracks
from stream.store.track_reach import SourceReach, TrackReach
from stream.store.tracks import TrackStatus
from stream.tweet import ReachHow, SourceId, TrackId

NOW = datetime.now(UTC).replace(microsecond=0)
ONE, MAIN = TrackId(1), SourceId(1)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.fixture
async def connected(connected: Database) -> Database:
    await connected.execute(
        "INSERT INTO sources (name, network) VALUES ('blue', 'bluesky'), ('x', 'x_v2')"
    )
    await connected.execute("INSERT INTO tracks (value) VALUES ('snow')")
    return connected


async def write(connected: Database, *reach: SourceReach, value: str = "snow") -> None:
    async with connected.acquire() as connection:
        await tracks.write_states(connection, [TrackStatus(ONE, value, "active", "", reach)])


@contextlib.asynccontextmanager
async def collecting(connected: Database) -> AsyncIterator[None]:
    """As if a daemon collected both sources."""
    async with connected.dedicated() as connection:
        for source in (1, 2):
            assert await locks.try_lock(connection, SourceId(source), locks.SOURCE_LOCK_CLASS)
        yield


async def gap(
    connected: Database,
    began: datetime,
    ended: datetime | None,
    recovered_from: datetime | None = None,
    source: int = 1,
) -> None:
    await connected.execute(
        "INSERT INTO gaps (source_id, began_at, ended_at, cause, recovered_from)"
        " VALUES ($1, $2, $3, 'network', $4)",
        source,
        began,
        ended,
        recovered_from,
    )


async def read(connected: Database) -> list[TrackReach]:
    async with connected.acquire() as connection:
        return await track_reach.of_tracks(connection, [ONE])


def entry(source: int = 1, how: ReachHow = "decided", since: datetime = NOW) -> SourceReach:
    return SourceReach(SourceId(source), how, "Every post.", since, True)


async def test_nothing_is_missing_without_gaps(connected: Database) -> None:
    await write(connected, entry(since=ago(600)))
    async with collecting(connected):
        [found] = await read(connected)
    assert found == TrackReach(
        ONE, MAIN, "blue", "bluesky", "decided", "Every post.", True, ago(600), ago(600), 0, 0
    )


@pytest.mark.parametrize(
    ("recovered_from", "missing", "refilled", "complete_since"),
    [
        (None, 100, 0, 200),
        (260, 40, 60, 260),
        (300, 0, 100, 900),
        (500, 0, 100, 900),  # more was replayed than was missing
        (150, 100, 0, 200),  # the replay began after the gap
    ],
)
async def test_of_a_gap_only_the_part_before_the_replay_is_missing(
    connected: Database,
    recovered_from: float | None,
    missing: int,
    refilled: int,
    complete_since: float,
) -> None:
    await write(connected, entry(since=ago(900)))
    replayed = None if recovered_from is None else ago(recovered_from)
    await gap(connected, ago(300), ago(200), replayed)
    async with collecting(connected):
        [found] = await read(connected)
    assert (found.seconds_missing, found.seconds_refilled) == (missing, refilled)
    assert found.complete_since == ago(complete_since)


async def test_gaps_count_from_the_beginning_of_the_track_on_and_of_its_sources_only(
    connected: Database,
) -> None:
    await write(connected, entry(since=ago(300)), entry(2, since=ago(300)))
    await gap(connected, ago(900), ago(800))  # before it began
    await gap(connected, ago(350), ago(290))  # begins before
    await gap(connected, ago(200), ago(150), source=2)
    await gap(connected, ago(200), ago(100), source=3)  # of another source
    async with collecting(connected):
        blue, x = await read(connected)
    assert (blue.seconds_missing, x.seconds_missing) == (10, 50)
    assert (blue.complete_since, x.complete_since) == (ago(290), ago(150))


async def test_times_in_which_a_network_had_lost_a_track_count_once_with_other_gaps(
    connected: Database,
) -> None:
    await write(connected, entry(since=ago(900)))
    await gap(connected, ago(300), ago(200), ago(300))
    for track, began, ended in ((1, ago(250), ago(150)), (2, ago(120), ago(100))):
        await connected.execute(
            "INSERT INTO track_gaps (source_id, track_id, began_at, ended_at)"
            " VALUES (1, $1, $2, $3)",
            track,
            began,
            ended,
        )
    async with collecting(connected):
        [found] = await read(connected)
    assert (found.seconds_missing, found.seconds_refilled) == (100, 50)
    assert found.complete_since == ago(150)


async def test_it_is_not_complete_in_an_open_gap_nor_without_a_daemon(
    connected: Database,
) -> None:
    await write(connected, entry(since=ago(900)))
    [found] = await read(connected)
    assert found.complete_since is None, "no daemon collects it"
    await gap(connected, ago(60), None)
    async with collecting(connected):
        [found] = await read(connected)
    assert found.complete_since is None
    since = (datetime.now(UTC) - ago(60)).total_seconds()
    assert 60 <= found.seconds_missing <= since + 1


async def test_what_a_source_cannot_deliver_is_not_missing(connected: Database) -> None:
    await write(connected, entry(how="cannot", since=ago(900)))
    await gap(connected, ago(300), ago(200))
    async with collecting(connected):
        [found] = await read(connected)
    assert (found.complete_since, found.seconds_missing) == (None, 0)


async def test_clocks_that_were_set_back_and_foreign_texts_break_nothing(
    connected: Database,
) -> None:
    await write(connected, entry(since=datetime.now(UTC) + timedelta(hours=1)))
    await gap(connected, ago(10), ago(5))
    async with collecting(connected):
        [found] = await read(connected)
    assert found.seconds_missing == 0
    await connected.execute("""UPDATE tracks SET reach = '[{"source_id": 1}]'""")
    async with connected.acquire() as connection:
        [track] = await tracks.get_all(connection)
    assert track.reach == ()


async def test_an_edited_row_has_no_reach_until_it_is_planned_again(connected: Database) -> None:
    await write(connected, entry())
    await connected.execute("UPDATE tracks SET value = 'ice'")
    assert await read(connected) == []
    await write(connected, entry())  # about the old value
    assert await read(connected) == []
    await write(connected, entry(), value="ice")
    assert len(await read(connected)) == 1
    await connected.execute("UPDATE tracks SET priority = 1")
    assert len(await read(connected)) == 1


async def test_the_state_keeps_its_time_when_only_the_reach_changes(connected: Database) -> None:
    await write(connected)
    before = await connected.fetch("SELECT state_at FROM tracks")
    await write(connected, entry())
    after = await connected.fetch("SELECT state_at FROM tracks WHERE reach IS NOT NULL")
    assert [*map(tuple, after)] == [*map(tuple, before)]


async def test_the_reconciler_writes_it_when_it_changes_and_only_then(
    connected: Database,
) -> None:
    at = TrackReconciler(connected, Settings(), *[lambda _: None] * 3)

    async def reach() -> list[tuple[str, str]]:
        await at.reload()
        return [(each.network, each.how) for each in await read(connected)]

    async def version() -> str:
        [row] = await connected.fetch("SELECT xmin::text AS version FROM tracks")
        return str(row["version"])

    assert await reach() == [("bluesky", "decided"), ("x_v2", "pushed")]
    written, began = await version(), [each.since for each in await read(connected)]
    for _ in range(3):
        await reach()
    assert await version() == written
    again = TrackReconciler(connected, Settings(), *[lambda _: None] * 3)
    await again.reload()
    assert await version() == written, "after a restart it goes on as before"
    at.note_network_report(SourceId(2), "refused", {ONE: "snow: X refuses this rule."})
    assert await reach() == [("bluesky", "decided"), ("x_v2", "cannot")]
    blue, x = await read(connected)
    assert x.sentence == "Cannot be collected here. snow: X refuses this rule."
    assert blue.since == began[0]
    assert x.since > began[1]
    await connected.execute("UPDATE sources SET enabled = false WHERE id = 2")
    assert await reach() == [("bluesky", "decided")]
    await connected.execute("UPDATE tracks SET networks = '{x_v2}'")
    assert await reach() == []
    await connected.execute("UPDATE tracks SET networks = NULL")
    assert len(await reach()) == 1
    await connected.execute("UPDATE tracks SET enabled = false")
    assert await reach() == []
