"""Saving a form changes what was changed in it, and times stay what they are in every time zone."""

import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from web.local_time import midnight
from web_app import Client, WebApp, form_in

BERLIN, KOLKATA = "Europe/Berlin", "Asia/Kolkata"
FIRST, SECOND = "2026-10-25T00:30:00+00:00", "2026-10-25T01:30:00+00:00"  # both 02:30 in Berlin


async def enter(app: WebApp, zone: str = BERLIN, name: str = "ana") -> Client:
    client = await app.log_in(name)
    await app.execute("UPDATE users SET time_zone = $1 WHERE name = $2", zone, name)
    return client


async def times(app: WebApp, number: int) -> list[str | None]:
    [row] = await app.rows("SELECT starts_at, ends_at FROM tracks WHERE id = $1", number)
    return [at and at.isoformat() for at in row]


@pytest.mark.parametrize("zone", [BERLIN, KOLKATA, "Australia/Lord_Howe", "America/St_Johns"])
async def test_times_that_were_not_changed_stay_exact(app: WebApp, zone: str) -> None:
    """Of every half hour around the changes of the clocks, with seconds and parts of them."""
    ana = await enter(app, zone)
    for day in ("2026-03-29", "2026-10-24", "2026-10-25", "2026-11-01"):
        starts = datetime.fromisoformat(f"{day}T00:30:12.345678+00:00")
        for half_hours in (0, 1, 2, 3):
            given = starts + timedelta(minutes=30 * half_hours), starts + timedelta(days=2)
            number = await app.add_track(starts_at=given[0], ends_at=given[1])
            path = f"/tracks/{number}/change"
            form = await ana.form(path)
            assert (await ana.post(path, form | {"priority": "-3"}))[0] == 303
            assert await times(app, number) == [at.isoformat() for at in given]
    assert await app.value("SELECT count(*) AS n FROM tracks WHERE priority = -3") == 16


async def test_a_time_that_comes_twice_is_asked_for(app: WebApp) -> None:
    ana = await enter(app)
    number = await app.add_track()
    path = f"/tracks/{number}/change"
    form = await ana.form(path)
    form |= {"starts_at": "2026-10-25T02:30", "ends_at": "2026-10-25T02:30"}
    status, text = await ana.post(path, form)
    assert status == 422
    assert "Choose one" in text
    assert text.count(">CEST (UTC+02:00)</option>") == 2
    chosen = {"starts_at_fold": "0", "ends_at_fold": "1"}
    assert (await ana.post(path, form | chosen))[0] == 303
    assert await times(app, number) == [FIRST, SECOND]
    form = await ana.form(path)
    assert chosen.items() <= form.items()
    assert (await ana.post(path, form | {"ends_at_fold": "0", "starts_at": ""}))[0] == 303
    assert await times(app, number) == [None, FIRST]


async def test_the_history_says_times_in_the_zone_of_who_looks(app: WebApp) -> None:
    ana = await enter(app)
    number = await app.add_track(ends_at=datetime.fromisoformat(FIRST))
    await app.execute("UPDATE tracks SET ends_at = $1", datetime.fromisoformat(SECOND))
    _, text = await ana.get(f"/tracks/{number}/history")
    assert "2026-10-25 02:30 CEST (UTC+02:00)" in text
    assert "2026-10-25 02:30 CET (UTC+01:00)" in text


async def test_a_time_that_does_not_exist_is_refused(app: WebApp) -> None:
    ana = await enter(app)
    form = {"kind": "keyword", "value": "snow", "starts_at": "2026-03-29T02:30"}
    status, text = await ana.post("/tracks/new", form)
    assert status == 422
    assert "Europe/Berlin go forward then" in text


async def test_the_browser_names_the_zone_where_the_user_chose_none(
    app: WebApp, ana: Client
) -> None:
    ana.http.cookie_jar.update_cookies({"time_zone": KOLKATA})
    form = await ana.form("/tracks/new")
    assert form["zone"] == KOLKATA
    form |= {"value": "snow", "ends_at": "2030-01-31T05:00"}
    # The form knows its zone: another one chosen meanwhile moves nothing.
    ana.http.cookie_jar.update_cookies({"time_zone": "No/Where"})
    assert (await ana.post("/tracks/new", form))[0] == 303
    [row] = await app.database.fetch("SELECT ends_at FROM tracks")
    assert row["ends_at"].isoformat() == "2030-01-30T23:30:00+00:00"
    assert (await ana.form("/tracks/new"))["zone"] == "UTC"


async def test_what_another_one_changed_meanwhile_is_kept(app: WebApp) -> None:
    """Of two edits each keeps what only the other one changed; the same field is asked about."""
    ana = await enter(app)
    number = await app.add_track(networks=["x_v1"], keep_days=30)
    path = f"/tracks/{number}/change"
    form = await ana.form(path)
    await app.execute("UPDATE tracks SET networks = NULL, priority = 7, keep_days = 40")
    status, text = await ana.post(path, form | {"value": "ice", "keep_days": "50"})
    assert status == 409
    assert "<td><bdi>40</bdi></td><td><bdi>50</bdi></td>" in text
    again = form_in(text, path)
    assert (again["priority"], again["keep_days"], again["value"]) == ("7", "50", "ice")
    assert (await ana.post(path, again))[0] == 303
    assert await app.rows("SELECT value, networks, priority, keep_days FROM tracks") == [
        ("ice", None, 7, 50)
    ]
    old = await ana.form(path)
    await app.execute("UPDATE tracks SET value = 'hail'")
    assert (await ana.post(path, old))[0] == 303  # nothing was changed: nothing is put back
    assert await app.value("SELECT value FROM tracks") == "hail"


async def test_the_account_keeps_the_field_that_was_not_changed(app: WebApp) -> None:
    ana = await enter(app)
    form = await ana.form("/account", "/account/dates")
    await app.execute("UPDATE users SET time_zone = $1", KOLKATA)  # in another window
    assert (await ana.post("/account/dates", form | {"locale": "de"}))[0] == 303
    assert await app.rows("SELECT time_zone, locale FROM users") == [(KOLKATA, "de")]
    for wrong in ({"time_zone": "Mars/Olympus"}, {"locale": "a b"}, {"time_zone": "\0"}):
        status, text = await ana.post("/account/dates", form | wrong)
        assert status == 422
        assert 'aria-invalid="true"' in text
    form = await ana.form("/account", "/account/dates")
    assert (await ana.post("/account/dates", form | {"time_zone": "", "locale": ""}))[0] == 303
    assert await app.rows("SELECT time_zone, locale FROM users") == [(None, None)]


async def test_days_are_those_of_the_zone(app: WebApp) -> None:
    """Today and the days of the chart, where a day begins within an hour of UTC."""
    ana = await enter(app, KOLKATA)
    now, zone = datetime.now(UTC), ZoneInfo(KOLKATA)
    number = await app.add_track(created_at=now - timedelta(days=9))
    today, yesterday = midnight(now, zone), midnight(now, zone, 1)
    counted = {
        yesterday - timedelta(minutes=1): 1,
        yesterday: 20,
        today - timedelta(minutes=1): 300,
        today: 4000,
    }
    for at, tweets in counted.items():
        for table, step, columns in (("minutes", "minute", ""), ("hours", "hour", ", 0")):
            await app.execute(
                f"""INSERT INTO track_{table} AS old VALUES
                    ($1, date_trunc('{step}', $2::timestamptz), $3{columns})
                ON CONFLICT (track_id, {step}) DO UPDATE SET tweets = old.tweets + $3""",
                number, at, tweets,
            )  # fmt: skip
    for path in ("/", f"/tracks/{number}"):
        _, text = await ana.get(path)
        assert "(Asia/Kolkata)" in text
        assert ">4,000</" in text
    _, text = await ana.get(f"/tracks/{number}/chart?step=day")
    chart = json.loads(text)
    assert chart["series"][0]["values"][-3:] == [1, 320, 4000]
    assert chart["times"][-2:] == [yesterday.timestamp(), today.timestamp()]
    # Programs get UTC, whatever their user chose.
    program = await app.api_client("ana")
    _, found = await program.json("GET", f"/api/v1/tracks/{number}")
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert found["today"] == sum(tweets for at, tweets in counted.items() if at >= begin)


async def test_a_filter_by_time_stays_exact(app: WebApp) -> None:
    ana = await enter(app)
    number = await app.add_track()
    path = f"/tracks/{number}"
    _, text = await ana.get(f"{path}?from={SECOND[:19]}.5Z&to=2026-10-26T00:00:00Z")
    form = re.search(r'<form class="filters".*?</form>', text, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'name="([\w]+)" value="([^"]*)"', form[0]))
    assert (fields["from"], fields["to"]) == ("2026-10-25T02:30", "2026-10-26T01:00")
    _, text = await ana.get(path, params=fields)
    assert "from=2026-10-25T01%3A30%3A00.500000Z" in text
    _, text = await ana.get(path, params={"from": "2026-10-25T02:30", "zone": BERLIN})
    assert "from=2026-10-25T00%3A30%3A00Z" in text


async def test_a_source_keeps_what_another_admin_changed(app: WebApp) -> None:
    root = await app.log_in("root", "admin")
    await app.execute(
        "INSERT INTO sources (name, network, url, proxy) VALUES"
        " ('one', 'x_v1', 'http://a:hidden9@127.0.0.1:1/x', 'http://old:3128')"
    )
    path = "/sources/1/change"
    form = await root.form(path)
    assert "hidden9" not in str(form)
    await app.execute("UPDATE sources SET url = 'http://b:hidden9@127.0.0.1:2/'")
    assert (await root.post(path, form | {"name": "two"}))[0] == 303
    assert await app.rows("SELECT name, url, proxy FROM sources") == [
        ("two", "http://b:hidden9@127.0.0.1:2/", "http://old:3128")
    ]
    form = await root.form(path)
    assert (await root.post(path, form | {"proxy": ""}))[0] == 303
    assert await app.rows("SELECT name, url, proxy FROM sources") == [
        ("two", "http://b:hidden9@127.0.0.1:2/", None)
    ]


async def test_a_role_that_was_not_changed_is_not_put_back(app: WebApp) -> None:
    root, number = await app.log_in("root", "admin"), await app.user("ana")
    path = f"/users/{number}/role"
    form = await root.form(f"/users/{number}", path)
    await app.execute("UPDATE users SET role = 'viewer' WHERE name = 'ana'")
    assert (await root.post(path, form))[0] == 303
    assert await app.value("SELECT role FROM users WHERE name = 'ana'") == "viewer"
    assert (await root.post(path, form | {"role": "admin"}))[0] == 303
    assert await app.value("SELECT role FROM users WHERE name = 'ana'") == "admin"


async def test_a_share_that_was_not_changed_is_kept(app: WebApp) -> None:
    ana, number = await app.log_in("ana"), await app.add_track()
    for name in ("bob", "eve", "mia"):
        await app.user(name)
    path = f"/tracks/{number}/share"

    async def shared() -> list[str]:
        rows = await app.database.fetch(
            "SELECT name FROM track_shares JOIN users ON users.id = user_id ORDER BY name"
        )
        return [row["name"] for row in rows]

    await ana.json("PUT", f"/api/v1/tracks/{number}/shares", {"names": ["bob"]})
    form = await ana.form(path)
    await ana.json("PUT", f"/api/v1/tracks/{number}/shares", {"names": ["bob", "mia"]})
    names = [*([form["names"]] if "names" in form else []), "eve"]
    assert (await ana.post(path, form | {"names": names}))[0] == 303
    assert await shared() == ["bob", "eve", "mia"]
    form = await ana.form(path)
    assert (await ana.post(path, form | {"names": ["eve", "mia"]}))[0] == 303
    assert await shared() == ["eve", "mia"]
