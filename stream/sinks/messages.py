"""What sinks pass on: stored tweets, deletions, and what was skipped; see docs/api.md."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from stream.store.deletion_log import LoggedDeletion
from stream.store.feed import StoredMatch, StoredTweet
from stream.tweet_view import view_of

VERSION = 1  # of the messages; a change that breaks readers gets the next one

_encode = msgspec.json.Encoder().encode


class SinkMessage(msgspec.Struct, frozen=True):
    """A tweet as JSON, or when it was deleted; and the ids of its tracks."""

    id: str
    tracks: Sequence[str]
    tweet: bytes = b""
    deleted_at: datetime | None = None

    def as_json(self, seq: int) -> bytes:
        """As one JSON object; `seq`: its number."""
        what: dict[str, object] = {"v": VERSION, "id": self.id, "seq": seq, "tracks": self.tracks}
        if self.deleted_at is None:
            what["tweet"] = msgspec.Raw(self.tweet)
        else:
            what["deleted_at"] = self.deleted_at
        return _encode(what)

    def as_fields(self, seq: int) -> dict[str, str | bytes]:
        """As fields of an entry; `tracks` are separated by commas."""
        fields: dict[str, str | bytes] = {
            "v": str(VERSION),
            "id": self.id,
            "seq": str(seq),
            "tracks": ",".join(self.tracks),
        }
        if self.deleted_at is None:
            return fields | {"tweet": self.tweet}
        return fields | {"deleted_at": _encode(self.deleted_at).strip(b'"')}


def message_of(tweet: StoredTweet, matches: Sequence[StoredMatch]) -> SinkMessage:
    """A tweet with all its matches, as in the API."""
    tracks = [str(match.track_id) for match in matches]
    return SinkMessage(str(tweet.id), tracks, _encode(view_of(tweet, matches)))


def deletion_message(deletion: LoggedDeletion) -> SinkMessage:
    tracks = [str(track) for track in deletion.tracks]
    return SinkMessage(str(deletion.tweet_id), tracks, deleted_at=deletion.deleted_at)


class Skipped(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Between these two cursors subscribers may have missed messages."""

    from_: str
    to: str

    def as_json(self, seq: int) -> bytes:
        return _encode({"v": VERSION, "seq": seq, "skipped": self})


def numbered(messages: Iterable[SinkMessage], before: int) -> Iterable[tuple[int, SinkMessage]]:
    """The messages with their numbers; `before`: the number of the last one."""
    return enumerate(messages, before + 1)
