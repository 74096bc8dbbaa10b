"""An installation of two databases, home and the cell `east`, with tweets in both."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from live_app import TIMEOUT, Viewer
from stream import db
from stream.batch import Batch
from stream.cells.copier import CellCopier
from stream.db import Database
from stream.matcher import Matcher
from stream.networks.x_v1.decode import decode
from stream.query import parse
from stream.tweet import Frame, LaneId, SourceId, TrackId
from web_app import Client, MakeApp, WebApp
from x_tweets import store_batch, v1_tweet

SOURCE = SourceId(1)
FIRST, LANE = LaneId(1), LaneId(2)  # FIRST is at home, LANE in the cell `east`


class Installation:
    """The web application over two databases, and one track in both."""

    def __init__(
        self, app: WebApp, client: Client, east: Database, east_url: str, track: TrackId
    ) -> None:
        self.app = app
        self.client = client
        self.east = east
        self.east_url = east_url
        self.track = track
        self.begin = datetime.now(UTC) - timedelta(minutes=3)

    async def store(self, database: Database, lane: LaneId, first: int, number: int) -> None:
        """Tweets with rising ids, a second from each other."""
        batch = Batch(SOURCE, 0, 1 << 20, lane)
        frames = [
            Frame(
                round((self.begin + timedelta(seconds=each)).timestamp() * 1e6),
                v1_tweet(each, f"snow #tag{lane} @ann", user=_user(each)),
                each,
            )
            for each in range(first, first + number)
        ]
        matcher = Matcher([(self.track, parse("keyword", "snow"))])
        batch.add(frames, decode, matcher.match)
        await store_batch(database, batch)

    async def delete(self, database: Database, lane: LaneId, number: int) -> None:
        """The network deletes a tweet."""
        status = {"id": number, "id_str": str(number), "user_id": 5, "user_id_str": "5"}
        body = msgspec.json.encode({"delete": {"status": status}})
        batch = Batch(SOURCE, 0, 1 << 20, lane)
        batch.add([Frame(round(time.time() * 1e6), body, 1)], decode, lambda _: ())
        await store_batch(database, batch)

    async def copy(self) -> None:
        """Copy to the cell what is new at home."""
        await CellCopier(self.app.database, {"east": self.east}, 10).copy()

    async def both(self, first: int = 1, number: int = 10) -> None:
        """As many tweets in each of both, one after the other in time."""
        for each in range(first, first + 2 * number, 2):
            await self.store(self.app.database, FIRST, each, 1)
            await self.store(self.east, LANE, each + 1, 1)

    async def get(self, path: str) -> Any:
        status, found = await self.client.json("GET", path)
        assert status == 200, found
        return found

    @contextlib.asynccontextmanager
    async def stream(self, since: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        """Read the stream of the API; gives messages with a tweet."""
        async with self.client.http.ws_connect(
            f"/api/v1/stream?since={since}", headers={"Origin": self.app.address}
        ) as ws:

            async def read() -> Any:
                async with asyncio.timeout(TIMEOUT):
                    while "tweet" not in (message := await ws.receive_json()):
                        assert "error" not in message, message
                return message

            yield read

    @contextlib.asynccontextmanager
    async def viewer(self) -> AsyncIterator[Viewer]:
        headers = {"Origin": self.app.address}
        async with self.client.http.ws_connect("/live/socket", headers=headers) as ws:
            yield Viewer(ws)

    async def ids(self, path: str) -> list[int]:
        return [int(each["native_id"]) for each in (await self.get(path))["tweets"]]


def _user(number: int) -> dict[str, Any]:
    return {"id": number, "id_str": str(number), "screen_name": f"u{number}"}


@contextlib.asynccontextmanager
async def installation(make_app: MakeApp, east_url: str) -> AsyncIterator[Installation]:
    async with make_app(cells={"east": east_url}) as app, db.connect(east_url, 2) as east:
        assert await app.source() == SOURCE
        await app.execute("INSERT INTO lanes (source_id, cell, number) VALUES (1, 'east', 0)")
        client = await app.log_in("ana", "admin")
        track = await app.add_track("snow", created_at=datetime.now(UTC) - timedelta(hours=1))
        made = Installation(app, client, east, east_url, track)
        await made.copy()
        yield made
