"""A database that is filled as the writer fills it, and read by cursor."""

from collections.abc import Sequence
from datetime import UTC, datetime

from stream.db import Database
from stream.keys import Cursor
from stream.store import feed, sources
from stream.tweet import Frame, Match, SourceId, TrackId, Tweet
from x_tweets import store_frames, v1_tweet

START = datetime(2026, 3, 14, 12, tzinfo=UTC)
NOON = round(START.timestamp() * 1e6)


def snow(found: Tweet) -> Sequence[Match]:
    """Track 1 follows snow, track 2 every tenth tweet."""
    tracks = [1] if "snow" in found.text else []
    tracks += [2] if found.native_id.endswith("0") else []
    return [Match(TrackId(track), "snow", "text") for track in tracks]


class Shelf:
    """A database that is filled as the writer fills it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.number = 0
        self.clock_digits = True  # no two frames have the same microsecond

    async def source(self, name: str) -> SourceId:
        async with self.database.acquire() as connection:
            return await sources.add(connection, name, "x_v1")

    async def store(
        self, source: SourceId, times: Sequence[float], text: str = "a snow day"
    ) -> list[str]:
        """A batch of tweets received at so many seconds after noon; their native ids."""
        frames, ids = [], []
        for time in times:
            self.number += 1
            ids.append(str(self.number))
            at = NOON + round(time * 1e6) + (self.number % 1000 if self.clock_digits else 0)
            frames.append(Frame(at, v1_tweet(self.number, text), self.number))
        await store_frames(self.database, source, frames, snow)
        return ids

    async def read(
        self, cursor: Cursor, limit: int = 7, tracks: Sequence[TrackId] | None = None
    ) -> tuple[list[str], Cursor]:
        """Everything behind the cursor, page by page, and the cursor at the end."""
        found: list[str] = []
        async with self.database.acquire() as connection:
            while True:
                page = await feed.after(connection, cursor, limit, tracks)
                assert len(page.tweets) <= limit
                keys = [each.id for each in page.tweets]
                assert keys == sorted(keys)
                found += [each.native_id for each in page.tweets]
                cursor = Cursor.parse(str(page.cursor))
                if not page.more:
                    return found, cursor
