"""From the first start to the first tweet, as a new user sees it."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from browser import MakeProgram, OpenTab

pytestmark = pytest.mark.asyncio(loop_scope="session")
PASSWORD = "four words are enough"


async def test_the_link_of_the_first_start_leads_to_tweets(
    make_program: MakeProgram, open_tab: OpenTab
) -> None:
    async with make_program("first", "") as program:
        assert "/welcome?key=" in program.link
        newcomer = await open_tab(program, "")
        page = newcomer.page
        await page.goto(program.link)
        await page.get_by_label("Name").fill("ada")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Continue").click()
        # The first page already says that tweets arrive.
        await expect(page.get_by_role("heading", level=1)).to_have_text("Tracks")
        cookies = await page.evaluate("document.cookie")
        assert [each.split("=")[0] for each in cookies.split("; ")] == ["time_zone"], (
            "no script can read the session"
        )
        await page.get_by_role("link", name="snow day,blizzard", exact=True).click()
        await expect(page.locator("article").first).to_be_visible()
        # The link is used up.
        again = await open_tab(program, "")
        again.expected.append("404")
        answer = await again.page.goto(program.link)
        assert answer is not None
        assert answer.status == 404
