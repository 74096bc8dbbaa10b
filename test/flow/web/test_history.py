"""What was done to tracks, and taking it back."""

import asyncio
import html
import re

from stream.store.sessions import SCOPES
from stream.store.tracks import NewTrack
from web.person import Person
from web.track_editing import service
from web.track_editing.service import Changes
from web_app import Client, WebApp


async def person(app: WebApp, name: str) -> Person:
    user_id = await app.user(name)
    [row] = await app.database.fetch("SELECT role FROM users WHERE id = $1", user_id)
    return Person(user_id, name, row["role"], frozenset(SCOPES))


async def newest(app: WebApp, action: str) -> int:
    """The number of the last entry of this kind."""
    [row] = await app.database.fetch(
        "SELECT max(id) AS id FROM track_history WHERE action = $1", action
    )
    return int(row["id"])


async def undo(client: Client, number: int) -> int:
    status, _ = await client.post(f"/history/{number}/undo")
    return status


async def said(app: WebApp) -> list[tuple[str, int, bool, list[str]]]:
    """Value, priority and whether it is followed, of every track, and with whom it is shared."""
    rows = await app.database.fetch(
        """SELECT value, priority, enabled,
            ARRAY(SELECT name FROM track_shares JOIN users ON users.id = user_id
                  WHERE track_id = tracks.id ORDER BY name) AS names
        FROM tracks ORDER BY id"""
    )
    return [tuple(row) for row in rows]


async def test_everything_can_be_taken_back(app: WebApp) -> None:
    ana, who = await app.log_in("ana"), await person(app, "ana")
    for name in ("bob", "eve"):
        await app.user(name)
    number = await service.add(app.database, who, NewTrack("snow"))
    await service.change(app.database, who, number, Changes(value="ice", priority=-3))
    await service.enable(app.database, who, [number], enabled=False)
    await service.share(app.database, who, number, ["bob", "eve"])
    await service.share(app.database, who, number, ["eve"])
    await service.remove(app.database, who, number)
    assert await said(app) == []
    for action, expected in (
        ("removed", [("ice", -3, False, ["eve"])]),
        ("unshared", [("ice", -3, False, ["bob", "eve"])]),
        ("paused", [("ice", -3, True, ["bob", "eve"])]),
        ("changed", [("snow", 0, True, ["bob", "eve"])]),
        ("added", []),
    ):
        assert await undo(ana, await newest(app, action)) == 303
        assert await said(app) == expected
    # It came back with the number that its tweets know.
    entries = await app.rows("SELECT DISTINCT track_id, actor FROM track_history")
    assert entries == [(number, "ana")]


async def test_what_was_changed_again_is_not_overwritten(app: WebApp) -> None:
    ana, who = await app.log_in("ana"), await person(app, "ana")
    number = await service.add(app.database, who, NewTrack("snow"))
    await service.change(app.database, who, number, Changes(value="ice"))
    first = await newest(app, "changed")
    await service.change(app.database, who, number, Changes(priority=-7))
    await service.change(app.database, who, number, Changes(value="hail"))
    assert await undo(ana, first) == 409
    assert await said(app) == [("hail", -7, True, [])]
    assert await undo(ana, await newest(app, "changed")) == 303
    assert await undo(ana, first) == 303
    assert await said(app) == [("snow", -7, True, [])]  # what came between stays
    await service.remove(app.database, who, number)
    assert await undo(ana, await newest(app, "removed")) == 303
    assert await undo(ana, await newest(app, "removed")) == 409


async def test_only_who_may_change_a_track_takes_back(app: WebApp) -> None:
    who = await person(app, "ana")
    bob, root = await app.log_in("bob"), await app.log_in("root", "admin")
    number = await service.add(app.database, who, NewTrack("snow"))
    await service.change(app.database, who, number, Changes(value="ice"))
    changed = await newest(app, "changed")
    assert await undo(bob, changed) == 404
    await service.share(app.database, who, number, ["bob"])
    assert await undo(bob, changed) == 403
    await service.remove(app.database, who, number)
    removed = await newest(app, "removed")
    assert await undo(bob, removed) == 404
    assert await undo(root, removed) == 303
    for nonsense in (0, 10**18, 10**30):
        assert await undo(root, nonsense) == 404
    assert await said(app) == [("ice", 0, True, ["bob"])]


async def test_only_whose_a_track_was_in_the_end_brings_it_back(app: WebApp) -> None:
    """What ana removed once was given to bob since, who removed it, too."""
    ana, bob = await app.log_in("ana"), await app.log_in("bob")
    root, boss = await app.log_in("root", "admin"), await person(app, "root")
    her, him = await person(app, "ana"), await person(app, "bob")
    number = await service.add(app.database, her, NewTrack("snow"))
    await service.remove(app.database, her, number)
    stale = await newest(app, "removed")
    assert await undo(ana, stale) == 303
    await service.change(app.database, boss, number, Changes(owner="bob", value="secret"))
    assert [await undo(each, stale) for each in (ana, bob, root)] == [404, 409, 409]
    await service.remove(app.database, him, number)
    last = await newest(app, "removed")
    assert [await undo(each, stale) for each in (ana, bob, root)] == [404, 409, 409]
    assert await undo(ana, last) == 404
    for path in ("/history", f"/tracks/{number}/history"):
        assert "secret" not in (await ana.get(path))[1]
    for client in (bob, root):
        for path in ("/history", f"/tracks/{number}/history"):
            _, text = await client.get(path)
            assert re.findall(r"/history/(\d+)/undo", text) == [str(last)]
    assert await undo(bob, last) == 303
    assert await app.rows("SELECT owner, value FROM tracks") == [("bob", "secret")]


async def test_a_track_that_was_given_away_is_not_taken_back(app: WebApp) -> None:
    ana, bob = await app.log_in("ana"), await app.log_in("bob")
    root, boss = await app.log_in("root", "admin"), await person(app, "root")
    number = await service.add(app.database, await person(app, "ana"), NewTrack("snow"))
    added = await newest(app, "added")
    await service.change(app.database, boss, number, Changes(owner="bob"))
    given = await newest(app, "changed")
    assert [await undo(ana, each) for each in (added, given)] == [404, 404]
    assert await undo(bob, given) == 403
    assert await undo(root, given) == 303


async def test_two_who_bring_a_track_back_at_once_have_it_once(app: WebApp) -> None:
    ana, who = await app.log_in("ana"), await person(app, "ana")
    for _ in range(5):
        number = await service.add(app.database, who, NewTrack("snow"))
        await service.remove(app.database, who, number)
        last = await newest(app, "removed")
        found = await asyncio.gather(*(undo(ana, last) for _ in range(4)))
        assert sorted(found) == [303, 409, 409, 409]


async def test_the_page_shows_who_did_what(app: WebApp) -> None:
    ana, who = await app.log_in("ana"), await person(app, "ana")
    bob, root = await app.log_in("bob"), await app.log_in("root", "admin")
    number = await service.add(app.database, who, NewTrack("snow"))
    await service.change(app.database, who, number, Changes(value="<i>ice</i>"))
    await app.execute("INSERT INTO tracks (value) VALUES ('by psql')")

    async def lines(client: Client, path: str) -> list[str]:
        status, text = await client.get(path)
        assert status == 200
        found = re.findall(r'<li id="entry-\d+">(.*?)</li>', text, re.DOTALL)
        timeless = [re.sub(r"<time.*?</time>", "", each) for each in found]
        plain = [html.unescape(re.sub("<[^>]*>", "", each)).split() for each in timeless]
        return [" ".join(each) for each in plain]

    hers = ["ana changed it value: snow → <i>ice</i> Undo", "ana added it snow Undo"]
    assert await lines(ana, f"/tracks/{number}/history") == hers
    assert len(await lines(root, "/history")) == 3
    assert (await lines(root, "/history"))[0] == "psql or command line added it by psql Undo"
    assert await lines(bob, "/history") == []
    await service.remove(app.database, who, number)
    assert (await lines(ana, "/history"))[0] == "ana removed it <i>ice</i> Undo"
    assert len(await lines(ana, f"/tracks/{number}/history")) == 3
    assert (await bob.get(f"/tracks/{number}/history"))[0] == 404


async def test_what_was_taken_back_reads_so(app: WebApp) -> None:
    ana, who = await app.log_in("ana"), await person(app, "ana")
    number = await service.add(app.database, who, NewTrack("snow"))
    await service.change(app.database, who, number, Changes(value="ice", networks=["x_v1"]))
    await undo(ana, await newest(app, "changed"))
    await service.change(app.database, who, number, Changes(value="ice"))
    await service.remove(app.database, who, number)
    await undo(ana, await newest(app, "removed"))
    _, text = await ana.get("/history")
    words = re.findall(r"<strong><bdi>ana</bdi></strong> (.*)\n", text)
    assert words == [
        "restored it",
        "removed it",
        "changed it",
        "reverted it",
        "changed it",
        "added it",
    ]
    assert "<bdi>X, API v1.1</bdi>" in text


async def test_a_long_history_comes_in_pages(app: WebApp) -> None:
    ana, who = await app.log_in("ana"), await person(app, "ana")
    number = await service.add(app.database, who, NewTrack("snow"))
    for step in range(60):
        await service.change(app.database, who, number, Changes(priority=-step - 1))
    path, found = f"/tracks/{number}/history", []
    while path:
        _, text = await ana.get(path)
        found += re.findall(r'id="entry-(\d+)"', text)
        older = re.search(r'rel="next" href="(.*?)"', text)
        path = html.unescape(older[1]) if older else ""
    assert len(found) == len(set(found)) == 61


async def test_a_history_of_psql_alone_can_be_changed(app: WebApp) -> None:
    """Tracks are rows like others: what psql does is no conflict for the pages."""
    root = await app.log_in("root", "admin")
    await app.execute("ALTER TABLE tracks DISABLE TRIGGER tracks_history")
    await app.execute("INSERT INTO tracks (value) VALUES ('older than histories')")
    await app.execute("ALTER TABLE tracks ENABLE TRIGGER tracks_history")
    _, text = await root.get("/tracks/1/change")
    version = re.search(r'name="version" value="(\d+)"', text)
    assert version is not None
    form = {"kind": "keyword", "value": "ice", "version": version[1]}
    assert (await root.post("/tracks/1/change", form))[0] == 303


async def test_names_of_others_are_not_told_to_those_it_is_shared_with(app: WebApp) -> None:
    """Users learn that a track is shared with them, and not with whom else."""
    ana, boss = await app.log_in("ana"), await app.log_in("boss", "admin")
    bob, who = await app.log_in("bob", "viewer"), await person(app, "ana")
    await app.user("eve")
    number = await service.add(app.database, who, NewTrack("snow"))
    await service.share(app.database, who, number, ["bob", "eve"])
    await service.share(app.database, who, number, ["bob"])
    for path in ("/history", f"/tracks/{number}/history"):
        _, answer = await bob.json("GET", f"/api/v1{path}")
        assert [entry["after"].get("user") for entry in answer["history"]] == ["bob", None], path
        assert "eve" not in (await bob.get(path))[1] + str(answer), path
        for client in (ana, boss):
            page = (await client.get(path))[1]
            assert "shared it with eve" in page
            assert "stopped sharing it from eve" in page


async def test_a_foreign_entry_is_answered_as_one_that_is_not_there(app: WebApp) -> None:
    who = await person(app, "ana")
    await service.add(app.database, who, NewTrack("snow"))
    eve = await app.log_in("eve")
    answers = [
        await eve.json("POST", f"/api/v1/history/{number}/undo")
        for number in (await newest(app, "added"), 99)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404
