"""One browser that watches: what it asks for, and what it is told."""

import asyncio

import msgspec
from aiohttp import web

from stream.db import Database
from stream.errors import DatabaseAway, TwitterstreamError
from stream.stored import Cursor
from stream.tweet import TrackId
from web.live.channel import Viewer
from web.live.live import Live
from web.live.lookback import Past
from web.live.seats import Seat
from web.live.socket import Gone, said, send, send_last, until_over
from web.live.view import View, understood, view_of
from web.live.wire import (
    Check,
    Checked,
    Ended,
    Pause,
    Refused,
    Saying,
    Tweets,
    Watch,
    Watching,
    encode,
    wish,
)
from web.problem import Problem
from web.reading import watched

WISHES = 20  # a second; who wishes for more waits
_AWAY = "The database is away; this goes on as soon as it is back."
_NO_TRACK = "There is no such track, or it is not shared with you."
_NO_WISH = "This is no message that is understood here."


class Talk:
    """From the first wish to the end."""

    def __init__(
        self, ws: web.WebSocketResponse, seat: Seat, live: Live, database: Database
    ) -> None:
        self._ws = ws
        self._seat = seat
        self._live = live
        self._database = database
        self._viewer: Viewer | None = None
        self._past: Past | None = None
        self._changed = asyncio.Event()  # another view, or none

    async def go_on(self) -> None:
        """Until the browser is gone, or may not watch any more."""
        try:
            await until_over(self._seat, self._listen(), self._speak())
        except Problem as problem:
            await send_last(self._ws, encode(Ended(problem.code, problem.message)))
        except Gone:
            pass
        finally:
            self._leave()

    async def _listen(self) -> None:
        while (text := await said(self._ws)) is not None:
            match wish(text):
                case Watch() as asked:
                    await self._watch(asked)
                case Pause():
                    self._leave()
                case Check(query=query):
                    await self._check(query)
                case None:
                    await self._say(Refused("bad_request", _NO_WISH, None))
            await asyncio.sleep(1 / WISHES)

    async def _watch(self, asked: Watch) -> None:
        self._leave()
        try:
            await self._join(asked)
        except DatabaseAway:
            self._leave()
            await self._say(Refused("unavailable", _AWAY, None))
        except Problem as problem:
            self._leave()
            await self._say(Refused(problem.code, problem.message, problem.field))

    async def _join(self, asked: Watch) -> None:
        person, follower = self._seat.person, self._live.follower
        view = view_of(person, _track(asked.track), asked.query)
        query = view.parsed()
        since = _cursor(asked.cursor)
        scope = await self._scope(view)
        begun = await follower.begun()
        viewer = self._viewer = follower.audience.join(view, query, scope)
        follower.wake()
        self._seat.tracks = frozenset() if view.track is None else frozenset({view.track})
        await self._say(Watching(str(since or begun)))
        if since is not None and since != begun:
            self._past = await self._live.look_back(viewer.channel, since)
        self._changed.set()

    async def _scope(self, view: View) -> frozenset[TrackId]:
        """Problem for the track of somebody else."""
        if view.track is None and view.within is None:
            return frozenset()
        async with self._database.acquire() as connection:
            if view.within is not None:
                return await watched.tracks_of(connection, view.within)
            assert view.track is not None
            pair = (self._seat.person.id, view.track)
            if not await watched.still_seen(connection, [pair]):
                raise Problem("not_found", _NO_TRACK, field="track")
        return frozenset()

    def _leave(self) -> None:
        if self._viewer is not None:
            self._live.follower.audience.leave(self._viewer)
            self._viewer.feed.stir()  # who waits for more shall not wait for ever
        self._viewer = self._past = None
        self._seat.tracks = frozenset()
        self._changed.clear()

    async def _check(self, query: str) -> None:
        message = ""
        try:
            if query.strip():
                understood(query.strip())
        except Problem as problem:
            message = problem.message
        await self._say(Checked(query, message))

    async def _speak(self) -> None:
        while True:
            await self._changed.wait()
            viewer = self._viewer
            if viewer is None:
                continue
            if self._past is None:
                await viewer.feed.wait()
            if viewer is self._viewer:
                await self._say(self._news(viewer))

    def _news(self, viewer: Viewer) -> Tweets:
        """What is to be said now; it counts as said."""
        follower = self._live.follower
        tweets, missed = viewer.feed.take()
        skipped, viewer.skipped = viewer.skipped, 0
        if self._past is not None:
            tweets = self._past.tweets + tweets
            missed += self._past.missed
            skipped += self._past.skipped
            self._past = None
        return Tweets(
            tweets=[msgspec.Raw(each) for each in tweets],
            cursor=str(follower.handed or ""),
            rate=round(viewer.channel.rate.per_second(), 1),
            all=round(follower.rate.per_second(), 1),
            missed=missed,
            skipped=skipped,
            away=follower.is_away,
        )

    async def _say(self, saying: Saying) -> None:
        await send(self._ws, encode(saying))


def _track(text: str | None) -> TrackId | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise Problem("not_found", _NO_TRACK, field="track")
    return TrackId(int(text))


def _cursor(text: str | None) -> Cursor | None:
    try:
        return Cursor.parse(text) if text else None
    except TwitterstreamError as error:
        raise Problem("invalid", str(error), field="cursor") from error
