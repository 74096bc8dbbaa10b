"""What the messages themselves say is gone: deleted posts, deleted and hidden accounts.

The tables forget that after a while for posts that were never stored. A look-back must not bring
these back, so it reads recordings that are older than that once before it looks for matches.
"""

from array import array
from collections.abc import Iterator
from datetime import timedelta

from stream.batch import ControlItem
from stream.control_items import restrictions
from stream.keys import server_id
from stream.store.tweets import IncomingTweet
from stream.tweet import Deletion, NativeId, SourceId

_BUCKETS = 1 << 14


def names_of(source_id: SourceId, arrival: IncomingTweet) -> Iterator[NativeId]:
    """The ids by which a deletion may name a post."""
    yield arrival.tweet.native_id
    if arrival.tweet.server_id is not None:
        yield server_id(source_id, arrival.tweet.server_id)


class Gone:
    """Deleted posts, by the hashes of their ids only: 8 bytes each; and accounts that are gone."""

    def __init__(self) -> None:
        self._deleted = [array("q") for _ in range(_BUCKETS)]
        self._authors: dict[str, ControlItem] = {}  # the last event of each that is not shown

    def add(self, source_id: SourceId, item: ControlItem) -> None:
        """Note a control message; in order of time."""
        if isinstance(item.what, Deletion):
            name = item.what.native_id
            self._note_deleted(server_id(source_id, name) if item.what.of_server else name)
            return
        for author_id, limits in restrictions(item):
            if limits.deleted_at is not None or limits.withheld:
                self._authors[author_id] = item
            elif limits.withheld is not None:
                self._authors.pop(author_id, None)

    def _note_deleted(self, name: str) -> None:
        number = hash(name)
        self._deleted[number % _BUCKETS].append(number)

    def _is_deleted(self, name: str) -> bool:
        number = hash(name)
        return number in self._deleted[number % _BUCKETS]

    def has(self, source_id: SourceId, arrival: IncomingTweet) -> bool:
        """Whether a post was deleted, or its author is deleted or hidden."""
        if any(map(self._is_deleted, names_of(source_id, arrival))):
            return True
        last = self._authors.get(arrival.tweet.own.author_id or "")
        return last is not None and arrival.received_at <= last.at + timedelta(minutes=10)
