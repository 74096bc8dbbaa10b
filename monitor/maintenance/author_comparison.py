"""Compares stored posts of Bluesky with those on their authors' servers, on the leader.

After a `sync` event posts may have been changed or deleted without a message of their own. A
look-back meets events about accounts that may be out of date: whether an account is hidden now is
for its server to say.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from monitor.jobs import Leader, PeriodicJob
from stream import jsontext
from stream.backoff import Clock, SlidingWindowLimiter, wait_turn
from stream.batch import ControlItem
from stream.config import Settings
from stream.control_items import restrictions
from stream.db import Database
from stream.errors import ConnectError, Reject
from stream.incoming_tweets import replace_edited
from stream.keys import tweet_key
from stream.networks.bluesky.decode import decode
from stream.networks.bluesky.identity import Identities
from stream.networks.bluesky.repository import (
    AccountHidden,
    Repository,
    StoredPost,
    message_of,
)
from stream.row_locks import lock_authors
from stream.store import accounts, author_tombstones, deletions, tweets
from stream.store.rollups import CountChanges
from stream.store.tweets import IncomingTweet
from stream.tweet import (
    AccountState,
    AccountStatus,
    LaneId,
    Match,
    NativeId,
    NetworkName,
    Tweet,
)

T = TypeVar("T")
logger = logging.getLogger(__name__)

INTERVAL = 10.0  # seconds
RUN_TIMEOUT = 600.0  # seconds; the next run continues
BATCH = 20  # authors read at once
REQUESTS, WINDOW = 300, 300.0  # a server allows 3,000 in 300 s
PAGES_MAX = 20  # of 100 posts
DAYS = 7  # of stored posts
RETRY = 900.0  # seconds
HIDDEN_AGAIN = 24 * 3600.0  # seconds until a hidden account is looked at again
NETWORK: NetworkName = "bluesky"


class AuthorComparison:
    """The periodic job; `match` finds the tracks of a new version."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        leader: Leader,
        match: Callable[[Tweet], Sequence[Match]],
    ) -> None:
        self.database = database
        self.leader = leader
        self.match = match
        self.settings = settings.bluesky
        self.clock = Clock()
        self.identities = Identities(settings.bluesky, self.clock)
        self.limiter = SlidingWindowLimiter(REQUESTS, WINDOW)
        self.erase = settings.deletions == "erase"
        self.job = PeriodicJob("author comparison", INTERVAL, self.work, limit=RUN_TIMEOUT)

    async def work(self) -> None:
        """Compare the authors that are due."""
        if not self.leader.leads:
            return
        async with self.database.acquire() as connection:
            due = await accounts.due_resyncs(connection, NETWORK, BATCH)
        for author_id, requested in due:
            again = None
            try:
                await self._compare(author_id)
            except AccountHidden as error:
                await self._set_state(author_id, error.state)
                again = HIDDEN_AGAIN
            except ConnectError as error:
                again = RETRY if error.retry != "final" else None
                extra = {"author": author_id, "why": error.reason, "retry_in": again}
                logger.info("posts cannot be compared", extra=extra)
            async with self.database.acquire() as connection:
                await accounts.end_resync(connection, NETWORK, author_id, requested, again)

    async def _compare(self, author_id: str) -> None:
        since = datetime.now(UTC) - timedelta(days=DAYS)
        async with self.database.acquire() as connection:
            found = await tweets.versions_of_author(connection, NETWORK, author_id, since)
        stored = {_key_of(native_id): version for native_id, version in found.items()}
        kept, complete_from = await self._posts(author_id, min(stored, default=""))
        if not stored or not kept:
            return  # as of an account that is moving to another server: nothing is concluded
        await self._set_state(author_id, "active")
        now = datetime.now(UTC)
        gone = {
            NativeId(f"{key}/{author_id}"): now
            for key in stored
            if key not in kept and key >= complete_from
        }
        changed = [
            kept[key]
            for key, version in stored.items()
            if key in kept and version not in (None, kept[key].cid)
        ]
        edits = self._edits(author_id, changed, now)
        track_counts = CountChanges()
        async with self.database.transaction() as connection:
            if gone:
                await deletions.delete(connection, NETWORK, gone, track_counts, erase=self.erase)
            if edits:
                await replace_edited(connection, edits, NETWORK, track_counts)
            await track_counts.save(connection)

    async def _set_state(self, author_id: str, state: AccountState) -> None:
        """Hide the stored posts of an account, or show them again."""
        item = ControlItem(AccountStatus(author_id, state), datetime.now(UTC))
        async with self.database.transaction() as connection:
            authors = await lock_authors(connection, NETWORK, (), {author_id}, are_listed=True)
            known = authors.restrictions.get(author_id)
            is_hidden = known is not None and bool(known.withheld)
            if is_hidden == (state == "active"):
                await author_tombstones.restrict_authors(
                    connection, NETWORK, dict(restrictions(item))
                )

    async def _posts(self, author_id: str, first: str) -> tuple[dict[str, StoredPost], str]:
        """The author's posts by key, the newest first, and the key from which on none is missing.

        They are read back to the key `first`.
        """
        kept: dict[str, StoredPost] = {}
        cursor = ""
        server = await self._limited(self.identities.pds_of(author_id)) if first else None
        if server is None:
            return {}, ""
        repository = Repository(self.settings, self.clock, author_id, server)
        for _ in range(PAGES_MAX):
            page = await self._limited(repository.page(cursor))
            kept |= {each.rkey: each for each in page.posts}
            if not page.cursor:
                return kept, ""
            if min(kept) <= first:
                break
            cursor = page.cursor
        return kept, min(kept, default="")

    async def _limited(self, request: Awaitable[T]) -> T:
        """Make a request when the rate limit allows it."""
        await wait_turn(self.limiter, self.clock)
        return await request

    def _edits(
        self, author_id: str, changed: Sequence[StoredPost], now: datetime
    ) -> dict[NativeId, IncomingTweet]:
        edits: dict[NativeId, IncomingTweet] = {}
        for each in changed:
            try:
                message = message_of(author_id, each, "update", now.timestamp())
                doc, repaired = jsontext.sanitize_for_jsonb(message)
                tweet = decode(doc)
            except Reject as reject:
                extra = {"post": each.uri, "why": str(reject)}
                logger.info("a new version of a post is not readable", extra=extra)
                continue
            assert isinstance(tweet, Tweet)
            key = tweet_key(round(now.timestamp() * 1e6), LaneId(0))  # the stored one stays
            minute = now.replace(second=0, microsecond=0)
            edits[tweet.native_id] = IncomingTweet(
                key, now, minute, tweet, doc, self.match(tweet), repaired
            )
        return edits


def _key_of(native_id: NativeId) -> str:
    """The record's key, which rises with time."""
    return native_id.partition("/")[0]
