"""What the page of a track is asked for: its number, and which of its tweets are wanted."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar, get_args

import msgspec
from aiohttp import web

from stream.tweet import TrackId, TweetKind
from web.person import Person
from web.problem import Problem
from web.reading.tweets import Wanted

KINDS: dict[TweetKind, str] = {
    "original": "Posts", "reply": "Replies", "repost": "Reposts", "quote": "Quotes",
}  # fmt: skip
LONGEST = 200  # characters of a field
_Choice = TypeVar("_Choice", bound=str)


class Filters(msgspec.Struct, frozen=True):
    """Which tweets of a track; as the address says it, so that it can be kept and sent on."""

    words: str = ""
    lang: str = ""
    kind: TweetKind | None = None
    begin: datetime | None = None
    end: datetime | None = None

    def wanted(self, person: Person, track_id: TrackId) -> Wanted:
        return Wanted(
            person=person,
            tracks=[track_id],
            begin=self.begin,
            end=self.end,
            lang=self.lang or None,
            kind=self.kind,
            words=self.words,
        )

    def query(self) -> dict[str, str]:
        """The same for an address."""
        said = {
            "words": self.words,
            "lang": self.lang,
            "kind": self.kind or "",
            "from": _written(self.begin),
            "to": _written(self.end),
        }
        return {name: value for name, value in said.items() if value}


def filters(query: Mapping[str, str]) -> Filters:
    """Problem for a field that cannot be."""
    kind = query.get("kind", "")
    if kind not in ("", *get_args(TweetKind)):
        raise Problem("invalid", "There is no such kind of tweet.", field="kind")
    begin, end = _time(query, "from"), _time(query, "to")
    if begin and end and begin >= end:
        raise Problem("invalid", "The end must lie after the begin.", field="to")
    return Filters(
        _short(query, "words"),
        _short(query, "lang").lower(),
        msgspec.convert(kind or None, TweetKind | None),
        begin,
        end,
    )


def number(request: web.Request) -> int:
    return int(request.match_info["track"])


def choice(
    query: Mapping[str, str], name: str, choices: tuple[_Choice, ...], default: _Choice
) -> _Choice:
    """One of these."""
    given = query.get(name) or default
    for each in choices:
        if each == given:
            return each
    words = f"Choose one of {', '.join(choices)}."
    raise Problem("invalid", words, field=name)


def _short(query: Mapping[str, str], name: str) -> str:
    text = " ".join(query.get(name, "").replace("\0", "").split())
    if len(text) > LONGEST:
        raise Problem("invalid", f"Write at most {LONGEST} characters.", field=name)
    return text


def _time(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
        # What says no zone is UTC; the page sends what the reader chose in his own as UTC.
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        words = "Write a time as 2026-11-21T14:30."
        raise Problem("invalid", words, field=name) from error


def _written(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%dT%H:%M:%S}Z"
