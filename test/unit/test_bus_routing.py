"""Every message goes to the lanes that it concerns, and another cell takes over only its share."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bus.routing import LaneRouter
from stream.notes import EventNote, Note, StreamOpened, TracksInForce
from stream.store.lanes import HOME, Lane
from stream.tweet import (
    AccountStatus,
    AuthorDeletion,
    AuthorResync,
    Content,
    ControlNotice,
    Deletion,
    Frame,
    GeoScrub,
    HandleChange,
    LaneId,
    Message,
    NativeId,
    SourceId,
    Tweet,
    Withheld,
)

CELLS = (HOME, "east", "west")
IDS = [NativeId(str(number)) for number in range(10_000, 20_000)]
ANY_ID = st.text().map(NativeId)


def lanes(count: int, cells: Sequence[str] = CELLS) -> list[Lane]:
    places = [(cell, number) for cell in cells for number in range(count)]
    return [
        Lane(LaneId(at), SourceId(1), cell, number) for at, (cell, number) in enumerate(places, 1)
    ]


def tweet(native_id: NativeId, created: datetime | None = None) -> Tweet:
    return Tweet(native_id, "original", Content(), created_at=created)


def routed(message: Message, among: Sequence[Lane]) -> list[tuple[str, int]]:
    """Cell and number of a message's lanes."""
    router = LaneRouter(among, lambda _: message)
    return [(among[at].cell, among[at].number) for at in router.route(Frame(1, b"{}", 2))]


def noted(note: Note) -> Frame:
    return Frame(1, msgspec.json.encode(note), 2, is_note=True)


@given(ANY_ID, st.integers(1, 64))
def test_a_tweet_goes_to_one_lane_and_always_the_same(native_id: NativeId, count: int) -> None:
    found = routed(tweet(native_id), lanes(count))
    assert len(found) == 1
    assert routed(tweet(native_id), lanes(count)) == found


@given(ANY_ID, st.integers(1, 64))
def test_its_deletion_follows_it_and_reaches_each_cell(native_id: NativeId, count: int) -> None:
    among = lanes(count)
    [home] = routed(tweet(native_id), among)
    for message in (Deletion(native_id), Withheld(native_id, None, ("DE",))):
        found = routed(message, among)
        assert home in found
        assert [cell for cell, _ in found] == list(CELLS)


@given(ANY_ID, st.sampled_from([-1, 0]))
def test_what_was_posted_before_a_cell_was_added_stays_with_those_of_before(
    native_id: NativeId, second: int
) -> None:
    added = datetime(2026, 1, 2, tzinfo=UTC)
    west_is_new = [
        msgspec.structs.replace(each, takes_from=added.timestamp() if each.cell == "west" else 0.0)
        for each in lanes(3)
    ]
    posted = tweet(native_id, added + timedelta(seconds=second))
    assert routed(posted, west_is_new) == routed(posted, lanes(3, CELLS[: 3 + second]))


@given(ANY_ID)
def test_what_claims_to_be_from_before_1970_is_shared_by_the_first_cells(
    native_id: NativeId,
) -> None:
    west_is_new = [
        msgspec.structs.replace(each, takes_from=1e9 if each.cell == "west" else 0.0)
        for each in lanes(3)
    ]
    posted = tweet(native_id, datetime(1960, 1, 1, tzinfo=UTC))
    assert routed(posted, west_is_new) == routed(posted, lanes(3, CELLS[:2]))


@given(ANY_ID)
def test_a_deletion_finds_a_tweet_of_before_a_cell_was_added(native_id: NativeId) -> None:
    [before] = routed(tweet(native_id), lanes(3, CELLS[:2]))
    assert before in routed(Deletion(native_id), lanes(3))


@pytest.mark.parametrize(
    "message",
    [
        AuthorDeletion("5"),
        AccountStatus("5", "deleted"),
        HandleChange("5", "ann"),
        AuthorResync("5"),
        GeoScrub("5", 7),
        Withheld(None, "5", ("DE",)),
    ],
)
def test_what_concerns_an_author_reaches_each_cell_once(message: Message) -> None:
    assert routed(message, lanes(3)) == [(cell, 0) for cell in CELLS]


def test_a_message_about_the_stream_goes_to_the_first_lane() -> None:
    assert routed(ControlNotice("limit", "", 7), lanes(3)) == [(HOME, 0)]


def test_notes_go_to_the_first_lane_and_what_concerns_all_lanes_to_all() -> None:
    router = LaneRouter(lanes(3), lambda _: tweet(NativeId("7")))
    assert list(router.route(noted(EventNote("journal", "opened", 1.0)))) == [0]
    for note in (StreamOpened("a.example", "v2"), TracksInForce(1.0)):
        assert list(router.route(noted(note))) == list(range(9))


def test_damaged_and_unreadable_frames_go_to_the_first_lane() -> None:
    router = LaneRouter(lanes(3), json.loads)
    assert list(router.route(Frame(1, b"\x00\xff", 2, is_damage=True))) == [0]
    for body in (b"", b"{", b"\xff", b"[" * 100_000):
        assert list(router.route(Frame(1, body, 2))) == [0]


def test_one_lane_gets_everything_without_a_look_at_it() -> None:
    def refuse(_: bytes) -> Message:
        raise AssertionError("not needed")

    assert list(LaneRouter(lanes(1, [HOME]), refuse).route(Frame(1, b"{", 2))) == [0]


@pytest.mark.parametrize(("count", "cells"), [(4, CELLS[:1]), (1, CELLS), (3, CELLS)])
def test_lanes_and_cells_get_about_equal_shares(count: int, cells: Sequence[str]) -> None:
    among = lanes(count, cells)
    found = Counter(place for native_id in IDS for place in routed(tweet(native_id), among))
    share = len(IDS) / len(among)
    assert len(found) == len(among)
    assert all(0.85 * share < number < 1.15 * share for number in found.values())


def test_another_cell_takes_over_only_its_share() -> None:
    moved: Counter[str] = Counter()
    for native_id in IDS:
        [before] = routed(tweet(native_id), lanes(2, CELLS[:2]))
        [after] = routed(tweet(native_id), lanes(2))
        if before != after:
            moved[after[0]] += 1
    assert moved.keys() == {"west"}
    assert abs(moved["west"] - len(IDS) / 3) < len(IDS) / 30
