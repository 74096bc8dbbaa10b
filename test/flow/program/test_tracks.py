"""What people write into `tracks` by plain SQL takes effect at once, and harms only itself."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import json
import time
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from simulator import wire_v2
from simulator.faults import Armed
from simulator.generator import Generator
from simulator.server import Limits

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import Sequence
    from pathlib import Path

    from simulator.server import Server
    from test.flow.conftest import ReadJournal
    from test.flow.program.conftest import Collect, Run

# The largest share of what is sent while thousands of rows are read that may wait for one of them.
STALL = 0.2

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
NEVER = 3600  # seconds; by then the test has failed
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

    def __init__(self, run: Run) -> None:
        self.tables = run.tables
        self.server = run.server
        self.eventually = run.eventually
        self.numbers = itertools.count(1)

    async def connected(self) -> None:
        await self.eventually(lambda: bool(self.server.hub.active()))

    async def edit(self, change: str, state: str, said: str = "") -> None:
        """Change the second track; its row says how it is now."""
        await self.tables.rows(change)

        async def met() -> bool:
            query = "SELECT state, reason FROM tracks WHERE id = 2"
            [(is_now, reason)] = await self.tables.rows(query)
            return is_now == state and said in reason

        await self.eventually(met)

    async def asked_for(self, word: str, *, asked: bool = True) -> None:
        """Wait until the network knows."""

        async def met() -> bool:
            return (word in await rules(self.server)) == asked

        await self.eventually(met)

    async def credited(self, text: str) -> list[int]:
        """Which tracks get a tweet with this text that comes now."""
        number = str(next(self.numbers))
        [connection] = self.server.hub.active()
        self.server.hub.send(connection, [post(int(number), text)])
        query = "SELECT id FROM tweets WHERE native_id = %s"
        await self.eventually(lambda: self.tables.rows(query, number))
        matches = f"SELECT track_id FROM matches WHERE tweet_id = ({query}) ORDER BY 1"
        return [track for (track,) in await self.tables.rows(matches, number)]


async def test_an_edit_by_sql_takes_effect_by_its_notification(collect: Collect) -> None:
    """Added, changed, paused, broken, corrected, removed: the row says so, the network is asked for
    it, and tweets are credited."""
    settings: dict[str, object] = {"flush_interval": 0.1, "poll_interval": NEVER}
    async with collect("always", settings=settings, posts=0) as run:
        editor = Editor(run)
        await editor.connected()
        await editor.edit("INSERT INTO tracks (value) VALUES ('snow')", "active")
        await editor.asked_for("snow")
        assert await editor.credited("snow") == [2]
        await editor.edit("UPDATE tracks SET value = 'rain' WHERE id = 2", "active")
        await editor.asked_for("rain")
        await editor.asked_for("snow", asked=False)
        assert await editor.credited("snow") == []
        assert await editor.credited("rain") == [2]
        await editor.edit("UPDATE tracks SET enabled = false WHERE id = 2", "paused", "Resume it")
        await editor.asked_for("rain", asked=False)
        assert await editor.credited("rain") == []
        broken = "UPDATE tracks SET enabled = true, kind = 'query', value = '(rain' WHERE id = 2"
        await editor.edit(broken, "refused", "bracket")
        assert await editor.credited("rain always") == [1]
        await editor.edit("UPDATE tracks SET value = '(rain)' WHERE id = 2", "active")
        await editor.asked_for("rain")
        assert await editor.credited("rain always") == [1, 2]
        await run.tables.rows("DELETE FROM tracks WHERE id = 2")
        await editor.asked_for("rain", asked=False)
        assert await editor.credited("rain always") == [1]
        assert run.server.hub.attempt_count == 1, "none of it needed another connection"


async def test_a_paused_track_whose_rule_x_keeps_says_what_that_costs(collect: Collect) -> None:
    async with collect("always", "snow", posts=0, limits=Limits(rule_reads=10**6)) as run:
        editor, tables = Editor(run), run.tables
        await editor.asked_for("snow")
        run.server.hub.faults.arm(Armed(fault="delete-ignored", times=2))
        pause = "UPDATE tracks SET enabled = false WHERE id = 2"
        await editor.edit(pause, "paused", "main: X has not deleted its rule for snow.")
        await editor.asked_for("snow", asked=False)

        async def plainly_paused() -> bool:
            query = "SELECT reason FROM tracks WHERE id = 2"
            return "X" not in str(await tables.one(query))

        await run.eventually(plainly_paused)
        events = "SELECT text FROM events WHERE kind = 'plan' ORDER BY id"
        texts = [text for (text,) in await tables.rows(events)]
        assert [text for text in texts if "are charged" in text]


async def test_a_track_says_that_its_source_fails_until_that_delivers_again(
    collect: Collect,
) -> None:
    settings: dict[str, object] = {"poll_interval": 1, "retry_failed_interval": 2}
    async with collect("snow", settings=settings, posts=0) as run:
        await run.rows_are("SELECT state FROM tracks", "active")
        faults = run.server.hub.faults
        faults.arm(Armed(fault="401", times=1000))
        faults.arm(Armed(fault="close"))
        await run.rows_are("SELECT state FROM tracks", "pending")
        reason = str(await run.tables.one("SELECT reason FROM tracks"))
        assert reason.startswith("main does not deliver: X does not accept the bearer_token"), (
            reason
        )
        faults.clear()
        await run.rows_are("SELECT state || reason FROM tracks", "active")


async def test_an_edit_without_notification_takes_effect_within_the_poll_interval(
    collect: Collect,
) -> None:
    async with collect("always", settings={"poll_interval": 3}, posts=0) as run:
        await Editor(run).connected()
        await run.tables.rows("ALTER TABLE tracks DISABLE TRIGGER tracks_notify_change")
        await run.tables.add_tracks("snow")
        await run.rows_are("SELECT state FROM tracks WHERE id = 2", "active")


class Sending:
    """When the simulator sent something."""

    def __init__(self, run: Run) -> None:
        self.times: list[float] = []  # seconds since 1970
        self._run = run

    async def watch(self) -> None:
        while True:
            await self._run.more_sent(0)
            self.times.append(time.time())

    def longest_stall(self, received: Sequence[float]) -> int:
        """How often it sent something between two arrivals, at most.

        Counted, not timed: while the whole machine stands still, nothing is sent either.
        """
        places = [0, *(bisect.bisect(self.times, each) for each in received), len(self.times)]
        return max(after - before for before, after in itertools.pairwise(places))


async def test_hostile_rows_get_their_reason_and_the_stream_goes_on(
    collect: Collect, read_journal: ReadJournal, tmp_path: Path
) -> None:
    """Injections, emoji, giants, brackets; then 10,000 rows at once: each gets its state,
    tweets keep coming, and the good track never stops."""
    posts = Generator(1)
    lines = [msgspec.json.encode(wire_v2.payload(posts.post())) for _ in range(2000)]
    replay = tmp_path / "posts.ndjson"
    replay.write_bytes(b"\n".join(lines))
    async with collect("snow,the", replay=str(replay), loop=True, rate=200) as run:
        tables, server, eventually = run.tables, run.server, run.eventually
        await run.more_sent(200)

        async def judged() -> bool:
            return not await tables.one("SELECT count(*) FROM tracks WHERE state = 'pending'")

        for value, kind in itertools.product(HOSTILE, KINDS):
            await tables.rows("INSERT INTO tracks (value, kind) VALUES (%s, %s)", value, kind)
        await eventually(judged)
        sending = Sending(run)
        watching = asyncio.create_task(sending.watch())
        await tables.rows(
            "INSERT INTO tracks (value, owner)"
            " SELECT 'word' || n || ',two words' || n, 'someone' FROM generate_series(1, 10000) n"
        )
        await eventually(judged)
        watching.cancel()
        await run.more_sent(500)
        assert server.hub.attempt_count == 1
        assert await tables.one("SELECT state FROM tracks WHERE id = 1") == "active"
        await run.program.stop()
    odd = "SELECT value FROM tracks WHERE state NOT IN ('active', 'partial', 'refused')"
    assert await tables.rows(odd) == []
    silent = "SELECT value, kind FROM tracks WHERE state <> 'active' AND reason = ''"
    assert await tables.rows(silent) == []
    assert await tables.one("SELECT count(*) FROM sources") == 1
    refused = await tables.rows("SELECT value, kind FROM tracks WHERE state = 'refused'")
    for value in ("", "   ", "((((", '"snow', "snow AND (", "OR", "from:"):
        assert (value, "query") in refused, value
    found = await asyncio.to_thread(read_journal, "x_v2", run.program.journal)
    stall = sending.longest_stall([frame.received / 1e6 for frame in found.frames])
    assert stall < STALL * len(sending.times)


async def test_an_address_changed_by_psql_gets_no_keys_until_they_are_entered_again(
    collect: Collect,
) -> None:
    called = asyncio.Event()

    def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        writer.close()

    state = "SELECT state FROM sources"
    # The last note of the connection that ends is stored later, and replaces it for a moment.
    failed = (
        "SELECT state = 'failed' AND reason LIKE '%The keys were entered for {}, and are not sent"
        " to% enter the keys again%' FROM sources"
    )
    other = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with other, collect("snow", rate=5) as run:
        tables, url = run.tables, run.server.url
        evil = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}"
        await run.rows_are(state, "streaming")
        for change in (f"url = '{evil}'", f"proxy = '{evil}'", f"url = '{evil}', proxy = '{evil}'"):
            await tables.rows(f"UPDATE sources SET {change}")
            await run.rows_are(failed.format(url), True)
            await tables.rows("UPDATE sources SET url = %s, proxy = NULL", url)
            await run.rows_are(state, "streaming")
        assert not called.is_set()
        await tables.rows("UPDATE sources SET url = %s", evil)
        await run.rows_are(failed.format(url), True)
        await run.program.command(
            "source", "secrets", "main", "--secrets", "-", given="bearer_token: another"
        )
        await run.eventually(called.is_set)
        await run.program.stop()
