"""All tracks → one body of statuses/filter. Pure.

X v1.1 reference §4 and §5. The stream never says which phrase matched, so nothing is claimed: the
matcher finds out.
"""

from collections.abc import Sequence
from urllib.parse import quote

from stream.config import Settings, XV1Settings
from stream.networks.base import Followed, Plan, Usage
from stream.networks.planning import Objections, Wish, wishes
from stream.networks.x_v1.filter import NO_FILTER, Filter, find


class XV1Plan(Plan, frozen=True, kw_only=True):
    """`filter`: all that is asked for."""

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
    """Fields as a form body; a space is %20, as the signature wants it (§3)."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in fields)


def plan(followed: Sequence[Followed], settings: Settings) -> XV1Plan:
    """What X is asked for, and what it cannot do for whom."""
    objections = Objections()
    whole = Filter()
    for wish in wishes(followed):
        whole = _with(wish, whole, settings.x_v1, objections)
    return XV1Plan(
        refused=objections.refused(followed),
        caveats=objections.caveats(followed),
        claims={},
        asked=whole.size,
        filter=whole,
    )


def usage(plan: Plan, settings: Settings) -> list[Usage]:
    """How much of X's limits it takes."""
    assert isinstance(plan, XV1Plan)
    limits, asked = settings.x_v1, plan.filter
    return [
        Usage("phrases", len(asked.track), limits.max_phrases),
        Usage("accounts", len(asked.follow), limits.max_follow),
        Usage("areas", len(asked.locations), limits.max_boxes),
    ]


def _with(wish: Wish, whole: Filter, limits: XV1Settings, objections: Objections) -> Filter:
    """The filter with this wish in it, if X can do it and has room."""
    found = find(wish.alternative.node, limits.phrase_bytes)
    if found is None:
        objections.refuse(wish, NO_FILTER)
        return whole
    longer = whole | found.filter
    why = _too_long(found.filter, limits) or _too_many(longer, limits)
    if why:
        objections.refuse(wish, why)
        return whole
    for caveat in found.caveats:
        objections.limit(wish, caveat)
    return longer


def _too_long(part: Filter, limits: XV1Settings) -> str:
    for phrase in part.track:
        if (length := len(phrase.encode())) > limits.phrase_bytes:
            return (
                f"It has {length} bytes in UTF-8; the v1.1 stream takes phrases of up to "
                f"{limits.phrase_bytes}. Shorten it."
            )
    return ""


def _too_many(whole: Filter, limits: XV1Settings) -> str:
    for number, most, what in (
        (len(whole.track), limits.max_phrases, "phrases"),
        (len(whole.follow), limits.max_follow, "account ids"),
        (len(whole.locations), limits.max_boxes, "boxes"),
    ):
        if number > most:
            return f"The v1.1 stream takes {most:,} {what}, and all are in use by older tracks."
    return ""
