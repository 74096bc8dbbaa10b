"""Times in a browser, around the changes of clocks: forms keep them, and pages say their zone."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from browser import OpenTab, Program

pytestmark = pytest.mark.asyncio(loop_scope="session")

# The second 02:30 of that night in Berlin, with seconds and a part of one.
STARTS, ENDS = "2037-10-25T01:30:12.345678+00:00", "2038-03-28T00:30:00+00:00"


@pytest.mark.parametrize(
    ("zone", "starts", "ends"),
    [
        ("Europe/Berlin", "2037-10-25T02:30:12", "2038-03-28T01:30"),
        ("Asia/Kolkata", "2037-10-25T07:00:12", "2038-03-28T06:00"),
    ],
)
async def test_a_form_changes_no_time_that_was_not_changed(
    program: Program, open_tab: OpenTab, zone: str, starts: str, ends: str
) -> None:
    [(number,)] = program.rows(
        "INSERT INTO tracks (value, owner, enabled, starts_at, ends_at)"
        " VALUES (%s, 'admin', false, %s, %s) RETURNING id",
        f"clocks of {zone}",
        STARTS,
        ENDS,
    )
    tab = await open_tab(program, timezone_id=zone)
    page = tab.page
    await tab.open("/")  # the browser says its zone
    await tab.open(f"/tracks/{number}/change")
    for name, shown in (("starts_at", starts), ("ends_at", ends)):
        await expect(page.locator(f"input[name={name}]")).to_have_value(shown)
    await expect(page.locator(".zone").first).to_contain_text("Time zone: ")
    await page.get_by_label("Priority").fill("7")
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_url("**/saved")
    saved = "SELECT priority, starts_at = %s, ends_at = %s FROM tracks WHERE id = %s"
    assert program.rows(saved, STARTS, ENDS, number) == [(7, True, True)]
    # Another time is the one that was typed, in the zone of the browser.
    await tab.open(f"/tracks/{number}/change")
    await page.locator("input[name=ends_at]").fill("2038-07-01T12:00")
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_url("**/saved")
    hours = {"Europe/Berlin": "10:00", "Asia/Kolkata": "06:30"}[zone]
    assert program.rows(saved, STARTS, f"2038-07-01 {hours}+00", number) == [(7, True, True)]


async def test_the_hour_that_comes_twice_can_be_chosen(program: Program, open_tab: OpenTab) -> None:
    tab = await open_tab(program, timezone_id="Europe/Berlin")
    tab.expected.append("422")
    page = tab.page
    await tab.open("/")
    await tab.open("/tracks/new")
    await page.get_by_label("Value", exact=True).fill("twice")
    await page.get_by_text("More options: dates, priority, retention").click()
    await page.locator("input[name=starts_at]").fill("2037-10-25T02:30")
    await page.get_by_role("button", name="Add track").click()
    await expect(page.locator("#wrong-starts_at")).to_contain_text("Choose one")
    await page.locator("select[name=starts_at_fold]").select_option(label="CET (UTC+01:00)")
    await page.get_by_role("button", name="Add track").click()
    await page.wait_for_url("**/saved")
    [(right,)] = program.rows(
        "SELECT starts_at = '2037-10-25 01:30+00' FROM tracks WHERE value = 'twice'"
    )
    assert right


async def test_pages_say_their_zone_and_follow_the_account(
    program: Program, open_tab: OpenTab
) -> None:
    tab = await open_tab(program, "zoe", "admin", timezone_id="Asia/Kolkata", locale="en-GB")
    page = tab.page
    await tab.open("/")
    await tab.open("/account")
    await expect(page.get_by_text("are shown in Asia/Calcutta")).to_be_visible()
    await page.get_by_label("Time zone").fill("Europe/Berlin")
    await page.get_by_label("Language of dates").select_option(label="Deutsch")
    await page.locator("form", has=page.get_by_label("Time zone")).get_by_role("button").click()
    await expect(page.get_by_text("are shown in Europe/Berlin")).to_be_visible()
    assert program.rows("SELECT time_zone, locale FROM users WHERE name = 'zoe'") == [
        ("Europe/Berlin", "de")
    ]
    [(number, day)] = program.rows(
        "INSERT INTO tracks (value, owner, created_at) VALUES ('zone', 'zoe', now() - interval"
        " '2 days') RETURNING id, to_char(created_at AT TIME ZONE 'Europe/Berlin', 'FMDD.')"
    )
    await tab.open(f"/tracks/{number}?step=day")
    await expect(page.get_by_text("today (Europe/Berlin)")).to_be_visible()
    await expect(page.locator("#when")).to_contain_text("Time (Europe/Berlin)")
    created = page.locator("h1 ~ p time").first
    title = await created.get_attribute("title")
    assert title is not None
    assert title.startswith(day)
