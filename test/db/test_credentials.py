"""Credentials stay bound to their address through a backup that was edited."""

from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from monitor.backup.create import make
from monitor.backup.format import seal
from monitor.backup.restore import restore
from stream import credentials, db
from stream.credentials import OtherAddress
from stream.db import Database
from stream.store import migrations, sources
from stream.store.sources import SourceRow
from stream.vault import Vault

SECRETS = {"bearer_token": "hunter2-hunter2"}
HERE, EVIL = "https://good.example/", "https://evil.example/"


async def only(database: Database) -> SourceRow:
    async with database.acquire() as connection:
        [row] = await sources.get_all(connection)
    return row


@pytest.mark.parametrize("bound", [True, False])
async def test_a_backup_brings_the_keys_back_for_the_address_they_were_entered_for(
    database: str, empty_database: Callable[[], str], tmp_path: Path, bound: bool
) -> None:
    old, new = Vault(tmp_path / "old"), Vault(tmp_path / "new")
    path = tmp_path / "backup"
    sealed = credentials.seal(old, "x_v2", HERE, None, SECRETS) if bound else old.seal(SECRETS)
    async with db.connect(database) as source, db.connect(empty_database()) as target:
        async with source.acquire() as connection:
            await sources.add(connection, "main", "x_v2", HERE, secrets=sealed)
        with path.open("wb") as file:
            await make(source, file.write, seal(old.key(), None))
        await migrations.migrate(target)
        await restore(target, new, path, None, force=True)
        assert credentials.source_of(new, await only(target)).secrets == SECRETS
        assert credentials.rebound(new, await only(target)) is None
        content = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
        edited = content.replace(HERE.encode(), EVIL.encode())
        path.write_bytes(zstandard.ZstdCompressor().compress(edited))
        await restore(target, new, path, None, force=True)
        row = await only(target)
        assert row.url == EVIL
        if bound:  # of an older version: nothing else says whose keys they are
            with pytest.raises(OtherAddress):
                credentials.source_of(new, row)
