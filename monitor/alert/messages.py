"""Notices → messages for people. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from monitor.alert.catalogue import RULES
from monitor.alert.condition import RANK
from monitor.alert.engine import Alert, News, Notice
from monitor.alert.words import clock, lasting

Kind = Literal["info", "success", "warning", "failure"]  # the words of apprise

TOGETHER = 3  # more notices at once become one message
LISTED = 50  # of them at most
LONGEST_TITLE = 150  # characters

_KINDS: Mapping[str, Kind] = {"notice": "info", "warning": "warning", "critical": "failure"}
_WORDS: Mapping[News, str] = {
    "opened": "new",
    "worse": "worse",
    "still": "still there",
    "closed": "over",
    "passed": "over already",
}


class Message(msgspec.Struct, frozen=True):
    """What goes through the channels."""

    title: str
    body: str
    kind: Kind = "info"


class Parcel(msgspec.Struct, frozen=True):
    """A message, and what it tells."""

    message: Message
    notices: tuple[Notice, ...] = ()


def parcels(notices: Sequence[Notice], now: float) -> list[Parcel]:
    """One message each, or one for all when there are many."""
    if len(notices) > TOGETHER:
        return [Parcel(_together(notices, now), tuple(notices))]
    return [Parcel(_single(notice, now), (notice,)) for notice in notices]


def _single(notice: Notice, now: float) -> Message:
    return Message(_title(notice), _body(notice, now), _kind(notice))


def _title(notice: Notice) -> str:
    alert = notice.alert
    head: str = notice.severity
    match notice.news:
        case "closed" | "passed":
            head = "all clear"
        case "worse":
            head = f"now {head}"
        case "still":
            head = f"still {head}"
    return f"[twitterstream] {head}: {_name(alert)}"[:LONGEST_TITLE]


def _name(alert: Alert) -> str:
    """Its rule in words, and of what."""
    of = " on ".join(part for part in (alert.subject, alert.host) if part)
    return f"{RULES[alert.rule].title} ({of})" if of else RULES[alert.rule].title


def _body(notice: Notice, now: float) -> str:
    alert = notice.alert
    if alert.closed_at is not None:
        return f"{_ending(notice, now)}\n\nIt was: {alert.text}"
    lines = [alert.text, f"Since {clock(alert.opened_at, now)}."]
    if notice.news == "still":
        lines[1] = f"For {lasting(now - alert.opened_at)}, since {clock(alert.opened_at, now)}."
    hint = f"Rule {alert.rule}."
    if alert.id is not None:
        hint += f" Not to be reminded: `twitterstream.py alert ack {alert.id}`."
    return "\n\n".join([" ".join(lines), f"What to do: {alert.remedy}", hint])


def _ending(notice: Notice, now: float) -> str:
    alert = notice.alert
    assert alert.closed_at is not None
    length = lasting(alert.closed_at - alert.opened_at)
    since, until = clock(alert.opened_at, now), clock(alert.closed_at, now)
    if notice.news == "passed":
        return f"This could not be told while it lasted: {length}, from {since} to {until}."
    return f"Over after {length}, from {since} to {until}."


def _kind(notice: Notice) -> Kind:
    over = notice.alert.closed_at is not None
    return "success" if over else _KINDS[notice.severity]


def _together(notices: Sequence[Notice], now: float) -> Message:
    counts = Counter(notice.news for notice in notices)
    said = ", ".join(f"{counts[news]} {word}" for news, word in _WORDS.items() if counts[news])
    open_ = [notice for notice in notices if notice.alert.closed_at is None]
    worst = max(open_, key=lambda notice: RANK[notice.severity], default=None)
    kind: Kind = "success" if worst is None else _kind(worst)
    lines = [_line(notice, now) for notice in notices[:LISTED]]
    if len(notices) > LISTED:
        lines.append(f"… and {len(notices) - LISTED} more: `twitterstream.py alert list`.")
    title = f"[twitterstream] {len(notices)} messages: {said}"
    return Message(title, "\n\n".join(lines), kind)


def _line(notice: Notice, now: float) -> str:
    alert = notice.alert
    head = f"{_WORDS[notice.news]}, {_name(alert)}:"
    if alert.closed_at is not None:
        return f"- {head} {_ending(notice, now)} It was: {alert.text}"
    since = clock(alert.opened_at, now)
    return f"- {head} {alert.severity}, since {since}. {alert.text} What to do: {alert.remedy}"
