"""What alerts read from Postgres and write into it."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from monitor.alert.facts import FactReader
from stream.db import Database
from stream.store import alerts, digest, jobs
from stream.store.alert_facts import DisabledWebhook
from stream.store.alerts import Alert

NOW = datetime.now(UTC)


async def rows(connected: Database, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connected.fetch(query, *arguments)]


def alert(**changed: Any) -> Alert:
    fields: dict[str, Any] = {
        "rule": "disk_low",
        "subject": "data",
        "host": "web1",
        "severity": "warning",
        "text": "Little.",
        "remedy": "More.",
        "opened_at": 1_700_000_000.5,
    }
    return Alert(**fields | changed)


# -- alerts and mutes -----------------------------------------------------------------------------


async def test_an_alert_is_the_same_after_it_was_written_and_read(connected: Database) -> None:
    now = NOW.timestamp()
    opened = alert(
        opened_at=now - 60,
        notified_at=now - 50,
        notified_count=2,
        notified_severity="notice",
        undelivered=True,
        gone_since=now - 5,
    )
    async with connected.acquire() as connection:
        await alerts.save(connection, opened)
        [loaded] = await alerts.load(connection, "web1")
        assert await alerts.load(connection, "web2") == []
    assert opened.saved == opened.changed
    loaded.saved = opened.saved
    assert msgspec.structs.asdict(loaded) == msgspec.structs.asdict(opened)


async def test_a_change_does_not_close_an_alert_nor_touch_what_people_wrote(
    connected: Database,
) -> None:
    opened = alert(opened_at=NOW.timestamp())
    async with connected.acquire() as connection:
        await alerts.save(connection, opened)
        assert opened.id is not None
        assert await alerts.acknowledge(connection, opened.id, "ann") is True
        opened.severity = "critical"
        await alerts.save(connection, opened)
        [loaded] = await alerts.load(connection, "web1")
        assert (loaded.severity, loaded.closed_at) == ("critical", None)
        assert loaded.acknowledged_at is not None
        opened.closed_at = NOW.timestamp() - 3600  # a clock that was set back
        await alerts.save(connection, opened)
    assert await rows(connected, "SELECT closed_at = opened_at, acknowledged_by FROM alerts") == [
        (True, "ann")
    ]


async def test_the_same_alert_opened_twice_is_one_row(connected: Database) -> None:
    first, second = alert(notified_count=1, notified_at=1_700_000_100.0), alert(severity="critical")
    async with connected.acquire() as connection:
        await alerts.save(connection, first)
        await alerts.save(connection, second)
    assert first.id == second.id
    assert await rows(
        connected, "SELECT severity, notified_count, notified_at IS NOT NULL FROM alerts"
    ) == [("critical", 1, True)]


@pytest.mark.parametrize(
    ("changed", "loaded"),
    [
        ({}, True),
        ({"closed_at": 60.0, "notified_count": 1}, True),  # its end was not notified
        ({"closed_at": 60.0, "undelivered": True}, True),
        ({"closed_at": 60.0}, False),  # no channel had to be notified
        ({"closed_at": 60.0, "notified_count": 2, "all_clear_at": 50.0}, False),
        ({"closed_at": 90_000.0, "notified_count": 1}, False),  # no news any more
    ],
)
async def test_after_a_restart_only_what_is_open_or_untold_is_loaded(
    connected: Database, changed: dict[str, Any], loaded: bool
) -> None:
    now = NOW.timestamp()
    ago = {name: now - value for name, value in changed.items() if name.endswith("_at")}
    async with connected.acquire() as connection:
        await alerts.save(connection, alert(opened_at=now - 100_000, **changed | ago))
        assert bool(await alerts.load(connection, "web1")) is loaded


async def test_mutes_cover_a_rule_or_one_subject_until_they_end(connected: Database) -> None:
    async with connected.acquire() as connection:
        await alerts.mute(connection, "disk_low", None, None, "")
        await alerts.mute(connection, "track_silent", "7", NOW + timedelta(hours=1), "summer")
        await alerts.mute(connection, "cpu_high", None, NOW - timedelta(seconds=1), "")
        mutes = await alerts.mutes(connection)
        assert [mute.rule for mute in await alerts.mutes(connection)] == [
            "disk_low",
            "track_silent",
        ]

        def muted(rule: str, subject: str) -> bool:
            return any(mute.covers(rule, subject) for mute in mutes)

        assert muted("disk_low", "data")
        assert muted("track_silent", "7")
        assert not muted("track_silent", "8")
        assert not muted("cpu_high", "")
        assert await alerts.unmute(connection, "track_silent", "8") == 0
        assert await alerts.unmute(connection, "track_silent", "7") == 1
        assert await alerts.unmute(connection, "disk_low", None) == 1
        assert [mute.rule for mute in await alerts.mutes(connection)] == []


async def test_alerts_of_machines_that_are_gone_are_closed(connected: Database) -> None:
    await connected.execute(
        "INSERT INTO daemons (id, host, pid, role) VALUES (gen_random_uuid(), 'here', 1, 'standby')"
    )
    old, young = NOW.timestamp() - 100_000, NOW.timestamp() - 60
    async with connected.acquire() as connection:
        await alerts.save(connection, alert(host="here", opened_at=old))
        await alerts.save(connection, alert(host="gone", opened_at=old))
        await alerts.save(connection, alert(host="new", opened_at=young))
        await alerts.save(connection, alert(host="", rule="track_silent", opened_at=old))
        await alerts.close_of_gone_hosts(connection)
    assert await rows(connected, "SELECT host FROM alerts WHERE closed_at IS NOT NULL") == [
        ("gone",)
    ]


async def test_acknowledging_tells_what_is_not_there_or_over(connected: Database) -> None:
    async with connected.acquire() as connection:
        assert await alerts.acknowledge(connection, 99, "ann") is None
        over = alert(closed_at=1_700_000_100.0)
        await alerts.save(connection, over)
        assert over.id is not None
        assert await alerts.acknowledge(connection, over.id, "ann") is False
        assert len(await alerts.listing(connection, closed=True)) == 1
        assert len(await alerts.listing(connection, closed=False)) == 0


# -- facts ----------------------------------------------------------------------------------------

FILL = """
INSERT INTO sources (name, network, secrets, created_at) VALUES
    ('a', 'x_v2', 'x', now() - interval '30 d'), ('b', 'x_v1', NULL, now() - interval '30 d');
INSERT INTO tracks (value, state, created_at, state_at)
    SELECT value, state, now() - interval '30 d', now() - interval '20 d'
    FROM (VALUES ('busy', 'active'), ('new', 'partial'), ('no', 'refused')) AS v (value, state);
-- Twelve an hour from 06:00 to 18:00 UTC, for ten days until six hours ago.
INSERT INTO track_hours SELECT 1, hour, 12, 1 FROM generate_series(
        date_trunc('hour', now(), 'UTC') - interval '10 days',
        date_trunc('hour', now(), 'UTC') - interval '6 hours', interval '1 hour') AS hour
    WHERE extract(hour FROM hour AT TIME ZONE 'UTC') BETWEEN 6 AND 17;
INSERT INTO track_minutes VALUES (2, now() - interval '10 min', 3), (2, now() - interval '2 h', 5);
INSERT INTO track_hours VALUES (2, date_trunc('hour', now() - interval '2 h', 'UTC'), 5, 1);
INSERT INTO source_minutes VALUES (1, now() - interval '5 min', 'stored', 30),
    (1, now() - interval '50 min', 'stored', 12), (1, now() - interval '61 min', 'stored', 1000),
    (1, now() - interval '5 min', 'rejected', 2);
INSERT INTO source_hours VALUES (1, now() - interval '3 days', 'stored', 1);
INSERT INTO gaps (source_id, began_at, ended_at, cause) VALUES
    (1, now() - interval '5 h', now() - interval '4 h', 'network'),
    (1, now() - interval '30 s', now() - interval '20 s', 'network'),
    (2, now() - interval '1 h', NULL, 'refused');
INSERT INTO archives (day, state, path, problem) VALUES
    ('2026-01-01', 'writing', 'p', 'no room'), ('2026-01-02', 'verified', 'q', NULL);
INSERT INTO users (name) VALUES ('ana');
INSERT INTO webhooks (user_id, name, url, position, state, reason) VALUES
    (1, 'mine', 'https://a.example', '', 'disabled', 'no'),
    (1, 'b', 'https://b.example', '', 'paused', '');
INSERT INTO daemons (id, host, pid, role, started_at, seen_at) SELECT gen_random_uuid(), host, 1,
    'collecting', now() - started, now() - seen FROM (VALUES
        ('web1', interval '10 min', interval '9 min'), ('web1', interval '5 min', interval '4 min'),
        ('web1', interval '1 min', interval '1 s'), ('web1', interval '2 h', interval '90 min'),
        ('web2', interval '10 min', interval '9 min')) AS v (host, started, seen);
"""


async def test_the_leader_knows_tracks_networks_and_archives(connected: Database) -> None:
    await connected.execute(FILL)
    facts = await FactReader(connected, "web1").read(leads=True)
    assert facts.complete
    assert facts.outcomes == {1: {"stored": 42, "rejected": 2}}
    assert facts.has_credentials
    assert len(facts.collectors_died) == 3
    assert facts.crashes == {"web1": 2, "web2": 1}
    assert facts.archive_problems == {"2026-01-01": "no room"}
    assert facts.disabled_webhooks == (DisabledWebhook(1, "mine", "ana", "no"),)
    assert facts.history_days == pytest.approx(3, abs=0.01)
    # The short gap does not count, and a source with an open gap delivers nothing.
    [(network, since)] = facts.delivering.items()
    assert network == "x_v2"
    assert facts.at - since == pytest.approx(4 * 3600, abs=60)
    busy, new = facts.tracks
    assert (busy.value, new.value) == ("busy", "new")
    assert busy.days == pytest.approx(7, abs=0.01)
    assert [round(each) for each in busy.profile] == [0] * 6 + [12] * 12 + [0] * 6
    assert busy.last_at is not None
    assert facts.at - busy.since == pytest.approx(20 * 86_400, abs=60)
    assert (new.last_hour, new.days, new.per_hour) == (3, 0.0, 0.0)
    assert new.last_at == pytest.approx(facts.at - 600, abs=60)


async def test_a_collector_that_is_late_is_not_dead(connected: Database) -> None:
    await connected.execute(FILL)
    await connected.execute("UPDATE daemons SET seen_at = now() - interval '10 s'")
    assert not (await FactReader(connected, "web1").read(leads=False)).collectors_died


async def test_others_ask_for_less(connected: Database) -> None:
    await connected.execute(FILL)
    fact_reader = FactReader(connected, "web1")
    facts = await fact_reader.read(leads=False)
    assert (facts.complete, facts.tracks, facts.crashes) == (False, (), {})
    assert len((await fact_reader.read(leads=True)).tracks) == 2  # as soon as it leads
    assert len((await fact_reader.read(leads=True)).tracks[0].profile) == 24


async def test_the_profile_is_that_of_the_days_before_a_silence(connected: Database) -> None:
    """Or the usual rate would adapt while the problem lasts."""
    await connected.execute(
        "INSERT INTO sources (name, network) VALUES ('a', 'x_v2');"
        "INSERT INTO tracks (value, state) VALUES ('old', 'active');"
        "INSERT INTO track_hours SELECT 1, hour, 24, 1 FROM generate_series("
        " date_trunc('hour', now()) - interval '40 days',"
        " date_trunc('hour', now()) - interval '20 days', interval '1 hour') AS hour"
    )
    [track] = (await FactReader(connected, "web1").read(leads=True)).tracks
    assert track.per_hour == pytest.approx(24)


async def test_a_forecast_of_this_machine_is_taken_from_the_view(connected: Database) -> None:
    await connected.execute(
        "INSERT INTO machine_minutes (host, at, cpu_percent, cpu_percent_max, load, memory_used,"
        " memory_total, network_received, network_sent, process_memory, process_files,"
        " loop_lag_max, journal_lag_bytes, journal_lag_seconds, database_up, volumes, sources,"
        " tables)"
        " SELECT host, now() - hours * interval '1 hour', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,"
        " jsonb_build_object('data', jsonb_build_object('path', '/', 'total', 1000000,"
        "  'used', 500000 - hours * 1000, 'free', 500000 + hours * 1000)), '{}', '{}'"
        " FROM generate_series(0, 48) AS hours, unnest(ARRAY['web1', 'web2']) AS host"
    )
    [forecast] = (await FactReader(connected, "web1").read(leads=False)).forecasts
    assert forecast.volume == "data"
    assert forecast.bytes_per_day == pytest.approx(24_000, rel=0.01)
    assert forecast.days == pytest.approx(500_000 / 24_000, abs=0.1)


# -- the digest -----------------------------------------------------------------------------------


async def test_yesterday_is_read_from_the_roll_ups(connected: Database) -> None:
    await connected.execute(
        """
        INSERT INTO sources (name, network) VALUES ('a', 'x_v2');
        INSERT INTO tracks (value, created_at) VALUES
            ('kept', '2026-01-01'), ('new', '2026-04-30 10:00+00'), ('silent', '2026-01-01');
        INSERT INTO tracks (value, enabled) VALUES ('off', false);
        INSERT INTO track_days VALUES (1, '2026-04-30', 10, 1), (1, '2026-04-29', 20, 1),
            (2, '2026-04-30', 5, 1), (3, '2026-04-29', 7, 1), (77, '2026-04-30', 3, 1),
            (78, '2026-04-30', 1, 1), (1, '2026-04-28', 99, 1), (4, '2026-04-30', 50, 1);
        INSERT INTO source_hours VALUES (1, '2026-04-30 00:00+00', 'stored', 15),
            (1, '2026-04-30 23:00+00', 'unmatched', 2), (1, '2026-04-30 23:00+00', 'duplicate', 9),
            (1, '2026-04-29 23:00+00', 'stored', 27), (1, '2026-05-01 00:00+00', 'stored', 500);
        INSERT INTO gaps (source_id, began_at, ended_at, cause) VALUES
            (1, '2026-04-29 23:00+00', '2026-04-30 00:10+00', 'network'),
            (1, '2026-04-30 12:00+00', '2026-04-30 12:05+00', 'silence'),
            (1, '2026-05-01 00:00+00', '2026-05-01 00:05+00', 'http');
        INSERT INTO rejects SELECT n, 1, '2026-04-30 12:00+00', 'not_json', '', ''
            FROM generate_series(1, 3) AS n;
        INSERT INTO alerts (rule, severity, text, remedy, opened_at, closed_at) VALUES
            ('a', 'notice', 'before', '', '2026-04-29 12:00+00', '2026-04-30 12:00+00'),
            ('b', 'notice', 'open', '', '2026-04-30 12:00+00', NULL),
            ('c', 'notice', 'later', '', '2026-05-01 12:00+00', NULL),
            ('d', 'notice', 'gone', '', '2026-04-28 12:00+00', '2026-04-29 12:00+00');
        INSERT INTO archives (day, state, path, problem) VALUES
            ('2026-04-28', 'verified', 'p', NULL), ('2026-04-29', 'writing', 'q', 'no room');
        """
    )
    async with connected.acquire() as connection:
        found = await digest.read(connection, date(2026, 4, 30))
    assert (found.tweets, found.before) == (17, 27)
    assert [(t.value, t.tweets, t.before, bool(t.is_new)) for t in found.tracks] == [
        ("kept", 10, 20, False),
        ("new", 5, 0, True),
        (None, 4, 0, False),
        ("silent", 0, 7, False),
    ]
    [gap] = found.gaps
    assert (gap.source, gap.number, gap.seconds, gap.causes) == (
        "a",
        2,
        900.0,
        "network, silence",
    )
    assert found.rejects == (("not_json", 3),)
    assert [(a.text, a.opened, a.closed, a.is_open) for a in found.alerts] == [
        ("before", False, True, False),
        ("open", True, False, True),
    ]
    assert (found.archives.done, found.archives.newest, found.archives.problems) == (
        1,
        "2026-04-28",
        1,
    )


async def test_a_job_is_remembered_with_the_last_time_that_it_went_well(
    connected: Database,
) -> None:
    async with connected.acquire() as connection:
        assert await jobs.last_success(connection, "digest") is None
        await jobs.record_run(connection, "digest", 0.5)
        done = await jobs.last_success(connection, "digest")
        assert done is not None
        await jobs.record_run(connection, "digest", 0.5, "no channel took it")
        assert await jobs.last_success(connection, "digest") == done
    assert await rows(connected, "SELECT failed, ran_at > done_at FROM jobs") == [
        ("no channel took it", True)
    ]
