"""One browser at the Live page: what it asks for, what it missed, and what it gets."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

import msgspec
from aiohttp import web

from stream.cells import feed as merged
from stream.cells.databases import Cells
from stream.errors import DatabaseAway, TwitterstreamError
from stream.loop_budget import LoopBudget
from stream.matcher import Matcher
from stream.store import sharing
from stream.store.feed import Cursor, StoredMatch, StoredTweet
from stream.store.lanes import HOME
from stream.tweet import TrackId
from web.live.broadcaster import (
    Channel,
    Hit,
    Subscription,
    Viewer,
    subscription_of,
)
from web.live.protocol import (
    Check,
    Checked,
    Ended,
    Pause,
    Refused,
    ServerMessage,
    TweetEncoder,
    Tweets,
    Watch,
    Watching,
    decode_client_message,
    encode,
)
from web.live.socket import PeerGone, receive_text, run_until_ended, send, send_last
from web.live.viewers import Live, ViewerSlot
from web.problem import Problem
from web.queries.tweet_filter import first_match, matcher_of, parse_query
from web.routing import row_id

MESSAGES_PER_SECOND = 20  # from a browser; more are read later
CATCH_UP_SCAN_MAX = 3000  # stored tweets that are examined for one viewer
CATCH_UP_SHOWN_MAX = 100  # of those found, the newest
CATCH_UP_PAGE = 300
COUNT_MAX = 1_000_000  # tweets that are not examined are counted up to this number
_AWAY = "The database is unavailable; this continues as soon as it is back."
_NO_TRACK = "There is no such track, or it is not shared with you."
_UNKNOWN = "Unknown message."


class LiveSession:
    """The live view of a browser, from its first message to its last."""

    def __init__(self, ws: web.WebSocketResponse, slot: ViewerSlot, live: Live) -> None:
        self._ws = ws
        self._slot = slot
        self._live = live
        self._follower = live.follower
        self._viewer: Viewer | None = None
        self._missed: Missed | None = None
        self._changed = asyncio.Event()  # set while there is a subscription to send from

    async def run(self) -> None:
        """Run the session until the browser disconnects, or its user may no longer watch."""
        try:
            await run_until_ended(self._slot, self._receive(), self._send_news())
        except Problem as problem:
            await send_last(self._ws, encode(Ended(problem.code, problem.message)))
        except PeerGone:
            pass
        finally:
            self._unsubscribe()

    async def _receive(self) -> None:
        while (text := await receive_text(self._ws)) is not None:
            match decode_client_message(text):
                case Watch() as asked:
                    await self._watch(asked)
                case Pause():
                    self._unsubscribe()
                case Check(query=query):
                    await self._check(query)
                case None:
                    await self._send(Refused("bad_request", _UNKNOWN, None))
            await asyncio.sleep(1 / MESSAGES_PER_SECOND)

    async def _watch(self, asked: Watch) -> None:
        self._unsubscribe()
        try:
            await self._subscribe(asked)
        except DatabaseAway:
            self._unsubscribe()
            await self._send(Refused("unavailable", _AWAY, None))
        except Problem as problem:
            self._unsubscribe()
            await self._send(Refused(problem.code, problem.message, problem.field))

    async def _subscribe(self, asked: Watch) -> None:
        follower = self._follower
        subscription = subscription_of(self._slot.person, _track(asked.track), asked.query)
        await follower.budget.wait_turn()
        with follower.budget.spending():
            query = subscription.parsed()
        since = _cursor(asked.cursor)
        scope = await self._scope(subscription)
        start = await follower.start_cursor()
        viewer = self._viewer = follower.broadcaster.subscribe(subscription, query, scope)
        follower.start()
        track = subscription.track
        self._slot.tracks = frozenset() if track is None else frozenset({track})
        await self._send(Watching(str(since or start)))
        if since is not None and since != start:
            self._missed = await self._missed_since(viewer.channel, since)
        self._changed.set()

    async def _scope(self, subscription: Subscription) -> frozenset[TrackId]:
        """The tracks it is limited to. Problem for a track that the user does not see."""
        if subscription.track is None and subscription.within is None:
            return frozenset()
        async with self._live.database.acquire() as connection:
            if subscription.within is not None:
                return frozenset(await sharing.visible_tracks(connection, subscription.within))
            assert subscription.track is not None
            user_id, track = self._slot.person.id, subscription.track
            if not await sharing.visible_among(connection, user_id, [track]):
                raise Problem("not_found", _NO_TRACK, field="track")
        return frozenset()

    def _unsubscribe(self) -> None:
        if self._viewer is not None:
            self._follower.broadcaster.unsubscribe(self._viewer)
            self._viewer.queue.wake()  # `_send_news` may wait for it
        self._viewer = self._missed = None
        self._slot.tracks = frozenset()
        self._changed.clear()

    async def _check(self, query: str) -> None:
        message = ""
        await self._follower.budget.wait_turn()
        try:
            if query.strip():
                with self._follower.budget.spending():
                    parse_query(query.strip())
        except Problem as problem:
            message = problem.message
        await self._send(Checked(query, message))

    async def _send_news(self) -> None:
        while True:
            await self._changed.wait()
            viewer = self._viewer
            if viewer is None:
                continue
            if self._missed is None:
                await viewer.queue.wait()
            await self._follower.budget.wait_turn()
            if viewer is self._viewer:
                with self._follower.budget.spending():
                    message = encode(self._take_news(viewer))
                await send(self._ws, message)

    def _take_news(self, viewer: Viewer) -> Tweets:
        """Take what is new for the viewer; it counts as sent."""
        tweets, missed = viewer.queue.take()
        skipped, viewer.skipped = viewer.skipped, 0
        if self._missed is not None:
            tweets = self._missed.tweets + tweets
            missed += self._missed.not_shown
            skipped += self._missed.skipped
            self._missed = None
        return Tweets(
            tweets=[msgspec.Raw(each) for each in tweets],
            cursor=str(self._follower.delivered or ""),
            rate=round(viewer.channel.rate.per_second(), 1),
            all=round(self._follower.rate.per_second(), 1),
            missed=missed,
            skipped=skipped,
            away=HOME in self._follower.away,
            incomplete=sorted(self._follower.away - {HOME}),
        )

    async def _send(self, message: ServerMessage) -> None:
        await send(self._ws, encode(message))

    async def _missed_since(self, channel: Channel, cursor: Cursor) -> "Missed":
        """What the channel would have shown since; when too many catch up, only how much it was."""
        live = self._live
        if live.catching_up.is_full():
            home = live.cells.home
            async with home.acquire() as connection, live.cells.reading(connection) as cells:
                number = await merged.count(cells, connection, cursor, COUNT_MAX)
                return Missed([], 0, number)
        async with live.catching_up.admit(Problem("too_many", _AWAY)):
            return await missed_since(live.cells, channel, cursor, self._follower.budget)


def _track(text: str | None) -> TrackId | None:
    if not text:
        return None
    if not (number := row_id(text)):
        raise Problem("not_found", _NO_TRACK, field="track")
    return TrackId(number)


def _cursor(text: str | None) -> Cursor | None:
    try:
        return Cursor.parse(text) if text else None
    except TwitterstreamError as error:
        raise Problem("invalid", str(error), field="cursor") from error


# -- catching up ----------------------------------------------------------------------------------


class Missed(msgspec.Struct, frozen=True):
    """What a viewer missed who paused, or whose connection was cut: the newest tweets of it."""

    tweets: list[bytes]
    not_shown: int  # other tweets of the view
    skipped: int  # stored tweets that were not examined


async def missed_since(
    cells: Cells, channel: Channel, cursor: Cursor, budget: LoopBudget
) -> Missed:
    """Tweets that the channel would have shown since this cursor."""
    async with cells.home.acquire() as connection, cells.reading(connection) as own:
        begin = await merged.newest(own, connection, cursor, CATCH_UP_SCAN_MAX)
        skipped = 0
        if begin != cursor:
            stored = await merged.count(own, connection, cursor, COUNT_MAX)
            skipped = max(stored - CATCH_UP_SCAN_MAX, 1)
    newest: deque[Hit] = deque(maxlen=CATCH_UP_SHOWN_MAX)
    number = 0
    async for hit in _hits_since(cells, channel, begin, budget):
        newest.append(hit)
        number += 1
    encoder = TweetEncoder()
    tweets = []
    for hit in newest:
        await budget.wait_turn()
        with budget.spending():
            tweets.append(encoder.encode(hit.tweet, hit.why))
    return Missed(tweets, number - len(tweets), skipped)


async def _hits_since(
    cells: Cells, channel: Channel, cursor: Cursor, budget: LoopBudget
) -> AsyncIterator[Hit]:
    track, query = channel.subscription.track, channel.query
    matcher = None if query is None else await asyncio.to_thread(matcher_of, query)
    more, left = True, CATCH_UP_SCAN_MAX
    while more and left > 0:
        async with cells.home.acquire() as connection, cells.reading(connection) as own:
            tracks = None if track is None else [track]
            found = await merged.after(
                own, connection, cursor, CATCH_UP_PAGE, tracks, with_matches=True
            )
        page, matches = found.page, found.matches
        for tweet in page.tweets:
            await budget.wait_turn()
            with budget.spending():
                hit = _hit(channel, matcher, tweet, matches.get(tweet.id, []))
            if hit is not None:
                yield hit
        cursor, more, left = page.cursor, page.more, left - CATCH_UP_PAGE


def _hit(
    channel: Channel,
    matcher: Matcher | None,
    tweet: StoredTweet,
    credited: Sequence[StoredMatch],
) -> Hit | None:
    """The tweet, and why the channel shows it; None when it does not."""
    if not channel.admits([match.track_id for match in credited]):
        return None
    track = channel.subscription.track
    if track is not None:
        return Hit(tweet, next((m for m in credited if m.track_id == track), None))
    if matcher is None:
        return Hit(tweet, None)
    match = first_match(matcher, tweet)
    return None if match is None else Hit(tweet, match)
