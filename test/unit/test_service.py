"""Metrics and health out of snapshots: pure."""

from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.alert import registry, verdict
from monitor.alert.condition import RuleContext
from monitor.alert.engine import Engine
from monitor.alert.verdict import HealthReport
from monitor.jobs import PeriodicJob
from monitor.service import health
from monitor.service.metrics import FAMILIES, exposition
from monitor.snapshot import (
    Commits,
    DatabaseSnapshot,
    JobSnapshot,
    Machine,
    Process,
    Snapshot,
    SourceSnapshot,
    Volume,
    WebhookSnapshot,
)
from snapshots import make_snapshot, make_source
from stream import __version__
from stream.config import Settings
from stream.daemon_report import BusReport, ServerReport
from stream.store.alerts import Alert

NOW = 1_800_000_000.0  # seconds since 1970
EVERY = 10.0  # seconds between two snapshots
TOKEN = "Bearer " + "s3cr3t" * 5

SOURCE = make_source(
    NOW,
    state_since=NOW - 60,
    bytes=5000,
    frames=50,
    losses={"network": 2},
    outcomes={"stored": 40, "duplicate": 9},
    rejects={"not_json": 1},
    gap_seconds_today=7.0,
)
MACHINE = Machine(25.0, 4, 0.5, 8000, 2000, 11, 12, (Volume("data", "/data", 1, 1000, 700, 300),))
SNAPSHOT = make_snapshot(
    NOW,
    machine=MACHINE,
    process=Process(99, 50.0, 7, 1024, loop_lag=0.01, started_at=NOW - 99),
    sources=(SOURCE,),
    commits=Commits(number=2, batch_frames=25.0, p50=0.2, p99=None),
    database=DatabaseSnapshot(
        True, "", NOW - 99, 1 << 20, {"tweets": 4096}, 16, 7, 5, 100, oldest_transaction=None
    ),
    jobs=(JobSnapshot("probes", NOW, NOW, 0.1, None, None),),
    tracks={"active": 3, "refused": 1},
    webhooks=(
        WebhookSnapshot(3, "active", delivered=8, failed=2, given_up=1, waiting_since=NOW - 60),
        WebhookSnapshot(4, "paused", delivered=0, failed=0, given_up=0, waiting_since=None),
    ),
)


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def source(**changed: Any) -> SourceSnapshot:
    return msgspec.structs.replace(SOURCE, **changed)


def snapshot(*sources: SourceSnapshot, **changed: Any) -> Snapshot:
    return msgspec.structs.replace(SNAPSHOT, sources=sources or (SOURCE,), **changed)


# -- metrics --------------------------------------------------------------------------------------


def test_a_snapshot_becomes_samples_in_base_units() -> None:
    found = parsed(exposition(SNAPSHOT, [("disk_low", "warning"), ("disk_low", "warning")]))
    main = ("source", "main")
    for name, labels, value in [
        ("build_info", (("version", __version__),), 1),
        ("alerts_open", (("rule", "disk_low"), ("severity", "warning")), 2),
        ("machine_cpu_ratio", (), 0.25),
        ("process_cpu_ratio", (), 0.5),
        ("leader", (), 1),
        ("machine_network_received_bytes_total", (), 11),
        ("volume_free_ratio", (("volume", "data"),), 0.3),
        ("source_state", (main, ("state", "streaming")), 1),
        ("source_state", (main, ("state", "failed")), 0),
        ("source_frames_total", (main,), 50),
        ("source_outcomes_total", (("outcome", "duplicate"), main), 9),
        ("source_rejects_total", (("reason", "not_json"), main), 1),
        ("source_interruptions_total", (("reason", "network"), main), 2),
        ("source_journal_full", (main,), 0),
        ("commit_delay_seconds", (("percentile", "50"),), 0.2),
        ("table_size_bytes", (("table", "tweets"),), 4096),
        ("job_failed", (("name", "probes"),), 0),
        ("tracks", (("state", "refused"),), 1),
        ("webhook_state", (("state", "active"), ("webhook", "3")), 1),
        ("webhook_state", (("state", "disabled"), ("webhook", "3")), 0),
        ("webhook_delivered_total", (("webhook", "3"),), 8),
        ("webhook_failed_tries_total", (("webhook", "3"),), 2),
        ("webhook_given_up_total", (("webhook", "3"),), 1),
        ("webhook_late_seconds", (("webhook", "3"),), 60),
        ("webhook_late_seconds", (("webhook", "4"),), 0),
    ]:
        assert found.pop((f"twitterstream_{name}", labels)) == value, name
    assert all(name.startswith("twitterstream_") for name, _ in found)


def test_a_server_of_the_bus_without_jetstream_is_not_an_unsynced_one() -> None:
    servers = {"n1": ServerReport(sync_always=True), "n2": ServerReport(jetstream=False)}
    found = parsed(exposition(snapshot(bus=BusReport(servers=servers)), ()))
    assert found["twitterstream_bus_servers_without_jetstream", ()] == 1
    assert found["twitterstream_bus_servers_unsynced", ()] == 0


def test_unknown_values_are_left_out() -> None:
    found = parsed(exposition(SNAPSHOT, ()))
    assert ("twitterstream_commit_delay_seconds", (("percentile", "99"),)) not in found
    assert ("twitterstream_oldest_transaction_seconds", ()) not in found
    before = {name for name, _ in parsed(exposition(None, ()))}
    assert before == {"twitterstream_build_info"}


def test_every_metric_has_a_text_and_a_unique_name() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names) > 40
    assert all(family.text.endswith(".") for family in FAMILIES)


def test_labels_are_few_and_contain_no_text_of_a_network_or_server() -> None:
    said = snapshot(
        source(reason=f"refused: {TOKEN}", state="failed", why_journal_full=TOKEN),
        database=msgspec.structs.replace(SNAPSHOT.database, up=False, error=TOKEN),
        jobs=(JobSnapshot("probes", NOW, None, 0.1, TOKEN, NOW),),
    )
    text = exposition(said, ())
    assert b"s3cr3t" not in text
    labels = {label for family in FAMILIES for label in family.labels}
    assert labels == {
        *("source", "state", "outcome", "reason", "volume", "table", "name", "percentile"),
        *("sink", "webhook", "standby", "lane"),
    }


# -- live -----------------------------------------------------------------------------------------


async def nothing() -> None:
    """A job's work."""


def wrong(answer: HealthReport) -> list[str]:
    return [f"{check.name}: {check.text}" for check in answer.checks if not check.ok]


def test_a_job_that_hangs_is_shown_but_the_daemon_is_alive() -> None:
    now = 0.0
    job = PeriodicJob("probes", EVERY, nothing, limit=60)
    liveness = health.Liveness([job], clock=lambda: now)
    assert wrong(liveness.report()) == []
    now = EVERY + 60 + health.JOB_DELAY_MAX
    assert wrong(liveness.report()) == [], "it may be as late as that"
    now += 1
    assert wrong(liveness.report()) == ["probes: Not responding: 31 s late."]
    assert liveness.report().ok
    job.ran_at = NOW
    assert wrong(liveness.report()) == []


def test_a_changed_clock_is_no_job_that_hangs() -> None:
    now = 0.0
    job = PeriodicJob("probes", EVERY, nothing)
    job.ran_at = NOW
    liveness = health.Liveness([job], clock=lambda: now)
    assert wrong(liveness.report()) == []
    now, job.ran_at = 10.0, NOW - 86_400
    assert wrong(liveness.report()) == []
    now, job.ran_at = 20.0, NOW + 86_400
    assert wrong(liveness.report()) == []


# -- ready ----------------------------------------------------------------------------------------


def evaluated(found: Snapshot, *alerts: Alert) -> Engine:
    """An engine that has seen this snapshot, and has these open alerts."""
    engine = Engine(found.host, 3600.0)
    conditions, failed = registry.evaluate_snapshot(RuleContext((found,), Settings()))
    assert failed is None
    engine.step(found.at, conditions, lambda *_: "ours")
    engine.open |= {alert.key: alert for alert in alerts}
    return engine


def ready(found: Snapshot, *alerts: Alert) -> HealthReport:
    return verdict.readiness(NOW - 60, found, EVERY, NOW, evaluated(found, *alerts).critical())


@pytest.mark.parametrize(
    ("sources", "ok"),
    [
        pytest.param((source(),), True, id="streaming"),
        pytest.param((source(state="idle"),), True, id="no track needs it"),
        pytest.param(
            (source(state="idle", collecting=False, standing_by=True),), True, id="standing by"
        ),
        pytest.param((source(state="connecting", last_byte=None),), False, id="connecting"),
        pytest.param((source(state="waiting", last_byte=None),), False, id="waiting"),
        pytest.param((source(state="waiting"),), True, id="connecting again"),
        pytest.param((source(state="paused", why_journal_full="full"),), False, id="paused"),
        pytest.param((source(state="streaming", collecting=False),), False, id="not collected"),
        pytest.param((source(state="failed"), source(name="b")), False, id="one of two failed"),
        pytest.param((source(state="disabled", enabled=False),), False, id="none enabled"),
    ],
)
def test_ready_while_sources_are_collected(sources: tuple[SourceSnapshot, ...], ok: bool) -> None:
    assert ready(snapshot(*sources)).ok is ok


def test_without_tracks_no_source_needs_to_be_enabled() -> None:
    none = source(state="disabled", enabled=False)
    assert ready(snapshot(none, tracks={})).ok
    assert wrong(ready(snapshot(none, tracks={"active": 3}))) == [
        "alert no_source: No source is enabled, so nothing is collected for 3 tracks."
    ]


def alert(**changed: Any) -> Alert:
    fields: dict[str, Any] = {"rule": "writer_stalled", "subject": "main", "severity": "critical"}
    fields |= {"host": "", "text": "Nothing is stored.", "remedy": "", "opened_at": NOW}
    return Alert(**fields | changed)


@pytest.mark.parametrize(
    ("changed", "ok"),
    [
        ({}, False),
        ({"severity": "warning"}, True),
        ({"gone_since": NOW}, True),
        ({"acknowledged_at": NOW}, False),
    ],
)
def test_an_open_critical_alert_means_not_ready(changed: dict[str, Any], ok: bool) -> None:
    report = ready(SNAPSHOT, alert(**changed))
    assert report.ok is ok
    assert wrong(report) == ([] if ok else ["alert writer_stalled main: Nothing is stored."])


def test_a_process_that_reaches_neither_postgres_nor_the_bus_is_not_ready() -> None:
    """Also where another one has the alerts."""
    away = msgspec.structs.replace(SNAPSHOT.database, up=False, error="no route", since=NOW)
    bus = BusReport(failing="the connection is lost")
    found = msgspec.structs.replace(SNAPSHOT, database=away, bus=bus, leads=False)
    assert wrong(verdict.readiness(NOW - 60, found, EVERY, NOW, ())) == [
        "database: Postgres does not answer: no route.",
        "bus: The bus does not work: the connection is lost.",
    ]
    working = msgspec.structs.replace(SNAPSHOT, bus=BusReport(), leads=False)
    assert verdict.readiness(NOW - 60, working, EVERY, NOW, ()).ok


def test_each_failed_check_has_a_text() -> None:
    away = msgspec.structs.replace(SNAPSHOT.database, up=False, error="no route", since=NOW)
    failed = source(state="waiting", reason="HTTP 503", last_byte=None)
    found = snapshot(failed, database=away)
    critical = evaluated(found).critical()
    answer = verdict.readiness(None, found, EVERY, NOW + 3600, critical)
    assert not answer.ok
    assert wrong(answer) == [
        "start: Postgres has not been read since the start.",
        "measurement: The last snapshot is 3600 s old.",
        "alert database_away: Postgres has not answered web1 since 08:00 UTC: no route.",
        "alert source_silent main: Source main has delivered nothing yet; it is waiting"
        " (HTTP 503).",
    ]


@pytest.mark.parametrize(
    ("begun_at", "found", "now"),
    [
        pytest.param(None, SNAPSHOT, NOW, id="tables not read"),
        pytest.param(NOW - 60, None, NOW, id="no snapshot"),
        pytest.param(NOW + 1, SNAPSHOT, NOW + 1, id="a snapshot from before the start"),
        pytest.param(NOW - 60, SNAPSHOT, NOW + 100, id="old snapshot"),
    ],
)
def test_each_of_these_alone_means_not_ready(
    begun_at: float | None, found: Snapshot | None, now: float
) -> None:
    assert not verdict.readiness(begun_at, found, EVERY, now, ()).ok
