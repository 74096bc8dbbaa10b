"""A look-back is chosen on the form of a new track, and followed on its page until it is done."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from browser import OpenTab, Program

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 380, "height": 800}
BLUESKY = """
INSERT INTO sources (name, network, url) VALUES ('look-back', 'bluesky', 'http://127.0.0.1:9')
ON CONFLICT DO NOTHING
"""


async def test_ticks_stay_while_the_value_is_typed(program: Program, open_tab: OpenTab) -> None:
    program.rows(BLUESKY)
    page = (tab := await open_tab(program)).page
    await tab.open("/tracks/new")
    network = page.get_by_label("Bluesky's last 36 hours")
    await network.check()
    await page.get_by_label("Value", exact=True).fill("black ice")
    await expect(page.get_by_text("Valid.")).to_be_visible()
    await expect(network).to_be_checked()
    await page.locator("input[name=kind][value=place]").check()
    await page.get_by_label("Value", exact=True).fill("13,52,14,53")
    await expect(network).to_have_count(0)  # posts on Bluesky have no place
    await expect(page.get_by_label("Stored tweets")).to_be_checked()


async def test_a_wrong_account_is_marked_until_it_is_right(
    program: Program, open_tab: OpenTab
) -> None:
    program.rows(BLUESKY)
    page = (tab := await open_tab(program)).page
    await tab.open("/tracks/new?value=icicle")
    await page.get_by_label("Stored tweets").uncheck()
    await page.get_by_role("button", name="Add track").click()
    await page.get_by_role("link", name="Open the track").click()
    await page.get_by_text("Look back: find tweets from before").click()
    account = page.get_by_label("All posts of one account on Bluesky")
    tab.expected.append("status of 422")
    await account.fill("two words")
    button = page.get_by_role("button", name="Look back", exact=True)
    await button.click()
    await expect(account).to_have_attribute("aria-invalid", "true")
    await expect(account).to_have_value("two words")
    await expect(page.locator("#wrong-author")).to_contain_text("is not an account on Bluesky")
    await account.fill("name.example")
    await button.click()
    await expect(page.locator("#look-backs")).to_contain_text("All posts of name.example")
    await expect(page.locator("#wrong-author")).to_have_count(0)
    await expect(account).to_have_value("")
    program.rows("DELETE FROM tracks WHERE value = 'icicle'")  # others would wait for the account


async def test_a_look_back_is_followed_until_it_is_done(
    program: Program, open_tab: OpenTab
) -> None:
    page = (tab := await open_tab(program, viewport=PHONE)).page
    await tab.open("/tracks/new?value=teatime")
    await page.get_by_role("button", name="Add track").click()
    shown = page.locator("#look-backs")
    await expect(shown.locator(".state")).to_have_text(["done"])
    await page.get_by_role("link", name="Open the track").click()
    await page.get_by_text("Look back in other places").click()
    await page.get_by_label("Stored tweets").check()
    await page.get_by_role("button", name="Look back", exact=True).click()
    await expect(shown.locator(".state")).to_have_text(["done", "done"])
    await expect(shown.get_by_role("button")).to_have_count(0)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
