"""The raw backup: every sealed segment once, whole, and good for an import."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import signal
import sys
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import pytest
from moto.server import ThreadedMotoServer

from monitor.archive.store import Store, Stored, StoreError
from monitor.jobs import Leader
from monitor.maintenance import raw_backup
from monitor.maintenance.raw_backup import RawBackup
from stream.config import AlertSettings, ArchiveSettings, JournalSettings, Settings
from stream.journal import Journal, JournalReader, maintenance
from stream.store import sources
from x_tweets import v1_tweet

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import Iterator

    from stream.db import Database
    from test.conftest import Eventually

ROOT = Path(__file__).resolve().parents[2]
SMALL = JournalSettings(segment_bytes=1 << 16, min_free_bytes=0, min_free_percent=0)
COPIES = "SELECT path, position, until, bytes, sha256 FROM raw_archives ORDER BY position"


@pytest.fixture
async def connected(connected: Database) -> Database:
    async with connected.acquire() as connection:
        assert await sources.add(connection, "main", "x_v1") == 1
    return connected


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    request = urllib.request.Request(f"http://{host}:{port}/tweets", method="PUT")
    with urllib.request.urlopen(request, timeout=90) as answer:
        assert answer.status == 200
    yield "s3://tweets/server"
    server.stop()


def tweet(native_id: int) -> bytes:
    return v1_tweet(native_id, "snow " + "€" * (native_id % 300))


def settings(tmp_path: Path, url: str) -> Settings:
    return Settings(data_dir=str(tmp_path / "data"), archive=ArchiveSettings(url=url))


async def make_journal(tmp_path: Path, eventually: Eventually, number: int = 600) -> Journal:
    """A journal with some sealed segments, and one in use; closed again."""
    folder = tmp_path / "data" / "journal" / "1"
    with Journal.open(folder, SMALL) as journal:
        keeping = asyncio.create_task(maintenance.run(journal))
        for native_id in range(1, number + 1):
            journal.append([tweet(native_id)])
        await eventually(lambda: all(each.compressed for each in journal.segments[:-1]))
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
    return journal


def sealed(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "data" / "journal" / "1").glob("*.zst"))


def backup(database: Database, its_settings: Settings) -> RawBackup:
    leader = Leader(database)
    leader.leads = True
    return RawBackup(database, its_settings, leader)


async def frames(folder: Path) -> list[bytes]:
    found: list[bytes] = []
    with (
        Journal.open(folder, SMALL) as journal,
        contextlib.closing(JournalReader(journal, journal.start)) as reader,
    ):
        while batch := await reader.read(100, 1 << 20):
            found.extend(frame.body for frame in batch)
    return found


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_each_sealed_segment_is_copied_once_and_can_be_read_again(
    kind: str,
    connected: Database,
    tmp_path: Path,
    eventually: Eventually,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue("bucket") if kind == "s3" else str(tmp_path / "archive")
    journal = await make_journal(tmp_path, eventually)
    keeper = backup(connected, settings(tmp_path, url))
    await keeper.work()
    copies = await connected.fetch(COPIES)
    store = await asyncio.to_thread(Store, url)
    assert len(copies) == len(sealed(tmp_path)) > 3
    restored = tmp_path / "restored"
    restored.mkdir()
    for copy, path in zip(copies, sealed(tmp_path), strict=True):
        body = await asyncio.to_thread(store.read, copy["path"])
        assert copy["path"].startswith("raw/main/20")
        assert copy["path"].endswith(f"/{journal.id}-{path.name}")
        assert body == path.read_bytes()
        assert (copy["bytes"], copy["sha256"]) == (len(body), hashlib.sha256(body).digest())
        (restored / path.name).write_bytes(body)
    if store.folder is not None:
        modes = {each.stat().st_mode & 0o777 for each in store.folder.rglob("*.zst")}
        assert modes == {0o600}
    stored = [(row["position"], row["until"]) for row in copies]
    assert [until for _, until in stored[:-1]] == [start for start, _ in stored[1:]]
    before = await asyncio.to_thread(lambda: sorted(map(repr, store.list("raw"))))
    await keeper.work()
    assert await asyncio.to_thread(lambda: sorted(map(repr, store.list("raw")))) == before
    # All frames but those of the segment in use, byte for byte.
    found = await frames(restored)
    assert found == [tweet(native_id) for native_id in range(1, len(found) + 1)]
    assert len(found) > 400


async def test_a_copy_can_be_imported(
    connected: Database, database: str, tmp_path: Path, eventually: Eventually
) -> None:
    await make_journal(tmp_path, eventually)
    await backup(connected, settings(tmp_path, str(tmp_path / "archive"))).work()
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "database": database,
                "data_dir": str(tmp_path / "other"),
                "journal": {"min_free_bytes": 0, "min_free_percent": 0},
            }
        )
    )
    copies = [str(path) for path in sorted((tmp_path / "archive").rglob("*.zst"))]
    importing = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "twitterstream.py"),
        *("--config", str(config), "import", "--network", "x_v1", *copies),
        stdout=-1,
    )
    said, _ = await importing.communicate()
    assert importing.returncode == 0
    found = await frames(tmp_path / "data" / "journal" / "1")
    [[stored]] = await connected.fetch("SELECT count(*) FROM tweets")
    assert 400 < stored < len(found)  # but for the segment in use
    assert f"{stored} messages: {stored} new" in said.decode()
    importing = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "twitterstream.py"), "--config", str(config)),
        *("import", "--network", "x_v1", str(damaged(Path(copies[0])))),
        stderr=-1,
    )
    _, wrong = await importing.communicate()
    assert importing.returncode == 1
    assert "damaged" in wrong.decode()


def damaged(path: Path) -> Path:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    return path


COPYING = """
import asyncio, sys
from monitor.maintenance.raw_backup import RawBackup
from monitor.jobs import Leader
from stream import db
from stream.config import ArchiveSettings, Settings
async def main(url, data, archive):
    settings = Settings(data_dir=data, archive=ArchiveSettings(url=archive))
    async with db.connect(url) as database:
        print("begins", flush=True)
        await RawBackup(database, settings, Leader(database)).work()
asyncio.run(main(*sys.argv[1:]))
"""


# Each copy takes so long that a busy machine, too, can kill between two of them.
SLOWLY = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
CREATE TRIGGER slowly AFTER INSERT ON raw_archives FOR EACH ROW EXECUTE FUNCTION slowly();
"""


async def so_many(database: Database, number: int) -> bool:
    return len(await database.fetch(COPIES)) >= number


async def test_killed_at_any_moment_it_goes_on_and_copies_nothing_twice(
    connected: Database, database: str, tmp_path: Path, eventually: Eventually
) -> None:
    await make_journal(tmp_path, eventually, 2500)
    archive = tmp_path / "archive"
    wanted = len(sealed(tmp_path))
    chance, noted = random.Random(7), set()
    await connected.execute(SLOWLY)
    for _ in range(8):
        copying = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COPYING, database, str(tmp_path / "data"), str(archive),
            stdout=-1, cwd=ROOT,
        )  # fmt: skip
        assert copying.stdout is not None
        assert await copying.stdout.readline() == b"begins\n"
        with contextlib.suppress(TimeoutError):
            # A little after one or two more are noted.
            target = len(await connected.fetch(COPIES)) + chance.randint(0, 2)
            await eventually(partial(so_many, connected, min(target, wanted)))
            async with asyncio.timeout(chance.uniform(0, 0.02)):
                await copying.wait()
        if copying.returncode is None:
            copying.send_signal(signal.SIGKILL)
        await copying.communicate()
        # What is noted is there, whole.
        for copy in await connected.fetch(COPIES):
            body = (archive / copy["path"]).read_bytes()
            assert hashlib.sha256(body).digest() == copy["sha256"]
        noted.add(len(await connected.fetch(COPIES)))
    assert len(noted) > 2, "it was killed in the middle of it"
    await connected.execute("DROP TRIGGER slowly ON raw_archives")
    await backup(connected, settings(tmp_path, str(archive))).work()
    assert len(await connected.fetch(COPIES)) == wanted
    left = [path for path in archive.rglob("*") if path.is_file()]
    assert len(left) == wanted, "nothing half-done is left"


async def test_what_was_trimmed_before_it_was_copied_is_said_once_and_no_error(
    connected: Database, tmp_path: Path, eventually: Eventually
) -> None:
    await make_journal(tmp_path, eventually)
    first, gone, *others = sealed(tmp_path)
    hidden = [path.rename(path.with_suffix(".away")) for path in others]
    size = int(others[0].name[:20]) - int(gone.name[:20])
    gone.unlink()
    keeper = backup(connected, settings(tmp_path, str(tmp_path / "archive")))
    await keeper.work()
    for path in hidden:
        path.rename(path.with_suffix(".zst"))
    for each in (keeper, keeper, backup(connected, settings(tmp_path, str(tmp_path / "archive")))):
        await each.work()
    assert len(await connected.fetch(COPIES)) == 1 + len(others)
    said = await connected.fetch("SELECT source_id, text FROM events WHERE kind = 'journal'")
    assert [tuple(row) for row in said] == [
        (1, f"{size:,} bytes of the journal were deleted before they were copied to the archive")
    ]
    assert first.exists()


async def test_copies_go_after_their_days_and_only_by_the_leader(
    connected: Database, tmp_path: Path, eventually: Eventually
) -> None:
    await make_journal(tmp_path, eventually)
    keeper = backup(connected, settings(tmp_path, str(tmp_path / "archive")))
    await keeper.work()
    for path in sealed(tmp_path):
        path.unlink()
    await connected.execute(
        "UPDATE raw_archives SET began_at = began_at - interval '31 days' WHERE position > 0"
    )
    keeper.leader.leads = False
    await keeper.work()
    assert len(await connected.fetch(COPIES)) > 3
    keeper.leader.leads = True
    await keeper.work()
    [kept] = await connected.fetch(COPIES)
    files = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    assert files == [tmp_path / "archive" / kept["path"]]


class Liar(Store):
    """A store that changes what it is given."""

    def copy_in(self, path: str, file: BinaryIO) -> Stored:
        body = file.read()
        self.put(path, body[:-1] + b"?")
        return Stored(len(body), hashlib.sha256(body).hexdigest())


async def test_what_was_not_stored_as_given_is_not_noted(
    connected: Database,
    tmp_path: Path,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make_journal(tmp_path, eventually)
    monkeypatch.setattr(raw_backup, "Store", Liar)
    with pytest.raises(StoreError, match="differs from what was written"):
        await backup(connected, settings(tmp_path, str(tmp_path / "archive"))).work()
    assert not await connected.fetch(COPIES)


async def test_a_folder_is_not_filled(
    connected: Database, tmp_path: Path, eventually: Eventually
) -> None:
    await make_journal(tmp_path, eventually)
    full = msgspec.structs.replace(
        settings(tmp_path, str(tmp_path / "archive")),
        alerts=AlertSettings(
            disk_warn_percent=100,
            disk_archive_percent=100,
            disk_pause_low_percent=100,
            disk_pause_all_percent=100,
        ),
    )
    with pytest.raises(StoreError, match=r"archive\.url.* nothing more is archived"):
        await backup(connected, full).work()
    assert not await connected.fetch(COPIES)
