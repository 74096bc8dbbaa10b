"""All who watch the same: counted, chosen and written once for all of them."""

from collections.abc import Sequence
from typing import NamedTuple

from stream.query import Query
from stream.stored import StoredTweet
from stream.tweet import TrackId
from web.live.feed import Feed
from web.live.rate import Rate, Sample
from web.live.view import View
from web.live.wire import Why, Writer


class Found(NamedTuple):
    """A tweet that a view wants, and why."""

    tweet: StoredTweet
    why: Why


class Viewer:
    """One who watches: his view, and what waits for him."""

    def __init__(self, channel: "Channel") -> None:
        self.channel = channel
        self.feed = Feed()
        self.skipped = 0  # stored tweets that were not looked at, and he was not told yet


class Channel:
    """A view, and who has it."""

    def __init__(self, view: View, query: Query | None, number: TrackId) -> None:
        self.view = view
        self.query = query
        self.number = number  # by which the matcher knows its query
        self.scope: frozenset[TrackId] = frozenset()  # of `view.within`
        self.viewers: set[Viewer] = set()
        self.rate = Rate()
        self._sample = Sample()

    def admits(self, credited: Sequence[TrackId]) -> bool:
        """Whether a tweet of these tracks is for the eyes of who watches."""
        return self.view.within is None or not self.scope.isdisjoint(credited)

    def hand(self, found: Sequence[Found], writer: Writer) -> None:
        """Give them what is new."""
        self.rate.add(len(found))
        chosen = self._sample.of(found)
        if chosen:
            written = [writer.write(each.tweet, each.why) for each in chosen]
            for viewer in self.viewers:
                viewer.feed.push(written)

    def stir(self) -> None:
        for viewer in self.viewers:
            viewer.feed.stir()
