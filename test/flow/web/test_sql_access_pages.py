"""SQL access on the pages: who gives it, who makes the password, and what it then reads."""

import html
import re
from collections.abc import AsyncIterator

import psycopg
import pytest

from web.accounts.sql_access import ServerParts, server_parts
from web_app import Client, WebApp, plain_text

ADDRESS = re.compile(r'value="(postgresql://[^"]+)"')


@pytest.fixture(autouse=True)
async def _clean(app: WebApp) -> AsyncIterator[None]:
    """Roles are the server's, and stay otherwise."""
    yield
    await app.execute("DELETE FROM users")


async def path_of(app: WebApp, name: str) -> str:
    return f"/users/{await app.user(name)}"


async def new_address(client: Client) -> str:
    status, page = await client.post("/account/sql")
    assert status == 200, plain_text(page)
    return html.unescape(ADDRESS.findall(page)[0])


def texts(address: str) -> list[str]:
    with psycopg.connect(address) as connection:
        query = "SELECT text FROM tweets_flat ORDER BY id"
        return [text for (text,) in connection.execute(query).fetchall()]


async def test_an_admin_gives_access_and_its_user_makes_the_password(app: WebApp) -> None:
    admin, ana = await app.log_in("root", "admin"), await app.log_in("ana")
    await app.user("bob")
    await app.add_track("snow", "ana")
    await app.add_track("rain", "bob")
    await app.store_tweets({"text": "snow"}, {"text": "rain"})
    user = await path_of(app, "ana")
    assert "An admin can give you one" in plain_text(await ana.page("/account"))
    assert (await admin.post(f"{user}/sql"))[0] == 303
    page = await admin.page(user)
    assert "Remove SQL access" in page
    assert not ADDRESS.search(page), "an admin sees no password"
    page = await ana.page("/account")
    assert "New password for SQL" in page
    assert not ADDRESS.search(page)
    first = await new_address(ana)
    assert texts(first) == ["snow"]
    assert not ADDRESS.search(await ana.page("/account")), "it is shown once"
    second = await new_address(ana)
    assert texts(second) == ["snow"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        texts(first)
    assert (await admin.post(f"{user}/sql"))[0] == 303, "given twice: nothing changes"
    assert texts(second) == ["snow"]
    assert (await admin.post(f"{user}/sql/remove"))[0] == 303
    with pytest.raises(psycopg.OperationalError):
        texts(second)
    assert (await admin.post(f"{user}/sql/remove"))[0] == 404
    assert "An admin can give you one" in plain_text(await ana.page("/account"))


async def test_users_cannot_give_themselves_access(app: WebApp, ana: Client) -> None:
    user = await path_of(app, "ana")
    assert (await ana.post(f"{user}/sql"))[0] == 403
    status, page = await ana.post("/account/sql")
    assert status == 403
    assert "Ask an admin" in page
    assert await app.rows("SELECT FROM sql_roles") == []


async def test_neither_a_foreign_form_nor_a_token_is_enough(app: WebApp, admin: Client) -> None:
    user = await path_of(app, "ana")
    program = await app.api_client("ana", "admin")
    for path in (f"{user}/sql", f"{user}/sql/remove", "/account/sql"):
        assert (await admin.post(path, headers={"X-CSRF-Token": "wrong"}))[0] == 403
        assert (await program.post(path))[0] in {401, 403}
    assert await app.rows("SELECT FROM sql_roles") == []


async def test_no_access_is_given_to_a_user_who_does_not_exist(app: WebApp, admin: Client) -> None:
    for number in ("99999", "x", "0"):
        assert (await admin.post(f"/users/{number}/sql"))[0] == 404


def test_the_parts_of_an_address_are_those_that_programs_ask_for() -> None:
    login = "postgresql://a_user_7:secret"
    assert server_parts(f"{login}@db.example.com:5433/a") == ServerParts(
        "db.example.com", "5433", is_socket=False
    )
    assert server_parts(f"{login}@db.example.com/a") == ServerParts(
        "db.example.com", "5432", is_socket=False
    )
    assert server_parts(f"{login}@/a?host=/run/pg&port=6000") == ServerParts(
        "/run/pg", "6000", is_socket=True
    )
    assert server_parts(f"{login}@%2Frun%2Fpg/a") == ServerParts("/run/pg", "5432", is_socket=True)
