"""Coming in, staying, going out."""

import asyncio
import re

import aiohttp
import pytest

from stream.store import sessions
from web.accounts.credentials import HASHES_WAITING_MAX, Passwords
from web.accounts.service import new_invite
from web.problem import Problem
from web_app import PASSWORD, Client, WebApp


async def test_the_first_link_makes_an_admin_and_works_once(app: WebApp) -> None:
    """Each copy of the program has one, and all end with the first admin."""
    async with app.database.acquire() as connection:
        one, other = [await new_invite(connection, None) for _ in range(2)]
    client = await app.anonymous()
    assert (await client.submit(f"/welcome?key={one}", name="ana", password=PASSWORD))[0] == 303
    for key in (one, other):
        assert (await (await app.anonymous()).get(f"/welcome?key={key}"))[0] == 404
    assert await app.rows("SELECT name, role FROM users") == [("ana", "admin")]


async def test_the_first_link_is_over_when_an_admin_was_added_otherwise(app: WebApp) -> None:
    """By the command `user add`. Users who are no admins could not log in to make one."""
    async with app.database.acquire() as connection:
        key = await new_invite(connection, None)
    await app.user("mary")
    client = await app.anonymous()
    status, text = await client.get(f"/welcome?key={key}")
    assert (status, "creates the first admin" in text) == (200, True)
    await app.user("ana", "admin")
    status, text = await client.get(f"/welcome?key={key}")
    assert (status, "for a new one" in text) == (404, True)


async def test_the_first_link_works_after_other_users_were_added(app: WebApp) -> None:
    async with app.database.acquire() as connection:
        key = await new_invite(connection, None)
    await app.user("mary")
    client = await app.anonymous()
    page = f"/welcome?key={key}"
    assert (await client.submit(page, name="mary", password=PASSWORD))[0] == 409
    assert (await client.submit(page, name="ana", password=PASSWORD))[0] == 303
    assert set(await app.rows("SELECT name, role FROM users")) == {
        ("mary", "user"),
        ("ana", "admin"),
    }


async def test_a_session_that_is_revoked_is_over_at_once(app: WebApp, admin: Client) -> None:
    assert (await admin.post("/logout"))[0] == 303
    assert (await admin.post("/logout"))[0] == 303  # to the login: there is no session any more
    async with app.database.acquire() as connection:
        assert await sessions.sessions_of(connection, await app.user("ana")) == []


async def send(app: WebApp, name: str, password: str) -> tuple[int, str]:
    """Try to log in, in a fresh browser; status and text."""
    return await (await app.anonymous()).submit("/login", name=name, password=password)


async def test_a_name_is_found_as_people_type_it(app: WebApp) -> None:
    await app.user("ana")
    assert (await send(app, " Ana ", PASSWORD))[0] == 303


async def test_whoever_has_no_password_yet_or_is_disabled_cannot_log_in(app: WebApp) -> None:
    await app.user("ana")
    await app.execute(
        "INSERT INTO users (name) VALUES ('bo');UPDATE users SET enabled = false WHERE name = 'ana'"
    )
    for name, password in (("ana", PASSWORD), ("bo", ""), ("bo", PASSWORD)):
        assert (await send(app, name, password))[0] == 401


async def test_names_and_passwords_that_are_none(app: WebApp) -> None:
    await app.user("ana")
    for name, password in (
        ("", ""),
        ("a\x00b", PASSWORD),
        ("' OR 1=1 --", "' OR 1=1 --"),
        ("ana", "x" * 10_000),
        ("ana", PASSWORD + "\x00"),
        ("<script>alert(1)</script>", "\u202e"),
        ("a" * 10_000, ""),
    ):
        status, text = await send(app, name, password)
        assert status in (401, 422), name
        assert "<script>alert" not in text


async def test_guessing_has_an_end_and_says_for_how_long(app: WebApp) -> None:
    """For the guesser; the owner comes in from elsewhere."""
    await app.user("ana")
    statuses: list[int] = []
    text = ""
    while 429 not in statuses and len(statuses) < 60:
        status, text = await send(app, "ana", f"guess {len(statuses)}")
        statuses.append(status)
    assert statuses[:13] == [401] * 13
    assert statuses[-1] == 429
    assert re.search(r"try again in \d+ seconds", text)
    here = aiohttp.TCPConnector(local_addr=("127.0.0.9", 0))
    async with aiohttp.ClientSession(app.address, connector=here) as client:
        async with client.get("/login") as answer:
            form = dict(re.findall(r'name="(\w+)" value="(\w*)"', await answer.text()))
        cookies = {name: morsel.value for name, morsel in answer.cookies.items()}
        given = form | {"name": "ana", "password": PASSWORD}
        async with client.post(
            "/login", data=given, cookies=cookies, allow_redirects=False
        ) as answer:
            assert answer.status == 303


async def test_a_flood_of_logins_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory and a processor for a while: only so many may wait for it."""
    held = asyncio.Event()

    async def wait(*_: object) -> bool:
        return await held.wait()

    monkeypatch.setattr(asyncio, "to_thread", wait)
    passwords = Passwords()
    waiting = [
        asyncio.create_task(passwords.verify(None, "")) for _ in range(HASHES_WAITING_MAX + 2)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="Too many logins"):
        await passwords.verify(None, "")
    held.set()
    await asyncio.gather(*waiting)
    assert not await passwords.verify(None, ""), "and afterwards there is room again"


async def test_a_wrong_password_says_nothing_about_who_there_is(app: WebApp) -> None:
    await app.user("ana")
    said = []
    for name in ("ana", "nobody", "a\x00b"):
        status, text = await send(app, name, "wrong")
        assert status == 401
        said.append(re.sub(r'value="[^"]*"', "", text))
    assert said[0] == said[1] == said[2]
