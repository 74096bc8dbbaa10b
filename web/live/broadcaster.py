"""Route newly stored tweets to the channels of live viewers, and to the queries of programs.

All with the same subscription share a channel: each tweet is selected, counted and encoded once for
it. Every viewer has a queue of its own.
"""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from stream.loop_budget import LoopBudget
from stream.matcher import Matcher
from stream.networks.registry import decode_stored
from stream.query import Query
from stream.store.feed import StoredMatch, StoredTweet
from stream.tweet import Match, TrackId, TweetId, UserId
from web.live.pacing import RateMeter, Sampler
from web.live.protocol import TweetEncoder, Why
from web.person import Person
from web.queries.tweet_filter import parse_query

Matches = Mapping[TweetId, Sequence[StoredMatch]]
MatchedQueries = dict[TweetId, set[TrackId]]  # by tweet: the numbers of programs' queries
QUEUE_MAX = 200  # tweets that wait for a viewer
QUEUE_BYTES_MAX = 256 * 1024


class Subscription(msgspec.Struct, frozen=True):
    """A track, or what a query finds, or everything; equal for all who watch the same.

    `within`: only tweets of tracks that this user sees.
    """

    track: TrackId | None = None
    query: str = ""
    within: UserId | None = None

    def parsed(self) -> Query | None:
        """Parse the query of a subscription; None when it has none. Problem for an invalid one."""
        return parse_query(self.query) if self.track is None and self.query else None


def subscription_of(person: Person, track: TrackId | None, query: str) -> Subscription:
    """As in the API: a viewer sees what is shared with them, others everything that is stored."""
    if track is not None:
        return Subscription(track=track)
    within = person.id if person.role == "viewer" else None
    return Subscription(query=query.strip(), within=within)


class Hit(NamedTuple):
    """A tweet of a subscription, and why it belongs to it."""

    tweet: StoredTweet
    why: Why


class ViewerQueue:
    """Encoded tweets that wait for one viewer. What does not fit drops the oldest, and counts."""

    def __init__(self, items_max: int = QUEUE_MAX, bytes_max: int = QUEUE_BYTES_MAX) -> None:
        self.items_max = items_max
        self.bytes_max = bytes_max
        self._items: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._woken = asyncio.Event()

    def push(self, items: Iterable[bytes]) -> None:
        for item in items:
            self._items.append(item)
            self._bytes += len(item)
        while len(self._items) > self.items_max or self._bytes > self.bytes_max:
            self._bytes -= len(self._items.popleft())
            self._dropped += 1
        self._woken.set()

    def wake(self) -> None:
        """End `wait` although there is no new tweet: the state has changed."""
        self._woken.set()

    async def wait(self) -> None:
        """Wait until something was pushed, or `wake` was called."""
        await self._woken.wait()

    def take(self) -> tuple[list[bytes], int]:
        """Take all waiting tweets, and the number dropped since the last time."""
        items, dropped = list(self._items), self._dropped
        self._items.clear()
        self._bytes = self._dropped = 0
        self._woken.clear()
        return items, dropped


class Viewer:
    """One viewer of a channel, and what waits for them."""

    def __init__(self, channel: "Channel") -> None:
        self.channel = channel
        self.queue = ViewerQueue()
        self.skipped = 0  # stored tweets that were not examined, and not reported yet


class Channel:
    """A subscription, and its viewers."""

    def __init__(
        self, subscription: Subscription, query: Query | None, query_number: TrackId
    ) -> None:
        self.subscription = subscription
        self.query = query
        self.query_number = query_number  # under which the matcher knows its query
        self.scope: frozenset[TrackId] = frozenset()  # of `subscription.within`
        self.viewers: set[Viewer] = set()
        self.rate = RateMeter()
        self._sampler = Sampler()

    def admits(self, credited: Sequence[TrackId]) -> bool:
        """Whether its viewers may see a tweet of these tracks."""
        return self.subscription.within is None or not self.scope.isdisjoint(credited)

    def deliver(self, hits: Sequence[Hit], encoder: TweetEncoder) -> None:
        """Push a sample of the new tweets to every viewer."""
        self.rate.add(len(hits))
        if chosen := self._sampler.sample(hits):
            encoded = [encoder.encode(hit.tweet, hit.why) for hit in chosen]
            for viewer in self.viewers:
                viewer.queue.push(encoded)

    def wake(self) -> None:
        for viewer in self.viewers:
            viewer.queue.wake()


class Broadcaster:
    """All channels by subscription, and all queries together as one matcher."""

    def __init__(self, budget: LoopBudget) -> None:
        self.budget = budget
        self._channels: dict[Subscription, Channel] = {}
        self._numbers = itertools.count(1)
        self._matcher = Matcher(())
        self._numbered: dict[TrackId, Channel] = {}
        self._queries: dict[Query, TrackId] = {}  # of programs
        self._programs: Counter[Query] = Counter()  # how many have the same query
        self._is_stale = False

    @property
    def channels(self) -> Collection[Channel]:
        return self._channels.values()

    @property
    def needs_matches(self) -> bool:
        """Whether some channel must know which tracks a tweet belongs to."""
        return any(each.track is not None or each.within is not None for each in self._channels)

    def subscribe(
        self, subscription: Subscription, query: Query | None, scope: frozenset[TrackId]
    ) -> Viewer:
        """Add a viewer. `scope`: the tracks that a subscription with `within` is limited to."""
        channel = self._channels.get(subscription)
        if channel is None:
            channel = Channel(subscription, query, TrackId(next(self._numbers)))
            self._channels[subscription] = channel
            self._is_stale |= query is not None
        channel.scope = scope
        viewer = Viewer(channel)
        channel.viewers.add(viewer)
        return viewer

    def unsubscribe(self, viewer: Viewer) -> None:
        channel = viewer.channel
        channel.viewers.discard(viewer)
        if not channel.viewers and self._channels.get(channel.subscription) is channel:
            del self._channels[channel.subscription]
            self._is_stale |= channel.query is not None

    def add_query(self, query: Query) -> TrackId:
        """The number under which `broadcast` reports what this query of a program matches."""
        self._programs[query] += 1
        if query not in self._queries:
            self._queries[query] = TrackId(next(self._numbers))
            self._is_stale = True
        return self._queries[query]

    def remove_query(self, query: Query) -> None:
        """A program with this query has disconnected."""
        self._programs[query] -= 1
        if not self._programs[query]:
            del self._programs[query], self._queries[query]
            self._is_stale = True

    def wake(self) -> None:
        """Let every session send its state."""
        for channel in self.channels:
            channel.wake()

    def note_skipped(self, number: int) -> None:
        """Report to every viewer how many stored tweets were not examined."""
        for channel in self.channels:
            for viewer in channel.viewers:
                viewer.skipped += number
        self.wake()

    async def broadcast(
        self, tweets: Sequence[StoredTweet], matches: Matches, *, is_late: bool = False
    ) -> MatchedQueries:
        """Deliver these tweets to their channels, and yield to the event loop in between.

        Returns which tweets match which queries of programs. `is_late`: viewers skip these tweets.
        """
        await self._rebuild_matcher()
        hits, matched = await self._route(tweets, matches)
        if is_late:
            self.note_skipped(len(tweets))
            return matched
        encoder = TweetEncoder()
        for channel, its in hits.items():
            await self.budget.wait_turn()
            with self.budget.spending():
                channel.deliver(its, encoder)
        return matched

    async def _rebuild_matcher(self) -> None:
        """Rebuild the matcher in a thread: for long queries it takes a while."""
        if not self._is_stale:
            return
        self._is_stale = False
        numbered = {each.query_number: each for each in self.channels if each.query is not None}
        queries = [(number, each.query) for number, each in numbered.items() if each.query]
        queries += [(number, query) for query, number in self._queries.items()]
        self._matcher = await asyncio.to_thread(Matcher, queries)
        self._numbered = numbered

    async def _route(
        self, tweets: Sequence[StoredTweet], matches: Matches
    ) -> tuple[dict[Channel, list[Hit]], MatchedQueries]:
        """The tweets of each channel, and which match which queries of programs."""
        channels = list(self.channels)
        of_all = [
            each for each in channels if each.query is None and each.subscription.track is None
        ]
        of_tracks = {
            each.subscription.track: each
            for each in channels
            if each.subscription.track is not None
        }
        hits: dict[Channel, list[Hit]] = {each: [] for each in channels}
        matched: MatchedQueries = {}
        for tweet in tweets:
            await self.budget.wait_turn()
            with self.budget.spending():
                credited = matches.get(tweet.id, ())
                tracks = [match.track_id for match in credited]
                for channel in of_all:
                    if channel.admits(tracks):
                        hits[channel].append(Hit(tweet, None))
                for match in credited:
                    if (of_track := of_tracks.get(match.track_id)) is not None:
                        hits[of_track].append(Hit(tweet, match))
                for why in self._match(tweet):
                    of_query = self._numbered.get(why.track_id)
                    if of_query is None:  # a program's
                        matched.setdefault(tweet.id, set()).add(why.track_id)
                    elif of_query in hits and of_query.admits(tracks):
                        hits[of_query].append(Hit(tweet, why))
        return hits, matched

    def _match(self, tweet: StoredTweet) -> Sequence[Match]:
        """The queries that the tweet matches."""
        if not (self._numbered or self._queries):
            return ()
        message = decode_stored(tweet.network, tweet.doc)
        return () if message is None else self._matcher.match(message)
