"""Gaps when one machine takes a source over, and its notes are stored before those of the other."""

import pytest

from stream.db import Database
from stream.notes import GapClosed, GapOpened, StateNote
from stream.store import gaps, sources

STOPPED = GapOpened(1000.0, "stopped", "the source was changed")
KILLED = GapOpened(999.0, "killed", "the daemon was not running")
CLOSED = GapClosed(1001.0)
STREAMING = StateNote("streaming", "", 1001.0)


@pytest.mark.parametrize(
    "stored",
    [
        (STOPPED, STREAMING, CLOSED),
        (STREAMING, CLOSED, STOPPED),
        (KILLED, STREAMING, CLOSED, STOPPED),
        (KILLED, STOPPED, STREAMING, CLOSED),
    ],
)
async def test_it_is_one_gap_with_its_cause_and_its_end(
    connected: Database, stored: tuple[GapOpened | GapClosed | StateNote, ...]
) -> None:
    async with connected.acquire() as connection:
        source = await sources.add(connection, "main", "x_v2")
        for note in stored:
            match note:
                case GapOpened():
                    await gaps.open_gap(connection, source, note)
                case GapClosed():
                    await gaps.close_gap(connection, source, note)
                case StateNote():
                    await sources.write_state(connection, source, note)
        rows = await connection.fetch(
            "SELECT cause, detail, extract(epoch FROM ended_at)::float AS ended FROM gaps"
        )
    assert [(row["cause"], row["detail"], row["ended"]) for row in rows] == [
        ("stopped", "the source was changed", 1001.0)
    ]


async def test_a_later_gap_is_one_of_its_own(connected: Database) -> None:
    async with connected.acquire() as connection:
        source = await sources.add(connection, "main", "x_v2")
        await sources.write_state(connection, source, STREAMING)
        await gaps.open_gap(connection, source, STOPPED)
        await gaps.open_gap(connection, source, GapOpened(1001.0, "network", ""))
        rows = await connection.fetch("SELECT cause, ended_at FROM gaps ORDER BY id")
    assert [row["cause"] for row in rows] == ["stopped", "network"]
    assert rows[1]["ended_at"] is None
