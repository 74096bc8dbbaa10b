"""The page Users, and the command `user`: who may come in, and what happens at once."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

import twitterstream
from stream.errors import TwitterstreamError
from stream.store import users
from web_app import Client, WebApp, hidden_fields

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "another horse battery"
LINK = re.compile(r"(http://[^\s\"]+)?(/welcome\?key=[\w-]+)")


def link_in(text: str) -> str:
    found = LINK.search(text)
    assert found is not None, text
    return found[2]


async def accept(app: WebApp, link: str, **given: str) -> tuple[Client, int]:
    """Open a link and choose a password."""
    client = await app.anonymous()
    return client, (await client.submit(link, **({"password": PASSWORD} | given)))[0]


async def test_somebody_is_added_and_comes_in_by_the_link(app: WebApp, admin: Client) -> None:
    status, text = await admin.post("/users", {"name": " Bo ", "role": "viewer"})
    assert status == 200
    link = link_in(text)
    assert f"{app.address}{link}" in text
    _, text = await admin.get("/users")
    assert "invited" in text
    assert link not in text, "it is shown once"
    bo, status = await accept(app, link, name="somebody-else")
    assert status == 303
    status, text = await bo.get("/account")
    assert status == 200
    assert "<strong>bo</strong>, with the role <strong>viewer</strong>" in text
    assert (await admin.get(link))[0] == 404, "it works once"


async def test_a_short_password_uses_up_nothing(app: WebApp, admin: Client) -> None:
    _, text = await admin.post("/users", {"name": "bo", "role": "user"})
    _, status = await accept(app, link_in(text), password="short")
    assert status == 422
    _, status = await accept(app, link_in(text))
    assert status == 303


async def test_an_admin_may_open_a_link_himself(admin: Client) -> None:
    """In a browser that is logged in as another user."""
    _, text = await admin.post("/users", {"name": "bo", "role": "user"})
    _, text = await admin.get(link_in(text))
    form = hidden_fields(text)
    assert form["csrf"] == admin.csrf
    assert (await admin.post("/welcome", form | {"password": PASSWORD}))[0] == 303


NO_USERS: list[tuple[dict[str, str], int, str]] = [
    ({"name": "ana", "role": "user"}, 409, "There is already a user ana."),
    ({"name": "", "role": "user"}, 422, "A name has at most 63 characters"),
    ({"name": "<b>x</b>", "role": "user"}, 422, "A name has at most 63 characters"),
    ({"name": "a" * 64, "role": "user"}, 422, "A name has at most 63 characters"),
    ({"name": "a\x00b", "role": "user"}, 422, "cannot be stored"),
    ({"name": "'; DROP TABLE users --", "role": "user"}, 422, "A name has at most 63 characters"),
    ({"name": "bo", "role": "king"}, 422, "Choose one of the roles"),
    ({"name": "bo"}, 422, "Choose one of the roles"),
]


async def test_who_cannot_be_added(app: WebApp, admin: Client) -> None:
    for given, status, said in NO_USERS:
        answered, text = await admin.post("/users", given)
        assert (answered, said in text) == (status, True), text
        assert "<b>x</b>" not in text
    async with app.database.acquire() as connection:
        assert [each.name for each in await users.all(connection)] == ["ana"]


async def test_who_is_disabled_is_out_at_once_with_all_he_has(app: WebApp, admin: Client) -> None:
    bo = await app.log_in("bo", "user")
    _, text = await bo.post("/account/tokens", {"name": "script", "scopes": "read"})
    [token] = re.findall(r"ts_[\w-]+", text)
    number = await app.user("bo")
    _, text = await admin.post(f"/users/{number}/link")
    link = link_in(text)
    program = await app.anonymous()
    bearer = {"Authorization": f"Bearer {token}"}

    async def token_is_taken() -> bool:
        """403: the token is valid, but opens no pages; an invalid one leads to the login."""
        return (await program.get("/account", headers=bearer))[0] == 403

    assert await token_is_taken()
    assert (await admin.post(f"/users/{number}/disable"))[0] == 303
    assert (await bo.get("/account"))[0] == 303
    assert not await token_is_taken()
    assert (await admin.get(link))[0] == 404
    assert (await admin.post(f"/users/{number}/link"))[0] == 409
    assert "disabled" in (await admin.get(f"/users/{number}"))[1]
    # Enabled again, the user can log in; the token works again, the link does not.
    assert (await admin.post(f"/users/{number}/enable"))[0] == 303
    assert (await admin.get(link))[0] == 404
    assert (await bo.get("/account"))[0] == 303
    assert await token_is_taken()


async def test_who_is_disabled_by_hand_is_out_as_well(app: WebApp) -> None:
    """By psql, which knows nothing of sessions and links."""
    ana, bo = await app.log_in("ana", "admin"), await app.log_in("bo")
    _, text = await ana.post(f"/users/{await app.user('bo')}/link")
    link = link_in(text)
    assert (await ana.get(link))[0] == 200
    await app.execute("UPDATE users SET enabled = false WHERE name = 'bo'")
    assert (await ana.get(link))[0] == 404
    assert (await bo.get("/account"))[0] == 303


async def test_a_role_holds_from_the_next_click_on(app: WebApp) -> None:
    ana, bo = await app.log_in("ana", "admin"), await app.log_in("bo", "user")
    number = await app.user("bo")
    assert (await bo.get("/users"))[0] == 403
    assert (await ana.post(f"/users/{number}/role", {"role": "admin"}))[0] == 303
    assert (await bo.get("/users"))[0] == 200
    assert (await ana.post(f"/users/{number}/role", {"role": "king"}))[0] == 422
    assert (await ana.post(f"/users/{number}/role", {"role": "viewer"}))[0] == 303
    assert (await bo.get("/users"))[0] == 403


async def test_somebody_remains_admin(app: WebApp, admin: Client) -> None:
    """Admins who can log in: not those who have not used their link."""
    number = await app.user("ana")
    await admin.post("/users", {"name": "bo", "role": "admin"})
    for path, given in (("disable", {}), ("role", {"role": "user"})):
        status, text = await admin.post(f"/users/{number}/{path}", given)
        assert status == 409
        assert "This is the last admin" in text
    await app.user("cy", "admin")
    assert (await admin.post(f"/users/{number}/role", {"role": "user"}))[0] == 303
    assert (await admin.get("/users"))[0] == 403


async def test_all_sessions_of_somebody_end(app: WebApp) -> None:
    ana, bo = await app.log_in("ana", "admin"), await app.log_in("bo")
    also_bo = await app.log_in("bo")
    assert (await ana.post(f"/users/{await app.user('bo')}/logout"))[0] == 303
    assert [(await each.get("/account"))[0] for each in (ana, bo, also_bo)] == [200, 303, 303]


async def test_the_list_says_what_each_has(app: WebApp, admin: Client) -> None:
    await app.user("bo", "viewer")
    await app.execute(
        "INSERT INTO tracks (value, owner)"
        " SELECT 'word' || n, 'ana' FROM generate_series(1, 1234) AS n"
    )
    _, text = await admin.get("/users")
    found = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in found]
    assert rows[1] == ["ana", "(you)", "admin", "active", "now", "1,234"]
    assert rows[2] == ["bo", "viewer", "active", "never", "0"]


async def test_numbers_that_nobody_has(admin: Client) -> None:
    for number in ("0", "999", "9" * 30, "-1", "x", "1;--", "%00", "²"):
        assert (await admin.get(f"/users/{number}"))[0] == 404, number
        assert (await admin.post(f"/users/{number}/disable"))[0] == 404, number


# -- the command ----------------------------------------------------------------------------------


class Terminal:
    """Gives commands, in this process: a new one takes long to begin."""

    def __init__(self, folder: Path, database: str) -> None:
        settings: dict[str, Any] = {"database": database, "web": {"base_path": "/ts"}}
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(settings))

    async def user(self, *words: str, given: str | None = None, code: int = 0) -> str:
        """What it says; errors as `main` says them."""
        return await asyncio.to_thread(self._user, words, given, code)

    def _user(self, words: tuple[str, ...], given: str | None, code: int) -> str:
        whole = ["--config", str(self.config), "user", *words]
        done = CliRunner().invoke(twitterstream.cli, whole, input=given)
        said = done.output
        if isinstance(done.exception, TwitterstreamError):
            said += str(done.exception)
        assert done.exit_code == code, said
        return said


async def test_the_command(app: WebApp, database: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, database)
    said = await terminal.user("add", "ana", "--role", "admin")
    assert "http://127.0.0.1:8080/ts/welcome?key=" in said
    ana, status = await accept(app, link_in(said))
    assert status == 303
    said = await terminal.user("add", "bo", "--password", "-", given=f"{PASSWORD}\n")
    assert PASSWORD not in said
    assert "welcome" not in said
    await terminal.user("disable", "bo")
    assert "user enable bo" in await terminal.user("passwd", "bo", code=1)
    await terminal.user("enable", "bo")
    [first, second] = json.loads(await terminal.user("list", "--json"))
    assert (first["name"], first["role"], first["ready"]) == ("ana", "admin", True)
    assert (second["name"], second["role"], second["enabled"]) == ("bo", "user", True)
    assert "password" not in first
    # A new password ends what was begun with the old one.
    assert (await ana.get("/users"))[0] == 200
    await terminal.user("passwd", "ana", "--password", "-", given="yet another one\n")
    assert (await ana.get("/users"))[0] == 303
    program = await app.api_client("ana", "admin")
    await terminal.user("passwd", "ana", "--password", "-", given="yet another one\n")
    assert (await program.get("/api/v1/me"))[0] == 200
    more = ("--password", "-", "--end-tokens")
    said = await terminal.user("passwd", "ana", *more, given="yet another one\n")
    assert "tokens of ana no longer work" in said
    assert (await program.get("/api/v1/me"))[0] == 401
    with psycopg.connect(database) as connection:
        [[hashed]] = connection.execute("SELECT password FROM users WHERE name = 'ana'").fetchall()
    assert hashed.startswith("$argon2id$")


async def test_sql_access_by_the_command(database: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, database)

    def login(said: str) -> str:
        return next(line for line in said.splitlines() if line.startswith("postgresql://"))

    first = login(await terminal.user("add", "ana", "--sql"))
    second = login(await terminal.user("sql", "ana"))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first)
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT * FROM tweets_flat").fetchall() == []
    assert "no access" in await terminal.user("sql", "ana", "--remove")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(second)
    assert "no access" in await terminal.user("sql", "ana", "--remove", code=1)
    assert "no user bo" in await terminal.user("sql", "bo", code=1)


async def test_what_the_command_refuses(database: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, database)
    assert "at least 10" in await terminal.user(
        "add", "bo", "--password", "-", given="short\n", code=2
    )
    assert "lower-case letters" in await terminal.user("add", "Bo!", code=2)
    await terminal.user("add", "ana", "--role", "admin", "--password", "-", given=PASSWORD)
    assert "already" in await terminal.user("add", "ana", code=1)
    assert "last admin" in await terminal.user("disable", "ana", code=1)
    # And once as a process of its own.
    program = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(terminal.config)]
    process = await asyncio.create_subprocess_exec(*program, "user", "enable", "bo", stderr=-1)
    _, said = await process.communicate()
    assert (process.returncode, b"no user bo" in said) == (1, True), said
