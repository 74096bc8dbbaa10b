"""What describes an export in its package: datapackage.json for programs, README.md for people."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from monitor.export.files import tables_of
from monitor.export.graph import EDGES_PER_NODE, GRAPH_FILE, WrittenGraph
from stream import __version__
from stream.db import Executor
from stream.export_requests import GRAPH_TITLES
from stream.keys import EPOCH
from stream.networks.descriptions import TITLES
from stream.reach import reach_sentence
from stream.store import gaps, track_history, track_reach, tracks
from stream.store.export_columns import ExportColumn, ExportTable, Kind
from stream.store.exports import Export, Format, Graph, Part
from stream.store.track_reach import TrackReach
from stream.tweet import TrackId

HISTORY_MAX = 100  # changes of a track that are listed
GAPS_MAX = 500
MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv",
    "excel": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ndjson": "application/x-ndjson",
    "received": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "ids": "text/plain",
    "relations": "text/csv",
    "gexf": "text/csv",
}
SPREADSHEETS = ("excel", "xlsx")
TYPES: dict[Kind, str] = {
    "text": "string",
    "integer": "integer",
    "number": "number",
    "time": "datetime",
    "texts": "array",
    "integers": "array",
}
_REPOSTS = "A repost has the hashtags and links of the reposted tweet."
_NO_REPOSTS = "Reposts are left out, and accounts that name themselves."
GRAPH_NOTES: dict[Graph, str] = {
    "co-hashtag": _REPOSTS,
    "mention": _NO_REPOSTS,
    "reply": _NO_REPOSTS,
    "author-hashtag": _REPOSTS,
    "host-hashtag": _REPOSTS,
}
TERMS = """\
The tweets belong to their authors, and the terms of the networks apply to them. You may need a
legal basis of your own to keep them, and most networks forbid publishing more than ids.

- X: https://docs.x.com/developer-terms/policy (Developer Policy: content redistribution, deletions)
- Bluesky: https://bsky.social/about/support/tos and the authors' own settings
- Mastodon: the terms of each server, on its page About

This program adds no licence to the data."""


class Facts(msgspec.Struct, frozen=True):
    """What is known about the tracks of an export."""

    queries: Sequence[str]  # lines, with the changes
    reach: Sequence[str]
    gaps: Sequence[str]


async def read_facts(connection: Executor, export: Export) -> Facts:
    """Read the queries with their history, and the coverage."""
    queries: list[str] = []
    rows = await tracks.get_many(connection, list(export.tracks))
    for row in rows:
        networks = ", ".join(row.networks) if row.networks else "all networks"
        queries.append(f"- Track {row.id} ({row.kind}, {networks}): `{_one_line(row.value)}`")
        queries += await _changes(connection, TrackId(row.id))
    reaches = await track_reach.of_tracks(connection, export.tracks)
    return Facts(queries, [_reach(each) for each in reaches], await _gaps(connection, export))


async def _changes(connection: Executor, track_id: TrackId) -> list[str]:
    """When the query of a track was another one; without the names of users."""
    entries = await track_history.of_track(connection, track_id, "", HISTORY_MAX, sees_all=True)
    return [
        f"  - {_utc(each.at)}: {each.action}"
        + (
            f", before `{_one_line(str((each.before or {}).get('value', '')))}`"
            if "value" in each.changed
            else ""
        )
        for each in reversed(entries)
        if each.action in ("added", "changed", "paused", "resumed")
    ]


def _reach(each: TrackReach) -> str:
    return (
        f"- Track {each.track_id}, {each.source} ({TITLES[each.network]}): {reach_sentence(each)}"
    )


async def _gaps(connection: Executor, export: Export) -> list[str]:
    found = await gaps.gaps_within(connection, export.since or EPOCH, export.until)
    lines = [
        f"- {each.source or f'removed source {each.source_id}'}: {_utc(each.began_at)} to"
        f" {_utc(each.ended_at)} ({each.cause})"
        for each in found[:GAPS_MAX]
    ]
    return [*lines, "- …"] if len(found) > GAPS_MAX else lines


def _one_line(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def readme(export: Export, facts: Facts) -> bytes:
    """README.md."""
    valid = _utc(export.valid_until or export.requested_at)
    begin = "the first tweet" if export.since is None else _utc(export.since)
    words = f"\nOnly tweets with all of these words in their text: {export.words}" * bool(
        export.words
    )
    hidden = (
        "\nNames and ids of accounts are pseudonyms, the same within this export. The networks' own"
        " ids and addresses of tweets are left out. Texts and links may still tell who wrote them."
        * (export.pseudonym_key is not None)
    )
    tables = tables_of(export)
    columns = "\n\n".join(_columns(table, titled=len(tables) > 1) for table in tables)
    graph = _graph(export) if export.format == "gexf" else ""
    text = f"""# Export {export.id}

Tweets received from {begin} until {_utc(export.until)}, in the order in which they were received.
It has {export.contents}. Requested at {_utc(export.requested_at)} from
twitterstream {__version__}.{words}{hidden}

Deletions valid until {valid}: tweets that were deleted until then are not in it.
Delete what was deleted since, or export again.

## Query

{chr(10).join(facts.queries) or "The tracks were removed."}

## Coverage

{chr(10).join(facts.reach) or "No source delivers these tracks at the moment."}

Gaps: times in which a source could not deliver.

{chr(10).join(facts.gaps) or "None on record in this time."}

{graph}## Columns

{columns}

## Terms and licence

{TERMS}
"""
    return text.encode()


def _graph(export: Export) -> str:
    edges_max = EDGES_PER_NODE * export.max_nodes
    return f"""## Graph

`{GRAPH_FILE}`: {GRAPH_TITLES[export.graph]}. Open it with Gephi, or with networkx: `read_gexf`.
The weight of an edge is the number of tweets that have it; the count of a node, of those that it
occurs in. `start` and `end` are the times of the first and the last one.

It has edges with a weight of at least {export.min_weight:,}, and of these at most
{export.max_nodes:,} nodes and {edges_max:,} edges, the heaviest ones. The tables have all.
{GRAPH_NOTES[export.graph]}

"""


def _columns(table: ExportTable, *, titled: bool) -> str:
    lines = "\n".join(f"- `{each.name}`: {each.about}" for each in table.columns)
    return f"### {table.name}\n\n{lines}" if titled else lines


def data_package(
    export: Export, parts: Sequence[Part], names: Sequence[str], graph: WrittenGraph | None
) -> bytes:
    """datapackage.json: a Data Package with the files, their columns, sizes and checksums."""
    resources = [_resource(export, part, name) for part, name in zip(parts, names, strict=True)]
    if graph is not None:
        resources.append(_graph_resource(graph))
    package = {
        "profile": "data-package",
        "name": f"twitterstream-export-{export.id}",
        "title": f"Export {export.id}",
        "created": _iso(export.valid_until or export.requested_at),
        "sources": [{"title": f"track {track}"} for track in export.tracks],
        "deletions_valid_until": _iso(export.valid_until or export.requested_at),
        "rows": export.rows,
        "resources": resources,
    }
    return msgspec.json.format(msgspec.json.encode(package), indent=2) + b"\n"


def _graph_resource(graph: WrittenGraph) -> dict[str, object]:
    return {
        "name": "graph",
        "path": GRAPH_FILE,
        "format": "gexf",
        "mediatype": "application/gexf+xml",
        "encoding": "utf-8",
        "bytes": graph.file.bytes,
        "hash": f"sha256:{graph.file.sha256}",
        "nodes": graph.nodes,
        "edges": graph.edges,
    }


def _resource(export: Export, part: Part, name: str) -> dict[str, object]:
    stem, _, suffix = name.rpartition(".")
    resource: dict[str, object] = {
        "name": stem,
        "path": name,
        "format": suffix,
        "mediatype": MEDIA_TYPES[export.format],
        "encoding": "utf-8",
        "bytes": part.size,
        "hash": f"sha256:{part.sha256}",
    }
    if export.format == "received":  # each network has its own fields
        return resource | {"type": "file", "row_count": part.rows}
    if export.format == "ids":
        resource |= {"format": "csv", "dialect": {"header": False}}
    [table] = [each for each in tables_of(export) if each.name == part.name]
    schema: dict[str, object] = {"fields": [_field(export, each) for each in table.columns]}
    if export.format == "relations":
        schema |= _keys(part.name, stem)
    if export.format == "parquet":  # programs for Data Packages do not know its lists
        return resource | {"type": "file", "row_count": part.rows, "schema": schema}
    return resource | {"profile": "tabular-data-resource", "rows": part.rows, "schema": schema}


def _keys(name: str, stem: str) -> dict[str, object]:
    """How the tables of relations refer to that of the tweets in the same part."""
    if name == "tweets":
        return {"primaryKey": ["id"]}
    tweets = {"resource": stem.replace(name, "tweets"), "fields": ["id"]}
    return {
        "primaryKey": ["tweet_id", "position"],
        "foreignKeys": [{"fields": ["tweet_id"], "reference": tweets}],
    }


def _field(export: Export, column: ExportColumn) -> dict[str, str]:
    kind = TYPES[column.kind]
    if export.format in SPREADSHEETS and kind in ("array", "datetime", "integer", "number"):
        kind = "any"
    elif export.format == "ndjson" and column.name == "id":  # many programs would round it
        kind = "string"
    return {"name": column.name, "type": kind, "description": column.about}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
