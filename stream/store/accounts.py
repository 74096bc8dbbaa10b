"""Handles and ids of accounts on networks whose messages name their authors by id only.

`accounts` holds the authors of stored tweets, `tracked_accounts` the handles that tracks name. A
writer only adds a row: a job looks it up, and fills in the tweets.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from stream.db import Executor, row_count
from stream.tweet import NetworkName

# All authors of their stored tweets are in `accounts`. They report the accounts of the whole
# network, of most of which no tweet is held.
LISTED_NETWORKS: tuple[NetworkName, ...] = ("bluesky",)
INVALID = "handle.invalid"  # of an account that claims a handle which is not its own

# In the order of the key, so that two writers never deadlock. Authors whose handles were looked up
# a week ago are looked up once more: an event may have been missed. Of others than those who are
# `seen` the rows are only locked, where there are any.
_NOTE_AUTHORS = """
INSERT INTO accounts AS known (network, author_id, seen_at, due_at)
SELECT $1, author_id, CASE WHEN seen THEN now() ELSE '-infinity' END,
    CASE WHEN matched THEN now() END
FROM unnest($2::text[], $3::boolean[], $4::boolean[]) AS new (author_id, seen, matched)
WHERE seen OR EXISTS (SELECT FROM accounts
                      WHERE accounts.network = $1 AND accounts.author_id = new.author_id)
ORDER BY author_id
ON CONFLICT (network, author_id) DO UPDATE SET
    seen_at = greatest(known.seen_at, excluded.seen_at),
    due_at = CASE WHEN known.due_at IS NULL
                   AND coalesce(known.checked_at, '-infinity') < now() - interval '7 days'
                  THEN excluded.due_at ELSE known.due_at END
    WHERE known.seen_at < excluded.seen_at - interval '1 day'
       OR known.due_at IS NULL AND known.checked_at IS NULL AND excluded.due_at IS NOT NULL
"""
_HANDLES = """
SELECT author_id, handle FROM accounts
WHERE network = $1 AND author_id = ANY ($2::text[]) AND handle <> $3
"""
_OUTDATED_ACCOUNTS = """
UPDATE accounts SET due_at = now(), failures = 0
WHERE network = $1 AND author_id = ANY ($2::text[])
"""
_OUTDATED_HANDLES = """
UPDATE tracked_accounts SET due_at = now(), failures = 0
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM tracked_accounts
    WHERE network = $1 AND (author_id = ANY ($2::text[]) OR handle = ANY ($3::text[]))
    ORDER BY handle FOR UPDATE))
"""
_REQUEST_RESYNC = """
UPDATE accounts SET resync_at = now()
WHERE network = $1 AND author_id = ANY ($2::text[]) AND seen_at > now() - interval '7 days'
RETURNING author_id
"""
_DUE_RESYNCS = """
SELECT author_id, resync_at FROM accounts
WHERE network = $1 AND resync_at <= now() ORDER BY resync_at LIMIT $2
"""
_RESYNCED = """
UPDATE accounts SET resync_at = now() + make_interval(secs => $4)
WHERE network = $1 AND author_id = $2 AND resync_at = $3
"""
_TRACK = """
INSERT INTO tracked_accounts AS known (network, handle)
SELECT $1, handle FROM unnest($2::text[]) AS new (handle) ORDER BY handle
ON CONFLICT (network, handle) DO UPDATE SET wanted_at = now()
    WHERE known.wanted_at < now() - interval '1 hour'
"""
_TRACKED = """
SELECT handle, coalesce(author_id, '') AS author_id FROM tracked_accounts
WHERE network = $1 AND handle = ANY ($2::text[]) AND checked_at IS NOT NULL
"""
_DUE_ACCOUNTS = """
SELECT author_id AS name, failures FROM accounts
WHERE network = $1 AND due_at <= now() ORDER BY due_at LIMIT $2
"""
_DUE_HANDLES = """
SELECT handle AS name, failures FROM tracked_accounts
WHERE network = $1 AND due_at <= now() ORDER BY due_at LIMIT $2
"""
_FOUND_HANDLE = """
UPDATE accounts SET handle = $3, checked_at = now(), due_at = NULL, failures = 0
WHERE network = $1 AND author_id = $2
"""
_FOUND_ID = """
UPDATE tracked_accounts SET author_id = $3, checked_at = now(), failures = 0,
    due_at = now() + make_interval(secs => $4)
WHERE network = $1 AND handle = $2
"""
_ACCOUNT_FAILED = """
UPDATE accounts SET failures = failures + 1, due_at = now() + make_interval(secs => $3)
WHERE network = $1 AND author_id = $2
"""
_HANDLE_FAILED = """
UPDATE tracked_accounts SET failures = failures + 1, due_at = now() + make_interval(secs => $3)
WHERE network = $1 AND handle = $2
"""
_PRUNE_ACCOUNTS = """
DELETE FROM accounts WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM accounts WHERE seen_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))
"""
_PRUNE_TRACKED = """
DELETE FROM tracked_accounts WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM tracked_accounts WHERE wanted_at < $1 LIMIT $2))
"""


class Due(msgspec.Struct, frozen=True):
    """An id or a handle to look up, and how often that has failed in a row."""

    name: str
    failures: int


async def note_authors(
    connection: Executor,
    network: NetworkName,
    authors: Mapping[str, bool],
    others: Collection[str] = (),
) -> None:
    """List the authors whose tweets are stored now, and lock them and the others that are known.

    They are looked up later if a track matches them, as the values say. A look-up that ends now
    waits for this transaction, and fills in its tweets as well.
    """
    ids = [*authors, *(each for each in others if each not in authors)]
    if not ids:
        return
    seen = [each in authors for each in ids]
    matched = [authors.get(each, False) for each in ids]
    await connection.execute(_NOTE_AUTHORS, network, ids, seen, matched)


async def handles_of(
    connection: Executor, network: NetworkName, author_ids: Collection[str]
) -> dict[str, str]:
    """The handles of these authors, as far as they are known."""
    rows = await connection.fetch(_HANDLES, network, list(author_ids), INVALID)
    return {row["author_id"]: row["handle"] for row in rows}


async def outdate(
    connection: Executor, network: NetworkName, changed: Mapping[str, str | None]
) -> None:
    """Look these accounts up again, by id, and what their handles were or are; of known ones.

    They are locked: see `note_authors`.
    """
    ids = list(changed)
    await connection.execute(_OUTDATED_ACCOUNTS, network, ids)
    handles = [handle for handle in changed.values() if handle is not None]
    await connection.execute(_OUTDATED_HANDLES, network, ids, handles)


async def request_resync(
    connection: Executor, network: NetworkName, author_ids: Collection[str]
) -> list[str]:
    """Have the stored tweets of these authors compared with their own; returns the known authors.

    Only where a tweet was stored lately. They are locked: see `note_authors`.
    """
    rows = await connection.fetch(_REQUEST_RESYNC, network, list(author_ids))
    return [row["author_id"] for row in rows]


async def tracked_ids(
    connection: Executor, network: NetworkName, handles: Collection[str]
) -> dict[str, str]:
    """The ids of accounts that tracks name, empty where no account has the handle.

    Those that are not known yet are missing: a job looks them up.
    """
    await connection.execute(_TRACK, network, list(handles))
    rows = await connection.fetch(_TRACKED, network, list(handles))
    return {row["handle"]: row["author_id"] for row in rows}


# -- for the job that looks them up ---------------------------------------------------------------


async def due_accounts(connection: Executor, network: NetworkName, limit: int) -> Sequence[Due]:
    """Authors whose handles are to be looked up now."""
    return [Due(**row) for row in await connection.fetch(_DUE_ACCOUNTS, network, limit)]


async def due_handles(connection: Executor, network: NetworkName, limit: int) -> Sequence[Due]:
    """Handles in tracks whose ids are to be looked up now."""
    return [Due(**row) for row in await connection.fetch(_DUE_HANDLES, network, limit)]


async def due_resyncs(
    connection: Executor, network: NetworkName, limit: int
) -> list[tuple[str, datetime]]:
    """Authors whose tweets are to be compared now, and since when."""
    rows = await connection.fetch(_DUE_RESYNCS, network, limit)
    return [(row["author_id"], row["resync_at"]) for row in rows]


async def end_resync(
    connection: Executor,
    network: NetworkName,
    author_id: str,
    requested: datetime,
    again: float | None = None,
) -> None:
    """Tweets were compared; or compare `again` in so many seconds. A newer request stays."""
    await connection.execute(_RESYNCED, network, author_id, requested, again)


async def save_handle(
    connection: Executor, network: NetworkName, author_id: str, handle: str
) -> None:
    """Store the handle of an author, or INVALID."""
    await connection.execute(_FOUND_HANDLE, network, author_id, handle)


async def save_id(
    connection: Executor, network: NetworkName, handle: str, author_id: str | None, again: float
) -> None:
    """Store the id of a tracked handle, None if no account has it; to check `again` in seconds."""
    await connection.execute(_FOUND_ID, network, handle, author_id, again)


async def retry_account(
    connection: Executor, network: NetworkName, author_id: str, seconds: float
) -> None:
    """Look an author up again later."""
    await connection.execute(_ACCOUNT_FAILED, network, author_id, seconds)


async def retry_handle(
    connection: Executor, network: NetworkName, handle: str, seconds: float
) -> None:
    """Look a tracked handle up again later."""
    await connection.execute(_HANDLE_FAILED, network, handle, seconds)


async def prune_accounts(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some authors of whom no tweet was stored since then; returns how many."""
    return row_count(await connection.execute(_PRUNE_ACCOUNTS, before, limit))


async def prune_tracked(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some handles that no track has named since then; returns how many."""
    return row_count(await connection.execute(_PRUNE_TRACKED, before, limit))
