"""Bluesky from the form of a source to its posts on the page Live, without any key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest
from playwright.async_api import expect

from browser import MakeProgram, OpenTab, Program
from servers import serving
from simulator.mastodon.api import MastodonApi
from simulator.mastodon.site import MastodonSite, Token
from simulator.server import Settings as Simulated
from simulator.server import serve
from statuses import status

pytestmark = pytest.mark.asyncio(loop_scope="session")
WORD = "galaxy"


async def test_bluesky_is_added_tested_tracked_and_watched(
    make_program: MakeProgram, empty_database: Callable[[], str], open_tab: OpenTab
) -> None:
    bluesky = Simulated(network="bluesky", rate=50, words=(WORD,))
    async with serve(bluesky) as server, make_program("networks", empty_database()) as program:
        tab = await open_tab(program)
        page = tab.page
        await tab.open("/sources/new")
        await page.get_by_role("link", name="Bluesky", exact=True).click()
        await expect(page.get_by_text("needs no account and no keys")).to_be_visible()
        await page.get_by_label("Name").fill("blue")
        await page.get_by_text("Address and proxy").click()
        await page.get_by_label("Address", exact=True).fill(server.url)
        await page.get_by_role("button", name="Test", exact=True).click()
        await expect(page.get_by_text("Bluesky sends posts.")).to_be_visible()
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("heading", name="blue Bluesky")).to_be_visible()

        await tab.open("/tracks/new")
        await page.get_by_label("Value", exact=True).fill(WORD)
        support = page.locator("#check .able li")
        await expect(support).to_have_count(4)
        for left, other in ((3, "X, API v2"), (2, "X, API v1.1"), (1, "Mastodon")):
            await page.get_by_label(other).uncheck()
            await expect(support).to_have_count(left)  # the next change would abort this answer
        await expect(support).to_have_text([re.compile(r"^Bluesky\s+supported\.$")])
        await page.get_by_role("button", name="Add track").click()
        await expect(page.get_by_text("tracked since")).to_be_visible()

        await tab.open("/live")
        await page.get_by_label("Track").select_option(label=f"{WORD} (keyword)")
        await page.get_by_role("button", name="Show").click()
        tweet = page.locator("#tweets article").first
        await expect(tweet).to_contain_text("Bluesky")
        about = tweet.locator("p.about a")
        await expect(about.first).to_have_attribute(
            "href", re.compile(r"^https://bsky\.app/profile/did:plc:\w+$")
        )
        await expect(about.first).to_have_text(re.compile(r"^(did:plc:.+….{6}|@.+)$"))
        await expect(about.last).to_have_attribute(
            "href", re.compile(r"^https://bsky\.app/profile/did:plc:\w+/post/\w+$")
        )


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_the_form_of_each_open_network_is_for_everybody(
    program: Program, open_tab: OpenTab, axe: str, network: str
) -> None:
    tab = await open_tab(program)
    await tab.open(f"/sources/new?network={network}")
    await tab.page.evaluate(axe)
    found = await tab.page.evaluate("() => axe.run({resultTypes: ['violations']})")
    assert [each["id"] for each in found["violations"]] == []


async def test_mastodon_is_added_with_server_and_token_tested_tracked_and_watched(
    make_program: MakeProgram, empty_database: Callable[[], str], open_tab: OpenTab
) -> None:
    site = MastodonSite(None, {"token-of-ann": Token()})
    async with (
        serving(MastodonApi(site).app()) as server,
        make_program("mastodon", empty_database()) as program,
    ):
        tab = await open_tab(program)
        page = tab.page
        await tab.open("/sources/new?network=mastodon")
        await page.get_by_label("Name").fill("social")
        await page.get_by_label("Server address").fill(server)
        token = page.get_by_label("Access token")
        await token.fill("another-token")
        await page.get_by_role("button", name="Test", exact=True).click()
        await expect(page.locator("#verdict")).to_contain_text("Preferences, Development")
        await token.fill("token-of-ann")
        await page.get_by_role("button", name="Test", exact=True).click()
        await expect(page.locator("#verdict .fine")).to_be_visible()
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("heading", name="social Mastodon")).to_be_visible()

        program.rows(
            "INSERT INTO tracks (value, owner, networks) VALUES (%s, 'admin', %s)",
            WORD,
            ["mastodon"],
        )
        await tab.open("/live")
        await page.get_by_role("button", name="Show").click()
        tweet = page.locator("#tweets article", has_text=WORD).first
        posts = asyncio.create_task(_publish(site))
        try:
            await expect(tweet).to_contain_text("Mastodon")
        finally:
            posts.cancel()
        await expect(tweet.locator("p.about a").last).to_have_attribute(
            "href", re.compile(r"^https://social\.example/@ann")
        )


async def _publish(site: MastodonSite) -> None:
    """Some posts a second, as nothing is sent again that no client was there for."""
    while True:
        number = site.new_id()
        site.publish(
            status(
                f"<p>a {WORD} far away</p>",
                id=number,
                uri=f"https://social.example/users/ann/statuses/{number}",
            )
        )
        await asyncio.sleep(0.3)
