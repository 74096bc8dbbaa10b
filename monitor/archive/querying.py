"""SQL over the archives where they lie: DuckDB reads the Parquet files that manifests name.

It can do nothing else: it sees only these files, through a file system of ours that only reads, has
no other file, no network, no extension to load, and may not change that. What SQL creates is in its
own memory and gone with it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec
import psutil
import pyarrow as pa
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from monitor.archive.manifest import ArchiveError, Manifest, Role
from monitor.archive.store import Store
from monitor.archive.tables import MATCHES, TRACKS, TWEETS, Kind, Table

PROTOCOL = "archive"
BLOCK = 1 << 20  # bytes fetched at once
SHARE = 0.5  # of the machine's memory, that a query may use
AT_ONCE = 10_000  # rows of a result


class Named(msgspec.Struct, frozen=True):
    """A file as DuckDB knows it; the folder's name becomes the column `day`."""

    name: str
    path: str  # below the address of the store
    bytes: int


class Files(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The files that may be read, and nothing else."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, store: Store, files: Sequence[Named]) -> None:
        super().__init__()
        self.store = store
        self.files = {file.name: file for file in files}

    def file(self, path: str) -> Named:
        name = str(self._strip_protocol(path))
        if name not in self.files:
            raise FileNotFoundError(f"{path} is no file of the archive")
        return self.files[name]

    def info(self, path: str, **_: object) -> dict[str, object]:
        file = self.file(path)
        return {"name": file.name, "size": file.bytes, "type": "file"}

    def ls(self, path: str, **_: object) -> list[Any]:
        raise FileNotFoundError(f"{path} cannot be listed")

    def modified(self, path: str) -> datetime:
        self.file(path)  # a file of an archive never changes: a rewriting has another name
        return datetime(2000, 1, 1, tzinfo=UTC)

    def _open(self, path: str, mode: str = "rb", **_: object) -> AbstractBufferedFile:
        if mode != "rb":
            raise PermissionError("archives are only read here")
        file = self.file(path)
        return _File(self, file.name, size=file.bytes, block_size=BLOCK, cache_type="readahead")


class _File(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    def _fetch_range(self, start: int, end: int) -> bytes:
        reading = self.fs.store.open(self.fs.file(self.path).path)
        reading.seek(start)
        return bytes(reading.read(end - start))


@contextlib.contextmanager
def opened(store: Store, archives: Sequence[Manifest]) -> Iterator[Any]:
    """A DuckDB with the views tweets, matches, tracks and track_tweets over these archives."""
    roles: dict[Role, Table] = {"tweets": TWEETS, "matches": MATCHES, "tracks": TRACKS}
    named = {role: [_named(each, role) for each in archives] for role in roles}
    files = [file for group in named.values() for file in group]
    with duckdb.connect(":memory:") as connection:
        connection.register_filesystem(Files(store, files))
        memory = int(psutil.virtual_memory().total * SHARE)
        connection.execute(f"SET memory_limit = '{memory // 1_000_000}MB'")
        for role, table in roles.items():
            connection.execute(_view(table, named[role]))
        connection.execute(_TRACK_TWEETS)
        for setting in _LOCKED:
            connection.execute(setting)
        yield connection


_DUCK: dict[Kind, str] = {
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "smallint": "SMALLINT",
    "boolean": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "text": "VARCHAR",
    "texts": "VARCHAR[]",
}
_TRACK_TWEETS = """
CREATE VIEW track_tweets AS
    SELECT matches.track_id, matches.term, matches.field, matches.part, tweets.*
    FROM matches JOIN tweets ON tweets.id = matches.tweet_id AND tweets.day = matches.day
"""
_LOCKED = (
    "SET TimeZone = 'UTC'",
    "SET temp_directory = ''",
    f"SET allowed_directories = ['{PROTOCOL}://']",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def _named(archive: Manifest, role: Role) -> Named:
    file = archive.files[role]
    name = f"day={archive.day}/{archive.part}-{file.name}"
    return Named(name, archive.path(role), file.bytes)


def _view(table: Table, files: Sequence[Named]) -> str:
    if not files:
        columns = ", ".join(f"NULL::{_DUCK[c.kind]} AS {c.name}" for c in table.columns)
        return f"CREATE VIEW {table.name} AS SELECT {columns}, NULL::DATE AS day WHERE false"
    names = ", ".join(f"'{PROTOCOL}://{file.name}'" for file in files)
    return (
        f"CREATE VIEW {table.name} AS SELECT * FROM read_parquet([{names}],"  # noqa: S608 - ours
        " hive_partitioning = true, hive_types = {'day': DATE}, union_by_name = true)"
    )


def ask(connection: Any, query: str) -> Iterator[pa.RecordBatch]:
    """The rows of one SELECT; ArchiveError with DuckDB's own words when it is none, or wrong."""
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type not in _READING:
            raise ArchiveError(
                "Archives can only be read here: give one SELECT. There are the views tweets,"
                " matches, tracks and track_tweets, each with the column day."
            )
        yield from connection.sql(query).to_arrow_reader(AT_ONCE)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        first = str(error).strip().split("\nTraceback")[0]
        raise ArchiveError(f"The query cannot be answered: {first}") from error


_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
