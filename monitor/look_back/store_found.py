"""Stores what a look-back has found, in the transaction that notes how far it has come.

Posts that are stored already get a match only; the others are stored as the writer would have
stored them (stream/incoming_tweets.py), at their original time where that day is still in the
tables.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from monitor.look_back.found_items import count_items
from monitor.look_back.gone import names_of
from monitor.look_back.track_matcher import matcher_of
from stream.batch import Batch, ControlItem
from stream.control_items import apply_changes, deleted_name, restrictions
from stream.db import Executor
from stream.incoming_tweets import StorePolicy, replace_edited, store_tweets
from stream.keys import NEXT_KEY, received_at, tweet_key
from stream.row_locks import Concerned
from stream.store import accounts, look_back_rows, tweet_ids
from stream.store.look_back_rows import Added, Found
from stream.store.rollups import CountChanges
from stream.store.tweet_ids import IdRow
from stream.store.tweets import IncomingTweet
from stream.tweet import Deletion, NativeId, NetworkName, TrackId, TweetId

# Keys of posts that are stored at the time when they are found are this much older: keys that the
# writer is about to store are higher.
FOUND_BEFORE = timedelta(seconds=60)
EARLIEST = datetime(2020, 1, 2, tzinfo=UTC)  # no key is older than 2020


class Target(msgspec.Struct, frozen=True):
    """Where found posts go: a track, and how they are stored."""

    track_id: TrackId
    policy: StorePolicy
    began_at: datetime  # when the look-back began
    transaction: int  # what the look-back has found was added by this one or later ones
    keep_days: int | None  # after which tweets of the track are deleted; None: for ever
    at_original_time: bool = True  # where that is possible
    applies_accounts: bool = False  # whether deletions of accounts are applied, too
    until: datetime | None = None  # posts received from then on do not belong to the track

    def has(self, arrival: IncomingTweet) -> bool:
        """Whether a post was received before the track ended."""
        return self.until is None or arrival.received_at < self.until


async def store(
    connection: Executor,
    batch: Batch,
    gone: Collection[NativeId],
    target: Target,
    track_counts: CountChanges,
) -> Added:
    """Store the posts of a batch that the track matches, and apply its edits and deletions.

    `gone`: posts that the track matches and that are deleted already; these deletions are kept.
    What edits and deletions take away of what the look-back has found before is subtracted.
    """
    network, policy = target.policy.network, target.policy
    wanted = [
        arrival
        for arrival in batch.arrivals
        if (arrival.matches or arrival.tweet.edited)
        and not (arrival.tweet.opted_out and policy.respect_opt_out)
    ]
    in_time = [arrival for arrival in wanted if target.has(arrival)]
    stored = await tweet_ids.stored_ids(connection, network, [a.tweet.native_id for a in wanted])
    edits = {a.tweet.native_id: a for a in wanted if a.tweet.edited and a.tweet.native_id in stored}
    for native_id, arrival in edits.items():
        # Of a post that this look-back has stored at the time when it was found.
        if received_at(stored[native_id]) >= target.began_at - FOUND_BEFORE:
            arrival.received_at = datetime.now(UTC)
    found = [
        Found(key, a.tweet.native_id, a.matches[0], a.received_at, a.tweet.text)
        for a in in_time
        if a.matches and (key := stored.get(a.tweet.native_id)) is not None
    ]
    missing = {arrival.tweet.native_id for arrival in in_time} - stored.keys()
    new = [arrival for arrival in wanted if arrival.tweet.native_id in missing]
    counts: Counter[tuple[datetime, str]] = Counter()
    if new:
        await _set_keys(connection, batch, new, target)
    batch.arrivals = new
    of_authors = _author_items(batch) if target.applies_accounts else []
    deleted = await _held_deletions(connection, batch, gone, network)
    names = {*deleted, *(arrival.tweet.native_id for arrival in wanted)}
    changed = network, names, target.track_id, target.transaction
    before = await look_back_rows.found_since(connection, *changed)
    ids = {name: IdRow(deleted_at=item.at) for name, item in deleted.items()}
    ids |= {each.native_id: IdRow(each.id) for each in found}
    concerned = Concerned({author_id for author_id, _ in of_authors}, ids)
    await store_tweets(connection, batch, policy, counts, track_counts, concerned)
    if edits:
        await _replace(connection, edits, network, track_counts)
    credited = await credit(connection, network, target.track_id, found, track_counts)
    of_held = await _of_held_authors(connection, of_authors, network)
    batch.control_items = [*deleted.values(), *of_held]
    if batch.control_items:
        await apply_changes(connection, batch, network, track_counts, erase=policy.erase)
    added = await tweet_ids.stored_ids(connection, network, [a.tweet.native_id for a in new])
    await count_items(connection, target.track_id, [*credited, *added.values()])
    return await look_back_rows.found_since(connection, *changed) - before


async def credit(
    connection: Executor,
    network: NetworkName,
    track_id: TrackId,
    found: Sequence[Found],
    track_counts: CountChanges,
) -> list[TweetId]:
    """Credit stored tweets to the track, and count them; returns those that it did not have."""
    last = {each.native_id: each for each in found}  # the latest version of each
    if not last:
        return []
    added = await look_back_rows.credit(connection, network, track_id, list(last.values()))
    for each in added:
        minute = each.received_at.replace(second=0, microsecond=0)
        track_counts.credit(track_id, minute, each.bytes)
    return [each.id for each in added]


async def _set_keys(
    connection: Executor, batch: Batch, new: Sequence[IncomingTweet], target: Target
) -> None:
    """Give each a key of its own, at the time when it is found where its day is not kept."""
    now = datetime.now(UTC)
    days = await _kept_days(connection, {a.received_at.date() for a in new}, target, now)
    key = tweet_key(round((now - FOUND_BEFORE).timestamp() * 1e6), batch.lane)
    taken: set[TweetId] = set()
    for arrival in new:
        at = arrival.received_at
        if not (target.at_original_time and at.date() in days and EARLIEST <= at <= now):
            arrival.id = key
        while arrival.id in taken:
            arrival.id = TweetId(arrival.id + NEXT_KEY)
        taken.add(arrival.id)
        arrival.received_at = received_at(arrival.id)
        arrival.minute = arrival.received_at.replace(second=0, microsecond=0)


async def _kept_days(
    connection: Executor, days: set[date], target: Target, now: datetime
) -> set[date]:
    """Those of these days that are neither archived nor about to be deleted."""
    kept = set(days)
    if target.keep_days:
        oldest = now.date() - timedelta(days=target.keep_days)
        kept = {day for day in days if day > oldest}
    return kept - await look_back_rows.archived_days(connection, sorted(kept))


async def _replace(
    connection: Executor,
    edits: dict[NativeId, IncomingTweet],
    network: NetworkName,
    track_counts: CountChanges,
) -> None:
    """Replace older versions of stored tweets. Their tracks are matched again, no others."""
    keys = await tweet_ids.stored_ids(connection, network, list(edits))
    times = {key: edits[native_id].received_at for native_id, key in keys.items()}
    outdated = await look_back_rows.outdated(connection, times)
    if not outdated:
        return
    matcher = await matcher_of(connection, {each for some in outdated.values() for each in some})
    later = {}
    for native_id, key in keys.items():
        if key in outdated:
            later[native_id] = arrival = edits[native_id]
            matches = matcher.match(arrival.tweet)
            arrival.matches = [each for each in matches if each.track_id in outdated[key]]
    await replace_edited(connection, later, network, track_counts)


async def _held_deletions(
    connection: Executor, batch: Batch, gone: Collection[NativeId], network: NetworkName
) -> dict[NativeId, ControlItem]:
    """The deletions of what is stored or is about to be, and of what the track matches."""
    deleted = {
        deleted_name(batch.source_id, item.what): item
        for item in batch.control_items
        if isinstance(item.what, Deletion)
    }
    if not deleted:
        return {}
    held = {*gone, *await tweet_ids.stored_ids(connection, network, list(deleted))}
    for arrival in batch.arrivals:
        held.update(names_of(batch.source_id, arrival))
    return {name: item for name, item in deleted.items() if name in held}


def _author_items(batch: Batch) -> list[tuple[str, ControlItem]]:
    """The messages that delete or hide accounts."""
    return [
        (author_id, item)
        for item in batch.control_items
        for author_id, limits in restrictions(item)
        if limits.deleted_at is not None or limits.withheld
    ]


async def _of_held_authors(
    connection: Executor, items: Sequence[tuple[str, ControlItem]], network: NetworkName
) -> list[ControlItem]:
    """The deletions of accounts with a stored post.

    An account that was hidden then may be shown now: that is asked of its server later.
    """
    if not items:
        return []
    authors = sorted({author_id for author_id, _ in items})
    known = await look_back_rows.known_authors(connection, network, authors)
    hidden = {author_id for author_id, item in items if not _deletes(item)} & known
    if hidden:
        await accounts.request_resync(connection, network, hidden)
    return [item for author_id, item in items if author_id in known and _deletes(item)]


def _deletes(item: ControlItem) -> bool:
    return any(limits.deleted_at is not None for _, limits in restrictions(item))
