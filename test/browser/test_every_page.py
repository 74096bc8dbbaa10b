"""What holds for every page, whatever it is for; new pages are found by themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import pytest

from web.app import ROUTES

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.browser.conftest import House, OpenWindow, Watched

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 380, "height": 800}
PLACE = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^}]*\})?)?\}")  # {id}, {id:\d{1,18}}
PUBLIC = ("/login", "/welcome")
# A link of a page, and no form's answer, file, or socket.
ADDRESSES = sorted(
    {
        route.path
        for route in ROUTES
        if route.method == "GET" and route.handler.__module__.startswith("web.pages")
    }
)
COLOURS: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SERIOUS = ("serious", "critical")


def _who(address: str) -> str:
    return "" if address in PUBLIC else "admin"


async def _fill(house: House, address: str) -> str:
    """The address with numbers of things that are there."""
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
        return False
    assert await watched.open(path) == 200
    await watched.until("() => !document.querySelector('.htmx-request')")
    return True


async def _is_page(answer: Any) -> bool:
    assert answer.status < 500, await answer.text()
    assert answer.status != 404, answer.url
    is_html = answer.headers.get("content-type", "").startswith("text/html")
    return is_html and answer.status == 200 and "<!doctype html>" in await answer.text()


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_can_be_used_by_everybody(
    house: House, window: OpenWindow, address: str, axe: str
) -> None:
    # axe comes into the page as a script, which the page's own rules forbid.
    watched = await window(house, _who(address), bypass_csp=True, reduced_motion="reduce")
    if not await _open(watched, house, address):
        return
    await watched.page.evaluate(axe)
    for colours in COLOURS:
        await watched.page.emulate_media(color_scheme=colours)
        found = await watched.page.evaluate("() => axe.run({resultTypes: ['violations']})")
        wrong = [
            (fault["id"], fault["help"], [node["html"][:200] for node in fault["nodes"][:5]])
            for fault in found["violations"]
            if fault["impact"] in SERIOUS
        ]
        assert wrong == [], colours


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_is_no_wider_than_a_phone(
    house: House, window: OpenWindow, address: str
) -> None:
    watched = await window(house, _who(address), viewport=PHONE)
    if not await _open(watched, house, address):
        return
    assert await watched.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert await watched.page.title() != ""
    assert await watched.page.locator("h1").count() == 1
