"""What both X APIs write in the same way: ids, addresses, escaped text, degrees, countries.

The packages of the two networks do not know each other; what they share is here.
"""

from collections.abc import Iterable
from datetime import datetime

from stream.tweet import Box, LonLat, MediaKind, NativeId

Id = int | str | float | None  # as some client may have written it

MAX_ID = "9223372036854775807"  # X ids are signed 64-bit integers
MAX_EXACT = 1 << 53  # a float holds every whole number below
MEDIA: dict[str, MediaKind] = {
    "photo": "photo",
    "video": "video",
    "animated_gif": "animated_gif",
}


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
    """X writes `&`, `<` and `>` of a tweet's text as HTML entities, and no others."""
    if "&" not in text:
        return text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def address(author: str | None, native_id: NativeId) -> str:
    """Where a person can read the tweet; a handle that is none does not get into an address."""
    if author and author.isascii() and author.replace("_", "a").isalnum():
        return f"https://x.com/{author}/status/{native_id}"
    return f"https://x.com/i/status/{native_id}"


def distinct(texts: Iterable[str | None]) -> tuple[str, ...]:
    """In their order, once each, without the empty ones."""
    return tuple(dict.fromkeys(text for text in texts if text))


def countries(codes: Iterable[str]) -> tuple[str, ...]:
    """Country codes in upper case; XX is everywhere, XY a copyright claim."""
    return distinct(code.strip().upper() for code in codes)


def plausible(at: datetime) -> bool:
    """Whether a tweet can have been written then: the service began in 2006."""
    return 2006 <= at.year < 2100


def point(longitude: float, latitude: float) -> LonLat | None:
    """A place on earth, or None; 0, 0 is in the sea, and believed."""
    if -180 <= longitude <= 180 and -90 <= latitude <= 90:
        return longitude, latitude
    return None


def box(west: float, south: float, east: float, north: float) -> Box | None:
    """An area on earth, or None."""
    if -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90:
        return west, south, east, north
    return None
