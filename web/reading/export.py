"""Tweets as files: CSV that spreadsheets open rightly, and NDJSON. Some tweets at a time."""

import csv
import io
import logging
import re
from collections.abc import AsyncIterable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from aiohttp import web

from stream.errors import TwitterstreamError
from web.shown import ShownTweet

logger = logging.getLogger(__name__)

Format = Literal["csv", "ndjson"]
TYPES: dict[Format, str] = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
COLUMNS = (
    "id", "network", "native_id", "url", "kind", "lang", "author", "author_id", "text",
    "created_at", "received_at", "tracks", "terms",
)  # fmt: skip
BOM = "\ufeff"  # so that Excel takes it for UTF-8
# A spreadsheet would calculate with what begins so; an apostrophe before it makes it text. Some
# take the full-width signs for the narrow ones, and look behind spaces and what nobody sees.
_SIGNS = "=+@\uff1d\uff0b\uff0d\uff20-"
_FORMULA = re.compile(rf"[\t\r\n]|[\s\u200b-\u200f\u2060\ufeff]*[{_SIGNS}]")
_EXACT = 15  # digits
_encoder = msgspec.json.Encoder()


async def send(
    request: web.Request,
    batches: AsyncIterable[Sequence[ShownTweet]],
    form: Format,
    name: str | None = None,
    limit: int | None = None,
) -> web.StreamResponse:
    """Answer with all of them, as fast as the reader takes them; `name`: of a file to save."""
    response = web.StreamResponse()
    response.content_type = TYPES[form]
    response.charset = "utf-8"
    if name is not None:
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        await _write(response, batches, form, limit)
    except TwitterstreamError as error:
        # It has begun to come as a success: that it is none shows only by its sudden end.
        logger.warning("a download ends in the middle", extra={"why": str(error)})
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from error
    await response.write_eof()
    return response


async def _write(
    response: web.StreamResponse,
    batches: AsyncIterable[Sequence[ShownTweet]],
    form: Format,
    limit: int | None,
) -> None:
    await response.write(head(form))
    left = limit
    async for batch in batches:
        wanted = batch if left is None else batch[:left]
        await response.write(lines(wanted, form))
        if left is not None:
            left -= len(wanted)
            if left <= 0:
                break


def head(form: Format) -> bytes:
    """What stands before the first tweet."""
    return (BOM + ",".join(COLUMNS) + "\r\n").encode() if form == "csv" else b""


def lines(tweets: Iterable[ShownTweet], form: Format) -> bytes:
    """A line for each tweet, where a text with line breaks may have several in CSV."""
    if form == "ndjson":
        return b"".join(_encoder.encode(tweet) + b"\n" for tweet in tweets)
    written = io.StringIO(newline="")
    csv.writer(written).writerows(map(_cells, tweets))
    return written.getvalue().encode("utf-8", "replace")


def _cells(tweet: ShownTweet) -> list[str]:
    return [
        _numeral(tweet.id),
        tweet.network,
        _numeral(tweet.native_id),
        tweet.url or "",
        tweet.kind,
        tweet.lang or "",
        _text(tweet.author or ""),
        _numeral(tweet.author_id or ""),
        _text(tweet.text),
        _time(tweet.created_at),
        _time(tweet.received_at),
        " ".join(match.track for match in tweet.matches if match.track),
        _text("; ".join(dict.fromkeys(match.term for match in tweet.matches))),
    ]


def _numeral(text: str) -> str:
    """A spreadsheet would round numbers with more than 15 digits: these are texts, too."""
    return f"'{text}" if len(text) > _EXACT else _text(text)


def _time(time: datetime | None) -> str:
    """UTC, in the one form that spreadsheets take for a time."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _text(text: str) -> str:
    # NUL is what neither csv nor spreadsheets take.
    clean = text.replace("\0", "\ufffd")
    return f"'{clean}" if _FORMULA.match(clean) else clean
