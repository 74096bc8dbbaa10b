"""The table of look-backs: requesting, cancelling and pruning them."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from stream.db import Database
from stream.errors import TwitterstreamError
from stream.store import look_back_queue, look_backs, tracks
from stream.store.look_backs import NewLookBack, Requested
from stream.store.tracks import NewTrack
from stream.tweet import TrackId

NOW = datetime.now(UTC)


async def track(database: Database) -> TrackId:
    async with database.acquire() as connection:
        return await tracks.add(connection, NewTrack("snow"))


async def test_an_unfinished_look_back_is_requested_once(connected: Database) -> None:
    new = [NewLookBack("stored"), NewLookBack("author", NOW, "a.example")]
    track_id = await track(connected)
    async with connected.acquire() as connection:
        first = await look_backs.add(connection, track_id, new, "ann")
        assert [each.how for each in first] == ["new", "new"]
        assert await look_backs.add(connection, track_id, new, "bob") == [
            Requested(each.id, "covered") for each in first
        ]
        assert await look_backs.cancel(connection, first[0].id)
        assert not await look_backs.cancel(connection, first[0].id)
        again = await look_backs.add(connection, track_id, new, None)
        assert again[0].id > first[0].id
        assert again[1] == Requested(first[1].id, "covered")
        rows = await look_backs.of_track(connection, track_id)
    assert [(row.place, row.requested_by, row.state) for row in rows] == [
        ("stored", None, "waiting"),
        ("author", "ann", "waiting"),
        ("stored", "ann", "cancelled"),
    ]


async def test_an_unfinished_one_is_widened_but_never_narrowed(connected: Database) -> None:
    track_id = await track(connected)
    wide, narrow = NOW - timedelta(days=2), NOW - timedelta(hours=1)
    async with connected.acquire() as connection:
        [first] = await look_backs.add(connection, track_id, [NewLookBack("network", narrow)], "a")
        assert await look_back_queue.claim(connection)
        requests: list[tuple[datetime | None, Literal["covered", "widened"], datetime | None]] = [
            (NOW, "covered", narrow),
            (wide, "widened", wide),
            (narrow, "covered", wide),
            (None, "widened", None),
            (wide, "covered", None),
            (None, "covered", None),
        ]
        for since, how, kept in requests:
            new = [NewLookBack("network", since)]
            assert await look_backs.add(connection, track_id, new, "b") == [
                Requested(first.id, how)
            ]
            [row] = await look_backs.of_track(connection, track_id)
            assert row.since == kept
            assert row.state == ("running" if kept == narrow else "waiting")
            assert row.requested_by == ("a" if kept == narrow else "b")


async def test_a_postponed_one_waits_while_others_are_done(connected: Database) -> None:
    track_id = await track(connected)
    async with connected.acquire() as connection:
        new = [NewLookBack("network"), NewLookBack("stored")]
        first, second = [each.id for each in await look_backs.add(connection, track_id, new, None)]
        assert (claimed := await look_back_queue.claim(connection))
        assert claimed.id == first
        await look_back_queue.postpone(connection, first, "No connection.")
        assert (claimed := await look_back_queue.claim(connection, [first]))
        assert claimed.id == second
        assert await look_back_queue.claim(connection, [first, second]) is None
        postponed = await look_backs.by_id(connection, first)
    assert postponed
    assert (postponed.state, postponed.reason) == ("waiting", "No connection.")


async def request(database: Database, user: str | None, number: int) -> list[int]:
    """Look-backs that a user requests, each of a track of its own."""
    ids = []
    for _ in range(number):
        track_id = await track(database)
        async with database.acquire() as connection:
            new = [NewLookBack("stored")]
            ids += [each.id for each in await look_backs.add(connection, track_id, new, user)]
    return ids


async def test_users_take_turns_and_see_their_place_in_the_queue(connected: Database) -> None:
    first = await request(connected, "ann", 3)
    second = await request(connected, "bob", 2)
    third = await request(connected, None, 1)
    turns = [first[0], second[0], third[0], first[1], second[1], first[2]]
    async with connected.acquire() as connection:

        async def queue() -> list[int]:
            rows = await look_backs.by_ids(connection, turns)
            places = {row.position: row.id for row in rows if row.position is not None}
            return [places[number] for number in sorted(places)]

        for number, expected in enumerate(turns):
            assert await queue() == turns[number:]
            claimed = await look_back_queue.claim(connection)
            assert claimed
            assert claimed.id == expected
            again = await look_back_queue.claim(connection)
            assert again
            assert again.id == expected, "one that was interrupted goes on"
            await look_back_queue.finish(connection, expected, "done", "")
    later = await request(connected, "ann", 1), await request(connected, "eve", 1)
    async with connected.acquire() as connection:
        for [expected] in reversed(later):
            claimed = await look_back_queue.claim(connection)
            assert claimed
            assert claimed.id == expected
            await look_back_queue.finish(connection, expected, "done", "")


async def test_one_that_waits_for_something_else_has_no_place_in_the_queue(
    connected: Database,
) -> None:
    ids = await request(connected, "ann", 3)
    async with connected.acquire() as connection:
        assert await look_back_queue.claim(connection)
        assert not await look_back_queue.others_wait(connection, ids[0], [])
        await look_back_queue.postpone(connection, ids[0], "No connection.")
        rows = await look_backs.by_ids(connection, ids)
        assert {row.id: row.position for row in rows} == dict(zip(ids, (None, 1, 2), strict=True))
        other = await request(connected, "bob", 1)
        assert await look_back_queue.others_wait(connection, ids[0], [])
        assert not await look_back_queue.others_wait(connection, ids[0], other)
        claimed = await look_back_queue.claim(connection, [ids[0]])
        assert claimed
        assert claimed.id == other[0], "ann has had a turn"


@pytest.mark.parametrize(
    ("resume_at", "left"),
    [
        ('{"notes": ["Some are missing.", "5 bytes were skipped."]}', "Some are missing. 5 bytes"),
        *((wrong, "") for wrong in ("5", "{}", '{"notes": 7}', '"notes"', "[]")),
    ],
)
async def test_a_cancelled_one_waits_for_nothing_but_tells_what_was_missing(
    connected: Database, resume_at: str, left: str
) -> None:
    track_id = await track(connected)
    async with connected.acquire() as connection:
        new = [NewLookBack("network"), NewLookBack("stored")]
        first, second = [each.id for each in await look_backs.add(connection, track_id, new, None)]
        await connection.execute(
            "UPDATE look_backs SET state = 'running', resume_at = $1", resume_at.encode()
        )
        await look_back_queue.postpone(connection, first, "No connection. Retried every minute.")
        await look_back_queue.note_reason(
            connection, second, f"No connection. {look_backs.RETRYING}"
        )
        assert await look_backs.cancel(connection, first)
        assert not await look_backs.cancel(connection, first)
        assert await look_backs.cancel_all(connection, track_id) == 1
        for row in await look_backs.of_track(connection, track_id):
            assert row.state == "cancelled"
            assert row.reason.startswith(left)
            assert bool(row.reason) == bool(left)


async def test_nonsense_is_refused_by_name(connected: Database) -> None:
    track_id = await track(connected)
    async with connected.acquire() as connection:
        with pytest.raises(TwitterstreamError, match="look_backs_author_given"):
            await look_backs.add(connection, track_id, [NewLookBack("author")], None)
        for since in (NOW + timedelta(days=1), datetime(1800, 1, 1, tzinfo=UTC)):
            with pytest.raises(TwitterstreamError, match="must be a time in the past"):
                await look_backs.add(connection, track_id, [NewLookBack("stored", since)], None)
        with pytest.raises(TwitterstreamError, match="look_backs_track_id_fkey"):
            await look_backs.add(connection, TrackId(999), [NewLookBack("stored")], None)


async def test_finished_ones_are_pruned_by_age_and_all_go_with_the_track(
    connected: Database,
) -> None:
    track_id = await track(connected)
    async with connected.acquire() as connection:
        await look_backs.add(connection, track_id, [NewLookBack("stored")], None)
        assert not await look_backs.prune(connection, NOW + timedelta(days=1), 10)
        await connection.execute("UPDATE look_backs SET state = 'done'")  # by psql
        assert not await look_backs.prune(connection, NOW - timedelta(days=1), 10)
        await look_backs.add(connection, track_id, [NewLookBack("recorded")], None)
        assert await look_backs.prune(connection, NOW + timedelta(days=1), 10) == 1
        assert len(await look_backs.of_track(connection, track_id)) == 1
        await tracks.remove(connection, track_id)
        assert await look_backs.of_track(connection, track_id) == []
