"""A batch: frames decoded, matched and counted, ready for one transaction. Pure, no I/O."""

import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from stream import jsontext
from stream.errors import Broken, Reject, RejectReason
from stream.keys import EPOCH, NEXT_KEY, received_at, to_datetime, tweet_key
from stream.networks.base import RuleOwner
from stream.notes import Note, Passed, StreamOpened, TracksInForce
from stream.store.lanes import first_lane
from stream.store.tweets import IncomingTweet
from stream.tweet import BusPosition, Frame, LaneId, Match, Message, SourceId, Tweet, TweetId

MINUTE = 60_000_000  # microseconds

Decode: TypeAlias = Callable[[bytes], Message]
CreditTracks: TypeAlias = Callable[[Tweet], Sequence[Match]]
MayMatch: TypeAlias = Callable[[bytes], bool]

_note: Callable[[bytes], Note] = msgspec.json.Decoder(Note).decode


def _decode_note(body: bytes) -> Note:
    """A note of the daemon, also of an older version: it called the state `connected` proving."""
    return _note(body.replace(b'"state":"proving"', b'"state":"connected"'))


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A frame for the rejects table."""

    key: TweetId
    received: int
    reason: RejectReason
    detail: str
    body: bytes


class ControlItem(msgspec.Struct, frozen=True, gc=False):
    """A message that is not a tweet: a control message of the network, or a note of the daemon."""

    what: Message | Note
    at: datetime


class Batch:
    """A batch for one transaction: the rows, and the position after them."""

    def __init__(
        self,
        source_id: SourceId,
        position: int,
        max_frame_bytes: int,
        lane: LaneId | None = None,
    ) -> None:
        self.source_id = source_id
        self.lane = first_lane(source_id) if lane is None else lane  # of the keys
        self.max_frame_bytes = max_frame_bytes  # longer frames were cut to this when they came
        self.before = position
        self.after = position
        self.journal = uuid.UUID(int=0)
        self.lanes: Sequence[LaneId] | None = None  # that share the journal; None: one has it all
        self.bus_position: BusPosition | None = None  # of its last frame
        self.frames: list[Frame] = []
        self.arrivals: list[IncomingTweet] = []
        self.control_items: list[ControlItem] = []  # in order of arrival
        self.rejects: list[Rejected] = []
        self.openings: list[tuple[int, StreamOpened]] = []  # and the number of frames before each
        self.outcomes: Counter[tuple[datetime, str]] = Counter()
        self._keys: set[TweetId] = set()
        self._minute = -1, EPOCH  # the newest: its number since 1970, and its start

    @property
    def bytes(self) -> int:
        """Size of a batch in the journal."""
        return self.after - self.before

    def add(
        self,
        frames: Sequence[Frame],
        decode: Decode,
        credit_tracks: CreditTracks,
        may_match: MayMatch | None = None,
    ) -> None:
        """Decode and match the next frames.

        `may_match`: false for messages that need not be decoded, as no track matches and they are
        not kept: those are only counted.
        """
        for number, frame in enumerate(frames, len(self.frames)):
            if frame.is_note:
                note = _decode_note(frame.body)
                if isinstance(note, StreamOpened):
                    self.openings.append((number, note))
                elif not isinstance(note, TracksInForce | Passed):
                    self.control_items.append(ControlItem(note, to_datetime(frame.received)))
            elif frame.is_damage:
                detail = f"{len(frame.body):,} bytes of the journal were damaged on disk"
                self._reject(frame, "damaged", detail)
            elif len(frame.body) >= self.max_frame_bytes:
                detail = f"max_frame_bytes is {self.max_frame_bytes:,}; the rest is cut"
                self._reject(frame, "too_large", detail)
            elif may_match is not None and not may_match(frame.body):
                self._count(frame.received, "dropped")
            else:
                self._add(frame, decode, credit_tracks)
        self.frames.extend(frames)
        self.after = frames[-1].after

    def reject_all(self, reason: RejectReason, detail: str) -> None:
        """Keep these frames as rejects, because Postgres refuses their rows."""
        self.arrivals.clear()
        self.control_items.clear()
        self.rejects.clear()
        self.outcomes.clear()
        self._keys.clear()
        for frame in self.frames:
            self._reject(frame, reason, detail)

    def _count(self, received: int, outcome: str) -> None:
        """Count the outcome of a frame in its minute."""
        self.outcomes[self._minute_of(received), outcome] += 1

    def _add(self, frame: Frame, decode: Decode, credit_tracks: CreditTracks) -> None:
        try:
            doc, repaired = jsontext.sanitize_for_jsonb(frame.body)
            message = decode(doc)
            matches = credit_tracks(message) if isinstance(message, Tweet) else ()
        except Reject as reject:
            self._reject(frame, reject.reason, reject.detail)
            return
        except Broken:
            raise
        except Exception as error:  # noqa: BLE001 - unexpected errors of any type
            # A bug that only this message triggers: the others are stored.
            self._reject(frame, "bad_shape", f"unexpected error: {_where(error)}")
            return
        if isinstance(message, Tweet):
            key = self._key(frame.received)
            self.arrivals.append(
                IncomingTweet(
                    key,
                    received_at(key),
                    self._minute_of(frame.received),
                    message,
                    doc,
                    matches,
                    repaired,
                )
            )
        else:
            self.control_items.append(ControlItem(message, to_datetime(frame.received)))
            self._count(frame.received, "control")

    def _reject(self, frame: Frame, reason: RejectReason, detail: str) -> None:
        key = self._key(frame.received)
        body = frame.body[: self.max_frame_bytes]
        self.rejects.append(Rejected(key, frame.received, reason, detail, body))
        self._count(frame.received, "rejected")

    def _key(self, received: int) -> TweetId:
        """A unique key for a frame: after a clock was set back, two may share a microsecond."""
        key = tweet_key(received, self.lane)
        while key in self._keys:
            key = TweetId(key + NEXT_KEY)
        self._keys.add(key)
        return key

    def _minute_of(self, received: int) -> datetime:
        """The minute of a time in microseconds since 1970; created once for all its frames."""
        number = received // MINUTE
        if number != self._minute[0]:
            self._minute = number, to_datetime(number * MINUTE)
        return self._minute[1]


def _where(error: BaseException) -> str:
    """An exception with the line that raised it, for debugging."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(at.filename).name}, line {at.lineno})"


def credit_tracks(
    tweet: Tweet,
    match: Callable[[Tweet], Sequence[Match]],
    owners_of_rule: Callable[[str], Sequence[RuleOwner]],
) -> Sequence[Match]:
    """The tracks of a tweet: those that the matcher finds, and those the network names.

    Where the network says that a rule matched, its tracks are credited, although it may have seen
    text that we do not; such a match has the field `network`.
    """
    matches = match(tweet)
    if not tweet.rules:
        return matches
    known = {found.track_id for found in matches}
    owners = [
        each for rule in tweet.rules for each in owners_of_rule(rule) if each.track_id not in known
    ]
    if not owners:
        return matches
    unique = {owner.track_id: owner for owner in reversed(owners)}
    return [
        *matches,
        *(Match(owner.track_id, owner.term, "network") for owner in unique.values()),
    ]
