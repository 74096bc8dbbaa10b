"""The whole program tells somebody: alerts, their commands, and a database that is away."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

if TYPE_CHECKING:
    from test.conftest import Eventually
    from test.flow.conftest import Tables
    from test.flow.program.conftest import Cluster, MakeProgram, Program, Simulate

TOKEN = "Zm9vYmFyYmF6cXV4"
QUICK = {"probe_every": 0.3, "listen": ""}


class Hook:
    """A webhook, and what it got."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        return web.Response()

    @property
    def url(self) -> str:
        return f"json://me:hunter2-hunter2@127.0.0.1:{self.port}/{TOKEN}"

    def titles(self, word: str) -> list[str]:
        return [each["title"] for each in self.got if word in each["title"]]


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


async def said(program: Program, *words: str) -> tuple[int | None, str]:
    """Exit code and everything that a command says."""
    process = await asyncio.create_subprocess_exec(
        *program._command(*words), stdout=-1, stderr=-1, cwd=program.folder
    )
    out, wrong = await process.communicate()
    return process.returncode, (out + wrong).decode()


async def test_a_refused_credential_is_told_once_also_after_a_kill(
    make_program: MakeProgram,
    simulate: Simulate,
    database: str,
    tables: Tables,
    hook: Hook,
    eventually: Eventually,
) -> None:
    program = make_program("main", database, monitor=QUICK, alerts={"channels": [hook.url]})
    async with simulate(bearer_token="another") as server:
        await program.add_source(server.url)
        await tables.add_tracks("snow")
        await program.start()
        await eventually(lambda: hook.titles("credentials are refused (main)"))
        told = "SELECT count(*) FROM alerts WHERE rule = 'source_refused' AND told = 1"

        async def is_written() -> bool:
            return bool(await tables.one(told))

        await eventually(is_written)
        await program.kill()
        await program.start()
        # When a second source is told of, the first has been looked at again, too.
        words = ("source", "add", "second", "--network", "x_v2", "--url", server.url)
        await program.command(*words, "--secrets", "-", given="bearer_token: other")
        await eventually(lambda: hook.titles("credentials are refused (second)"))
        await eventually(is_written)
        assert len(hook.titles("credentials are refused (main)")) == 1
    await program.stop()
    rows = json.loads(await program.command("alert", "list", "--json"))["alerts"]
    [mine] = [row for row in rows if row["subject"] == "main"]
    assert "does not accept the bearer_token" in mine["text"]
    await program.command("alert", "ack", str(mine["id"]))
    assert "known to" in await program.command("alert", "list")
    everything = program.log.read_text() + json.dumps(hook.got) + json.dumps(rows)
    assert TOKEN not in everything
    assert "hunter2" not in everything


async def test_that_postgres_is_away_is_told_while_it_is(
    make_program: MakeProgram,
    simulate: Simulate,
    cluster: Cluster,
    hook: Hook,
    eventually: Eventually,
) -> None:
    program = make_program(
        "main",
        cluster.url,
        monitor=QUICK,
        alerts={"channels": [hook.url], "database_away": 1},
    )
    async with simulate(rate=20) as server:
        await program.add_source(server.url)
        await program.start()
        await eventually(lambda: "source is" in program.log.read_text())
        await cluster.kill(eventually)
        await eventually(lambda: hook.titles("the database is away"))
        await cluster.give_back()
        await program.stop()
    assert len(hook.titles("the database is away")) == 1


async def test_the_commands_say_what_they_did(
    make_program: MakeProgram, database: str, tables: Tables, hook: Hook
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"json://me:hunter2-hunter2@127.0.0.1:{probe.getsockname()[1]}/{TOKEN}"
        both = make_program("both", database, alerts={"channels": [hook.url], "fallback": [dead]})
        code, text = await said(both, "alert", "test")
        assert (code, len(hook.got)) == (1, 1)
        assert "mend those that did not" in text
        assert "json://127.0.0.1 (channel 1): sent" in text
        assert "json://127.0.0.1 (fallback 1): NOT sent" in text
        none = make_program("none", database, alerts={"channels": [dead]})
        code, wrong = await said(none, "alert", "test")
        assert code == 1
        assert "nobody would hear of an alert" in wrong
    for secret in (TOKEN, "hunter2"):
        assert secret not in text + wrong
    assert (await said(make_program("empty", database), "alert", "test"))[0] == 2
    assert "No alert is open." in await both.command("alert", "list")
    words = ("alert", "mute", "track_silent", "--subject", "7", "--for", "2d", "--reason", "summer")
    assert "track_silent of 7 is muted until" in await both.command(*words)
    [row] = await tables.rows("SELECT rule, subject, until - now() < '2 days' FROM alert_mutes")
    assert row == ("track_silent", "7", True)
    assert "Muted: track_silent of 7 until" in await both.command("alert", "list")
    await both.command("alert", "unmute", "track_silent")
    assert await tables.one("SELECT count(*) FROM alert_mutes") == 0
    for failing in ("unmute track_silent", "ack 99"):
        assert (await said(both, "alert", *failing.split()))[0] == 1
    for misused in ("mute no_rule", "mute cpu_high --for long"):
        assert (await said(both, "alert", *misused.split()))[0] == 2
