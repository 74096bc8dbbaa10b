"""Plan X v1.1: compile all tracks into one body of statuses/filter. Pure.

X v1.1 reference §4 and §5. The stream never says which phrase matched, so the matcher
decides.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from stream.config import Settings, XV1Settings
from stream.networks.base import Plan, Usage
from stream.networks.planning import Clause, ClausePlanner, Limitations
from stream.networks.x_v1.filter_compiler import NO_FILTER, CompiledFilter, Filter, find
from stream.query import Node
from stream.tweet import Box, ReachHow

T = TypeVar("T")

DELIVERS: Mapping[ReachHow, str] = {
    "both": "Sent to X as part of a filter; which posts match is decided here.",
}


class XV1Plan(Plan, frozen=True, kw_only=True):
    """The plan of X v1.1; `filter` covers all tracks."""

    filter: Filter

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The predicates as form fields; equal filters give equal fields, whatever the order."""
        boxes = ((f"{edge:.5f}".rstrip("0").rstrip(".") for edge in b) for b in self._boxes())
        fields = (
            ("track", ",".join(sorted(self.filter.track))),
            ("follow", ",".join(sorted(self.filter.follow))),
            ("locations", ",".join(edge for box in boxes for edge in box)),
        )
        return tuple((name, value) for name, value in fields if value)

    def _boxes(self) -> list[tuple[float, float, float, float]]:
        return sorted(self.filter.locations)


def form(fields: Sequence[tuple[str, str]]) -> str:
    """Fields as a form body; a space is %20, as the signature requires (§3)."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in fields)


class XV1Planner(ClausePlanner[CompiledFilter | None]):
    """See `base.Planner`. All goes into one filter, what the oldest tracks ask for first."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.limits = settings.x_v1
        self._plan: XV1Plan | None = None
        self._unserved: dict[Node, str] = {}  # what did not fit, and why

    def make(self, node: Node) -> CompiledFilter | None:
        """See `ClausePlanner`."""
        return find(node, self.limits.max_phrase_bytes)

    def touched(self, clause: Clause[CompiledFilter | None]) -> None:
        """See `ClausePlanner`."""
        del clause
        self._plan = None

    def limitations_of(self, clause: Clause[CompiledFilter | None]) -> Limitations:
        """See `ClausePlanner`."""
        if clause.made is None:
            return Limitations(NO_FILTER)
        why = self._unserved.get(clause.alternative.node, "")
        return Limitations(why, () if why else clause.made.caveats, "both")

    def plan(self) -> XV1Plan:
        """See `base.Planner`."""
        if self._plan is None:
            whole = self._fill()
            self.update_sentences()
            self._plan = XV1Plan(
                refused=dict(self._refused),
                caveats=dict(self._caveats),
                rule_owners={},
                asked=whole.size,
                how=dict(self._how),
                filter=whole,
            )
        return self._plan

    def _fill(self) -> Filter:
        """As many terms as X accepts; a later one may fit where an earlier one did not."""
        room = _Room(self.limits)
        unserved: dict[Node, str] = {}
        for clause in self.ordered():
            if clause.made is None:
                continue
            why = _too_long(clause.made.filter, self.limits) or room.take(clause.made.filter)
            if why:
                unserved[clause.alternative.node] = why
            if why != self._unserved.get(clause.alternative.node, ""):
                self.limitations_changed(clause)
        self._unserved = unserved
        return room.filter


class _Room:
    """A filter that is being filled, up to the limits."""

    def __init__(self, limits: XV1Settings) -> None:
        self._track: dict[str, None] = {}
        self._follow: dict[str, None] = {}
        self._boxes: dict[Box, None] = {}
        self._limits = limits

    def take(self, wanted: Filter) -> str:
        """Add a filter as a whole; returns why it does not fit, if so."""
        limits = self._limits
        for number, most, what in (
            (_together(self._track, wanted.track), limits.max_phrases, "phrases"),
            (_together(self._follow, wanted.follow), limits.max_follow, "account ids"),
            (_together(self._boxes, wanted.locations), limits.max_boxes, "boxes"),
        ):
            if number > most:
                return f"The v1.1 stream takes {most:,} {what}, and all are in use by older tracks."
        self._track.update(dict.fromkeys(wanted.track))
        self._follow.update(dict.fromkeys(wanted.follow))
        self._boxes.update(dict.fromkeys(wanted.locations))
        return ""

    @property
    def filter(self) -> Filter:
        return Filter(tuple(self._track), tuple(self._follow), tuple(self._boxes))


def _together(held: dict[T, None], wanted: tuple[T, ...]) -> int:
    """The number of terms with these added; 0 when nothing is needed."""
    return len(held) + len({each for each in wanted if each not in held}) if wanted else 0


def usage(plan: Plan, settings: Settings) -> list[Usage]:
    """How much of X's limits the plan uses."""
    assert isinstance(plan, XV1Plan)
    limits, asked = settings.x_v1, plan.filter
    return [
        Usage("phrases", len(asked.track), limits.max_phrases),
        Usage("accounts", len(asked.follow), limits.max_follow),
        Usage("areas", len(asked.locations), limits.max_boxes),
    ]


def _too_long(part: Filter, limits: XV1Settings) -> str:
    for phrase in part.track:
        if (length := len(phrase.encode())) > limits.max_phrase_bytes:
            return (
                f"It has {length} bytes in UTF-8; the v1.1 stream takes phrases of up to "
                f"{limits.max_phrase_bytes}. Shorten it."
            )
    return ""
