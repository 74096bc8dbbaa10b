"""The parameters of statuses/filter, with their limits (X v1.1 reference §4, §5)."""

from collections.abc import Mapping

import msgspec

from simulator.settings import Limits

Box = tuple[float, float, float, float]

LEVELS = ("none", "low", "medium")
_KNOWN = frozenset(
    ("track", "follow", "locations", "language", "filter_level", "delimited", "stall_warnings",
     "count", "include_ext_edit_control", "tweet_mode")
)  # fmt: skip


class Refused(Exception):
    """The filter is not accepted: HTTP status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection asks for; `everything` is the sample."""

    phrases: tuple[tuple[str, ...], ...] = ()  # each a set of terms in lower case
    follow: frozenset[str] = frozenset()
    boxes: tuple[Box, ...] = ()
    languages: frozenset[str] = frozenset()
    level: int = 0
    delimited: bool = False
    warnings: bool = False
    everything: bool = False


def read(parameters: Mapping[str, str], limits: Limits, *, sample: bool = False) -> Filter:
    """The filter that these parameters describe; Refused when a limit is passed."""
    # The real service ignores unknown names, and so hides misspelt ones.
    if unknown := sorted(parameters.keys() - _KNOWN):
        raise Refused(406, f"There is no parameter {', '.join(unknown)}.")
    if "count" in parameters:
        raise Refused(416, "The parameter count needs another access level.")
    level = parameters.get("filter_level", "none")
    if level not in LEVELS:
        raise Refused(406, "filter_level is none, low or medium.")
    if parameters.get("delimited", "length") != "length":
        raise Refused(406, "delimited can only be length.")
    wanted = Filter(
        phrases=() if sample else _phrases(parameters.get("track"), limits),
        follow=frozenset() if sample else _follow(parameters.get("follow"), limits),
        boxes=() if sample else _boxes(parameters.get("locations"), limits),
        languages=frozenset(filter(None, parameters.get("language", "").lower().split(","))),
        level=LEVELS.index(level),
        delimited="delimited" in parameters,
        warnings=parameters.get("stall_warnings") == "true",
        everything=sample,
    )
    if not (wanted.phrases or wanted.follow or wanted.boxes or sample):
        raise Refused(406, "At least one of track, follow and locations is needed.")
    return wanted


def _phrases(value: str | None, limits: Limits) -> tuple[tuple[str, ...], ...]:
    if value is None:
        return ()
    phrases = value.split(",")
    if len(phrases) > limits.phrases:
        raise Refused(413, f"There are more than {limits.phrases} phrases in track.")
    for phrase in phrases:
        if not 1 <= len(phrase.strip().encode()) <= limits.phrase_bytes:
            raise Refused(406, f"A phrase in track has 1 to {limits.phrase_bytes} bytes.")
    return tuple(tuple(phrase.lower().split()) for phrase in phrases)


def _follow(value: str | None, limits: Limits) -> frozenset[str]:
    if value is None:
        return frozenset()
    ids = [number.strip() for number in value.split(",")]
    if len(ids) > limits.follow:
        raise Refused(413, f"There are more than {limits.follow} ids in follow.")
    if not all(number.isascii() and number.isdigit() for number in ids):
        raise Refused(406, "follow takes numeric ids.")
    return frozenset(ids)


def _boxes(value: str | None, limits: Limits) -> tuple[Box, ...]:
    if value is None:
        return ()
    try:
        figures = [float(part) for part in value.split(",")]
    except ValueError:
        raise Refused(406, "locations takes numbers.") from None
    if len(figures) % 4:
        raise Refused(406, "locations takes four numbers for each box.")
    if len(figures) > 4 * limits.boxes:
        raise Refused(413, f"There are more than {limits.boxes} boxes in locations.")
    boxes = tuple(
        (figures[place], figures[place + 1], figures[place + 2], figures[place + 3])
        for place in range(0, len(figures), 4)
    )
    for west, south, east, north in boxes:
        inside = -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90
        if not inside or not (0.1 <= east - west <= 360 and 0.1 <= north - south <= 360):
            raise Refused(406, "A box is west, south, east, north, 0.1 to 360 degrees a side.")
    return boxes
