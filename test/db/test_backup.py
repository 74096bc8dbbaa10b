"""The control plane in one file: moved to another server whole, refused when it is not whole."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
import zstandard

from monitor.archive.store import Store
from monitor.backup import scheduled
from monitor.backup.create import make
from monitor.backup.format import seal
from monitor.backup.restore import Restored, restore
from monitor.backup.scheduled import Backups
from monitor.jobs import Leader
from stream import db
from stream.config import ArchiveSettings, Settings
from stream.errors import TwitterstreamError
from stream.store import backups, migrations, sources, tracks, webhooks
from stream.store.backups import TABLES
from stream.store.tracks import NewTrack
from stream.vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from stream.db import Database

SECRET = {"bearer_token": "hunter2 hunter2 hunter2"}
SIGNING = {"secret": "whsec_aHVudGVyMg=="}  # of a webhook
FILL = """
INSERT INTO lanes (source_id, cell, number) VALUES (1, '', 1), (1, 'east', 0);
INSERT INTO cell_identity (installation, name) VALUES (gen_random_uuid(), '');
INSERT INTO tracks (value, owner, priority, keep_days) VALUES ('snow, "€"', 'ann', 3, 40), ('gone', NULL, 0, NULL);
DELETE FROM tracks WHERE value = 'gone';
INSERT INTO look_backs (track_id, place, author, state, resume_at)
    VALUES (1, 'author', 'ann.example', 'done', '{"page": "€"}');
INSERT INTO users (name, role, password) VALUES
    ('gone', 'viewer', NULL), ('ann', 'admin', '$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA'), ('bo', 'user', NULL);
DELETE FROM users WHERE name = 'gone';
INSERT INTO tokens (user_id, name, hash, scopes, used_at)
    VALUES (2, 'script "1"', sha256('x'), '{read,write}', now());
INSERT INTO track_shares (track_id, user_id) VALUES (1, 3);
INSERT INTO webhooks (user_id, name, url, tracks, position) VALUES (2, 'mine', 'https://example.org', '{1}', '0');
SELECT set_config('twitterstream.actor', 'ann', false);
UPDATE tracks SET enabled = false;
SELECT set_config('twitterstream.actor', '', false);
INSERT INTO sessions (hash, user_id, expires_at) VALUES (sha256('s'), 2, '9999-01-01');
INSERT INTO accounts (network, author_id, handle, checked_at)
    VALUES ('bluesky', 'did:plc:annannannannannannannann', 'ann.example', now());
INSERT INTO author_tombstones (network, author_id, deleted_at, scrubbed_to, withheld)
    VALUES ('x_v1', '5', now(), 12345678901234567890123, '{XX,DE}');
INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at)
    VALUES ('x_v1', '1', 9007199254740993, now()), ('x_v1', '2', 2, NULL), ('x_v1', '3', NULL, now());
INSERT INTO track_hours SELECT 1, date_trunc('hour', now()) - n * interval '1 hour', n, n * 1000
    FROM generate_series(0, 7000) AS n;
INSERT INTO track_days VALUES (1, '2026-01-01', 7, 7777777777);
INSERT INTO source_hours VALUES (1, date_trunc('hour', now()), 'stored', 12);
INSERT INTO track_gaps (source_id, track_id, began_at, detail)
    VALUES (1, 1, '2026-01-01 00:00:00.123456+00', 'all rules in use; "€"');
INSERT INTO gaps (source_id, began_at, ended_at, cause, detail)
    VALUES (1, now() - interval '1 day', now(), 'disk', E'a\\nb'), (1, now(), NULL, 'killed', '');
INSERT INTO events (source_id, kind, text) VALUES (1, 'daemon', E'line\\u2028end "q" \\\\ '), (NULL, 'plan', '');
INSERT INTO alerts (rule, host, severity, text, remedy, opened_at)
    VALUES ('disk_low', 'old', 'critical', 't', 'r', now()), ('track_silent', '', 'warning', 't', 'r', now());
INSERT INTO alert_mutes (rule, until) VALUES ('track_silent', '9999-01-01');
INSERT INTO archives (day, state, path, tweets, manifest)
    VALUES ('2026-01-01', 'dropped', 'tweets/day=2026-01-01/part=0', 7, '{"a": [1, "€"], "n": 1e400}');
INSERT INTO raw_archives (path, source_id, journal, position, until, bytes, sha256, began_at)
    VALUES ('raw/x', 1, gen_random_uuid(), 0, 99, 9, decode('00ff80', 'hex'), now());
"""  # noqa: E501 - rows


class Server:
    """A database and a data_dir."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        self.database = database
        self.vault = Vault(data_dir)

    async def content(self) -> dict[str, list[str]]:
        """Every row of every table of a backup, but for the sealed credentials."""
        found = {}
        async with self.database.transaction() as connection:
            for table in TABLES:
                batches = [batch async for batch in backups.rows(connection, table)]
                found[table.name] = sorted(row.decode() for rows in batches for row in rows)
        for name in backups.WITH_SECRETS:
            rows = map(msgspec.json.decode, found[name])
            found[name] = [str(row | {"secrets": None}) for row in rows]
        return found

    async def restore(
        self, path: Path, passphrase: str | None = None, *, force: bool = False
    ) -> Restored:
        return await restore(self.database, self.vault, path, passphrase, force=force)

    async def secrets(self) -> dict[str, dict[str, str] | None]:
        async with self.database.acquire() as connection:
            rows = await sources.get_all(connection)
            hooks = await webhooks.get_all(connection)
        found = {row.name: row.secrets for row in rows} | {
            hook.name: hook.secrets for hook in hooks
        }
        return {name: sealed and self.vault.open(sealed) for name, sealed in found.items()}  # type: ignore[misc]  # bytes are not empty


@pytest.fixture
async def old(database: str, tmp_path: Path) -> AsyncIterator[Server]:
    """A server with everything in it."""
    async with db.connect(database) as connected:
        server = Server(connected, tmp_path / "old")
        async with connected.acquire() as connection:
            sealed = server.vault.seal(SECRET)
            await sources.add(connection, "main", "x_v2", secrets=sealed)
            await sources.add(connection, "open", "x_v1", "http://127.0.0.1:1/")
        await connected.execute(FILL)
        await connected.execute("UPDATE webhooks SET secrets = $1", server.vault.seal(SIGNING))
        yield server


@pytest.fixture
async def new(empty_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Server]:
    """Another one, fresh."""
    async with db.connect(empty_database()) as connected:
        await migrations.migrate(connected)
        yield Server(connected, tmp_path / "new")


async def save(server: Server, path: Path, passphrase: str | None = None) -> Path:
    with path.open("wb") as file:
        await make(server.database, file.write, seal(server.vault.key(), passphrase))
    return path


@pytest.mark.parametrize("passphrase", [None, "correct horse € battery"])
async def test_everything_comes_to_another_server_and_credentials_open_there(
    old: Server, new: Server, tmp_path: Path, passphrase: str | None
) -> None:
    path = await save(old, tmp_path / "backup", passphrase)
    before = await old.content()
    assert all(before.values()), "there is something of everything"
    done = await new.restore(path, passphrase)
    after = await new.content()
    # Alerts about the old machine end with it.
    open_ones = await new.database.fetch("SELECT host FROM alerts WHERE closed_at IS NULL")
    assert [row["host"] for row in open_ones] == [""]
    assert {**after, "alerts": []} == {**before, "alerts": []}
    assert done.rows == {name: len(rows) for name, rows in before.items()}
    assert await new.secrets() == {"main": SECRET, "open": None, "mine": SIGNING}
    assert new.vault.key() != old.vault.key(), "sealed again, with its own key"


async def test_numbers_that_were_given_once_are_not_given_again(
    old: Server, new: Server, tmp_path: Path
) -> None:
    """Also not that of a track that is gone: its matches are in the archives."""
    await new.restore(await save(old, tmp_path / "backup"))
    async with new.database.acquire() as connection:
        assert await tracks.add(connection, NewTrack("next")) == 3
        assert await sources.add(connection, "next", "x_v1") == 5  # lanes have two
    [row] = await new.database.fetch("INSERT INTO users (name) VALUES ('cy') RETURNING id")
    assert row["id"] == 4


async def test_a_restore_is_nothing_that_somebody_did_to_a_track(
    old: Server, new: Server, tmp_path: Path
) -> None:
    """What people did comes back as it was, and no line more, also when it is done over it all."""
    path, history = await save(old, tmp_path / "backup"), "SELECT * FROM track_history ORDER BY id"
    before = [tuple(row) for row in await old.database.fetch(history)]
    assert [row[3:5] for row in before][-2:] == [(None, "shared"), ("ann", "paused")]
    for _ in range(2):
        await new.restore(path, force=True)
        assert [tuple(row) for row in await new.database.fetch(history)] == before
    await new.database.execute("UPDATE tracks SET enabled = true")
    [row] = await new.database.fetch(
        "SELECT max(id) - $1 AS more FROM track_history", before[-1][0]
    )
    assert row["more"] == 1, "afterwards it is written down again"


async def test_users_are_not_overwritten_without_force(
    old: Server, new: Server, tmp_path: Path
) -> None:
    """No session survives, because users have other ids now."""
    path = await save(old, tmp_path / "backup")
    await new.database.execute(
        "INSERT INTO users (name) VALUES ('me');"
        "INSERT INTO sessions (hash, user_id, expires_at) VALUES (sha256('me'), 1, '9999-01-01')"
    )
    with pytest.raises(TwitterstreamError, match="already has users"):
        await new.restore(path)
    await new.restore(path, force=True)
    names = [row["name"] for row in await new.database.fetch("SELECT name FROM users ORDER BY id")]
    assert names == ["ann", "bo"]
    assert await new.database.fetch("SELECT FROM sessions") == []


async def test_what_the_file_shows(old: Server, tmp_path: Path) -> None:
    """Under a passphrase neither key nor credentials; and never the credentials as they are."""
    for passphrase in (None, "horse"):
        path = await save(old, tmp_path / f"backup{passphrase}", passphrase)
        with path.open("rb") as file:
            text = zstandard.ZstdDecompressor().stream_reader(file).read()
        assert SECRET["bearer_token"].encode() not in text
        assert (old.vault.key() in text) == (passphrase is None)


@pytest.mark.parametrize(
    ("given", "message"), [("wrong", "passphrase is wrong"), (None, "use --passphrase-file")]
)
async def test_another_passphrase_opens_nothing_and_changes_nothing(
    old: Server, new: Server, tmp_path: Path, given: str | None, message: str
) -> None:
    path = await save(old, tmp_path / "backup", "horse")
    with pytest.raises(TwitterstreamError, match=message):
        await new.restore(path, given)
    assert not any((await new.content()).values())


async def test_a_server_in_use_is_only_overwritten_by_force(
    old: Server, new: Server, tmp_path: Path
) -> None:
    path = await save(old, tmp_path / "backup")
    await new.database.execute("INSERT INTO tracks (value) VALUES ('mine')")
    await new.database.execute(
        "INSERT INTO tweet_ids (network, native_id, deleted_at) VALUES ('x_v1', '77', now())"
    )
    with pytest.raises(TwitterstreamError, match=r"already has tracks.*--force"):
        await new.restore(path)
    [row] = await new.database.fetch("SELECT value FROM tracks")
    assert row["value"] == "mine"
    await new.restore(path, force=True)
    [row] = await new.database.fetch("SELECT value FROM tracks")
    assert row["value"] == 'snow, "€"'
    # What was deleted stays deleted, wherever that was heard.
    kept = await new.database.fetch("SELECT native_id FROM tweet_ids ORDER BY 1")
    assert [row["native_id"] for row in kept] == ["1", "3", "77"]
    await new.restore(path, force=True)  # and once more


def unpacked(body: bytes) -> bytes | None:
    """What is in a compressed file; None when it is damaged."""
    try:
        return zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
    except zstandard.ZstdError:
        return None


async def test_a_damaged_file_is_refused_wherever_it_breaks_and_nothing_is_taken(
    old: Server, new: Server, tmp_path: Path
) -> None:
    path = await save(old, tmp_path / "backup")
    whole = path.read_bytes()
    broken = [whole[: len(whole) * n // 10] for n in range(10)] + [
        whole[:-20],
        b"{}",
        whole + whole,
    ]
    for position in range(20, len(whole), len(whole) // 10):
        changed = bytearray(whole)
        changed[position] ^= 0x10
        if unpacked(bytes(changed)) != unpacked(whole):  # some bits mean nothing
            broken.append(bytes(changed))
    for body in broken:
        path.write_bytes(body)
        with pytest.raises(TwitterstreamError, match=r"damaged|is not a backup|cannot be read"):
            await new.restore(path)
    assert not any((await new.content()).values())


async def test_a_backup_of_another_schema_is_refused_with_the_remedy(
    old: Server, new: Server, tmp_path: Path
) -> None:
    path = await save(old, tmp_path / "backup")
    await new.database.execute("INSERT INTO schema_migrations VALUES (99, '0099_later.sql', 'x')")
    with pytest.raises(TwitterstreamError, match=r"this database has 0099_later\.sql"):
        await new.restore(path)


async def test_every_table_that_people_fill_is_in_the_list(old: Server) -> None:
    """Who adds a table decides: it is in a backup, or here."""
    not_ours = {
        *("tweets", "matches", "positions", "daemons", "jobs", "rejects", "machine_minutes"),
        *("track_minutes", "source_minutes", "schema_migrations", "archive_changes"),
        *("partially_expired_days", "ingest_runs", "track_top_items", "consumer_cursors"),
        "tracked_accounts",  # looked up again
        *("deletion_log", "sinks"),  # of what is passed on from this server
        *("exports", "export_parts"),  # the files are not in a backup; track_history is the log
        *("sessions", "invites"),  # who comes to another server logs in there
        "webhook_deliveries",  # what was not delivered is read again
        "sql_roles",  # the roles are of the former server
    }
    rows = await old.database.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    assert {row["relname"] for row in rows} - not_ours == {table.name for table in TABLES}


def test_restrictions_of_authors_in_older_backups_concern_stored_tweets() -> None:
    table = backups.table_named("author_tombstones")
    assert table is not None
    [row] = backups.with_new_names(table, [b'{"network": "x_v1", "author_id": "5"}'])
    assert msgspec.json.decode(row) == {"network": "x_v1", "author_id": "5", "held": True}


# -- by itself ------------------------------------------------------------------------------------


def keeper(server: Server, folder: Path) -> Backups:
    leader = Leader(server.database)
    leader.leads = True
    return Backups(server.database, Settings(archive=ArchiveSettings(url=str(folder))), leader)


async def test_once_a_day_one_goes_to_the_archive_without_credentials(
    old: Server, new: Server, tmp_path: Path
) -> None:
    backups, folder = keeper(old, tmp_path / "archive"), tmp_path / "archive" / "backup"
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for hours in range(0, 24 * 20, 6):
        await backups.work(lambda hours=hours: start + timedelta(hours=hours))  # type: ignore[misc]  # bound now
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == [
        f"202601{day:02d}T120000Z.backup" for day in range(20 - scheduled.BACKUPS_KEPT + 1, 21)
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    done = await new.restore(files[-1])
    assert done.header.without == ("main",)
    assert await new.secrets() == {"main": None, "open": None, "mine": None}
    [main, other] = await new.database.fetch("SELECT enabled FROM sources ORDER BY id")
    assert (main["enabled"], other["enabled"]) == (False, True)


async def test_a_standby_makes_none(old: Server, tmp_path: Path) -> None:
    backups = keeper(old, tmp_path / "archive")
    backups.leader.leads = False
    await backups.work()
    assert not (tmp_path / "archive").exists()


async def test_what_cannot_be_read_back_is_no_backup(
    old: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallow(self: Store, path: str) -> None:
        """A store that loses the end of a file."""
        assert self.folder is not None
        file = self.folder / path
        file.write_bytes(file.read_bytes()[:-20])

    monkeypatch.setattr(Store, "make_durable", swallow)
    with pytest.raises(TwitterstreamError, match="damaged"):
        await keeper(old, tmp_path / "archive").work()
    assert not list((tmp_path / "archive" / "backup").iterdir())


async def test_no_source_comes_back_as_if_it_were_connected(
    old: Server, new: Server, tmp_path: Path
) -> None:
    await old.database.execute(
        "UPDATE sources SET state = 'streaming', state_at = now() WHERE name = 'main'"
    )
    await new.restore(await save(old, tmp_path / "backup"))
    rows = await new.database.fetch("SELECT name, state, state_at FROM sources ORDER BY name")
    assert [tuple(row) for row in rows] == [("main", "idle", None), ("open", "idle", None)]
    [row] = await new.database.fetch("SELECT state FROM stats_sources WHERE name = 'main'")
    assert row["state"] == "stopped"
