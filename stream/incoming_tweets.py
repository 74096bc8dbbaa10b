"""Store the tweets of a batch: new ones once each, and new versions in the place of stored ones."""

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime
from operator import itemgetter

import msgspec

from stream.batch import Batch, MayMatch
from stream.db import Executor
from stream.keys import server_id
from stream.row_locks import Authors, Concerned, lock_authors, lock_names
from stream.store import (
    author_tombstones,
    deletions,
    ingest_log,
    partitions,
    tweet_ids,
    tweet_versions,
    tweets,
)
from stream.store.author_tombstones import AuthorRestrictions
from stream.store.rollups import CountChanges
from stream.store.tweet_ids import IdRow
from stream.store.tweets import IncomingTweet
from stream.tweet import EventPosition, LaneId, NativeId, NetworkName, TweetId


class StorePolicy(msgspec.Struct, frozen=True):
    """The settings that decide which tweets are stored, and what a deletion does."""

    network: NetworkName
    keep_unmatched: bool
    erase: bool
    respect_opt_out: bool = True
    event_position: Callable[[bytes], EventPosition | None] | None = None  # see `base.Network`
    may_match: MayMatch | None = None  # see `Batch.add`
    names_authors: bool = False  # whether handles of authors are looked up
    look_back: bool = False  # a look-back has found these tweets


async def store_tweets(
    connection: Executor,
    batch: Batch,
    policy: StorePolicy,
    counts: Counter[tuple[datetime, str]],
    track_counts: CountChanges,
    concerned: Concerned,
) -> None:
    """Store the tweets of a batch, once each, and add their outcomes to `counts`.

    `concerned`: what else this transaction is about to change; it is locked, too.
    """
    # A new version from an author who has opted out meanwhile replaces nothing.
    edits = {
        a.tweet.native_id: a
        for a in batch.arrivals
        if a.tweet.edited and not (a.tweet.opted_out and policy.respect_opt_out)
    }
    stored = await tweet_ids.stored_ids(connection, policy.network, list(edits)) if edits else {}
    wanted = _first_of_each(batch, policy, stored, counts)
    named = {
        server_id(batch.source_id, a.tweet.server_id): a
        for a in wanted
        if a.tweet.server_id is not None
    }
    authors = await lock_authors(
        connection, policy.network, wanted, concerned.authors, are_listed=policy.names_authors
    )
    keys = {name: arrival.id for name, arrival in named.items()}
    names, ids = await lock_names(connection, policy.network, keys, concerned)
    gone = {named[name].tweet.native_id: named[name].received_at for name in names}
    if gone:
        for arrival in wanted:
            if arrival.tweet.native_id in gone:
                _count(counts, arrival, "deleted")
        wanted = [arrival for arrival in wanted if arrival.tweet.native_id not in gone]
        ids = {**ids, **{native_id: IdRow(deleted_at=at) for native_id, at in gone.items()}}
    kept: list[IncomingTweet] = []
    if wanted or ids:
        reserved = await tweet_ids.reserve_ids(connection, policy.network, wanted, ids)
        kept = await _new(connection, wanted, reserved, authors, policy, counts, track_counts)
    if gone:  # another server's copy may be stored
        await deletions.delete(connection, policy.network, gone, track_counts, erase=policy.erase)
    run = await _run_of(connection, batch.lane, kept, policy) if kept else None
    if named:
        await _correct_names(connection, named, keys, kept, policy.network)
    if kept:
        await _insert(connection, run, kept, authors, policy, track_counts)
    if edits:
        await replace_edited(connection, edits, policy.network, track_counts)


# -- new tweets -----------------------------------------------------------------------------------


async def _new(
    connection: Executor,
    wanted: Sequence[IncomingTweet],
    reserved: Mapping[TweetId, Sequence[str] | None],
    authors: Authors,
    policy: StorePolicy,
    counts: Counter[tuple[datetime, str]],
    track_counts: CountChanges,
) -> list[IncomingTweet]:
    """Those of the tweets that are to be stored, after their ids were reserved."""
    restrictions = authors.restrictions
    tombstones = await _tombstones(connection, wanted, reserved, policy)
    kept: list[IncomingTweet] = []
    deleted: dict[NativeId, datetime] = {}  # new to us, but deleted with their authors
    for arrival in wanted:
        outcome = _outcome(arrival, reserved, tombstones, restrictions)
        _count(counts, arrival, outcome)
        if outcome in ("stored", "unmatched"):
            arrival.withheld = reserved[arrival.id] or _withheld_author(arrival, restrictions)
            kept.append(arrival)
            if arrival.repaired:
                _count(counts, arrival, "repaired")
        elif arrival.id in reserved:
            deleted[arrival.tweet.native_id] = arrival.received_at
    if restricted := restrictions.keys() & {arrival.tweet.own.author_id for arrival in kept}:
        await author_tombstones.mark_held(connection, policy.network, filter(None, restricted))
    if deleted:
        await deletions.delete(
            connection, policy.network, deleted, track_counts, erase=policy.erase
        )
    return kept


def _first_of_each(
    batch: Batch,
    policy: StorePolicy,
    stored: Container[NativeId],
    counts: Counter[tuple[datetime, str]],
) -> list[IncomingTweet]:
    """Deduplicate a batch by native id; unmatched tweets stay only if the setting says so.

    New versions are among them only where no earlier one is stored.
    """
    first: dict[NativeId, IncomingTweet] = {}
    for arrival in batch.arrivals:
        native_id = arrival.tweet.native_id
        if arrival.tweet.opted_out and policy.respect_opt_out:
            _count(counts, arrival, "opted_out")
        elif arrival.tweet.edited and (native_id in first or native_id in stored):
            _count(counts, arrival, "control")  # see replace_edited
        elif not arrival.matches and not policy.keep_unmatched:
            _count(counts, arrival, "dropped")
        elif native_id in first:
            _count(counts, arrival, "duplicate")
        else:
            first[native_id] = arrival
    return list(first.values())


async def _tombstones(
    connection: Executor,
    wanted: Sequence[IncomingTweet],
    reserved: Mapping[TweetId, object],
    policy: StorePolicy,
) -> set[NativeId]:
    known = [a.tweet.native_id for a in wanted if a.id not in reserved]
    return await tweet_ids.deleted_ids(connection, policy.network, known) if known else set()


def _outcome(
    arrival: IncomingTweet,
    reserved: Mapping[TweetId, object],
    tombstones: set[NativeId],
    restrictions: Mapping[str, AuthorRestrictions],
) -> str:
    tweet = arrival.tweet
    if arrival.id not in reserved:
        return "deleted" if tweet.native_id in tombstones else "duplicate"
    author = restrictions.get(tweet.own.author_id or "")
    if author and author.deletes(tweet.created_at):
        return "deleted"
    return "stored" if arrival.matches else "unmatched"


def _withheld_author(
    arrival: IncomingTweet, restrictions: Mapping[str, AuthorRestrictions]
) -> Sequence[str] | None:
    author = restrictions.get(arrival.tweet.own.author_id or "")
    return None if author is None else author.withheld


async def _insert(
    connection: Executor,
    run: int | None,
    kept: Sequence[IncomingTweet],
    authors: Authors,
    policy: StorePolicy,
    track_counts: CountChanges,
) -> None:
    authors.name(kept)
    await tweets.insert(connection, policy.network, kept, run, look_back=policy.look_back)
    for arrival in kept:
        for match in arrival.matches:
            track_counts.credit(match.track_id, arrival.minute, len(arrival.doc))
    scrubbed = {
        author_id
        for author_id, each in authors.restrictions.items()
        if each.scrubbed_to is not None
    }
    if scrubbed:
        theirs = [arrival.id for arrival in kept if arrival.tweet.own.author_id in scrubbed]
        await deletions.scrub(connection, theirs)


async def _run_of(
    connection: Executor, lane: LaneId, kept: Sequence[IncomingTweet], policy: StorePolicy
) -> int | None:
    """The number of the run that these tweets are stored in; their keys are free then."""
    await partitions.ensure_days(connection, sorted({a.received_at.date() for a in kept}))
    if policy.look_back:
        await tweet_ids.reassign_taken_keys(connection, policy.network, kept)
        keys = [arrival.id for arrival in kept]
        await ingest_log.widen_first_run(connection, lane, min(keys), max(keys))
        return None
    keys = [arrival.id for arrival in kept]
    run = await ingest_log.note_ingest_run(connection, lane, min(keys), max(keys))
    if run.late:
        await tweet_ids.reassign_taken_keys(connection, policy.network, kept)
        await ingest_log.extend_run(connection, lane, run, max(a.id for a in kept))
    return run.number


def _count(counts: Counter[tuple[datetime, str]], arrival: IncomingTweet, outcome: str) -> None:
    counts[arrival.minute, outcome] += 1


# -- versions, and ids of single servers ----------------------------------------------------------


async def replace_edited(
    connection: Executor,
    edits: Mapping[NativeId, IncomingTweet],
    network: NetworkName,
    track_counts: CountChanges,
) -> None:
    """Replace stored tweets by their new versions; their tracks are credited once."""
    stored = await tweet_ids.stored_ids(connection, network, list(edits))
    for native_id, key in sorted(stored.items(), key=itemgetter(1)):
        changed = await tweet_versions.replace(connection, key, edits[native_id])
        if changed is not None:
            minute = changed.received_at.replace(second=0, microsecond=0)
            for track_id in changed.removed:
                track_counts.uncredit(track_id, minute)
            for track_id in changed.added:
                track_counts.credit(track_id, minute, 0)


async def _correct_names(
    connection: Executor,
    named: Mapping[NativeId, IncomingTweet],
    keys: Mapping[NativeId, TweetId],
    kept: Sequence[IncomingTweet],
    network: NetworkName,
) -> None:
    """Let the names that servers have for tweets lead to what is stored; `keys`: those given."""
    stored = {arrival.tweet.native_id: arrival.id for arrival in kept}
    others = [a.tweet.native_id for a in named.values() if a.tweet.native_id not in stored]
    if others:
        stored |= await tweet_ids.stored_ids(connection, network, others)
    by_name = {
        name: stored[arrival.tweet.native_id]
        for name, arrival in named.items()
        if arrival.tweet.native_id in stored
    }
    await tweet_ids.correct_names(connection, network, keys, by_name)
