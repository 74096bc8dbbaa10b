"""stats_health: which component has trouble, and when all is well."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stats import Rows, measured, read
from stream.db import Database
from stream.store import daemons, locks, partitions, sources, tracks
from stream.store.tracks import NewTrack

DAY = timedelta(days=1)


@pytest.fixture
async def healthy(connected: Database) -> AsyncIterator[Database]:
    """A database on which all is well."""
    async with connected.dedicated() as holder, connected.acquire() as connection:
        main = await sources.add(connection, "main", "x_v2")
        await locks.try_lock(holder, main, locks.SOURCE_LOCK_CLASS)
        await daemons.upsert(connection, uuid.uuid4(), "here", 7, "collecting")
        await connection.execute(
            "UPDATE sources SET state = 'streaming', state_at = now(), last_at = now()"
        )
        await tracks.add(connection, NewTrack("snow"))
        tomorrow = (datetime.now(UTC) + DAY).date()
        await partitions.ensure_days(connection, [tomorrow, tomorrow + DAY])
        await measured(connection, "here", timedelta(), {"data": 100})
        yield connected


async def health(database: Database) -> tuple[dict[str, Any], Rows]:
    """The first row, and the components."""
    [whole, *parts] = await read(database, "stats_health")
    assert whole["component"] == "everything"
    return whole, parts


async def test_all_is_well(healthy: Database) -> None:
    whole, parts = await health(healthy)
    assert (whole["ok"], whole["sentence"]) == (True, "All is well."), parts
    assert {part["component"] for part in parts} == {
        "daemon",
        "source",
        "tracks",
        "partitions",
        "volume",
        "monitor",
    }
    sentences = {part["component"]: part["sentence"] for part in parts}
    assert sentences["daemon"] == "here:7 is collecting."
    assert sentences["volume"] == "0.0 GB of 0.0 GB are free."


@pytest.mark.parametrize(
    ("trouble", "component", "words"),
    [
        ("UPDATE daemons SET seen_at = now() - interval '1 minute'", "daemon", "start one"),
        (
            "UPDATE machine_minutes SET at = at - interval '1 hour';"
            "UPDATE daemons SET started_at = now() - interval '1 day'",
            "monitor",
            "No measurement for 5 minutes",
        ),
        (
            "INSERT INTO alerts (rule, severity, text, remedy, opened_at)"
            " VALUES ('cpu_high', 'warning', 'Busy.', 'Buy one.', now())",
            "alert",
            "Busy. Buy one.",
        ),
    ],
)
async def test_a_component_with_trouble_is_listed_first(
    healthy: Database, trouble: str, component: str, words: str
) -> None:
    await healthy.execute(trouble)
    whole, parts = await health(healthy)
    first, *others = parts
    assert (first["component"], first["ok"]) == (component, False)
    assert words in first["sentence"]
    assert [part["component"] for part in others if not part["ok"]] == []
    assert (whole["ok"], whole["since"]) == (False, first["since"])
    number = len({part["about"] for part in parts})
    assert whole["sentence"] == f"1 of {number} components needs attention."


# Tomorrow is another day when tests that were collected before midnight run after it.
DROP_COMING_DAYS = """
DO $$ BEGIN
    EXECUTE format('DROP TABLE matches_%s, matches_%s',
        to_char(timezone('UTC', now()) + interval '1 day', 'YYYYMMDD'),
        to_char(timezone('UTC', now()) + interval '2 days', 'YYYYMMDD'));
END $$
"""
ALERTED = [  # what is the matter, the alert that is opened for it, the component
    (
        "UPDATE sources SET state = 'failed', reason = 'Wrong token.'",
        ("source_refused", "main"),
        "source",
        "Wrong token.",
    ),
    (
        "UPDATE sources SET last_at = now() - interval '10 minutes'",
        ("source_silent", "main"),
        "source",
        "delivers nothing",
    ),
    (
        "INSERT INTO sources (name, network, state, created_at)"
        " VALUES ('b', 'x_v1', 'streaming', now() - interval '1 minute')",
        ("source_failed", "b"),
        "source",
        "The running daemon does not collect it yet",
    ),
    ("SELECT", ("writer_stalled", "main"), "source", "streaming"),
    ("UPDATE sources SET enabled = false", ("no_source", ""), "sources", "No source is enabled"),
    (
        "UPDATE tracks SET state = 'refused', state_at = now()",
        ("tracks_refused", ""),
        "tracks",
        "1 refused",
    ),
    (
        "INSERT INTO source_hours SELECT 1, date_trunc('hour', now()), * FROM"
        " unnest('{stored,rejected}'::text[], '{900,100}'::bigint[])",
        ("reject_share", "main"),
        "rejects",
        "10.00 %",
    ),
    (
        DROP_COMING_DAYS,
        ("partitions_missing", ""),
        "partitions",
        "Tomorrow's partitions are missing",
    ),
    (
        """UPDATE machine_minutes SET volumes = jsonb_set(volumes, '{data}',
           '{"total": 1000, "used": 900, "free": 99}')""",
        ("disk_low", "data"),
        "volume",
        "are free",
    ),
    (
        "INSERT INTO archives (day, state, path, problem)"
        " VALUES ('2026-03-01', 'writing', 'x', 'no room')",
        ("archive_failed", "2026-03-01"),
        "archive",
        "no room",
    ),
    (
        "INSERT INTO jobs VALUES ('digest', now(), null, 1, 'no mail')",
        ("job_failed", "digest"),
        "job",
        "no mail",
    ),
]


@pytest.mark.parametrize(("trouble", "alert", "component", "words"), ALERTED)
async def test_a_component_has_trouble_when_its_alert_is_open_and_is_counted_once(
    healthy: Database, trouble: str, alert: tuple[str, str], component: str, words: str
) -> None:
    await healthy.execute(trouble)
    whole, parts = await health(healthy)
    assert whole["ok"], parts
    assert any(part["component"] == component and words in part["sentence"] for part in parts)
    await healthy.execute(
        "INSERT INTO alerts (rule, subject, host, severity, text, remedy, opened_at)"
        " VALUES ($1, $2, 'here', 'warning', 'Trouble.', 'Help.', now())",
        *alert,
    )
    whole, parts = await health(healthy)
    wrong = [part for part in parts if not part["ok"]]
    assert [part["component"] for part in wrong] == ["alert", component]
    assert words in wrong[1]["sentence"]
    assert (whole["ok"], whole["since"]) == (False, wrong[0]["since"])
    number = len({part["about"] for part in parts})
    assert whole["sentence"] == f"1 of {number} components needs attention."


ALERT = (
    "INSERT INTO alerts (rule, severity, text, remedy, opened_at, {column})"
    " VALUES ('cpu_high', '{severity}', 'Busy.', 'Buy one.', now(), now())"
)


async def test_a_missing_daemon_comes_before_critical_alerts(healthy: Database) -> None:
    await healthy.execute("UPDATE daemons SET seen_at = now() - interval '1 minute'")
    await healthy.execute(ALERT.format(column="notified_at", severity="critical"))
    _, parts = await health(healthy)
    assert [part["component"] for part in parts if not part["ok"]] == ["daemon", "alert"]


@pytest.mark.parametrize(
    ("column", "severity"),
    [
        ("acknowledged_at", "warning"),
        ("gone_since", "warning"),
        ("closed_at", "warning"),
        ("notified_at", "notice"),
    ],
)
async def test_an_alert_that_needs_no_action_does_not_count(
    healthy: Database, column: str, severity: str
) -> None:
    await healthy.execute(ALERT.format(column=column, severity=severity))
    whole, parts = await health(healthy)
    assert whole["ok"]
    assert ("alert" in {part["component"] for part in parts}) is (column != "closed_at")
