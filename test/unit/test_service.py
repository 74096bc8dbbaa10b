"""Metrics and health out of readings: pure."""

from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.chores import Chore
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
from monitor.service import health
from monitor.service.families import FAMILIES
from monitor.service.metrics import exposition
from stream import __version__

NOW = 1_800_000_000.0  # seconds since 1970
EVERY = 10.0  # seconds between two readings
TOKEN = "Bearer " + "s3cr3t" * 5

SOURCE = SourceReading(
    id=1,
    name="main",
    network="x_v2",
    enabled=True,
    collecting=True,
    standing_by=False,
    state="streaming",
    reason="",
    state_since=NOW - 60,
    until=None,
    last_byte=NOW - 1,
    bytes=5000,
    frames=50,
    attempts=3,
    attempts_left=42,
    losses={"network": 2},
    outcomes={"stored": 40, "duplicate": 9},
    rejects={"not_json": 1},
    journal_bytes=10_000,
    journal_room=None,
    lag_bytes=100,
    lag_seconds=0.5,
    away_since=None,
    gap_seconds_today=7.0,
)
READING = Reading(
    at=NOW,
    host="h",
    version="1",
    leads=True,
    machine=Machine(
        cpu_percent=25.0,
        cores=4,
        load=0.5,
        memory_total=8000,
        memory_used=2000,
        network_received=11,
        network_sent=12,
        volumes=(Volume("data", "/data", 1, total=1000, used=700, free=300),),
    ),
    process=Process(
        memory=99, cpu_percent=50.0, files=7, files_limit=1024, loop_lag=0.01, started_at=NOW - 99
    ),
    sources=(SOURCE,),
    commits=Commits(number=2, batch_frames=25.0, p50=0.2, p99=None),
    database=DatabaseReading(
        up=True,
        error="",
        since=NOW - 99,
        size=1 << 20,
        tables={"tweets": 4096},
        partitions=16,
        days_ahead=7,
        connections=5,
        connections_max=100,
        oldest_transaction=None,
    ),
    chores=(ChoreReading("probes", NOW, NOW, 0.1, None, None),),
    tracks={"active": 3, "refused": 1},
)


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def source(**changed: Any) -> SourceReading:
    return msgspec.structs.replace(SOURCE, **changed)


def reading(*sources: SourceReading, **changed: Any) -> Reading:
    return msgspec.structs.replace(READING, sources=sources or (SOURCE,), **changed)


# -- metrics --------------------------------------------------------------------------------------


def test_a_reading_becomes_samples_in_base_units() -> None:
    found = parsed(exposition(READING, [("disk_low", "warning"), ("disk_low", "warning")]))
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
        ("chore_failed", (("chore", "probes"),), 0),
        ("tracks", (("state", "refused"),), 1),
    ]:
        assert found.pop((f"twitterstream_{name}", labels)) == value, name
    assert all(name.startswith("twitterstream_") for name, _ in found)


def test_what_is_not_known_is_left_out() -> None:
    found = parsed(exposition(READING, ()))
    assert ("twitterstream_commit_delay_seconds", (("percentile", "99"),)) not in found
    assert ("twitterstream_oldest_transaction_seconds", ()) not in found
    before = {name for name, _ in parsed(exposition(None, ()))}
    assert before == {"twitterstream_build_info"}


def test_every_metric_has_a_text_and_a_name_of_its_own() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names) > 40
    assert all(family.text.endswith(".") for family in FAMILIES)


def test_labels_are_few_and_hold_nothing_that_a_network_or_a_server_said() -> None:
    said = reading(
        source(reason=f"refused: {TOKEN}", state="failed", journal_room=TOKEN),
        database=msgspec.structs.replace(READING.database, up=False, error=TOKEN),
        chores=(ChoreReading("probes", NOW, None, 0.1, TOKEN, NOW),),
    )
    text = exposition(said, ())
    assert b"s3cr3t" not in text
    labels = {label for family in FAMILIES for label in family.labels}
    assert labels == {
        *("source", "state", "outcome", "reason", "volume", "table", "chore", "percentile")
    }


# -- live -----------------------------------------------------------------------------------------


async def nothing() -> None:
    """A chore's work."""


def wrong(answer: health.Answer) -> list[str]:
    return [f"{check.name}: {check.text}" for check in answer.checks if not check.ok]


def test_a_chore_that_hangs_is_shown_but_no_reason_to_end_what_collects() -> None:
    now = 0.0
    chore = Chore("probes", EVERY, nothing, limit=60)
    liveness = health.Liveness([chore], clock=lambda: now)
    assert wrong(liveness.look()) == []
    now = EVERY + 60 + health.SLACK
    assert wrong(liveness.look()) == [], "it may be as late as that"
    now += 1
    assert wrong(liveness.look()) == ["probes: It hangs: 31 s late."]
    assert liveness.look().ok
    chore.ran_at = NOW
    assert wrong(liveness.look()) == []


def test_a_clock_that_is_set_is_no_chore_that_hangs() -> None:
    now = 0.0
    chore = Chore("probes", EVERY, nothing)
    chore.ran_at = NOW
    liveness = health.Liveness([chore], clock=lambda: now)
    assert wrong(liveness.look()) == []
    now, chore.ran_at = 10.0, NOW - 86_400
    assert wrong(liveness.look()) == []
    now, chore.ran_at = 20.0, NOW + 86_400
    assert wrong(liveness.look()) == []


# -- ready ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "ok"),
    [
        pytest.param((source(),), True, id="streaming"),
        pytest.param((source(state="idle"),), True, id="nothing to follow"),
        pytest.param((source(state="idle", standing_by=True),), True, id="standing by"),
        pytest.param((source(state="disabled", enabled=False),), True, id="none enabled"),
        pytest.param((source(state="failed"), source(name="b")), True, id="one of two"),
        pytest.param((source(state="connecting"),), False, id="connecting"),
        pytest.param((source(state="paused", reason="full"),), False, id="paused"),
    ],
)
def test_ready_is_who_collects_or_has_nothing_to_collect(
    sources: tuple[SourceReading, ...], ok: bool
) -> None:
    assert health.ready(True, reading(*sources), EVERY, NOW).ok is ok


def test_each_thing_that_fails_has_a_sentence() -> None:
    away = msgspec.structs.replace(READING.database, up=False, error=f"no: {TOKEN}", since=NOW)
    failed = source(state="waiting", reason="HTTP 503", until=NOW + 60)
    answer = health.ready(False, reading(failed, database=away), EVERY, NOW + 3600)
    assert not answer.ok
    said = "\n".join(wrong(answer))
    assert said.splitlines() == [
        "schema: Postgres could not be read yet since the start.",
        "probes: The last reading is 3600 s old.",
        "database: No answer since 2027-01-15 08:00:00 UTC: no: Bearer ***.",
        "source main: Waiting since 2027-01-15 07:59:00 UTC, until 2027-01-15 08:01:00 UTC:"
        " HTTP 503.",
    ]


@pytest.mark.parametrize(
    ("begun", "found", "now"),
    [
        pytest.param(False, READING, NOW, id="schema"),
        pytest.param(True, None, NOW, id="no reading"),
        pytest.param(True, READING, NOW + 100, id="old reading"),
    ],
)
def test_each_of_these_alone_is_not_ready(begun: bool, found: Reading | None, now: float) -> None:
    assert not health.ready(begun, found, EVERY, now).ok
