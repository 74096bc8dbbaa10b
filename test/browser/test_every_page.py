"""What holds for every page, whatever it is for; new pages are found by themselves."""

from __future__ import annotations

import re
from typing import Any, Literal
from uuid import uuid4

import pytest
from playwright.async_api import ViewportSize

from browser import OpenTab, Program, Tab
from web.app import ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="session")

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
WEBHOOK = """
WITH hook AS (
    INSERT INTO webhooks (user_id, name, url, state, reason, position)
    SELECT min(id), 'mine', 'https://example.org', 'disabled', 'It fails.', ''
    FROM users ON CONFLICT (user_id, name) DO UPDATE SET reason = excluded.reason RETURNING id),
delivery AS (
    INSERT INTO webhook_deliveries
        (webhook_id, message_id, event, tweets, state, created_at, next_at, status, result, answer)
    SELECT id, 'msg_1', 'tweets.matched', '{1}', 'dead', now(), NULL, 500, 'It fails.', 'an answer'
    FROM hook)
SELECT id FROM hook
"""
COLOURS: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SERIOUS = ("serious", "critical")


async def _fill(program: Program, address: str) -> str:
    """The address with numbers of things that are there."""
    if address == "/welcome":
        return f"/welcome?key={await program.invite(f'guest-{uuid4().hex[:12]}')}"
    [[track]] = program.rows("SELECT min(id) FROM tracks")
    [[source]] = program.rows("SELECT min(id) FROM sources")
    numbers = {"source_id": source, "name": "simulated"}
    if address.startswith("/sources"):
        numbers["id"] = source
    if address.startswith("/webhooks/"):
        [[numbers["id"]]] = program.rows(WEBHOOK)
    return PLACE.sub(lambda found: str(numbers.get(found[1], track)), address)


async def _open(tab: Tab, program: Program, address: str) -> bool:
    """Whether it is a whole page, which is open now."""
    path = await _fill(program, address)
    answer = await tab.page.request.get(program.address + path, max_redirects=0)
    if not (await _is_page(answer)):
        assert answer.status != 404 or "{name}" in address, path
        return False
    assert await tab.open(path) == 200
    await tab.wait_for("() => !document.querySelector('.htmx-request')")
    return True


async def _is_page(answer: Any) -> bool:
    assert answer.status < 500, await answer.text()
    is_html = answer.headers.get("content-type", "").startswith("text/html")
    return is_html and answer.status == 200 and "<!doctype html>" in await answer.text()


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_is_for_everybody(
    program: Program, open_tab: OpenTab, address: str, axe: str
) -> None:
    """For people with other eyes and hands, by day and by night, and on a phone."""
    who = "" if address in PUBLIC else "admin"
    tab = await open_tab(program, who, viewport=PHONE, reduced_motion="reduce")
    if not await _open(tab, program, address):
        return
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert await tab.page.title() != ""
    assert await tab.page.locator("h1").count() == 1
    await tab.page.evaluate(axe)
    for colours in COLOURS:
        await tab.page.emulate_media(color_scheme=colours)
        assert await _barriers(tab) == [], colours
    await tab.page.set_viewport_size(DESK)
    assert await _barriers(tab) == []


async def _barriers(tab: Tab) -> list[tuple[str, str, list[str]]]:
    found = await tab.page.evaluate("() => axe.run({resultTypes: ['violations']})")
    return [
        (fault["id"], fault["help"], [node["html"][:200] for node in fault["nodes"][:5]])
        for fault in found["violations"]
        if fault["impact"] in SERIOUS
    ]
