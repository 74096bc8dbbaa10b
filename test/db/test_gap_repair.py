"""Repair of gaps: what is read again and what was deleted, in which order, and after a kill."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from clocks import FastClock
from servers import serving
from simulator.mastodon.api import MastodonApi
from simulator.mastodon.site import MastodonSite, Token
from statuses import frame, status
from stream.config import MastodonSettings, Settings
from stream.connection.gap_records import GapRecords
from stream.connection.recorder import Recorder
from stream.connection.refiller import OVERLAP
from stream.connection.supervisor import ConnectionSupervisor
from stream.networks.mastodon.client import MastodonClient
from stream.networks.mastodon.plan import Channel, Choice
from stream.networks.mastodon.refill import PAGE, REWIND
from stream.networks.registry import NETWORKS
from stream.notes import GapClosed, GapOpened
from stream.tweet import Source
from writer_bench import WriterBench

if TYPE_CHECKING:
    from test.conftest import Eventually

PUBLIC = Channel("public")


class Bench:
    """The repairs of a source between a simulated server, a journal and a database."""

    def __init__(self, writer: WriterBench, site: MastodonSite, url: str) -> None:
        self.writer = writer
        self.site = site
        self.url = url
        self.now = time.time()
        self.limits = MastodonSettings(max_deletion_lookups=0)
        self.channels: tuple[Channel, ...] = (PUBLIC,)

    def post(self, at: float, *tags: str) -> str:
        number = self.site.new_id(at)
        uri = f"https://social.example/{number}"
        listed = [{"name": tag, "url": ""} for tag in tags]
        self.site.publish(status(id=number, uri=uri, tags=listed))
        return number

    def receive(self, number: str) -> None:
        """A post that was received before it was deleted, perhaps."""
        self.writer.journal.append([frame(self.site.statuses[number])])

    def gap(self, began: float, ended: float) -> None:
        self.writer.journal.note(GapOpened(began, "network", ""))
        self.writer.journal.note(GapClosed(ended))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Recorder]:
        """Delivery has just begun; killed at the end."""
        clock, number = FastClock(200), self.writer.source.id
        source = Source(number, "s", "mastodon", self.url, None, {"access_token": "t"}, True)
        connection = ConnectionSupervisor(
            source,
            NETWORKS["mastodon"],
            self.writer.journal,
            Settings(mastodon=self.limits),
            attempts_file=self.writer.journal.folder / "attempts",
            clock=clock,
        )
        assert isinstance(connection.client, MastodonClient)
        connection.client.choice = Choice(self.channels, {}, {})
        connection.repair_gaps(GapRecords(self.writer.database, source, self.writer.journal))
        connection.recorder.set_state("streaming", "")
        async with self.writer.storing():
            tasks = [asyncio.create_task(each.run()) for each in connection.repairs]
            try:
                yield connection.recorder
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def stored(self) -> int:
        return int(await self.writer.one("SELECT count(*) FROM tweets"))

    async def unrefilled(self) -> int:
        found = await self.writer.one("SELECT count(*) FROM gaps WHERE recovered_from IS NULL")
        return int(found)

    async def unchecked(self) -> int:
        found = await self.writer.one(
            "SELECT count(*) FROM gaps WHERE checked_to >= ended_at IS NOT TRUE"
        )
        return int(found)

    async def says(self, words: str) -> bool:
        events = await self.writer.rows("SELECT text FROM events")
        return any(words in text for (text,) in events)

    def requests(self, path: str = "timelines") -> int:
        return sum(path in each for each in self.site.requests)


@pytest.fixture
async def bench(mastodon_benches: tuple[WriterBench, WriterBench]) -> AsyncIterator[Bench]:
    site = MastodonSite(None, {"t": Token()})
    async with serving(MastodonApi(site).app()) as url:
        yield Bench(mastodon_benches[0], site, url)


async def _has_gone_on(
    left: Callable[[], Awaitable[int]], bench: Bench, path: str, requests: int
) -> bool:
    """Whether the server got so many requests, or nothing is left to do."""
    return bench.requests(path) >= requests or await left() == 0


async def _is_zero(count: Callable[[], Awaitable[int]]) -> bool:
    return await count() == 0


async def test_near_gaps_are_read_at_once_and_a_distant_one_apart(
    bench: Bench, eventually: "Eventually"
) -> None:
    for seconds in range(100, 0, -1):
        bench.post(bench.now - seconds)
    for began, ended in ((5000, 4990), (90, 50), (40, 30)):
        bench.gap(bench.now - began, bench.now - ended)
    await bench.writer.store()
    async with bench.running() as recorder:
        await eventually(partial(_is_zero, bench.unrefilled))
    assert recorder.counters["refilled"] == 140
    assert await bench.stored() == 100
    events = await bench.writer.rows("SELECT text FROM events WHERE kind = 'plan' ORDER BY id")
    assert [text.partition(", in")[0] for (text,) in events] == [
        "read 40 posts again for a gap of 10 s",
        "read 100 posts again for a gap of 60 s",
    ]


async def test_frequent_kills_end_no_refill(bench: Bench, eventually: "Eventually") -> None:
    """Each run reads two pages of a refill of many, on two channels, and is killed: a new gap."""
    per_second, length = 2, 400
    bench.channels = (PUBLIC, Channel("hashtag", "flood"))
    bench.site.rules.pagings = 10_000
    bench.limits = MastodonSettings(max_refill_pages=2, max_deletion_lookups=0)
    for at in range(int(bench.now - length), int(bench.now)):
        for _ in range(per_second):
            bench.post(at, "flood")
    bench.gap(bench.now - length, bench.now - length + 5)
    await bench.writer.store()
    lives = 0
    while lives < length / 10 or await bench.unrefilled():
        lives += 1
        assert lives < 100
        enough = bench.requests() + 2
        async with bench.running():
            await eventually(partial(_has_gone_on, bench.unrefilled, bench, "timelines", enough))
        ended = bench.now - length + 10 * lives
        if ended < bench.now:
            bench.gap(ended - 5, ended)
            await bench.writer.store()
    assert await bench.stored() == length * per_second
    # Little is read twice: the pages of a life of which the end was not recorded.
    pages = 2 * (length + REWIND + OVERLAP) * per_second / PAGE
    assert bench.requests() < 3 * pages


@pytest.mark.parametrize("pages", [0, 280])
async def test_what_cannot_be_read_stays_missing(
    pages: int, bench: Bench, eventually: "Eventually"
) -> None:
    bench.limits = MastodonSettings(max_refill_pages=pages, max_deletion_lookups=0)
    bench.site.tokens.clear()
    bench.gap(bench.now - 90, bench.now)
    await bench.writer.store()
    async with bench.running() as recorder:
        await eventually(partial(bench.says, "refill after a gap failed"))
        # The next connection is the next attempt.
        bench.site.tokens["t"] = Token()
        recorder.set_state("waiting", "")
        recorder.set_state("streaming", "")
        if pages:
            await eventually(partial(_is_zero, bench.unrefilled))
    assert await bench.unrefilled() == (0 if pages else 1)


# -- deletions ------------------------------------------------------------------------------------


DAY = 86_400


async def test_deletions_during_a_gap_are_found_and_limited_authors_stay(
    bench: Bench, eventually: "Eventually"
) -> None:
    bench.limits = MastodonSettings(max_refill_pages=0)
    old = bench.post(bench.now - 15 * DAY)
    numbers = [bench.post(bench.now - 13 * DAY + n) for n in range(45)]
    for number in (old, *numbers):
        bench.receive(number)
    bench.gap(bench.now - 90, bench.now - 10)
    await bench.writer.store()
    bench.site.rules.limited = frozenset(numbers[:20])  # a whole answer is empty
    for number in (old, *numbers[18:23]):
        bench.site.delete(number)
    async with bench.running():
        await eventually(partial(_is_zero, bench.unchecked))
    stored = await bench.writer.rows("SELECT doc->>'payload' FROM tweets")
    assert {json.loads(payload)["id"] for (payload,) in stored} == {old, *numbers} - {
        *numbers[18:23]
    }
    assert await bench.says("looked up 45 stored posts after a gap: 5 were deleted")
    assert await bench.writer.counts_agree()
    # Once is enough.
    before = bench.requests("statuses")
    async with bench.running():
        await eventually(partial(bench.says, "max_refill_pages"))
    assert bench.requests("statuses") == before


async def test_frequent_kills_end_no_check(bench: Bench, eventually: "Eventually") -> None:
    """Each run looks up a part, and is killed: a new gap, which has to be checked as well."""
    bench.limits = MastodonSettings(max_refill_pages=0, max_deletion_lookups=3)
    numbers = [bench.post(bench.now - 1000 + n) for n in range(200)]
    for number in numbers:
        bench.receive(number)
    bench.gap(bench.now - 500, bench.now - 490)
    await bench.writer.store()
    lives = 0
    while lives < 8 or await bench.unchecked():
        lives += 1
        assert lives < 50
        if lives <= 8:
            bench.site.delete(numbers[20 * lives])
        enough = bench.requests("statuses") + 3
        async with bench.running():
            await eventually(partial(_has_gone_on, bench.unchecked, bench, "statuses", enough))
        if lives < 8:
            bench.gap(bench.now - 490 + 20 * lives, bench.now - 480 + 20 * lives)
            await bench.writer.store()
    assert await bench.stored() == 200 - 8


async def test_nothing_is_deleted_where_a_server_cannot_be_asked(
    bench: Bench, eventually: "Eventually"
) -> None:
    bench.limits = MastodonSettings(max_refill_pages=0)
    bench.site.rules.has_lookup = False
    number = bench.post(bench.now - 100)
    bench.receive(number)
    bench.site.delete(number)
    bench.gap(bench.now - 90, bench.now - 10)
    await bench.writer.store()
    async with bench.running():
        await eventually(partial(bench.says, "does not say which posts still exist"))
    assert await bench.stored() == 1
    assert await bench.unchecked() == 1
