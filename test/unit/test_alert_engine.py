"""The alert engine with a clock of the test: each alert is opened, notified and closed once."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.alert.condition import Condition
from monitor.alert.engine import Engine, Ownership, PendingNotification
from monitor.alert.registry import RULES
from stream.store.alerts import Alert

DAY = 86_400.0
RULE = "database_away"  # gone after a minute
GONE = RULES[RULE].keep_firing_for


def condition(rule: str = RULE, subject: str = "", **more: Any) -> Condition:
    made = Condition(rule, subject, "warning", "Something is.", "Do it.", 1.0)
    return replace(made, **more)


class EngineRun:
    """An engine, a clock that a test advances, and the messages that were sent."""

    def __init__(self, host: str = "web1") -> None:
        self.engine = Engine(host, DAY)
        self.now = 1_000_000.0
        self.judgement: Ownership = "ours"
        self.mutes: set[str] = set()
        self.sent: list[str] = []
        self.reachable = True

    def ownership(self, rule: str, subject: str) -> Ownership:
        return self.judgement

    def muted(self, rule: str, subject: str) -> bool:
        return rule in self.mutes

    def due(self) -> list[PendingNotification]:
        return self.engine.due(self.now, self.muted)

    def merge(self, rows: Iterable[Alert]) -> None:
        """As after reading the table."""
        self.engine.merge(rows, self.ownership)

    def notify(self) -> None:
        """As the notifier does."""
        notifications = self.due()
        if self.reachable:
            self.engine.delivered(notifications, self.now)
            self.sent += [notification.transition for notification in notifications]
        else:
            self.engine.mark_undelivered(notifications)
        for alert in self.engine.unsaved():
            alert.saved = alert.changed
        self.engine.forget_settled(self.now, self.muted)

    def advance(self, seconds: float, *conditions: Condition) -> None:
        """Time passes with these conditions, looked at every ten seconds."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 10, end)
            self.engine.step(self.now, conditions, self.ownership)
            self.notify()


@pytest.fixture
def run() -> EngineRun:
    return EngineRun()


def test_an_alert_is_notified_when_it_opens_and_when_it_closes(run: EngineRun) -> None:
    run.advance(3600, condition())
    assert run.sent == ["opened"]
    run.advance(3600)
    assert run.sent == ["opened", "closed"]
    assert (run.engine.open, run.engine.closed) == ({}, [])


def test_a_condition_must_hold_for_its_time_since_it_began(run: EngineRun) -> None:
    run.advance(290, condition(for_=300))
    run.advance(10)
    run.advance(290, condition(for_=300))
    assert run.sent == []
    run.advance(20, condition(for_=300))
    assert run.sent == ["opened"]
    run = EngineRun()
    run.advance(10, condition(for_=30, since=run.now - 25))
    [alert] = run.engine.open.values()
    assert alert.opened_at == 1_000_000.0 - 25


def test_an_alert_closes_when_its_condition_has_been_gone_for_a_while(run: EngineRun) -> None:
    run.advance(100, condition())
    run.advance(GONE)
    assert run.sent == ["opened"]
    run.advance(10, condition())
    run.advance(GONE)
    assert run.sent == ["opened"]  # it was back in time
    run.advance(10)
    assert run.sent == ["opened", "closed"]


def test_a_flapping_condition_must_be_gone_for_longer_each_time(run: EngineRun) -> None:
    for _ in range(40):
        run.advance(100, condition())
        run.advance(GONE + 100)
    # Without that it would be 80 messages in four hours.
    assert len(run.sent) <= 6


def test_a_reminder_is_sent_once_a_day_until_it_is_acknowledged(run: EngineRun) -> None:
    run.advance(DAY * 2.5, condition())
    assert run.sent == ["opened", "still", "still"]
    [alert] = run.engine.open.values()
    alert.acknowledged_at = run.now
    run.advance(DAY * 2, condition())
    run.advance(3600)
    assert run.sent == ["opened", "still", "still", "closed"]


def test_no_reminder_is_sent_while_the_condition_is_gone(run: EngineRun) -> None:
    run.advance(DAY - 20, condition())
    run.advance(GONE - 10)  # a day has passed since the message, but the condition has gone
    assert run.sent == ["opened"]
    run.advance(20, condition())  # and is back
    assert run.sent == ["opened", "still"]


def test_a_higher_severity_is_notified_and_a_lower_one_is_not(run: EngineRun) -> None:
    run.advance(100, condition())
    run.advance(100, condition(severity="critical"))
    run.advance(100, condition(severity="notice"))
    run.advance(100, condition(severity="warning"))
    assert run.sent == ["opened", "worse"]


def test_muting_and_unmuting_take_effect_at_once(run: EngineRun) -> None:
    run.mutes.add(RULE)
    run.advance(DAY * 3, condition())
    assert run.sent == []
    run.mutes.clear()
    run.advance(100, condition())
    assert run.sent == ["opened"]
    run.mutes.add(RULE)
    run.advance(3600)
    assert (run.sent, run.engine.closed) == (["opened"], [])


@pytest.mark.parametrize(
    ("reachable", "sent"),
    [
        ((False, False, True), ["passed"]),
        ((True, False, True), ["opened", "closed"]),
    ],
)
def test_undelivered_messages_are_sent_later_and_those_of_one_alert_as_one(
    run: EngineRun, reachable: tuple[bool, bool, bool], sent: list[str]
) -> None:
    for able, seconds, conditions in zip(
        reachable, (100, 3600, 100), ([condition()], [], []), strict=True
    ):
        run.reachable = able
        run.advance(seconds, *conditions)
    assert run.sent == sent


def test_an_alert_that_ended_while_muted_is_never_notified(run: EngineRun) -> None:
    run.mutes.add(RULE)
    run.advance(100, condition())
    run.advance(3600)
    run.mutes.clear()
    run.advance(100)
    assert run.sent == []


def test_messages_are_sent_in_the_order_of_events(run: EngineRun) -> None:
    run.reachable = False
    for subject in ("c", "a", "b"):
        conditions = [condition(subject=each) for each in "cab"[: "cab".index(subject) + 1]]
        run.advance(10, *conditions)
    assert [notification.alert.subject for notification in run.due()] == ["c", "a", "b"]


def test_the_end_of_a_takeover_is_not_notified(run: EngineRun) -> None:
    run.advance(DAY * 3, condition("standby_took_over"))
    run.advance(3600)
    assert (run.sent, run.engine.closed) == (["opened"], [])


def test_an_alert_that_others_own_is_dropped_without_a_message(run: EngineRun) -> None:
    run.advance(100, condition("track_silent", "7"))
    run.judgement = "others"
    run.advance(3600)
    assert (run.sent, run.engine.open, run.engine.closed) == (["opened"], {}, [])


def test_an_alert_of_unknown_ownership_neither_opens_nor_closes(run: EngineRun) -> None:
    run.judgement = "unknown"
    run.advance(100, condition())
    assert run.sent == []
    run.judgement = "ours"
    run.advance(100, condition())
    run.judgement = "unknown"
    run.advance(3600)
    assert run.sent == ["opened"]


# -- restarts -------------------------------------------------------------------------------------


ROW = Alert(
    id=5,
    rule=RULE,
    subject="",
    host="web1",
    severity="warning",
    text="Something is.",
    remedy="Do it.",
    opened_at=999_000.0,
    notified_at=999_010.0,
    notified_count=1,
    notified_severity="warning",
)


def row(**changed: Any) -> Alert:
    return replace(ROW, **changed)


def test_after_a_restart_an_open_alert_is_not_notified_again(run: EngineRun) -> None:
    run.merge([row()])
    run.advance(3600, condition())
    assert run.sent == []
    run.advance(3600)
    assert run.sent == ["closed"]


def test_an_alert_that_opened_before_its_row_was_read_uses_the_row(run: EngineRun) -> None:
    run.engine.step(run.now, [condition()], run.ownership)
    run.merge([row()])
    [alert] = run.engine.open.values()
    assert (alert.id, alert.opened_at, alert.notified_count) == (5, 999_000.0, 1)
    assert run.due() == []


def test_an_end_that_was_not_notified_before_a_restart_is_notified_after_it(run: EngineRun) -> None:
    run.merge([row(closed_at=999_500.0)])
    run.advance(10)
    assert run.sent == ["closed"]


def test_an_alert_whose_row_is_gone_is_forgotten_but_not_an_unsaved_one(run: EngineRun) -> None:
    run.merge([row()])
    run.merge([])
    assert run.engine.open == {}
    run.advance(10, condition())
    run.merge([])
    assert len(run.engine.open) == 1


def test_an_older_row_does_not_reopen_a_closed_alert(run: EngineRun) -> None:
    """Opened, written and closed, but the end is not written yet."""
    run.merge([row()])
    run.reachable = False
    run.advance(3600)
    assert run.engine.open == {}
    run.merge([row()])
    assert run.engine.open == {}


def test_alerts_of_other_machines_and_unknown_rules_are_ignored(run: EngineRun) -> None:
    run.merge([row(host="web2"), row(rule="rule_of_tomorrow"), row(rule="track_silent")])
    assert run.engine.open == {}


# -- any course ---------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.booleans(),  # the condition is there
        st.floats(1, 4000),  # seconds
        st.sampled_from([True, True, True, False]),  # messages can be delivered
        st.sampled_from([False, False, False, True]),  # the daemon is restarted before
    ),
    max_size=80,
)


@given(steps)
def test_messages_always_alternate_between_opened_and_closed(
    course: list[tuple[bool, float, bool, bool]],
) -> None:
    """Never two messages without a change between them; what opened has closed or is open."""
    run = EngineRun()
    table: dict[int, Alert] = {}
    for present, seconds, reachable, restart in course:
        if restart:
            run = _restarted(run, table)
        run.now += seconds
        run.reachable = reachable
        run.engine.step(run.now, [condition()] if present else [], run.ownership)
        run.notify()
        for alert in (*run.engine.open.values(), *run.engine.closed):
            alert.id = alert.id or len(table) + 1
            table[alert.id] = alert
    transition = [each for each in run.sent if each not in ("still", "passed")]
    assert all(each == "opened" for each in transition[::2]), run.sent
    assert all(each == "closed" for each in transition[1::2]), run.sent
    open_ = [each for each in table.values() if each.closed_at is None]
    assert len(open_) == len(run.engine.open) <= 1
    untold = [each for each in run.due() if each.transition == "closed"]
    told_open = [each for each in open_ if each.notified_count]
    assert transition.count("opened") == transition.count("closed") + len(told_open) + len(untold)


def _restarted(run: EngineRun, table: dict[int, Alert]) -> EngineRun:
    """Another process with the same table."""
    after = EngineRun()
    after.sent, after.now = run.sent, run.now
    for alert in table.values():
        alert.gone_since = None
    untold = [each for each in table.values() if each.all_clear_at is None]
    after.merge(
        each for each in untold if each.closed_at is None or each.notified_count or each.undelivered
    )
    return after


def test_the_time_when_a_condition_went_is_saved_at_once(run: EngineRun) -> None:
    """Pages do not call for help any more, although the alert stays open for a while."""
    run.advance(10, condition())
    [alert] = run.engine.open.values()
    run.engine.step(run.now + 1, [], run.ownership)
    assert (alert.gone_since, run.engine.unsaved()) == (run.now + 1, [alert])
    run.notify()
    run.engine.step(run.now + 2, [condition()], run.ownership)
    assert alert.gone_since is None
    assert run.engine.unsaved() == [alert]
    run.notify()
    # One that another daemon saw go is ours to see again.
    alert.gone_since = run.now
    other = EngineRun()
    other.merge([alert])
    assert alert.gone_since is None
    assert other.engine.unsaved() == [alert]
