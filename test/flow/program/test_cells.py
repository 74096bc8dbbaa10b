"""The tweets of one source in two databases: collected once, stored in both, read as one."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from nats_servers import running_server
from terminal import Terminal
from two_cells import installation
from web_app import Client, database_away, running_app

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import OpenTables
    from test.flow.program.conftest import Cluster, MakeProgram, Program, Simulate


async def test_two_databases_share_the_tweets_of_a_source(
    tmp_path: Path,
    make_database: Callable[[], str],
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
    server: str,
) -> None:
    home, east = make_database(), make_database()
    async with running_server(tmp_path / "nats") as nats, simulate(rate=200) as network:
        settings = {"bus": nats.url, "bus_replicas": 1}
        collector = make_program("collector", home, **settings, cells={"east": east})
        writer = make_program("writer", home, **settings, cells={"east": east})
        of_cell = make_program("east", east, **settings, cell="east")
        at_home, in_east = open_tables(home), open_tables(east)
        await at_home.add_tracks("snow", "rain,sun")
        await collector.add_source_to(home, network.url, "x_v2")
        writer.share_key_of(collector)
        await collector.start(roles=["collect"])
        await writer.start(roles=["write"])
        await of_cell.start(roles=["write"])
        await eventually(lambda: len(network.sent) > 1000)
        network.hub.posts_left = 0

        async def all_stored() -> bool:
            return await at_home.stored() + await in_east.stored() == len(network.sent)

        await eventually(all_stored)

        async def has_writers(*, east: bool) -> bool:
            """Whether home knows who stores the lane of each cell."""
            found = json.loads(await collector.command("status", "--json"))["cluster"]
            writers = {each["cell"]: bool(each["writer"]) for each in found["lanes"]}
            return writers == {"": True, "east": east}

        await eventually(lambda: has_writers(east=True))
        await _commands_in_a_cell(of_cell)
        await of_cell.stop()
        await eventually(lambda: has_writers(east=False))
        await _doctor_at_home(collector, server, east)
        await collector.stop()
        await writer.stop()
        here = {each for (each,) in await at_home.rows("SELECT native_id FROM tweets")}
        there = {each for (each,) in await in_east.rows("SELECT native_id FROM tweets")}
        assert here.isdisjoint(there)
        assert here | there == set(network.sent)
        # The cell has the same tracks, and credits tweets to them.
        assert await in_east.rows("SELECT id, value FROM tracks ORDER BY id") == [
            (1, "snow"),
            (2, "rain,sun"),
        ]
        assert await in_east.one("SELECT count(*) FROM matches") > 0
        # By the hash of their ids: half of them each.
        assert 0.35 < len(there) / len(network.sent) < 0.65
        async with running_app(home, tmp_path, cells={"east": east}) as app:
            client = await app.api_client("ann", "admin")
            for order in ("newest", "oldest"):
                found = await _all_pages(client, order)
                assert len(found) == len(set(found))
                assert set(found) == set(network.sent)


async def _doctor_at_home(collector: Program, server: str, east: str) -> None:
    """It knows of the lanes of a cell without a writer, unless its database is away."""
    _, said = await collector.fails("doctor")
    assert "no machine stores main, in east" in " ".join(said.split())
    with database_away(server, east):
        _, said = await collector.fails("doctor")
        known = "every enabled source has a collector; the lanes of east are unknown"
        assert known in " ".join(said.split())


async def _commands_in_a_cell(of_cell: Program) -> None:
    """It has no credentials of sources, and no states."""
    said = " ".join((await of_cell.command("doctor")).split())
    assert "every lane has a writer" in said
    assert "`doctor` with the settings of home" in said
    assert "source main" not in said
    said = " ".join((await of_cell.command("status")).split())
    assert "For their states and gaps, give `status` with its settings." in said
    assert "stopped" not in said
    assert "pending" not in said


async def _all_pages(client: Client, order: str) -> list[str]:
    found: list[str] = []
    cursor = ""
    while True:
        path = f"/api/v1/tweets?order={order}&limit=100{cursor}"
        status, page = await client.json("GET", path)
        assert status == 200, page
        assert "incomplete" not in page
        found += [each["native_id"] for each in page["tweets"]]
        if not page["more"]:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "A process of cell east writes and monitors"),
        (("run", "--simulated"), "A process of cell east writes and monitors"),
        (("run", "--role", "web"), "A process of cell east writes and monitors"),
        (("collect",), "A process of cell east writes and monitors"),
        (("track", "add", "snow"), "Tracks are kept in the home database"),
        (("track", "list"), "Tracks are kept in the home database"),
        (("source", "add", "b", "--network", "bluesky"), "Sources are kept in the home database"),
        (("source", "remove", "b"), "Sources are kept in the home database"),
        (("user", "add", "ann", "--password", "-"), "Users are kept in the home database"),
        (("export", "1"), "Exports are kept in the home database"),
    ],
)
def test_what_home_keeps_is_refused_with_the_settings_of_a_cell(
    terminal: Terminal, words: tuple[str, ...], said: str
) -> None:
    terminal.set(bus="nats://127.0.0.1:4222", cell="east", data_dir="data")
    assert said in terminal.run(*words, given="a long password", code=1).stderr
    for table in ("sources", "tracks", "users", "exports"):
        assert terminal.sql(f"SELECT * FROM {table}") == []
    assert not (terminal.folder / "data").exists()


def test_a_cell_has_commands_of_its_own(terminal: Terminal) -> None:
    terminal.set(bus="nats://127.0.0.1:4222", cell="east", data_dir="data")
    terminal.run("migrate")
    terminal.run("status")
    terminal.run("alert", "list")
    assert "Paris" in terminal.run("track", "find-city", "Paris, France").stdout


async def test_commands_count_the_tweets_of_all_databases(
    terminal: Terminal, make_database: Callable[[], str], server: str, tmp_path: Path
) -> None:
    make_app = functools.partial(running_app, terminal.database, tmp_path)
    async with installation(make_app, make_database()) as two:
        await two.both(number=3)
        terminal.set(bus="nats://127.0.0.1:1", cells={"east": two.east_url})
        [track] = await asyncio.to_thread(terminal.json, "track", "list")
        assert (track["tweets"], track["last_hour"], track["last_day"]) == (6, 6, 6)
        status = await asyncio.to_thread(terminal.json, "status")
        assert status["sources"][0]["outcomes"]["stored"] == 6
        assert status["sources"][0]["recent"]["stored"] == 6
        assert status["incomplete"] == []
        with database_away(server, two.east_url):
            said = await asyncio.to_thread(terminal.run, "track", "list", "--json")
            assert json.loads(said.stdout)[0]["tweets"] == 3
            not_counted = "Cell east cannot be used: the tweets there are not counted."
            assert not_counted in said.stderr
            assert "cell east cannot be used" in said.stderr
            assert not_counted in (await asyncio.to_thread(terminal.run, "status")).stdout
            status = await asyncio.to_thread(terminal.json, "status")
            assert status["sources"][0]["outcomes"]["stored"] == 3
            assert status["incomplete"] == ["east"]


async def test_a_database_that_stands_still_delays_no_page_for_long(
    database: str,
    tmp_path: Path,
    cluster: Cluster,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Pages wait for it until the guard knows that it does not answer, and then no more."""
    make_app = functools.partial(running_app, database, tmp_path)
    async with installation(make_app, cluster.url) as two:
        await two.both(number=2)
        cluster.freeze()

        async def refused_at_once() -> bool:
            """Whether the guard refused the call; otherwise the page has waited for it."""
            found = await two.get("/api/v1/tweets")
            assert found["incomplete"] == ["east"]
            return two.app.cells.why_missing["east"] == "it does not answer"

        await eventually(refused_at_once)
        for _ in range(5):
            assert await refused_at_once()
        assert "cell east cannot be used" in caplog.messages
        frozen = "Postgres of cell east does not answer; requests fail at once until it does"
        assert frozen in caplog.messages
        cluster.thaw()
