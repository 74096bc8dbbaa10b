"""Rows that a transaction locks before it changes anything, and the order of all locks.

Several transactions write at the same time: the writers of two sources, a look-back, jobs that
delete tweets, look up accounts or compare them. So that two never wait for each other, each locks
rows in this order, and within a table in one pass in the order of the key:

1. `accounts`, then `author_tombstones`: of all authors whose tweets it stores, and of those whose
   restrictions, handles or comparison it changes; then a restriction and a tweet of the same author
   see each other, too,
2. `tweet_ids`: of all tweets that it stores, deletes or credits, also where a server has deleted
   one by a name of its own; ids that are not in the table yet are added in the same pass
   (`reserve_ids`). Then the names that servers have for what is stored: they are their source's,
3. `tweets`, then `deletion_log`, then `matches`,
4. `track_top_items`, then `track_minutes`, `track_hours` and `track_days`: every tweet of a track
   changes the same few rows, so they come last (see `rollups.CountChanges`).

What belongs to one source (its position, runs, state, counts) is changed by its writer only, and a
look-back locks its own row and its track first. Pruning skips rows that are locked.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

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


async def reserve_ids(
    connection: Executor,
    network: NetworkName,
    arrivals: Sequence[IncomingTweet],
    others: Mapping[NativeId, IdRow],
) -> Mapping[TweetId, Sequence[str] | None]:
    """Reserve the native ids of tweets, and lock the others that the transaction changes.

    Returns the new tweets, with the countries that they are withheld in.
    """
    if named := list(filter(is_server_id, others)):
        # Not the names themselves: that of a post of this transaction has to lead to it first.
        stored = await tweet_ids.stored_as(connection, network, named)
        others = {each: row for each, row in others.items() if not is_server_id(each)}
        others |= {native_id: IdRow(key) for native_id, key in stored.items()}
    return await tweet_ids.reserve_ids(connection, network, arrivals, others)
