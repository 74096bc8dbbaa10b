"""The one transaction of a batch, idempotent by the journal position.

The position moves first: so a second writer, or a COMMIT whose response was lost, is noticed before
any row is written. Then tweets and matches (incoming_tweets.py), the network's messages about
stored tweets and the daemon's own notes (control_items.py), and the counts per minute. row_locks.py
has the order of locks.
"""

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from stream.batch import Batch
from stream.control_items import apply_changes, apply_control, concerned_by
from stream.db import Executor
from stream.incoming_tweets import StorePolicy, store_tweets
from stream.notes import StateNote
from stream.store import ingest_log, rollups, sources
from stream.store.lanes import first_lane
from stream.store.rollups import CountChanges
from stream.tweet import ControlNotice, EventPosition, NetworkCursor

# Per notice; one arrives every second. All of X was about 6,000 tweets a second: a higher number
# is corrupt and must not stay in the statistics.
UNDELIVERED_MAX = 10_000_000
POSITION_TRIES = 100  # frames; only some control messages have no position


class Progress(msgspec.Struct, frozen=True):
    """How far the stream of a network is committed.

    `undelivered`: its running count of tweets that it did not deliver on this connection.
    """

    undelivered: int = 0
    cursor: NetworkCursor | None = None


class Committed(msgspec.Struct, frozen=True):
    """Outcomes of the frames, and the progress with them."""

    outcomes: Counter[str]
    progress: Progress


async def commit(
    connection: Executor, batch: Batch, policy: StorePolicy, journal: uuid.UUID, before: Progress
) -> Committed:
    """Write a batch; nothing is written when it is stored already."""
    counts = Counter(batch.outcomes)
    after = Progress(
        _count_undelivered(batch, before.undelivered, counts),
        _cursor_after(batch, policy, before.cursor),
    )
    changed = after.cursor if after.cursor != before.cursor else None
    to = ingest_log.Advance(
        journal,
        batch.lane,
        batch.lanes,
        batch.before,
        batch.after,
        after.undelivered,
        changed,
        batch.bus_position,
    )
    if not await ingest_log.advance(connection, to):
        return Committed(Counter(), after)
    track_counts = CountChanges()
    concerned = concerned_by(batch.source_id, batch.control_items)
    await store_tweets(connection, batch, policy, counts, track_counts, concerned)
    await apply_changes(connection, batch, policy.network, track_counts, erase=policy.erase)
    for item in batch.control_items:
        await apply_control(connection, batch, item)
    for rejected in batch.rejects:
        await ingest_log.add_reject(
            connection,
            batch.source_id,
            rejected.key,
            rejected.received,
            (rejected.reason, rejected.detail),
            rejected.body,
        )
    await track_counts.save(connection)
    if counts:
        await rollups.add_frame_counts(connection, batch.source_id, counts)
    newest = next((f.received for f in reversed(batch.frames) if not f.is_note), None)
    # Only its first lane, lest lanes wait for the source's row while they have locked counts.
    if newest is not None and batch.lane == first_lane(batch.source_id):
        await sources.note_last_byte(connection, batch.source_id, newest / 1e6)
    outcomes: Counter[str] = Counter()
    for (_, outcome), number in counts.items():
        outcomes[outcome] += number
    return Committed(outcomes, after)


def _cursor_after(
    batch: Batch, policy: StorePolicy, cursor: NetworkCursor | None
) -> NetworkCursor | None:
    """The cursor of the newest event in a batch; after a new connection that of its host.

    A host's numbers mean nothing to another one: without an event of its own only the time is left.
    """
    if policy.event_position is None:
        return None
    begin = 0
    for end, opened in [*batch.openings, (len(batch.frames), None)]:
        bodies = (f.body for f in reversed(batch.frames[begin:end]) if not f.is_note)
        position = newest_position(policy.event_position, bodies)
        if position is not None and cursor is not None:
            cursor = NetworkCursor(cursor.host, cursor.wire, position.seq, position.time)
        if opened is not None:
            last = 0 if cursor is None else cursor.time
            cursor = NetworkCursor(opened.host, opened.wire, None, last)
        begin = end
    return cursor


def newest_position(
    event_position: Callable[[bytes], EventPosition | None], newest_first: Iterable[bytes]
) -> EventPosition | None:
    """The position of the newest of these messages that has one."""
    tried = itertools.islice(newest_first, POSITION_TRIES)
    return next(filter(None, map(event_position, tried)), None)


def _count_undelivered(batch: Batch, known: int, counts: Counter[tuple[datetime, str]]) -> int:
    """Count the tweets that the network did not deliver; it reports a sum since the connection."""
    for item in batch.control_items:
        if isinstance(item.what, StateNote) and item.what.state == "connecting":
            known = 0
        elif isinstance(item.what, ControlNotice) and item.what.kind == "limit":
            more = item.what.number - known
            if 0 < more <= UNDELIVERED_MAX:
                minute = item.at.replace(second=0, microsecond=0)
                counts[minute, "undelivered"] += more
                known += more
    return known
