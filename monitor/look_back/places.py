"""The places of messages: recordings of this installation, what a network replays, an author."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

from monitor.archive.store import Store
from monitor.look_back import recordings
from monitor.look_back.recordings import Part, Recordings
from monitor.look_back.slices import Slice, Slices
from monitor.look_back.task import SourceDisabled, Task
from stream.backoff import Clock
from stream.batch import Batch
from stream.credentials import source_of
from stream.db import Database
from stream.errors import TwitterstreamError
from stream.keys import to_datetime
from stream.matcher import Matcher
from stream.networks.base import PastPages
from stream.networks.registry import NETWORKS
from stream.store import ingest_log, look_back_rows, sources
from stream.store.sources import SourceRow
from stream.store.tweets import IncomingTweet
from stream.tweet import Frame, NetworkName, SourceId
from stream.vault import Vault

REPLAYED = timedelta(hours=36)  # how far back a network is asked if nothing else is wanted
HOUR = 3_600_000_000  # microseconds


async def sources_of(database: Database, networks: Sequence[NetworkName]) -> list[SourceRow]:
    """The sources of these networks, enabled ones first."""
    async with database.acquire() as connection:
        rows = await sources.get_all(connection)
    found = [row for row in rows if row.network in networks]
    return sorted(found, key=lambda row: not row.enabled)


# -- recordings -----------------------------------------------------------------------------------


async def look_through_recordings(task: Task, ends: Mapping[uuid.UUID, int]) -> None:
    """Look through the journals on this machine, up to these ends, and the raw backup."""
    if task.has_nothing(task.since):
        return
    await task.look_through(_recorded(task, ends), at_original_time=True, applies_accounts=False)


async def _recorded(task: Task, ends: Mapping[uuid.UUID, int]) -> Slices:
    rows = await sources_of(task.database, task.networks)
    networks = {row.id: row.network for row in rows}
    async with task.database.acquire() as connection:
        copies = await look_back_rows.copies(connection, list(networks))
        positions = await look_back_rows.positions(connection, list(networks))
    limits = {
        journal: min(position, ends.get(journal, position))
        for journal, position in positions.items()
    }
    data_dir = Path(task.settings.data_dir)
    parts = await asyncio.to_thread(recordings.parts, data_dir, list(networks), copies, limits)
    url = task.settings.archive.url
    store = await asyncio.to_thread(Store, url) if url and copies else None
    await _read_gone(task, parts, networks, store)
    async with aclosing(Recordings(parts, networks, task.since, store).slices(task.at)) as slices:
        async for each in slices:
            yield each


async def _read_gone(
    task: Task,
    parts: Sequence[Part],
    networks: Mapping[SourceId, NetworkName],
    store: Store | None,
) -> None:
    """Find what was deleted so long ago that the tables may have forgotten it, or soon will."""
    keep, now = task.settings.retention, int(Clock().time() * 1e6)
    until = {}
    for name, network in NETWORKS.items():
        hours = keep.unseen_deletions_hours if network.unfiltered else keep.deletions_days * 24
        until[name] = now - int(hours * HOUR / 2) if hours else 0
    nothing = Matcher()
    old = Recordings(parts, networks, task.since, store, until)
    async for each in old.slices(None):
        network = NETWORKS[each.network]
        batch = Batch(each.source_id, 0, task.settings.max_frame_bytes)
        if each.frames:
            batch.add(each.frames, network.decode, nothing.match, network.prefilter(nothing))
        for item in batch.control_items:
            task.gone.add(each.source_id, item)


# -- what a network has ---------------------------------------------------------------------------


async def replayed_sources(database: Database, networks: Sequence[NetworkName]) -> list[SourceRow]:
    """The sources of those of these networks that can replay, enabled ones first."""
    rows = await sources_of(database, networks)
    return [row for row in rows if NETWORKS[row.network].past is not None]


async def look_through_network(task: Task) -> None:
    """Look through what a network can replay; SourceDisabled when none of its sources is enabled.

    That is also raised when the source is disabled meanwhile.
    """
    found = await replayed_sources(task.database, task.networks)
    if not found:
        raise TwitterstreamError(
            "Nothing of this track can be replayed by its network: only Bluesky replays posts, and"
            " needs a source."
        )
    if not found[0].enabled:
        raise SourceDisabled(found[0].name)
    task.source = found[0]
    source = source_of(Vault(Path(task.settings.data_dir)), found[0])
    past = NETWORKS[source.network].past
    assert past is not None
    clock = Clock()
    since = task.since or round((clock.time() - REPLAYED.total_seconds()) * 1e6)
    if task.has_nothing(since):
        return
    resume = None if task.at is None else str(task.at)
    pages = past(source, task.settings, clock, since / 1e6, resume, task.note_retry)
    await _look_through_pages(task, source.id, source.network, pages, at_original_time=True)


async def look_through_author(task: Task) -> None:
    """Look through the posts of one author."""
    found = [
        row
        for row in await sources_of(task.database, task.networks)
        if NETWORKS[row.network].author_past is not None
    ]
    if not found:
        raise TwitterstreamError(
            "The posts of an author can be listed on Bluesky only, and only for a track of Bluesky"
            " where there is a source of it: add one with `source add bluesky --network bluesky`."
        )
    if task.has_nothing(task.since):
        return
    row, clock = found[0], Clock()
    author_past = NETWORKS[row.network].author_past
    assert author_past is not None
    assert task.row.author is not None
    resume = None if task.at is None else str(task.at)
    pages = author_past(
        task.row.author, task.settings, clock, task.since / 1e6, resume, task.note_retry
    )
    await _look_through_pages(task, row.id, row.network, pages, at_original_time=False)


async def _look_through_pages(
    task: Task,
    source_id: SourceId,
    network: NetworkName,
    pages: PastPages,
    *,
    at_original_time: bool,
) -> None:
    """Look through pages of a network, but for posts that the source is still to store."""
    async with task.database.acquire() as connection:
        cursor = await ingest_log.network_cursor(connection, source_id)
    ends_at = task.track.ends_at

    def keep(arrival: IncomingTweet) -> bool:
        at = arrival.received_at if at_original_time else arrival.tweet.created_at
        if task.since and at is not None and at < to_datetime(task.since):
            return False
        if not (at_original_time or ends_at is None) and (at or arrival.received_at) >= ends_at:
            return False
        return cursor is None or at is None or at <= to_datetime(cursor.time)

    await task.look_through(
        _slices(source_id, network, pages),
        at_original_time=at_original_time,
        applies_accounts=at_original_time,
        keep=keep,
    )


async def _slices(source_id: SourceId, network: NetworkName, pages: PastPages) -> Slices:
    async with aclosing(pages):
        async for page in pages:
            frames = [Frame(received, body, 0) for received, body in page.messages]
            yield Slice(source_id, network, frames, page.resume, page.progress, page.note)
