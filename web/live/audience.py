"""Who watches what, and what of the new tweets is for whom."""

import asyncio
import itertools
import time
from collections.abc import Collection, Mapping, Sequence

from stream.matcher import Matcher
from stream.query import Query
from stream.stored import StoredMatch, StoredTweet
from stream.tweet import TrackId, TweetId
from web.live.channel import Channel, Found, Viewer
from web.live.view import View, message_of
from web.live.wire import Writer

MANY = 50  # queries; building a matcher for more is done in a thread
SLICE = 0.004  # seconds of work before others have their turn

Matches = Mapping[TweetId, Sequence[StoredMatch]]


class Audience:
    """Viewers by what they watch; their queries are one matcher."""

    def __init__(self) -> None:
        self._channels: dict[View, Channel] = {}
        self._numbers = itertools.count(1)
        self._matcher = Matcher(())
        self._numbered: dict[TrackId, Channel] = {}
        self._is_stale = False
        self._turn = 0.0

    @property
    def channels(self) -> Collection[Channel]:
        return self._channels.values()

    @property
    def needs_matches(self) -> bool:
        """Whether anybody must be asked which tracks a tweet belongs to."""
        return any(view.track is not None or view.within is not None for view in self._channels)

    def join(self, view: View, query: Query | None, scope: frozenset[TrackId]) -> Viewer:
        """`scope`: the tracks that a view with `within` is limited to."""
        channel = self._channels.get(view)
        if channel is None:
            channel = Channel(view, query, TrackId(next(self._numbers)))
            self._channels[view] = channel
            self._is_stale |= query is not None
        channel.scope = scope
        viewer = Viewer(channel)
        channel.viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        channel = viewer.channel
        channel.viewers.discard(viewer)
        if not channel.viewers and self._channels.get(channel.view) is channel:
            del self._channels[channel.view]
            self._is_stale |= channel.query is not None

    def stir(self) -> None:
        """There is something to say to everybody."""
        for channel in self.channels:
            channel.stir()

    def skip(self, number: int) -> None:
        """So many stored tweets were not looked at."""
        for channel in self.channels:
            for viewer in channel.viewers:
                viewer.skipped += number
        self.stir()

    async def hand_out(self, tweets: Sequence[StoredTweet], matches: Matches) -> None:
        """Give everybody his own, and the loop to others again and again."""
        await self._renew()
        found = await self._sort(tweets, matches)
        writer = Writer()
        for channel, its in found.items():
            channel.hand(its, writer)
            await self._breathe()

    async def _renew(self) -> None:
        if not self._is_stale:
            return
        self._is_stale = False
        numbered = {each.number: each for each in self.channels if each.query is not None}
        queries = [(number, each.query) for number, each in numbered.items() if each.query]
        if len(queries) > MANY:
            self._matcher = await asyncio.to_thread(Matcher, queries)
        else:
            self._matcher = Matcher(queries)
        self._numbered = numbered

    async def _sort(
        self, tweets: Sequence[StoredTweet], matches: Matches
    ) -> dict[Channel, list[Found]]:
        """Which tweets are for which channel."""
        channels = list(self.channels)
        plain = [each for each in channels if each.query is None and each.view.track is None]
        of_tracks = {each.view.track: each for each in channels if each.view.track is not None}
        found: dict[Channel, list[Found]] = {each: [] for each in channels}
        self._turn = time.monotonic()
        for tweet in tweets:
            credited = matches.get(tweet.id, ())
            tracks = [match.track_id for match in credited]
            for channel in plain:
                if channel.admits(tracks):
                    found[channel].append(Found(tweet, None))
            for match in credited:
                if (of_track := of_tracks.get(match.track_id)) is not None:
                    found[of_track].append(Found(tweet, match))
            for channel, why in self._asked_for(tweet):
                if channel in found and channel.admits(tracks):
                    found[channel].append(why)
            await self._breathe()
        return found

    def _asked_for(self, tweet: StoredTweet) -> list[tuple[Channel, Found]]:
        """Whose queries it meets."""
        if not self._numbered or (message := message_of(tweet)) is None:
            return []
        return [
            (self._numbered[match.track_id], Found(tweet, match))
            for match in self._matcher.match(message)
        ]

    async def _breathe(self) -> None:
        if time.monotonic() - self._turn > SLICE:
            await asyncio.sleep(0)
            self._turn = time.monotonic()
