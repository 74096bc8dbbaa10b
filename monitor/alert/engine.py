"""The alert engine: conditions open alerts, which are notified once and closed. Pure.

No queue of messages is kept: what is due follows from each alert and from what was sent about it.
So a message that could not be delivered is sent later, as things are then and in order; an alert
that opened and closed meanwhile is one message.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from monitor.alert.condition import RANK, Condition
from monitor.alert.registry import RULES
from stream.store.alerts import Alert, Key, Severity

OPEN_MAX = 1000  # open alerts; more would be one cause under many names
CLOSED_MAX = 1000  # closed alerts that wait to be sent or written
# Each time a condition flaps, its alert closes later, or there would be a message every hour.
FLAP_WINDOW = 86_400.0  # seconds that a closed alert counts as a flap
KEEP_FIRING_MAX = 4 * 3600.0  # seconds

Transition = Literal["opened", "worse", "still", "closed", "passed"]
Ownership = Literal["ours", "unknown", "others"]
OwnershipOf = Callable[[str, str], Ownership]
Muted = Callable[[str, str], bool]


class PendingNotification(msgspec.Struct, frozen=True):
    """One message that is due about one alert."""

    transition: Transition
    alert: Alert
    at: float  # when it happened
    severity: Severity  # at this moment


class PendingCondition(msgspec.Struct, frozen=True):
    """A condition that has not lasted long enough for an alert."""

    since: float
    condition: Condition


class Engine:
    """The alerts of one daemon: its machine's and sources', and the shared ones while it leads."""

    def __init__(self, host: str, repeat_interval: float, name: str = "") -> None:
        self.host = host
        self.name = name or host  # of the daemon, when several run on one machine
        self.repeat_interval = repeat_interval  # seconds
        self.open: dict[Key, Alert] = {}
        self.closed: list[Alert] = []  # not sent or not written yet
        self._pending: dict[Key, PendingCondition] = {}
        self._ends: dict[Key, list[float]] = {}  # when its alerts of the last day closed

    # -- conditions -------------------------------------------------------------------------------

    def step(self, now: float, conditions: Iterable[Condition], ownership: OwnershipOf) -> None:
        """Open, change and close alerts by the conditions of this moment."""
        found = {
            (each.rule, each.subject): each
            for each in conditions
            if ownership(each.rule, each.subject) == "ours"
        }
        for key, condition in found.items():
            if key in self.open:
                self._continue(self.open[key], condition)
            else:
                self._start(key, condition, now)
        for key in [key for key in self._pending if key not in found]:
            if ownership(*key) != "unknown":
                del self._pending[key]
        for key, alert in list(self.open.items()):
            if key not in found:
                self._condition_gone(alert, now, ownership(*key))

    def _continue(self, alert: Alert, condition: Condition) -> None:
        if alert.gone_since is not None:
            alert.gone_since = None
            alert.touch()
        alert.text, alert.remedy = condition.text, condition.remedy
        if alert.severity != condition.severity:
            alert.severity = condition.severity
            alert.touch()

    def _start(self, key: Key, condition: Condition, now: float) -> None:
        """Open an alert when its condition has lasted long enough."""
        known = now if condition.since is None else min(condition.since, now)
        pending = self._pending.get(key)
        since = known if pending is None else min(pending.since, known)
        self._pending[key] = PendingCondition(since, condition)
        if now - since < condition.for_ or len(self.open) >= OPEN_MAX:
            return
        del self._pending[key]
        self.open[key] = Alert(
            rule=condition.rule,
            subject=condition.subject,
            host=self.host_of(condition.rule),
            severity=condition.severity,
            text=condition.text,
            remedy=condition.remedy,
            opened_at=since,
        )

    def _condition_gone(self, alert: Alert, now: float, ownership: Ownership) -> None:
        """Close an alert when its condition stays away; forget it when another daemon owns it."""
        if ownership == "unknown":
            return
        if ownership == "others":
            del self.open[alert.key]
            return
        if alert.gone_since is None:
            alert.gone_since = now
            alert.touch()
        if now - alert.gone_since >= self._keep_firing_for(alert.key, now):
            del self.open[alert.key]
            self._ends.setdefault(alert.key, []).append(now)
            if len(self._ends) > OPEN_MAX:
                del self._ends[next(iter(self._ends))]
            alert.closed_at = max(alert.gone_since, alert.opened_at)
            alert.touch()
            self.closed.append(alert)
            del self.closed[:-CLOSED_MAX]

    def _keep_firing_for(self, key: Key, now: float) -> float:
        """Seconds without its condition after which an alert closes; doubles with each return."""
        ends = [end for end in self._ends.pop(key, ()) if end > now - FLAP_WINDOW][-20:]
        if ends:
            self._ends[key] = ends
        keep_firing_for = RULES[key[0]].keep_firing_for
        return max(min(keep_firing_for * 2.0 ** len(ends), KEEP_FIRING_MAX), keep_firing_for)

    def host_of(self, rule: str) -> str:
        """The host in the row of an alert: this machine or daemon; none when it concerns all."""
        match RULES[rule].scope:
            case "host":
                return self.host
            case "daemon":
                return self.name
            case _:
                return ""

    # -- notifications ----------------------------------------------------------------------------

    def due(self, now: float, muted: Muted) -> list[PendingNotification]:
        """The messages to send now, in the order in which things happened."""
        found = [
            PendingNotification(transition, alert, _moment(transition, alert, now), alert.severity)
            for alert in (*self.closed, *self.open.values())
            if not muted(alert.rule, alert.subject) and (transition := self._transition(alert, now))
        ]
        return sorted(found, key=lambda notification: notification.at)

    def _transition(self, alert: Alert, now: float) -> Transition | None:
        if alert.closed_at is not None:
            return _transition_of_closed(alert)
        if alert.acknowledged_at is not None:
            return None
        if alert.notified_at is None:
            return "opened"
        return None if alert.gone_since is not None else self._reminder(alert, now)

    def _reminder(self, alert: Alert, now: float) -> Transition | None:
        """Whether a reminder is due, or the alert has become worse."""
        assert alert.notified_at is not None
        if RANK[alert.severity] > RANK[alert.notified_severity or alert.severity]:
            return "worse"
        if RULES[alert.rule].once or now - alert.notified_at < self.repeat_interval:
            return None
        return "still"

    def delivered(self, notifications: Sequence[PendingNotification], now: float) -> None:
        """Record that notifications were sent."""
        for notification in notifications:
            alert = notification.alert
            alert.notified_count += 1
            alert.undelivered = False
            if notification.transition in ("closed", "passed"):
                alert.all_clear_at = now
            else:
                alert.notified_at, alert.notified_severity = now, notification.severity
            alert.touch()

    def mark_undelivered(self, notifications: Sequence[PendingNotification]) -> None:
        """Record that notifications could not be sent: they are sent later, even after the end."""
        for notification in notifications:
            if not notification.alert.undelivered:
                notification.alert.undelivered = True
                notification.alert.touch()

    @property
    def is_critical(self) -> bool:
        """Whether a critical alert is active at this moment."""
        return any(alert.is_critical for alert in self.open.values())

    def critical(self) -> list[Alert | Condition]:
        """Everything critical at this moment, also what has not lasted long enough for an alert."""
        pending = (each.condition for each in self._pending.values())
        return [
            *(alert for alert in self.open.values() if alert.is_critical),
            *(condition for condition in pending if condition.severity == "critical"),
        ]

    # -- rows -------------------------------------------------------------------------------------

    def unsaved(self) -> list[Alert]:
        """Alerts that differ from their rows, the oldest first."""
        return [each for each in (*self.closed, *self.open.values()) if each.saved < each.changed]

    def forget_settled(self, now: float, muted: Muted) -> None:
        """Forget closed alerts that are written and have nothing left to send."""
        self.closed = [
            alert
            for alert in self.closed
            if alert.saved < alert.changed
            or (not muted(alert.rule, alert.subject) and self._transition(alert, now) is not None)
        ]

    def merge(self, rows: Iterable[Alert], ownership: OwnershipOf) -> None:
        """Take over rows of the table: open ones, and closed ones whose end was not sent.

        Forgets alerts of this daemon that were closed by hand; does not repeat acknowledged ones.
        """
        there = set()
        for row in rows:
            if row.rule not in RULES or row.host != self.host_of(row.rule):
                continue
            if row.closed_at is not None:
                self._adopt_closed(row, ownership)
                continue
            there.add(row.key)
            mine = self.open.get(row.key)
            if mine is not None:
                _adopt(mine, row)
            elif ownership(*row.key) != "others" and not self._is_closing(row):
                row.saved = row.changed
                if row.gone_since is not None:  # this daemon has not seen that
                    row.gone_since = None
                    row.touch()
                self.open[row.key] = row
        for key, alert in list(self.open.items()):
            if alert.id is not None and key not in there:
                del self.open[key]

    def _adopt_closed(self, row: Alert, ownership: OwnershipOf) -> None:
        if ownership(*row.key) == "ours" and all(each.id != row.id for each in self.closed):
            row.saved = row.changed
            self.closed.append(row)

    def _is_closing(self, row: Alert) -> bool:
        """Whether this daemon has closed it already, and only its row is still open."""
        for alert in self.closed:
            if alert.id is None and alert.key == row.key:
                alert.id = row.id
            if alert.id == row.id:
                return True
        return False


def _adopt(mine: Alert, row: Alert) -> None:
    """Copy the fields that only the row of an alert has."""
    mine.acknowledged_at = row.acknowledged_at
    if mine.id is None:
        mine.id = row.id
        mine.opened_at = min(mine.opened_at, row.opened_at)
        mine.notified_count += row.notified_count
        mine.touch()
    if row.notified_at is not None and row.notified_at > (mine.notified_at or 0.0):
        mine.notified_at = row.notified_at
        mine.notified_severity = mine.notified_severity or row.notified_severity


def _transition_of_closed(alert: Alert) -> Transition | None:
    if alert.all_clear_at is not None:
        return None
    if alert.notified_count:
        return None if RULES[alert.rule].once else "closed"
    return "passed" if alert.undelivered else None


def _moment(transition: Transition, alert: Alert, now: float) -> float:
    if transition in ("closed", "passed"):
        return alert.closed_at or now
    return alert.opened_at if transition == "opened" else now
