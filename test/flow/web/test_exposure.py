"""What the program lets others see: links, the key of the first admin, tokens, settings."""

import asyncio
import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from web_app import PASSWORD, Client, MakeApp, WebApp, hidden_fields

ROOT = Path(__file__).parents[3]
EVIL = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
LINK = re.compile(r"[^\s\"]*/welcome\?key=[\w-]+")


async def link_of(client: Client, name: str) -> str:
    _, text = await client.post("/users", {"name": name, "role": "user"}, headers=EVIL)
    assert "evil" not in text
    found = LINK.search(text)
    assert found is not None
    return found[0]


async def test_no_host_header_is_in_a_link(app: WebApp, admin: Client) -> None:
    link = await link_of(admin, "bo")
    assert link.startswith(f"{app.address}/welcome?")
    assert "evil" not in (await admin.get("/api", headers=EVIL))[1]


async def test_links_begin_with_the_public_address(make_app: MakeApp) -> None:
    front = {"public_url": "https://tweets.example.org/", "base_path": "/t"}
    async with make_app(web=front) as app:
        ana = await app.log_in("ana", "admin")
        _, text = await ana.post("/t/users", {"name": "bo", "role": "user"}, headers=EVIL)
        found = LINK.search(text)
        assert found is not None
        assert found[0].startswith("https://tweets.example.org/t/welcome?key=")
        assert "https://tweets.example.org/t/api/v1" in (await ana.get("/t/api"))[1]


async def test_health_warns_of_what_the_settings_expose(make_app: MakeApp) -> None:
    async with make_app(monitor={"listen": "0.0.0.0:9273"}) as app:
        ana, bo = await app.log_in("ana", "admin"), await app.log_in("bo")
        assert "Anyone who reaches 0.0.0.0:9273" in (await ana.get("/health"))[1]
        assert (await bo.get("/health"))[0] == 403
    async with make_app() as app:
        ana = await app.log_in("ana", "admin")
        assert '<h2 id="security-title">' not in (await ana.get("/health"))[1]


# -- resets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False])
async def test_a_reset_ends_tokens_when_that_is_asked(app: WebApp, asked: bool) -> None:
    ana, bo = await app.log_in("ana", "admin"), await app.log_in("bo")
    program, other = await app.api_client("bo"), await app.api_client("ana", "admin")
    more = {"end_tokens": "1"} if asked else {}
    _, text = await ana.post(f"/users/{await app.user('bo')}/link")
    found = LINK.search(text)
    assert found is not None
    link = found[0].removeprefix(app.address)
    given = {"name": "bo", "password": PASSWORD} | more
    assert (await (await app.anonymous()).submit(link, **given))[0] == 303
    expected = 401 if asked else 200
    assert (await program.get("/api/v1/me"))[0] == expected
    assert (await other.get("/api/v1/me"))[0] == 200
    assert (await bo.get("/account"))[0] == 303


@pytest.mark.parametrize("asked", [True, False])
async def test_a_change_of_the_password_ends_tokens_when_that_is_asked(
    app: WebApp, asked: bool
) -> None:
    bo, program = await app.log_in("bo"), await app.api_client("bo")
    given = {"present": PASSWORD, "password": "another horse battery"}
    given |= {"end_tokens": "1"} if asked else {}
    status, text = await bo.post("/account/password", given)
    assert (status, "tokens no longer work" in text) == (200, asked)
    assert (await program.get("/api/v1/me"))[0] == (401 if asked else 200)


# -- programs -------------------------------------------------------------------------------------


def configured(folder: Path, database: str) -> Path:
    settings: dict[str, object] = {
        "database": database,
        "data_dir": str(folder / "data"),
        "monitor": {"listen": ""},
        "web": {"listen": "127.0.0.1:0"},
        "alerts": {"heartbeat_url": "https://host.invalid/hunter2"},
    }
    (folder / "config.yaml").write_text(json.dumps(settings))
    return folder / "config.yaml"


@contextlib.asynccontextmanager
async def running(config: Path, said: int) -> AsyncIterator[asyncio.subprocess.Process]:
    words = [str(ROOT / "twitterstream.py"), "--config", str(config), "web"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=said, stderr=said, cwd=config.parent
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def until(descriptor: int, words: bytes) -> str:
    """What is said until these words come."""
    found = b""
    async with asyncio.timeout(60):
        while words not in found:
            found += await asyncio.to_thread(os.read, descriptor, 4096)
    return found.decode()


async def test_the_first_link_is_in_a_file_of_its_own_and_in_no_log(
    database: str, tmp_path: Path
) -> None:
    config = configured(tmp_path, database)
    config.chmod(0o644)
    file = tmp_path / "data" / "first-admin-link"
    reading, writing = os.pipe()
    try:
        async with running(config, writing):
            said = await until(reading, b"keep it secret):")
            assert "key=" not in said
            assert f"chmod 600 {config}" in said, "its password may be read: that is in the log"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            link = file.read_text().strip()
            jar = aiohttp.CookieJar(unsafe=True)  # also of an address
            async with aiohttp.ClientSession(cookie_jar=jar) as client:
                async with client.get(link) as answer:
                    text = await answer.text()
                form = hidden_fields(text) | {"name": "ana", "password": PASSWORD}
                home = link.partition("?")[0]
                async with client.post(home, data=form, allow_redirects=False) as answer:
                    assert answer.status == 303
            assert not file.exists()
    finally:
        os.close(reading)
        os.close(writing)


async def test_the_first_link_is_said_on_a_terminal(database: str, tmp_path: Path) -> None:
    config = configured(tmp_path, database)
    terminal, side = os.openpty()
    try:
        async with running(config, side):
            said = await until(terminal, b"one-time link")
            link = (tmp_path / "data" / "first-admin-link").read_text().strip()
            assert link in said
    finally:
        os.close(side)
        os.close(terminal)
