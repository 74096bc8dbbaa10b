"""Each rule just under and just over its limit, and the words it finds."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from monitor.alert import rules
from monitor.alert.catalogue import RULES
from monitor.alert.condition import Condition, Facts, Files, Forecast, TrackFact, View
from monitor.reading import (
    ChoreReading,
    Commits,
    DatabaseReading,
    Machine,
    Process,
    Reading,
    SourceReading,
    Volume,
)
from stream.config import AlertSettings, ArchiveSettings, Settings

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
GB = 10**9

SOURCE = SourceReading(
    id=1,
    name="main",
    network="x_v2",
    enabled=True,
    collecting=True,
    standing_by=False,
    state="streaming",
    reason="",
    state_since=NOON - 7200,
    until=None,
    last_byte=NOON - 1,
    bytes=10_000,
    frames=100,
    attempts=1,
    attempts_left=44,
    losses={},
    outcomes={},
    rejects={},
    journal_bytes=0,
    journal_room=None,
    lag_bytes=0,
    lag_seconds=0.0,
    away_since=None,
    gap_seconds_today=0.0,
)
READING = Reading(
    at=NOON,
    host="web1",
    version="1",
    leads=True,
    machine=Machine(
        cpu_percent=10.0,
        cores=2,
        load=0.1,
        memory_total=8 * GB,
        memory_used=2 * GB,
        network_received=0,
        network_sent=0,
        volumes=(
            Volume("data", "/srv", 1, 100 * GB, 40 * GB, 60 * GB),
            Volume("journal", "/srv/journal", 1, 100 * GB, 40 * GB, 60 * GB),
        ),
    ),
    process=Process(
        memory=200_000_000,
        cpu_percent=5.0,
        files=20,
        files_limit=1024,
        loop_lag=0.0,
        started_at=NOON - 7200,
    ),
    sources=(SOURCE,),
    commits=Commits(1, 10.0, 0.1, 0.2),
    database=DatabaseReading(
        up=True,
        error="",
        since=NOON - 7200,
        size=None,
        tables={},
        partitions=None,
        days_ahead=None,
        connections=None,
        connections_max=None,
        oldest_transaction=None,
    ),
    chores=(),
    tracks={},
)
FACTS = Facts(
    at=NOON,
    whole=True,
    collected={1},
    delivering={"x_v2": NOON - 86_400 * 7},
    history_days=7.0,
)
replace = msgspec.structs.replace


def after(seconds: float, **changed: Any) -> Reading:
    """A reading so many seconds after noon."""
    return replace(READING, at=NOON + seconds, **changed)


def with_source(**changed: Any) -> Reading:
    return replace(READING, sources=(replace(SOURCE, **changed),))


def found(
    *readings: Reading,
    facts: Facts | None = FACTS,
    files: Files | None = None,
    opened: Sequence[tuple[str, str]] = (),
    settings: Settings | None = None,
) -> dict[str, Condition]:
    """What all rules together say, by the rule's name."""
    view = View(
        readings or (READING,), settings or Settings(), facts, files or Files(), frozenset(opened)
    )
    conditions, failed = rules.evaluate(view)
    assert failed is None
    conditions += rules.of_facts(view)
    assert {each.rule for each in conditions} <= RULES.keys()
    for each in conditions:
        assert each.text.endswith("."), each.text
        assert each.remedy.endswith("."), each.remedy
    return {each.rule: each for each in conditions}


def test_when_all_is_well_nothing_is_said() -> None:
    assert found() == {}
    assert found(facts=None) == {}


# -- disks ----------------------------------------------------------------------------------------


def disk(percent: float, *, name: str = "data", device: int = 1) -> Reading:
    free = int(percent * GB)
    volume = Volume(name, "/srv", device, 100 * GB, 100 * GB - free, free)  # type: ignore[arg-type]  # a name of the closed set
    return replace(READING, machine=replace(READING.machine, volumes=(volume,)))


@pytest.mark.parametrize(
    ("percent", "severity", "words"),
    [
        (15.1, None, ""),
        (14.9, "warning", "The disk of data (/srv) has 14.9 GB free, 14.9 % of it."),
        (9.9, "warning", "below 7.5 % tracks pause"),
        (7.4, "critical", "tracks of lowest priority pause"),
        (4.9, "critical", "collecting has paused"),
    ],
)
def test_little_disk_has_levels(percent: float, severity: str | None, words: str) -> None:
    condition = found(disk(percent)).get("disk_low")
    if severity is None:
        assert condition is None
    else:
        assert condition is not None
        assert condition.severity == severity
        assert words in condition.text
        assert "Make room" in condition.remedy


def test_a_disk_below_the_archive_level_says_what_is_done_about_it() -> None:
    settings = Settings(archive=ArchiveSettings(url="/archive"))
    assert "dropped before their time" in found(disk(9), settings=settings)["disk_low"].text


def test_a_disk_with_several_names_is_one_condition() -> None:
    volumes = (
        Volume("data", "/srv", 1, 100 * GB, 90 * GB, 10 * GB),
        Volume("journal", "/srv/j", 1, 100 * GB, 90 * GB, 10 * GB),
        Volume("postgres", "/pg", 2, 100 * GB, 90 * GB, 10 * GB),
    )
    reading = replace(READING, machine=replace(READING.machine, volumes=volumes))
    view = View((reading,), Settings(), FACTS)
    conditions = [each for each in rules.evaluate(view)[0] if each.rule == "disk_low"]
    assert [each.subject for each in conditions] == ["data", "postgres"]
    assert "data and journal" in conditions[0].text


def test_an_open_disk_alert_needs_a_point_more_to_end() -> None:
    opened = [("disk_low", "data")]
    assert "disk_low" in found(disk(15.9), opened=opened)
    assert "disk_low" not in found(disk(16.1), opened=opened)


def test_the_disk_of_the_archive_pauses_nothing() -> None:
    condition = found(disk(3, name="archive", device=3))["disk_low"]
    assert condition.severity == "warning"
    assert "archiving stops" in condition.text


@pytest.mark.parametrize(("days", "said"), [(7.1, False), (6.9, True)])
def test_a_disk_that_will_be_full_soon(days: float, said: bool) -> None:
    facts = replace(FACTS, forecasts=(Forecast("data", 30.0 * GB, 4.5 * GB, days),))
    condition = found(facts=facts).get("disk_full_soon")
    assert (condition is not None) is said
    if condition is not None:
        assert "full in 6 d 21 h" in condition.text
        assert "loses 4.5 GB a day" in condition.text


# -- the machine ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "said"), [(94.9, False), (95.0, True)])
def test_a_busy_processor(percent: float, said: bool) -> None:
    reading = replace(READING, machine=replace(READING.machine, cpu_percent=percent))
    condition = found(reading).get("cpu_high")
    assert (condition is not None) is said
    if condition is not None:
        assert condition.hold == AlertSettings().busy_for
        assert "web1 is 95 % busy" in condition.text


def test_a_short_peak_of_the_processor_is_no_load() -> None:
    calm = [after(-seconds) for seconds in (50, 40, 30, 20, 10)]
    peak = replace(READING, machine=replace(READING.machine, cpu_percent=100.0))
    assert "cpu_high" not in found(*calm, peak)


@pytest.mark.parametrize(("used", "said"), [(7.35, False), (7.37, True)])
def test_memory_that_runs_short(used: float, said: bool) -> None:
    reading = replace(READING, machine=replace(READING.machine, memory_used=int(used * GB)))
    condition = found(reading).get("memory_high")
    assert (condition is not None) is said
    assert condition is None or "200.0 MB" in condition.text


@pytest.mark.parametrize(("lag", "said"), [(0.99, False), (1.0, True)])
def test_an_event_loop_that_is_held_up(lag: float, said: bool) -> None:
    slow = replace(READING, at=NOON - 50, process=replace(READING.process, loop_lag=lag))
    condition = found(slow, READING).get("loop_lag")
    assert (condition is not None) is said
    assert condition is None or condition.hold > 60
    assert "loop_lag" not in found(replace(slow, at=NOON - 70), READING)


def test_a_database_that_is_away_is_told_with_its_time_and_why() -> None:
    away = replace(READING.database, up=False, since=NOON - 40, error="Connection refused")
    condition = found(replace(READING, database=away))["database_away"]
    assert (condition.severity, condition.hold, condition.since) == ("critical", 30, NOON - 40)
    assert "since 11:59 UTC: Connection refused." in condition.text


# -- sources --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lag", "said"), [(119.0, False), (121.0, True)])
def test_tweets_that_wait_to_be_stored(lag: float, said: bool) -> None:
    reading = with_source(lag_seconds=lag, lag_bytes=3_000_000)
    condition = found(reading).get("journal_lag")
    assert (condition is not None) is said
    assert condition is None or "wait for 2 min" in condition.text
    away = replace(READING.database, up=False)
    assert "journal_lag" not in found(replace(reading, database=away))


def test_a_source_without_room() -> None:
    condition = found(with_source(state="paused", journal_room="The journal is full."))[
        "journal_full"
    ]
    assert condition.text == "Source main has paused: The journal is full."


def silent(state: str, seconds: float, **changed: Any) -> dict[str, Condition]:
    """The source has been in this state, without a byte, for so long."""
    times = range(-int(seconds) - 30, 1, 10)
    source = replace(SOURCE, state=state, last_byte=NOON - seconds, **changed)
    return found(
        *(after(at, sources=(replace(source, last_byte=NOON + min(at, -seconds)),)) for at in times)
    )


@pytest.mark.parametrize("state", ["streaming", "connecting", "proving", "waiting"])
def test_a_source_that_brings_nothing(state: str) -> None:
    condition = silent(state, 299, reason="no connection: refused.")["source_silent"]
    assert (condition.since, condition.hold) == (NOON - 299, 300)
    assert "nothing since 11:55 UTC" in condition.text
    assert f"it is {state} (no connection: refused)" in condition.text
    assert condition.severity == "critical"


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
def test_a_source_that_is_not_to_bring_anything_is_not_silent(changed: dict[str, Any]) -> None:
    assert "source_silent" not in silent(changed.pop("state", "waiting"), 3000, **changed)


def test_the_time_before_a_source_was_enabled_is_no_silence() -> None:
    """It has brought nothing for two days, but it tries only since a minute."""
    source = replace(SOURCE, state="connecting", last_byte=NOON - 2 * 86_400)
    before = [
        after(at, sources=(replace(source, enabled=False, state="disabled"),))
        for at in range(-600, -60, 10)
    ]
    now = [after(at, sources=(source,)) for at in range(-60, 1, 10)]
    assert found(*before, *now)["source_silent"].since == NOON - 60


def test_a_source_that_brought_a_byte_lately_is_not_silent() -> None:
    assert "source_silent" not in found(with_source(last_byte=NOON - 59, state="waiting"))


@pytest.mark.parametrize(
    ("code", "state", "rule", "remedy"),
    [
        ("credentials", "failed", "source_refused", "source secrets main"),
        ("clock", "waiting", "source_clock", "Set the clock"),
        ("plan", "failed", "source_plan", "Book a plan"),
        ("quota", "paused", "source_quota", "raise the limit"),
        ("", "failed", "source_failed", "source disable main"),
    ],
)
def test_failures_are_told_apart(code: str, state: str, rule: str, remedy: str) -> None:
    conditions = found(with_source(code=code, state=state, reason="Why it is so."))
    [condition] = conditions.values()
    assert condition.rule == rule
    assert condition.subject == "main"
    assert "since 10:00 UTC: Why it is so." in condition.text
    assert remedy in condition.remedy


def test_a_clock_that_is_wrong_says_by_how_much() -> None:
    reason = "X answered 401, and the clock of this machine is 3600 s ahead: set it"
    condition = found(with_source(code="clock", state="waiting", reason=reason))["source_clock"]
    assert "3600 s ahead" in condition.text


def test_a_spent_quota_says_when_it_tries_again() -> None:
    condition = found(with_source(code="quota", state="paused", until=NOON + 7200))["source_quota"]
    assert condition.text.endswith("It tries again at 14:00 UTC.")


def test_waiting_for_the_network_is_no_failure() -> None:
    assert found(with_source(state="waiting", reason="503")) == {}


def test_the_leader_speaks_for_a_source_that_nobody_collects() -> None:
    reading = with_source(collecting=False, state="streaming")
    facts = replace(FACTS, collected=frozenset())
    condition = found(reading, facts=facts)["source_failed"]
    assert "no daemon collects it" in condition.text
    assert condition.hold == 300
    assert found(reading) == {}  # another one collects it
    assert found(replace(reading, leads=False), facts=facts) == {}
    standing = replace(reading.sources[0], standing_by=True)
    assert found(replace(reading, sources=(standing,)), facts=facts) == {}


def test_a_row_that_cannot_be_used_is_a_failed_source() -> None:
    reading = with_source(collecting=False, state="failed", reason="The key is missing")
    condition = found(reading)["source_failed"]
    assert "The key is missing." in condition.text
    assert condition.hold == 60  # right after a start it may be the state of the last run


def outcomes(**counts: int) -> Facts:
    return replace(FACTS, outcomes={1: counts})


@pytest.mark.parametrize(
    ("stored", "rejected", "said"),
    [(990, 10, False), (989, 11, True), (90, 9, False), (100, 4, False), (100, 5, True)],
)
def test_too_many_rejects(stored: int, rejected: int, said: bool) -> None:
    condition = found(facts=outcomes(stored=stored, rejected=rejected, repaired=5000)).get(
        "reject_share"
    )
    assert (condition is not None) is said
    if condition is not None and rejected == 11:
        assert "Of 1,000 messages of source main in the last hour 11 (1.1 %)" in condition.text


@pytest.mark.parametrize(
    ("stored", "unmatched", "dropped", "said"),
    [(100, 100, 0, False), (99, 101, 0, True), (99, 51, 50, True), (49, 150, 0, False)],
)
def test_too_many_tweets_without_a_track(
    stored: int, unmatched: int, dropped: int, said: bool
) -> None:
    facts = outcomes(stored=stored, unmatched=unmatched, dropped=dropped)
    assert ("unmatched_share" in found(facts=facts)) is said


# -- tracks ---------------------------------------------------------------------------------------

EVEN = (40.0,) * 24
DAYTIME = tuple(80.0 if 8 <= hour < 20 else 0.0 for hour in range(24))


def track(**changed: Any) -> TrackFact:
    fact = TrackFact(
        id=7,
        value="snow day",
        networks=None,
        since=NOON - 86_400 * 30,
        days=7.0,
        profile=EVEN,
        last_at=NOON - 60,
        last_hour=40,
    )
    return replace(fact, **changed)


def quiet(seconds: float, facts: Facts = FACTS, **changed: Any) -> Condition | None:
    """The track has had no tweet for so long."""
    fact = track(last_at=NOON - seconds, **changed)
    return found(facts=replace(facts, tracks=(fact,))).get("track_silent")


def test_a_silent_track_says_what_it_usually_gets() -> None:
    condition = quiet(2 * HOUR + 48 * 60)
    assert condition is not None
    assert condition.subject == "7"
    assert condition.text == (
        "Track 7 (snow day) is silent: usually 40 an hour, nothing since 09:12 UTC."
    )


def test_a_track_is_silent_after_an_hour_at_least() -> None:
    assert quiet(HOUR - 1) is None
    assert quiet(HOUR) is not None


def test_a_track_is_silent_after_so_many_times_its_interval() -> None:
    """Two an hour: twenty would have come in ten hours."""
    assert quiet(10 * HOUR - 60, profile=(2.0,) * 24) is None
    assert quiet(10 * HOUR, profile=(2.0,) * 24) is not None


def test_a_track_that_sleeps_at_night_is_not_silent_then() -> None:
    """At 06:00, ten hours after its last tweet of the evening, none was to be expected."""
    six, eight = NOON - 6 * HOUR, NOON - 4 * HOUR
    fact = track(profile=DAYTIME, last_at=six - 10 * HOUR)
    night = replace(FACTS, at=six, tracks=(fact,))
    assert "track_silent" not in found(facts=night)
    assert "track_silent" in found(facts=replace(night, at=eight + HOUR))


@pytest.mark.parametrize(
    "changed",
    [
        {"days": 0.9},
        {"profile": (0.01,) * 24},
        {"since": NOON - 600},  # edited or resumed
        {"networks": ("x_v1",)},  # that one does not deliver
    ],
)
def test_a_track_without_enough_history_or_delivery_is_not_judged(changed: dict[str, Any]) -> None:
    assert quiet(10 * HOUR, **changed) is None


def test_a_gap_is_not_the_fault_of_a_track() -> None:
    assert quiet(10 * HOUR, replace(FACTS, delivering={})) is None
    assert quiet(10 * HOUR, replace(FACTS, delivering={"x_v2": NOON - 600})) is None


def runaway(last_hour: int, total: int, **changed: Any) -> Condition | None:
    facts = replace(outcomes(stored=total), tracks=(track(last_hour=last_hour, **changed),))
    facts = replace(facts, history_days=changed.pop("history_days", 7.0))
    return found(facts=facts).get("track_runaway")


def test_a_runaway_track_says_its_share_and_its_usual() -> None:
    condition = runaway(4000, 5000)
    assert condition is not None
    assert condition.text == (
        "Track 7 (snow day) runs away: 4,000 tweets in the last hour, 80 % of all,"
        " usually 40 an hour."
    )
    assert "track pause 7" in condition.remedy


@pytest.mark.parametrize(
    ("last_hour", "total", "said"),
    [
        (400, 800, True),
        (399, 700, False),  # not ten times its usual
        (400, 801, False),  # not half of all
        (190, 199, False),  # too few to say
    ],
)
def test_a_track_runs_away_by_share_and_by_factor(last_hour: int, total: int, said: bool) -> None:
    assert (runaway(last_hour, total) is not None) is said


def test_the_first_day_of_a_database_has_no_usual() -> None:
    facts = replace(
        outcomes(stored=5000),
        tracks=(track(last_hour=4000, profile=(0.0,) * 24),),
        history_days=0.9,
    )
    assert "track_runaway" not in found(facts=facts)
    facts = replace(facts, history_days=1.0)
    assert "usually none" in found(facts=facts)["track_runaway"].text


# -- care -----------------------------------------------------------------------------------------


def chore(name: str, seconds: float) -> Reading:
    failing = ChoreReading(name, NOON, None, 1.0, "OSError: no room.", NOON - seconds)
    return replace(READING, chores=(failing,))


@pytest.mark.parametrize(
    ("name", "rule"), [("archive", "archive_failed"), ("raw backup", "chore_failed")]
)
def test_a_chore_that_fails_for_long(name: str, rule: str) -> None:
    assert found(chore(name, 899)) == {}
    [condition] = found(chore(name, 901)).values()
    assert (condition.rule, condition.subject, condition.since) == (rule, name, NOON - 901)
    assert condition.text.endswith("since 11:44 UTC: OSError: no room.")


def test_chores_may_wait_for_a_database_that_was_away() -> None:
    reading = chore("retention", 7200)
    assert "chore_failed" in found(reading)
    back = replace(reading.database, since=NOON - 60)
    assert found(replace(reading, database=back)) == {}
    away = replace(reading.database, up=False)
    assert "chore_failed" not in found(replace(reading, database=away))


def test_an_archive_that_is_not_in_order() -> None:
    facts = replace(FACTS, archive_problems={"2026-04-29": "a hash differs"})
    condition = found(facts=facts)["archive_failed"]
    assert condition.text == "The archive of 2026-04-29 is not in order: a hash differs."


def test_a_key_is_worse_than_a_certificate() -> None:
    problems = {"/srv/secret.key": "It is missing."}
    key = found(files=Files(problems, {"/srv/secret.key"}))["key_file"]
    assert (key.severity, key.subject, key.text) == (
        "critical",
        "/srv/secret.key",
        "It is missing.",
    )
    assert found(files=Files(problems))["key_file"].severity == "warning"


def test_a_standby_that_took_over_is_told_for_an_hour() -> None:
    waiting = replace(SOURCE, collecting=False, standing_by=True)
    before, after_ = after(-1810, sources=(waiting,)), after(-1800)
    assert "standby_took_over" not in found(before, after_, READING)  # the end of a restart
    condition = found(before, before, after_, READING)["standby_took_over"]
    assert condition.since == NOON - 1800
    assert "web1 has taken over source main from another daemon at 11:30 UTC." in condition.text
    assert "standby_took_over" not in found(after_, READING)


def test_a_collector_that_begins_took_nothing_over() -> None:
    nobody = replace(SOURCE, collecting=False)
    assert "standby_took_over" not in found(after(-10, sources=(nobody,)), READING)


@pytest.mark.parametrize(("starts", "said"), [(3, False), (4, True)])
def test_a_daemon_that_ends_again_and_again(starts: int, said: bool) -> None:
    assert ("restart_loop" in found(facts=replace(FACTS, starts=starts))) is said


# -- who speaks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "subject", "changed", "leads", "speaks"),
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
def test_each_thing_has_one_daemon_that_speaks_of_it(
    scope: str, subject: str, changed: Mapping[str, Any], leads: bool, speaks: bool
) -> None:
    reading = replace(with_source(**changed), leads=leads)
    assert rules.speaks(reading, scope, subject) is speaks


def test_a_broken_rule_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: View) -> Sequence[Condition]:
        raise KeyError("x")

    ours: tuple[Callable[[View], Any], ...] = (broken, *rules.ALL)
    monkeypatch.setattr(rules, "ALL", ours)
    view = View((with_source(code="quota", state="paused"),), Settings(), FACTS)
    conditions, failed = rules.evaluate(view)
    assert [each.rule for each in conditions] == ["source_quota"]
    assert isinstance(failed, KeyError)
