"""A track of each kind is made, becomes active, is changed and paused, as a person does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Page, expect

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.browser.conftest import House, OpenWindow

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

KINDS = {
    "keyword": ("coffee break", "coffee break,tea time"),
    "user": ("@esa", "@esa,@jaxa_en"),
    "place": ("13.1,52.3,13.8,52.7", "13.1,52.3,13.9,52.7"),
    "query": ("(cat OR dog) -is:retweet", "(cat OR dog) -is:retweet lang:en"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_track_of_each_kind(house: House, window: OpenWindow, kind: str) -> None:
    watched = await window(house)
    page, (value, other) = watched.page, KINDS[kind]
    await watched.open("/tracks/new")
    await page.locator(f"input[name=kind][value={kind}]").check()
    await page.get_by_label("Value", exact=True).fill(value)
    await expect(page.get_by_text("This can be understood.")).to_be_visible()
    await page.get_by_role("button", name="Follow it").click()
    await _becomes_active(page)
    await page.get_by_role("link", name="Open the track").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(value)
    await page.get_by_role("link", name="Change", exact=True).click()
    await page.get_by_label("Value", exact=True).fill(other)
    await page.get_by_role("button", name="Save").click()
    await _becomes_active(page)
    await page.get_by_role("link", name="Open the track").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(other)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("button", name="Resume")).to_be_visible()
    [(enabled, owner)] = house.ask(
        "SELECT enabled, owner FROM tracks WHERE kind = %s AND value = %s", kind, other
    )
    assert (enabled, owner) == (False, "admin")


async def _becomes_active(page: Page) -> None:
    await expect(page.get_by_text("on the stream since")).to_be_visible()


async def test_what_cannot_be_understood_is_marked_and_explained(
    house: House, window: OpenWindow
) -> None:
    watched = await window(house)
    page = watched.page
    await watched.open("/tracks/new")
    await page.locator("input[name=kind][value=query]").check()
    await page.get_by_label("Value", exact=True).fill("(snow OR ice")
    await expect(page.locator("#mistake")).to_be_visible()
    await expect(page.get_by_label("Value", exact=True)).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Value", exact=True).fill("(snow OR ice)")
    await expect(page.get_by_text("This can be understood.")).to_be_visible()
    await expect(page.get_by_label("Value", exact=True)).to_have_attribute("aria-invalid", "false")


async def test_a_box_on_the_map_is_a_place(house: House, window: OpenWindow) -> None:
    watched = await window(house)
    page = watched.page
    await watched.open("/tracks/new?kind=place")
    box = await page.locator("#map").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5, steps=5)
    await page.mouse.up()
    await expect(page.get_by_text("This can be understood.")).to_be_visible()
    west, south, east, north = map(
        float, (await page.get_by_label("Value", exact=True).input_value()).split(",")
    )
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90


async def test_a_schedule_is_kept_when_it_is_refused(house: House, window: OpenWindow) -> None:
    """Both times stand there still, in the reader's zone; only the wrong one is written anew."""
    watched = await window(house)
    page = watched.page
    await watched.open("/tracks/new")
    await page.get_by_label("Value", exact=True).fill("late snow")
    await page.get_by_text("More: when").click()
    await page.get_by_label("Begins").fill("2099-12-01T10:00")
    await page.get_by_label("Ends").fill("2099-11-30T10:00")
    await page.get_by_role("button", name="Follow it").click()
    await expect(page.get_by_text("The end must lie after the begin")).to_be_visible()
    await expect(page.get_by_label("Begins")).to_have_value("2099-12-01T10:00")
    await expect(page.get_by_label("Ends")).to_have_value("2099-11-30T10:00")
    [refused] = watched.faults  # and no time that does not conform
    assert "422" in refused
    watched.faults.clear()
    await page.get_by_label("Ends").fill("2099-12-31T10:00")
    await page.get_by_role("button", name="Follow it").click()
    await page.wait_for_url("**/saved")
    [(days,)] = house.ask("SELECT ends_at - starts_at FROM tracks WHERE value = 'late snow'")
    assert days.days == 30


async def test_coordinates_do_not_become_words(house: House, window: OpenWindow) -> None:
    watched = await window(house)
    page = watched.page
    await watched.open("/tracks/new?kind=place")
    value = page.get_by_label("Value", exact=True)
    await value.fill("13.1,52.3,13.8,52.7; Berlin")
    await page.locator("input[name=kind][value=keyword]").check()
    await expect(value).to_have_value("Berlin")
    await value.fill("")
    await page.locator("input[name=kind][value=place]").check()
    await expect(value).to_have_value("13.1,52.3,13.8,52.7; Berlin")


async def test_a_track_is_made_without_a_mouse(house: House, window: OpenWindow) -> None:
    watched = await window(house)
    page = watched.page
    await watched.open("/")
    await _tab_to(page, "New track")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/tracks/new")
    await expect(page.get_by_label("Value", exact=True)).to_be_focused()
    await page.keyboard.type("hand made")
    await _tab_to(page, "Follow it")
    await page.keyboard.press("Enter")
    await _becomes_active(page)


async def _tab_to(page: Page, words: str) -> None:
    """Press Tab until that has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        focused = await page.evaluate("document.activeElement.textContent")
        if focused.strip() == words:
            return
    pytest.fail(f"{words} cannot be reached by Tab")


async def test_what_a_tweet_or_a_track_says_is_only_text(house: House, window: OpenWindow) -> None:
    hostile = (
        '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>'
    )
    [[number]] = house.ask("INSERT INTO tracks (value) VALUES (%s) RETURNING id", hostile)
    watched = await window(house)
    for path in ("/", f"/tracks/{number}", f"/tracks/{number}/change", f"/tracks/{number}/history"):
        await watched.open(path)
        assert await watched.page.title() != "taken"
        assert await watched.page.locator("img").count() == 0
        assert await watched.page.get_by_text("<script>").count() > 0, path
    house.ask("DELETE FROM tracks WHERE id = %s", number)
