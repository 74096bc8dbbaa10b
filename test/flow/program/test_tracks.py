"""What people write into `tracks` by plain SQL takes effect at once, and harms only itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from simulator import wire_v2
from simulator.generator import Generator

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from simulator.server import Server
    from test.conftest import Eventually
    from test.flow.conftest import ReadJournal, Tables
    from test.flow.program.conftest import MakeProgram, Simulate

AT_ONCE = 2.0 * 15  # seconds after the bell; many times the promise, for machines that test
RELOAD = 10.0 * 6  # seconds; reload_every, when no bell was heard, on such a machine
STALL = 3.0  # seconds: the longest that tweets may wait while thousands of rows are read

HOSTILE = (
    "'; DROP TABLE tracks; --",
    "x', 'query'); DELETE FROM sources; --",
    "$1 %s {} \\ \\'",
    "",
    "   ",
    ",,,",
    "🤷",
    "👩‍👩‍👧,🏳️‍🌈",
    "\u202e\u200b",
    "\x01\x1b[2J",
    "ſ İ ß ﬁ ⅷ",
    "x" * 5000,
    "word " * 1000,
    "a," * 2500,
    "((((",
    "))))",
    "((snow OR rain)",
    "snow AND (",
    '"snow',
    "-",
    "-snow",
    "OR",
    "from:",
    "(" * 1000 + "snow" + ")" * 1000,
    "@",
    "1,2,3",
    "nan,nan,nan,nan",
    "1e999,0,1,1",
    "-74,40,-73,41",
)
KINDS = ("keyword", "user", "place", "query")


async def rules(server: Server) -> str:
    """The rules that the network has now."""
    url = f"{server.url}/2/tweets/search/stream/rules"
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Bearer T"}) as session,
        session.get(url) as answer,
    ):
        return await answer.text()


def post(number: int, text: str) -> bytes:
    data = {"id": str(number), "text": text, "edit_history_tweet_ids": [str(number)]}
    return json.dumps({"data": data}).encode()


class Editor:
    """A person at psql, and the tweets that come meanwhile."""

    def __init__(self, tables: Tables, server: Server, eventually: Eventually) -> None:
        self.tables = tables
        self.server = server
        self.eventually = eventually
        self.numbers = itertools.count(1)

    async def edit(self, change: str, state: str, said: str = "") -> None:
        """Change the second track; within two seconds its row says how it is now."""
        await self.tables.rows(change)

        async def met() -> bool:
            query = "SELECT state, reason FROM tracks WHERE id = 2"
            [(is_now, reason)] = await self.tables.rows(query)
            return is_now == state and said in reason

        await self.eventually(met, AT_ONCE)

    async def asked_for(self, word: str, *, asked: bool = True) -> None:
        """Within two seconds the network knows."""

        async def met() -> bool:
            return (word in await rules(self.server)) == asked

        await self.eventually(met, AT_ONCE)

    async def credited(self, text: str) -> list[int]:
        """Which tracks get a tweet with this text that comes now."""
        number = str(next(self.numbers))
        [connection] = self.server.hub.hearing()
        self.server.hub.send(connection, [post(int(number), text)])
        query = "SELECT id FROM tweets WHERE native_id = %s"

        async def stored() -> bool:
            return bool(await self.tables.rows(query, number))

        await self.eventually(stored)
        matches = f"SELECT track_id FROM matches WHERE tweet_id = ({query}) ORDER BY 1"
        return [track for (track,) in await self.tables.rows(matches, number)]


async def test_an_edit_by_sql_takes_effect_within_two_seconds(
    make_program: MakeProgram,
    database: str,
    tables: Tables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    """Added, changed, paused, broken, mended, removed: the row says so, the network is asked for
    it, and tweets are credited."""
    program = make_program("main", database, save_every=0.1)
    await tables.add_tracks("always")
    async with simulate(posts=0) as server:
        editor = Editor(tables, server, eventually)
        await program.add_source(server.url)
        await program.start()
        await eventually(lambda: bool(server.hub.hearing()))
        await editor.edit("INSERT INTO tracks (value) VALUES ('snow')", "active")
        await editor.asked_for("snow")
        assert await editor.credited("snow") == [2]
        await editor.edit("UPDATE tracks SET value = 'rain' WHERE id = 2", "active")
        await editor.asked_for("rain")
        await editor.asked_for("snow", asked=False)
        assert await editor.credited("snow") == []
        assert await editor.credited("rain") == [2]
        await editor.edit("UPDATE tracks SET enabled = false WHERE id = 2", "paused", "resume")
        await editor.asked_for("rain", asked=False)
        assert await editor.credited("rain") == []
        broken = "UPDATE tracks SET enabled = true, kind = 'query', value = '(rain' WHERE id = 2"
        await editor.edit(broken, "refused", "bracket")
        assert await editor.credited("rain always") == [1]
        await editor.edit("UPDATE tracks SET value = '(rain)' WHERE id = 2", "active")
        await editor.asked_for("rain")
        assert await editor.credited("rain always") == [1, 2]
        await tables.rows("DELETE FROM tracks WHERE id = 2")
        await editor.asked_for("rain", asked=False)
        assert await editor.credited("rain always") == [1]
        assert server.hub.attempt_count == 1, "none of it needed another connection"


async def test_an_edit_whose_bell_is_lost_takes_effect_within_reload_every(
    make_program: MakeProgram,
    database: str,
    tables: Tables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    program = make_program("main", database, reload_every=3)
    await tables.add_tracks("always")
    async with simulate(posts=0) as server:
        await program.add_source(server.url)
        await program.start()
        await eventually(lambda: bool(server.hub.hearing()))
        await tables.rows("ALTER TABLE tracks DISABLE TRIGGER tracks_bell")
        await tables.add_tracks("snow")

        async def active() -> bool:
            return await tables.rows("SELECT state FROM tracks WHERE id = 2") == [("active",)]

        await eventually(active, 3 + 1)


async def test_hostile_rows_get_their_reason_and_the_stream_goes_on(
    make_program: MakeProgram,
    database: str,
    tables: Tables,
    simulate: Simulate,
    read_journal: ReadJournal,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    """Injections, emoji, giants, brackets; then 10,000 rows at once: each has its state within
    reload_every, tweets keep coming, and the good track never stops."""
    program = make_program("main", database)
    posts = Generator(1)
    lines = [msgspec.json.encode(wire_v2.payload(posts.post())) for _ in range(2000)]
    (tmp_path / "posts.ndjson").write_bytes(b"\n".join(lines))
    await tables.add_tracks("snow,the")
    async with simulate(replay=str(tmp_path / "posts.ndjson"), loop=True, rate=200) as server:
        await program.add_source(server.url)
        await program.start()
        await eventually(lambda: len(server.sent) > 200)

        async def judged() -> bool:
            return not await tables.one("SELECT count(*) FROM tracks WHERE state = 'pending'")

        began = time.time()
        for value, kind in itertools.product(HOSTILE, KINDS):
            await tables.rows("INSERT INTO tracks (value, kind) VALUES (%s, %s)", value, kind)
        await eventually(judged, AT_ONCE)
        hostile = time.time()
        await tables.rows(
            "INSERT INTO tracks (value, owner)"
            " SELECT 'word' || n || ',two words' || n, 'someone' FROM generate_series(1, 10000) n"
        )
        await eventually(judged, RELOAD)
        many = time.time()
        sent = len(server.sent)
        await eventually(lambda: len(server.sent) > sent + 500)
        assert server.hub.attempt_count == 1
        assert await tables.one("SELECT state FROM tracks WHERE id = 1") == "active"
        await program.stop()
    odd = "SELECT value FROM tracks WHERE state NOT IN ('active', 'partial', 'refused')"
    assert await tables.rows(odd) == []
    silent = "SELECT value, kind FROM tracks WHERE state <> 'active' AND reason = ''"
    assert await tables.rows(silent) == []
    assert await tables.one("SELECT count(*) FROM sources") == 1
    refused = await tables.rows("SELECT value, kind FROM tracks WHERE state = 'refused'")
    for value in ("", "   ", "((((", '"snow', "snow AND (", "OR", "from:"):
        assert (value, "query") in refused, value
    found = await asyncio.to_thread(read_journal, "x_v2", program.journal)
    times = [frame.received / 1e6 for frame in found.frames if frame.received / 1e6 > began - 1]
    stalls = [round(after - before, 2) for before, after in itertools.pairwise(times)]
    print("judged in", hostile - began, many - hostile, "longest stalls", sorted(stalls)[-5:])  # noqa: T201
    assert max(stalls) < STALL
