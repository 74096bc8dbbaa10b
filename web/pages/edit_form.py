"""The form of a track: its fields as typed, and what they mean."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast, get_args
from zoneinfo import ZoneInfo

import msgspec

from stream.query import TrackKind
from stream.store.tracks import NewTrack, Track
from stream.tweet import NETWORK_NAMES, NetworkName
from web.local_time import (
    UTC_ZONE,
    MissingTime,
    RepeatedTime,
    find_zone,
    fold_of,
    is_repeated,
    local_text,
    offset_text,
    read_local,
)
from web.problem import Problem
from web.track_editing.service import Changes

KINDS: dict[TrackKind, tuple[str, str]] = {
    "keyword": (
        "Words",
        'Space means AND, comma means OR, quotes make a phrase: snow day, "black ice"',
    ),
    "user": ("Account", "Its posts, replies to it, and reposts of it: @nasa, @name.bsky.social"),
    "place": (
        "Place",
        "A box on the map, or the name of a place; separate several with semicolons",
    ),
    "query": ("Query", "Words, accounts and places combined: (snow OR ice) from:nasa -is:retweet"),
}
TIMES = ("starts_at", "ends_at")
WAS = "was_"  # before the name of a field: its value when the form was loaded
FIELD_MAX = 20_000  # characters that are kept; the parser has its own limit


class Form(msgspec.Struct, frozen=True):
    """The fields as text; times as the clocks of `zone` show them."""

    kind: TrackKind = "keyword"
    value: str = ""
    networks: Sequence[NetworkName] = NETWORK_NAMES
    starts_at: str = ""
    ends_at: str = ""
    priority: str = "0"
    keep_days: str = ""
    owner: str = ""
    starts_at_fold: str = ""  # which one of a time that occurs twice, as in local_time
    ends_at_fold: str = ""
    zone: str = "UTC"
    version: str = ""  # the last edit that the form shows
    again: str = ""  # the value that was reported as a duplicate
    was: Mapping[str, str] = {}  # the fields as they were when the form was loaded

    @property
    def has_more(self) -> bool:
        """Whether a field in the folded part differs from its default."""
        usual = Form()
        return any(
            getattr(self, name) != getattr(usual, name)
            for name in ("starts_at", "ends_at", "priority", "keep_days")
        )

    @property
    def shown(self) -> dict[str, str]:
        """Each field as one text, to be compared with its later value."""
        return {
            "kind": self.kind,
            "value": self.value.strip(),
            "networks": " ".join(name for name in NETWORK_NAMES if name in self.networks),
            "starts_at": f"{self.starts_at} {self.starts_at_fold}".strip(),
            "ends_at": f"{self.ends_at} {self.ends_at_fold}".strip(),
            "priority": self.priority,
            "keep_days": self.keep_days,
            "owner": self.owner,
        }

    @property
    def folds(self) -> dict[str, list[str]]:
        """Of each time that occurs twice in its zone: the two, by their offsets."""
        return {name: found for name in TIMES if (found := self._both(name))}

    @property
    def time_zone(self) -> ZoneInfo:
        """The zone, or UTC where the form names none that is known."""
        return find_zone(self.zone) or UTC_ZONE

    def _both(self, name: str) -> list[str]:
        zone = self.time_zone
        try:
            local = datetime.fromisoformat(getattr(self, name))
            if local.tzinfo is not None or not is_repeated(local, zone):
                return []
            return [offset_text(local.replace(tzinfo=zone, fold=fold), zone) for fold in (0, 1)]
        except (ValueError, OverflowError):
            return []

    def new_track(self) -> NewTrack:
        """Problem for a field that cannot be understood."""
        read = {name: self._read(name) for name in self.shown if name != "owner"}
        return NewTrack(owner=self.owner or None, **read)

    def changes(self, current: "Form") -> Changes:
        """Fields that were changed in the form since it was loaded.

        `current`: the fields as they would be shown now; where a form does not say what it showed
        (a script sent it), it is compared with them.
        """
        changed = self.changed(current)
        if not self.owner:  # none can be chosen
            changed.discard("owner")
        return Changes(**{name: self._read(name) for name in changed})

    def changed(self, current: "Form") -> set[str]:
        """Names of the fields that say something else than they did when they were shown."""
        was = current.shown | dict(self.was)
        return {name for name, text in self.shown.items() if text != was[name]}

    def rebased(self, current: "Form") -> "Form":
        """The form with its own changes, and all other fields as they are now."""
        mine = {name: getattr(self, name) for name in self.changed(current)}
        folds = {f"{name}_fold": getattr(self, f"{name}_fold") for name in TIMES if name in mine}
        return msgspec.structs.replace(current, was=current.shown, **mine, **folds)

    def _read(self, name: str) -> Any:
        match name:
            case "networks":
                return _networks(self.networks)
            case "starts_at" | "ends_at":
                return self._moment(name)
            case "priority":
                return _whole(self.priority or "0", name)
            case "keep_days":
                return _whole(self.keep_days, name) if self.keep_days else None
            case "value":
                return self.value.strip()
        return getattr(self, name)

    def _moment(self, name: str) -> datetime | None:
        """The time of a field in UTC."""
        text = getattr(self, name)
        if not text:
            return None
        zone = find_zone(self.zone)
        if zone is None:
            raise Problem("invalid", "Unknown time zone.", field=name)
        try:
            return read_local(text, zone, getattr(self, f"{name}_fold"))
        except MissingTime as error:
            words = f"This time does not exist: clocks in {zone.key} go forward then."
            raise Problem("invalid", words, field=name) from error
        except RepeatedTime as error:
            words = f"This time occurs twice: clocks in {zone.key} go back then. Choose one."
            raise Problem("invalid", words, field=name) from error
        except ValueError as error:
            words = "Enter a date and a time, such as 2026-01-31T18:00."
            raise Problem("invalid", words, field=name) from error


def read(given: Mapping[str, Any], networks: Sequence[object], zone: ZoneInfo) -> Form:
    """What a browser sent, so that the fields can show it again. `networks`: all ticked ones;
    `zone` of the person, for a form that does not name its own."""
    texts = {
        name: str(given.get(name, "")).replace("\r\n", "\n").strip()[:FIELD_MAX]
        for name in Form.__struct_fields__
        if name not in ("kind", "networks", "was")
    }
    texts["priority"] = texts["priority"] or "0"
    texts["zone"] = texts["zone"] or zone.key
    for name in TIMES:
        texts |= _shown_again(name, texts)
    kind = str(given.get("kind") or "keyword")
    if kind not in get_args(TrackKind):
        raise Problem("invalid", "Unknown kind of track.", field="kind")
    known = [name for name in NETWORK_NAMES if name in networks]
    chosen = known if "choose_networks" in given or known else NETWORK_NAMES
    was = {
        name: str(given[f"{WAS}{name}"]).replace("\r\n", "\n").strip()[:FIELD_MAX]
        for name in Form().shown
        if f"{WAS}{name}" in given
    }
    return Form(cast("TrackKind", kind), networks=chosen, was=was, **texts)


def of_track(track: Track, version: int, zone: ZoneInfo) -> Form:
    """The form for a stored track."""
    form = Form(
        track.kind,
        track.value,
        track.networks or NETWORK_NAMES,
        local_text(track.starts_at, zone),
        local_text(track.ends_at, zone),
        str(track.priority),
        str(track.keep_days or ""),
        track.owner or "",
        fold_of(track.starts_at, zone),
        fold_of(track.ends_at, zone),
        zone.key,
        str(version),
    )
    return msgspec.structs.replace(form, was=form.shown)


def _shown_again(name: str, texts: Mapping[str, str]) -> dict[str, str]:
    """A time in the only form that its field takes: a script sends it with its zone."""
    written, zone = texts[name], find_zone(texts["zone"])
    try:
        if zone is None or datetime.fromisoformat(written).tzinfo is None:
            return {}
        moment = read_local(written, zone)
    except ValueError:
        return {}
    return {name: local_text(moment, zone), f"{name}_fold": fold_of(moment, zone)}


def _networks(chosen: Sequence[NetworkName]) -> Sequence[NetworkName] | None:
    """Read the networks of the form; None for all, which includes future ones."""
    return None if set(chosen) == set(NETWORK_NAMES) else chosen


def _whole(written: str, field: str) -> int:
    digits = written.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise Problem("invalid", "Enter a whole number.", field=field)
    return int(written)


class MarkedValue(NamedTuple):
    """A track's value in three parts: the middle one is wrong."""

    before: str
    wrong: str
    after: str


def mark_error(value: str, span: tuple[int, int] | None) -> MarkedValue | None:
    """Mark the invalid part of a value; None where the error is about all of it."""
    if span is None:
        return None
    begin, end = span
    return MarkedValue(value[:begin], value[begin:end], value[end:])
