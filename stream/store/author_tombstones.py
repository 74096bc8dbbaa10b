"""Deletions and other restrictions of all tweets of an author, and of hidden accounts.

Readers apply those in `pending`; `deletions.apply_to_authors` changes the stored tweets afterwards.
A transaction that stores the first tweet of an author has no row to lock, and may not see a
tombstone that is added meanwhile: so they stay pending until it has ended.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from stream.db import Executor, Row, row_count
from stream.store.accounts import LISTED_NETWORKS
from stream.tweet import NetworkName

CLOCK_ERROR_MAX = timedelta(minutes=10)  # a network accepts times of its authors up to this fast

# In the order of the key, as all writers take them: so they never deadlock.
_AUTHORS = """
SELECT author_id, deleted_at, scrubbed_to, withheld FROM author_tombstones
WHERE network = $1 AND author_id = ANY ($2::text[])
ORDER BY author_id FOR NO KEY UPDATE
"""
# `pending` names what changed, and what was pending already; nothing where no tweet is held. $7:
# whether `accounts` has every author of the network.
_RESTRICT_AUTHORS = """
INSERT INTO author_tombstones AS known
    (network, author_id, deleted_at, scrubbed_to, withheld, hidden_at, held, pending)
SELECT $1, author_id, deleted_at, scrubbed_to::numeric, string_to_array(withheld, ','),
    hidden_at, held,
    array_remove(ARRAY[CASE WHEN held AND deleted_at IS NOT NULL THEN 'deleted' END,
                       CASE WHEN held AND scrubbed_to IS NOT NULL THEN 'scrubbed' END,
                       CASE WHEN held AND withheld IS NOT NULL THEN 'withheld' END], NULL)
FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::timestamptz[])
    AS new (author_id, deleted_at, scrubbed_to, withheld, hidden_at)
CROSS JOIN LATERAL (SELECT NOT $7::boolean OR EXISTS (
    SELECT FROM accounts WHERE accounts.network = $1 AND accounts.author_id = new.author_id)
    AS held) AS author
ORDER BY author_id
ON CONFLICT (network, author_id) DO UPDATE SET
    deleted_at = greatest(known.deleted_at, excluded.deleted_at),
    scrubbed_to = greatest(known.scrubbed_to, excluded.scrubbed_to),
    withheld = coalesce(excluded.withheld, known.withheld),
    hidden_at = CASE WHEN excluded.withheld IS NULL THEN known.hidden_at
                     ELSE excluded.hidden_at END,
    held = known.held OR excluded.held,
    pending = array_remove(ARRAY[
        CASE WHEN 'deleted' = ANY (known.pending)
               OR (known.held OR excluded.held)
                  AND excluded.deleted_at > coalesce(known.deleted_at, '-infinity')
             THEN 'deleted' END,
        CASE WHEN 'scrubbed' = ANY (known.pending)
               OR (known.held OR excluded.held)
                  AND excluded.scrubbed_to > coalesce(known.scrubbed_to, '-infinity')
             THEN 'scrubbed' END,
        CASE WHEN 'withheld' = ANY (known.pending)
               OR (known.held OR excluded.held) AND coalesce(excluded.withheld <> known.withheld,
                           excluded.withheld IS NOT NULL AND known.withheld IS NULL)
             THEN 'withheld' END], NULL),
    changed_at = now()
WHERE excluded.deleted_at > coalesce(known.deleted_at, '-infinity')
   OR excluded.scrubbed_to > coalesce(known.scrubbed_to, '-infinity')
   OR coalesce(excluded.withheld <> known.withheld,
               excluded.withheld IS NOT NULL AND known.withheld IS NULL)
"""
_MARK_HELD = """
UPDATE author_tombstones SET held = true
WHERE network = $1 AND author_id = ANY ($2::text[]) AND NOT held
"""
# Their first tweet was stored by a transaction that did not see the tombstone yet, nor was it seen.
_HOLD_STORED = """
UPDATE author_tombstones SET held = true, changed_at = now(),
    pending = array_remove(ARRAY[CASE WHEN deleted_at IS NOT NULL THEN 'deleted' END,
                                 CASE WHEN scrubbed_to IS NOT NULL THEN 'scrubbed' END,
                                 CASE WHEN withheld IS NOT NULL THEN 'withheld' END], NULL)
WHERE ctid = ANY (ARRAY(
    SELECT unheld.ctid FROM author_tombstones AS unheld JOIN accounts USING (network, author_id)
    WHERE NOT held AND changed_at < $1 LIMIT $2
    FOR UPDATE OF unheld SKIP LOCKED))
"""
# Those who were hidden that long ago. What they have posted until then has a time of their own
# clock, which may be fast.
_ERASE_HIDDEN = """
UPDATE author_tombstones SET
    deleted_at = greatest(deleted_at, hidden_at + make_interval(secs => $3)),
    pending = array_append(array_remove(pending, 'deleted'), 'deleted'),
    hidden_at = NULL, changed_at = now()
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM author_tombstones WHERE hidden_at < $1 AND held LIMIT $2
    FOR UPDATE SKIP LOCKED))
"""
_PENDING = """
SELECT network, author_id, deleted_at, withheld, pending, changed_at FROM author_tombstones
WHERE pending <> '{}' AND author_id <> ALL ($1::text[]) ORDER BY changed_at LIMIT $2
"""
_DONE = """
UPDATE author_tombstones SET pending = '{}'
WHERE network = $1 AND author_id = $2 AND changed_at = $3
"""
_PRUNE_AUTHORS = """
DELETE FROM author_tombstones WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM author_tombstones WHERE changed_at < $1 AND pending = '{}' LIMIT $2
    FOR UPDATE SKIP LOCKED))
"""
_PRUNE_UNHELD = """
DELETE FROM author_tombstones WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM author_tombstones WHERE NOT held AND changed_at < $1 LIMIT $2
    FOR UPDATE SKIP LOCKED))
"""


class AuthorRestrictions(msgspec.Struct, frozen=True):
    """Restrictions of an author's tweets: deleted, without places, withheld; None: not so.

    `hidden_at`: since when the account is hidden, if its tweets are erased some time after that.
    """

    deleted_at: datetime | None = None
    scrubbed_to: int | None = None
    withheld: Sequence[str] | None = None
    hidden_at: datetime | None = None

    def deletes(self, created_at: datetime | None) -> bool:
        """Whether a tweet of that time was deleted with its author; as `author_deleted` in SQL."""
        return self.deleted_at is not None and (created_at is None or created_at <= self.deleted_at)

    def merged(self, later: "AuthorRestrictions") -> "AuthorRestrictions":
        """The restrictions of both."""
        deleted = [at for at in (self.deleted_at, later.deleted_at) if at is not None]
        scrubbed = [to for to in (self.scrubbed_to, later.scrubbed_to) if to is not None]
        withheld = self if later.withheld is None else later
        return AuthorRestrictions(
            max(deleted, default=None),
            max(scrubbed, default=None),
            withheld.withheld,
            withheld.hidden_at,
        )


async def author_restrictions(
    connection: Executor, network: NetworkName, author_ids: Iterable[str]
) -> Mapping[str, AuthorRestrictions]:
    """The tombstones of these authors, locked: none changes until the transaction has ended."""
    rows = await connection.fetch(_AUTHORS, network, list(author_ids))
    return {
        row["author_id"]: AuthorRestrictions(
            row["deleted_at"],
            None if row["scrubbed_to"] is None else int(row["scrubbed_to"]),
            row["withheld"],
        )
        for row in rows
    }


async def restrict_authors(
    connection: Executor, network: NetworkName, losses: Mapping[str, AuthorRestrictions]
) -> None:
    """Add restrictions of authors: they apply to new tweets now, and to stored ones soon."""
    await connection.execute(
        _RESTRICT_AUTHORS,
        network,
        list(losses),
        [loss.deleted_at for loss in losses.values()],
        [None if each.scrubbed_to is None else str(each.scrubbed_to) for each in losses.values()],
        [None if each.withheld is None else ",".join(each.withheld) for each in losses.values()],
        [loss.hidden_at for loss in losses.values()],
        network in LISTED_NETWORKS,
    )


async def mark_held(connection: Executor, network: NetworkName, author_ids: Iterable[str]) -> None:
    """Record that a tweet of these restricted authors is stored: their tombstones are kept."""
    await connection.execute(_MARK_HELD, network, sorted(author_ids))


async def pending(connection: Executor, skipped: Collection[str], limit: int) -> "list[Row]":
    """The authors, but for these, whose restrictions wait longest for being applied."""
    return await connection.fetch(_PENDING, list(skipped), limit)


async def mark_applied(connection: Executor, author: Row) -> None:
    """Mark restrictions as applied, unless they have changed meanwhile."""
    await connection.execute(_DONE, author["network"], author["author_id"], author["changed_at"])


async def prune_author_tombstones(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some applied tombstones of authors that changed before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_AUTHORS, before, limit))


async def prune_unheld_tombstones(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some tombstones of authors of whom no tweet is held; returns how many."""
    return row_count(await connection.execute(_PRUNE_UNHELD, before, limit))


async def hold_stored(connection: Executor, before: datetime, limit: int) -> int:
    """Apply some tombstones whose author has a stored tweet after all; returns how many."""
    return row_count(await connection.execute(_HOLD_STORED, before, limit))


async def erase_hidden(connection: Executor, before: datetime, limit: int) -> int:
    """Delete the tweets of some authors hidden since before this time; returns how many authors.

    Only marks them: `apply_to_authors` deletes the tweets, and archives follow.
    """
    seconds = CLOCK_ERROR_MAX.total_seconds()
    return row_count(await connection.execute(_ERASE_HIDDEN, before, limit, seconds))
