"""Where a tweet is, against boxes and circles (X v1.1 reference §7)."""

import math

from stream.query import InBox, InRadius
from stream.tweet import Box, LonLat, Tweet

_EARTH_KM = 6371.0088  # mean radius
_KM_PER_DEGREE = math.pi * _EARTH_KM / 180


def area(tweet: Tweet) -> Box | None:
    """The point it was sent from, or else the box of its place; reposts are nowhere."""
    if tweet.kind == "repost":
        return None
    if tweet.point is not None:
        longitude, latitude = tweet.point
        return longitude, latitude, longitude, latitude
    return tweet.place.box if tweet.place else None


def is_inside(condition: InBox | InRadius, where: Box) -> bool:
    """Whether any point of the area lies in the box or circle."""
    if isinstance(condition, InBox):
        west, south, east, north = condition.box
        return where[0] <= east and where[2] >= west and where[1] <= north and where[3] >= south
    longitude, latitude = condition.centre
    nearest = (
        min(max(longitude, where[0]), where[2]),
        min(max(latitude, where[1]), where[3]),
    )
    return _distance(condition.centre, nearest) <= condition.km


def bounds(condition: InBox | InRadius) -> Box:
    """A box that holds everything the condition can meet."""
    if isinstance(condition, InBox):
        return condition.box
    longitude, latitude = condition.centre
    # A little more than the circle, so that rounding cannot leave out what lies on it.
    height = condition.km / _KM_PER_DEGREE * 1.001 + 1e-6
    south, north = latitude - height, latitude + height
    squeeze = math.cos(math.radians(max(abs(south), abs(north)))) if max(-south, north) < 90 else 0
    width = height / squeeze if squeeze > 0 else 360.0
    west, east = longitude - width, longitude + width
    if west < -180 or east > 180:  # around a pole, or across the date line
        west, east = -180.0, 180.0
    return west, south, east, north


def _distance(one: LonLat, other: LonLat) -> float:
    """Kilometres along the surface (haversine)."""
    (lon1, lat1), (lon2, lat2) = (tuple(map(math.radians, point)) for point in (one, other))
    half = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
