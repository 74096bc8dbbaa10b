"""Coming in, staying, going out."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages, Visitor

from web.accounts import invites, sessions

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
