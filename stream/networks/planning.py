"""What every network's plan needs: who asks for what, what cannot be done, and areas in parts.

The networks do not know each other; what their plans share is here.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from stream.networks.base import Claim, Followed
from stream.query import Alternative
from stream.tweet import Box, LonLat, TrackId

KM_PER_DEGREE = 111.32  # of latitude, and of longitude at the equator; rounded up
DECIMALS = 5  # of degrees; a metre


class Wish(msgspec.Struct, frozen=True):
    """An alternative, and who asks for it; the oldest track first."""

    alternative: Alternative
    claims: tuple[Claim, ...]

    @property
    def since(self) -> TrackId:
        """The oldest track that asks for it: who came first is served first."""
        return self.claims[0].track_id


def wishes(followed: Sequence[Followed]) -> list[Wish]:
    """The distinct alternatives of all tracks, those of the oldest tracks first."""
    found: dict[str, tuple[Alternative, list[Claim]]] = {}
    for track in sorted(followed, key=lambda track: track.track_id):
        for alternative in track.query.alternatives:
            # Terms are canonical, but a person may write one that reads like another's rule.
            _, claims = found.setdefault(repr(alternative.node), (alternative, []))
            claims.append(Claim(track.track_id, alternative.term))
    return [Wish(alternative, tuple(claims)) for alternative, claims in found.values()]


class Objections:
    """Collects what a network cannot do for whom; in the end one sentence or two for each track."""

    def __init__(self) -> None:
        self._against: dict[TrackId, list[tuple[str, str]]] = defaultdict(list)
        self._limits: dict[TrackId, dict[str, None]] = defaultdict(dict)

    def refuse(self, wish: Wish, sentence: str) -> None:
        """This alternative is not followed, for any of its tracks."""
        for claim in wish.claims:
            self._against[claim.track_id].append((claim.term, sentence))

    def limit(self, wish: Wish, sentence: str) -> None:
        """This alternative is followed only in part."""
        for claim in wish.claims:
            self._limits[claim.track_id][sentence] = None

    def refused(self, followed: Sequence[Followed]) -> dict[TrackId, str]:
        """The tracks of which nothing is followed."""
        return {
            track.track_id: _listed(self._against[track.track_id])
            for track in followed
            if len(self._against.get(track.track_id, ())) >= len(track.query.alternatives)
        }

    def caveats(self, followed: Sequence[Followed]) -> dict[TrackId, str]:
        """The tracks of which something is followed, but not all."""
        refused = self.refused(followed)
        found = {}
        for track in followed:
            against = self._against.get(track.track_id, [])
            sentences = [*self._limits.get(track.track_id, ())]
            if against:
                sentences.insert(0, f"Not all of it is followed. {_listed(against)}")
            if sentences and track.track_id not in refused:
                found[track.track_id] = " ".join(sentences)
        return found


def _listed(against: Sequence[tuple[str, str]]) -> str:
    """The sentences, each with the terms that it is about; not more than a person reads."""
    terms: dict[str, list[str]] = defaultdict(list)
    for term, sentence in against:
        terms[sentence].append(term if len(term) <= 60 else f"{term[:57]}...")
    return " ".join(f"{_some(names)}: {sentence}" for sentence, names in [*terms.items()][:3])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def merged(claims: Iterable[tuple[str, tuple[Claim, ...]]]) -> Mapping[str, tuple[Claim, ...]]:
    """Claims by key; a key that stands twice has the claims of both."""
    found: dict[str, tuple[Claim, ...]] = {}
    for key, several in claims:
        found[key] = tuple(dict.fromkeys((*found.get(key, ()), *several)))
    return found


def size(box: Box) -> tuple[float, float]:
    """Width and height in kilometres; the width where it is greatest."""
    west, south, east, north = box
    nearest = 0.0 if south <= 0 <= north else min(abs(south), abs(north))
    return (
        (east - west) * KM_PER_DEGREE * math.cos(math.radians(nearest)),
        (north - south) * KM_PER_DEGREE,
    )


def parts(box: Box, side: float, most: int) -> list[Box] | None:
    """The box in parts of at most `side` km each way; None when it takes more than `most`."""
    west, south, east, north = box
    rows = max(math.ceil(size(box)[1] / side), 1)
    if rows > most:
        return None
    found: list[Box] = []
    for row in range(rows):
        low, high = _between(south, north, row, rows), _between(south, north, row + 1, rows)
        columns = max(math.ceil(size((west, low, east, high))[0] / side), 1)
        if len(found) + columns > most:
            return None
        edges = [_between(west, east, column, columns) for column in range(columns + 1)]
        found.extend((edges[n], low, edges[n + 1], high) for n in range(columns))
    return found


def _between(low: float, high: float, step: int, steps: int) -> float:
    # Neighbours round the same edge in the same way: no seam is left between them.
    return (
        round(low + (high - low) * step / steps, DECIMALS)
        if 0 < step < steps
        else (low if step == 0 else high)
    )


def around(centre: LonLat, km: float) -> Box:
    """The box that holds a circle."""
    longitude, latitude = centre
    high = km / KM_PER_DEGREE * 1.01  # a degree is a little shorter at the equator
    south, north = max(latitude - high, -90.0), min(latitude + high, 90.0)
    widest = math.cos(math.radians(max(abs(south), abs(north))))
    wide = high / widest if widest > 0.01 else 360.0
    return max(longitude - wide, -180.0), south, min(longitude + wide, 180.0), north
