"""The box Use this data in a real browser: lines are copied, over plain HTTP too."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from browser import OpenTab, Program

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 380, "height": 800}
WITHOUT_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
READ = "() => navigator.clipboard.readText()"


@pytest.mark.parametrize("insecure", [False, True])
async def test_lines_are_copied_as_they_are_shown(
    program: Program, open_tab: OpenTab, insecure: bool
) -> None:
    """Where browsers give pages no clipboard, the lines are selected and copied."""
    tab = await open_tab(program, viewport=PHONE, permissions=["clipboard-read", "clipboard-write"])
    if insecure:
        await tab.page.add_init_script(
            "const own = navigator.clipboard; window.readClipboard = () => own.readText();"
            + WITHOUT_CLIPBOARD
        )
    [[track]] = program.rows("SELECT min(id) FROM tracks")
    await tab.open(f"/tracks/{track}?words=it's+%22snow%22")
    await tab.page.get_by_text("Use this data in other programs").click()
    for title in ("pandas", "psql"):
        await tab.page.locator("summary", has_text=title).click()
        lines = tab.page.get_by_role("region", name=f"Lines for {title}")
        await expect(lines).to_be_visible()
        await tab.page.get_by_role("button", name=f"Copy the lines for {title}").click()
        await expect(tab.page.locator("#says")).to_have_text("Copied.")
        read = "() => window.readClipboard()" if insecure else READ
        assert await tab.page.evaluate(read) == await lines.text_content()
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def test_lines_follow_the_filters(program: Program, open_tab: OpenTab) -> None:
    tab = await open_tab(program)
    [[track]] = program.rows("SELECT min(id) FROM tracks")
    await tab.open(f"/tracks/{track}")
    await tab.page.get_by_label("Words in the text").fill("blizzard")
    await tab.page.get_by_role("button", name="Filter").click()
    await expect(tab.page.locator("#lines-curl")).to_contain_text("words=blizzard")


async def test_live_leads_to_the_lines_of_its_query(program: Program, open_tab: OpenTab) -> None:
    tab = await open_tab(program)
    await tab.open("/live")
    await tab.page.get_by_label("Query").fill("snow lang:en")
    await tab.page.get_by_role("button", name="Use this data").click()
    await tab.page.wait_for_url("**/use-data?query=snow*")
    await expect(tab.page.locator("#lines-curl")).to_contain_text("query=snow lang:en")
