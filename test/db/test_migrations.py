"""The schema is written twice, to be read and to be migrated to; both are the same."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stream import db, migrations
from stream.errors import RowRefused, TwitterstreamError
from stream.migrations import FOLDER, available
from stream.postgres import Embedded, client_environment

SCHEMA = FOLDER.parent / "schema.sql"


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


async def test_schema_sql_and_the_migrations_make_the_same_database(
    empty_database: Callable[[], str],
) -> None:
    read, migrated = empty_database(), empty_database()
    async with db.connect(read) as database:
        await database.execute(SCHEMA.read_text(encoding="utf-8"))
    async with db.connect(migrated) as database:
        await migrations.migrate(database)
    assert "CREATE TABLE public.tweets" in dump(read)
    assert dump(read) == dump(migrated)


async def test_migrating_twice_changes_nothing(database: str) -> None:
    async with db.connect(database) as connected:
        assert await migrations.migrate(connected) == []
        await migrations.require_current(connected)


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
    database: str, damage: str, message: str
) -> None:
    async with db.connect(database) as connected:
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
        (
            "INSERT INTO gaps (source_id, began_at, ended_at, cause) "
            "VALUES (1, now(), 'yesterday', 'network')",
            "gaps_order",
        ),
    ],
)
async def test_tables_refuse_nonsense_by_name(
    database: str, statement: str, constraint: str
) -> None:
    async with db.connect(database) as connected:
        with pytest.raises(RowRefused, match=constraint):
            await connected.execute(statement)


async def test_keys_are_times_and_times_are_keys(database: str) -> None:
    async with db.connect(database) as connected:
        [row] = await connected.fetch(
            "SELECT tweet_received_at(tweet_key(t, 4095)) = t AS same,"
            " tweet_source(tweet_key(t, 4095)) AS source"
            " FROM (VALUES (timestamptz '2026-11-21 23:59:59.999999+00')) AS v (t)"
        )
    assert row["same"]
    assert row["source"] == 4095
