"""What a look-back gathers for one transaction: posts that match, and changes of posts."""

import time
from collections.abc import Callable
from typing import TypeAlias

from monitor.look_back.gone import Gone, names_of
from monitor.look_back.slices import JSON, Slice
from monitor.look_back.store_found import Target
from stream.batch import Batch
from stream.matcher import Matcher
from stream.networks.registry import NETWORKS
from stream.store.tweets import IncomingTweet
from stream.tweet import Deletion, NativeId, SourceId

# Of one transaction, whichever is reached first: writers may have to wait for its end.
ARRIVALS = 200  # matching posts
FRAMES = 10_000
SECONDS = 0.7

Keep: TypeAlias = Callable[[IncomingTweet], bool]


class Gathered:
    """Messages of one source that are stored in one transaction.

    `known_gone`: what a look-back has met as deleted; grows with these messages.
    """

    def __init__(
        self,
        source_id: SourceId,
        target: Target,
        matcher: Matcher,
        known_gone: Gone,
        max_frame_bytes: int,
    ) -> None:
        network = NETWORKS[target.policy.network]
        self.source_id = source_id
        self.target = target
        self.batch = Batch(source_id, 0, max_frame_bytes)
        self.gone: set[NativeId] = set()  # posts that match and are deleted
        self.at: JSON = None
        self.progress: float | None = None
        self.looked = 0  # posts
        self._deadline = time.monotonic() + SECONDS
        self._frames = 0
        self._decode = network.decode
        self._match = matcher.match
        self._known_gone = known_gone
        self._may_match = network.prefilter(matcher)

    @property
    def is_complete(self) -> bool:
        return (
            len(self.batch.arrivals) >= ARRIVALS
            or self._frames >= FRAMES
            or time.monotonic() >= self._deadline
        )

    def add(self, some: Slice, keep: Keep | None) -> None:
        """Decode and match these messages; keep what matches, and what changes posts."""
        self.at, self.progress = some.resume, some.progress
        if not some.frames:
            return
        batch = Batch(self.source_id, 0, self.batch.max_frame_bytes)
        batch.add(some.frames, self._decode, self._match, self._may_match)
        self._frames += len(some.frames)
        dropped = sum(n for (_, outcome), n in batch.outcomes.items() if outcome == "dropped")
        self.looked += dropped + len(batch.arrivals)
        for item in batch.control_items:
            # Accounts of a network are asked about instead: an event may be out of date.
            if isinstance(item.what, Deletion) or not self.target.applies_accounts:
                self._known_gone.add(self.source_id, item)
        for arrival in batch.arrivals:
            if not (arrival.tweet.edited or (arrival.matches and self.target.has(arrival))):
                continue
            if keep is not None and not keep(arrival):
                continue
            if not self._known_gone.has(self.source_id, arrival):
                self.batch.arrivals.append(arrival)
            elif arrival.matches:
                self.gone.update(names_of(self.source_id, arrival))
        self.batch.control_items += batch.control_items
