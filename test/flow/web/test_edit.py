"""Making and changing tracks: what the form checks, what it says, and who may."""

import html
import re
from typing import Any

from web_app import FRAGMENT, HOSTILE, Client, WebApp, assert_harmless, form_in, plain_text

WRONG = {  # what is pasted, and a part of the sentence that answers
    "\x07bell": "control character",
    "a" * 10_000: "the limit is 4,096",
    "": "empty",
    "-snow": "cannot exclude",
    "?!": "no letter",
    "snow\x00": "control character",
    "snow\u202e": "is invisible",
}


async def row(app: WebApp, number: int) -> dict[str, Any]:
    [found] = await app.database.fetch("SELECT * FROM tracks WHERE id = $1", number)
    return dict(found)


async def make(client: Client, value: str, **fields: str) -> int:
    """A track by the form, with its number."""
    async with client.http.post(
        "/tracks/new",
        data={"kind": "keyword", "value": value, "csrf": client.csrf} | fields,
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303, await answer.text()
        found = re.fullmatch(r"/tracks/(\d+)/saved", answer.headers["Location"])
        assert found is not None
        return int(found[1])


async def test_a_track_is_made_as_it_was_written(app: WebApp, ana: Client) -> None:
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
    made = await row(app, number)
    assert (made["value"], made["kind"], made["owner"]) == ("snow day,\nblizzard", "keyword", "ana")
    assert (made["networks"], made["priority"], made["keep_days"]) == (["x_v1"], -3, 30)
    assert f"{made['starts_at']:%H:%M %z}" == "17:00 +0000"
    assert f"{made['ends_at']:%d %H:%M %z}" == "01 00:00 +0000"
    [entry] = await app.database.fetch("SELECT actor, action FROM track_history")
    assert tuple(entry) == ("ana", "added")
    plain = await row(app, await make(ana, "nasa", kind="user"))
    assert (plain["kind"], plain["networks"], plain["starts_at"]) == ("user", None, None)


async def test_a_wrong_value_is_explained_and_kept_in_the_form(app: WebApp, ana: Client) -> None:
    for value, words in WRONG.items():
        given = {"kind": "keyword", "value": value}
        status, text = await ana.post("/tracks/new", given)
        assert status == 422
        assert words in plain_text(text)
        assert 'aria-invalid="true"' in text
        _, part = await ana.post("/tracks/check", given, headers=FRAGMENT)
        assert words in part or not value  # no error before the first letter
    assert await app.rows("SELECT FROM tracks") == []


async def test_hostile_values_become_text_and_nothing_else(app: WebApp, ana: Client) -> None:
    for value in ("a" * 4000, *(f"snow{each}" for each in HOSTILE if not {*each} & {*'"%\u202e'})):
        number = await make(ana, value)
        assert (await row(app, number))["value"] == value
        for path in ("change", "saved", "history", "share", "remove"):
            status, text = await ana.get(f"/tracks/{number}/{path}")
            assert status == 200
            assert_harmless(text)
        _, text = await ana.post(
            "/tracks/check", {"kind": "query", "value": value}, headers=FRAGMENT
        )
        assert_harmless(text)


async def test_the_place_of_a_mistake_is_marked(ana: Client) -> None:
    for kind, value, wrong in (
        ("query", "(snow OR ice))", ")"),
        ("query", 'snow "day', '"day'),
        ("keyword", "snow <b>, -day", "-day"),
        ("place", "-74,40,-73", "-74,40,-73"),
    ):
        _, text = await ana.post("/tracks/check", {"kind": kind, "value": value}, headers=FRAGMENT)
        marked = re.search(r'<bdi>(.*?)<mark class="wrong">(.*?)</mark>(.*?)</bdi>', text)
        assert marked is not None
        assert html.unescape(marked[2]) == wrong
        assert html.unescape("".join(marked.groups())) == value
        assert "hx-post" not in text  # no preview of what cannot be understood


async def test_the_networks_say_what_they_can(app: WebApp, ana: Client) -> None:
    await app.execute("INSERT INTO sources (name, network) VALUES ('a', 'x_v2')")
    check = {"kind": "place", "value": "-10,36,30,60"}
    _, text = await ana.post("/tracks/check", check, headers=FRAGMENT)
    assert "X, API v2 not supported. -10,36,30,60: The area is" in plain_text(text)
    assert "X, API v1.1 supported. No source of this network is enabled." in plain_text(text)
    check = {"kind": "keyword", "value": "snow", "networks": "x_v2"}
    _, text = await ana.post("/tracks/check", check, headers=FRAGMENT)
    assert "X, API v2 supported. " in plain_text(text)
    assert "API v1.1" not in text
    assert "No source of this network" not in text


async def test_a_city_is_found_with_a_box(app: WebApp, ana: Client) -> None:
    """In the form its script takes the box; without JavaScript a link opens the form with it."""
    page = await ana.page("/tracks/new?kind=place")
    assert form_in(page, "/tracks/new").keys().isdisjoint({"name", "size"})
    assert '<form id="find-city" action="/tracks/cities"' in page
    _, part = await ana.get("/tracks/cities?name=springfield", headers=FRAGMENT)
    found = re.findall(
        r'data-box="([^"]+)"><bdi>(.*?)</bdi></button> <span class="soft">([\d,]+) people', part
    )
    assert found[0][1:] == ("Springfield, MO, United States", "166,810")
    page = await ana.page("/tracks/cities?name=springfield&size=50")
    link = re.search(r'href="(/tracks/new\?[^"]+)"><bdi>Springfield, MO', page)
    assert link is not None
    given = await ana.form(html.unescape(link[1]), "/tracks/new")
    assert given["kind"] == "place"
    west, south, east, north = map(float, given["value"].split(","))
    small = [float(degrees) for degrees in found[0][0].split(",")]
    assert west < small[0] < small[2] < east
    assert south < small[1] < small[3] < north
    page = await ana.page("/tracks/cities", params={"name": HOSTILE[0][:100]})
    assert "No city of 15,000 people or more" in page
    assert_harmless(page)
    assert "After a comma it may have its country" in page
    assert "Paris, TX, United States" in await ana.page("/tracks/cities?name=Paris,+Texas")
    for query in ("", "?name=", f"?name={'a' * 101}", "?name=Rome&size=7"):
        assert (await ana.get(f"/tracks/cities{query}"))[0] == 422, query


async def test_programs_find_cities(app: WebApp, ana: Client) -> None:
    status, found = await ana.json("GET", "/api/v1/cities?name=Z%C3%BCrich&size=10")
    assert status == 200
    [city] = found["cities"]
    assert (city["name"], city["country"]) == ("Zürich", "Switzerland")
    new = {"kind": "place", "value": city["value"]}
    assert (await ana.json("POST", "/api/v1/tracks", new))[0] == 201
    for size in ("0", "2000", "wide"):
        status, refused = await ana.json("GET", f"/api/v1/cities?name=Rome&size={size}")
        assert status == 422
        assert refused["error"]["message"] == "`size` must be a number (1 to 1000)."
    _, found = await ana.json("GET", "/api/v1/cities?name=London,+Ontario,+Canada")
    assert [(each["region"], each["country"]) for each in found["cities"]] == [("ON", "Canada")]


async def test_the_same_value_is_pointed_out(app: WebApp) -> None:
    ana, bob = await app.log_in("ana"), await app.log_in("bob")
    number = await make(ana, "Snow  day")
    check = {"kind": "keyword", "value": " snow DAY "}
    _, text = await ana.post("/tracks/check", check, headers=FRAGMENT)
    assert f'href="/tracks/{number}"' in text
    _, text = await ana.post("/tracks/check", check | {"track": str(number)}, headers=FRAGMENT)
    assert "already" not in text  # it does not stand in its own way
    _, text = await bob.post("/tracks/check", check, headers=FRAGMENT)
    assert "already" not in text  # nor does a track that is not visible


async def test_every_wrong_field_is_named(app: WebApp, ana: Client) -> None:
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
    assert await app.rows("SELECT FROM tracks") == []


async def test_what_was_written_is_kept_when_it_is_refused(app: WebApp) -> None:
    """Of every field, on New and on Change, and as the script sends times, too."""
    root, _ = await app.log_in("root", "admin"), await app.user("ana")
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
    again: dict[str, Any] = {}
    for path in ("/tracks/new", f"/tracks/{number}/change"):
        for zone in ("", ":00.000Z"):
            times = {name: written[name] + zone for name in ("starts_at", "ends_at")}
            given = written | times | {"choose_networks": "1"}
            status, text = await root.post(path, given)
            assert status == 422
            assert "The end must be after the start." in text
            again = form_in(text, path)
            assert written.items() <= again.items()
    corrected = again | {"ends_at": "2030-12-02T10:00:00.000Z"}
    assert (await root.post(f"/tracks/{number}/change", corrected))[0] == 303
    saved = await row(app, number)
    assert f"{saved['starts_at']:%m-%d %H:%M}" == "12-01 10:00"
    assert f"{saved['ends_at']:%m-%d %H:%M}" == "12-02 10:00"


async def test_the_same_is_followed_twice_only_on_purpose(app: WebApp) -> None:
    ana, bob = await app.log_in("ana"), await app.log_in("bob")
    number = await make(ana, "Snow day")
    status, text = await ana.post("/tracks/new", {"kind": "keyword", "value": "snow  day"})
    assert status == 409
    assert "You track the same already: Snow day" in plain_text(text)
    assert f'href="/tracks/{number}"' in text
    _, text = await ana.post(
        "/tracks/new", form_in(text, "/tracks/new") | {"value": "snow", "again": "x"}
    )
    await make(bob, "snow day")
    await make(ana, "snow day", kind="query")
    _, text = await ana.post("/tracks/new", {"kind": "keyword", "value": "snow day"})
    await make(ana, **form_in(text, "/tracks/new"))
    assert await app.rows("SELECT value, owner FROM tracks ORDER BY id") == [
        ("Snow day", "ana"),
        ("snow", "ana"),
        ("snow day", "bob"),
        ("snow day", "ana"),
        ("snow day", "ana"),
    ]


async def test_nobody_is_offered_himself_twice(app: WebApp) -> None:
    root, _ = await app.log_in("root", "admin"), await app.user("ana")
    number = await make(root, "snow")
    for path, owners in (("new", ["you", "ana"]), (f"{number}/change", ["ana", "root"])):
        text = (await root.page(f"/tracks/{path}")).partition('name="owner"')[2]
        assert re.findall(r"<option[^>]*>(.*?)</option>", text.partition("</select>")[0]) == owners


async def test_who_was_slower_sees_both_and_decides(app: WebApp) -> None:
    ana, root = await app.log_in("ana"), await app.log_in("root", "admin")
    number = await make(ana, "snow")
    hers, his = (
        await ana.form(f"/tracks/{number}/change"),
        await root.form(f"/tracks/{number}/change"),
    )
    assert (await root.post(f"/tracks/{number}/change", his | {"value": "snow, ice"}))[0] == 303
    status, text = await ana.post(f"/tracks/{number}/change", hers | {"value": "snow, hail"})
    assert status == 409
    assert "root changed this track" in plain_text(text)
    assert "<td><bdi>snow, ice</bdi></td><td><bdi>snow, hail</bdi></td>" in text
    assert (await row(app, number))["value"] == "snow, ice"
    version = re.search(r'name="version" value="(\d+)"', text)
    assert version is not None
    hers |= {"value": "snow, hail", "version": version[1]}
    assert (await ana.post(f"/tracks/{number}/change", hers))[0] == 303
    assert (await row(app, number))["value"] == "snow, hail"


async def test_what_is_not_changed_keeps_its_state(app: WebApp, ana: Client) -> None:
    number = await make(ana, "snow")
    await app.execute("UPDATE tracks SET state = 'active' WHERE id = $1", number)
    form = await ana.form(f"/tracks/{number}/change")
    await ana.post(f"/tracks/{number}/change", form | {"priority": "-5"})
    changed = await row(app, number)
    assert (changed["priority"], changed["state"]) == (-5, "active")
    form = await ana.form(f"/tracks/{number}/change")
    await ana.post(f"/tracks/{number}/change", form | {"value": "ice"})
    assert (await row(app, number))["state"] == "pending"


async def test_only_admins_give_tracks_away(app: WebApp) -> None:
    ana, root = await app.log_in("ana"), await app.log_in("root", "admin")
    number = await make(ana, "snow")
    form = await ana.form(f"/tracks/{number}/change") | {"owner": "root"}
    assert (await ana.post(f"/tracks/{number}/change", form))[0] == 403
    assert (await ana.post("/tracks/new", {"value": "a", "owner": "root"}))[0] == 403
    form = await root.form(f"/tracks/{number}/change")
    assert (await root.post(f"/tracks/{number}/change", form | {"owner": "nobody"}))[0] == 422
    assert (await root.post(f"/tracks/{number}/change", form | {"owner": "root"}))[0] == 303
    assert (await row(app, number))["owner"] == "root"
    assert (await ana.get(f"/tracks/{number}/change"))[0] == 404


async def test_nobody_changes_what_is_not_his(app: WebApp) -> None:
    ana, bob = await app.log_in("ana"), await app.log_in("bob")
    vera = await app.log_in("vera", "viewer")
    number = await make(ana, "snow")
    form = {"kind": "keyword", "value": "mine"}
    for path in ("change", "saved", "share", "history", "remove"):
        assert (await bob.get(f"/tracks/{number}/{path}"))[0] == 404
    for path in ("change", "share"):
        assert (await bob.post(f"/tracks/{number}/{path}", form))[0] == 404
    await ana.post(f"/tracks/{number}/share", [("names", "bob"), ("names", "vera")])
    for client in (bob, vera):
        assert (await client.get(f"/tracks/{number}/saved"))[0] == 200
        for path in ("change", "share"):
            assert (await client.get(f"/tracks/{number}/{path}"))[0] == 403
            assert (await client.post(f"/tracks/{number}/{path}", form))[0] == 403
    for path in ("/tracks/new", "/tracks/check", "/tracks/preview", "/tracks/paste"):
        assert (await vera.post(path, form))[0] == 403
    assert (await row(app, number))["value"] == "snow"


async def test_sharing_is_with_those_who_are_ticked(app: WebApp) -> None:
    ana, bob = await app.log_in("ana"), await app.log_in("bob")
    number = await make(ana, "snow")
    assert (await ana.post(f"/tracks/{number}/share", {"names": "nobody"}))[0] == 422
    assert (await ana.post(f"/tracks/{number}/share", {"names": "bob"}))[0] == 303
    assert re.search(r'value="bob" checked', (await ana.get(f"/tracks/{number}/share"))[1])
    assert (await bob.get(f"/tracks/{number}/saved"))[0] == 200
    assert (await ana.post(f"/tracks/{number}/share", {}))[0] == 303
    assert (await bob.get(f"/tracks/{number}/saved"))[0] == 404


async def test_saved_shows_when_it_became_active(app: WebApp, ana: Client) -> None:
    number = await make(ana, "snow")
    _, text = await ana.get(f"/tracks/{number}/saved", headers=FRAGMENT)
    assert "waiting for the collector" in text
    assert 'hx-trigger="every 500ms"' in text
    await app.execute(
        "UPDATE tracks SET state = 'active', state_at = created_at + interval '1.2 s'"
    )
    _, text = await ana.get(f"/tracks/{number}/saved", headers=FRAGMENT)
    assert "1.2 seconds after it was saved" in plain_text(text)
    await app.execute("UPDATE tracks SET state = 'refused', reason = 'too <wide>'")
    _, text = await ana.get(f"/tracks/{number}/saved")
    assert "refused too <wide>" in plain_text(text)


async def test_pasted_lines_are_looked_at_one_by_one(app: WebApp, ana: Client) -> None:
    await make(ana, "ice")
    lines = "snow\r\n\r\n# a comment\r\n// another one\r\n#hail\r\n-no\r\nSNOW \r\nIce\r\n<b>x</b>"
    given = {"kind": "keyword", "lines": lines}
    status, text = await ana.post("/tracks/paste", given)
    assert status == 200
    said = plain_text(text)
    assert "3 of 6 can be added" in said
    assert "2 comments ignored" in said
    assert "6 -no invalid: '-no': keywords cannot exclude words" in said
    assert "7 SNOW skipped: the same as line 1" in said
    assert "8 Ice skipped: already tracked" in said
    assert "<b>x" not in text
    form = given | {"do": "add", "csrf": ana.csrf}
    async with ana.http.post("/tracks/paste", data=form) as answer:
        assert "3 tracks were added." in plain_text(await answer.text())
    assert await app.rows("SELECT value, owner FROM tracks ORDER BY id") == [
        (value, "ana") for value in ("ice", "snow", "#hail", "<b>x</b>")
    ]
    status, text = await ana.post("/tracks/paste", {"kind": "keyword", "lines": "a\n" * 5001})
    assert status == 413
