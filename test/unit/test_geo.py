"""Boxes and circles on the globe, also across the 180th meridian and around the poles."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.geo import around, distance, enclosing, halves, touch, width, wrapped
from stream.matcher import Matcher
from stream.query import parse
from stream.tweet import Box, Content, LonLat, NativeId, Place, TrackId, Tweet

LONGITUDES, LATITUDES = st.floats(-180, 180), st.floats(-90, 90)
POINTS = st.tuples(LONGITUDES, LATITUDES)
BOXES = st.tuples(LONGITUDES, LATITUDES, LONGITUDES, LATITUDES).map(
    lambda edges: (edges[0], min(edges[1], edges[3]), edges[2], max(edges[1], edges[3]))
)
FIJI: Box = (176.9, -20.7, -178.2, -12.5)


def inside(point: LonLat, box: Box) -> bool:
    return touch((*point, *point), box)


@given(BOXES)
def test_halves_are_the_same_area(box: Box) -> None:
    parts = halves(box)
    assert all(-180 <= west <= east <= 180 for west, _, east, _ in parts)
    assert math.isclose(sum(map(width, parts)), width(box), abs_tol=1e-9)


@given(BOXES, BOXES)
def test_touching_is_symmetric_and_the_same_by_halves(one: Box, other: Box) -> None:
    assert touch(one, other) == touch(other, one)
    by_halves = any(touch(part, other) for part in halves(one))
    assert touch(one, other) == by_halves


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((178.0, -19.0, 180.0, -17.0), True),
        ((-180.0, -19.0, -179.0, -17.0), True),
        ((179.0, -19.0, -179.0, -17.0), True),
        ((0.0, -20.0, 10.0, -10.0), False),
        ((-177.0, -19.0, 176.0, -17.0), False),
        ((-180.0, -12.0, 180.0, 10.0), False),
    ],
)
def test_a_box_across_the_date_line_touches_boxes_on_both_sides(box: Box, expected: bool) -> None:
    assert touch(FIJI, box) is expected


def test_both_ways_of_writing_the_date_line_are_one() -> None:
    assert inside((-180, -18), (178, -19, 180, -17))
    assert inside((180, -18), (-180, -19, -178, -17))


@given(POINTS, st.floats(0.001, 20_000), st.floats(0, 1), st.floats(0, 2 * math.pi))
def test_a_circle_lies_in_the_box_around_it(
    centre: LonLat, km: float, share: float, bearing: float
) -> None:
    angle, latitude = km * share / 6371.0088, math.radians(centre[1])
    high = math.asin(
        max(-1, min(1, math.sin(latitude) * math.cos(angle)
            + math.cos(latitude) * math.sin(angle) * math.cos(bearing)))
    )  # fmt: skip
    turn = math.atan2(
        math.sin(bearing) * math.sin(angle) * math.cos(latitude),
        math.cos(angle) - math.sin(latitude) * math.sin(high),
    )
    longitude = (centre[0] + math.degrees(turn) + 180) % 360 - 180
    assert inside((longitude, math.degrees(high)), around(centre, km))


@given(POINTS, BOXES, POINTS)
def test_no_point_of_a_box_is_nearer_than_its_distance(
    centre: LonLat, box: Box, other: LonLat
) -> None:
    if inside(other, box):
        assert distance(centre, box) <= distance(centre, (*other, *other)) + 1e-6
    if inside(centre, box):
        assert distance(centre, box) == 0


@given(BOXES)
def test_the_corners_of_a_box_enclose_it_when_they_begin_in_the_south_west(box: Box) -> None:
    west, south, east, north = box
    ring = [(west, south), (west, north), (east, north), (east, south)]
    if west < east or width(box) < 180:
        assert enclosing([ring]) == pytest.approx(box, abs=1e-8)


@given(st.lists(st.lists(st.tuples(st.floats(-600, 600), st.floats(-100, 100)))))
def test_any_rings_give_a_box_or_none(rings: list[list[LonLat]]) -> None:
    box = enclosing(rings)
    assert box is None or wrapped(*box) == box


@pytest.mark.parametrize(
    ("track", "point", "expected"),
    [
        ("point_radius:[179.9 0 30km]", (-179.9, 0.0, -179.8, 0.1), True),
        ("point_radius:[179.9 0 10km]", (-179.9, 0.0, -179.8, 0.1), False),
        ("point_radius:[-179.9 0 30km]", (170.0, -1.0, 179.9, 1.0), True),
        ("point_radius:[0 89.9 30km]", (100.0, 89.9, 110.0, 90.0), True),
        ("point_radius:[0 89.9 9km]", (100.0, 89.9, 110.0, 90.0), False),
        ("bounding_box:[178 -19 -179 -17]", FIJI, True),
        ("bounding_box:[0 -20 10 -10]", FIJI, False),
        ("bounding_box:[178 -19 180 -17]", (-180.0, -18.0, -180.0, -18.0), True),
    ],
)
def test_the_index_of_the_matcher_finds_them(track: str, point: Box, expected: bool) -> None:
    matcher = Matcher([(TrackId(1), parse("query", track))])
    tweet = Tweet(NativeId("1"), "original", Content(), place=Place(box=point))
    assert bool(matcher.match(tweet)) is expected
