"""Frames → what one transaction will store: decoded, matched, counted. Pure, no I/O."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from stream import jsontext
from stream.errors import Reject, RejectReason
from stream.networks.base import Claim
from stream.tweet import (
    Frame,
    Match,
    Message,
    Note,
    SourceId,
    Tweet,
    TweetId,
)
from stream.tweets import EPOCH, Arrival, to_datetime, tweet_key

MINUTE = 60_000_000  # microseconds

Decode: TypeAlias = Callable[[bytes], Message]
Attribute: TypeAlias = Callable[[Tweet], Sequence[Match]]

_decode_note: Callable[[bytes], Note] = msgspec.json.Decoder(Note).decode


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A frame for the rejects table."""

    key: TweetId
    received: int
    reason: RejectReason
    detail: str
    body: bytes


class Aside(msgspec.Struct, frozen=True, gc=False):
    """What came between the tweets: a message of the network, or a note of the daemon."""

    what: Message | Note
    at: datetime


class Batch:
    """What one transaction stores: the rows, and the position behind them."""

    def __init__(self, source_id: SourceId, position: int, longest: int) -> None:
        self.source_id = source_id
        self.longest = longest  # bytes of a frame; a longer one was cut to this when it came
        self.before = position
        self.after = position
        self.frames: list[Frame] = []
        self.arrivals: list[Arrival] = []
        self.asides: list[Aside] = []  # in the order in which they came
        self.rejects: list[Rejected] = []
        self.outcomes: Counter[tuple[datetime, str]] = Counter()
        self._minute = -1, EPOCH  # the newest: its number since 1970, and when it began

    @property
    def bytes(self) -> int:
        """Size in the journal."""
        return self.after - self.before

    def add(self, frames: Sequence[Frame], decode: Decode, attribute: Attribute) -> None:
        """Decode and match these frames, which follow those that are here already."""
        for frame in frames:
            if frame.is_note:
                at = to_datetime(frame.received)
                self.asides.append(Aside(_decode_note(frame.body), at))
            else:
                self._add(frame, decode, attribute)
        self.frames.extend(frames)
        self.after = frames[-1].after

    def reject_all(self, reason: RejectReason, detail: str) -> None:
        """Postgres refuses what was made of these frames: keep them raw instead."""
        self.arrivals.clear()
        self.asides.clear()
        self.rejects.clear()
        self.outcomes.clear()
        for frame in self.frames:
            self._reject(frame, reason, detail)

    def _count(self, received: int, outcome: str) -> None:
        """Note what became of a frame of this minute."""
        self.outcomes[self._minute_of(received), outcome] += 1

    def _add(self, frame: Frame, decode: Decode, attribute: Attribute) -> None:
        if len(frame.body) >= self.longest:
            self._reject(
                frame, "too_large", f"max_frame_bytes is {self.longest:,}; the rest is cut"
            )
            return
        try:
            doc, repaired = jsontext.mend(frame.body)
            message = decode(doc)
        except Reject as reject:
            self._reject(frame, reject.reason, reject.detail)
            return
        if isinstance(message, Tweet):
            self.arrivals.append(
                Arrival(
                    tweet_key(frame.received, self.source_id),
                    to_datetime(frame.received),
                    self._minute_of(frame.received),
                    message,
                    doc,
                    attribute(message),
                    repaired,
                )
            )
        else:
            self.asides.append(Aside(message, to_datetime(frame.received)))
            self._count(frame.received, "control")

    def _reject(self, frame: Frame, reason: RejectReason, detail: str) -> None:
        key = tweet_key(frame.received, self.source_id)
        self.rejects.append(Rejected(key, frame.received, reason, detail, frame.body))
        self._count(frame.received, "rejected")

    def _minute_of(self, received: int) -> datetime:
        """The minute of a time in microseconds since 1970; made once for all its frames."""
        number = received // MINUTE
        if number != self._minute[0]:
            self._minute = number, to_datetime(number * MINUTE)
        return self._minute[1]


def attribute(
    tweet: Tweet,
    match: Callable[[Tweet], Sequence[Match]],
    believed: Callable[[str], Sequence[Claim]],
) -> Sequence[Match]:
    """The tracks of a tweet: what our matcher finds, and what the network says beside it.

    Where the network says that a rule matched, that is believed, though it may have looked at what
    we cannot see; such a match says so in its field.
    """
    matches = match(tweet)
    if not tweet.rules:
        return matches
    known = {found.track_id for found in matches}
    claimed = [
        claim for rule in tweet.rules for claim in believed(rule) if claim.track_id not in known
    ]
    if not claimed:
        return matches
    unique = {claim.track_id: claim for claim in reversed(claimed)}
    return [
        *matches,
        *(Match(claim.track_id, claim.term, "network") for claim in unique.values()),
    ]
