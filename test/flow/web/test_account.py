"""My account: the password, sessions, tokens; and what of them may not grow for ever."""

import re
from datetime import UTC, datetime, timedelta

from stream.store import sessions
from stream.store.sessions import SESSIONS_MAX
from web.accounts.credentials import begin_session, new_token, person_of_session, person_of_token
from web.accounts.service import new_invite
from web_app import PASSWORD, Client, WebApp

OTHER = "staple of horses"


async def logs_in(app: WebApp, name: str, password: str) -> bool:
    client = await app.anonymous()
    return (await client.submit("/login", name=name, password=password))[0] == 303


async def test_another_password_ends_the_other_sessions(app: WebApp) -> None:
    here, there = await app.log_in("ana", "viewer"), await app.log_in("ana")
    status, text = await here.post("/account/password", {"present": PASSWORD, "password": OTHER})
    assert status == 200
    assert "Password changed" in text
    assert (await here.get("/account"))[0] == 200
    assert (await there.get("/account"))[0] == 303
    assert await logs_in(app, "ana", OTHER)
    assert not await logs_in(app, "ana", PASSWORD)


BAD_PASSWORDS = [
    ({"present": "wrong", "password": OTHER}, "current password does not match"),
    ({"password": OTHER}, "current password does not match"),
    ({"present": PASSWORD, "password": "short"}, "at least 10"),
    ({"present": PASSWORD, "password": "x" * 2000}, "at least 10"),
    ({"present": PASSWORD}, "at least 10"),
]


async def test_a_password_that_stays(app: WebApp) -> None:
    here, there = await app.log_in("ana"), await app.log_in("ana")
    for given, said in BAD_PASSWORDS:
        status, text = await here.post("/account/password", given)
        assert (status, said in text) == (422, True), text
        assert not any(each in text for each in given.values() if each), "never shown"
    assert (await there.get("/account"))[0] == 200
    assert await logs_in(app, "ana", PASSWORD)


async def test_guessing_at_the_password_of_an_open_browser_has_an_end(ana: Client) -> None:
    statuses: list[int] = []
    text = ""
    while 429 not in statuses and len(statuses) < 60:
        status, text = await ana.post("/account/password", {"present": "x", "password": OTHER})
        statuses.append(status)
    assert statuses[:10] == [422] * 10
    assert statuses[-1] == 429
    assert re.search(r"try again in \d+ seconds", text)


async def test_one_sees_and_ends_ones_own_sessions(app: WebApp) -> None:
    here, there, third = [await app.log_in("ana") for _ in range(3)]
    eve = await app.log_in("eve", "admin")
    _, text = await here.get("/account")
    ends = re.findall(r'action="(/account/sessions/[0-9a-f]+/end)"', text)
    assert len(ends) == 2
    assert text.count("this session") == 1
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


async def test_a_token_is_shown_once_and_kept_hashed(app: WebApp, ana: Client) -> None:
    given = [("name", "<b>my</b> \u202escript"), ("scopes", "read"), ("scopes", "write")]
    status, text = await ana.post("/account/tokens", [*given, ("days", "30")])
    assert status == 200
    [token] = re.findall(r"ts_[\w-]+", text)
    _, text = await ana.get("/account")
    assert token not in text
    assert "read, write" in text
    assert "&lt;b&gt;my" in text
    assert "<b>my" not in text
    [row] = await app.database.fetch("SELECT tokens::text AS all FROM tokens")
    assert token not in row["all"]
    async with app.database.acquire() as connection:
        [kept] = await sessions.tokens_of(connection, await app.user("ana"))
        assert kept.expires_at is not None
        assert timedelta(29) < kept.expires_at - datetime.now(UTC) < timedelta(31)
        assert (await person_of_token(connection, token)) is not None
        # Its end is the end at once; those of others are not seen.
        eve = await app.log_in("eve", "admin")
        assert (await eve.post(f"/account/tokens/{kept.id}/end"))[0] == 404
        assert (await ana.post(f"/account/tokens/{kept.id}/end"))[0] == 303
        assert (await person_of_token(connection, token)) is None
    assert (await ana.post(f"/account/tokens/{kept.id}/end"))[0] == 404


BAD_TOKENS = [
    ({"name": "", "scopes": "read", "days": "30"}, "Enter a name"),
    ({"name": "x" * 101, "scopes": "read", "days": "30"}, "Enter a name"),
    ({"name": "a\x00b", "scopes": "read", "days": "30"}, "Enter a name"),
    ({"name": "x", "days": "30"}, "Choose at least one permission"),
    ({"name": "x", "scopes": "write", "days": "30"}, "Choose at least one permission"),
    ({"name": "x", "scopes": "everything", "days": "30"}, "Choose at least one permission"),
    ({"name": "x", "scopes": "read", "days": "1e9"}, "Choose when"),
]


async def test_a_token_that_is_not_made(app: WebApp) -> None:
    vic = await app.log_in("vic", "viewer")
    for given, said in BAD_TOKENS:
        status, text = await vic.post("/account/tokens", given)
        assert (status, said in text) == (422, True), text
    assert await app.rows("SELECT FROM tokens") == []


async def test_a_token_reaches_no_further_than_its_owner_now(app: WebApp) -> None:
    """Made by an admin who is none any more."""
    program = await app.api_client("ana", "admin")
    await app.user("bo", "admin")
    await app.execute("UPDATE users SET role = 'viewer' WHERE name = 'ana'")
    async with app.database.acquire() as connection:
        rows = await connection.fetch("SELECT hash FROM tokens")
    assert len(rows) == 1
    token = program.http.headers["Authorization"].removeprefix("Bearer ")
    async with app.database.acquire() as connection:
        person = await person_of_token(connection, token)
    assert person is not None
    assert not person.may("admin", "admin")
    assert not person.may("user", "write")


async def test_a_token_that_is_over_opens_nothing(app: WebApp) -> None:
    user_id = await app.user("ana")
    async with app.database.acquire() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        _, token = await new_token(connection, user_id, "old", ["read"], past)
        assert await person_of_token(connection, token) is None
    ana = await app.log_in("ana")
    assert "expired</span>" in (await ana.get("/account"))[1]


async def test_what_is_over_is_swept_out_and_nobody_has_too_much(app: WebApp) -> None:
    user_id = await app.user("ana")
    await app.execute(
        "INSERT INTO sessions (hash, user_id, expires_at)"
        " SELECT sha256(n::text::bytea), $1, now() - interval '1 s' FROM generate_series(1, 9) n",
        await app.user("bo"),
    )
    await app.execute(
        "INSERT INTO invites (hash, expires_at)"
        " SELECT sha256(n::text::bytea), now() - interval '1 s' FROM generate_series(1, 9) n"
    )
    async with app.database.acquire() as connection:
        keys = [
            await begin_session(connection, user_id, "", "a\x00\u202eb", 30)
            for _ in range(SESSIONS_MAX + 5)
        ]
        await new_invite(connection, user_id)
        assert len(await sessions.sessions_of(connection, user_id)) == SESSIONS_MAX
        assert await person_of_session(connection, keys[-1], 30) is not None
        assert await person_of_session(connection, keys[0], 30) is None
    for table, most in (("sessions", SESSIONS_MAX), ("invites", 1)):
        [row] = await app.database.fetch(f"SELECT count(*) AS number FROM {table}")
        assert row["number"] == most
