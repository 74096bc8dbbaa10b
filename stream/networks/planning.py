"""What the plans of all networks share: clauses with their tracks, limitations, split areas."""

import bisect
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from stream import geo
from stream.geo import KM_PER_DEGREE
from stream.networks.base import RuleOwner
from stream.query import Alternative, And, Leaf, Node, Not, Or, Query
from stream.tweet import Box, ReachHow, TrackId

T = TypeVar("T")

DECIMALS = 5  # of degrees; a metre


class Clause(Generic[T]):
    """An alternative, the tracks that ask for it, and what the network can make of it."""

    __slots__ = ("alternative", "made", "number", "owners")

    def __init__(self, alternative: Alternative, number: int, made: T) -> None:
        self.alternative = alternative
        self.number = number  # in the order of asking
        self.owners: list[RuleOwner] = []  # the oldest track first
        self.made = made

    @property
    def order(self) -> tuple[TrackId, int]:
        """The oldest tracks are served first."""
        return self.owners[0].track_id, self.number


class Limitations(msgspec.Struct, frozen=True):
    """Why a network does not follow an alternative, or only in part; `how` it follows it."""

    against: str = ""
    limits: tuple[str, ...] = ()
    how: ReachHow = "decided"


class ClausePlanner(ABC, Generic[T]):
    """The clauses of one network's plan, updated track by track.

    Each alternative is compiled once. Networks implement `make`, and `touched` for clauses that are
    new, gone, or have other owners.
    """

    def __init__(self) -> None:
        self.clauses: dict[Node, Clause[T]] = {}
        self._followed: dict[TrackId, Query] = {}
        self._number = 0
        self._refused: dict[TrackId, str] = {}
        self._caveats: dict[TrackId, str] = {}
        self._how: dict[TrackId, ReachHow] = {}
        self._unsaid: set[TrackId] = set()  # tracks whose limitations may have changed
        self._news: set[TrackId] = set()  # tracks whose limitations were updated since `news`

    @abstractmethod
    def make(self, node: Node) -> T:
        """Compile a node for this network."""

    @abstractmethod
    def touched(self, clause: Clause[T]) -> None:
        """A clause is new, has other owners, or (without owners) was removed."""

    @abstractmethod
    def limitations_of(self, clause: Clause[T]) -> Limitations:
        """The current limitations of a clause."""

    def follow(self, track_id: TrackId, query: Query) -> None:
        """Add a track."""
        self._followed[track_id] = query
        self._unsaid.add(track_id)
        for alternative in query.alternatives:
            clause = self.clauses.get(alternative.node)
            if clause is None:
                self._number += 1
                made = self.make(alternative.node)
                clause = self.clauses[alternative.node] = Clause(alternative, self._number, made)
            bisect.insort(clause.owners, RuleOwner(track_id, alternative.term), key=_track_of)
            self.touched(clause)

    def drop(self, track_id: TrackId) -> None:
        """Remove a track."""
        query = self._followed.pop(track_id, None)
        self._unsaid.add(track_id)
        for alternative in query.alternatives if query is not None else ():
            clause = self.clauses.get(alternative.node)
            if clause is None:
                continue  # adding it had failed
            clause.owners = [owner for owner in clause.owners if owner.track_id != track_id]
            if not clause.owners:
                del self.clauses[alternative.node]
            self.touched(clause)

    def ordered(self) -> list[Clause[T]]:
        """All clauses of a plan, those of the oldest tracks first."""
        return sorted(self.clauses.values(), key=lambda clause: clause.order)

    def limitations_changed(self, clause: Clause[T]) -> None:
        """The limitations of a clause have changed."""
        self._unsaid.update(owner.track_id for owner in clause.owners)

    def news(self) -> set[TrackId]:
        """Tracks whose refusals or caveats may differ between the last two plans."""
        news, self._news = self._news, set()
        return news

    def update_sentences(self) -> None:
        """Update the refusals and caveats of changed tracks."""
        looked_at, self._unsaid = self._unsaid, set()
        self._news |= looked_at
        for track_id in looked_at:
            self._refused.pop(track_id, None)
            self._caveats.pop(track_id, None)
            self._how.pop(track_id, None)
            if (query := self._followed.get(track_id)) is not None:
                self._update_sentences(track_id, query)

    def _update_sentences(self, track_id: TrackId, query: Query) -> None:
        against: list[tuple[str, str]] = []
        limits: dict[str, None] = {}
        how: set[ReachHow] = set()
        for alternative in query.alternatives:
            found = self.limitations_of(self.clauses[alternative.node])
            if found.against:
                against.append((alternative.term, found.against))
            else:
                how.add(found.how)
            limits.update(dict.fromkeys(found.limits))
        if against and len(against) == len(query.alternatives):
            self._refused[track_id] = _listed(against)
            return
        self._how[track_id] = how.pop() if len(how) == 1 else "both"
        if against:
            self._caveats[track_id] = " ".join(
                [f"Tracked only partly. {_listed(against)}", *limits]
            )
        elif limits:
            self._caveats[track_id] = " ".join(limits)


def reason_against(node: Node, leaf_reason: Callable[[Leaf], str]) -> str:
    """Why no post of a network can meet a node; empty if one can.

    `leaf_reason` gives the same for a leaf.
    """
    match node:
        case And(children):
            return next(filter(None, (reason_against(each, leaf_reason) for each in children)), "")
        case Or(children):
            reasons = [reason_against(each, leaf_reason) for each in children]
            return reasons[0] if all(reasons) else ""
        case Not():
            return ""
        case _:
            return leaf_reason(node)


def _track_of(owner: RuleOwner) -> TrackId:
    return owner.track_id


def _listed(against: Sequence[tuple[str, str]]) -> str:
    """The reasons, each with its terms; a few of each."""
    terms: dict[str, list[str]] = defaultdict(list)
    for term, sentence in against:
        terms[sentence].append(term if len(term) <= 60 else f"{term[:57]}...")
    return " ".join(f"{_some(names)}: {sentence}" for sentence, names in [*terms.items()][:3])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def size(box: Box) -> tuple[float, float]:
    """Width and height in kilometres; the width where it is greatest."""
    _, south, _, north = box
    nearest = 0.0 if south <= 0 <= north else min(abs(south), abs(north))
    return (
        geo.width(box) * KM_PER_DEGREE * math.cos(math.radians(nearest)),
        (north - south) * KM_PER_DEGREE,
    )


def parts(box: Box, side: float, most: int) -> list[Box] | None:
    """Split a box into parts of at most `side` km; None when that takes more than `most` parts.

    No part crosses the 180th meridian.
    """
    found: list[Box] = []
    for half in geo.halves(box):
        if (more := _tiles(half, side, most - len(found))) is None:
            return None
        found += more
    return found


def _tiles(box: Box, side: float, most: int) -> list[Box] | None:
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
    # Neighbours round their common edge in the same way, so no gap is left between them.
    return (
        round(low + (high - low) * step / steps, DECIMALS)
        if 0 < step < steps
        else (low if step == 0 else high)
    )
