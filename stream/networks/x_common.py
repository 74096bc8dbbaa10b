"""Parsing shared by both X APIs: ids, URLs, text, coordinates, countries, errors.

Errors are JSON of a few shapes, which proxies and login pages do not have.

The packages of the two networks do not know each other; what they share is here.
"""

import re
from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from stream.entities import entities_in
from stream.networks.response import Response
from stream.tweet import LonLat, MediaKind, NativeId

Id = int | str | float | None  # as some client may have written it
Time = str | int | float | None  # also as tools write it: seconds or milliseconds since 1970

MAX_ID = "9223372036854775807"  # X ids are signed 64-bit integers
MILLISECONDS_MIN = 1e11  # as seconds this is the year 5138, as milliseconds 1973
MAX_EXACT = 1 << 53  # a float holds every whole number below
MEDIA: dict[str, MediaKind] = {
    "photo": "photo",
    "video": "video",
    "animated_gif": "animated_gif",
}


# Fields that only one of the two APIs sends, besides the `id` and `text` of both.
V1_ONLY = frozenset(
    {"id_str", "full_text", "user", "truncated", "favorited", "extended_tweet", "retweeted_status"}
)
V2_ONLY = frozenset(
    {
        "author_id",
        "edit_history_tweet_ids",
        "referenced_tweets",
        "conversation_id",
        "public_metrics",
        "reply_settings",
    }
)
DETAIL = 300  # characters of X's own words that are passed on
Problem = dict[str, object]
_EPOCH = re.compile(r"\d{10}(?:\d{3})?(?:\.\d{1,9})?", re.ASCII)
_NAMES = ("title", "detail", "message", "request")
_PAGE = re.compile(rb"Problem accessing '/1\.1/[^']*'. Reason:\s*(?:<pre>\s*)?([^<]*)")


def is_other_api(names: Iterable[str], others: Container[str], own: Container[str]) -> bool:
    """Whether an object has fields that only the other API writes, and none of our own."""
    present = list(names)
    return any(name in others for name in present) and not any(name in own for name in present)


def usable_id(*spellings: Id) -> NativeId | None:
    """The first spelling that is an id: a positive whole number below 2^63, as digits.

    Give `id_str` before `id`: tools that read numbers as doubles have rounded `id`.
    """
    for spelling in spellings:
        if spelling is None:
            continue
        digits = spelling if isinstance(spelling, str) else _digits(spelling)
        if (
            digits.isdigit()
            and digits.isascii()
            and digits[0] != "0"
            and (len(digits) < len(MAX_ID) or (len(digits) == len(MAX_ID) and digits <= MAX_ID))
        ):
            return NativeId(digits)
    return None


def _digits(number: float) -> str:
    if isinstance(number, int):
        return str(number) if 0 < number < 1 << 63 else ""
    return str(int(number)) if 0 < number < MAX_EXACT and number.is_integer() else ""


def unescape(text: str) -> str:
    """Unescape a tweet's text: X writes `&`, `<` and `>` as HTML entities, and no others."""
    if "&" not in text:
        return text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


class Marked(NamedTuple):
    """Entities of a text: names and tags without their sign, and links as written."""

    hashtags: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    cashtags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


NOTHING_MARKED = Marked()


def marked_in(text: str) -> Marked:
    """Find names, tags and addresses in a text, for messages recorded without X's lists."""
    found = entities_in(text)
    if not found:
        return NOTHING_MARKED
    kinds = ("hashtag", "mention", "cashtag", "link")
    return Marked(*(tuple([each.text for each in found if each.kind == kind]) for kind in kinds))


def address(author: str | None, native_id: NativeId) -> str:
    """The address of a tweet on the web; an invalid handle is left out of it."""
    if author and author.isascii() and author.replace("_", "a").isalnum():
        return f"https://x.com/{author}/status/{native_id}"
    return f"https://x.com/i/status/{native_id}"


def distinct(texts: Iterable[str | None]) -> tuple[str, ...]:
    """Remove duplicates and empty texts; keeps the order."""
    return tuple(dict.fromkeys(filter(None, texts)))


def countries(codes: Iterable[str]) -> tuple[str, ...]:
    """Country codes in upper case; XX is everywhere, XY a copyright claim."""
    return distinct(code.strip().upper() for code in codes)


def plausible(at: datetime) -> bool:
    """Whether a tweet can have this time: the service began in 2006."""
    return 2006 <= at.year < 2100


def moment(text: Time) -> datetime | None:
    """Parse `2026-01-15T10:35:00.000Z` and other forms of ISO 8601; without a zone it is UTC.

    A number, also as text, is seconds or milliseconds since 1970.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        return _since_1970(text)
    if _EPOCH.fullmatch(text):
        return _since_1970(float(text))
    try:
        at = datetime.fromisoformat(text.strip().removesuffix(" UTC").replace(" +", "+"))
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if plausible(at) else None


def _since_1970(number: float) -> datetime | None:
    if not 0 < number < 1000 * MILLISECONDS_MIN:  # also not a number
        return None
    seconds = number / 1000 if number >= MILLISECONDS_MIN else number
    at = datetime.fromtimestamp(seconds, UTC)
    return at if plausible(at) else None


def point(longitude: float, latitude: float) -> LonLat | None:
    """The point with these coordinates; None when they are out of range. 0, 0 is accepted."""
    if -180 <= longitude <= 180 and -90 <= latitude <= 90:
        return longitude, latitude
    return None


def problems(body: bytes) -> Iterator[Problem]:
    """The problem objects of an answer: the body itself, and those in its `errors`."""
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if isinstance(whole, dict):
        yield whole
        errors = whole.get("errors")
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, dict):
                yield error


def is_own(response: Response) -> bool:
    """Whether a response is from X itself, and not from a proxy, a firewall or a login page.

    v2: a problem with a title or a detail, alone or in `errors`. v1.1: a message with its code in
    `errors`, `error` next to the `request` that it is about, or the error page of its web server,
    which names the path.
    """
    return _PAGE.search(response.body) is not None or any(
        isinstance(problem.get(name), str)
        for problem in problems(response.body)
        for name in _NAMES
        if name != "message" or "code" in problem
    )


def words(response: Response) -> str:
    """The text of an error response of X, for people."""
    for problem in problems(response.body):
        parts = (problem.get("title"), problem.get("detail") or problem.get("message"))
        text = ": ".join(part for part in parts if isinstance(part, str))
        if text:
            return text[:DETAIL]
    if (page := _PAGE.search(response.body)) is not None:
        return " ".join(page[1].decode("utf-8", "replace").split())[:DETAIL]
    if response.is_page:
        return "with a page for browsers"
    return response.text()[:DETAIL] or "no reason given"
