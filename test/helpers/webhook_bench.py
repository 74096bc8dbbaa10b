"""Webhooks on a database that is filled as the writer fills it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sink_bench import SinkBench
from stream.config.settings import SinkSettings, WebhookSettings
from stream.db import Database
from stream.sinks import webhook_secrets
from stream.sinks.reader import head_position
from stream.sinks.runner import Sinks
from stream.store import users, webhook_deliveries, webhooks
from stream.store.webhooks import NewWebhook, Webhook
from stream.tweet import Match, TrackId, Tweet, UserId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

LOCAL = ["127.0.0.0/8"]


class WebhookBench(SinkBench):
    """A database with a user and two tracks: snow and rain."""

    def __init__(self, database: Database, folder: Path, eventually: Eventually) -> None:
        super().__init__(database, folder, eventually)
        self.user = UserId(0)
        self.snow, self.rain = TrackId(0), TrackId(0)

    async def prepare(self) -> None:
        async with self.database.acquire() as connection:
            self.user = await users.add(connection, "ana", "user", None)
        rows = await self.database.fetch(
            "INSERT INTO tracks (value, owner) VALUES ('snow', 'ana'), ('rain', 'ana') RETURNING id"
        )
        self.snow, self.rain = (TrackId(row["id"]) for row in rows)

    def match(self, found: Tweet) -> Sequence[Match]:
        words = {"snow": self.snow, "rain": self.rain}
        return [Match(track, word, "text") for word, track in words.items() if word in found.text]

    @contextlib.asynccontextmanager
    async def passing_on(self, **given: Any) -> AsyncIterator[Sinks]:
        """Serve the webhooks with these settings."""
        settings = SinkSettings(webhooks=WebhookSettings(**({"allowed_networks": LOCAL} | given)))
        async with self.running(settings) as sinks:
            sinks.use_webhooks(True)
            yield sinks

    async def add(
        self, url: str, follow: Sequence[TrackId] | None = None, name: str = "mine"
    ) -> tuple[int, str]:
        """A webhook from here on; its id and secret."""
        secret = webhook_secrets.new_secret()
        async with self.database.acquire() as connection:
            position = str(await head_position(connection))
            new = NewWebhook(name, url, follow, webhook_secrets.seal(self.vault, secret), position)
            return await webhooks.add(connection, self.user, new), secret

    async def get(self, webhook_id: int) -> Webhook:
        async with self.database.acquire() as connection:
            found = await webhooks.by_id(connection, webhook_id)
        assert found is not None
        return found

    async def fails(self, webhook_id: int) -> str:
        """Why a webhook fails, as soon as it says so."""

        async def met() -> bool:
            return bool((await self.get(webhook_id)).reason)

        await self.eventually(met)
        return (await self.get(webhook_id)).reason

    async def works(self, webhook_id: int) -> None:
        async def met() -> bool:
            found = await self.get(webhook_id)
            return (found.reason, found.failing_since) == ("", None)

        await self.eventually(met)

    async def due(self) -> None:
        """It is time for the next tries."""
        await self.execute(
            "UPDATE webhook_deliveries SET next_at = now() WHERE next_at IS NOT NULL"
        )

    async def resume(self, webhook_id: int) -> None:
        async with self.database.transaction() as connection:
            await webhooks.set_state(connection, webhook_id, "active")
            await webhook_deliveries.try_now(connection, webhook_id)

    async def execute(self, statement: str, *values: object) -> None:
        await self.database.execute(statement, *values)
