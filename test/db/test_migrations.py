"""The schema is written twice, to be read and to be migrated to; both are the same."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from stream import db
from stream.db import Database
from stream.errors import RowRefused, TwitterstreamError
from stream.postgres import Embedded, client_environment
from stream.store import backups, migrations
from stream.store.migrations import FOLDER, available

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import Callable

    from test.conftest import Eventually

PARTS = ("tables", "functions", "views", "flat", "sql_access")
SCHEMA = [FOLDER.parent / "schema" / f"{part}.sql" for part in PARTS]

# Databases keep the checksum of each migration they ran, so an edited file stops every upgrade.
CHECKSUMS = {
    "0001_initial.sql": "9fba416cccfa00f8c078993aa6506f37c1db71a876d3a351322ca62de4069d95",
    "0002_watch_and_keep.sql": "782af70d70a6e3af384860e49ff325a6b623f9837f989cb53ec78021c6a08fdd",
    "0003_people_and_pages.sql": "4d6737927f37b3a48ff8c4ef5ab7ffdd66b705c0a5d8ea76832121134deebaf8",
    "0004_faults.sql": "1de86e647e54f74e90fa13dd663de8e495909ba32297c39e50584710375a4095",
    "0005_health.sql": "7f69978fbdc2f03d1ed2976cb45addd6455325c05b7b0cfe2862bb8a82e24a22",
    "0006_names.sql": "4d3cfeb4769b78ca20901528c7181504735db30c50749894c63526b2e5305c1d",
    "0007_terms.sql": "91fca83d5f0f57b10b90608e57699a27e6c9bb8422aade157cbf4bc12fe293eb",
    "0008_open_networks.sql": "49584a3796e5adf63d808cec9eaff7ec90bb9e642f5304bb6982b3c7f84d66a6",
    "0009_flat_views.sql": "747bcfacacf8959aca957d8652c4dccd0fa2e2f38ab1cb5790fd432ceff8a323",
    "0010_sinks.sql": "e0a58a780591dd8c2777a2684b1e49df3f48bded294fd022d13e8202b8d7ef79",
    "0011_webhooks.sql": "6e13793489f5b7b5ce0e6bf30109bffd279cc73f113a98610062eef08307463d",
    "0012_exports.sql": "1ce325433644a3fe8a0a73e72fc99f79a27c755912cc73a18bf58bd078faa2e5",
    "0013_relations.sql": "7ac5aacd9d45c3789768295a152426b69043d1b99220e5ee67b5cba3c0d2a27d",
    "0014_webhook_changes.sql": "732437cf381205b445da7d2fb01f77e0b82e4bccf11c2bce0be11f8b3c3bbd4a",
    "0015_restrict_logins.sql": "0432acf3df95b5e9962e33c3f27a2b3ae5ec552f5a682a7d02cdfd6489638c21",
    "0016_message_columns.sql": "241baf86acfb93b1f522243448fb19939688b13d278894ae94d28d1c80de1eb3",
    "0017_look_back_turns.sql": "caf8637df6aedd685e017afe8e9a0a5d1d6baf12ff75d2bc4c026508c210ee53",
    "0018_graph_counts.sql": "bf2d89348132cf365b93cdde465143f92ef8b18c013af2dadff5975dc9fa18cc",
    "0019_lanes.sql": "e6e177684a78009dce9070a7ad0bdf0a6da0f936223f7bca855e9ace2effee87",
    "0020_cell_copies.sql": "c5d30a4531118ace4dbbd1f1b402ebcb5710b16490793e96a328dc2f0150d45c",
    "0021_joined_cells.sql": "bc59af6b00f8b3a94c05000cf8d4a5e83787eb1188778215a25674078bb9c4b4",
}


def dump(url: str) -> str:
    """The schema as pg_dump writes it, without what differs from run to run."""
    pg_dump = Embedded(Path()).psql_path.with_name("pg_dump")
    text = subprocess.run(
        [pg_dump, "--schema-only", "--no-owner", "--exclude-table=schema_migrations"],
        env=os.environ | client_environment(url),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.MULTILINE)


async def test_the_schema_and_the_migrations_make_the_same_database(
    empty_database: Callable[[], str],
) -> None:
    read, migrated = empty_database(), empty_database()
    async with db.connect(read) as database:
        for part in SCHEMA:
            await database.execute(part.read_text(encoding="utf-8"))
    async with db.connect(migrated) as database:
        await migrations.migrate(database)
    assert "CREATE TABLE public.tweets" in dump(read)
    assert dump(read) == dump(migrated)


def test_no_migration_was_edited_not_even_a_comment() -> None:
    assert {migration.name: migration.checksum for migration in available()} == CHECKSUMS


def test_backups_know_the_newest_schema_and_each_before_it() -> None:
    *older, newest = [migration.name for migration in available()]
    assert newest == backups.SCHEMA
    assert set(older[3:]) == backups.READABLE_SCHEMAS


async def test_migrating_twice_changes_nothing(connected: Database) -> None:
    assert await migrations.migrate(connected) == []
    await migrations.require_current(connected)


async def test_a_migration_may_take_longer_than_other_calls(
    empty_database: Callable[[], str], eventually: Eventually
) -> None:
    """It waits for another one here; on a large table its own statements take as long."""
    url = empty_database()
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event = 'advisory' AND now() - query_start > interval '1 s'"
    )
    async with (
        db.connect(url, call_timeout=0.5) as connected,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as other,
    ):
        await other.execute("SELECT pg_advisory_lock(hashtext('twitterstream migrate'))")
        migrating = asyncio.create_task(migrations.migrate(connected))

        async def waits() -> bool:
            return migrating.done() or bool(await (await other.execute(waiting)).fetchall())

        await eventually(waits)
        await other.execute("SELECT pg_advisory_unlock_all()")
        assert await migrating == available()


async def test_a_database_without_the_schema_is_refused_with_the_remedy(
    empty_database: Callable[[], str],
) -> None:
    async with db.connect(empty_database()) as connected:
        with pytest.raises(TwitterstreamError, match=r"`twitterstream\.py migrate`"):
            await migrations.require_current(connected)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE schema_migrations SET checksum = 'other'", "was changed after"),
        (
            "INSERT INTO schema_migrations VALUES (9999, '9999_later.sql', 'x')",
            "written by a newer version",
        ),
    ],
)
async def test_an_edited_or_newer_migration_is_refused(
    connected: Database, damage: str, message: str
) -> None:
    await connected.execute(damage)
    with pytest.raises(TwitterstreamError, match=message):
        await migrations.migrate(connected)


def test_migration_files_are_numbered_without_holes() -> None:
    assert [migration.number for migration in available()] == list(
        range(1, len(list(FOLDER.glob("*.sql"))) + 1)
    )


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("INSERT INTO tracks (value, kind) VALUES ('x', 'song')", "tracks_kind_known"),
        ("INSERT INTO tracks (value, networks) VALUES ('x', '{myspace}')", "tracks_networks_known"),
        ("INSERT INTO tracks (value, networks) VALUES ('x', '{}')", "tracks_networks_some"),
        (
            "INSERT INTO tracks (value, starts_at, ends_at) VALUES ('x', now(), 'yesterday')",
            "tracks_window_order",
        ),
        ("INSERT INTO tracks (value) VALUES (repeat('x', 10001))", "tracks_value_length"),
        ("INSERT INTO sources (name, network) VALUES ('a b', 'x_v2')", "sources_name_plain"),
        ("INSERT INTO sources (name, network) VALUES ('a', 'fax')", "sources_network_known"),
        (
            "INSERT INTO sources (name, network, url) VALUES ('a', 'x_v2', 'ftp://x')",
            "sources_url_http",
        ),
        ("INSERT INTO tracks (value, networks) VALUES ('x', '{{x_v2}}')", "tracks_networks_flat"),
        (
            "INSERT INTO gaps (source_id, began_at, ended_at, cause) "
            "VALUES (1, now(), 'yesterday', 'network')",
            "gaps_order",
        ),
    ],
)
async def test_tables_refuse_nonsense_by_name(
    connected: Database, statement: str, constraint: str
) -> None:
    with pytest.raises(RowRefused, match=constraint):
        await connected.execute(statement)


TOO_FAR = ("infinity", "-infinity", "10000-01-01", "0044-03-15 BC", "9999-12-31 18:00+00")
DATED = {
    "tracks": "INSERT INTO tracks (value, {0}) VALUES ('x', $${1}$$)",
    "sources": "INSERT INTO sources (name, network, {0}) VALUES ('x', 'x_v2', $${1}$$)",
    "users": "INSERT INTO users (name, {0}) VALUES ('x', $${1}$$)",
    "alert_mutes": "INSERT INTO alert_mutes (rule, {0}) VALUES ('x', $${1}$$)",
    "tokens": "UPDATE tokens SET {0} = $${1}$$",
    "alerts": "UPDATE alerts SET {0} = $${1}$$",
}
A_TOKEN_AND_AN_ALERT = """
INSERT INTO users (name) VALUES ('mary');
INSERT INTO tokens (user_id, name, hash, scopes) SELECT id, 'x', sha256(''), '{read}' FROM users;
INSERT INTO alerts (rule, severity, text, remedy, opened_at) VALUES ('x', 'notice', '', '', now());
"""


async def test_dates_that_programs_cannot_read_are_refused(database: str) -> None:
    dates = {
        "tracks": ("starts_at", "ends_at", "created_at", "state_at", "last_viewed_at"),
        "sources": ("state_at", "retry_at", "last_at"),
        "users": ("seen_at",),
        "alert_mutes": ("until",),
        "tokens": ("used_at", "expires_at"),
        "alerts": ("opened_at", "acknowledged_at"),
    }
    async with db.connect(database) as connected:
        await connected.execute(A_TOKEN_AND_AN_ALERT)
        for table, columns in dates.items():
            for column, far in itertools.product(columns, TOO_FAR):
                with pytest.raises(RowRefused, match=f"{table}_dates_in_range"):
                    await connected.execute(DATED[table].format(column, far))


async def test_rows_with_dates_that_programs_cannot_read_are_repaired(
    empty_database: Callable[[], str],
) -> None:
    async with db.connect(empty_database()) as connected:
        for migration in available()[:3]:
            await connected.execute(migration.sql)
        await connected.execute(
            """
            INSERT INTO tracks (value, starts_at, ends_at, looked_at) VALUES
                ('always', '-infinity', 'infinity', now()), ('never', '10000-01-01', NULL, now()),
                ('over', '0044-03-15 BC', '0043-03-15 BC', 'infinity'), ('plain', NULL, NULL, NULL);
            UPDATE tracks SET networks = '{{x_v2},{x_v2}}' WHERE value = 'plain';
            INSERT INTO sources (name, network, last_at) VALUES ('main', 'x_v2', 'infinity');
            INSERT INTO alert_mutes (rule, until) VALUES ('disk_low', 'infinity');
            """
        )
        await connected.execute(available()[3].sql)
        found = await connected.fetch(
            "SELECT value, starts_at, ends_at, networks FROM tracks ORDER BY id"
        )
        latest = datetime(9999, 12, 31, tzinfo=UTC)
        assert [tuple(row) for row in found] == [
            ("always", None, None, None),
            ("never", latest, None, None),
            ("over", None, datetime(1900, 1, 1, tzinfo=UTC), None),
            ("plain", None, None, ["x_v2"]),
        ]
        assert [row["until"] for row in await connected.fetch("SELECT until FROM alert_mutes")] == [
            latest
        ]
        texts = [
            row["text"] for row in await connected.fetch("SELECT text FROM events ORDER BY id")
        ]
        assert "Track 1 had a start before 1900 or an end after 9999: removed." in texts
        assert any("1 rows of sources" in text and "last_at" in text for text in texts)


async def test_keys_are_times_and_times_are_keys(connected: Database) -> None:
    [row] = await connected.fetch(
        "SELECT tweet_received_at(tweet_key(t, 4095)) = t AS same,"
        " tweet_source(tweet_key(t, 4095)) AS source"
        " FROM (VALUES (timestamptz '2026-11-21 23:59:59.999999+00')) AS v (t)"
    )
    assert row["same"]
    assert row["source"] == 4095
