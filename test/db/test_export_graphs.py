"""Graphs as networkx reads them: the nodes and edges that SQL counts, the same bytes each time."""

from __future__ import annotations

import io
import json
import random
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import networkx as nx
import pytest

from exporting import ExportBench, Made
from monitor.export import graph
from network_messages import MESSAGES, Post
from stored_messages import NOON, all_messages, damaged, fill, is_tweet, messages
from stream.config import Settings
from stream.store.exports import Graph
from stream.tweet import NETWORK_NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from stream.db import Database
    from test.db.conftest import ArchiveBench

Edges = dict[tuple[str, str], tuple[int, str, str]]

GRAPHS = get_args(Graph)
# The edges of each graph, counted from the flat view, without the keys of accounts.
TIME = "coalesce(created_at, received_at)"
SQL = f"""
WITH tags AS (
    SELECT DISTINCT id, {TIME} AS time, author_id, '#' || lower(hashtag) AS tag
    FROM tweets_flat, unnest(hashtags) AS hashtag),
hosts AS (SELECT DISTINCT id, host_of(link) AS host FROM tweets_flat, unnest(links) AS link)
SELECT source, target, count(*),
    to_char(min(time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    to_char(max(time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
FROM ({{}}) AS edges GROUP BY 1, 2
"""
COUNTED = {
    "co-hashtag": "SELECT one.tag AS source, other.tag AS target, one.time FROM tags AS one"
    ' JOIN tags AS other USING (id) WHERE one.tag COLLATE "C" < other.tag COLLATE "C"',
    "host-hashtag": "SELECT host AS source, tag AS target, time FROM hosts JOIN tags USING (id)",
}


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> ExportBench:
    await connected.execute("INSERT INTO tracks (value) VALUES ('x')")
    return ExportBench(connected, msgspec.structs.replace(Settings(), data_dir=str(tmp_path)))


def read(made: Made) -> Any:
    return nx.read_gexf(io.BytesIO(made.read("graph.gexf")))


def edges(graph: Any) -> Edges:
    return {
        (source, target): (each["weight"], each["start"], each["end"])
        for source, target, each in graph.edges(data=True)
    }


def linked(graph: Any) -> set[tuple[str, str]]:
    """Its edges with the labels of their nodes."""
    label = nx.get_node_attributes(graph, "label")
    return {(label[source], label[target]) for source, target in graph.edges}


@pytest.mark.parametrize("name", COUNTED)
async def test_edges_are_those_that_sql_counts(bench: ExportBench, name: str) -> None:
    await fill(bench.database, all_messages())
    rows = await bench.database.fetch(SQL.format(COUNTED[name]))
    found = edges(read(await bench.made(format="gexf", graph=name)))
    assert (
        {tuple(sorted(ends)): values for ends, values in found.items()}
        == {tuple(sorted((row[0], row[1]))): tuple(row[2:]) for row in map(tuple, rows)}
        != {}
    )


async def test_nodes_count_the_tweets_of_all_networks(bench: ExportBench) -> None:
    post = Post("#Snow #ice #Snow", ("Snow", "ice", "Snow"))
    alone = Post("#snow", ("snow",))
    await fill(
        bench.database,
        {network: [MESSAGES[network](each) for each in (post, alone)] for network in NETWORK_NAMES},
    )
    graph = read(await bench.made(format="gexf", graph="co-hashtag"))
    assert dict(graph.nodes(data="count")) == {"#snow": 8, "#ice": 4}
    assert graph.nodes["#snow"]["network"] == "x_v2 x_v1 bluesky mastodon"
    assert graph.nodes["#snow"]["label"] == "#snow"
    assert graph.edges["#snow", "#ice"]["weight"] == 4
    assert graph.graph["mode"] == "dynamic"
    assert not graph.is_directed()


async def test_mentions_and_replies_have_a_direction(bench: ExportBench) -> None:
    answer = Post(mentions_nasa=True, answers_nasa=True)
    repost = Post(mentions_nasa=True, reposts_nasa=True)  # Bluesky sends none
    await fill(
        bench.database,
        {
            network: [MESSAGES[network](answer)]
            + [MESSAGES[network](repost)] * (network != "bluesky")
            for network in NETWORK_NAMES
        },
    )
    for name in ("mention", "reply"):
        graph = read(await bench.made(format="gexf", graph=name))
        assert graph.is_directed()
        # Both versions of X's API name the same accounts.
        weights = sorted(weight for _, _, weight in graph.edges(data="weight"))
        assert weights == [1, 1, 2], (name, list(graph.edges(data=True)))
        for source, target in graph.edges:
            assert source.partition(":")[0] == target.partition(":")[0]
        assert any("nasa" in target for _, target in linked(graph))


async def test_authors_and_hashtags(bench: ExportBench) -> None:
    await fill(bench.database, all_messages())
    graph = read(await bench.made(format="gexf", graph="author-hashtag"))
    kinds = nx.get_node_attributes(graph, "type")
    assert {frozenset((kinds[a], kinds[b])) for a, b in graph.edges} == {
        frozenset(("account", "hashtag"))
    }
    assert nx.is_bipartite(graph)
    assert any(source == "ann" or target == "ann" for source, target in linked(graph))


@pytest.mark.parametrize("name", GRAPHS)
async def test_parts_and_repetitions_make_the_same_bytes(bench: ExportBench, name: str) -> None:
    await fill(bench.database, all_messages())
    one, again = [await bench.made(format="gexf", graph=name) for _ in range(2)]
    parts = await bench.made(format="gexf", graph=name, part_rows=10)
    assert len(parts.names) > 3 * 2 + 3

    graphs = {made.read("graph.gexf") for made in (one, again, parts)}
    assert len(graphs) == 1
    assert b"<edge " in graphs.pop()


async def test_an_archived_day_makes_the_same_graph(
    archive_bench: ArchiveBench, connected: Database, tmp_path: Path
) -> None:
    archive_bench.rows(
        """UPDATE tweets SET doc = ('{"data": {"text": "#a #b #c' || id % 7 || '"}}')::jsonb"""
        " WHERE network = 'x_v2'"
    )
    settings = msgspec.structs.replace(
        Settings(), data_dir=str(tmp_path), archive=archive_bench.settings.archive
    )
    bench = ExportBench(connected, settings)
    before = await bench.made(format="gexf", part_rows=30)
    await archive_bench.run(NOON.date(), drop=True)
    after = await bench.made(format="gexf", part_rows=30)
    assert edges(read(before)) == edges(read(after)) != {}
    assert before.rows_of("edges") == after.rows_of("edges")


async def test_a_graph_is_limited_to_its_heaviest_edges(bench: ExportBench) -> None:
    texts = {"#a #b": 5, "#c #d": 3, "#e #f": 2, "#a #c": 1}
    texts |= {f"#hub #x{n}": 1 for n in range(8)}  # many light edges are no heavy one
    bodies = [
        json.dumps({"id_str": str(10 * n + place + 1), "text": text}).encode()
        for n, (text, times) in enumerate(texts.items())
        for place in range(times)
    ]
    await fill(bench.database, {"x_v1": bodies})
    every = read(await bench.made(format="gexf"))
    assert sorted(weight for _, _, weight in every.edges(data="weight")) == [1] * 9 + [2, 3, 5]
    heavy = read(await bench.made(format="gexf", min_weight=3))
    assert set(heavy.nodes) == {"#a", "#b", "#c", "#d"}
    few = [read(await bench.made(format="gexf", max_nodes=number)) for number in (2, 4, 6)]
    assert [set(each.nodes) for each in few] == [
        {"#a", "#b"},
        {"#a", "#b", "#c", "#d"},
        {"#a", "#b", "#c", "#d", "#e", "#f"},
    ]
    assert [len(each.edges) for each in few] == [1, 3, 4]
    assert len((await bench.made(format="gexf", max_nodes=2)).rows_of("edges")) == sum(
        texts.values()
    )


async def test_names_that_xml_cannot_have_are_readable(bench: ExportBench) -> None:
    tags = ["a<b>&\"c'", "tab\tline\nend", "\x01\x1f\x0b", "￾￿\x85x", "👩‍👩‍👧", "مرحبا", " ", "]]>"]
    record = {"text": "x", "createdAt": "2026-03-14T12:00:00Z", "tags": tags}
    [body] = [MESSAGES["bluesky"](Post())]
    message = json.loads(body)
    message["commit" if "commit" in message else "payload"]["record"] |= record
    await fill(bench.database, {"bluesky": [json.dumps(message).encode()]})
    graph = read(await bench.made(format="gexf"))
    assert set(graph.nodes) == {*("#a<b>&\"c'", "#tab line end", "#x", "#👩‍👩‍👧", "#مرحبا", "#]]>")}
    assert len(graph.edges) == 15


async def test_pseudonyms_hide_accounts(bench: ExportBench) -> None:
    await fill(bench.database, all_messages())
    plain = read(await bench.made(format="gexf", graph="mention"))
    made = await bench.made(format="gexf", graph="mention", pseudonyms=True)
    hidden = read(made)
    assert sorted(dict(plain.degree).values()) == sorted(dict(hidden.degree).values()) != []
    names = {name.lower() for name in nx.get_node_attributes(plain, "label").values()}
    text = b"".join(made.read(name) for name in made.names[1:]).decode().lower()
    assert not [name for name in names if len(name) > 3 and name in text]


async def test_a_deleted_tweet_leaves_the_graph(bench: ExportBench) -> None:
    bodies = [json.dumps({"id_str": str(n), "text": f"#a #b{n}"}).encode() for n in (1, 2)]
    await fill(bench.database, {"x_v1": bodies})
    number = await bench.request(format="gexf")
    path = await bench.do(number)
    assert path is not None
    await bench.database.execute("UPDATE tweets SET deleted_at = now() WHERE native_id = '1'")
    await bench.database.execute(
        "INSERT INTO deletion_log (tweet_id, deleted_at, tracks)"
        " SELECT id, now(), '{1}' FROM tweets WHERE native_id = '1'"
    )
    await bench.database.execute("UPDATE exports SET state = 'waiting'")
    path = await bench.do(number)
    assert path is not None
    assert set(read(Made(path)).nodes) == {"#a", "#b2"}


async def test_what_memory_does_not_hold_is_added_up_on_the_disk(
    bench: ExportBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each account mentions two others, 30,000 of them twice."""
    monkeypatch.setattr(graph, "MEMORY_MB", 60)
    export = await bench.row(await bench.request(format="gexf", graph="mention", max_nodes=10**6))
    number, tweets = 60_000, 90_000
    moment = "2026-03-14T12:00:{:02}.000000Z"
    names = [f"bluesky:did:plc:{number:024}" for number in range(number)]
    with (tmp_path / "nodes").open("w") as nodes, (tmp_path / "edges").open("w") as edges:
        nodes.write("tweet_id,node,label,type,network,time\n")
        edges.write("tweet_id,source,target,network,time\n")
        for place in range(tweets):
            ends = [(place + step) % number for step in (0, 1, 77)]
            rest = f"bluesky,{moment.format(place // 10_000)}\n"
            for end in ends:
                nodes.write(f"{place},{names[end]},account {end}.bsky.example,account,{rest}")
            for end in ends[1:]:
                edges.write(f"{place},{names[ends[0]]},{names[end]},{rest}")
    graph.write_graph(tmp_path, export, [tmp_path / "nodes"], [tmp_path / "edges"])
    found = nx.read_gexf(tmp_path / graph.GRAPH_FILE)
    assert len(found.nodes) == number
    assert sorted(weight for _, _, weight in found.edges(data="weight")) == (
        [1] * 60_000 + [2] * 60_000
    )
    assert found.edges[names[0], names[77]] | {"id": ""} == {
        "weight": 2,
        "network": "bluesky",
        "id": "",
        "start": moment.format(0)[:19] + "Z",
        "end": moment.format(6)[:19] + "Z",
    }


@pytest.mark.parametrize("name", GRAPHS)
async def test_damaged_messages_do_not_stop_it(bench: ExportBench, name: str) -> None:
    chance = random.Random(1)
    bodies = {
        network: [
            body
            for body in (
                damaged(chance.choice(list(messages(network).values())), chance) for _ in range(150)
            )
            if is_tweet(network, body)
        ]
        for network in NETWORK_NAMES
    }
    await fill(bench.database, bodies)
    assert len(read(await bench.made(format="gexf", graph=name)).nodes) > 1
