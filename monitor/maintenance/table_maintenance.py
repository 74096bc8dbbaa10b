"""Creates partitions ahead of time, and deletes rows by age as the settings under `retention` say.

How long tweets are kept is decided in `retention`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import msgspec

from monitor.jobs import Leader, PeriodicJob
from stream.config import RetentionSettings, Settings
from stream.db import Database, Executor, transaction
from stream.errors import TwitterstreamError
from stream.keys import EPOCH, tweet_key
from stream.networks.registry import UNFILTERED_NETWORKS
from stream.store import (
    accounts,
    alerts,
    archives,
    author_tombstones,
    consumer_cursors,
    daemons,
    deletion_log,
    deletions,
    events,
    exports,
    gaps,
    ingest_log,
    look_backs,
    partitions,
    rollups,
    sessions,
    sinks,
    sql_roles,
    track_history,
    tweet_ids,
    users,
)
from stream.store.consumer_cursors import NATIVE_IDS
from stream.store.tweet_ids import ExpiredIds
from stream.tweet import LaneId, TweetId

DAYS_AHEAD = 7  # after today
PARTITIONS_INTERVAL = 600.0  # seconds
# A partition that was detached with its rows is read completely before it is attached again; the
# writer of that day waits meanwhile.
PARTITIONS_TIMEOUT = 3600.0  # seconds
PRUNE_INTERVAL = 3600.0  # seconds
PRUNE_TIMEOUT = 1800.0  # seconds
AUTHORS_INTERVAL = 2.0  # seconds
AUTHORS_TIMEOUT = 600.0  # seconds; the next run continues

LOGINS_INTERVAL = 30.0  # seconds

BATCH_ROWS = 10_000  # in one statement: no lock is held for long
PAUSE_BETWEEN_BATCHES = 0.05  # seconds
ALERT_DAYS = 365
EXPIRED_DAYS = 1
RUN_DAYS = 30
TRACKED_HANDLE_DAYS = 2
DAEMON_DAYS = 1  # of daemons that did not stop normally, and of sinks that were turned off

ID_PAGES_PER_TRANSACTION = 1000  # 8 MB
ID_PAGES_PER_RUN_MIN = 4000
ID_RUNS_PER_DAY = 24  # in which all of the table is read

Prune: TypeAlias = Callable[[Executor, datetime, int], Awaitable[int]]


class TableMaintenance:
    """The periodic jobs for tables: partitions, pruning, and deletions of whole authors."""

    def __init__(self, database: Database, settings: Settings, leader: Leader) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        self.transaction_max = sql_roles.TRANSACTION_MAX  # of a user's login
        self.pruning = PeriodicJob("pruning", PRUNE_INTERVAL, self._prune, limit=PRUNE_TIMEOUT)

    def jobs(self) -> list[PeriodicJob]:
        return [
            PeriodicJob("logins of users", LOGINS_INTERVAL, self._end_long_transactions),
            PeriodicJob("partitions", PARTITIONS_INTERVAL, self._ensure, limit=PARTITIONS_TIMEOUT),
            PeriodicJob(
                "author deletions", AUTHORS_INTERVAL, self._delete_authors, limit=AUTHORS_TIMEOUT
            ),
            self.pruning,
        ]

    async def _end_long_transactions(self) -> None:
        if self.leader.leads:
            async with self.database.acquire() as connection:
                await sql_roles.end_long_transactions(connection, self.transaction_max)

    async def _ensure(self) -> None:
        await ensure_partitions(self.database)

    async def _delete_authors(self) -> None:
        if self.leader.leads:
            erase = self.settings.deletions == "erase"
            await deletions.apply_to_authors(self.database, erase=erase)

    async def _prune(self) -> None:
        if self.leader.leads:
            await hold_stored(self.database)
            await erase_hidden(self.database, self.settings.retention)
            await prune(self.database, self.settings)
            await prune_ids(self.database, self.settings.retention)


async def ensure_partitions(database: Database) -> None:
    """Create or repair the partitions of today and the next days.

    Writers create theirs themselves: this spares them the work, and repairs early.
    """
    today = datetime.now(UTC).date()
    failed: TwitterstreamError | None = None
    for ahead in range(DAYS_AHEAD + 1):
        try:
            async with (
                database.long_running(statement_timeout=f"{PARTITIONS_TIMEOUT:.0f}s") as connection,
                transaction(connection),
            ):
                await partitions.ensure_days(connection, [today + timedelta(days=ahead)])
        except TwitterstreamError as error:  # the other days are still to do
            failed = failed or error
    if failed is not None:
        raise failed


# -- pruning --------------------------------------------------------------------------------------


class PruneRule(msgspec.Struct, frozen=True):
    """A table to prune, and after how many days; 0: never."""

    prune: Prune  # rows older than a time, at most so many
    days: float


def prune_rules(settings: Settings) -> Sequence[PruneRule]:
    """Every table that is pruned."""
    keep = settings.retention
    return (
        PruneRule(rollups.prune_track_minutes, keep.track_minutes_days),
        PruneRule(rollups.prune_source_minutes, keep.track_minutes_days),
        PruneRule(events.prune, keep.events_days),
        PruneRule(gaps.prune_track_gaps, keep.gaps_days),
        PruneRule(ingest_log.prune_rejects, keep.rejects_days),
        PruneRule(rollups.prune_track_hours, keep.counts_days),
        PruneRule(rollups.prune_track_days, keep.counts_days),
        PruneRule(rollups.prune_source_hours, keep.counts_days),
        PruneRule(gaps.prune_gaps, keep.gaps_days),
        PruneRule(track_history.prune, keep.history_days),
        PruneRule(look_backs.prune, keep.history_days),
        PruneRule(exports.prune, keep.history_days),
        PruneRule(author_tombstones.prune_author_tombstones, keep.deletions_days),
        PruneRule(deletion_log.prune, keep.deletions_days),
        PruneRule(author_tombstones.prune_unheld_tombstones, keep.unseen_deletions_hours / 24),
        PruneRule(accounts.prune_accounts, keep.accounts_days),
        PruneRule(accounts.prune_tracked, TRACKED_HANDLE_DAYS),
        PruneRule(sessions.prune_sessions, EXPIRED_DAYS),
        PruneRule(users.prune_invites, EXPIRED_DAYS),
        PruneRule(ingest_log.prune_runs, RUN_DAYS),
        PruneRule(archives.prune_changes, 1),  # of any age
        PruneRule(alerts.prune_alerts, ALERT_DAYS),
        PruneRule(alerts.prune_mutes, ALERT_DAYS),
        PruneRule(daemons.prune, DAEMON_DAYS),
        PruneRule(sinks.prune, DAEMON_DAYS),
    )


async def prune(database: Database, settings: Settings) -> None:
    """Delete what is older than the settings say, a batch at a time."""
    now = datetime.now(UTC)
    for rule in prune_rules(settings):
        if rule.days:
            await _prune_table(database, rule, now - timedelta(rule.days))


async def _prune_table(database: Database, rule: PruneRule, before: datetime) -> None:
    while True:
        async with database.acquire() as connection:
            if not await rule.prune(connection, before, BATCH_ROWS):
                return
        await asyncio.sleep(PAUSE_BETWEEN_BATCHES)


# -- restricted accounts --------------------------------------------------------------------------


async def hold_stored(database: Database) -> None:
    """Apply restrictions of authors whose first tweet was stored in the same moment."""
    rule = PruneRule(author_tombstones.hold_stored, 0)
    await _prune_table(database, rule, datetime.now(UTC))


async def erase_hidden(database: Database, keep: RetentionSettings) -> None:
    """Have the tweets of accounts erased that have been hidden for too long."""
    rule = PruneRule(author_tombstones.erase_hidden, keep.hidden_days)
    if rule.days:
        await _prune_table(database, rule, datetime.now(UTC) - timedelta(rule.days))


# -- native ids -----------------------------------------------------------------------------------


async def prune_ids(database: Database, keep: RetentionSettings) -> None:
    """Delete expired rows from the next part of the table of native ids.

    It has no index by age, which would slow every writer: the table is read in the order of its
    pages, all of it once a day.
    """
    async with database.acquire() as connection:
        expired = await _expired_ids(connection, keep)
        pages = await tweet_ids.pages_of_ids(connection)
        page = int(await consumer_cursors.read(connection, NATIVE_IDS) or 0)
    page = page if page < pages else 0
    end = min(pages, page + max(ID_PAGES_PER_RUN_MIN, pages // ID_RUNS_PER_DAY + 1))
    while page < end:
        until = min(end, page + ID_PAGES_PER_TRANSACTION)
        async with database.transaction() as connection:
            await tweet_ids.prune_ids(connection, page, until, expired)
            await consumer_cursors.save(connection, NATIVE_IDS, str(until))
        page = until
        await asyncio.sleep(PAUSE_BETWEEN_BATCHES)


async def _expired_ids(connection: Executor, keep: RetentionSettings) -> ExpiredIds:
    now = datetime.now(UTC)
    stored = await partitions.days(connection)
    dropped = await archives.days(connection, dropped_within=keep.ids_days)
    partial = await archives.partially_expired_before(connection, keep.ids_days)
    # Without an archive no record says when a day was dropped; it was when its tweets expired.
    ids_before = now - timedelta(days=keep.tweets_days + keep.ids_days)
    deletions_before = now - timedelta(days=keep.deletions_days)
    return ExpiredIds(
        tweets_before=_key(ids_before) if keep.ids_days else TweetId(0),
        kept_days=stored + dropped,
        partially_expired_days=partial if keep.ids_days else [],
        deletions_before=deletions_before if keep.deletions_days else EPOCH,
        archived_days=await archives.days(connection),
        unfiltered_networks=UNFILTERED_NETWORKS,
        unseen_before=now - timedelta(hours=keep.unseen_deletions_hours),
    )


def _key(at: datetime) -> TweetId:
    return tweet_key(round((at - EPOCH).total_seconds() * 1e6), LaneId(0))
