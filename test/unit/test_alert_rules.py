"""Each alert rule just below and just above its limit, and the text that it gives."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from alert_rules import (
    FACTS,
    GB,
    NOON,
    SNAPSHOT,
    SOURCE,
    after,
    condition,
    conditions,
    context,
    replace,
    with_database,
    with_machine,
    with_process,
    with_source,
)
from monitor.alert import registry
from monitor.alert.condition import Condition, FileProblems, RuleContext
from monitor.snapshot import JobSnapshot, SinkSnapshot, Snapshot, Volume
from stream.config import AlertSettings, ArchiveSettings, Settings
from stream.store.alert_facts import DisabledWebhook, Forecast


def disk(percent: float, *, name: str = "data", device: int = 1) -> Snapshot:
    free = int(percent * GB)
    volume = Volume(name, "/srv", device, 100 * GB, 100 * GB - free, free)  # type: ignore[arg-type]  # a name of the closed set
    return with_machine(volumes=(volume,))


def forecast(days: float) -> RuleContext:
    return context(forecasts=(Forecast("data", 30.0 * GB, 4.5 * GB, days),))


def lag(seconds: float) -> Snapshot:
    return with_source(lag_seconds=seconds, lag_bytes=3_000_000)


def stalled(seconds: float) -> Snapshot:
    return with_source(writer_stalled=seconds, lag_bytes=3_000_000)


def jump(seconds: float) -> RuleContext:
    return context(after(-600, with_process(clock_jump=seconds)), SNAPSHOT)


def tracks(*, enabled: bool = True, **counts: int) -> RuleContext:
    return context(replace(with_source(enabled=enabled), tracks=counts))


def outcomes(**counts: int) -> RuleContext:
    return context(outcomes={1: counts})


def damaged(before: int, now: int) -> RuleContext:
    then = after(-3600, with_source(journal_damaged=before))
    return context(then, with_source(journal_damaged=now))


def job(name: str, seconds: float) -> Snapshot:
    failing = JobSnapshot(name, NOON, None, 1.0, "OSError: no room.", NOON - seconds)
    return replace(SNAPSHOT, jobs=(failing,))


def sink(seconds: float, reason: str = "", remedy: str = "") -> Snapshot:
    return replace(SNAPSHOT, sinks=(SinkSnapshot("redis", reason, remedy, NOON - seconds),))


SLOW = with_process(loop_lag=1.0)
BUSY = with_machine(cpu_percent=100.0)
IN_CELL = Settings(cell="east", bus="nats://a", database="postgresql:///east")
NO_COLLECTOR = with_source(collecting=False, state="streaming")
KEY = {"/srv/secret.key": "It is missing."}
QUOTA = with_source(code="quota", state="paused", until=NOON + 7200)
NOT_DELETED = "X has not deleted 1 rule; the posts still come, and X charges for them."

# A rule, what it looks at, and what its severity, text and remedy contain: the parts between "…".
# None where it must not find anything.
CASES: list[tuple[str, RuleContext, str | None]] = [
    # Disks
    ("disk_low", context(disk(15.1)), None),
    ("disk_low", context(disk(14.9)),
     "warning: The disk of data (/srv) is low on space: 14.9 GB (14.9 %) free. … Free up space"),
    ("disk_low", context(disk(9.9)), "warning: … below 7.5 % tracks are paused … Free up space"),
    ("disk_low", context(disk(7.4)),
     "critical: … tracks of lowest priority are paused … Free up space"),
    ("disk_low", context(disk(4.9)), "critical: … collecting is paused … Free up space"),
    ("disk_low", context(disk(9), settings=Settings(archive=ArchiveSettings(url="/archive"))),
     "deleted from Postgres early"),
    ("disk_low", context(disk(3, name="archive", device=3)), "warning: … archiving stops"),
    # An open alert ends one percent above its limit.
    ("disk_low", context(disk(15.9), opened=[("disk_low", "data")]), "warning: "),
    ("disk_low", context(disk(16.1), opened=[("disk_low", "data")]), None),
    ("disk_full_soon", forecast(7.1), None),
    ("disk_full_soon", forecast(6.9), "full in 6 d 21 h … growing by 4.5 GB a day"),
    # The machine and Postgres
    ("cpu_high", context(with_machine(cpu_percent=94.9)), None),
    ("cpu_high", context(with_machine(cpu_percent=95.0)), "web1 is 95 % busy"),
    ("cpu_high", context(*(after(-at) for at in (50, 40, 30, 20, 10)), BUSY), None),
    ("memory_high", context(with_machine(memory_used=int(7.35 * GB))), None),
    ("memory_high", context(with_machine(memory_used=int(7.37 * GB))), "200.0 MB"),
    ("loop_lag", context(after(-50, with_process(loop_lag=0.99)), SNAPSHOT), None),
    ("loop_lag", context(after(-50, SLOW), SNAPSHOT), "blocked for 1.0 s"),
    ("loop_lag", context(after(-70, SLOW), SNAPSHOT), None),
    ("database_away",
     context(with_database(up=False, since=NOON - 40, error="Connection refused")),
     "critical: … since 11:59 UTC: Connection refused."),
    ("partitions_missing", context(with_database(days_ahead=0)), "tomorrow's tweets"),
    ("partitions_missing", context(with_database(days_ahead=1)), None),
    ("partitions_missing", context(with_database(days_ahead=None)), None),
    ("partitions_missing", context(with_database(days_ahead=0, up=False)), None),
    ("clock_jumped", jump(9), None),
    ("clock_jumped", jump(-9), None),
    ("clock_jumped", jump(11), "forward by 11 s"),
    ("clock_jumped", jump(-11), "back by 11 s"),
    ("clock_jumped", context(with_source(clock_corrections=1)), "was ahead"),
    # Storing
    ("journal_lag", context(lag(119)), None),
    ("journal_lag", context(lag(121)), "stored 2 min 1 s late"),
    ("journal_lag", context(with_database(lag(121), up=False)), None),
    ("writer_stalled", context(stalled(90)), None),
    ("writer_stalled", context(stalled(91)), "3.0 MB wait in the journal"),
    ("writer_stalled", context(with_database(stalled(91), up=False)), None),
    ("writer_stalled", context(with_database(stalled(91), since=NOON - 30)), None),
    ("journal_damaged", damaged(0, 2), "2 damaged places"),
    ("journal_damaged", context(with_source(journal_damaged=2)), "2 damaged"),  # before the start
    ("journal_damaged", damaged(2, 2), None),
    ("journal_full", context(with_source(state="paused", why_journal_full="The journal is full.")),
     "Source main is paused: The journal is full."),
    ("reject_share", outcomes(stored=990, rejected=10, repaired=5000), None),
    ("reject_share", outcomes(stored=989, rejected=11, repaired=5000),
     "11 of 1,000 messages (1.1 %) of source main in the last hour"),
    ("reject_share", outcomes(stored=90, rejected=9, repaired=5000), None),
    ("reject_share", outcomes(stored=100, rejected=4, repaired=5000), None),
    ("reject_share", outcomes(stored=100, rejected=5, repaired=5000), "5 of 105"),
    ("unmatched_share", outcomes(stored=100, unmatched=100), None),
    ("unmatched_share", outcomes(stored=99, unmatched=101), "101 of 200"),
    ("unmatched_share", outcomes(stored=99, unmatched=51, dropped=50), "101 of 200"),
    ("unmatched_share", outcomes(stored=49, unmatched=150), None),
    # It sends every post, of which few match.
    ("unmatched_share",
     context(with_source(network="bluesky"), outcomes={1: {"stored": 1, "dropped": 9999}}), None),
    # Sources
    ("source_refused", context(with_source(code="credentials", state="failed", reason="Why.")),
     "main has failed since 10:00 UTC: Why. … source secrets main"),
    ("source_clock", context(with_source(code="clock", state="waiting", reason="Why.")),
     "main has not collected since 10:00 UTC: Why. … Set the clock"),
    ("source_plan", context(with_source(code="plan", state="failed", reason="Why.")),
     "since 10:00 UTC: Why. … Subscribe to a plan"),
    ("source_quota", context(with_source(code="quota", state="paused", reason="Why.")),
     "since 10:00 UTC: Why. … raise the account's limit"),
    ("source_quota", context(QUOTA), " Next try at 14:00 UTC. Wait for the next period"),
    ("source_failed", context(with_source(state="failed", reason="Why.")),
     "since 10:00 UTC: Why. … source disable main"),
    ("source_failed", context(with_source(collecting=False, state="failed", reason="No key")),
     "No key."),
    ("source_failed", context(NO_COLLECTOR, collected=frozenset()), "no daemon collects it"),
    ("source_failed", context(NO_COLLECTOR, collected=frozenset(), settings=IN_CELL), None),
    ("rules_not_applied", context(with_source(not_in_force=NOT_DELETED)),
     f"{NOT_DELETED} … developer portal"),
    ("source_silent", context(with_source(last_byte=NOON - 59, state="waiting")), None),
    ("no_source", tracks(enabled=False, active=2, pending=1),
     "nothing is collected for 3 tracks"),
    ("no_source", tracks(enabled=False, paused=3), None),
    ("no_source", tracks(active=2), None),
    ("tracks_refused", tracks(active=2, refused=0), None),
    ("tracks_refused", tracks(active=2, refused=1), "1 track is refused"),
    ("tracks_refused", tracks(active=2, refused=7), "7 tracks are refused"),
    # Jobs, archives, files, daemons
    ("archive_failed", context(job("archive", 901)), "since 11:44 UTC: OSError: no room."),
    ("archive_failed", context(archive_problems={"2026-04-29": "a hash differs"}),
     "warning: The archive of 2026-04-29 has a problem: a hash differs. "),
    ("sink_late", context(sink(119)), None),
    ("sink_late", context(sink(121)), "sink redis for 2 min 1 s. … Check with `top`"),
    ("sink_late", context(sink(180, "Redis cannot be reached", "Start it.")),
     "for 3 min: Redis cannot be reached. … Start it."),
    ("sink_late", context(with_database(sink(180), since=NOON - 60)), None),
    ("sink_late", context(with_database(sink(180), up=False)), None),
    ("job_failed", context(job("raw backup", 901)), "since 11:44 UTC: OSError: no room."),
    ("job_failed", context(with_database(job("raw backup", 7200), since=NOON - 60)), None),
    ("job_failed", context(with_database(job("raw backup", 7200), up=False)), None),
    ("webhook_disabled", context(
        disabled_webhooks=(DisabledWebhook(7, "mine", "ana", "It answers with status 500."),)),
     "Webhook 7 (mine) of ana is disabled: It answers with status 500. … Its owner, ana, repairs"),
    ("key_file", context(files=FileProblems(KEY)), "warning: It is missing. "),
    ("key_file", context(files=FileProblems(KEY, set(KEY))), "critical: It is missing. "),
    ("restart_loop", context(crashes={"web1 (web)": 3, "web1 (write)": 3}), None),
    ("restart_loop", context(crashes={"web1": 3, "web2 (write)": 4}),
     "The daemon on web2 (write) has crashed 4 times"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "looked_at", "words"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_opens_at_its_limit(rule: str, looked_at: RuleContext, words: str | None) -> None:
    found = conditions(looked_at)
    if words is None:
        assert rule not in {each.rule for each in found}
        return
    [opened] = found
    whole = f"{opened.severity}: {opened.text} {opened.remedy}"
    assert opened.rule == rule
    assert all(part in whole for part in words.split(" … ")), whole


@pytest.mark.parametrize(
    "looked_at",
    [
        context(),
        context(facts=None),
        context(with_source(state="waiting", reason="503")),  # the network will answer again
        context(with_source(not_in_force=NOT_DELETED, collecting=False)),
        context(NO_COLLECTOR),  # another daemon collects it
        context(replace(NO_COLLECTOR, leads=False), collected=frozenset()),
        context(
            replace(NO_COLLECTOR, sources=(replace(SOURCE, collecting=False, standing_by=True),)),
            collected=frozenset(),
        ),
        context(job("archive", 899)),
        context(job("raw backup", 899)),
        context(with_database(job("retention", 7200), since=NOON - 60)),
    ],
)
def test_no_rule_finds_anything(looked_at: RuleContext) -> None:
    assert conditions(looked_at) == []


@pytest.mark.parametrize(
    ("looked_at", "rule", "subject", "for_", "since"),
    [
        (context(BUSY), "cpu_high", "", AlertSettings().busy_for, None),
        (context(SLOW), "loop_lag", "", 120, None),
        (context(with_database(up=False, since=NOON - 40)), "database_away", "", 30, NOON - 40),
        (tracks(enabled=False, active=2), "no_source", "", 60, None),
        (tracks(refused=1), "tracks_refused", "", 600, None),
        (context(NO_COLLECTOR, collected=frozenset()), "source_failed", "main", 300, None),
        # Right after a start it may be the state of the last run.
        (context(with_source(collecting=False, state="failed")), "source_failed", "main", 60, None),
        (context(with_source(code="plan", state="failed")), "source_plan", "main", 0, NOON - 7200),
        (context(job("archive", 901)), "archive_failed", "archive", 0, NOON - 901),
        (context(job("raw backup", 901)), "job_failed", "raw backup", 0, NOON - 901),
        (context(files=FileProblems(KEY)), "key_file", "/srv/secret.key", 0, None),
    ],
)
def test_the_subject_of_a_condition_and_how_long_it_must_last(
    looked_at: RuleContext, rule: str, subject: str, for_: float, since: float | None
) -> None:
    [found] = conditions(looked_at)
    assert (found.rule, found.subject, found.for_, found.since) == (rule, subject, for_, since)


def test_a_disk_with_several_names_is_one_condition() -> None:
    volumes = (
        Volume("data", "/srv", 1, 100 * GB, 90 * GB, 10 * GB),
        Volume("journal", "/srv/j", 1, 100 * GB, 90 * GB, 10 * GB),
        Volume("postgres", "/pg", 2, 100 * GB, 90 * GB, 10 * GB),
    )
    found = conditions(context(with_machine(volumes=volumes)))
    assert [(each.rule, each.subject) for each in found] == [
        ("disk_low", "data"),
        ("disk_low", "postgres"),
    ]
    assert "data and journal" in found[0].text


# -- silent sources -------------------------------------------------------------------------------


def silent(state: str, seconds: float, **changed: Any) -> RuleContext:
    """The source has been in this state, without a byte, for so long."""
    times = range(-int(seconds) - 30, 1, 10)
    return context(
        *(
            after(at, with_source(state=state, last_byte=NOON + min(at, -seconds), **changed))
            for at in times
        )
    )


@pytest.mark.parametrize("state", ["streaming", "connecting", "connected", "waiting"])
def test_a_source_that_tries_and_gets_nothing_is_silent(state: str) -> None:
    found = condition(silent(state, 299, reason="no connection: refused."), "source_silent")
    assert (found.since, found.for_, found.severity) == (NOON - 299, 300, "critical")
    assert "nothing since 11:55 UTC" in found.text
    assert f"it is {state} (no connection: refused)" in found.text


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "idle"},
        {"state": "paused"},
        {"enabled": False},
        {"collecting": False, "standing_by": True},
        {"code": "clock"},
    ],
)
def test_a_source_that_does_not_try_is_not_silent(changed: dict[str, Any]) -> None:
    found = conditions(silent(**(dict[str, Any](state="waiting", seconds=3000) | changed)))
    assert "source_silent" not in {each.rule for each in found}


def test_the_time_before_a_source_was_enabled_is_no_silence() -> None:
    """It has delivered nothing for two days, but was enabled only a minute ago."""
    tries = with_source(state="connecting", last_byte=NOON - 2 * 86_400)
    disabled = with_source(state="disabled", last_byte=NOON - 2 * 86_400, enabled=False)
    before = [after(at, disabled) for at in range(-600, -60, 10)]
    now = [after(at, tries) for at in range(-60, 1, 10)]
    assert condition(context(*before, *now), "source_silent").since == NOON - 60


# -- takeovers ------------------------------------------------------------------------------------


def test_a_takeover_by_the_standby_is_reported_for_an_hour() -> None:
    before = after(-1810, with_source(collecting=False, standing_by=True))
    taken = after(-1800)
    seen, died = (before, before, taken, SNAPSHOT), (NOON - 1820,)
    found = condition(context(*seen, collectors_died=died), "standby_took_over")
    assert found.since == NOON - 1800
    assert "web1 took over source main from another daemon at 11:30 UTC." in found.text
    again = *seen[:2], after(-1805), *seen  # the last of two takeovers counts
    assert condition(context(*again, collectors_died=died), "standby_took_over") == found
    not_collected = after(-10, with_source(collecting=False))
    for others in ((before, taken), (taken,), (not_collected,)):  # the first: a restart ended
        assert conditions(context(*others, SNAPSHOT, collectors_died=died)) == []
    for earlier in ((), (NOON - 3000, NOON - 60)):
        assert conditions(context(*seen, collectors_died=earlier)) == [], "it was stopped in order"


# -- responsibility -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "subject", "changed", "leads", "is_responsible"),
    [
        ("host", "data", {}, False, True),
        ("all", "7", {}, False, False),
        ("all", "7", {}, True, True),
        ("source", "main", {}, False, True),  # it collects
        ("source", "main", {"collecting": False, "standing_by": True}, True, False),
        ("source", "main", {"collecting": False}, False, False),
        ("source", "main", {"collecting": False}, True, True),
        ("source", "removed", {}, False, False),
        ("source", "removed", {}, True, True),
    ],
)
def test_one_daemon_is_responsible_for_each_subject(
    scope: str, subject: str, changed: Mapping[str, Any], leads: bool, is_responsible: bool
) -> None:
    snapshot = replace(with_source(**changed), leads=leads)
    assert registry.is_responsible(snapshot, scope, subject) is is_responsible


def test_an_error_in_one_rule_does_not_affect_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: RuleContext) -> Sequence[Condition]:
        raise KeyError("x")

    ours: tuple[Callable[[RuleContext], Any], ...] = (broken, *registry.SNAPSHOT_CHECKS)
    monkeypatch.setattr(registry, "SNAPSHOT_CHECKS", ours)
    found, failed = registry.evaluate_snapshot(RuleContext((QUOTA,), Settings(), FACTS))
    assert [each.rule for each in found] == ["source_quota"]
    assert isinstance(failed, KeyError)
