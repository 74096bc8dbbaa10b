"""Boxes of degrees on the globe. A box whose west is greater than its east crosses the 180th
meridian, as in RFC 7946 §5.2."""

import math
from collections.abc import Iterable, Sequence

from stream.tweet import Box, LonLat

KM_PER_DEGREE = 111.32  # of latitude, and of longitude at the equator; rounded up
_EARTH_KM = 6371.0088  # mean radius
_BEYOND = 540.0  # degrees; longitudes that some tools write for what lies across the meridian


def halves(box: Box) -> tuple[Box, ...]:
    """Split a box at the 180th meridian: one or two boxes that do not cross it."""
    west, south, east, north = box
    if west <= east:
        return (box,)
    both = (west, south, 180.0, north), (-180.0, south, east, north)
    # One that only touches the meridian has no half on its other side.
    return tuple(half for half in both if half[0] < half[2]) or both[:1]


def width(box: Box) -> float:
    """Width of a box from west to east, in degrees."""
    return box[2] - box[0] + (360.0 if box[2] < box[0] else 0.0)


def touch(one: Box, other: Box) -> bool:
    """Whether they share at least a point; 180 and -180 are the same meridian."""
    if one[1] > other[3] or one[3] < other[1]:
        return False
    if _is_on_meridian(one) and _is_on_meridian(other):
        return True
    return any(a[0] <= b[2] and a[2] >= b[0] for a in halves(one) for b in halves(other))


def _is_on_meridian(box: Box) -> bool:
    return box[0] > box[2] or box[2] == 180 or box[0] == -180


def wrapped(west: float, south: float, east: float, north: float) -> Box | None:
    """The box of these edges, with longitudes beyond 180 normalized; None if out of range."""
    if not (abs(west) <= _BEYOND and abs(east) <= _BEYOND and -90 <= south <= north <= 90):
        return None
    if abs(west) <= 180 and abs(east) <= 180:
        return west, south, east, north
    if east - west >= 360:
        return -180.0, south, 180.0, north
    return _wrap(west), south, _wrap(east), north


def around(centre: LonLat, km: float) -> Box:
    """A box that holds a circle, with a little room for rounding and for the shape of the earth."""
    longitude, latitude = centre
    high = km / KM_PER_DEGREE * 1.01 + 1e-6
    south, north = max(latitude - high, -90.0), min(latitude + high, 90.0)
    squeeze = math.cos(math.radians(max(abs(south), abs(north))))
    wide = high / squeeze if max(-south, north) < 90 and squeeze > 0 else 360.0
    if wide >= 180:
        return -180.0, south, 180.0, north
    return _wrap(longitude - wide), south, _wrap(longitude + wide), north


def distance(point: LonLat, box: Box) -> float:
    """Kilometres along the surface to the nearest point of a box."""
    longitude, latitude = point
    west, south, east, north = box
    if touch((longitude, south, longitude, south), box):
        return _kilometres(point, (longitude, min(max(latitude, south), north)))
    nearest = []
    for edge in (west, east):
        turn, height = math.radians(edge - longitude), math.radians(latitude)
        # The nearest point is on the edge's meridian or at an end of the edge.
        best = math.degrees(math.atan2(math.sin(height), math.cos(height) * math.cos(turn)))
        latitudes = (south, north, best) if south <= best <= north else (south, north)
        nearest += [_kilometres(point, (edge, at)) for at in latitudes]
    return min(nearest)


def enclosing(rings: Iterable[Sequence[LonLat]]) -> Box | None:
    """The box around the rings of a polygon, longitude first."""
    spans: list[tuple[float, float]] = []
    latitudes: list[float] = []
    for ring in rings:
        if not ring:
            continue
        latitudes += [latitude for _, latitude in ring]
        west, wide = _span(ring)
        if wide >= 360 and len({longitude for longitude, _ in ring}) > 2:  # around a pole
            latitudes.append(math.copysign(90, sum(latitude for _, latitude in ring)))
        spans.append((west, wide))
    if not spans:
        return None
    west, wide = _union(spans)
    return wrapped(west, min(latitudes), west + wide, max(latitudes))


def _span(ring: Sequence[LonLat]) -> tuple[float, float]:
    """The westernmost longitude of a ring and how far it reaches to the east."""
    longitudes = [longitude for longitude, _ in ring]
    west, east = min(longitudes), max(longitudes)
    if east - west <= 180:
        return west, east - west
    first, latitude = ring[0]
    if len(set(longitudes)) == 2:
        # A rectangle: X begins in its south-west, which distinguishes a wide one from one that
        # crosses the date line.
        crosses = first == east and latitude == min(latitude for _, latitude in ring)
        return (east, 360 + west - east) if crosses else (west, east - west)
    at = lowest = highest = first
    for longitude in [*longitudes[1:], first]:
        at += (longitude - at + 180) % 360 - 180  # each step the shorter way round
        lowest, highest = min(lowest, at), max(highest, at)
    return (lowest, highest - lowest) if abs(at - first) < 1 else (-180.0, 360.0)


def _union(spans: list[tuple[float, float]]) -> tuple[float, float]:
    """The shortest interval of longitudes that contains all of them."""
    if len(spans) == 1:
        return spans[0]
    begins = sorted((_wrap(west), wide) for west, wide in spans)
    end = begins[0][0] + begins[0][1]
    gap, first = 0.0, begins[0][0]
    for west, wide in begins[1:]:
        if west - end > gap:
            gap, first = west - end, west
        end = max(end, west + wide)
    last = begins[0][0] + 360 - end  # from the last one round to the first
    if last >= gap:
        gap, first = last, begins[0][0]
    return first, min(max(360 - gap, 0.0), 360.0)


def _wrap(longitude: float) -> float:
    return longitude if abs(longitude) <= 180 else round((longitude + 180) % 360 - 180, 9)


def _kilometres(one: LonLat, other: LonLat) -> float:
    """Great-circle distance in kilometres (haversine)."""
    (lon1, lat1), (lon2, lat2) = (tuple(map(math.radians, point)) for point in (one, other))
    half = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
