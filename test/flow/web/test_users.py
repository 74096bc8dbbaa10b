"""The page Users, and the command `user`: who may come in, and what happens at once."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from click.testing import CliRunner

import twitterstream
from stream.errors import TwitterstreamError

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages, Visitor

from web.accounts import users
from web.guard import CSRF_HEADER

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "another horse battery"
LINK = re.compile(r"(http://[^\s\"]+)?(/welcome\?key=[\w-]+)")


def link_in(text: str) -> str:
    found = LINK.search(text)
    assert found is not None, text
    return found[2]


async def accept(pages: "Pages", link: str, **given: str) -> tuple["Visitor", int]:
    """Open a link and choose a password."""
    visitor = await pages.stranger()
    _, text = await visitor.get(link)
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
    headers = {CSRF_HEADER: form.get("csrf", "")}
    status, _ = await visitor.post(
        "/welcome", form | {"password": PASSWORD} | given, headers=headers
    )
    return visitor, status


async def test_somebody_is_added_and_comes_in_by_the_link(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    status, text = await ana.post("/users", {"name": " Bo ", "role": "viewer"})
    assert status == 200
    link = link_in(text)
    assert f"{pages.address}{link}" in text
    _, text = await ana.get("/users")
    assert "link not used yet" in text
    assert link not in text, "it is shown once"
    bo, status = await accept(pages, link, name="somebody-else")
    assert status == 303
    status, text = await bo.get("/account")
    assert status == 200
    assert "<strong>bo</strong>, with the role <strong>viewer</strong>" in text
    assert (await ana.get(link))[0] == 404, "it works once"


async def test_a_short_password_uses_up_nothing(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    _, text = await ana.post("/users", {"name": "bo", "role": "user"})
    _, status = await accept(pages, link_in(text), password="short")
    assert status == 422
    _, status = await accept(pages, link_in(text))
    assert status == 303


async def test_an_admin_may_open_a_link_himself(pages: "Pages") -> None:
    """In a browser where he is logged in as another one."""
    ana = await pages.enter("ana", "admin")
    _, text = await ana.post("/users", {"name": "bo", "role": "user"})
    _, text = await ana.get(link_in(text))
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
    assert form["csrf"] == ana.csrf
    assert (await ana.post("/welcome", form | {"password": PASSWORD}))[0] == 303


NO_USERS: list[tuple[dict[str, str], int, str]] = [
    ({"name": "ana", "role": "user"}, 409, "There is a user ana already."),
    ({"name": "", "role": "user"}, 422, "A name is small letters"),
    ({"name": "<b>x</b>", "role": "user"}, 422, "A name is small letters"),
    ({"name": "a" * 64, "role": "user"}, 422, "A name is small letters"),
    ({"name": "a\x00b", "role": "user"}, 422, "cannot be stored"),
    ({"name": "'; DROP TABLE users --", "role": "user"}, 422, "A name is small letters"),
    ({"name": "bo", "role": "king"}, 422, "Choose one of the roles"),
    ({"name": "bo"}, 422, "Choose one of the roles"),
]


async def test_who_cannot_be_added(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    for given, status, said in NO_USERS:
        told, text = await ana.post("/users", given)
        assert (told, said in text) == (status, True), text
        assert "<b>x</b>" not in text
    async with pages.database.acquire() as connection:
        assert [each.name for each in await users.everybody(connection)] == ["ana"]


async def test_who_is_disabled_is_out_at_once_with_all_he_has(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    bo = await pages.enter("bo", "user")
    _, text = await bo.post("/account/tokens", {"name": "script", "scopes": "read"})
    [token] = re.findall(r"ts_[\w-]+", text)
    number = await pages.user("bo")
    _, text = await ana.post(f"/users/{number}/link")
    link = link_in(text)
    program = await pages.stranger()
    bearer = {"Authorization": f"Bearer {token}"}

    async def token_is_taken() -> bool:
        """403: it is his, but opens no pages; without a valid one it would be the login."""
        return (await program.get("/account", headers=bearer))[0] == 403

    assert await token_is_taken()
    assert (await ana.post(f"/users/{number}/disable"))[0] == 303
    assert (await bo.get("/account"))[0] == 303
    assert not await token_is_taken()
    assert (await ana.get(link))[0] == 404
    assert (await ana.post(f"/users/{number}/link"))[0] == 409
    assert "disabled" in (await ana.get(f"/users/{number}"))[1]
    # Enabled again he logs in anew; the token works on, the link does not.
    assert (await ana.post(f"/users/{number}/enable"))[0] == 303
    assert (await ana.get(link))[0] == 404
    assert (await bo.get("/account"))[0] == 303
    assert await token_is_taken()


async def test_who_is_disabled_by_hand_is_out_as_well(pages: "Pages") -> None:
    """By psql, which knows nothing of sessions and links."""
    ana, bo = await pages.enter("ana", "admin"), await pages.enter("bo")
    _, text = await ana.post(f"/users/{await pages.user('bo')}/link")
    link = link_in(text)
    assert (await ana.get(link))[0] == 200
    await pages.database.execute("UPDATE users SET enabled = false WHERE name = 'bo'")
    assert (await ana.get(link))[0] == 404
    assert (await bo.get("/account"))[0] == 303


async def test_a_role_holds_from_the_next_click_on(pages: "Pages") -> None:
    ana, bo = await pages.enter("ana", "admin"), await pages.enter("bo", "user")
    number = await pages.user("bo")
    assert (await bo.get("/users"))[0] == 403
    assert (await ana.post(f"/users/{number}/role", {"role": "admin"}))[0] == 303
    assert (await bo.get("/users"))[0] == 200
    assert (await ana.post(f"/users/{number}/role", {"role": "king"}))[0] == 422
    assert (await ana.post(f"/users/{number}/role", {"role": "viewer"}))[0] == 303
    assert (await bo.get("/users"))[0] == 403


async def test_somebody_remains_admin(pages: "Pages") -> None:
    """Who can log in, that is: not one who has not used his link."""
    ana = await pages.enter("ana", "admin")
    number = await pages.user("ana")
    await ana.post("/users", {"name": "bo", "role": "admin"})
    for path, given in (("disable", {}), ("role", {"role": "user"})):
        status, text = await ana.post(f"/users/{number}/{path}", given)
        assert status == 409
        assert "Somebody must remain admin" in text
    await pages.user("cy", "admin")
    assert (await ana.post(f"/users/{number}/role", {"role": "user"}))[0] == 303
    assert (await ana.get("/users"))[0] == 403


async def test_all_sessions_of_somebody_end(pages: "Pages") -> None:
    ana, bo = await pages.enter("ana", "admin"), await pages.enter("bo")
    also_bo = await pages.enter("bo")
    assert (await ana.post(f"/users/{await pages.user('bo')}/logout"))[0] == 303
    assert [(await each.get("/account"))[0] for each in (ana, bo, also_bo)] == [200, 303, 303]


async def test_the_list_says_what_each_has(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    await pages.user("bo", "viewer")
    await pages.database.execute(
        "INSERT INTO tracks (value, owner)"
        " SELECT 'word' || n, 'ana' FROM generate_series(1, 1234) AS n"
    )
    _, text = await ana.get("/users")
    found = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in found]
    assert rows[1] == ["ana", "(you)", "admin", "active", "now", "1,234"]
    assert rows[2] == ["bo", "viewer", "active", "never", "0"]


async def test_numbers_that_nobody_has(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    for number in ("0", "999", "9" * 30, "-1", "x", "1;--", "%00", "²"):
        assert (await ana.get(f"/users/{number}"))[0] == 404, number
        assert (await ana.post(f"/users/{number}/disable"))[0] == 404, number


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


async def test_the_command(pages: "Pages", database: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, database)
    said = await terminal.user("add", "ana", "--role", "admin")
    assert "http://127.0.0.1:8080/ts/welcome?key=" in said
    ana, status = await accept(pages, link_in(said))
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
    with psycopg.connect(database) as connection:
        [[hashed]] = connection.execute("SELECT password FROM users WHERE name = 'ana'").fetchall()
    assert hashed.startswith("$argon2id$")


async def test_what_the_command_refuses(database: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, database)
    assert "at least 10" in await terminal.user(
        "add", "bo", "--password", "-", given="short\n", code=2
    )
    assert "small letters" in await terminal.user("add", "Bo!", code=2)
    await terminal.user("add", "ana", "--role", "admin", "--password", "-", given=PASSWORD)
    assert "already" in await terminal.user("add", "ana", code=1)
    assert "remain admin" in await terminal.user("disable", "ana", code=1)
    # And once as a process of its own.
    program = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(terminal.config)]
    process = await asyncio.create_subprocess_exec(*program, "user", "enable", "bo", stderr=-1)
    _, said = await process.communicate()
    assert (process.returncode, b"no user named bo" in said) == (1, True), said
