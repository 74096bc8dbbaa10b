"""A track of each kind is made, becomes active, is changed and paused, as a person does it."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from browser import OpenTab, Program

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOX = re.compile(r"^-?\d[-\d.]*(,-?\d[-\d.]*){3}$")
KINDS = {
    "keyword": ("coffee break", "coffee break,tea time"),
    "user": ("@esa", "@esa,@jaxa_en"),
    "place": ("13.1,52.3,13.8,52.7", "13.1,52.3,13.9,52.7"),
    "query": ("(cat OR dog) -is:retweet", "(cat OR dog) -is:retweet lang:en"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_track_of_each_kind(program: Program, open_tab: OpenTab, kind: str) -> None:
    tab = await open_tab(program)
    page, (value, other) = tab.page, KINDS[kind]
    await tab.open("/tracks/new")
    await page.locator(f"input[name=kind][value={kind}]").check()
    await page.get_by_label("Value", exact=True).fill(value)
    await expect(page.get_by_text("Valid.")).to_be_visible()
    await page.get_by_role("button", name="Add track").click()
    await _becomes_active(page)
    await page.get_by_role("link", name="Open the track").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(value)
    await page.get_by_role("link", name="Edit", exact=True).click()
    await page.get_by_label("Value", exact=True).fill(other)
    await page.get_by_role("button", name="Save").click()
    await _becomes_active(page)
    await page.get_by_role("link", name="Open the track").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(other)
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("button", name="Resume")).to_be_visible()
    [(enabled, owner)] = program.rows(
        "SELECT enabled, owner FROM tracks WHERE kind = %s AND value = %s", kind, other
    )
    assert (enabled, owner) == (False, "admin")


async def _becomes_active(page: Page) -> None:
    await expect(page.get_by_text("tracked since")).to_be_visible()


async def test_what_cannot_be_understood_is_marked_and_explained(
    program: Program, open_tab: OpenTab
) -> None:
    tab = await open_tab(program)
    page = tab.page
    await tab.open("/tracks/new")
    await page.locator("input[name=kind][value=query]").check()
    await page.get_by_label("Value", exact=True).fill("(snow OR ice")
    await expect(page.locator("#mistake")).to_be_visible()
    await expect(page.get_by_label("Value", exact=True)).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Value", exact=True).fill("(snow OR ice)")
    await expect(page.get_by_text("Valid.")).to_be_visible()
    await expect(page.get_by_label("Value", exact=True)).to_have_attribute("aria-invalid", "false")


async def test_a_box_on_the_map_is_a_place(program: Program, open_tab: OpenTab) -> None:
    tab = await open_tab(program)
    page = tab.page
    await tab.open("/tracks/new?kind=place")
    box = await page.locator("#map").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5, steps=5)
    await page.mouse.up()
    await expect(page.get_by_text("Valid.")).to_be_visible()
    west, south, east, north = map(
        float, (await page.get_by_label("Value", exact=True).input_value()).split(",")
    )
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90


async def test_a_city_is_a_place(program: Program, open_tab: OpenTab) -> None:
    """Its box is shown on the map, can be chosen by keyboard, and a second one added."""
    tab = await open_tab(program)
    page = tab.page
    await tab.open("/tracks/new")
    await page.locator("input[name=kind][value=place]").check()
    await page.get_by_label("Find a city").fill("Paris")
    await page.get_by_label("Find a city").press("Enter")
    city = page.get_by_role("button", name="Paris, France")
    await expect(city).to_be_visible(timeout=60_000)
    await expect(page.get_by_role("button", name="Paris, TX, United States")).to_be_visible()
    await city.press("Enter")
    value = page.get_by_label("Value", exact=True)
    await expect(value).to_have_value(BOX)
    await expect(page.get_by_text("Valid.")).to_be_visible()
    view = await page.locator("#map").get_attribute("viewBox")
    assert view is not None
    left, top, wide, high = map(float, view.split())
    assert left < 2.3 < left + wide < 10
    assert top < -48.9 < top + high
    paris = await value.input_value()
    await page.get_by_role("button", name="Add a box").click()
    await page.get_by_label("Find a city").fill("Springfield, IL")
    await page.locator("select[name=size]").select_option("100")
    await page.get_by_role("button", name="Find", exact=True).click()
    await page.get_by_role("button", name="Springfield, IL, United States").click(timeout=60_000)
    await expect(value).to_have_value(re.compile(f"^{re.escape(paris)}; -9"))
    await page.get_by_role("button", name="Add track").click()
    await page.wait_for_url("**/saved")
    [(kind,)] = program.rows("SELECT kind FROM tracks WHERE value LIKE $$%; -9%$$")
    assert kind == "place"


async def test_a_box_across_the_date_line_is_drawn_on_both_sides(
    program: Program, open_tab: OpenTab
) -> None:
    page = (tab := await open_tab(program)).page
    await tab.open("/tracks/new?kind=place")
    value = page.get_by_label("Value", exact=True)
    await value.fill("178,-19,-179,-17")
    await expect(page.get_by_text("Valid.")).to_be_visible()
    drawing = page.locator("#map .box")
    await expect(drawing).to_have_attribute("d", "M178 17H180V19H178ZM-180 17H-179V19H-180Z")
    east = page.get_by_role("slider", name="East edge")
    await east.press("ArrowLeft")
    await expect(value).to_have_value("178,-19,-180,-17")
    await east.press("ArrowLeft")
    await expect(value).to_have_value("178,-19,179,-17")
    await expect(drawing).to_have_attribute("d", "M178 17H179V19H178Z")
    await east.press("ArrowLeft")
    await expect(value).to_have_value("178,-19,179,-17")


async def test_a_schedule_is_kept_when_it_is_refused(program: Program, open_tab: OpenTab) -> None:
    """Both times stand there still, in the reader's zone; only the wrong one is replaced."""
    tab = await open_tab(program)
    page = tab.page
    await tab.open("/tracks/new")
    await page.get_by_label("Value", exact=True).fill("late snow")
    await page.get_by_text("More options").click()
    await page.get_by_label("Starts").fill("2099-12-01T10:00")
    await page.get_by_label("Ends").fill("2099-11-30T10:00")
    await page.get_by_role("button", name="Add track").click()
    await expect(page.get_by_text("The end must be after the start")).to_be_visible()
    await expect(page.get_by_label("Starts")).to_have_value("2099-12-01T10:00")
    await expect(page.get_by_label("Ends")).to_have_value("2099-11-30T10:00")
    [refused] = tab.faults  # and no time that does not conform
    assert "422" in refused
    tab.faults.clear()
    await page.get_by_label("Ends").fill("2099-12-31T10:00")
    await page.get_by_role("button", name="Add track").click()
    await page.wait_for_url("**/saved")
    [(days,)] = program.rows("SELECT ends_at - starts_at FROM tracks WHERE value = 'late snow'")
    assert days.days == 30


async def test_coordinates_do_not_become_words(program: Program, open_tab: OpenTab) -> None:
    tab = await open_tab(program)
    page = tab.page
    await tab.open("/tracks/new?kind=place")
    value = page.get_by_label("Value", exact=True)
    await value.fill("13.1,52.3,13.8,52.7; Berlin")
    await page.locator("input[name=kind][value=keyword]").check()
    await expect(value).to_have_value("Berlin")
    await value.fill("")
    await page.locator("input[name=kind][value=place]").check()
    await expect(value).to_have_value("13.1,52.3,13.8,52.7; Berlin")


async def test_a_track_is_made_without_a_mouse(program: Program, open_tab: OpenTab) -> None:
    tab = await open_tab(program)
    page = tab.page
    await tab.open("/")
    await _tab_to(page, "New track")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/tracks/new")
    await expect(page.get_by_label("Value", exact=True)).to_be_focused()
    await page.keyboard.type("hand made")
    await _tab_to(page, "Add track")
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


async def test_text_of_tracks_is_only_text(program: Program, open_tab: OpenTab) -> None:
    hostile = (
        '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>'
    )
    [[number]] = program.rows("INSERT INTO tracks (value) VALUES (%s) RETURNING id", hostile)
    tab = await open_tab(program)
    for path in ("/", f"/tracks/{number}", f"/tracks/{number}/change", f"/tracks/{number}/history"):
        await tab.open(path)
        assert await tab.page.title() != "taken"
        assert await tab.page.locator("img").count() == 0
        assert await tab.page.get_by_text("<script>").count() > 0, path
    program.rows("DELETE FROM tracks WHERE id = %s", number)


async def test_the_first_tweet_of_a_track_appears_without_reloading(
    program: Program, open_tab: OpenTab
) -> None:
    [[number]] = program.rows(
        "INSERT INTO tracks (value, enabled) VALUES ('not yet written', false) RETURNING id"
    )
    tab = await open_tab(program)
    await tab.open(f"/tracks/{number}")
    await expect(tab.page.get_by_text("No tweets yet")).to_be_visible()
    program.rows("UPDATE tracks SET enabled = true WHERE id = %s", number)
    await expect(tab.page.locator("article").first).to_be_visible()
    program.rows("DELETE FROM tracks WHERE id = %s", number)
