"""The first page: who sees which tracks, with which numbers, and what many of them need."""

import html
import re

from stream.store import locks
from web_app import FRAGMENT, HOSTILE, Client, WebApp, assert_harmless, plain_text

# 60 in each minute that may be the one that runs; many in the one before the last.
AROUND_NOW = """
INSERT INTO {table} SELECT {row}
FROM (SELECT date_trunc('minute', now()) + step * interval '1 minute' AS minute, tweets
      FROM (VALUES (-2, 1000), (-1, 60), (0, 60), (1, 60)) AS steps (step, tweets)) AS minutes
"""


def listed(text: str) -> list[str]:
    """The values of the list, in its order."""
    return [html.unescape(each) for each in re.findall(r'id="track-\d+"><bdi>(.*?)</bdi>', text)]


async def test_newcomers_are_told_what_to_do(app: WebApp) -> None:
    _, text = await (await app.log_in("ana")).get("/")
    assert "No tracks yet" in text
    assert 'href="/tracks/new?kind=place"' in text
    _, text = await (await app.log_in("vera", "viewer")).get("/")
    assert "Nothing is shared with you yet" in text
    assert "/tracks/new" not in text


async def test_everybody_sees_his_own_and_what_is_shared(app: WebApp) -> None:
    ana, bob = await app.log_in("ana"), await app.log_in("bob")
    vera, root = await app.log_in("vera", "viewer"), await app.log_in("root", "admin")
    await app.add_track("of ana")
    await app.add_track("of nobody", None)
    shared = await app.add_track("of bob, shared", owner="bob")
    await app.share(shared, "ana")
    await app.share(shared, "vera")
    assert listed((await ana.get("/"))[1]) == ["of bob, shared", "of ana"]
    assert listed((await bob.get("/"))[1]) == ["of bob, shared"]
    assert listed((await root.get("/"))[1]) == ["of bob, shared", "of nobody", "of ana"]
    _, text = await vera.get("/")
    assert listed(text) == ["of bob, shared"]
    assert 'type="checkbox" name="id"' not in text
    assert "/change" not in text


async def test_the_numbers_are_those_of_the_roll_ups(app: WebApp, ana: Client) -> None:
    number = await app.add_track("snow", state="active")
    run = app.execute
    await run(AROUND_NOW.format(table="track_minutes", row="$1::bigint, minute, tweets"), number)
    await run(
        """INSERT INTO track_days VALUES
        ($1, (now() AT TIME ZONE 'UTC')::date, 1200, 0), ($1, '2026-01-01', 7654321, 0)""",
        number,
    )
    await run("INSERT INTO track_hours VALUES ($1, date_trunc('hour', now()), 1200, 0)", number)
    _, text = await ana.get("/")
    numbers = re.findall(r'<td class="number" data-label="(.*?)">(.*?)</td>', text)
    assert numbers[1:] == [("Today", "1,200"), ("Total", "7,655,521")]
    assert 60 <= int(numbers[0][1]) <= 120  # of the one that runs, and a part of the one before
    points = re.search(r'<polyline points="(.*?)"', text)
    assert points is not None
    assert len(points[1].split()) == 60
    assert points[1].startswith("0,23 ")


async def test_arriving_tweets_are_said_at_once(app: WebApp, ana: Client) -> None:
    assert "No source is enabled" in (await ana.get("/"))[1]
    run = app.execute
    await run(
        "INSERT INTO sources (name, network, state) VALUES ('a', 'x_v2', 'streaming'),"
        " ('b', 'x_v2', 'connecting')"
    )
    assert "No source is connected" in (await ana.get("/"))[1]  # no daemon is there to do it
    async with app.database.acquire() as connection:
        [row] = await connection.fetch("SELECT id FROM sources WHERE name = 'a'")
        assert await locks.try_lock(connection, row["id"], locks.SOURCE_LOCK_CLASS)
        assert "Connected to 1 source; no tweet" in (await ana.get("/"))[1]
        await locks.unlock(connection, row["id"], locks.SOURCE_LOCK_CLASS)
    for outcome in ("stored", "duplicate"):
        row = f"id, minute, '{outcome}', tweets"
        await run(f"{AROUND_NOW.format(table='source_minutes', row=row)} CROSS JOIN sources")
    _, text = await ana.get("/", headers=FRAGMENT)
    found = re.search(r"(\d+) tweets in the last minute from 2 sources\.", plain_text(text))
    assert found is not None
    assert 120 <= int(found[1]) <= 240


async def test_search_filter_and_sort(app: WebApp) -> None:
    root = await app.log_in("root", "admin")
    await app.add_track("Snow 100%", state="active")
    await app.add_track("@nasa", kind="user", owner="bob", state="refused")
    await app.add_track("snow_day", owner="bob", state="paused", enabled=False)

    async def found(query: str) -> list[str]:
        status, text = await root.get(f"/?{query}", headers=FRAGMENT)
        assert status == 200
        return listed(text)

    assert await found("q=SNOW") == ["snow_day", "Snow 100%"]
    assert await found("q=%25") == ["Snow 100%"]  # no wildcards
    assert await found("q=_") == ["snow_day"]
    assert await found("q=%00nasa") == ["@nasa"]
    assert await found("state=paused") == ["snow_day"]
    assert await found("kind=user") == ["@nasa"]
    assert await found("owner=bob") == ["snow_day", "@nasa"]
    assert await found("sort=value") == ["@nasa", "Snow 100%", "snow_day"]
    assert await found("sort=state") == ["@nasa", "Snow 100%", "snow_day"]
    assert await found("state=nonsense&kind=%27&sort=%3B&page=x") == await found("")
    assert "No track matches" in (await root.get("/?q=nothing"))[1]


async def test_the_busiest_come_first(app: WebApp, ana: Client) -> None:
    busy = await app.add_track("busy")
    await app.add_track("idle")
    for table, column, at in (
        ("track_minutes", "", "date_trunc('minute', now())"),
        ("track_hours", ", 0", "date_trunc('hour', now())"),
        ("track_days", ", 0", "(now() AT TIME ZONE 'UTC')::date"),
    ):
        await app.execute(f"INSERT INTO {table} SELECT $1, {at}, 5{column}", busy)
    for sort in ("now", "today", "total", "last"):
        assert listed((await ana.get(f"/?sort={sort}"))[1]) == ["busy", "idle"]


async def test_many_tracks_come_in_pages(app: WebApp, ana: Client) -> None:
    await app.execute(
        "INSERT INTO tracks (value, owner) SELECT 'n' || n, 'ana' FROM generate_series(1, 120) AS n"
    )
    _, first = await ana.get("/")
    _, last = await ana.get("/?page=3&q=n")
    assert listed(first)[0] == "n120"
    assert len(listed(first)) == 50
    assert listed(last)[-1] == "n1"
    assert len(listed(last)) == 20
    assert "Page 1 of 3" in first
    assert 'href="/?page=2"' in first
    assert "Page 3 of 3" in last
    assert 'href="/?q=n&amp;page=2"' in last


async def test_forgotten_tracks_are_pointed_out(app: WebApp, ana: Client) -> None:
    old, seen = await app.add_track("old"), await app.add_track("seen")
    await app.add_track("young")
    run = app.execute
    await run("UPDATE tracks SET created_at = now() - interval '40 days' WHERE id <= $1", seen)
    await run("UPDATE tracks SET last_viewed_at = now() - interval '1 day' WHERE id = $1", seen)
    _, text = await ana.get("/")
    assert "One track is unused" in text
    _, text = await ana.get("/?forgotten=1")
    assert listed(text) == ["old"]
    assert f'href="/tracks/{old}/change"' in text


async def test_htmx_gets_the_list_alone_and_keeps_the_filter(app: WebApp, ana: Client) -> None:
    await app.add_track("snow")
    _, text = await ana.get("/?q=sn&sort=value", headers=FRAGMENT)
    assert "<html" not in text
    assert listed(text) == ["snow"]
    assert 'hx-get="/?q=sn&amp;sort=value"' in text


async def test_bulk_pause_and_resume(app: WebApp, ana: Client) -> None:
    numbers = [await app.add_track(f"n{n}") for n in range(3)]

    async def paused() -> list[int]:
        rows = await app.database.fetch("SELECT id FROM tracks WHERE NOT enabled ORDER BY id")
        return [row["id"] for row in rows]

    form = [("id", str(number)) for number in numbers[:2]]
    status, _ = await ana.post("/tracks/bulk", [*form, ("do", "pause"), ("back", "q=n")])
    assert status == 303
    assert await paused() == numbers[:2]
    status, _ = await ana.post(
        "/tracks/bulk", [*form, ("do", "resume"), ("back", "q=\r\nX-Bad: 1")]
    )
    assert status == 303
    assert await paused() == []
    rows = await app.database.fetch(
        "SELECT actor, action FROM track_history WHERE action <> 'added' ORDER BY id"
    )
    assert {row["actor"] for row in rows} == {"ana"}
    assert len(rows) == 4


async def test_who_can_change_nothing_is_offered_nothing(app: WebApp) -> None:
    ana, bob = await app.log_in("ana"), await app.log_in("bob")
    shared = await app.add_track("snow", owner="bob")
    await app.share(shared, "ana")
    for client, offered in ((ana, False), (bob, True)):
        _, text = await client.get("/")
        assert listed(text) == ["snow"]
        for words in ("all on this page", "do-pause", "do-resume", "Choose", 'class="pick"'):
            assert (words in text) == offered, words


async def test_bulk_is_all_or_nothing(app: WebApp, ana: Client) -> None:
    mine, other = await app.add_track("a"), await app.add_track("b", owner="bob")
    shared = await app.add_track("c", owner="bob")
    await app.share(shared, "ana")
    for foreign, expected in ((other, 404), (shared, 403), (10**17, 404), ("x", 404)):
        form = [("id", str(mine)), ("id", str(foreign)), ("do", "pause")]
        assert (await ana.post("/tracks/bulk", form))[0] == expected
    assert await app.rows("SELECT FROM tracks WHERE NOT enabled") == []


async def test_removing_asks_first_and_can_be_undone(app: WebApp, ana: Client) -> None:
    number = await app.add_track("snow")
    assert "Remove this track?" in (await ana.get(f"/tracks/{number}/remove"))[1]
    assert (await ana.post(f"/tracks/{number}/remove"))[0] == 303
    _, text = await ana.get(f"/?removed={number}")
    assert "was removed" in text
    found = re.search(r'"(/history/\d+/undo)"', text)
    assert found is not None
    assert "was removed" not in (await (await app.log_in("bob")).get(f"/?removed={number}"))[1]
    await ana.post(found[1])
    assert listed((await ana.get("/"))[1]) == ["snow"]


async def test_only_who_may_change_a_track_does(app: WebApp) -> None:
    number = await app.add_track("snow")
    await app.user("ana")
    bob, vera = await app.log_in("bob"), await app.log_in("vera", "viewer")
    for what in ("pause", "resume", "remove"):
        assert (await bob.post(f"/tracks/{number}/{what}"))[0] == 404
        for nonsense in ("0", "x", "9" * 30, "1;--"):
            assert (await bob.post(f"/tracks/{nonsense}/{what}"))[0] == 404
    await app.share(number, "bob")
    await app.share(number, "vera")
    for what in ("pause", "resume", "remove"):
        for client in (bob, vera):
            assert (await client.post(f"/tracks/{number}/{what}"))[0] == 403
    assert await app.value("SELECT enabled FROM tracks")


async def test_hostile_values_are_only_text(app: WebApp) -> None:
    root = await app.log_in("root", "admin")
    for value in HOSTILE:
        await app.add_track(value, reason=value, state="refused")
    for path in ("/", "/history"):
        text = await root.page(path)
        shown = [html.unescape(each) for each in re.findall(r"<bdi>(.*?)</bdi>", text)]
        assert set(shown) >= set(HOSTILE)
        assert_harmless(text)
    for value in HOSTILE:
        assert_harmless(await root.page("/", params={"q": value, "owner": value}))
