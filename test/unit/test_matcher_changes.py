"""The matcher after tracks were added and removed, and its index of boxes."""

import random

import pytest

from pgbench.matcher import tracks, tweets
from stream.matcher import Matcher
from stream.matcher.index import BoxIndex
from stream.query import Query, TrackKind, parse
from stream.tweet import Box, Content, Match, NativeId, TrackId, Tweet

WRITTEN: list[tuple[TrackKind, str]] = [
    ("keyword", "snow,東京,京"),
    ("keyword", "東京都 雪"),
    ("keyword", "été rain,snow"),
    ("query", "(snow OR ice) -is:retweet lang:en"),
    ("query", "place:oslo (東京 OR snow)"),
    ("user", "@nasa,12"),
    ("place", "-10,-10,10,10"),
]


def matched(matcher: Matcher, some: list[Tweet]) -> list[list[Match]]:
    return [matcher.match(each) for each in some]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_changed_matcher_equals_a_new_one(seed: int) -> None:
    rng = random.Random(seed)
    written = [(TrackId(n), parse(*each)) for n, each in enumerate(WRITTEN, 10_000)]
    every = [*tracks(400), *written]
    texts = ("snow on 東京都の雪", "été", "ice and RAIN", "@nasa in 京")
    some = [
        *tweets(150),
        *(
            Tweet(NativeId(str(n)), "original", Content(text), point=(0.0, float(n)), lang="en")
            for n, text in enumerate(texts)
        ),
    ]
    there: dict[TrackId, Query] = {}
    matcher = Matcher()
    for _ in range(30):
        added = dict(rng.sample(every, 60))
        for track in rng.sample(list(there), len(there) // 3):
            matcher.remove(track, there.pop(track))
        fresh = {track: query for track, query in added.items() if track not in there}
        matcher.add(fresh.items())
        there |= fresh
    assert any(matched(matcher, some))
    assert matched(matcher, some) == matched(Matcher(sorted(there.items())), some)
    for track, query in there.items():
        matcher.remove(track, query)
    assert not any(matched(matcher, some))
    kept = {name: value for name, value in vars(matcher).items() if name != "_by_kind"}
    assert not any(kept.values()), "nothing is left of tracks that are gone"


def test_the_box_index_finds_every_box_that_touches() -> None:
    rng = random.Random(3)

    def box() -> Box:
        side = 2.0 ** rng.uniform(-12, 8)
        west, south = rng.uniform(-180, 180), rng.uniform(-90, 90)
        return west, south, west + side, south + side * rng.random()

    boxes = [box() for _ in range(2000)]
    index = BoxIndex[int]()
    for number, each in enumerate(boxes):
        index.add(each, number)
    gone = set(rng.sample(range(2000), 1000))
    for number in gone:
        index.remove(boxes[number], number)
    assert len(index) == 1000
    for _ in range(200):
        area = box()
        expected = {
            number
            for number, each in enumerate(boxes)
            if number not in gone
            and each[0] <= area[2]
            and each[2] >= area[0]
            and each[1] <= area[3]
            and each[3] >= area[1]
        }
        found = index.touching(area)
        assert set(found) == expected
        assert len(found) == len(expected)
    with pytest.raises(ValueError, match=r"no such box|not in list"):
        index.remove((0, 0, 1, 1), -1)


@pytest.mark.parametrize("count", [0, 1, 17, 3000])
def test_many_boxes_of_all_sizes_are_found(count: int) -> None:
    rng = random.Random(count)
    boxes = []
    for _ in range(count):
        west, south = rng.randrange(-1800, 1790) / 10, rng.randrange(-900, 890) / 10
        size = rng.choice([0.1, 0.3, 5, 400])
        boxes.append((west, south, min(180.0, west + size), min(90.0, south + size)))
    matcher = Matcher(
        (TrackId(number), parse("place", ",".join(map(str, box))))
        for number, box in enumerate(boxes)
    )
    for _ in range(100):
        point = (rng.randrange(-1800, 1801) / 10, rng.randrange(-900, 901) / 10)
        tweet = Tweet(native_id=NativeId("1"), kind="original", own=Content(), point=point)
        inside = [
            number
            for number, (west, south, east, north) in enumerate(boxes)
            if west <= point[0] <= east and south <= point[1] <= north
        ]
        assert [match.track_id for match in matcher.match(tweet)] == inside
