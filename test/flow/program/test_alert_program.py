"""The whole program notifies: alerts, their commands, and an unreachable database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from alerting import PASSWORD, TOKEN, Hook
from servers import closed_port

if TYPE_CHECKING:
    from test.conftest import Eventually
    from test.flow.conftest import Tables
    from test.flow.program.conftest import Cluster, MakeProgram, Simulate

QUICK = {"sample_interval": 0.3, "listen": ""}


async def test_refused_credentials_are_alerted_once_even_after_a_kill(
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
        await eventually(lambda: hook.titled("credentials refused (main)"))
        notified = (
            "SELECT count(*) FROM alerts WHERE rule = 'source_refused' AND notified_count = 1"
        )
        await eventually(lambda: tables.one(notified))
        await program.kill()
        await program.start()
        # When the second source is notified, the first has been checked again, too.
        words = ("source", "add", "second", "--network", "x_v2", "--url", server.url)
        await program.command(*words, "--secrets", "-", given="bearer_token: other")
        await eventually(lambda: hook.titled("credentials refused (second)"))
        await eventually(lambda: tables.one(notified))
        assert len(hook.titled("credentials refused (main)")) == 1
    await program.stop()
    rows = json.loads(await program.command("alert", "list", "--json"))["alerts"]
    [mine] = [row for row in rows if row["subject"] == "main"]
    assert "does not accept the bearer_token" in mine["text"]
    await program.command("alert", "ack", str(mine["id"]))
    assert "acknowledged by" in await program.command("alert", "list")
    everything = program.log.read_text() + json.dumps(hook.got) + json.dumps(rows)
    assert TOKEN not in everything
    assert PASSWORD not in everything


async def test_an_outage_of_postgres_is_alerted_while_it_lasts(
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
        await eventually(lambda: hook.titled("Postgres does not answer"))
        await cluster.give_back()
        await program.stop()
    assert len(hook.titled("Postgres does not answer")) == 1


async def test_the_alert_commands_report_what_they_did(
    make_program: MakeProgram, database: str, tables: Tables, hook: Hook
) -> None:
    dead = f"json://me:{PASSWORD}@127.0.0.1:{closed_port()}/{TOKEN}"
    both = make_program("both", database, alerts={"channels": [hook.url], "fallback": [dead]})
    code, text = await both.fails("alert", "test")
    assert (code, len(hook.got)) == (1, 1)
    assert "correct those listed above" in text
    assert "json://127.0.0.1 (channel 1): sent" in text
    assert "json://127.0.0.1 (fallback 1): NOT sent" in text
    none = make_program("none", database, alerts={"channels": [dead]})
    code, wrong = await none.fails("alert", "test")
    assert code == 1
    assert "alerts would not be delivered" in wrong
    for secret in (TOKEN, PASSWORD):
        assert secret not in text + wrong
    assert (await make_program("empty", database).fails("alert", "test"))[0] == 2
    assert "No open alerts." in await both.command("alert", "list")
    words = ("alert", "mute", "track_silent", "--subject", "7", "--for", "2d", "--reason", "summer")
    assert "track_silent of 7 is muted until" in await both.command(*words)
    [row] = await tables.rows("SELECT rule, subject, until - now() < '2 days' FROM alert_mutes")
    assert row == ("track_silent", "7", True)
    assert "Muted: track_silent of 7 until" in await both.command("alert", "list")
    await both.command("alert", "unmute", "track_silent")
    assert await tables.one("SELECT count(*) FROM alert_mutes") == 0
    for failing in ("unmute track_silent", "ack 99"):
        assert (await both.fails("alert", *failing.split()))[0] == 1
    for misused in ("mute no_rule", "mute cpu_high --for long"):
        assert (await both.fails("alert", *misused.split()))[0] == 2
