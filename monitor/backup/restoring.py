"""Putting a backup back: all of it, in one transaction."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from monitor.backup.keys import open_secrets, unpack
from monitor.backup.lines import Header, Reader, Table
from monitor.backup.tables import CLOSE_ALERTS, GO_ON, IN_USE, MIGRATION, RESTORING, TABLES, Kept
from stream.db import Database, Executor, meaning
from stream.errors import RowRefused, TwitterstreamError
from stream.vault import Vault


class Restored(msgspec.Struct, frozen=True):
    """What came back."""

    header: Header
    rows: Mapping[str, int]


async def restore(
    database: Database, vault: Vault, path: Path, passphrase: str | None, *, force: bool
) -> Restored:
    """Take in a backup. TwitterstreamError, and nothing is changed, when it cannot be.

    Credentials are sealed anew, with the key of this server. `force`: what is there goes.
    """
    with path.open("rb") as file:
        reader = await asyncio.to_thread(Reader, file, path.name)
        box = reader.header.key
        key = None if box is None else await asyncio.to_thread(unpack, box, passphrase)
        taking = _Taking(vault, key, reader)
        async with database.patient() as connection, connection.transaction():
            await _check(connection, reader, force=force)
            await connection.execute(RESTORING)
            for table in TABLES:
                if not table.merged:
                    await connection.execute(table.clear)
            try:
                with meaning():
                    await taking.take(connection)
            except RowRefused as error:
                raise TwitterstreamError(f"{path.name} does not fit the tables: {error}") from error
            await connection.execute(CLOSE_ALERTS)
    return Restored(reader.header, taking.rows)


async def _check(connection: Executor, reader: Reader, *, force: bool) -> None:
    [row] = await connection.fetch(MIGRATION)
    if row["name"] != reader.header.migration:
        raise TwitterstreamError(
            f"{reader.name} was made by version {reader.header.version}, with the schema"
            f" {reader.header.migration}; this database has {row['name']}. Restore it with that"
            " version of the program, and upgrade then."
        )
    [used] = await connection.fetch(IN_USE)
    there = [name for name in ("tracks", "sources", "users") if used[name]]
    if there and not force:
        raise TwitterstreamError(
            f"This database has {_and(there)} already. With --force they go, and their"
            " history, and those of the backup take their place."
        )


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


class _Taking:
    """The rows on their way into the tables."""

    def __init__(self, vault: Vault, key: bytes | None, reader: Reader) -> None:
        self.vault = vault
        self.key = key
        self.reader = reader
        self.rows: Counter[str] = Counter()
        self._known = {table.name: table for table in TABLES}
        self._table: Kept | None = None

    async def take(self, connection: Executor) -> None:
        parts = self.reader.parts()
        while some := await asyncio.to_thread(next, parts, None):
            if isinstance(some, Table):
                await self._begin(connection, some)
            else:
                await self._insert(connection, some)

    async def _begin(self, connection: Executor, table: Table) -> None:
        self._table = self._known.get(table.name)
        if self._table is None:
            raise TwitterstreamError(f"{self.reader.name} has an unknown table, {table.name}.")
        if table.last is not None:
            await connection.fetch(GO_ON, table.name, table.last)

    async def _insert(self, connection: Executor, lines: list[bytes]) -> None:
        if self._table is None:
            raise TwitterstreamError(f"{self.reader.name} has rows of no table.")
        if self._table.name == "sources":
            lines = await asyncio.to_thread(lambda: [self._source(line) for line in lines])
        await connection.execute(self._table.insert, b"[" + b",".join(lines) + b"]")
        self.rows[self._table.name] += len(lines)

    def _source(self, line: bytes) -> bytes:
        """With credentials that this server can open; without any it waits for them, disabled."""
        row: dict[str, Any] = msgspec.json.decode(line)
        if row["secrets"] is not None and self.key is not None:
            sealed = bytes.fromhex(row["secrets"].removeprefix("\\x"))
            row["secrets"] = "\\x" + self.vault.seal(open_secrets(self.key, sealed)).hex()
        elif row["name"] in self.reader.header.without:
            row["enabled"] = False
        return msgspec.json.encode(row)
