"""My account: the password, sessions, tokens; and what of them may not grow for ever."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages

from web.accounts import invites, sessions, tokens
from web.guard import CSRF_HEADER

PASSWORD, OTHER = "correct horse battery", "staple of horses"


async def logs_in(pages: "Pages", name: str, password: str) -> bool:
    visitor = await pages.stranger()
    _, text = await visitor.get("/login")
    [csrf] = re.findall(r'name="csrf" value="(\w+)"', text)
    given = {"name": name, "password": password}
    status, _ = await visitor.post("/login", given, headers={CSRF_HEADER: csrf})
    return status == 303


async def test_another_password_ends_the_other_sessions(pages: "Pages") -> None:
    here, there = await pages.enter("ana", "viewer"), await pages.enter("ana")
    status, text = await here.post("/account/password", {"present": PASSWORD, "password": OTHER})
    assert status == 200
    assert "The password is changed" in text
    assert (await here.get("/account"))[0] == 200
    assert (await there.get("/account"))[0] == 303
    assert await logs_in(pages, "ana", OTHER)
    assert not await logs_in(pages, "ana", PASSWORD)


BAD_PASSWORDS = [
    ({"present": "wrong", "password": OTHER}, "not your present password"),
    ({"password": OTHER}, "not your present password"),
    ({"present": PASSWORD, "password": "short"}, "at least 10"),
    ({"present": PASSWORD, "password": "x" * 2000}, "at least 10"),
    ({"present": PASSWORD}, "at least 10"),
]


async def test_a_password_that_stays(pages: "Pages") -> None:
    here, there = await pages.enter("ana"), await pages.enter("ana")
    for given, said in BAD_PASSWORDS:
        status, text = await here.post("/account/password", given)
        assert (status, said in text) == (422, True), text
        assert not any(each in text for each in given.values() if each), "never shown"
    assert (await there.get("/account"))[0] == 200
    assert await logs_in(pages, "ana", PASSWORD)


async def test_guessing_at_the_password_of_an_open_browser_has_an_end(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    told: list[int] = []
    text = ""
    while 429 not in told and len(told) < 60:
        status, text = await ana.post("/account/password", {"present": "x", "password": OTHER})
        told.append(status)
    assert told[:10] == [422] * 10
    assert told[-1] == 429
    assert re.search(r"possible in \d+ seconds", text)


async def test_one_sees_and_ends_ones_own_sessions(pages: "Pages") -> None:
    here, there, third = [await pages.enter("ana") for _ in range(3)]
    eve = await pages.enter("eve", "admin")
    _, text = await here.get("/account")
    ends = re.findall(r'action="(/account/sessions/[0-9a-f]+/end)"', text)
    assert len(ends) == 2
    assert text.count("this one") == 1
    for path in ends:
        assert (await eve.post(path))[0] == 404, "not those of others"
    assert (await here.post(ends[0]))[0] == 303
    after = [(await each.get("/account"))[0] for each in (there, third)]
    assert sorted(after) == [200, 303]
    assert (await here.post(ends[0]))[0] == 404
    assert (await here.post("/account/sessions/xyz/end"))[0] == 404
    assert (await here.post("/account/sessions/end"))[0] == 303
    assert [(await each.get("/account"))[0] for each in (here, there, third, eve)] == [
        *(200, 303, 303, 200)
    ]


async def test_a_token_is_shown_once_and_kept_hashed(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    given = [("name", "<b>my</b> \u202escript"), ("scopes", "read"), ("scopes", "write")]
    status, text = await ana.post("/account/tokens", [*given, ("days", "30")])
    assert status == 200
    [token] = re.findall(r"ts_[\w-]+", text)
    _, text = await ana.get("/account")
    assert token not in text
    assert "read, write" in text
    assert "&lt;b&gt;my" in text
    assert "<b>my" not in text
    [row] = await pages.database.fetch("SELECT tokens::text AS all FROM tokens")
    assert token not in row["all"]
    async with pages.database.acquire() as connection:
        [kept] = await tokens.of_user(connection, await pages.user("ana"))
        assert kept.expires_at is not None
        assert timedelta(29) < kept.expires_at - datetime.now(UTC) < timedelta(31)
        assert (await tokens.person(connection, token)) is not None
        # Its end is the end at once; those of others are not seen.
        eve = await pages.enter("eve", "admin")
        assert (await eve.post(f"/account/tokens/{kept.id}/end"))[0] == 404
        assert (await ana.post(f"/account/tokens/{kept.id}/end"))[0] == 303
        assert (await tokens.person(connection, token)) is None
    assert (await ana.post(f"/account/tokens/{kept.id}/end"))[0] == 404


BAD_TOKENS = [
    ({"name": "", "scopes": "read", "days": "30"}, "Give it a name"),
    ({"name": "x" * 101, "scopes": "read", "days": "30"}, "Give it a name"),
    ({"name": "a\x00b", "scopes": "read", "days": "30"}, "Give it a name"),
    ({"name": "x", "days": "30"}, "Choose what it may do"),
    ({"name": "x", "scopes": "write", "days": "30"}, "Choose what it may do"),
    ({"name": "x", "scopes": "everything", "days": "30"}, "Choose what it may do"),
    ({"name": "x", "scopes": "read", "days": "1e9"}, "Choose how long"),
]


async def test_a_token_that_is_not_made(pages: "Pages") -> None:
    vic = await pages.enter("vic", "viewer")
    for given, said in BAD_TOKENS:
        status, text = await vic.post("/account/tokens", given)
        assert (status, said in text) == (422, True), text
    assert await pages.database.fetch("SELECT FROM tokens") == []


async def test_a_token_reaches_no_further_than_its_owner_now(pages: "Pages") -> None:
    """Made by an admin who is none any more."""
    program = await pages.program("ana", "admin")
    await pages.user("bo", "admin")
    await pages.database.execute("UPDATE users SET role = 'viewer' WHERE name = 'ana'")
    async with pages.database.acquire() as connection:
        rows = await connection.fetch("SELECT hash FROM tokens")
    assert len(rows) == 1
    token = program.client.headers["Authorization"].removeprefix("Bearer ")
    async with pages.database.acquire() as connection:
        person = await tokens.person(connection, token)
    assert person is not None
    assert not person.may("admin", "admin")
    assert not person.may("user", "write")


async def test_a_token_that_is_over_opens_nothing(pages: "Pages") -> None:
    user_id = await pages.user("ana")
    async with pages.database.acquire() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        _, token = await tokens.make(connection, user_id, "old", ["read"], past)
        assert await tokens.person(connection, token) is None
    ana = await pages.enter("ana")
    assert "over</span>" in (await ana.get("/account"))[1]


async def test_what_is_over_is_swept_out_and_nobody_has_too_much(pages: "Pages") -> None:
    user_id = await pages.user("ana")
    await pages.database.execute(
        "INSERT INTO sessions (hash, user_id, expires_at)"
        " SELECT sha256(n::text::bytea), $1, now() - interval '1 s' FROM generate_series(1, 9) n",
        await pages.user("bo"),
    )
    await pages.database.execute(
        "INSERT INTO invites (hash, expires_at)"
        " SELECT sha256(n::text::bytea), now() - interval '1 s' FROM generate_series(1, 9) n"
    )
    async with pages.database.acquire() as connection:
        keys = [
            await sessions.begin(connection, user_id, "", "a\x00\u202eb", 30)
            for _ in range(sessions.MOST + 5)
        ]
        await invites.make(connection, user_id)
        assert len(await sessions.of_user(connection, user_id)) == sessions.MOST
        assert await sessions.person(connection, keys[-1], 30) is not None
        assert await sessions.person(connection, keys[0], 30) is None
    for table, most in (("sessions", sessions.MOST), ("invites", 1)):
        [row] = await pages.database.fetch(f"SELECT count(*) AS number FROM {table}")
        assert row["number"] == most


async def test_several_copies_each_have_a_first_link_until_somebody_is_there(
    pages: "Pages",
) -> None:
    async with pages.database.acquire() as connection:
        one, other = [await invites.make(connection, None) for _ in range(2)]
    visitor = await pages.stranger()
    _, text = await visitor.get(f"/welcome?key={one}")
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
    given = form | {"name": "ana", "password": PASSWORD}
    assert (await visitor.post("/welcome", given, headers={CSRF_HEADER: form["csrf"]}))[0] == 303
    assert (await visitor.get(f"/welcome?key={other}"))[0] == 404
