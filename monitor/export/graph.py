"""The graph of an export: adds up what its tweets link, and writes it as GEXF.

DuckDB adds up the files of all parts with little memory: what does not fit goes to the disk.
"""

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import msgspec

from monitor.export.hashed_file import HashedFile, Written
from stream.export_requests import GRAPH_TITLES
from stream.store.export_graphs import DIRECTED
from stream.store.exports import Export

EDGES_PER_NODE = 50  # on average at most, the heaviest ones: programs draw no more
MEMORY_MB = 150  # of DuckDB, which exceeds it by about half
ROWS_AT_ONCE = 10_000
GRAPH_FILE = "graph.gexf"

_NETWORKS = ("x_v2", "x_v1", "bluesky", "mastodon")
_BIT = (
    "bit_or(CASE network "
    + " ".join(f"WHEN '{name}' THEN {1 << place}" for place, name in enumerate(_NETWORKS))
    + " ELSE 0 END::UTINYINT)"
)
# To the second. Only sums of a fixed size go to the disk: the least and greatest texts do not.
_TIME = "TRY_CAST(left(time, 19) AS TIMESTAMP)"
_SUMS = f"{_BIT} AS networks, min({_TIME}) AS first, max({_TIME}) AS last"
# DuckDB holds a buffer of 32 MB for each compressed file by default.
_READ = (
    "read_csv([{}], header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"',"
    " buffer_size = 4000000)"
)
_ORDERED = "SET preserve_insertion_order = true"
_UNORDERED = "SET preserve_insertion_order = false"  # takes less memory
_EDGES = f"""
CREATE TABLE edges AS
SELECT source, target, count(*)::UINTEGER AS weight, {_SUMS}
FROM {{files}} GROUP BY source, target HAVING count(*) >= {{min_weight}}
"""  # noqa: S608 - constants
# Heaviest first; of the same weight by their keys, so that it is the same each time.
_RANKED = "CREATE TABLE ranked AS FROM edges ORDER BY weight DESC, source, target"
# The ends of the heaviest edges: a row's id is its place in that order.
_CHOSEN = """
CREATE TABLE chosen AS
SELECT node FROM (
    SELECT source AS node, rowid AS rank FROM ranked UNION ALL SELECT target, rowid FROM ranked
) AS ends
GROUP BY node ORDER BY min(rank), node LIMIT {max_nodes}
"""
_DRAWN = """
CREATE TABLE drawn AS
SELECT ranked.* FROM ranked
WHERE source IN (SELECT node FROM chosen) AND target IN (SELECT node FROM chosen)
ORDER BY ranked.rowid LIMIT {edges}
"""
_ENDS = """
CREATE TABLE ends AS
SELECT DISTINCT node FROM (SELECT source AS node FROM drawn UNION ALL SELECT target FROM drawn)
"""
_NAMES = f"""
CREATE TABLE names AS
SELECT node, label, type, count(*)::UINTEGER AS tweets, {_SUMS}
FROM {{files}} WHERE node IN (FROM ends) GROUP BY node, label, type
"""  # noqa: S608 - constants
_NODES = """
CREATE TABLE nodes AS
SELECT node, max(label) AS label, min(type) AS type, sum(tweets) AS tweets,
    bit_or(networks) AS networks, min(first) AS first, max(last) AS last
FROM names GROUP BY node ORDER BY tweets DESC, node
"""
_TIMES = "strftime(first, '%Y-%m-%dT%H:%M:%SZ'), strftime(last, '%Y-%m-%dT%H:%M:%SZ')"
# In the order in which they were written.
_READ_NODES = f"SELECT node, label, type, tweets, networks, {_TIMES} FROM nodes"  # noqa: S608
_READ_EDGES = f"SELECT source, target, weight, networks, {_TIMES} FROM drawn"  # noqa: S608
_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<gexf xmlns="http://gexf.net/1.3" version="1.3">
<meta lastmodifieddate="{day}">
<creator>twitterstream</creator>
<description>{description}</description>
</meta>
<graph defaultedgetype="{direction}" mode="dynamic" timeformat="date" timerepresentation="interval">
<attributes class="node" mode="static">
<attribute id="type" title="type" type="string"/>
<attribute id="count" title="count" type="integer"/>
<attribute id="network" title="network" type="string"/>
</attributes>
<attributes class="edge" mode="static">
<attribute id="network" title="network" type="string"/>
</attributes>
"""


class WrittenGraph(msgspec.Struct, frozen=True):
    """The file of a graph, and what it has."""

    file: Written
    nodes: int
    edges: int


def write_graph(
    folder: Path, export: Export, nodes: Sequence[Path], edges: Sequence[Path]
) -> WrittenGraph:
    """Add up the files of the parts, and write the graph; the same bytes each time. It blocks."""
    import duckdb  # noqa: PLC0415 - large, and only exports with a graph need it

    with (
        tempfile.TemporaryDirectory(prefix="graph-", dir=folder) as temporary,
        duckdb.connect(f"{temporary}/graph.duckdb") as database,
        HashedFile(folder / GRAPH_FILE) as file,
    ):
        database.execute(f"SET memory_limit = '{MEMORY_MB}MB'")
        database.execute("SET threads = 1")
        database.execute(f"SET temp_directory = '{temporary}/spilled'")
        for statement, files in (
            *((_UNORDERED, ()), (_EDGES, edges), (_ORDERED, ()), (_RANKED, ())),
            *(("DROP TABLE edges", ()), (_CHOSEN, ()), (_DRAWN, ()), ("DROP TABLE ranked", ())),
            *((_UNORDERED, ()), (_ENDS, ()), (_NAMES, nodes), (_ORDERED, ()), (_NODES, ())),
        ):
            database.execute(
                statement.format(
                    files=_READ.format(", ".join(f"'{_quoted(path)}'" for path in files)),
                    min_weight=export.min_weight,
                    max_nodes=export.max_nodes,
                    edges=EDGES_PER_NODE * export.max_nodes,
                )
            )
        counts = _count(database, "nodes"), _count(database, "drawn")
        for line in _lines(database, export, *counts):
            file.write(line.encode())
        return WrittenGraph(file.finish(), *counts)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _lines(database: Any, export: Export, nodes: int, edges: int) -> Iterator[str]:
    is_directed = export.graph in DIRECTED
    yield _HEAD.format(
        day=f"{export.until.astimezone(UTC):%Y-%m-%d}",
        description=escape(GRAPH_TITLES[export.graph]),
        direction="directed" if is_directed else "undirected",
    )
    yield f'<nodes count="{nodes}">\n'
    for key, label, kind, tweets, networks, first, last in _rows(database, _READ_NODES):
        name = quoteattr(label or key.partition(":")[2] or key)
        yield (
            f"<node id={quoteattr(key)} label={name}{_times(first, last)}><attvalues>"
            f'<attvalue for="type" value="{kind}"/><attvalue for="count" value="{tweets}"/>'
            f'<attvalue for="network" value="{_names(networks)}"/></attvalues></node>\n'
        )
    yield f'</nodes>\n<edges count="{edges}">\n'
    for number, row in enumerate(_rows(database, _READ_EDGES)):
        source, target, weight, networks, first, last = row
        yield (
            f'<edge id="{number}" source={quoteattr(source)} target={quoteattr(target)}'
            f' weight="{weight}"{_times(first, last)}><attvalues>'
            f'<attvalue for="network" value="{_names(networks)}"/></attvalues></edge>\n'
        )
    yield "</edges>\n</graph>\n</gexf>\n"


def _count(database: Any, table: str) -> int:
    [number] = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - ours
    return int(number)


def _rows(database: Any, query: str) -> Iterator[tuple[Any, ...]]:
    result = database.execute(query)
    while rows := result.fetchmany(ROWS_AT_ONCE):
        yield from rows


def _times(first: str | None, last: str | None) -> str:
    """When it was seen first and last, to the second."""
    return f' start="{first}" end="{last}"' if first else ""


def _names(networks: int) -> str:
    return " ".join(name for place, name in enumerate(_NETWORKS) if networks & 1 << place)
