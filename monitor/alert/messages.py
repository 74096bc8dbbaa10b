"""Turn notifications of the engine into messages for people. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from monitor.alert.condition import RANK
from monitor.alert.engine import PendingNotification, Transition
from monitor.alert.registry import RULES
from monitor.alert.text import clock, lasting
from stream.store.alerts import Alert

Kind = Literal["info", "success", "warning", "failure"]  # as apprise names them

SINGLE_MAX = 3  # notifications; more at once become one message
LISTED = 50  # notifications in one message
TITLE_MAX = 150  # characters

_KINDS: Mapping[str, Kind] = {"notice": "info", "warning": "warning", "critical": "failure"}
_LABELS: Mapping[Transition, str] = {
    "opened": "new",
    "worse": "worse",
    "still": "still open",
    "closed": "resolved",
    "passed": "opened and resolved",
}


class Message(msgspec.Struct, frozen=True):
    """Title and body, as they are sent through the channels."""

    title: str
    body: str
    kind: Kind = "info"


class Outgoing(msgspec.Struct, frozen=True):
    """A message, and the notifications in it."""

    message: Message
    notifications: tuple[PendingNotification, ...] = ()


def outgoing_messages(notifications: Sequence[PendingNotification], now: float) -> list[Outgoing]:
    """Messages about notifications: one for each, or one for all when there are many."""
    if len(notifications) > SINGLE_MAX:
        return [Outgoing(_together(notifications, now), tuple(notifications))]
    return [Outgoing(_single(notification, now), (notification,)) for notification in notifications]


def _single(notification: PendingNotification, now: float) -> Message:
    return Message(_title(notification), _body(notification, now), _kind(notification))


def _title(notification: PendingNotification) -> str:
    alert = notification.alert
    head: str = notification.severity
    match notification.transition:
        case "closed" | "passed":
            head = "resolved"
        case "worse":
            head = f"now {head}"
        case "still":
            head = f"still {head}"
    return f"[twitterstream] {head}: {_name(alert)}"[:TITLE_MAX]


def _name(alert: Alert) -> str:
    """The title of its rule, with subject and host."""
    of = " on ".join(part for part in (alert.subject, alert.host) if part)
    return f"{RULES[alert.rule].title} ({of})" if of else RULES[alert.rule].title


def _body(notification: PendingNotification, now: float) -> str:
    alert = notification.alert
    if alert.closed_at is not None:
        return f"{_ending(notification, now)}\n\nThe alert was: {alert.text}"
    lines = [alert.text, f"Since {clock(alert.opened_at, now)}."]
    if notification.transition == "still":
        lines[1] = (
            f"Open for {lasting(now - alert.opened_at)}, since {clock(alert.opened_at, now)}."
        )
    hint = f"Rule {alert.rule}."
    if alert.id is not None:
        hint += f" To stop reminders: `twitterstream.py alert ack {alert.id}`."
    return "\n\n".join([" ".join(lines), f"What to do: {alert.remedy}", hint])


def _ending(notification: PendingNotification, now: float) -> str:
    alert = notification.alert
    assert alert.closed_at is not None
    length = lasting(alert.closed_at - alert.opened_at)
    since, until = clock(alert.opened_at, now), clock(alert.closed_at, now)
    if notification.transition == "passed":
        return f"This could not be sent while it lasted: {length}, from {since} to {until}."
    return f"Resolved after {length}, from {since} to {until}."


def _kind(notification: PendingNotification) -> Kind:
    closed = notification.alert.closed_at is not None
    return "success" if closed else _KINDS[notification.severity]


def _together(notifications: Sequence[PendingNotification], now: float) -> Message:
    counts = Counter(notification.transition for notification in notifications)
    summary = ", ".join(f"{counts[each]} {word}" for each, word in _LABELS.items() if counts[each])
    open_ = [notification for notification in notifications if notification.alert.closed_at is None]
    worst = max(open_, key=lambda notification: RANK[notification.severity], default=None)
    kind: Kind = "success" if worst is None else _kind(worst)
    lines = [_line(notification, now) for notification in notifications[:LISTED]]
    if len(notifications) > LISTED:
        lines.append(f"… and {len(notifications) - LISTED} more: `twitterstream.py alert list`.")
    title = f"[twitterstream] {len(notifications)} messages: {summary}"
    return Message(title, "\n\n".join(lines), kind)


def _line(notification: PendingNotification, now: float) -> str:
    alert = notification.alert
    head = f"{_LABELS[notification.transition]}, {_name(alert)}:"
    if alert.closed_at is not None:
        return f"- {head} {_ending(notification, now)} The alert was: {alert.text}"
    since = clock(alert.opened_at, now)
    return f"- {head} {alert.severity}, since {since}. {alert.text} What to do: {alert.remedy}"
