"""What happens in the one transaction of a batch.

The position moves first: so a second writer, or a COMMIT whose answer was lost, is noticed before a
single row is written. Then tweets, matches, what the network said about stored tweets, what the
daemon itself had to say, and the counts of the minutes.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import assert_never

import msgspec

from stream import ledger, sources, tweets
from stream.batch import Aside, Batch
from stream.db import Executor
from stream.tweet import (
    Alive,
    AuthorDeletion,
    Deletion,
    EventNote,
    GapClosed,
    GapOpened,
    GeoScrub,
    NativeId,
    NetworkName,
    Notice,
    SourceId,
    StateNote,
    TrackId,
    Tweet,
    TweetId,
    Withheld,
)
from stream.tweets import EPOCH, Arrival, Lost

SILENT_NOTICES = ("limit", "relic")  # counted, but no event


class Terms(msgspec.Struct, frozen=True):
    """The settings by which tweets are kept."""

    network: NetworkName
    keep_unmatched: bool
    erase: bool


class Committed(msgspec.Struct, frozen=True):
    """What became of the frames, and the network's running count of withheld tweets."""

    outcomes: Counter[str]
    withheld: int


async def commit(
    connection: Executor, batch: Batch, terms: Terms, journal: uuid.UUID, withheld: int
) -> Committed:
    """Write a batch; nothing is written when it is there already."""
    counts = Counter(batch.outcomes)
    after = _withheld(batch, withheld, counts)
    if not await ledger.advance(connection, journal, batch.before, batch.after, after):
        return Committed(Counter(), after)
    await _store_tweets(connection, batch, terms, counts)
    for aside in batch.asides:
        await _act(connection, batch, terms, aside)
    for rejected in batch.rejects:
        await ledger.reject(
            connection,
            batch.source_id,
            rejected.key,
            rejected.received,
            (rejected.reason, rejected.detail),
            rejected.body,
        )
    if counts:
        await ledger.count_frames(connection, batch.source_id, counts)
    newest = next((f.received for f in reversed(batch.frames) if not f.is_note), None)
    if newest is not None:
        await sources.heard(connection, batch.source_id, newest / 1e6)
    outcomes: Counter[str] = Counter()
    for (_, outcome), number in counts.items():
        outcomes[outcome] += number
    return Committed(outcomes, after)


def _withheld(batch: Batch, known: int, counts: Counter[tuple[datetime, str]]) -> int:
    """Count what the network says it did not deliver: it tells a sum since it connected."""
    for aside in batch.asides:
        if isinstance(aside.what, StateNote) and aside.what.state == "connecting":
            known = 0
        elif isinstance(aside.what, Notice) and aside.what.kind == "limit":
            if aside.what.number > known:
                minute = aside.at.replace(second=0, microsecond=0)
                counts[minute, "withheld"] += aside.what.number - known
            known = max(known, aside.what.number)
    return known


# -- tweets ---------------------------------------------------------------------------------------


async def _store_tweets(
    connection: Executor, batch: Batch, terms: Terms, counts: Counter[tuple[datetime, str]]
) -> None:
    wanted = _first_of_each(batch, terms, counts)
    if not wanted:
        return
    fresh = await tweets.claim(connection, terms.network, wanted)
    authors = {a.tweet.own.author_id for a in wanted if a.tweet.own.author_id is not None}
    lost = await tweets.lost_authors(connection, terms.network, authors)
    gone = await _tombstones(connection, wanted, fresh, terms)
    kept: list[Arrival] = []
    for arrival in wanted:
        outcome = _outcome(arrival, fresh, gone, lost)
        _count(counts, arrival, outcome)
        if outcome in ("stored", "unmatched"):
            arrival.withheld = fresh[arrival.id] or _withheld_author(arrival, lost)
            kept.append(arrival)
            if arrival.repaired:
                _count(counts, arrival, "repaired")
        elif arrival.id in fresh:
            at = arrival.received_at
            await tweets.bury(connection, terms.network, arrival.tweet.native_id, at)
    await _insert(connection, batch.source_id, kept, terms, lost)


def _first_of_each(
    batch: Batch, terms: Terms, counts: Counter[tuple[datetime, str]]
) -> list[Arrival]:
    """The arrivals that may be stored: each native id once, unmatched ones only by setting."""
    first: dict[NativeId, Arrival] = {}
    for arrival in batch.arrivals:
        if not arrival.matches and not terms.keep_unmatched:
            _count(counts, arrival, "dropped")
        elif arrival.tweet.native_id in first:
            _count(counts, arrival, "duplicate")
        else:
            first[arrival.tweet.native_id] = arrival
    return list(first.values())


async def _tombstones(
    connection: Executor,
    wanted: Sequence[Arrival],
    fresh: Mapping[TweetId, object],
    terms: Terms,
) -> set[NativeId]:
    known = [a.tweet.native_id for a in wanted if a.id not in fresh]
    return await tweets.deleted(connection, terms.network, known) if known else set()


def _outcome(
    arrival: Arrival,
    fresh: Mapping[TweetId, object],
    gone: set[NativeId],
    lost: Mapping[str, Lost],
) -> str:
    tweet = arrival.tweet
    if arrival.id not in fresh:
        return "deleted" if tweet.native_id in gone else "duplicate"
    author = lost.get(tweet.own.author_id or "")
    # What an account wrote after it came back is not what was deleted with it.
    if author and author.deleted_at and (tweet.created_at or EPOCH) <= author.deleted_at:
        return "deleted"
    return "stored" if arrival.matches else "unmatched"


def _withheld_author(arrival: Arrival, lost: Mapping[str, Lost]) -> Sequence[str] | None:
    author = lost.get(arrival.tweet.own.author_id or "")
    return None if author is None else author.withheld


async def _insert(
    connection: Executor,
    source_id: SourceId,
    kept: Sequence[Arrival],
    terms: Terms,
    lost: Mapping[str, Lost],
) -> None:
    if not kept:
        return
    await tweets.ensure_days(connection, sorted({a.received_at.date() for a in kept}))
    await tweets.insert(connection, terms.network, kept)
    keys = [arrival.id for arrival in kept]
    await ledger.note_run(connection, source_id, min(keys), max(keys))
    credited: defaultdict[tuple[TrackId, datetime], ledger.Credit] = defaultdict(ledger.Credit)
    for arrival in kept:
        for match in arrival.matches:
            credited[match.track_id, arrival.minute].add(1, len(arrival.doc))
    if credited:
        await ledger.count_tracks(connection, credited)
    for author_id, author in lost.items():
        if author.scrubbed_to is not None:
            await tweets.scrub_geo(connection, terms.network, author_id, author.scrubbed_to)


def _count(counts: Counter[tuple[datetime, str]], arrival: Arrival, outcome: str) -> None:
    counts[arrival.minute, outcome] += 1


# -- asides ---------------------------------------------------------------------------------------


async def _act(connection: Executor, batch: Batch, terms: Terms, aside: Aside) -> None:
    what, source_id = aside.what, batch.source_id
    match what:
        case Deletion() | AuthorDeletion() | GeoScrub() | Withheld():
            await _change(connection, terms, what, aside.at)
        case Notice(kind=kind, text=text):
            if kind not in SILENT_NOTICES:
                note = EventNote("control", f"{kind}: {text}", aside.at.timestamp())
                await ledger.event(connection, source_id, note)
        case StateNote(state=state, reason=reason, at=at):
            await sources.write_state(connection, source_id, what)
            text = f"{state}: {reason}" if reason else state
            await ledger.event(connection, source_id, EventNote("state", text, at))
        case GapOpened():
            await ledger.open_gap(connection, source_id, what)
        case GapClosed():
            await ledger.close_gap(connection, source_id, what)
        case Alive(at=at):
            await sources.heard(connection, source_id, at)
        case EventNote():
            await ledger.event(connection, source_id, what)
        case Tweet():
            raise AssertionError("a tweet is no aside")
        case _:
            assert_never(what)


async def _change(
    connection: Executor,
    terms: Terms,
    what: Deletion | AuthorDeletion | GeoScrub | Withheld,
    at: datetime,
) -> None:
    """What the network says about tweets that are stored, or will be."""
    network, erase = terms.network, terms.erase
    match what:
        case Deletion(native_id=native_id):
            await tweets.delete(connection, network, native_id, at, erase=erase)
        case AuthorDeletion(author_id=author_id):
            await tweets.delete_author(connection, network, author_id, at, erase=erase)
        case GeoScrub(author_id=author_id, up_to=up_to):
            await tweets.scrub_geo(connection, network, author_id, up_to)
        case Withheld(native_id=None, author_id=str(author_id), countries=countries):
            await tweets.withhold_author(connection, network, author_id, countries)
        case Withheld(native_id=str(native_id), countries=countries):
            await tweets.withhold(connection, network, NativeId(native_id), countries)
