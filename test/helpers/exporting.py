"""Runs exports in tests, and reads what is in their files."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from monitor.export.run import do, new_worker
from stream import export_requests
from stream.config import Settings
from stream.db import Database
from stream.export_requests import ExportRequest
from stream.store import exports
from stream.store.exports import Export
from stream.tweet import UserId


class ExportBench:
    """Requests exports and does them in this process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.lines: list[str] = []  # that were reported

    @property
    def settings_dir(self) -> Path:
        return Path(self.settings.data_dir)

    async def request(self, user: int | None = None, **wanted: object) -> int:
        """Request an export; returns its id."""
        request = msgspec.convert({"tracks": [1], "format": "csv", **wanted}, ExportRequest)
        async with self.database.transaction() as connection:
            user_id = None if user is None else UserId(user)
            return await export_requests.add(connection, self.settings, user_id, request)

    async def do(
        self, number: int, on_progress: Callable[[str], None] = lambda _: None
    ) -> Path | None:
        """Do it to its end."""
        worker = new_worker()
        async with self.database.acquire() as connection:
            claimed = await worker.claim(connection, number)
        assert claimed is not None
        return await do(
            self.database, self.settings, worker, claimed, self.lines.append, on_progress
        )

    async def made(self, user: int | None = None, **wanted: object) -> "Made":
        """Request and do an export that succeeds."""
        path = await self.do(await self.request(user, **wanted))
        assert path is not None, self.lines
        return Made(path)

    async def row(self, number: int) -> Export:
        async with self.database.acquire() as connection:
            found = await exports.by_id(connection, number)
        assert found is not None
        return found


class Made:
    """The finished file of an export."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def names(self) -> list[str]:
        with zipfile.ZipFile(self.path) as package:
            assert package.testzip() is None
            return package.namelist()

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as package:
            return package.read(name)

    @property
    def data(self) -> list[bytes]:
        """The contents of the data files, in order."""
        return [self.read(name) for name in self.names if name.startswith("tweets")]

    @property
    def csv_rows(self) -> list[dict[str, str]]:
        """The rows of all CSV files."""
        return [
            row
            for data in self.data
            for row in csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True)
        ]

    @property
    def json_rows(self) -> list[dict[str, Any]]:
        """The rows of all NDJSON files."""
        return [json.loads(line) for data in self.data for line in data.split(b"\n") if line]

    def rows_of(self, name: str) -> list[dict[str, str]]:
        """The rows of the CSV files of this name."""
        return [
            row
            for path in self.names
            if path.startswith(name)
            for row in csv.DictReader(io.StringIO(self.read(path).decode(), newline=""))
        ]

    @property
    def ids(self) -> list[int]:
        return [int(row["id"]) for row in self.csv_rows]
