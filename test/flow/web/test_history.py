"""What was done to tracks, and taking it back."""

import asyncio
import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages, Visitor

from stream.tracks import NewTrack
from web.person import SCOPES, Person
from web.tracking import desk
from web.tracking.desk import Changes


async def person(pages: "Pages", name: str) -> Person:
    user_id = await pages.user(name)
    [row] = await pages.database.fetch("SELECT role FROM users WHERE id = $1", user_id)
    return Person(user_id, name, row["role"], frozenset(SCOPES))


async def newest(pages: "Pages", action: str) -> int:
    """The number of the last entry of this kind."""
    [row] = await pages.database.fetch(
        "SELECT max(id) AS id FROM track_history WHERE action = $1", action
    )
    return int(row["id"])


async def undo(visitor: "Visitor", number: int) -> int:
    status, _ = await visitor.post(f"/history/{number}/undo")
    return status


async def said(pages: "Pages") -> list[tuple[str, int, bool, list[str]]]:
    """Value, priority and whether it is followed, of every track, and with whom it is shared."""
    rows = await pages.database.fetch(
        """SELECT value, priority, enabled,
            ARRAY(SELECT name FROM track_shares JOIN users ON users.id = user_id
                  WHERE track_id = tracks.id ORDER BY name) AS names
        FROM tracks ORDER BY id"""
    )
    return [tuple(row) for row in rows]


async def test_everything_can_be_taken_back(pages: "Pages") -> None:
    ana, who = await pages.enter("ana"), await person(pages, "ana")
    for name in ("bob", "eve"):
        await pages.user(name)
    number = await desk.add(pages.database, who, NewTrack("snow"))
    await desk.change(pages.database, who, number, Changes(value="ice", priority=3))
    await desk.enable(pages.database, who, [number], enabled=False)
    await desk.share(pages.database, who, number, ["bob", "eve"])
    await desk.share(pages.database, who, number, ["eve"])
    await desk.remove(pages.database, who, number)
    assert await said(pages) == []
    for action, expected in (
        ("removed", [("ice", 3, False, ["eve"])]),
        ("unshared", [("ice", 3, False, ["bob", "eve"])]),
        ("paused", [("ice", 3, True, ["bob", "eve"])]),
        ("changed", [("snow", 0, True, ["bob", "eve"])]),
        ("added", []),
    ):
        assert await undo(ana, await newest(pages, action)) == 303
        assert await said(pages) == expected
    [row] = await pages.database.fetch("SELECT DISTINCT track_id, actor FROM track_history")
    assert tuple(row) == (number, "ana")  # it came back with the number that its tweets know


async def test_what_was_changed_again_is_not_overwritten(pages: "Pages") -> None:
    ana, who = await pages.enter("ana"), await person(pages, "ana")
    number = await desk.add(pages.database, who, NewTrack("snow"))
    await desk.change(pages.database, who, number, Changes(value="ice"))
    first = await newest(pages, "changed")
    await desk.change(pages.database, who, number, Changes(priority=7))
    await desk.change(pages.database, who, number, Changes(value="hail"))
    assert await undo(ana, first) == 409
    assert await said(pages) == [("hail", 7, True, [])]
    assert await undo(ana, await newest(pages, "changed")) == 303
    assert await undo(ana, first) == 303
    assert await said(pages) == [("snow", 7, True, [])]  # what came between stays
    await desk.remove(pages.database, who, number)
    assert await undo(ana, await newest(pages, "removed")) == 303
    assert await undo(ana, await newest(pages, "removed")) == 409


async def test_only_who_may_change_a_track_takes_back(pages: "Pages") -> None:
    who = await person(pages, "ana")
    bob, root = await pages.enter("bob"), await pages.enter("root", "admin")
    number = await desk.add(pages.database, who, NewTrack("snow"))
    await desk.change(pages.database, who, number, Changes(value="ice"))
    changed = await newest(pages, "changed")
    assert await undo(bob, changed) == 404
    await desk.share(pages.database, who, number, ["bob"])
    assert await undo(bob, changed) == 403
    await desk.remove(pages.database, who, number)
    removed = await newest(pages, "removed")
    assert await undo(bob, removed) == 404
    assert await undo(root, removed) == 303
    for nonsense in (0, 10**18, 10**30):
        assert await undo(root, nonsense) == 404
    assert await said(pages) == [("ice", 0, True, ["bob"])]


async def test_only_whose_a_track_was_in_the_end_brings_it_back(pages: "Pages") -> None:
    """What ana removed once was given to bob since, who removed it, too."""
    ana, bob = await pages.enter("ana"), await pages.enter("bob")
    root, boss = await pages.enter("root", "admin"), await person(pages, "root")
    her, him = await person(pages, "ana"), await person(pages, "bob")
    number = await desk.add(pages.database, her, NewTrack("snow"))
    await desk.remove(pages.database, her, number)
    stale = await newest(pages, "removed")
    assert await undo(ana, stale) == 303
    await desk.change(pages.database, boss, number, Changes(owner="bob", value="secret"))
    assert [await undo(each, stale) for each in (ana, bob, root)] == [404, 409, 409]
    await desk.remove(pages.database, him, number)
    last = await newest(pages, "removed")
    assert [await undo(each, stale) for each in (ana, bob, root)] == [404, 409, 409]
    assert await undo(ana, last) == 404
    for path in ("/history", f"/tracks/{number}/history"):
        assert "secret" not in (await ana.get(path))[1]
    for visitor in (bob, root):
        for path in ("/history", f"/tracks/{number}/history"):
            _, text = await visitor.get(path)
            assert re.findall(r"/history/(\d+)/undo", text) == [str(last)]
    assert await undo(bob, last) == 303
    rows = await pages.database.fetch("SELECT owner, value FROM tracks")
    assert [tuple(row) for row in rows] == [("bob", "secret")]


async def test_a_track_that_was_given_away_is_not_taken_back(pages: "Pages") -> None:
    ana, bob = await pages.enter("ana"), await pages.enter("bob")
    root, boss = await pages.enter("root", "admin"), await person(pages, "root")
    number = await desk.add(pages.database, await person(pages, "ana"), NewTrack("snow"))
    added = await newest(pages, "added")
    await desk.change(pages.database, boss, number, Changes(owner="bob"))
    given = await newest(pages, "changed")
    assert [await undo(ana, each) for each in (added, given)] == [404, 404]
    assert await undo(bob, given) == 403
    assert await undo(root, given) == 303


async def test_two_who_bring_a_track_back_at_once_have_it_once(pages: "Pages") -> None:
    ana, who = await pages.enter("ana"), await person(pages, "ana")
    for _ in range(5):
        number = await desk.add(pages.database, who, NewTrack("snow"))
        await desk.remove(pages.database, who, number)
        last = await newest(pages, "removed")
        found = await asyncio.gather(*(undo(ana, last) for _ in range(4)))
        assert sorted(found) == [303, 409, 409, 409]


async def test_the_page_shows_who_did_what(pages: "Pages") -> None:
    ana, who = await pages.enter("ana"), await person(pages, "ana")
    bob, root = await pages.enter("bob"), await pages.enter("root", "admin")
    number = await desk.add(pages.database, who, NewTrack("snow"))
    await desk.change(pages.database, who, number, Changes(value="<i>ice</i>"))
    await pages.database.execute("INSERT INTO tracks (value) VALUES ('by psql')")

    async def lines(visitor: "Visitor", path: str) -> list[str]:
        status, text = await visitor.get(path)
        assert status == 200
        found = re.findall(r'<li id="entry-\d+">(.*?)</li>', text, re.DOTALL)
        timeless = [re.sub(r"<time.*?</time>", "", each) for each in found]
        plain = [html.unescape(re.sub("<[^>]*>", "", each)).split() for each in timeless]
        return [" ".join(each) for each in plain]

    hers = ["ana changed it value: snow → <i>ice</i> Undo", "ana began to follow it snow Undo"]
    assert await lines(ana, f"/tracks/{number}/history") == hers
    assert len(await lines(root, "/history")) == 3
    assert (await lines(root, "/history"))[
        0
    ] == "somebody at the machine began to follow it by psql Undo"
    assert await lines(bob, "/history") == []
    await desk.remove(pages.database, who, number)
    assert (await lines(ana, "/history"))[0] == "ana removed it <i>ice</i> Undo"
    assert len(await lines(ana, f"/tracks/{number}/history")) == 3
    assert (await bob.get(f"/tracks/{number}/history"))[0] == 404


async def test_what_was_taken_back_reads_so(pages: "Pages") -> None:
    ana, who = await pages.enter("ana"), await person(pages, "ana")
    number = await desk.add(pages.database, who, NewTrack("snow"))
    await desk.change(pages.database, who, number, Changes(value="ice", networks=["x_v1"]))
    await undo(ana, await newest(pages, "changed"))
    await desk.change(pages.database, who, number, Changes(value="ice"))
    await desk.remove(pages.database, who, number)
    await undo(ana, await newest(pages, "removed"))
    _, text = await ana.get("/history")
    words = re.findall(r"<strong><bdi>ana</bdi></strong> (.*)\n", text)
    assert words == [
        "brought it back",
        "removed it",
        "changed it",
        "changed it back",
        "changed it",
        "began to follow it",
    ]
    assert "<bdi>X, API v1.1</bdi>" in text


async def test_a_long_history_comes_in_pages(pages: "Pages") -> None:
    ana, who = await pages.enter("ana"), await person(pages, "ana")
    number = await desk.add(pages.database, who, NewTrack("snow"))
    for step in range(60):
        await desk.change(pages.database, who, number, Changes(priority=step + 1))
    path, found = f"/tracks/{number}/history", []
    while path:
        _, text = await ana.get(path)
        found += re.findall(r'id="entry-(\d+)"', text)
        older = re.search(r'rel="next" href="(.*?)"', text)
        path = html.unescape(older[1]) if older else ""
    assert len(found) == len(set(found)) == 61


async def test_a_history_of_psql_alone_can_be_changed(pages: "Pages") -> None:
    """Tracks are rows like others: what psql does is no conflict for the pages."""
    root = await pages.enter("root", "admin")
    await pages.database.execute("ALTER TABLE tracks DISABLE TRIGGER tracks_history")
    await pages.database.execute("INSERT INTO tracks (value) VALUES ('older than histories')")
    await pages.database.execute("ALTER TABLE tracks ENABLE TRIGGER tracks_history")
    _, text = await root.get("/tracks/1/change")
    version = re.search(r'name="version" value="(\d+)"', text)
    assert version is not None
    form = {"kind": "keyword", "value": "ice", "version": version[1]}
    assert (await root.post("/tracks/1/change", form))[0] == 303
