"""The whole program with a webhook: killed at random, every stored tweet arrives."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.server import Limits
from stream import db
from stream.sinks import webhook_secrets
from stream.sinks.reader import head_position
from stream.store import users, webhooks
from stream.store.webhooks import NewWebhook
from stream.vault import Vault
from webhook_receiver import Receiver, ok, receiving, status

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from aiohttp import web

    from test.conftest import Eventually
    from test.flow.conftest import OpenTables
    from test.flow.program.conftest import Cluster, MakeProgram, Simulate

KILLS = int(os.environ.get("SINK_KILLS", "6"))  # more: make it a proof
LIMITS = Limits(connects=10_000, rule_reads=10_000)  # of the network, for as many restarts


async def add_webhook(url: str, database: str, data_dir: Path) -> str:
    """A webhook of all tracks; its secret."""
    secret, vault = webhook_secrets.new_secret(), Vault(data_dir)
    async with db.connect(database) as opened, opened.acquire() as connection:
        ana = await users.add(connection, "ana", "admin", None)
        position = str(await head_position(connection))
        sealed = webhook_secrets.seal(vault, secret)
        await webhooks.add(connection, ana, NewWebhook("mine", url, None, sealed, position))
    return secret


def ids(receiver: Receiver) -> dict[str, set[str]]:
    """By tweet, the ids of the messages that it was in."""
    found = defaultdict(set)
    for each in receiver.received:
        for tweet in each.message["data"].get("tweets", []):
            found[tweet["id"]].add(each.id)
    return found


@pytest.mark.timeout(900 + 30 * KILLS)
async def test_every_stored_tweet_arrives_however_often_daemon_and_postgres_are_killed(
    cluster: Cluster,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    """At least once, none missing; what comes again has the same webhook-id."""
    chance = random.Random(7)
    async with receiving() as receiver, simulate(rate=200, limits=LIMITS) as server:
        sinks = {"webhooks": {"allowed_networks": ["127.0.0.0/8"]}}
        program = make_program("main", cluster.url, sinks=sinks, flush_interval=0.05)
        tables = open_tables(cluster.url)
        await tables.add_tracks("snow")
        secret = await add_webhook(receiver.url, cluster.url, program.data_dir)
        refuse = status(500)

        async def sometimes(request: web.Request) -> web.StreamResponse:
            return await (refuse if chance.random() < 0.05 else ok)(request)

        receiver.answer = sometimes
        await program.start()
        await program.add_source(server.url)

        async def goes_on() -> None:
            enough = len(ids(receiver)) + chance.randrange(1, 300)
            await eventually(lambda: len(ids(receiver)) > enough)

        for _ in range(KILLS):
            await goes_on()
            if chance.random() < 0.7:
                await program.kill()
                await program.start()
            else:
                await cluster.kill(eventually)
                await cluster.give_back()
        await goes_on()
        server.hub.posts_left = 0
        await program.stop()
        await program.store_rest(eventually)
        receiver.answer = ok
        stored = {str(row[0]) for row in await tables.rows("SELECT DISTINCT tweet_id FROM matches")}
        await program.start()
        await eventually(lambda: len(ids(receiver)) >= len(stored))
        found = ids(receiver)
        assert found.keys() == stored
        assert [each for each in found.values() if len(each) > 1] == []
        bodies = defaultdict(set)
        for each in receiver.received:
            bodies[each.id].add(each.body)
        assert all(len(each) == 1 for each in bodies.values())
        receiver.received[-1].verify(secret)
        assert secret not in program.log.read_text()
