"""What people write into `tracks`, put in force; a row that cannot be read harms only itself."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream import db
from stream.config import Settings
from stream.matcher import Matcher
from stream.networks.planning import Clause
from stream.networks.x_v2.plan import XV2Planner
from stream.query import Alternative, And, Not, Phrase, Query, Term, parse
from stream.reconciler import SLICE_TRACKS, TrackReconciler
from stream.store.track_changes import ChangeReader, TrackChanges
from stream.store.tracks import Track
from stream.tracking_plan import ActiveTracks
from stream.tweet import Content, NativeId, NetworkName, SourceId, TrackId, Tweet

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

UNCONSTRAINED = """
ALTER TABLE tracks DROP CONSTRAINT tracks_dates_in_range, DROP CONSTRAINT tracks_networks_flat
"""
SOURCE = "INSERT INTO sources (name, network) VALUES ('main', 'x_v2')"


@pytest.fixture
async def connected(connected: db.Database) -> db.Database:
    await connected.execute(SOURCE)
    return connected


def reconciler(connected: db.Database) -> TrackReconciler:
    return TrackReconciler(connected, Settings(), *[lambda _: None] * 3)


async def states(connected: db.Database) -> list[tuple[str, str]]:
    rows = await connected.fetch("SELECT state, reason FROM tracks ORDER BY id")
    return [(row["state"], row["reason"]) for row in rows]


async def test_a_row_that_cannot_be_read_is_refused_and_spoils_no_other(
    connected: db.Database,
) -> None:
    await connected.execute(UNCONSTRAINED)
    await connected.execute(
        """
        INSERT INTO tracks (value, starts_at, ends_at) VALUES
            ('snow', NULL, NULL), ('never ends', NULL, 'infinity'),
            ('always was', '-infinity', NULL), ('far off', '10000-01-01', NULL),
            ('long ago', '0044-03-15 BC', NULL), ('ice', NULL, NULL)
        """
    )
    at = reconciler(connected)
    await at.reload()
    found = await states(connected)
    assert [state for state, _ in found] == ["active", *["refused"] * 4, "active"]
    assert all("cannot be read" in reason for _, reason in found[1:5])
    assert [track.id for track in at.tracks] == [1, 6]
    await connected.execute("UPDATE tracks SET starts_at = NULL, ends_at = NULL")
    await at.reload()
    assert await states(connected) == [("active", "")] * 6


def track(number: int, value: str) -> Track:
    return Track(TrackId(number), None, "keyword", value, None, True, None, None, 0, "pending", "")


def tweet(text: str) -> Tweet:
    return Tweet(native_id=NativeId("1"), kind="original", own=Content(text=text))


class Unkind(XV2Planner):
    """Fails for one word, as an error of our own would."""

    def touched(self, clause: Clause[Any]) -> None:
        super().touched(clause)
        if clause.owners and clause.alternative.term == "bad":
            raise RuntimeError("out of order")


def test_a_track_that_cannot_be_parsed_or_planned_is_refused_and_spoils_no_other() -> None:
    active = ActiveTracks(Settings())
    active.update((), (), frozenset({"x_v2", "x_v1"}))
    active._planners["x_v2"] = Unkind(Settings())
    song = msgspec.structs.replace(track(3, "x"), kind="song")  # no constraint kept it out
    wanted = [track(1, "snow"), track(2, "good,bad"), song]
    change = active.update(wanted, (), frozenset({"x_v2", "x_v1"}))
    assert sorted(active.refused) == [2, 3]
    assert all("An internal error" in why for why in active.refused.values())
    assert [track_id for track_id, _ in change.added] == [1]
    assert all(plan.asked == 1 for plan in active.plans.values())
    change = active.update([track(2, "good")], [TrackId(3)], frozenset({"x_v2", "x_v1"}))
    assert active.refused == {}
    assert [track_id for track_id, _ in change.added] == [2]
    assert all(plan.asked == 2 for plan in active.plans.values())


def test_a_track_that_cannot_be_matched_is_refused_and_spoils_no_other() -> None:
    node = And((Term("snow"), Not(Phrase(None))))  # type: ignore[arg-type] # broken
    broken = Query("query", (Alternative("bad", node),))
    matcher = Matcher([(TrackId(1), parse("keyword", "snow")), (TrackId(2), broken)])
    assert [match.track_id for match in matcher.match(tweet("snow"))] == [1]
    assert "An internal error" in matcher.faults[TrackId(2)]


async def test_what_is_stored_of_a_new_source_waits_until_all_tracks_can_be_matched(
    connected: db.Database,
) -> None:
    """A writer that began sooner would store its first tweets without their tracks."""
    count = 3 * SLICE_TRACKS
    await connected.execute(
        f"INSERT INTO tracks (value) SELECT 'snow' FROM generate_series(1, {count})"
    )
    at, matched = reconciler(connected), []
    loading = asyncio.create_task(at.reload())
    while not loading.done():
        await asyncio.sleep(0)
        if at.sources:
            matched.append((bool(at.matched_sources), len(at.matcher.match(tweet("snow")))))
    await loading
    assert (False, 0) in matched, "known before its tracks are"
    assert {number for known, number in matched if known} == {count}


async def test_only_what_has_changed_is_read_again_and_nothing_is_missed(
    connected: db.Database, eventually: Eventually
) -> None:
    """Also what a transaction that was open meanwhile commits later."""
    await connected.execute(
        "INSERT INTO tracks (value) SELECT 'word' || n FROM generate_series(1, 2500) n"
    )
    reader = ChangeReader()
    first = await reader.read(connected)
    assert len(first.tracks) == 2500

    async def is_quiet() -> bool:  # a transaction of another database may still be open
        return not (await reader.read(connected)).tracks

    await eventually(is_quiet)
    async with connected.transaction() as slow:
        await slow.execute("UPDATE tracks SET value = 'slow' WHERE id = 7")
        await connected.execute("UPDATE tracks SET value = 'quick' WHERE id = 8")
        await connected.execute("DELETE FROM tracks WHERE id = 9")
        await connected.execute("INSERT INTO tracks (value) VALUES ('new')")
        found = await reader.read(connected)
        assert sorted(track.id for track in found.tracks) == [8, 2501]
        assert found.gone == {9}
    found = await reader.read(connected)
    assert {track.id: track.value for track in found.tracks}[TrackId(7)] == "slow"
    assert len(found.tracks) <= 3
    assert found.gone == set()
    await connected.execute("DELETE FROM tracks")
    assert len((await reader.read(connected)).gone) == 2500
    reader.forget()
    nothing = await reader.read(connected)
    assert nothing == TrackChanges([], {}, set(), nothing.at)


async def test_a_track_that_one_source_refuses_and_another_brings_is_followed_in_part(
    connected: db.Database,
) -> None:
    await connected.execute("INSERT INTO sources (name, network) VALUES ('other', 'x_v2')")
    await connected.execute("INSERT INTO tracks (value) VALUES ('snow')")
    at = reconciler(connected)
    at.note_network_report(SourceId(1), "refused", {TrackId(1): "snow: X refuses this rule."})
    await at.reload()
    assert await states(connected) == [("partial", "main: snow: X refuses this rule.")]
    at.note_network_report(SourceId(2), "refused", {TrackId(1): "snow: X refuses this rule."})
    await at.reload()
    [(state, reason)] = await states(connected)
    assert state == "refused"
    assert "other: snow" in reason
    await connected.execute("UPDATE sources SET enabled = false WHERE name = 'other'")
    at.note_network_report(SourceId(1), "refused", {})
    await at.reload()
    assert await states(connected) == [("active", "")]


async def test_a_track_of_which_a_source_refuses_a_part_is_partial_and_its_reach_says_so(
    connected: db.Database,
) -> None:
    await connected.execute("INSERT INTO tracks (value) VALUES ('snow, ice')")
    at = reconciler(connected)
    text = "Tracked only partly. ice: X refuses this rule."
    at.note_network_report(SourceId(1), "reach", {TrackId(1): text})
    at.note_network_report(SourceId(1), "refused", {TrackId(1): "ice: X refuses this rule."})
    await at.reload()
    assert await states(connected) == [("partial", "main: ice: X refuses this rule.")]
    [row] = await connected.fetch("SELECT how, sentence FROM track_reach")
    assert tuple(row) == ("pushed", text)


OUT = """
UPDATE sources SET state = 'waiting', reason = 'connection refused', last_at = now() - interval '{}'
WHERE name = 'main'
"""


async def test_a_track_whose_only_source_does_not_deliver_is_pending_until_it_does(
    connected: db.Database,
) -> None:
    """With the reason, also while the source connects again; a short interruption is none."""
    await connected.execute("INSERT INTO tracks (value) VALUES ('snow')")
    at = reconciler(connected)

    async def states_after(change: str) -> list[tuple[str, str]]:
        await connected.execute(change)
        await at.reload()
        return await states(connected)

    out = [("pending", "main does not deliver: connection refused.")]
    assert await states_after(OUT.format("50 s")) == [("active", "")]
    assert await states_after(OUT.format("70 s")) == out
    connecting = "UPDATE sources SET state = 'connecting', reason = 'opening the stream'"
    assert await states_after(connecting) == out
    streaming = "UPDATE sources SET state = 'streaming', reason = ''"
    assert await states_after(streaming) == [("active", "")]
    failed = "UPDATE sources SET state = 'failed', reason = 'The token is invalid.', last_at = NULL"
    assert await states_after(failed) == [
        ("pending", "main does not deliver: The token is invalid.")
    ]
    assert await states_after("UPDATE sources SET state = 'idle'") == [("active", "")]


async def test_a_track_is_partial_while_only_some_of_its_networks_deliver(
    connected: db.Database,
) -> None:
    await connected.execute(OUT.format("1 h"))
    await connected.execute("INSERT INTO sources (name, network) VALUES ('other', 'x_v2')")
    await connected.execute("INSERT INTO tracks (value) VALUES ('snow')")
    at = reconciler(connected)
    await at.reload()
    assert await states(connected) == [("active", "")], "the other source delivers the same"
    at.note_network_report(SourceId(2), "refused", {TrackId(1): "X refuses this rule."})
    await at.reload()
    neither = "other: X refuses this rule. main does not deliver: connection refused."
    assert await states(connected) == [("pending", neither)]
    await connected.execute("INSERT INTO sources (name, network) VALUES ('blue', 'bluesky')")
    await at.reload()
    assert await states(connected) == [("partial", neither)]


async def test_a_track_is_credited_only_with_tweets_of_its_networks(connected: db.Database) -> None:
    await connected.execute("INSERT INTO tracks (value) VALUES ('snow')")
    await connected.execute("INSERT INTO tracks (value, networks) VALUES ('snow', '{x_v2}')")
    at = reconciler(connected)
    await at.reload()

    def found(network: NetworkName) -> list[int]:
        return [match.track_id for match in at.match(tweet("snow"), network)]

    assert (found("x_v2"), found("bluesky")) == ([1, 2], [1])
    await connected.execute("UPDATE tracks SET networks = '{bluesky,x_v2}' WHERE id = 2")
    await at.reload()
    assert found("bluesky") == [1, 2]
    await connected.execute("UPDATE tracks SET networks = NULL, enabled = id = 1")
    await at.reload()
    assert found("bluesky") == [1]


async def test_a_track_of_a_network_without_an_enabled_source_says_so_with_the_remedy(
    connected: db.Database,
) -> None:
    await connected.execute(
        "INSERT INTO tracks (value, networks)"
        " VALUES ('snow', '{mastodon}'), ('ice', '{x_v2,mastodon,bluesky}'), ('rain', NULL)"
    )
    remedy = (
        "enabled: add or enable one on the page Sources, or with `twitterstream.py source add`."
    )
    at = reconciler(connected)
    await at.reload()
    assert await states(connected) == [
        ("pending", f"No source of mastodon is {remedy}"),
        ("partial", f"No source of bluesky or mastodon is {remedy}"),
        ("active", ""),
    ]
    await connected.execute("UPDATE sources SET enabled = false")
    await at.reload()
    assert (await states(connected))[-1] == ("pending", f"No source is {remedy}")
    await connected.execute("INSERT INTO sources (name, network) VALUES ('social', 'mastodon')")
    await at.reload()
    assert (await states(connected))[0] == ("active", "")


async def test_a_track_begins_and_ends_at_its_time_though_nothing_else_happens(
    connected: db.Database, eventually: Eventually
) -> None:
    await connected.execute(
        "INSERT INTO tracks (value, starts_at, ends_at)"
        " VALUES ('snow', now() + interval '1 s', now() + interval '2 s')"
    )
    at = reconciler(connected)
    seen: list[str] = []

    async def ended() -> bool:
        await at.reload()
        [(state, _)] = await states(connected)
        if state not in seen:
            seen.append(state)
        return state == "ended"

    await eventually(ended)
    assert seen[0] == "scheduled"
    assert not at.matcher.match(tweet("snow"))


async def test_a_source_of_another_network_is_planned_without_pauses_of_the_garbage_collector(
    connected: db.Database,
) -> None:
    """It would look through all tracks again and again, and hold up the loop meanwhile."""
    await connected.execute(
        "INSERT INTO tracks (value) SELECT 'word' || n || ',two words' || n"
        " FROM generate_series(1, 1200) n"
    )
    at = reconciler(connected)
    await at.reload()
    whole: list[int] = []  # collections that look through everything

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2 and len(at._active.plans) == 1:
            whole.append(info["collected"])

    await connected.execute("INSERT INTO sources (name, network) VALUES ('other', 'x_v1')")
    usual = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(100, 2, 2)  # as if there were many more tracks
    try:
        await at.reload()
    finally:
        gc.set_threshold(*usual)
        gc.callbacks.remove(note)
    assert whole == []
    assert "v1.1 stream takes" in (await states(connected))[-1][1]
