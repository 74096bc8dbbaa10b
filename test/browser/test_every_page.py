"""What holds for every page, whatever it is for; new pages are found by themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import pytest
from playwright.async_api import ViewportSize

from web.app import ROUTES

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.browser.conftest import House, OpenWindow, Watched

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

PHONE = {"width": 380, "height": 800}
DESK: ViewportSize = {"width": 1200, "height": 900}
PLACE = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^}]*\})?)?\}")  # {id}, {id:\d{1,18}}
PUBLIC = ("/login", "/welcome")
# A link of a page, and no form's answer, file, or socket.
ADDRESSES = sorted(
    {
        route.path
        for route in ROUTES
        if route.method == "GET" and route.handler.__module__.startswith("web.pages")
    }
    | {"/api"}
)
COLOURS: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SERIOUS = ("serious", "critical")


async def _fill(house: House, address: str) -> str:
    """The address with numbers of things that are there."""
    if address == "/welcome":
        return house.link.removeprefix(house.address)
    [[track]] = house.ask("SELECT min(id) FROM tracks")
    [[source]] = house.ask("SELECT min(id) FROM sources")
    numbers = {"source_id": source, "name": "simulated"}
    if address.startswith("/sources"):
        numbers["id"] = source
    return PLACE.sub(lambda found: str(numbers.get(found[1], track)), address)


async def _open(watched: Watched, house: House, address: str) -> bool:
    """Whether it is a whole page, which is open now."""
    path = await _fill(house, address)
    answer = await watched.page.request.get(house.address + path, max_redirects=0)
    if not (await _is_page(answer)):
        assert answer.status != 404 or "{name}" in address, path
        return False
    assert await watched.open(path) == 200
    await watched.until("() => !document.querySelector('.htmx-request')")
    return True


async def _is_page(answer: Any) -> bool:
    assert answer.status < 500, await answer.text()
    is_html = answer.headers.get("content-type", "").startswith("text/html")
    return is_html and answer.status == 200 and "<!doctype html>" in await answer.text()


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_is_for_everybody(
    house: House, window: OpenWindow, address: str, axe: str
) -> None:
    """For people with other eyes and hands, by day and by night, and on a phone."""
    who = "" if address in PUBLIC else "admin"
    watched = await window(house, who, viewport=PHONE, reduced_motion="reduce")
    if not await _open(watched, house, address):
        return
    assert await watched.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert await watched.page.title() != ""
    assert await watched.page.locator("h1").count() == 1
    await watched.page.evaluate(axe)
    for colours in COLOURS:
        await watched.page.emulate_media(color_scheme=colours)
        assert await _barriers(watched) == [], colours
    await watched.page.set_viewport_size(DESK)
    assert await _barriers(watched) == []


async def _barriers(watched: Watched) -> list[tuple[str, str, list[str]]]:
    found = await watched.page.evaluate("() => axe.run({resultTypes: ['violations']})")
    return [
        (fault["id"], fault["help"], [node["html"][:200] for node in fault["nodes"][:5]])
        for fault in found["violations"]
        if fault["impact"] in SERIOUS
    ]
