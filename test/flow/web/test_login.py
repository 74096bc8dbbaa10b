"""Coming in, staying, going out."""

import asyncio
import re
from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages, Visitor

from web.accounts import invites, sessions
from web.accounts.passwords import MOST_WAITING, Passwords
from web.problem import Problem

PASSWORD = "correct horse battery"


async def form_of(visitor: "Visitor", path: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    _, text = await visitor.get(path)
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))


async def test_the_first_link_makes_an_admin_and_works_once(pages: "Pages") -> None:
    async with pages.database.acquire() as connection:
        key = await invites.make(connection, None)
    visitor = await pages.stranger()
    form = await form_of(visitor, f"/welcome?key={key}")
    given = form | {"name": "ana", "password": PASSWORD}
    status, _ = await visitor.post("/welcome", given, headers={"X-CSRF-Token": form["csrf"]})
    assert status == 303
    other = await pages.stranger()
    assert (await other.get(f"/welcome?key={key}"))[0] == 404
    rows = await pages.database.fetch("SELECT name, role FROM users")
    assert [tuple(row) for row in rows] == [("ana", "admin")]


async def test_a_session_that_is_revoked_is_over_at_once(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    assert (await ana.post("/logout"))[0] == 303
    assert (await ana.post("/logout"))[0] == 303  # to the login: there is no session any more
    async with pages.database.acquire() as connection:
        assert await sessions.of_user(connection, await pages.user("ana")) == []


async def send(pages: "Pages", name: str, password: str) -> tuple[int, str]:
    """Try to log in, in a fresh browser; status and text."""
    visitor = await pages.stranger()
    form = await form_of(visitor, "/login")
    csrf = {"X-CSRF-Token": form["csrf"]}
    return await visitor.post("/login", form | {"name": name, "password": password}, headers=csrf)


async def test_a_name_is_found_as_people_type_it(pages: "Pages") -> None:
    await pages.user("ana")
    assert (await send(pages, " Ana ", PASSWORD))[0] == 303


async def test_whoever_has_no_password_yet_or_is_disabled_cannot_log_in(pages: "Pages") -> None:
    await pages.user("ana")
    await pages.database.execute(
        "INSERT INTO users (name) VALUES ('bo');UPDATE users SET enabled = false WHERE name = 'ana'"
    )
    for name, password in (("ana", PASSWORD), ("bo", ""), ("bo", PASSWORD)):
        assert (await send(pages, name, password))[0] == 401


async def test_names_and_passwords_that_are_none(pages: "Pages") -> None:
    await pages.user("ana")
    for name, password in (
        ("", ""),
        ("a\x00b", PASSWORD),
        ("' OR 1=1 --", "' OR 1=1 --"),
        ("ana", "x" * 10_000),
        ("ana", PASSWORD + "\x00"),
        ("<script>alert(1)</script>", "\u202e"),
        ("a" * 10_000, ""),
    ):
        status, text = await send(pages, name, password)
        assert status in (401, 422), name
        assert "<script>alert" not in text


async def test_guessing_has_an_end_and_says_for_how_long(pages: "Pages") -> None:
    """For the guesser; the owner comes in from elsewhere."""
    await pages.user("ana")
    told: list[int] = []
    text = ""
    while 429 not in told and len(told) < 60:
        status, text = await send(pages, "ana", f"guess {len(told)}")
        told.append(status)
    assert told[:13] == [401] * 13
    assert told[-1] == 429
    assert re.search(r"the next one is possible in \d+ seconds", text)
    here = aiohttp.TCPConnector(local_addr=("127.0.0.9", 0))
    async with aiohttp.ClientSession(pages.address, connector=here) as client:
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
    waiting = [asyncio.create_task(passwords.fits(None, "")) for _ in range(MOST_WAITING + 2)]
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="Too many people"):
        await passwords.fits(None, "")
    held.set()
    await asyncio.gather(*waiting)
    assert not await passwords.fits(None, ""), "and afterwards there is room again"


async def test_a_wrong_password_says_nothing_about_who_there_is(pages: "Pages") -> None:
    await pages.user("ana")
    said = []
    for name in ("ana", "nobody"):
        visitor = await pages.stranger()
        form = await form_of(visitor, "/login")
        given = form | {"name": name, "password": "wrong"}
        csrf = {"X-CSRF-Token": form["csrf"]}
        status, text = await visitor.post("/login", given, headers=csrf)
        assert status == 401
        said.append(re.sub(r'value="[^"]*"', "", text))
    assert said[0] == said[1]
