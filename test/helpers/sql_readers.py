"""Users with logins to Postgres, and tweets of which they see some."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from waiting import Eventually
from web.accounts.sql_access import new_login
from web_app import WebApp

ENTITIES = {
    "hashtags": [{"text": "Weather"}],
    "urls": [{"expanded_url": "https://example.com/"}],
    "user_mentions": [{"screen_name": "bob", "id": 7}],
    "symbols": [],
}


class Reader:
    """A user's own connection to Postgres."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode()).fetchall()

    def ids(self, view: str = "tweets_flat") -> list[str]:
        column = "id" if view == "tweets_flat" else "tweet_id"
        return [
            str(row[0]) for row in self.rows(f"SELECT DISTINCT {column} FROM {view} ORDER BY 1")
        ]

    def refused(self, statement: str) -> str:
        """The code of the error that the statement ends with."""
        with pytest.raises(psycopg.Error) as raised:
            self.connection.execute(statement.encode())
        return raised.value.sqlstate or ""


class People:
    """Users, and their connections to Postgres."""

    def __init__(self, app: WebApp) -> None:
        self.app = app
        self.stack = contextlib.ExitStack()

    async def reader(self, name: str) -> Reader:
        user_id = await self.app.user(name)
        async with self.app.database.transaction() as connection:
            login = await new_login(connection, user_id)
        reader = Reader(self.app.database.address_for(*login))
        self.stack.callback(reader.connection.close)
        return reader


@contextlib.asynccontextmanager
async def opened_people(app: WebApp, eventually: Eventually) -> AsyncIterator[People]:
    made = People(app)
    with made.stack:
        yield made

    async def are_gone() -> bool:
        return not await app.rows("SELECT 1 FROM pg_stat_activity JOIN sql_roles ON role = usename")

    await eventually(are_gone)
    await app.execute("DELETE FROM users")  # their roles are the server's, and stay otherwise


async def store_five_tracks(app: WebApp) -> None:
    """Tweets of five tracks; two tracks are Ana's, and one of Bob's is shared with her."""
    for name, role in (("ana", "user"), ("bob", "user"), ("cleo", "viewer"), ("dora", "admin")):
        await app.user(name, role)  # type: ignore[arg-type]  # they are roles
    for value, owner in (
        ("snow", "ana"),
        ("rain", "ana"),
        ("hail", "bob"),
        ("fog", "bob"),
        ("wind", None),
    ):
        await app.add_track(value, owner)
    await app.share(3, "ana", "cleo")
    texts = ("snow", "rain snow", "hail", "fog", "fog hail", "wind", "none", "rain gone", "snow XX")
    messages = [{"text": text, "entities": ENTITIES} for text in texts]
    await app.store_tweets(*messages, {"text": "rain by the lost", "user": {"id_str": "66"}})
    await app.execute(
        """
        UPDATE tweets SET deleted_at = now() WHERE text = 'rain gone';
        UPDATE tweets SET withheld = '{XX}' WHERE text = 'snow XX';
        INSERT INTO author_tombstones (network, author_id, deleted_at, pending)
        VALUES ('x_v1', '66', now(), '{deleted}');
        """
    )
