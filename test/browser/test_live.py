"""Two people watch different things, and nobody is slowed down by one who cannot keep up."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from playwright.async_api import expect

from pgbench import corpus
from simulator.server import Settings as Simulated
from simulator.server import serve
from stream.vault import Vault
from web.guard import SESSION

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.browser.conftest import House, MakeHouse, OpenWindow, Watched
    from test.conftest import Eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

RATE, FLOOD = 2000, 6_000  # tweets a second, tweets
TRACKS = 400
OF_THESE = "SELECT id FROM tweets WHERE id > %s AND text ~* '\\msnow\\M' ORDER BY id LIMIT 3"
MISSED = f"SELECT count(*) FROM ({OF_THESE}) AS found"
NUMBER = "SELECT coalesce(sum(frames), 0)::int FROM source_minutes WHERE outcome = 'stored'"


async def test_two_browsers_each_see_their_own(house: House, window: OpenWindow) -> None:
    """The simulator invents tweets for the sample tracks."""
    news, snow = await window(house), await window(house)
    await news.open("/live?query=%23news")
    await snow.open("/live?query=snow")
    for watched, own, foreign in ((news, "news", "snow"), (snow, "snow", "news")):
        await expect(watched.page.locator("#tweets article").nth(4)).to_be_visible()
        reasons = await watched.page.locator("#tweets article .why").all_text_contents()
        assert all(own in reason and foreign not in reason for reason in reasons), reasons


async def test_it_goes_on_from_where_it_was_paused(
    house: House, window: OpenWindow, eventually: Eventually
) -> None:
    watched = await window(house)
    page = watched.page
    await watched.open("/live?query=snow")
    await expect(page.locator("#tweets article").first).to_be_visible()
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#state")).to_have_text("Paused")
    [[before]] = house.ask("SELECT max(id) FROM tweets")
    shown = await page.locator("#tweets article").count()
    await eventually(lambda: house.ask(MISSED, before)[0][0] >= 3)
    assert await page.locator("#tweets article").count() == shown
    await page.get_by_role("button", name="Resume").click()
    for [missed] in house.ask(OF_THESE, before):
        await expect(page.locator(f"#tweet-{missed}")).to_be_attached()


class _Flood:
    """Tweets at a high rate, of which some few fit a word that somebody watches."""

    def __init__(self) -> None:
        self.posts = corpus.make(FLOOD, TRACKS)
        # The later a track, the rarer it is; those of two words are no single word.
        self.word = next(value for value in self.posts.tracks[TRACKS // 2 :] if " " not in value)

    @contextlib.asynccontextmanager
    async def at(self, house: House) -> AsyncIterator[None]:
        """It flows as long as it lasts."""
        path = house.folder / "flood.ndjson"
        path.write_bytes(b"".join(corpus.lines(self.posts)))
        settings = Simulated(rate=float(RATE), replay=str(path))
        async with serve(settings) as server:
            secrets = Vault(house.folder / "data").seal({"bearer_token": "T"})
            house.ask(
                "INSERT INTO sources (name, network, url, secrets) VALUES (%s, %s, %s, %s)",
                "flood",
                "x_v2",
                server.url,
                secrets,
            )
            yield


async def test_a_slow_and_a_frozen_viewer_change_nothing_for_others(
    make_house: MakeHouse,
    empty_database: Callable[[], str],
    window: OpenWindow,
    eventually: Eventually,
) -> None:
    flood = _Flood()
    async with make_house("flood", empty_database()) as house:
        house.ask("UPDATE sources SET enabled = false")
        house.ask("INSERT INTO tracks (value) SELECT unnest(%s::text[])", list(flood.posts.tracks))
        quick, slow = await window(house), await window(house)
        await quick.open(f"/live?query={flood.word}")
        await expect(quick.page.locator("#state")).to_have_text("Live")
        await slow.open("/live")
        await _throttle(slow)
        async with _frozen(house), flood.at(house):
            await eventually(lambda: house.ask(NUMBER)[0][0] >= FLOOD, 200)
            fitting = house.ask("SELECT count(*) FROM tweets WHERE text ~* %s", flood.word)[0][0]
            assert fitting > 3
            await expect(quick.page.locator("#tweets article")).to_have_count(fitting)
        for watched in (quick, slow):  # before the program ends, which they would complain of
            await watched.page.close()
        assert house.ask("SELECT count(*) FROM gaps WHERE cause NOT IN ('idle', 'stopped')") == [
            (0,)
        ]


async def _throttle(watched: Watched) -> None:
    """As on a very old phone."""
    session = await watched.page.context.new_cdp_session(watched.page)
    await session.send("Emulation.setCPUThrottlingRate", {"rate": 20})


@contextlib.asynccontextmanager
async def _frozen(house: House) -> AsyncIterator[None]:
    """Somebody who asks for everything, and then reads nothing at all."""
    key = await house.session("frozen", "admin")
    headers = {"Origin": house.address}
    async with aiohttp.ClientSession(house.address, cookies={SESSION: key}) as client:
        socket: Any = await client.ws_connect("/live/socket", headers=headers, autoping=False)
        await socket.send_str(msgspec.json.encode({"do": "watch", "query": ""}).decode())
        yield
        await socket.close()
