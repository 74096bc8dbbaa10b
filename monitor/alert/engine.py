"""From conditions to alerts: opened once, told once, closed with an all-clear. Pure.

What is still to be told is never kept: it follows from each alert and from what was told of it.
So a message that could not be delivered is told later as things stand then, in order, and an alert
that came and went meanwhile is one message.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from monitor.alert.catalogue import RULES
from monitor.alert.condition import RANK, Condition, Severity

MOST = 1000  # alerts that are open at once; more would be one cause under many names
CLOSED_MOST = 1000  # alerts that are closed and wait to be told or written
# What comes and goes must be gone for longer each time, or every hour would bring a message.
REMEMBER = 86_400.0  # seconds that the end of an alert counts for that
LONGEST_GONE = 4 * 3600.0  # seconds

Key = tuple[str, str]  # rule and subject
News = Literal["opened", "worse", "still", "closed", "passed"]
Judgement = Literal["ours", "unknown", "others"]
Judge = Callable[[str, str], Judgement]
Muted = Callable[[str, str], bool]


class Alert(msgspec.Struct, kw_only=True):
    """A row of alerts. All times in seconds since 1970."""

    rule: str
    subject: str
    host: str
    severity: Severity
    text: str
    remedy: str
    opened_at: float
    id: int | None = None  # None: not in Postgres yet
    closed_at: float | None = None
    told_at: float | None = None
    told: int = 0
    told_severity: Severity | None = None
    all_clear_at: float | None = None
    acknowledged_at: float | None = None
    missed: bool = False  # a message about it could not be delivered
    gone_since: float | None = None  # its condition is gone
    changed: int = 1  # grows with every change that belongs into the row …
    saved: int = 0  # … and this is the one that is there

    @property
    def key(self) -> Key:
        return self.rule, self.subject

    def touch(self) -> None:
        """Something changed that belongs into the row."""
        self.changed += 1


class Notice(msgspec.Struct, frozen=True):
    """One thing to be told of one alert."""

    news: News
    alert: Alert
    at: float  # when it happened
    severity: Severity  # at this moment


class Engine:
    """The alerts of one daemon: those about its machine, and those about all while it leads."""

    def __init__(self, host: str, repeat_every: float) -> None:
        self.host = host
        self.repeat_every = repeat_every  # seconds
        self.open: dict[Key, Alert] = {}
        self.closed: list[Alert] = []  # not told or not written yet
        self._pending: dict[Key, float] = {}  # conditions that do not hold long enough yet, since
        self._ends: dict[Key, list[float]] = {}  # when its alerts of the last day closed

    # -- what happens -----------------------------------------------------------------------------

    def step(self, now: float, conditions: Iterable[Condition], judge: Judge) -> None:
        """Take what is wrong at this moment."""
        found = {
            (each.rule, each.subject): each
            for each in conditions
            if judge(each.rule, each.subject) == "ours"
        }
        for key, condition in found.items():
            if key in self.open:
                self._goes_on(self.open[key], condition)
            else:
                self._watch(key, condition, now)
        for key in [key for key in self._pending if key not in found]:
            if judge(*key) != "unknown":
                del self._pending[key]
        for key, alert in list(self.open.items()):
            if key not in found:
                self._missing(alert, now, judge(*key))

    def _goes_on(self, alert: Alert, condition: Condition) -> None:
        alert.gone_since = None
        alert.text, alert.remedy = condition.text, condition.remedy
        if alert.severity != condition.severity:
            alert.severity = condition.severity
            alert.touch()

    def _watch(self, key: Key, condition: Condition, now: float) -> None:
        """Open an alert when its condition has lasted long enough."""
        known = now if condition.since is None else min(condition.since, now)
        since = self._pending[key] = min(self._pending.get(key, now), known)
        if now - since < condition.hold or len(self.open) >= MOST:
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

    def _missing(self, alert: Alert, now: float, judgement: Judgement) -> None:
        """Its condition is not there: close it after a while, unless others are to judge."""
        if judgement == "unknown":
            return
        if judgement == "others":
            del self.open[alert.key]
            return
        if alert.gone_since is None:
            alert.gone_since = now
        if now - alert.gone_since >= self._patience(alert.key, now):
            del self.open[alert.key]
            self._ends.setdefault(alert.key, []).append(now)
            if len(self._ends) > MOST:
                del self._ends[next(iter(self._ends))]
            alert.closed_at = max(alert.gone_since, alert.opened_at)
            alert.touch()
            self.closed.append(alert)
            del self.closed[:-CLOSED_MOST]

    def _patience(self, key: Key, now: float) -> float:
        """How long its condition must be gone: twice as long for each time that it came back."""
        ends = [end for end in self._ends.pop(key, ()) if end > now - REMEMBER][-20:]
        if ends:
            self._ends[key] = ends
        gone = RULES[key[0]].gone
        return max(min(gone * 2.0 ** len(ends), LONGEST_GONE), gone)

    def host_of(self, rule: str) -> str:
        """Whose row it is: this machine's, or everybody's."""
        return self.host if RULES[rule].scope == "host" else ""

    # -- what is to be told -----------------------------------------------------------------------

    def due(self, now: float, muted: Muted) -> list[Notice]:
        """What is to be told now, in the order in which it happened."""
        found = [
            Notice(news, alert, _moment(news, alert, now), alert.severity)
            for alert in (*self.closed, *self.open.values())
            if not muted(alert.rule, alert.subject) and (news := self._news(alert, now))
        ]
        return sorted(found, key=lambda notice: notice.at)

    def _news(self, alert: Alert, now: float) -> News | None:
        if alert.closed_at is not None:
            return _news_of_closed(alert)
        if alert.acknowledged_at is not None:
            return None
        if alert.told_at is None:
            return "opened"
        return None if alert.gone_since is not None else self._reminder(alert, now)

    def _reminder(self, alert: Alert, now: float) -> News | None:
        """What to tell once more. What seems to be over is not, unless it comes back."""
        assert alert.told_at is not None
        if RANK[alert.severity] > RANK[alert.told_severity or alert.severity]:
            return "worse"
        if RULES[alert.rule].once or now - alert.told_at < self.repeat_every:
            return None
        return "still"

    def delivered(self, notices: Sequence[Notice], now: float) -> None:
        """These were told."""
        for notice in notices:
            alert = notice.alert
            alert.told += 1
            alert.missed = False
            if notice.news in ("closed", "passed"):
                alert.all_clear_at = now
            else:
                alert.told_at, alert.told_severity = now, notice.severity
            alert.touch()

    def missed(self, notices: Sequence[Notice]) -> None:
        """These could not be told: that something was wrong is told also when it is over."""
        for notice in notices:
            if not notice.alert.missed:
                notice.alert.missed = True
                notice.alert.touch()

    # -- the rows ---------------------------------------------------------------------------------

    def unsaved(self) -> list[Alert]:
        """Alerts whose rows are not as they are, the oldest first."""
        return [each for each in (*self.closed, *self.open.values()) if each.saved < each.changed]

    def settled(self, now: float, muted: Muted) -> None:
        """Forget closed alerts that are written and have nothing left to tell."""
        self.closed = [
            alert
            for alert in self.closed
            if alert.saved < alert.changed
            or (not muted(alert.rule, alert.subject) and self._news(alert, now) is not None)
        ]

    def merge(self, rows: Iterable[Alert], judge: Judge) -> None:
        """Take over what stands in the table: what is open there, or closed and not told.

        An alert of ours that somebody has closed by hand is forgotten; an acknowledged one rests.
        """
        there = set()
        for row in rows:
            if row.rule not in RULES or row.host != self.host_of(row.rule):
                continue
            if row.closed_at is not None:
                self._take_closed(row, judge)
                continue
            there.add(row.key)
            mine = self.open.get(row.key)
            if mine is not None:
                _take(mine, row)
            elif judge(*row.key) != "others" and not self._is_closing(row):
                row.saved = row.changed
                self.open[row.key] = row
        for key, alert in list(self.open.items()):
            if alert.id is not None and key not in there:
                del self.open[key]

    def _take_closed(self, row: Alert, judge: Judge) -> None:
        if judge(*row.key) == "ours" and all(each.id != row.id for each in self.closed):
            row.saved = row.changed
            self.closed.append(row)

    def _is_closing(self, row: Alert) -> bool:
        """We know already that it is over, only its row does not."""
        for alert in self.closed:
            if alert.id is None and alert.key == row.key:
                alert.id = row.id
            if alert.id == row.id:
                return True
        return False


def _take(mine: Alert, row: Alert) -> None:
    """What the row knows and we do not."""
    mine.acknowledged_at = row.acknowledged_at
    if mine.id is None:
        mine.id = row.id
        mine.opened_at = min(mine.opened_at, row.opened_at)
        mine.told += row.told
        mine.touch()
    if row.told_at is not None and row.told_at > (mine.told_at or 0.0):
        mine.told_at = row.told_at
        mine.told_severity = mine.told_severity or row.told_severity


def _news_of_closed(alert: Alert) -> News | None:
    if alert.all_clear_at is not None:
        return None
    if alert.told:
        return None if RULES[alert.rule].once else "closed"
    return "passed" if alert.missed else None


def _moment(news: News, alert: Alert, now: float) -> float:
    if news in ("closed", "passed"):
        return alert.closed_at or now
    return alert.opened_at if news == "opened" else now
