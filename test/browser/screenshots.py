"""Pictures of the real pages, for the README: `make screenshots`. No test; pytest only gives the
program and the browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import FloatRect

from browser import MakeProgram, OpenTab, Program, Tab

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOLDER = Path(__file__).resolve().parents[2] / "web/screenshots"
WIDE = {"width": 1000, "height": 800}
PHONE = {"width": 380, "height": 760}
FIRST = 1500  # tweets, so that there is something to see
# Days that were not lived through: a wave for each track, with a high point in the evening.
PAST = """
INSERT INTO track_minutes (track_id, minute, tweets)
SELECT id, minute, (110 * (1.3 + sin(extract(epoch FROM minute) / 13750 + id % 4))
    * (0.8 + 0.4 * random()) / (1 + id % 3))::integer
FROM tracks CROSS JOIN generate_series(date_trunc('minute', now()) - interval '7 days',
    date_trunc('minute', now()) - interval '1 minute', interval '1 minute') AS minute
ON CONFLICT (track_id, minute) DO UPDATE SET tweets = excluded.tweets;
UPDATE tracks SET created_at = now() - interval '9 days';
INSERT INTO track_hours (track_id, hour, tweets, bytes)
SELECT track_id, date_trunc('hour', minute, 'UTC') AS hour, sum(tweets), sum(tweets) * 2000
FROM track_minutes GROUP BY 1, 2
ON CONFLICT (track_id, hour) DO UPDATE SET tweets = excluded.tweets, bytes = excluded.bytes;
INSERT INTO track_days (track_id, day, tweets, bytes)
SELECT track_id, (hour AT TIME ZONE 'UTC')::date AS day, sum(tweets), sum(bytes)
FROM track_hours GROUP BY 1, 2
ON CONFLICT (track_id, day) DO UPDATE SET tweets = excluded.tweets, bytes = excluded.bytes;
INSERT INTO gaps (source_id, began_at, ended_at, cause, detail)
SELECT id, now() - interval '19 hours', now() - interval '18 hours', 'network', 'Connection reset'
FROM sources
"""
COUNT = "SELECT coalesce(sum(frames), 0) > %s FROM source_minutes"
TRACKS = (
    ("keyword", "election"),
    ("keyword", "Köln,Düsseldorf"),
    ("user", "@nasa,@esa"),
    ("place", "-74.3,40.5,-73.7,40.9"),
    ("query", "(cat OR dog) lang:en -is:retweet"),
)


async def _busy(program: Program, eventually: Callable[..., Awaitable[None]]) -> None:
    for track in TRACKS:
        program.rows("INSERT INTO tracks (owner, kind, value) VALUES ('admin', %s, %s)", *track)
    program.rows("UPDATE tracks SET owner = 'admin'")
    await eventually(lambda: program.rows(COUNT, FIRST) == [(True,)], 300)
    program.rows(PAST)


async def _take(
    tab: Tab, name: str, path: str, ready: str, value: str = "", height: int = 0
) -> None:
    await tab.open(path)
    if value:
        await tab.page.get_by_label("Value", exact=True).fill(value)
    await tab.page.locator(ready).nth(2).wait_for()
    await tab.wait_for("() => !document.querySelector('.htmx-request')")
    await tab.page.evaluate("document.activeElement.blur()")
    size = tab.page.viewport_size
    assert size is not None
    clip: FloatRect = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]}
    await tab.page.screenshot(path=FOLDER / f"{name}.png", full_page=True, clip=clip)


async def test_pictures(
    make_program: MakeProgram,
    open_tab: OpenTab,
    empty_database: Callable[[], str],
    eventually: Callable[..., Awaitable[None]],
) -> None:
    FOLDER.mkdir(exist_ok=True)
    async with make_program("pictures", empty_database()) as program:
        wide = await open_tab(program, viewport=WIDE)
        await _busy(program, eventually)
        await _take(wide, "tracks", "/", "table a")
        await _take(wide, "track", "/tracks/1", "article")
        await _take(wide, "new", "/tracks/new", "article mark", value="snow day", height=1450)
        await _take(wide, "live", "/live?query=snow+lang:en", "article mark")
        phone = await open_tab(program, viewport=PHONE, color_scheme="dark")
        await _take(phone, "phone", "/tracks/1", "article")
