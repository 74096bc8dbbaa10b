"""Requests for exports, checked in one way for pages, API and command line."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from stream.config import Settings
from stream.db import Executor
from stream.errors import InvalidField
from stream.store import exports, sharing, track_history, tracks
from stream.store.exports import MAX_NODES, ColumnSet, Format, Graph, NewExport
from stream.tweet import TrackId, UserId

TRACKS_MAX = 1000
WORDS_MAX = 1000  # characters
GRAPH_LIMIT = 1_000_000  # of its least weight, and of its nodes
NAMING_FORMATS = ("received", "ids")  # cannot have pseudonyms
# What can be chosen for some formats only.
FORMATS_WITH: dict[str, Sequence[Format]] = {
    "columns": ("csv", "excel", "xlsx", "ndjson", "parquet"),
    "graph": ("gexf",),
    "min_weight": ("gexf",),
    "max_nodes": ("gexf",),
}
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)  # no tweet has an older key

PACKAGE = "export.zip"
NO_CELLS = "Exports are off: they would lack the tweets of other databases. Downloads have them."


class Choice(NamedTuple):
    """A format or a set of columns, for people: what it is called, and what it is good for."""

    title: str
    use: str


FORMATS: dict[Format, Choice] = {
    "xlsx": Choice("Excel workbook", "opens in Excel, LibreOffice and Google Sheets"),
    "excel": Choice(
        "CSV for Excel", "opens in any spreadsheet; no text becomes a date or a formula"
    ),
    "csv": Choice("CSV for programs", "for R, pandas, SPSS and databases"),
    "parquet": Choice("Parquet", "for pandas, R and DuckDB: small and fast, with types"),
    "ndjson": Choice("NDJSON", "for programmers: one JSON object per line, alike for all networks"),
    "received": Choice(
        "NDJSON as received", "for twarc and similar tools: the networks' messages, complete"
    ),
    "ids": Choice("Ids only", "to publish or to cite: the networks' own ids, one per line"),
    "relations": Choice(
        "Related tables",
        "for databases: CSV files of tweets, hashtags, mentions, links and media",
    ),
    "gexf": Choice("Graph (GEXF)", "opens in Gephi, and for networkx: who is linked with whom"),
}
COLUMNS: dict[ColumnSet, Choice] = {
    "simple": Choice("Simple", "what people read, with local times"),
    "everything": Choice("Everything", "all columns of all networks, for analysis"),
    "twarc": Choice("twarc", "named as by twarc-csv, for scripts made for it"),
    "4cat": Choice("4CAT", "to upload to 4CAT"),
}
GRAPH_TITLES: dict[Graph, str] = {
    "co-hashtag": "Hashtags of the same tweet",
    "mention": "Who mentions whom",
    "reply": "Who replies to whom",
    "author-hashtag": "Authors and their hashtags",
    "host-hashtag": "Hosts of links and the hashtags beside them",
}


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be exported, as it was asked for; None: not said."""

    tracks: Sequence[TrackId]
    format: Format
    columns: ColumnSet | None = None
    since: datetime | None = None
    until: datetime | None = None
    words: str = ""
    pseudonyms: bool = False
    time_zone: str = "UTC"
    part_rows: int | None = None
    graph: Graph | None = None
    min_weight: Annotated[int, Meta(ge=1, le=GRAPH_LIMIT)] | None = None
    max_nodes: Annotated[int, Meta(ge=1, le=GRAPH_LIMIT)] | None = None


def folder_of(data_dir: Path, export_id: int) -> Path:
    """Where the files of an export are."""
    return data_dir / "exports" / str(export_id)


async def add(
    connection: Executor, settings: Settings, user_id: UserId | None, wanted: ExportRequest
) -> int:
    """Request an export, inside a transaction; returns its id. InvalidField.

    `user_id` None: the command line, which sees all tracks.
    """
    if settings.cells:
        raise InvalidField("tracks", NO_CELLS)
    if wanted.format not in FORMATS:
        raise InvalidField("format", "Unknown format.")
    _check_options(wanted)
    if wanted.pseudonyms and wanted.format in NAMING_FORMATS:
        raise InvalidField("pseudonyms", "This format names accounts: choose another one.")
    await _check_tracks(connection, user_id, wanted.tracks)
    since, until = _times(wanted)
    if len(wanted.words) > WORDS_MAX:
        raise InvalidField("words", f"At most {WORDS_MAX:,} characters.")
    new = NewExport(
        user_id=user_id,
        tracks=sorted(set(wanted.tracks)),
        format=wanted.format,
        columns=wanted.columns or "everything",
        since=since,
        until=until,
        words=" ".join(wanted.words.replace("\0", " ").split()),
        time_zone=wanted.time_zone,
        part_rows=wanted.part_rows or settings.exports.part_rows,
        pseudonym_key=os.urandom(32) if wanted.pseudonyms else None,
        graph=wanted.graph or "co-hashtag",
        min_weight=wanted.min_weight or 1,
        max_nodes=wanted.max_nodes or MAX_NODES,
    )
    number = await exports.add(connection, new)
    await track_history.note_export(connection, user_id, new.tracks, _logged(number, new))
    return number


def _check_options(wanted: ExportRequest) -> None:
    """InvalidField for an option that the format does not have."""
    for name, formats in FORMATS_WITH.items():
        if getattr(wanted, name) is not None and wanted.format not in formats:
            words = f"`{name}` cannot be chosen for the format {wanted.format}"
            *others, last = formats
            choice = f"{', '.join(others)} or {last}" if others else last
            raise InvalidField(name, f"{words}: leave it out, or choose the format {choice}.")


def _logged(number: int, new: NewExport) -> bytes:
    """What the history of the tracks says about an export."""
    times = {"since": new.since, "until": new.until}
    what = {"export": number, "format": new.format, "columns": new.columns, "words": new.words}
    return msgspec.json.encode(what | times | {"pseudonyms": new.pseudonym_key is not None})


async def _check_tracks(
    connection: Executor, user_id: UserId | None, wanted: Sequence[TrackId]
) -> None:
    if not 1 <= len(set(wanted)) <= TRACKS_MAX:
        raise InvalidField("tracks", f"Choose a track, and at most {TRACKS_MAX:,}.")
    seen: set[TrackId]
    if user_id is None:
        seen = {row.id for row in await tracks.get_many(connection, list(wanted))}
    else:
        seen = set(await sharing.visible_among(connection, user_id, wanted))
    if hidden := set(wanted) - seen:
        raise InvalidField("tracks", f"There is no track {min(hidden)}, or you do not see it.")


def _times(wanted: ExportRequest) -> tuple[datetime | None, datetime | None]:
    """Start and end, which may be in the future: until now then."""
    now = datetime.now(UTC)
    since = None if wanted.since is None else max(wanted.since, EARLIEST)
    until = None if wanted.until is None else min(wanted.until, now)
    if until is not None and until <= EARLIEST:
        raise InvalidField("until", "The end must be after 2020-01-01.")
    if since is not None and since >= now:
        raise InvalidField("since", "The start must be in the past.")
    if since is not None and until is not None and since >= until:
        raise InvalidField("since", "The start must be before the end.")
    return since, until
