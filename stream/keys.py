"""Keys of tweets, and cursors over them: how a key is made, and what a reader has left to read.

Pure arithmetic. A tweet's key is the time at which its frame was received, and its lane; a cursor
holds the key up to which a reader has read each run of each lane (`ingest_runs` in the schema).
"""

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from stream import packed_positions
from stream.errors import TwitterstreamError
from stream.tweet import LaneId, NativeId, SourceId, TweetId

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEY_EPOCH = 1_577_836_800_000_000  # microseconds: 2020-01-01, as in SQL's tweet_key()
LANE_BITS = packed_positions.LANE_BITS
NEXT_KEY = 1 << LANE_BITS  # a microsecond later
_SERVER_SIGN = "|"  # in no address
MAX_KEY = 2**63 - 1  # greater than that of every tweet
RUN_MAX = 2**31 - 1
# A cursor with more positions is written packed: as plain text each takes 25 characters, and most
# proxies take no address of more than 8,000.
PLAIN_MAX = 32
PACKED = "c"  # begins the text of such a cursor
_INVALID = "Invalid cursor: start again without it, or with a time."
FIRST_RUN = 1  # number of a lane's first run


def tweet_key(received: int, lane: LaneId) -> TweetId:
    """The key of a frame; `received`: microseconds since 1970. The same as SQL's tweet_key()."""
    return TweetId((received - KEY_EPOCH) << LANE_BITS | lane)


def to_datetime(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def received_at(tweet_id: TweetId) -> datetime:
    return to_datetime((tweet_id >> LANE_BITS) + KEY_EPOCH)


def lane_of(tweet_id: TweetId) -> LaneId:
    return LaneId(tweet_id & (NEXT_KEY - 1))


def server_id(source_id: SourceId, name: str) -> NativeId:
    """The id of a tweet that means something to one source only, as a native id."""
    return NativeId(f"{source_id}{_SERVER_SIGN}{name}")


def name_of_server_id(native_id: NativeId) -> str:
    """The name that was given to `server_id`."""
    return native_id.partition(_SERVER_SIGN)[2]


def is_server_id(native_id: NativeId) -> bool:
    """Whether it comes from `server_id`."""
    source, sign, _ = native_id.partition(_SERVER_SIGN)
    return bool(sign) and source.isdecimal()


def hour_of(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


class Run(NamedTuple):
    """A run of a lane: tweets whose keys rise in the order in which they were stored."""

    lane: LaneId
    number: int


class StoredRun(NamedTuple):
    """A row of ingest_runs: which keys a run has."""

    run: Run
    first: TweetId
    last: TweetId
    former: bool  # of an older version, whose runs may overlap: only old cursors know it


class Cursor(msgspec.Struct, frozen=True):
    """The key up to which each run was read; as text it fits into a URL. Unknown runs are new."""

    positions: Mapping[Run, TweetId]

    def __str__(self) -> str:
        if self.is_long:
            return PACKED + urlsafe_b64encode(self.pack()).decode().rstrip("=")
        positions = sorted(self.positions.items())
        return "~".join(f"{lane}.{run}.{key}" for (lane, run), key in positions) or "0"

    @property
    def is_long(self) -> bool:
        return len(self.positions) > PLAIN_MAX

    def pack(self) -> bytes:
        """As bytes, which are less than a third of the plain text."""
        return packed_positions.pack((*run, key) for run, key in self.positions.items())

    @classmethod
    def unpack(cls, packed: bytes) -> "Cursor":
        """Read what `pack` gave; TwitterstreamError when it is invalid."""
        try:
            found = list(packed_positions.unpack(packed))
            positions = {
                Run(LaneId(lane), _at_most(run, RUN_MAX)): TweetId(_at_most(key, MAX_KEY))
                for lane, run, key in found
            }
        except ValueError as error:
            raise TwitterstreamError(_INVALID) from error
        return cls(positions)

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor's text; TwitterstreamError when it is invalid."""
        try:
            if text.startswith(PACKED):
                padded = text[1:].encode("ascii") + b"=" * (-len(text[1:]) % 4)
                return cls.unpack(b64decode(padded, altchars=b"-_", validate=True))
            positions = {
                Run(LaneId(_number(lane, 4095)), _number(run, RUN_MAX)): TweetId(
                    _number(key, MAX_KEY)
                )
                for lane, run, key in (part.split(".") for part in text.split("~") if text != "0")
            }
        except ValueError as error:  # also UnicodeEncodeError, and those of Base64
            raise TwitterstreamError(_INVALID) from error
        return cls(positions)


def _number(text: str, greatest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(text)
    return _at_most(int(text), greatest)


def _at_most(number: int, greatest: int) -> int:
    if number > greatest:
        raise ValueError(number)
    return number


class KeyRange(NamedTuple):
    """A range of keys to read of one run."""

    run: Run
    low: TweetId  # exclusive
    high: TweetId
    is_first: bool  # of its lane's runs

    def clamp(self, key: TweetId) -> TweetId:
        return max(self.low, min(self.high, key))


def unread_ranges(runs: Iterable[StoredRun], cursor: Cursor) -> list[KeyRange]:
    """Ranges of keys that a reader at this cursor has left to read, by run.

    The cursor may be of a server that has more than this one: a primary, where this is a replica
    that lags or a standby that was promoted. What the reader knows beyond `runs` stays known, in
    ranges that are empty: so it waits, and reads nothing twice.
    """
    current: dict[LaneId, list[StoredRun]] = {}
    former: dict[LaneId, list[StoredRun]] = {}
    newest: dict[LaneId, int] = {}
    for each in runs:
        of_lane = former if each.former else current
        of_lane.setdefault(each.run.lane, []).append(each)
        newest[each.run.lane] = max(newest.get(each.run.lane, 0), each.run.number)
    ranges = []
    for lane, of_lane_now in current.items():
        for each in of_lane_now:
            position = cursor.positions.get(each.run)
            is_first = each is of_lane_now[0]
            if position is None and is_first:
                position = _position_in_first_run(lane, cursor, former.get(lane, ()))
            before = TweetId(each.first - 1)
            low = before if position is None else max(before, position)
            ranges.append(KeyRange(each.run, low, max(low, each.last), is_first))
    return ranges + [
        KeyRange(run, key, key, is_first=False)
        for run, key in cursor.positions.items()
        if _is_unknown_yet(run, newest)
    ]


def _is_unknown_yet(run: Run, newest: Mapping[LaneId, int]) -> bool:
    """Whether a run is newer than all that a server has; numbers are never given out again.

    `newest`: the number of each lane's last run. A run that is missing otherwise was deleted.
    """
    if run.lane in newest:
        return run.number > newest[run.lane]
    return run.lane > max(newest, default=0)


def passed_ranges(ranges: Iterable[KeyRange], after: Cursor) -> list[KeyRange]:
    """Of ranges to read, what a reader has passed who is at this cursor now."""
    reached = (each._replace(high=after.positions.get(each.run, each.low)) for each in ranges)
    return [each for each in reached if each.low < each.high]


def _position_in_first_run(
    lane: LaneId, cursor: Cursor, former: Sequence[StoredRun]
) -> TweetId | None:
    """The position in a lane's first run, of a cursor that does not know this run.

    The cursor may be of a version in which a reader read one run after the other: the reader
    continues where it misses nothing. Or it is of a database that had more than the restored one.
    """
    known = [(each.number, key) for each, key in cursor.positions.items() if each.lane == lane]
    if not known:
        return None
    number, key = max(known)
    at = next((each for each in former if each.run.number == number), None)
    if at is None:
        return max(key for _, key in known)
    unseen = [each.first for each in former if each.run.number > number]
    if key < at.last:
        unseen.append(TweetId(key + 1))
    return TweetId(min(unseen) - 1) if unseen else max(each.last for each in former)


def overlapping_groups(ranges: Iterable[KeyRange]) -> list[list[KeyRange]]:
    """The ranges that are not empty, oldest first; those that overlap are in one group.

    Between a run that was stored late and the newest tweets may be millions of other sources.
    """
    groups: list[list[KeyRange]] = []
    high = TweetId(0)
    for each in sorted((each for each in ranges if each.low < each.high), key=lambda e: e.low):
        if groups and each.low < high:
            groups[-1].append(each)
        else:
            groups.append([each])
        high = max(high, each.high)
    return groups


def split_by_query(group: Sequence[KeyRange]) -> list[list[KeyRange]]:
    """Split ranges by query: the first runs of all lanes together, each later run on its own."""
    first = [each for each in group if each.is_first]
    return [*([first] if first else []), *([each] for each in group if not each.is_first)]


def bounds_by_lane(ranges: Sequence[KeyRange]) -> tuple[list[int], list[int], int, int]:
    """Of each id of a lane the lowest and the highest key, and the same of all of them."""
    lanes = max(each.run.lane for each in ranges)
    lows, highs = [MAX_KEY] * lanes, [0] * lanes
    for each in ranges:
        lows[each.run.lane - 1], highs[each.run.lane - 1] = each.low, each.high
    return lows, highs, min(each.low for each in ranges), max(each.high for each in ranges)
