"""What somebody wrote into the form of a track, as he wrote it, and what it means."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast, get_args

import msgspec

from stream.query import TrackKind
from stream.tracks import NewTrack, Track
from stream.tweet import NETWORK_NAMES, NetworkName
from web.problem import Problem
from web.tracking.desk import Changes

KINDS: dict[TrackKind, tuple[str, str]] = {
    "keyword": ("Words", "A space means and, a comma means or: snow day, blizzard"),
    "user": ("Account", "Its posts, replies to it and reposts of it: @nasa, @esa"),
    "place": ("Place", "A box drawn on the map, or a place's name; a semicolon between several"),
    "query": ("Query", "Words, accounts and places together: (snow OR ice) from:nasa -is:retweet"),
}
LONGEST = 20_000  # characters that are taken up at all; the parser says what is too long


class Form(msgspec.Struct, frozen=True):
    """The fields as text."""

    kind: TrackKind = "keyword"
    value: str = ""
    networks: Sequence[NetworkName] = NETWORK_NAMES
    starts_at: str = ""
    ends_at: str = ""
    priority: str = "0"
    keep_days: str = ""
    owner: str = ""
    version: str = ""  # the last edit that the person has seen
    again: str = ""  # the value of which it was said that it is followed already

    @property
    def has_more(self) -> bool:
        """Whether something is said in the part that is folded."""
        usual = Form()
        return any(
            getattr(self, name) != getattr(usual, name)
            for name in ("starts_at", "ends_at", "priority", "keep_days")
        )

    def new_track(self) -> NewTrack:
        """Problem for a field that cannot be understood."""
        return NewTrack(
            self.value.strip(),
            self.kind,
            self.owner or None,
            _networks(self.networks),
            _moment(self.starts_at, "starts_at"),
            _moment(self.ends_at, "ends_at"),
            _whole(self.priority or "0", "priority"),
            _whole(self.keep_days, "keep_days") if self.keep_days else None,
        )

    def changes(self) -> Changes:
        """The same as a change; the owner stays where none is written."""
        new = self.new_track()
        said = {name: getattr(new, name) for name in new.__struct_fields__ if name != "owner"}
        return Changes(**said, owner=self.owner or msgspec.UNSET)


def read(given: Mapping[str, Any], networks: Sequence[object]) -> Form:
    """What a browser sent, so that the fields can show it again. `networks`: all ticked ones."""
    texts = {
        name: str(given.get(name, "")).replace("\r\n", "\n").strip()[:LONGEST]
        for name in Form.__struct_fields__
        if name not in ("kind", "networks")
    }
    texts["priority"] = texts["priority"] or "0"
    for name in ("starts_at", "ends_at"):
        texts[name] = _shown_again(texts[name])
    kind = str(given.get("kind") or "keyword")
    if kind not in get_args(TrackKind):
        raise Problem("invalid", "There is no such kind of track.", field="kind")
    known = [name for name in NETWORK_NAMES if name in networks]
    chosen = known if "choose_networks" in given or known else NETWORK_NAMES
    return Form(cast("TrackKind", kind), networks=chosen, **texts)


def of_track(track: Track, version: int) -> Form:
    """The fields as they stand."""
    return Form(
        track.kind,
        track.value,
        track.networks or NETWORK_NAMES,
        _written(track.starts_at),
        _written(track.ends_at),
        str(track.priority),
        str(track.keep_days or ""),
        track.owner or "",
        str(version),
    )


def _written(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M}"


def _shown_again(written: str) -> str:
    """A time in the only form that its field takes: a script sends it with its zone."""
    try:
        return _written(_moment(written, ""))
    except Problem:
        return written


def _networks(chosen: Sequence[NetworkName]) -> Sequence[NetworkName] | None:
    """All that there are means also those that will be."""
    return None if set(chosen) == set(NETWORK_NAMES) else chosen


def _moment(written: str, field: str) -> datetime | None:
    """A time of a form; UTC, unless it says otherwise."""
    if not written:
        return None
    try:
        found = datetime.fromisoformat(written)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Problem(
            "invalid", "Write a date and a time, as 2026-01-31T18:00.", field=field
        ) from (error)


def _whole(written: str, field: str) -> int:
    digits = written.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise Problem("invalid", "Write a whole number.", field=field)
    return int(written)
