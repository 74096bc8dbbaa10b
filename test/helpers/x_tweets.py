"""Tweets of X v1.1 as they come over the wire, and their way into the tables without a journal."""

import json
import uuid
from collections.abc import Callable, Sequence

from stream.batch import Batch
from stream.commit import Progress, commit
from stream.db import Database
from stream.incoming_tweets import StorePolicy
from stream.networks.x_v1.decode import decode
from stream.store import ingest_log, partitions
from stream.tweet import Frame, Match, SourceId, Tweet


def v1_tweet(native_id: int, text: str = "snow", **more: object) -> bytes:
    message: dict[str, object] = {
        "id": native_id,
        "id_str": str(native_id),
        "created_at": "Tue Nov 14 22:13:20 +0000 2023",
        "text": text,
        "user": {"id": 5, "id_str": "5", "screen_name": "ann"},
        "lang": "en",
    }
    return json.dumps(message | more).encode()


async def store_frames(
    database: Database,
    source: SourceId,
    frames: Sequence[Frame],
    match: Callable[[Tweet], Sequence[Match]],
) -> Batch:
    """One batch of frames, credited to what `match` says of each."""
    batch = Batch(source, 0, 1 << 26)
    batch.add(frames, decode, match)
    await store_batch(database, batch)
    return batch


async def store_batch(database: Database, batch: Batch, *, erase: bool = True) -> None:
    """Commit it as the writer does, as if from a journal of its own."""
    journal = uuid.uuid4()
    policy = StorePolicy(network="x_v1", keep_unmatched=True, erase=erase)
    async with database.transaction() as connection:
        days = {each.received_at.date() for each in batch.arrivals}
        await partitions.ensure_days(connection, days)
        await ingest_log.open_position(connection, journal, batch.lane, 0)
        await commit(connection, batch, policy, journal, Progress())
