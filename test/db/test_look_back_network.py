"""Looking back at what Bluesky replays, and at an author's own posts."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from looking_back import WRONG_POSITIONS, LookBackBench, hours_ago, look_back_bench
from monitor.jobs import Leader
from monitor.look_back import gathered, task
from monitor.maintenance.author_comparison import AuthorComparison
from simulator.faults import Armed
from simulator.server import Jetstream, Server, serve
from simulator.server import Settings as Simulated
from stream.backoff import Clock
from stream.config import Settings
from stream.config.settings import BlueskySettings
from stream.jsontext import sanitize_for_jsonb
from stream.matcher import Matcher
from stream.networks.bluesky import replay
from stream.networks.bluesky.decode import decode
from stream.networks.bluesky.replay import read_past
from stream.query import parse
from stream.store import look_backs
from stream.tweet import Deletion, NetworkCursor, TrackId, Tweet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from stream.db import Database
    from waiting import Eventually

HANDLE = "paged.example"
POSTS = 1500


@asynccontextmanager
async def network(
    database: Database, data_dir: Path, *faults: str, word: str
) -> AsyncIterator[tuple[LookBackBench, Server]]:
    """A network with posts, of which every third has a word, and a source of it."""
    simulated = Simulated(
        network="bluesky",
        faults=faults,
        words=(word,),
        words_every=3,
        rate=20,
        jetstream=Jetstream(history=POSTS, history_seconds=3500),
    )
    async with serve(simulated) as server:
        bluesky = BlueskySettings(
            hosts=[server.url],
            old_hosts=[],
            plc=server.url,
            appview=server.url,
            did_web=server.url,
            private_hosts=True,
        )
        settings = Settings(bluesky=bluesky)
        async with look_back_bench(database, data_dir, settings) as bench:
            yield bench, server


async def naively_found(bench: LookBackBench, *, deleted: bool = False) -> dict[str, str]:
    """The texts of posts that match, in their last version, by key; also of deleted ones."""
    found: dict[str, Tweet] = {}
    gone: set[str] = set()
    past = read_past(
        bench.source, bench.settings, Clock(), time.time() - 7200, None, lambda _: None
    )
    async with aclosing(past):
        async for page in past:
            for _, body in page.messages:
                message = decode(sanitize_for_jsonb(body)[0])
                if isinstance(message, Tweet):
                    found[message.native_id.partition("/")[0]] = message
                elif isinstance(message, Deletion):
                    gone.add(message.native_id.partition("/")[0])
    matcher = Matcher([(TrackId(1), parse("keyword", "snowfall"))])
    return {
        key: tweet.text
        for key, tweet in found.items()
        if (deleted or key not in gone) and matcher.match(tweet)
    }


async def test_what_the_network_replays_is_found_as_it_is_in_the_end(
    connected: Database, tmp_path: Path
) -> None:
    async with network(connected, tmp_path, "deletes", "edits", word="snowfall") as (bench, server):
        before = await naively_found(bench)
        track = await bench.track("snowfall")
        row = await bench.look(track, "network", since=hours_ago(0.98))
        assert (row.state, row.reason) == ("done", "")
        found, after = await bench.found(track), await naively_found(bench)
        assert before.items() & after.items() <= found.items()
        assert found.keys() <= (await naively_found(bench, deleted=True)).keys()
        assert len(found) > POSTS / 6
        assert await bench.counts_agree()
        times = "SELECT max(received_at) - min(received_at) > interval '5 minutes' FROM tweets"
        assert await bench.rows(times) == [(True,)]
        assert server.sent


async def test_old_news_of_accounts_hides_none_that_is_shown_now(
    connected: Database, tmp_path: Path
) -> None:
    """Their servers are asked instead: an event may be older than what the source knows."""
    hidden = "SELECT author_id FROM author_tombstones WHERE withheld = '{XX}'"
    async with network(connected, tmp_path, "accounts", word="snowfall") as (bench, server):
        before = await naively_found(bench)
        track = await bench.track("snowfall")
        assert (await bench.look(track, "network")).state == "done"
        assert await bench.rows(hidden) == []
        by_did = server.bluesky.activity.accounts.by_did
        shown = {key for each in by_did.values() if not each.status for key in each.records}
        found = await bench.found(track)
        assert len(before.keys() & shown) > POSTS / 6
        assert before.keys() & shown <= found.keys()
        due = {
            did
            for (did,) in await bench.rows(
                "SELECT author_id FROM accounts WHERE resync_at IS NOT NULL"
            )
        }
        assert due
        leader = Leader(connected)
        leader.leads = True
        comparison = AuthorComparison(connected, bench.settings, leader, lambda _: ())
        while await bench.rows("SELECT FROM accounts WHERE resync_at <= now()"):
            await comparison.work()
        states = {did: by_did[did].status for (did,) in await bench.rows(hidden)}
        assert all(states.values()), states


async def test_what_the_source_is_still_to_store_is_left_to_it(
    connected: Database, tmp_path: Path
) -> None:
    """Its tracks would not be credited if the look-back had stored a post before."""
    async with network(connected, tmp_path, word="snowfall") as (bench, _):
        track = await bench.track("snowfall")
        early = NetworkCursor("x", "v2", 1, int((time.time() - 7200) * 1e6))
        await connected.execute(
            "INSERT INTO positions (journal, source_id, position, network_cursor)"
            " VALUES (gen_random_uuid(), 1, 0, $1)",
            msgspec.json.encode(early),
        )
        row = await bench.look(track, "network")
        assert (row.state, row.found) == ("done", 0)
        assert row.looked >= POSTS


async def test_a_host_that_is_lost_is_named(
    connected: Database, tmp_path: Path, eventually: Eventually
) -> None:
    async with network(connected, tmp_path, word="snowfall") as (bench, server):
        server.simulation.core.faults.arm(Armed(fault="silent-host", n=0))
        number = await bench.request(await bench.track("snowfall"), "network")
        running = asyncio.create_task(bench.run())
        await eventually(lambda: server.connections > 0)

    async def is_named() -> bool:
        row = await bench.row(number)
        host = server.url.removeprefix("http://")
        return host in row.reason and row.state == "running" and row.reason.endswith(". Retrying.")

    try:
        await eventually(is_named)
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_what_is_missing_is_still_said_after_an_interruption(
    connected: Database, tmp_path: Path
) -> None:
    async with network(connected, tmp_path, word="snowfall") as (bench, _):
        track = await bench.track("snowfall")
        whole = await bench.look(track, "network")
        assert "has no posts from before" in whole.reason
        assert whole.resume_at is not None
        assert (await bench.look_from(track, whole.resume_at, "network")).reason == whole.reason


DISABLE = """
CREATE FUNCTION disable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN UPDATE sources SET enabled = false; RETURN NULL; END $$;
CREATE TRIGGER disable AFTER UPDATE ON look_backs
    FOR EACH ROW WHEN (NEW.looked > 100) EXECUTE FUNCTION disable();
"""


async def test_it_stops_when_its_source_is_disabled_and_continues_when_it_is_enabled(
    connected: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    for module, name in ((replay, "PAGE_MESSAGES"), (gathered, "FRAMES")):
        monkeypatch.setattr(module, name, 50)
    monkeypatch.setattr(task, "CHECK_INTERVAL", 0.01)
    async with network(connected, tmp_path, word="snowfall") as (bench, _):
        track = await bench.track("snowfall")
        number = await bench.request(track, "network", since=hours_ago(0.98))
        await connected.execute(DISABLE)
        running = asyncio.create_task(bench.run())

        async def has_stopped() -> bool:
            return running.done() or "disabled" in (await bench.row(number)).reason

        await eventually(has_stopped)
        row = await bench.row(number)
        assert (row.state, row.looked < POSTS) == ("waiting", True)
        assert row.reason == "The source main is disabled. This continues when it is enabled."
        await connected.execute("DROP TRIGGER disable ON look_backs")
        await connected.execute("UPDATE sources SET enabled = true")
        await running
        row = await bench.row(number)
        assert (row.state, row.reason) == ("done", "")
        assert len(await bench.found(track)) == row.found > POSTS / 6


async def test_one_that_waits_for_its_source_can_be_cancelled(
    connected: Database, tmp_path: Path, eventually: Eventually
) -> None:
    async with look_back_bench(connected, tmp_path) as bench:
        await connected.execute("UPDATE sources SET enabled = false")
        number = await bench.request(await bench.track(), "network")
        running = asyncio.create_task(bench.run())

        async def waits() -> bool:
            return "disabled" in (await bench.row(number)).reason

        await eventually(waits)
        async with connected.acquire() as connection:
            assert await look_backs.cancel(connection, number)
        await running


BREAK = "ALTER TABLE look_backs RENAME TO elsewhere"


@pytest.mark.parametrize(
    "interruption", ["DELETE FROM tracks", "UPDATE look_backs SET state = 'cancelled'", BREAK]
)
@pytest.mark.parametrize("fault", ["", "silent-host"])
async def test_an_interrupted_one_leaves_no_connection_open(
    interruption: str,
    fault: str,
    connected: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:
    """Also one that waits for the network at that moment."""
    monkeypatch.setattr(replay, "PAGE_MESSAGES", 1)
    async with network(connected, tmp_path, word="snowfall") as (bench, server):
        if fault:
            server.simulation.core.faults.arm(Armed(fault=fault, n=0))
        await bench.request(await bench.track("snowfall"), "network")
        running = asyncio.create_task(bench.run())

        async def is_reading() -> bool:
            looked = await bench.rows("SELECT FROM look_backs WHERE looked > 0")
            return bool(server.connections if fault else looked)

        await eventually(is_reading)
        await connected.execute(interruption)
        await asyncio.wait([running])
        assert (running.exception() is not None) == (interruption == BREAK)
        del running
        gc.collect()
        await eventually(lambda: not server.connections)
    assert "Unclosed" not in caplog.text
    assert "failed" not in caplog.text


async def test_one_with_a_wrong_position_begins_again(connected: Database, tmp_path: Path) -> None:
    async with network(connected, tmp_path, word="snowfall") as (bench, _):
        track = await bench.track("snowfall")
        for wrong in (WRONG_POSITIONS[0], WRONG_POSITIONS[-1]):
            row = await bench.look_from(track, wrong, "network", since=hours_ago(0.98))
            assert (row.state, row.reason, row.looked >= POSTS) == ("done", "", True), wrong


async def test_all_posts_of_an_author_count_when_they_are_found(
    connected: Database, tmp_path: Path
) -> None:
    async with network(connected, tmp_path, word=f"@{HANDLE}") as (bench, server):
        account = server.bluesky.activity.accounts.named(HANDLE)
        track = await bench.track(account.did, kind="user")
        row = await bench.look(track, "author", author=HANDLE)
        assert row.state == "done", row.reason
        assert (await bench.found(track)).keys() <= account.records.keys()
        assert row.added == row.found > POSTS / 6
        spread = "SELECT max(received_at) - min(received_at) < interval '1 minute' FROM tweets"
        assert await bench.rows(spread) == [(True,)]
        assert await bench.counts_agree()
        gone = await bench.look(track, "author", author="nobody.example")
        assert gone.state == "failed"
        assert "nobody.example" in gone.reason


async def test_a_place_that_cannot_be_read_fails_with_a_sentence(
    connected: Database, tmp_path: Path
) -> None:
    async with look_back_bench(connected, tmp_path) as bench:
        track = await bench.track("snow", networks=["x_v2"])
        assert "only Bluesky" in (await bench.look(track, "network")).reason
        assert "source add" in (await bench.look(track, "author", author="a.example")).reason
        wrong = await bench.track("((((", kind="query")
        assert (await bench.look(wrong, "stored")).state == "failed"
