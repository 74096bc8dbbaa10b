"""Tweets as rows of text: CSV for programs, CSV for spreadsheets, and NDJSON; and the columns."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from stream.spreadsheets import BYTE_ORDER_MARK, csv_cell, csv_lines
from stream.tweet_view import TweetView
from web.local_time import UTC_ZONE

TextFormat = Literal["csv", "excel", "ndjson"]
_encoder = msgspec.json.Encoder()
COLUMNS = (
    "id", "network", "native_id", "url", "kind", "lang", "author", "author_id", "text",
    "created_at", "received_at", "tracks", "terms", "look_back",
)  # fmt: skip


class Columns:
    """The columns, with times of a zone that their headings name."""

    def __init__(self, zone: ZoneInfo = UTC_ZONE) -> None:
        self.zone = zone
        self.headings = [
            f"{name} ({zone.key})" if name.endswith("_at") else name for name in COLUMNS
        ]

    def values(self, tweet: TweetView) -> Sequence[str | datetime | None]:
        """Texts as they are, and times without the zone that the heading names."""
        return (
            tweet.id,
            tweet.network,
            tweet.native_id,
            tweet.url,
            tweet.kind,
            tweet.lang,
            tweet.author,
            tweet.author_id,
            tweet.text,
            self._local(tweet.created_at),
            self._local(tweet.received_at),
            " ".join(match.track for match in tweet.matches if match.track),
            "; ".join(dict.fromkeys(match.term for match in tweet.matches)),
            " ".join(match.track for match in tweet.matches if match.look_back),
        )

    def _local(self, moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        try:
            return moment.astimezone(self.zone).replace(tzinfo=None)
        except OverflowError:  # at the ends of the calendar
            return moment.astimezone(UTC).replace(tzinfo=None)


def header(form: TextFormat, zone: ZoneInfo = UTC_ZONE) -> bytes:
    """The bytes before the first tweet."""
    match form:
        case "csv":
            return csv_lines([COLUMNS])
        case "excel":
            return BYTE_ORDER_MARK.encode() + csv_lines([Columns(zone).headings])
    return b""


def lines(tweets: Iterable[TweetView], form: TextFormat, zone: ZoneInfo = UTC_ZONE) -> bytes:
    """A row for each tweet."""
    if form == "ndjson":
        return b"".join(_encoder.encode(tweet) + b"\n" for tweet in tweets)
    cells = _for_programs if form == "csv" else _for_spreadsheets
    columns = Columns(UTC_ZONE if form == "csv" else zone)
    return csv_lines(cells(columns.values(tweet)) for tweet in tweets)


def _for_programs(values: Sequence[str | datetime | None]) -> list[str]:
    """Cells with unchanged texts, and times in UTC."""
    return [
        value.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
        if isinstance(value, datetime)
        else value or ""
        for value in values
    ]


def _for_spreadsheets(values: Sequence[str | datetime | None]) -> list[str]:
    """Cells that a spreadsheet neither calculates nor rounds, with times in its own format."""
    return [
        f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else csv_cell(value or "")
        for value in values
    ]
