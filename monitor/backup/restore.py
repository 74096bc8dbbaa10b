"""Restore a backup, in one transaction."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from monitor.backup.format import Header, Reader, Table, open_secrets, unseal
from stream.credentials import destination
from stream.db import Database, Executor, transaction, translated_errors
from stream.errors import RowRefused, TwitterstreamError
from stream.store import backups
from stream.store.backups import BackupTable
from stream.vault import Vault


class Restored(msgspec.Struct, frozen=True):
    """Counts of what a backup restored."""

    header: Header
    rows: Mapping[str, int]


async def restore(
    database: Database, vault: Vault, path: Path, passphrase: str | None, *, force: bool
) -> Restored:
    """Restore it. On TwitterstreamError nothing has changed.

    Credentials are encrypted again, with the key of this server. `force`: existing data is deleted.
    """
    with path.open("rb") as file:
        reader = await asyncio.to_thread(Reader, file, path.name)
        sealed_key = reader.header.key
        key = (
            None if sealed_key is None else await asyncio.to_thread(unseal, sealed_key, passphrase)
        )
        restoring = _Restoring(vault, key, reader)
        async with database.long_running() as connection, transaction(connection):
            await _check(connection, reader, force=force)
            await backups.begin_restore(connection)
            try:
                with translated_errors():
                    await restoring.insert_all(connection)
            except RowRefused as error:
                raise TwitterstreamError(
                    f"{path.name} does not match the tables: {error}"
                ) from error
            await backups.end_restore(connection)
    return Restored(reader.header, restoring.rows)


async def _check(connection: Executor, reader: Reader, *, force: bool) -> None:
    schema = await backups.newest_migration(connection)
    made_with = reader.header.migration
    if made_with != schema and not (
        schema == backups.SCHEMA and made_with in backups.READABLE_SCHEMAS
    ):
        raise TwitterstreamError(
            f"{reader.name} was made by version {reader.header.version}, with the schema"
            f" {reader.header.migration}; this database has {schema}. Restore it with that"
            " version of the program, then upgrade."
        )
    there = await backups.tables_in_use(connection)
    if there and not force:
        raise TwitterstreamError(
            f"This database already has {_and(there)}. --force deletes them and their history"
            " first."
        )


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


class _Restoring:
    """Inserts the rows of a backup."""

    def __init__(self, vault: Vault, key: bytes | None, reader: Reader) -> None:
        self.vault = vault
        self.key = key
        self.reader = reader
        self.rows: Counter[str] = Counter()
        self._table: BackupTable | None = None

    async def insert_all(self, connection: Executor) -> None:
        parts = self.reader.parts()
        while part := await asyncio.to_thread(next, parts, None):
            if isinstance(part, Table):
                await self._begin(connection, part)
            else:
                await self._insert(connection, part)

    async def _begin(self, connection: Executor, table: Table) -> None:
        self._table = backups.table_named(table.name)
        if self._table is None:
            raise TwitterstreamError(f"{self.reader.name} has an unknown table, {table.name}.")
        if table.last is not None:
            await backups.set_last_id(connection, self._table, table.last)

    async def _insert(self, connection: Executor, lines: list[bytes]) -> None:
        if self._table is None:
            raise TwitterstreamError(f"{self.reader.name} has rows without a table.")
        if self._table.name == "sources":
            lines = await asyncio.to_thread(lambda: [self._source(line) for line in lines])
        if self._table.name == "webhooks":
            lines = await asyncio.to_thread(lambda: [self._webhook(line) for line in lines])
        if self.reader.header.migration in backups.READABLE_SCHEMAS:
            lines = await asyncio.to_thread(backups.with_new_names, self._table, lines)
        await backups.insert(connection, self._table, lines)
        self.rows[self._table.name] += len(lines)

    def _source(self, line: bytes) -> bytes:
        """Encrypt its credentials for this server; disable it if the backup has none."""
        row: dict[str, Any] = msgspec.json.decode(line)
        if row["secrets"] is not None and self.key is not None:
            sealed = bytes.fromhex(row["secrets"].removeprefix("\\x"))
            found = open_secrets(self.key, sealed)
            # The address in the row may have been edited; the encrypted one has not.
            meant = found.destination or destination(row["network"], row["url"], row["proxy"])
            row["secrets"] = "\\x" + self.vault.seal(found.secrets, meant).hex()
        elif row["name"] in self.reader.header.without:
            row["enabled"] = False
        if row["state"] != "importing":  # no daemon has collected it here
            row |= {"state": "idle", "reason": "", "state_at": None, "retry_at": None}
        return msgspec.json.encode(row)

    def _webhook(self, line: bytes) -> bytes:
        """Encrypt its secrets for this server; without the key they are lost."""
        row: dict[str, Any] = msgspec.json.decode(line)
        if row["secrets"] is not None:
            assert self.key is not None
            found = open_secrets(self.key, bytes.fromhex(row["secrets"].removeprefix("\\x")))
            row["secrets"] = "\\x" + self.vault.seal(found.secrets).hex()
        return msgspec.json.encode(row)
