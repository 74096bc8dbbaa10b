"""Gaps when one machine takes a source over, and its notes are stored before those of the other."""

import pytest

from stream.db import Database
from stream.notes import GapClosed, GapOpened, StateNote, TracksCovered, TracksLapsed
from stream.store import gaps, sources

STOPPED = GapOpened(1000.0, "stopped", "the source was changed")
KILLED = GapOpened(999.0, "killed", "the daemon was not running")
KILLED_LATER = GapOpened(1000.00003, "killed", "")  # as of the frame that was stored last
CLOSED = GapClosed(1001.0)
STREAMING = StateNote("streaming", "", 1001.0)

A_OPENED = GapOpened(600.0, "network", "reset by peer")
B_OPENED = GapOpened(900.0, "http", "503")
B_WAITS = StateNote("waiting", "503", 900.0)
COLUMNS = """
SELECT extract(epoch FROM began_at)::float, extract(epoch FROM ended_at)::float, cause
FROM gaps ORDER BY began_at, id
"""


async def _stored(
    connected: Database, *notes: GapOpened | GapClosed | StateNote
) -> list[tuple[object, ...]]:
    """The gaps after these notes."""
    async with connected.acquire() as connection:
        source = await sources.add(connection, "main", "x_v2")
        for note in notes:
            match note:
                case GapOpened():
                    await gaps.open_gap(connection, source, note)
                case GapClosed():
                    await gaps.close_gap(connection, source, note)
                case StateNote():
                    await sources.write_state(connection, source, note)
        return [tuple(row) for row in await connection.fetch(COLUMNS)]


@pytest.mark.parametrize(
    "stored",
    [
        (STOPPED, STREAMING, CLOSED),
        (STREAMING, CLOSED, STOPPED),
        (KILLED, STREAMING, CLOSED, STOPPED),
        (KILLED, STOPPED, STREAMING, CLOSED),
        (KILLED_LATER, STREAMING, CLOSED, STOPPED),
    ],
)
async def test_it_is_one_gap_with_its_cause_and_its_end(
    connected: Database, stored: tuple[GapOpened | GapClosed | StateNote, ...]
) -> None:
    [(began, ended, cause)] = await _stored(connected, *stored)
    assert (ended, cause) == (1001.0, "stopped")
    assert began in (999.0, 1000.0)


async def test_what_is_replayed_may_be_known_later(connected: Database) -> None:
    """The first bytes may hold no event yet. As said again, it is that of the gap with this end."""
    replayed = GapClosed(1001.0, 999.5, KILLED_LATER)
    await _stored(connected, STOPPED, KILLED_LATER, CLOSED, replayed)
    [(began, recovered_from)] = await connected.fetch(
        "SELECT extract(epoch FROM began_at)::float, extract(epoch FROM recovered_from)::float"
        " FROM gaps"
    )
    assert (began, recovered_from) == (1000.0, 999.5)


async def test_a_later_gap_is_one_of_its_own(connected: Database) -> None:
    later = GapOpened(1001.0, "network", "")
    found = await _stored(connected, STREAMING, STOPPED, later)
    assert found == [(1000.0, 1001.0, "stopped"), (1001.0, None, "network")]


async def test_the_late_end_of_a_gap_does_not_end_a_later_one(connected: Database) -> None:
    late = A_OPENED, GapClosed(660.0, None, A_OPENED)
    found = await _stored(connected, B_OPENED, B_WAITS, *late, GapClosed(1000.0, None, B_OPENED))
    assert found == [(600.0, 660.0, "network"), (900.0, 1000.0, "http")]


async def test_nor_does_that_of_an_older_version(connected: Database) -> None:
    late = A_OPENED, GapClosed(660.0)
    found = await _stored(connected, B_OPENED, B_WAITS, *late, GapClosed(1000.0))
    assert found == [(900.0, 1000.0, "http")]


async def test_the_late_last_word_of_a_machine_ends_before_the_open_gap_of_another(
    connected: Database,
) -> None:
    stopped = GapOpened(600.0, "stopped", "the daemon was stopped")
    found = await _stored(connected, B_OPENED, B_WAITS, stopped)
    assert found == [(600.0, 900.0, "stopped"), (900.0, None, "http")]


async def test_a_gap_that_a_late_end_has_cut_short_gets_its_own_end(connected: Database) -> None:
    killed = GapOpened(590.0, "killed", "the daemon was not running")
    late = A_OPENED, GapClosed(660.0, None, A_OPENED)
    found = await _stored(connected, killed, *late, GapClosed(1000.0, None, killed))
    assert [(began, ended) for began, ended, _ in found] == [(590.0, 1000.0)]


async def test_a_gap_ends_also_when_the_clock_was_set_back_meanwhile(connected: Database) -> None:
    found = await _stored(connected, A_OPENED, GapClosed(540.0, None, A_OPENED))
    assert found == [(600.0, 600.0, "network")]


async def test_a_restart_ends_the_gap_that_is_open(connected: Database) -> None:
    stopped = GapOpened(600.0, "stopped", "the daemon was stopped")
    killed = GapOpened(600.2, "killed", "the daemon was not running")
    found = await _stored(connected, stopped, killed, GapClosed(700.0, None, killed))
    assert found == [(600.0, 700.0, "stopped")]


async def test_gaps_of_tracks_do_not_end_with_those_of_another_machine(
    connected: Database,
) -> None:
    async with connected.acquire() as connection:
        source = await sources.add(connection, "main", "x_v2")
        await gaps.open_track_gaps(connection, source, TracksLapsed((1,), 900.0, "of B"))
        await gaps.open_track_gaps(connection, source, TracksLapsed((1,), 600.0, "of A"))
        await gaps.close_track_gaps(connection, source, TracksCovered((1,), 660.0, 600.0))
        rows = await connection.fetch("SELECT detail, ended_at FROM track_gaps ORDER BY began_at")
    assert [(row["detail"], row["ended_at"] is None) for row in rows] == [
        ("of A", False),
        ("of B", True),
    ]
