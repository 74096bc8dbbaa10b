"""Who comes in, who may do what, and who is sent away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.browser.conftest import House, OpenWindow

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]
ADMINS_ONLY = ("Sources", "Health", "Users")


async def test_a_wrong_password_is_told_and_the_right_one_leads_on(
    house: House, window: OpenWindow
) -> None:
    key = await house.invite("grace")
    invited = await window(house, "")
    page = invited.page
    invited.expected.append("401")
    await invited.open(f"/welcome?key={key}")
    await page.get_by_label("Password").fill("a long enough password")
    await page.get_by_role("button", name="Begin").click()
    await page.get_by_role("button", name="Log out grace").click()
    await page.wait_for_url("**/login")
    await invited.open("/account")  # what he wanted is not forgotten
    await page.get_by_label("Name").fill("grace")
    await page.get_by_label("Password").fill("not this one")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Password").fill("a long enough password")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/account")


async def test_who_is_no_admin_is_shown_less(house: House, window: OpenWindow) -> None:
    user = await window(house, "norma", "user")
    user.expected.append("403")
    await user.open("/")
    pages = user.page.get_by_role("navigation", name="Pages")
    await expect(pages.get_by_role("link", name="Live")).to_be_visible()
    for name in ADMINS_ONLY:
        await expect(pages.get_by_role("link", name=name, exact=True)).to_have_count(0)
        assert await user.open(f"/{name.lower()}") == 403
    viewer = await window(house, "vera", "viewer")
    viewer.expected.append("403")
    assert await viewer.open("/tracks/new") == 403


async def test_a_revoked_session_ends_at_the_next_step(house: House, window: OpenWindow) -> None:
    guest = await window(house, "gloria", "user")
    await guest.open("/")
    house.ask("DELETE FROM sessions USING users WHERE users.id = user_id AND name = 'gloria'")
    await guest.page.get_by_role("link", name="My account").click()
    await guest.page.wait_for_url("**/login?**")


async def test_a_form_without_its_key_changes_nothing(house: House, window: OpenWindow) -> None:
    guest = await window(house, "carol", "user")
    guest.expected.append("403")
    await guest.open("/")
    await guest.page.evaluate(
        "document.querySelector('form[action$=logout] [name=csrf]').value = ''"
    )
    await guest.page.get_by_role("button", name="Log out carol").click()
    await expect(guest.page.get_by_text("This form is too old")).to_be_visible()
    assert await guest.open("/account") == 200
