"""SQL over archives where they are stored: DuckDB reads the Parquet files that manifests name.

It can do nothing else: our read-only file system shows it only these files. It has no other
files, no network and no extensions, and cannot change that. Whatever SQL creates is in its own
memory. When an archive is damaged, the query is answered from the others.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec
import psutil
import pyarrow as pa
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from monitor.archive.data_files import RowReader
from monitor.archive.manifest import ROOT, ArchiveError, Manifest, Role, repair_hint
from monitor.archive.store import Store
from monitor.archive.verify import check_file
from stream.store.day_snapshot import MATCHES, TRACKS, TWEETS, Kind, Table

PROTOCOL = "archive"
FETCH_BYTES = 1 << 20  # at once
MEMORY_SHARE = 0.5  # of the machine's, that a query may use
BATCH_ROWS = 10_000  # of a result

_QUERIED: dict[Role, Table] = {"tweets": TWEETS, "matches": MATCHES, "tracks": TRACKS}
# The query is wrong, and no file is damaged.
_QUERY_ERRORS = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.PermissionException,
)
_READ_STATEMENTS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


def query_archives(
    store: Store, made: Sequence[Manifest], query: str, warn: Callable[[str], None]
) -> Iterator[pa.RecordBatch]:
    """The rows of a SELECT over all readable archives; one warning for each that is damaged."""
    complete = _with_all_files(store, made, warn)
    any_rows = False
    try:
        with _connected(store, complete) as connection:
            for batch in _run(connection, query):
                any_rows = True
                yield batch
    except (ArchiveError, duckdb.Error) as error:
        cause = error if isinstance(error, duckdb.Error) else error.__cause__
        if any_rows or cause is None or isinstance(cause, _QUERY_ERRORS):
            raise
        readable = _readable(store, complete, str(error), warn)
        if len(readable) == len(complete):
            raise
    else:
        return
    with _connected(store, readable) as connection:
        yield from _run(connection, query)


def _with_all_files(
    store: Store, made: Sequence[Manifest], warn: Callable[[str], None]
) -> list[Manifest]:
    """The archives whose files exist and have the right size, by one listing of the store."""
    sizes = {entry.path: entry.bytes for entry in store.list(ROOT)}
    complete = []
    for each in made:
        wrong = [role for role in _QUERIED if sizes.get(each.path(role)) != each.files[role].bytes]
        for role in wrong:
            path = each.path(role)
            state = "damaged: its size is wrong" if path in sizes else "missing"
            warn(f"{each.day} is left out: {path} is {state}. {repair_hint(path)}")
        if not wrong:
            complete.append(each)
    return complete


def _readable(
    store: Store, made: Sequence[Manifest], error_text: str, warn: Callable[[str], None]
) -> list[Manifest]:
    """The archives whose files can be opened; a file in the error's text is read completely."""
    good = []
    for each in made:
        try:
            for role in _QUERIED:
                RowReader(store, each.path(role))
                if _file_name(each, role) in error_text:
                    check_file(store, each, role)
        except ArchiveError as error:
            warn(f"{each.day} is left out: {error}")
        else:
            good.append(each)
    return good


def _run(connection: Any, query: str) -> Iterator[pa.RecordBatch]:
    """The rows of one SELECT; ArchiveError with DuckDB's message when it is invalid."""
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type not in _READ_STATEMENTS:
            raise ArchiveError(
                "Only one SELECT is allowed: archives are read-only. The views are tweets, matches,"
                " tracks and track_tweets, each with the column day."
            )
        yield from connection.sql(query).to_arrow_reader(BATCH_ROWS)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        first = str(error).strip().split("\nTraceback")[0]
        raise ArchiveError(f"The query cannot be answered: {first}") from error


# -- the database ---------------------------------------------------------------------------------


_DUCKDB_TYPES: dict[Kind, str] = {
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
_SANDBOX = (
    "SET TimeZone = 'UTC'",
    "SET temp_directory = ''",
    f"SET allowed_directories = ['{PROTOCOL}://']",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class ArchivedFile(msgspec.Struct, frozen=True):
    """A file as DuckDB knows it; the name of its folder becomes the column `day`."""

    name: str
    path: str  # below the address of the store
    bytes: int


def _file_name(archive: Manifest, role: Role) -> str:
    return f"day={archive.day}/{archive.part}-{archive.files[role].name}"


def _archived_file(archive: Manifest, role: Role) -> ArchivedFile:
    name = _file_name(archive, role)
    return ArchivedFile(name, archive.path(role), archive.files[role].bytes)


@contextlib.contextmanager
def _connected(store: Store, archives: Sequence[Manifest]) -> Iterator[Any]:
    """A DuckDB with the views tweets, matches, tracks and track_tweets over these archives."""
    by_role = {role: [_archived_file(each, role) for each in archives] for role in _QUERIED}
    files = [file for of_role in by_role.values() for file in of_role]
    with duckdb.connect(":memory:") as connection:
        connection.register_filesystem(ArchiveFileSystem(store, files))
        memory = int(psutil.virtual_memory().total * MEMORY_SHARE)
        connection.execute(f"SET memory_limit = '{memory // 1_000_000}MB'")
        for role, table in _QUERIED.items():
            connection.execute(_view(table, by_role[role]))
        connection.execute(_TRACK_TWEETS)
        for setting in _SANDBOX:
            connection.execute(setting)
        yield connection


def _view(table: Table, files: Sequence[ArchivedFile]) -> str:
    if not files:
        columns = ", ".join(f"NULL::{_DUCKDB_TYPES[c.kind]} AS {c.name}" for c in table.columns)
        return f"CREATE VIEW {table.name} AS SELECT {columns}, NULL::DATE AS day WHERE false"
    names = ", ".join(f"'{PROTOCOL}://{file.name}'" for file in files)
    return (
        f"CREATE VIEW {table.name} AS SELECT * FROM read_parquet([{names}],"  # noqa: S608 - ours
        " hive_partitioning = true, hive_types = {'day': DATE}, union_by_name = true)"
    )


class ArchiveFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The files that a query may read."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, store: Store, files: Sequence[ArchivedFile]) -> None:
        super().__init__()
        self.store = store
        self.files = {file.name: file for file in files}

    def file(self, path: str) -> ArchivedFile:
        name = str(self._strip_protocol(path))
        if name not in self.files:
            raise FileNotFoundError(f"{path} is not a file of the archive")
        return self.files[name]

    def info(self, path: str, **_: object) -> dict[str, object]:
        file = self.file(path)
        return {"name": file.name, "size": file.bytes, "type": "file"}

    def ls(self, path: str, **_: object) -> list[Any]:
        raise FileNotFoundError(f"{path} cannot be listed")

    def modified(self, path: str) -> datetime:
        self.file(path)  # a file of an archive never changes: a rewritten one has another name
        return datetime(2000, 1, 1, tzinfo=UTC)

    def _open(self, path: str, mode: str = "rb", **_: object) -> AbstractBufferedFile:
        if mode != "rb":
            raise PermissionError("archives are read-only here")
        file = self.file(path)
        return _OpenFile(
            self, file.name, size=file.bytes, block_size=FETCH_BYTES, cache_type="readahead"
        )


class _OpenFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    def _fetch_range(self, start: int, end: int) -> bytes:
        reading = self.fs.store.open(self.fs.file(self.path).path)
        reading.seek(start)
        return bytes(reading.read(end - start))
