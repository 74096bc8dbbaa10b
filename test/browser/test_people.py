"""Who comes in, who may do what, and who is sent away."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from browser import OpenTab, Program

pytestmark = pytest.mark.asyncio(loop_scope="session")
ADMINS_ONLY = ("Sources", "Health", "Users")


async def test_a_wrong_password_is_told_and_the_right_one_leads_on(
    program: Program, open_tab: OpenTab
) -> None:
    key = await program.invite("grace")
    invited = await open_tab(program, "")
    page = invited.page
    invited.expected.append("401")
    await invited.open(f"/welcome?key={key}")
    await page.get_by_label("Password").fill("a long enough password")
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("button", name="Log out", exact=True).click()
    await page.wait_for_url("**/login")
    await invited.open("/account")  # the page asked for is remembered
    await page.get_by_label("Name").fill("grace")
    await page.get_by_label("Password").fill("not this one")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Password").fill("a long enough password")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/account")


async def test_who_is_no_admin_is_shown_less(program: Program, open_tab: OpenTab) -> None:
    user = await open_tab(program, "norma", "user")
    user.expected.append("403")
    await user.open("/")
    pages = user.page.get_by_role("navigation", name="Pages")
    await expect(pages.get_by_role("link", name="Live")).to_be_visible()
    for name in ADMINS_ONLY:
        await expect(pages.get_by_role("link", name=name, exact=True)).to_have_count(0)
        assert await user.open(f"/{name.lower()}") == 403
    viewer = await open_tab(program, "vera", "viewer")
    viewer.expected.append("403")
    assert await viewer.open("/tracks/new") == 403
