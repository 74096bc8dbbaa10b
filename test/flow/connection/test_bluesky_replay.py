"""Replay of Bluesky's last hours: complete, resumed after any page, on other hosts and wires."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from servers import closed_port
from simulator.faults import Armed
from simulator.server import Jetstream, Server, serve
from simulator.server import Settings as SimulatorSettings
from stream.backoff import Clock
from stream.config import Settings
from stream.config.settings import BlueskySettings
from stream.errors import ConnectError
from stream.jsontext import sanitize_for_jsonb
from stream.networks.base import PastPage, PastPages, ReportRetry
from stream.networks.bluesky import replay
from stream.networks.bluesky.decode import decode
from stream.tweet import Source, SourceId, Tweet

HOUR = 3600.0
HISTORY = 3000  # posts


class HastyClock(Clock):
    """A clock with which no retry waits."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


def read(
    hosts: Sequence[str],
    resume: str | None = None,
    silence: float = 20,
    report: ReportRetry = lambda _: None,
) -> PastPages:
    """The pages of the last hour."""
    bluesky = BlueskySettings(hosts=[*hosts], old_hosts=[], silence_timeout=silence)
    source = Source(SourceId(1), "main", "bluesky", None, None, {}, enabled=True)
    since = time.time() - HOUR
    return replay.read_past(source, Settings(bluesky=bluesky), HastyClock(), since, resume, report)


def posts(pages: Sequence[PastPage]) -> list[str]:
    """The native ids of all posts of some pages."""
    found = (decode(sanitize_for_jsonb(body)[0]) for page in pages for _, body in page.messages)
    return [each.native_id for each in found if isinstance(each, Tweet) and not each.edited]


def simulated(*faults: str, hosts: int = 1, lookback: float = HOUR) -> SimulatorSettings:
    jetstream = Jetstream(
        hosts=hosts, lookback=lookback, history=HISTORY, history_seconds=HOUR - 30
    )
    return SimulatorSettings(network="bluesky", faults=faults, rate=20, jetstream=jetstream)


def history_of(server: Server) -> list[str]:
    return server.sent[:HISTORY]


@pytest.mark.parametrize("faults", [(), ("v1-only", "deletes", "edits", "accounts", "likes")])
async def test_all_posts_until_the_look_back_began_are_read_once(faults: tuple[str, ...]) -> None:
    async with serve(simulated(*faults)) as server:
        began = time.time()
        pages = [page async for page in read(server.urls)]
        assert posts(pages)[:HISTORY] == history_of(server)
        times = [time for page in pages for time, _ in page.messages]
        assert began - HOUR <= times[0] / 1e6 <= times[-1] / 1e6 <= time.time()
        shares = [page.progress for page in pages if page.progress is not None]
        assert shares == sorted(shares)
        assert shares[-1] == 1
        assert not any(page.note for page in pages)


@pytest.mark.parametrize("fault", ["close-1006", "dictionary-change", "cursor-too-old", "reset"])
async def test_after_every_page_it_can_be_resumed_also_on_another_host(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PAGE_MESSAGES", 1)
    async with serve(simulated(f"{fault}:2", hosts=2)) as server:
        found: list[PastPage] = []
        for turn in range(100):
            resume = found[-1].resume if found else None
            hosts = server.urls if turn % 2 else server.urls[::-1]
            async with aclosing(read(hosts, resume=resume)) as pages:
                count = 0
                async for page in pages:
                    found.append(page)
                    count += 1
                    if count == 3:
                        break
                else:
                    break
        assert found[-1].progress == 1
        assert set(history_of(server)) <= set(posts(found))


async def test_a_lost_connection_is_reported_until_there_is_another() -> None:
    reports: list[str] = []
    async with serve(simulated("close-1006:2")) as server:
        pages = [page async for page in read(server.urls, report=reports.append)]
    assert pages[-1].progress == 1
    assert reports[-1] == ""
    assert all("closed the connection" in each for each in reports[:-1] if each)
    assert any(reports)


async def test_what_a_host_no_longer_has_is_said() -> None:
    async with serve(simulated(lookback=600)) as server:
        pages = [page async for page in read(server.urls)]
        kept = posts(pages)
        assert 500 < len(set(kept) & set(history_of(server))) < HISTORY
        [note] = [page.note for page in pages if page.note]
        assert "has no posts from before 20" in note
        assert pages[-1].progress == 1


async def test_after_a_silent_host_the_next_one_is_read() -> None:
    async with serve(simulated(hosts=2)) as server:
        server.simulation.core.faults.arm(Armed(fault="silent-host", n=0))
        pages = [page async for page in read(server.urls, silence=2)]
        assert posts(pages)[:HISTORY] == history_of(server)
        assert not any(page.note for page in pages)


async def test_a_network_on_which_nothing_happens_is_read_to_its_end() -> None:
    async with serve(simulated(hosts=2)) as server:
        server.simulation.core.posts_left = 0
        pages = [page async for page in read(server.urls, silence=2)]
        assert posts(pages)[:HISTORY] == history_of(server)
        assert "sent nothing after 20" in pages[-1].note
        assert pages[-1].progress == 1


async def test_hosts_that_do_not_answer_are_an_error_with_their_name() -> None:
    dead = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(ConnectError, match=dead.removeprefix("http://")):
        await anext(read([dead]))
    async with serve(simulated()) as server, aclosing(read([dead, server.url])) as pages:
        assert (await anext(pages)).messages
