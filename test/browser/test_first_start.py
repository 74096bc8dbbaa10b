"""From the first start to the first tweet, as somebody sees it who has never been here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.browser.conftest import MakeHouse, OpenWindow

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]
PASSWORD = "four words are enough"


async def test_the_link_of_the_first_start_leads_to_tweets(
    make_house: MakeHouse, window: OpenWindow
) -> None:
    async with make_house("first", "") as house:
        assert "/welcome?key=" in house.link
        newcomer = await window(house, "")
        page = newcomer.page
        await page.goto(house.link)
        await page.get_by_label("Name").fill("ada")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Begin").click()
        # The first page already says that tweets arrive.
        await expect(page.get_by_role("heading", level=1)).to_have_text("Tracks")
        assert await page.evaluate("document.cookie") == "", "no script can take the session"
        await page.get_by_role("link", name="snow day,blizzard", exact=True).click()
        await expect(page.locator("article").first).to_be_visible()
        # The link is used up.
        again = await window(house, "")
        again.expected.append("404")
        answer = await again.page.goto(house.link)
        assert answer is not None
        assert answer.status == 404
