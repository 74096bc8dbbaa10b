"""Rows that a transaction locks before it changes anything, and the order of all locks.

Several transactions write at the same time: the writers of two sources, a look-back, jobs that
delete tweets, look up accounts or compare them. So that two never wait for each other, each locks
rows in this order, and within a table in one pass in the order of the key:

1. `accounts`, then `author_tombstones`: of all authors whose tweets it stores, and of those whose
   restrictions, handles or comparison it changes; then a restriction and a tweet of the same author
   see each other, too,
2. `tweet_ids`: first the names that single servers have for the tweets that it stores or deletes
   (`lock_names`), since a post and its deletion may be in two lanes of a source and see each other
   here; then the native ids of all tweets that it stores, deletes or credits. What is not in the
   table yet is added in the same pass,
3. `tweets`, then `deletion_log`, then `matches`,
4. `track_top_items`, then `track_minutes`, `track_hours` and `track_days`: every tweet of a track
   changes the same few rows, so they come last (see `rollups.CountChanges`).

The position and the runs of a lane are changed by its writer only, and the state and the gaps of a
source by that of its first lane. Lanes share the counts of frames (`source_minutes`,
`source_hours`), which come after all of these. A look-back locks its own row and its track first.
Pruning skips rows that are locked.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from stream.db import Executor
from stream.keys import is_server_id
from stream.store import accounts, author_tombstones, tweet_ids
from stream.store.author_tombstones import AuthorRestrictions
from stream.store.tweet_ids import IdRow
from stream.store.tweets import IncomingTweet
from stream.tweet import NativeId, NetworkName, TweetId


class Concerned(msgspec.Struct, frozen=True):
    """What a transaction changes besides the tweets that it stores."""

    authors: set[str] = msgspec.field(default_factory=set)
    ids: dict[NativeId, IdRow] = msgspec.field(default_factory=dict)


class Authors(msgspec.Struct, frozen=True):
    """What is known about the authors of some tweets until the end of the transaction."""

    restrictions: Mapping[str, AuthorRestrictions]
    handles: Mapping[str, str]

    def name(self, arrivals: Iterable[IncomingTweet]) -> None:
        """Name the authors whose handles are known; the others are looked up later."""
        if not self.handles:
            return
        for arrival in arrivals:
            handle = self.handles.get(arrival.tweet.own.author_id or "")
            if handle is not None and arrival.tweet.own.author is None:
                own = msgspec.structs.replace(arrival.tweet.own, author=handle)
                arrival.tweet = msgspec.structs.replace(arrival.tweet, own=own)


async def lock_authors(
    connection: Executor,
    network: NetworkName,
    arrivals: Iterable[IncomingTweet],
    others: Collection[str],
    *,
    are_listed: bool,
) -> Authors:
    """Lock the authors of tweets that are about to be stored, and others.

    `are_listed`: whether `accounts` has the authors of this network.
    """
    authors: dict[str, bool] = {}
    for arrival in arrivals:
        if (author_id := arrival.tweet.own.author_id) is not None:
            authors[author_id] = authors.get(author_id, False) or bool(arrival.matches)
    every = {*authors, *others}
    if not every:
        return Authors({}, {})
    handles: Mapping[str, str] = {}
    if are_listed:
        await accounts.note_authors(connection, network, authors, others)
        handles = await accounts.handles_of(connection, network, authors) if authors else {}
    restrictions = await author_tombstones.author_restrictions(connection, network, every)
    return Authors(restrictions, handles)


async def lock_names(
    connection: Executor,
    network: NetworkName,
    keys: Mapping[NativeId, TweetId],
    concerned: Concerned,
) -> tuple[set[NativeId], dict[NativeId, IdRow]]:
    """Lock the names that servers have for tweets: of those to be stored with these keys, if they
    are new, and of those that are deleted.

    Returns which of the first are deleted already, and the native ids of what is concerned.
    """
    deleted = {each: row for each, row in concerned.ids.items() if is_server_id(each)}
    if not keys and not deleted:
        return set(), concerned.ids
    # The name of a post of this transaction has to lead to it first: it is deleted afterwards.
    names = {**deleted, **{name: IdRow(key) for name, key in keys.items()}}
    gone = await tweet_ids.lock_names(connection, network, names) & keys.keys()
    ids = {each: row for each, row in concerned.ids.items() if each not in deleted}
    if deleted:
        stored = await tweet_ids.stored_as(connection, network, list(deleted))
        ids |= {native_id: IdRow(key) for native_id, key in stored.items()}
    return gone, ids
