"""Two people watch different things, and a slow viewer slows down no other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from playwright.async_api import expect

from browser import MakeProgram, OpenTab, Program, Tab
from pgbench import corpus
from simulator.server import Settings as Simulated
from simulator.server import serve
from stream.vault import Vault
from waiting import Eventually
from web.auth import SESSION

pytestmark = pytest.mark.asyncio(loop_scope="session")

RATE, FLOOD = 2000, 6_000  # tweets a second, tweets
TRACKS = 400
OF_THESE = "SELECT id FROM tweets WHERE id > %s AND text ~* '\\msnow\\M' ORDER BY id LIMIT 3"
MISSED = f"SELECT count(*) FROM ({OF_THESE}) AS found"
NUMBER = "SELECT coalesce(sum(frames), 0)::int FROM source_minutes WHERE outcome = 'stored'"


async def test_two_browsers_each_see_their_own(program: Program, open_tab: OpenTab) -> None:
    """The simulator invents tweets for the sample tracks."""
    news, snow = await open_tab(program), await open_tab(program)
    await news.open("/live?query=%23news")
    await snow.open("/live?query=snow")
    for tab, own, foreign in ((news, "news", "snow"), (snow, "snow", "news")):
        await expect(tab.page.locator("#tweets article").nth(4)).to_be_visible()
        reasons = await tab.page.locator("#tweets article .why").all_text_contents()
        assert all(own in reason and foreign not in reason for reason in reasons), reasons


async def test_it_goes_on_from_where_it_was_paused(
    program: Program, open_tab: OpenTab, eventually: Eventually
) -> None:
    tab = await open_tab(program)
    page = tab.page
    await tab.open("/live?query=snow")
    await expect(page.locator("#tweets article").first).to_be_visible()
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#state")).to_have_text("Paused")
    [[before]] = program.rows("SELECT max(id) FROM tweets")
    shown = await page.locator("#tweets article").count()
    await eventually(lambda: program.rows(MISSED, before)[0][0] >= 3)
    assert await page.locator("#tweets article").count() == shown
    await page.get_by_role("button", name="Resume").click()
    for [missed] in program.rows(OF_THESE, before):
        await expect(page.locator(f"#tweet-{missed}")).to_be_attached()


class _Flood:
    """Tweets at a high rate, a few of which match a watched word."""

    def __init__(self) -> None:
        self.posts = corpus.make(FLOOD, TRACKS)
        # The later a track, the rarer it is; those of two words are no single word.
        self.word = next(value for value in self.posts.tracks[TRACKS // 2 :] if " " not in value)

    @contextlib.asynccontextmanager
    async def at(self, program: Program) -> AsyncIterator[None]:
        """It flows as long as it lasts."""
        path = program.folder / "flood.ndjson"
        path.write_bytes(b"".join(corpus.lines(self.posts)))
        settings = Simulated(rate=float(RATE), replay=str(path))
        async with serve(settings) as server:
            secrets = Vault(program.folder / "data").seal({"bearer_token": "T"})
            program.rows(
                "INSERT INTO sources (name, network, url, secrets) VALUES (%s, %s, %s, %s)",
                "flood",
                "x_v2",
                server.url,
                secrets,
            )
            yield


async def test_a_slow_and_a_frozen_viewer_change_nothing_for_others(
    make_program: MakeProgram,
    empty_database: Callable[[], str],
    open_tab: OpenTab,
    eventually: Eventually,
) -> None:
    flood = _Flood()
    async with make_program("flood", empty_database()) as program:
        program.rows("UPDATE sources SET enabled = false")
        program.rows(
            "INSERT INTO tracks (value) SELECT unnest(%s::text[])", list(flood.posts.tracks)
        )
        quick, slow = await open_tab(program), await open_tab(program)
        await quick.open(f"/live?query={flood.word}")
        await expect(quick.page.locator("#state")).to_have_text("Live")
        await slow.open("/live")
        await _throttle(slow)
        async with _frozen(program), flood.at(program):
            await eventually(lambda: program.rows(NUMBER)[0][0] >= FLOOD)
            fitting = program.rows("SELECT count(*) FROM tweets WHERE text ~* %s", flood.word)[0][0]
            assert fitting > 3
            await expect(quick.page.locator("#tweets article")).to_have_count(fitting)
        lost = "SELECT cause, detail FROM gaps WHERE cause NOT IN ('idle', 'stopped')"
        assert program.rows(lost) == []


async def _throttle(tab: Tab) -> None:
    """As on a very old phone."""
    session = await tab.page.context.new_cdp_session(tab.page)
    await session.send("Emulation.setCPUThrottlingRate", {"rate": 20})


@contextlib.asynccontextmanager
async def _frozen(program: Program) -> AsyncIterator[None]:
    """A viewer that asks for everything and reads nothing."""
    key = await program.session("frozen", "admin")
    headers = {"Origin": program.address}
    async with aiohttp.ClientSession(program.address, cookies={SESSION: key}) as client:
        socket: Any = await client.ws_connect("/live/socket", headers=headers, autoping=False)
        await socket.send_str(msgspec.json.encode({"do": "watch", "query": ""}).decode())
        yield
        await socket.close()
