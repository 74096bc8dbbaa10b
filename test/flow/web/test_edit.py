"""Making and changing tracks: what the form checks, what it says, and who may."""

import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages, Visitor

PART = {"HX-Request": "true"}
WRONG = {  # what is pasted, and a part of the sentence that answers
    "\x07bell": "control character",
    "a" * 10_000: "may have 4,096",
    "": "empty",
    "-snow": "cannot exclude",
    "?!": "no letter",
    "snow\x00": "control character",
}
HOSTILE = (
    "<script>alert(1)</script> snow",
    "snow'; DROP TABLE tracks; --",
    "\u202esnow",
    "a" * 4000,
)


async def row(pages: "Pages", number: int) -> dict[str, Any]:
    [found] = await pages.database.fetch("SELECT * FROM tracks WHERE id = $1", number)
    return dict(found)


async def make(visitor: "Visitor", value: str, **fields: str) -> int:
    """A track by the form, with its number."""
    async with visitor.client.post(
        "/tracks/new",
        data={"kind": "keyword", "value": value, "csrf": visitor.csrf} | fields,
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303, await answer.text()
        found = re.fullmatch(r"/tracks/(\d+)/saved", answer.headers["Location"])
        assert found is not None
        return int(found[1])


async def form_of(visitor: "Visitor", number: int) -> dict[str, str]:
    """The fields that a browser would send unchanged."""
    _, text = await visitor.get(f"/tracks/{number}/change")
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
    value = re.search(r"<textarea[^>]*>(.*?)</textarea>", text, re.DOTALL)
    assert value is not None
    del fields["choose_networks"]  # that says that those which are not ticked are not wanted
    return fields | {"kind": "keyword", "value": html.unescape(value[1])}


def texts(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


async def test_a_track_is_made_as_it_was_written(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    number = await make(
        ana,
        " snow day,\r\nblizzard ",
        networks="x_v1",
        choose_networks="1",
        starts_at="2030-01-31T18:00:00+01:00",
        ends_at="2030-02-01T00:00",
        priority="-3",
        keep_days="30",
    )
    made = await row(pages, number)
    assert (made["value"], made["kind"], made["owner"]) == ("snow day,\nblizzard", "keyword", "ana")
    assert (made["networks"], made["priority"], made["keep_days"]) == (["x_v1"], -3, 30)
    assert f"{made['starts_at']:%H:%M %z}" == "17:00 +0000"
    assert f"{made['ends_at']:%d %H:%M %z}" == "01 00:00 +0000"
    [entry] = await pages.database.fetch("SELECT actor, action FROM track_history")
    assert tuple(entry) == ("ana", "added")
    plain = await row(pages, await make(ana, "nasa", kind="user"))
    assert (plain["kind"], plain["networks"], plain["starts_at"]) == ("user", None, None)


async def test_a_wrong_value_is_explained_and_kept_in_the_form(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    for value, words in WRONG.items():
        given = {"kind": "keyword", "value": value}
        status, text = await ana.post("/tracks/new", given)
        assert status == 422
        assert words in texts(text)
        assert 'aria-invalid="true"' in text
        _, part = await ana.post("/tracks/check", given, headers=PART)
        assert words in part or not value  # nobody is blamed before the first letter
    assert await pages.database.fetch("SELECT FROM tracks") == []


async def test_hostile_values_become_text_and_nothing_else(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    for value in HOSTILE:
        number = await make(ana, value)
        assert (await row(pages, number))["value"] == value
        for path in ("change", "saved", "history", "share", "remove"):
            status, text = await ana.get(f"/tracks/{number}/{path}")
            assert status == 200
            assert "<script>alert" not in text
        _, text = await ana.post("/tracks/check", {"kind": "query", "value": value}, headers=PART)
        assert "<script>alert" not in text


async def test_the_place_of_a_mistake_is_marked(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    for kind, value, wrong in (
        ("query", "(snow OR ice))", ")"),
        ("query", 'snow "day', '"day'),
        ("keyword", "snow <b>, -day", "-day"),
        ("place", "-74,40,-73", "-74,40,-73"),
    ):
        _, text = await ana.post("/tracks/check", {"kind": kind, "value": value}, headers=PART)
        marked = re.search(r'<bdi>(.*?)<mark class="wrong">(.*?)</mark>(.*?)</bdi>', text)
        assert marked is not None
        assert html.unescape(marked[2]) == wrong
        assert html.unescape("".join(marked.groups())) == value
        assert "hx-post" not in text  # no preview of what cannot be understood


async def test_the_networks_say_what_they_can(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    await pages.database.execute("INSERT INTO sources (name, network) VALUES ('a', 'x_v2')")
    check = {"kind": "place", "value": "-10,36,30,60"}
    _, text = await ana.post("/tracks/check", check, headers=PART)
    assert "X, API v2 cannot do it. -10,36,30,60: The area is" in texts(text)
    assert "X, API v1.1 can do it. No enabled source is of this network." in texts(text)
    check = {"kind": "keyword", "value": "snow", "networks": "x_v2"}
    _, text = await ana.post("/tracks/check", check, headers=PART)
    assert "X, API v2 can do it. " in texts(text)
    assert "API v1.1" not in text
    assert "No enabled source" not in text


async def test_the_same_value_is_pointed_out(pages: "Pages") -> None:
    ana, bob = await pages.enter("ana"), await pages.enter("bob")
    number = await make(ana, "Snow  day")
    check = {"kind": "keyword", "value": " snow DAY "}
    _, text = await ana.post("/tracks/check", check, headers=PART)
    assert f'href="/tracks/{number}"' in text
    _, text = await ana.post("/tracks/check", check | {"track": str(number)}, headers=PART)
    assert "already" not in text  # it does not stand in its own way
    _, text = await bob.post("/tracks/check", check, headers=PART)
    assert "already" not in text  # nor does what he cannot see


async def test_every_wrong_field_is_named(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    for field, fields in (
        ("starts_at", {"starts_at": "tomorrow"}),
        ("ends_at", {"starts_at": "2030-01-02T00:00", "ends_at": "2030-01-01T00:00"}),
        ("ends_at", {"ends_at": "0001-01-01T00:00+14:00"}),
        ("priority", {"priority": "99999"}),
        ("priority", {"priority": "high"}),
        ("keep_days", {"keep_days": "0"}),
        ("keep_days", {"keep_days": "9" * 30}),
        ("networks", {"choose_networks": "1"}),
    ):
        given = {"kind": "keyword", "value": "snow"} | fields
        status, text = await ana.post("/tracks/new", given)
        assert status == 422, field
        assert f'id="wrong-{field}"' in text
    assert (await ana.post("/tracks/new", {"kind": "'", "value": "snow"}))[0] == 422
    assert await pages.database.fetch("SELECT FROM tracks") == []


def filled(text: str) -> list[tuple[str, str]]:
    """What a browser without scripts sends of a page: times that a field does not take are lost."""
    form = text.split('<form id="edit"')[1].partition("</form>")[0]
    found = []
    for written in re.findall(r"<input ([^>]*)>", form):
        given = dict(re.findall(r'([\w-]+)="([^"]*)"', written))
        kind, value = given.get("type"), html.unescape(given.get("value", ""))
        if kind in ("radio", "checkbox") and not written.endswith(" checked"):
            continue
        if kind == "datetime-local" and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d", value):
            value = ""
        if "name" in given:
            found.append((given["name"], value))
    text_of = re.search(r"<textarea[^>]*>(.*?)</textarea>", form, re.DOTALL)
    assert text_of is not None
    owner = re.findall(r'<option value="(\w*)" selected>', form)
    return [*found, ("value", html.unescape(text_of[1])), *(("owner", each) for each in owner)]


async def test_what_was_written_is_kept_when_it_is_refused(pages: "Pages") -> None:
    """Of every field, on New and on Change, and as the script sends times, too."""
    root, _ = await pages.enter("root", "admin"), await pages.user("ana")
    written = {
        "kind": "query",
        "value": "(snow OR ice)",
        "networks": "x_v1",
        "starts_at": "2030-12-01T10:00",
        "ends_at": "2030-11-30T10:00",
        "priority": "-3",
        "keep_days": "30",
        "owner": "ana",
    }
    number = await make(root, "snow", owner="ana")
    again: list[tuple[str, str]] = []
    for path in ("/tracks/new", f"/tracks/{number}/change"):
        for zone in ("", ":00.000Z"):
            times = {name: written[name] + zone for name in ("starts_at", "ends_at")}
            given = written | times | {"choose_networks": "1"}
            status, text = await root.post(path, given)
            assert status == 422
            assert "The end must lie after the begin." in text
            again = filled(text)
            assert written.items() <= dict(again).items()
            assert [value for name, value in again if name == "networks"] == ["x_v1"]
    mended = dict(again) | {"ends_at": "2030-12-02T10:00:00.000Z"}
    assert (await root.post(f"/tracks/{number}/change", mended))[0] == 303
    saved = await row(pages, number)
    assert f"{saved['starts_at']:%m-%d %H:%M}" == "12-01 10:00"
    assert f"{saved['ends_at']:%m-%d %H:%M}" == "12-02 10:00"


async def test_the_same_is_followed_twice_only_on_purpose(pages: "Pages") -> None:
    ana, bob = await pages.enter("ana"), await pages.enter("bob")
    number = await make(ana, "Snow day")
    status, text = await ana.post("/tracks/new", {"kind": "keyword", "value": "snow  day"})
    assert status == 409
    assert "You follow the same already: Snow day" in texts(text)
    assert f'href="/tracks/{number}"' in text
    _, text = await ana.post("/tracks/new", dict(filled(text)) | {"value": "snow", "again": "x"})
    await make(bob, "snow day")
    await make(ana, "snow day", kind="query")
    _, text = await ana.post("/tracks/new", {"kind": "keyword", "value": "snow day"})
    await make(ana, **dict(filled(text)))
    rows = await pages.database.fetch("SELECT value, owner FROM tracks ORDER BY id")
    assert [tuple(each) for each in rows] == [
        ("Snow day", "ana"),
        ("snow", "ana"),
        ("snow day", "bob"),
        ("snow day", "ana"),
        ("snow day", "ana"),
    ]


async def test_nobody_is_offered_himself_twice(pages: "Pages") -> None:
    root, _ = await pages.enter("root", "admin"), await pages.user("ana")
    _, text = await root.get("/tracks/new")
    assert re.findall(r"<option[^>]*>(.*?)</option>", text) == ["you", "ana"]
    number = await make(root, "snow")
    _, text = await root.get(f"/tracks/{number}/change")
    assert re.findall(r"<option[^>]*>(.*?)</option>", text) == ["ana", "root"]


async def test_who_was_slower_sees_both_and_decides(pages: "Pages") -> None:
    ana, root = await pages.enter("ana"), await pages.enter("root", "admin")
    number = await make(ana, "snow")
    hers, his = await form_of(ana, number), await form_of(root, number)
    assert (await root.post(f"/tracks/{number}/change", his | {"value": "snow, ice"}))[0] == 303
    status, text = await ana.post(f"/tracks/{number}/change", hers | {"value": "snow, hail"})
    assert status == 409
    assert "root has changed this track" in texts(text)
    assert "<td><bdi>snow, ice</bdi></td><td><bdi>snow, hail</bdi></td>" in text
    assert (await row(pages, number))["value"] == "snow, ice"
    version = re.search(r'name="version" value="(\d+)"', text)
    assert version is not None
    hers |= {"value": "snow, hail", "version": version[1]}
    assert (await ana.post(f"/tracks/{number}/change", hers))[0] == 303
    assert (await row(pages, number))["value"] == "snow, hail"


async def test_what_is_not_changed_keeps_its_state(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    number = await make(ana, "snow")
    await pages.database.execute("UPDATE tracks SET state = 'active' WHERE id = $1", number)
    form = await form_of(ana, number)
    await ana.post(f"/tracks/{number}/change", form | {"priority": "5"})
    changed = await row(pages, number)
    assert (changed["priority"], changed["state"]) == (5, "active")
    form = await form_of(ana, number)
    await ana.post(f"/tracks/{number}/change", form | {"value": "ice"})
    assert (await row(pages, number))["state"] == "pending"


async def test_only_admins_give_tracks_away(pages: "Pages") -> None:
    ana, root = await pages.enter("ana"), await pages.enter("root", "admin")
    number = await make(ana, "snow")
    form = await form_of(ana, number) | {"owner": "root"}
    assert (await ana.post(f"/tracks/{number}/change", form))[0] == 403
    assert (await ana.post("/tracks/new", {"value": "a", "owner": "root"}))[0] == 403
    form = await form_of(root, number)
    assert (await root.post(f"/tracks/{number}/change", form | {"owner": "nobody"}))[0] == 422
    assert (await root.post(f"/tracks/{number}/change", form | {"owner": "root"}))[0] == 303
    assert (await row(pages, number))["owner"] == "root"
    assert (await ana.get(f"/tracks/{number}/change"))[0] == 404


async def test_nobody_changes_what_is_not_his(pages: "Pages") -> None:
    ana, bob = await pages.enter("ana"), await pages.enter("bob")
    vera = await pages.enter("vera", "viewer")
    number = await make(ana, "snow")
    form = {"kind": "keyword", "value": "mine"}
    for path in ("change", "saved", "share", "history", "remove"):
        assert (await bob.get(f"/tracks/{number}/{path}"))[0] == 404
    for path in ("change", "share"):
        assert (await bob.post(f"/tracks/{number}/{path}", form))[0] == 404
    await ana.post(f"/tracks/{number}/share", [("names", "bob"), ("names", "vera")])
    for visitor in (bob, vera):
        assert (await visitor.get(f"/tracks/{number}/saved"))[0] == 200
        for path in ("change", "share"):
            assert (await visitor.get(f"/tracks/{number}/{path}"))[0] == 403
            assert (await visitor.post(f"/tracks/{number}/{path}", form))[0] == 403
    for path in ("/tracks/new", "/tracks/check", "/tracks/preview", "/tracks/paste"):
        assert (await vera.post(path, form))[0] == 403
    assert (await row(pages, number))["value"] == "snow"


async def test_sharing_is_with_those_who_are_ticked(pages: "Pages") -> None:
    ana, bob = await pages.enter("ana"), await pages.enter("bob")
    number = await make(ana, "snow")
    assert (await ana.post(f"/tracks/{number}/share", {"names": "nobody"}))[0] == 422
    assert (await ana.post(f"/tracks/{number}/share", {"names": "bob"}))[0] == 303
    assert re.search(r'value="bob" checked', (await ana.get(f"/tracks/{number}/share"))[1])
    assert (await bob.get(f"/tracks/{number}/saved"))[0] == 200
    assert (await ana.post(f"/tracks/{number}/share", {}))[0] == 303
    assert (await bob.get(f"/tracks/{number}/saved"))[0] == 404


async def test_saved_shows_when_it_became_active(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    number = await make(ana, "snow")
    _, text = await ana.get(f"/tracks/{number}/saved", headers=PART)
    assert "on its way to the stream" in text
    assert 'hx-trigger="every 500ms"' in text
    await pages.database.execute(
        "UPDATE tracks SET state = 'active', state_at = created_at + interval '1.2 s'"
    )
    _, text = await ana.get(f"/tracks/{number}/saved", headers=PART)
    assert "1.2 seconds after it was saved" in texts(text)
    await pages.database.execute("UPDATE tracks SET state = 'refused', reason = 'too <wide>'")
    _, text = await ana.get(f"/tracks/{number}/saved")
    assert "refused too <wide>" in texts(text)


async def test_pasted_lines_are_looked_at_one_by_one(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    await make(ana, "ice")
    lines = "snow\r\n\r\n# a comment\r\n// another one\r\n#hail\r\n-no\r\nSNOW \r\nIce\r\n<b>x</b>"
    given = {"kind": "keyword", "lines": lines}
    status, text = await ana.post("/tracks/paste", given)
    assert status == 200
    said = texts(text)
    assert "3 of 6 can be added" in said
    assert "2 comments are left out" in said
    assert "6 -no wrong: '-no': keywords cannot exclude words" in said
    assert "7 SNOW left out: the same as line 1" in said
    assert "8 Ice left out: followed already" in said
    assert "<b>x" not in text
    form = given | {"do": "add", "csrf": ana.csrf}
    async with ana.client.post("/tracks/paste", data=form) as answer:
        assert "3 tracks were added." in texts(await answer.text())
    rows = await pages.database.fetch("SELECT value, owner FROM tracks ORDER BY id")
    assert [tuple(each) for each in rows] == [
        (value, "ana") for value in ("ice", "snow", "#hail", "<b>x</b>")
    ]
    status, text = await ana.post("/tracks/paste", {"kind": "keyword", "lines": "a\n" * 5001})
    assert status == 413
