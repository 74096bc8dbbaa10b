"""What a server says reaches the tables whatever it is: NUL, lone surrogates, megabytes."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from stream import db
from stream.keys import tweet_key
from stream.notes import EventNote, GapOpened, StateNote
from stream.store import events, gaps, ingest_log, sources, tracks
from stream.store.lanes import first_lane

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from stream.db import Executor

TEXTS = ["a\x00b", "\ud800", "x\udfff\ud800", "long " * 600_000, "\x00" * 3_000_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_every_text_is_stored_and_short(database: str, text: str) -> None:
    async with db.connect(database) as opened, opened.transaction() as connection:
        source = await sources.add(connection, f"s{uuid.uuid4().hex}", "x_v2")
        track = await tracks.add(connection, tracks.NewTrack("snow"))
        await sources.write_state(connection, source, StateNote("failed", text, 2e9))
        await events.add(connection, source, EventNote("state", text, 2e9))
        await gaps.open_gap(connection, source, GapOpened(1e9, "http", text))
        verdict = tracks.TrackStatus(track, "snow", "refused", text)
        await tracks.write_states(connection, [verdict])
        key = tweet_key(1_900_000_000_000_000, first_lane(source))
        received = 1_900_000_000_000_000
        await ingest_log.add_reject(connection, source, key, received, ("bad_shape", text), b"x")
        for place in ("sources.reason", "events.text", "gaps.detail", "tracks.reason"):
            assert 0 < await _longest(connection, place) <= 2000
        assert 0 < await _longest(connection, "rejects.detail") <= 1000


async def _longest(connection: Executor, place: str) -> int:
    table, column = place.split(".")
    [row] = await connection.fetch(f"SELECT max(length({column})) AS longest FROM {table}")
    return int(row["longest"])
