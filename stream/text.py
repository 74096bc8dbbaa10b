"""Text from outside: its encoding, and a clean form for rows, log lines and terminals."""

import codecs
from collections.abc import Sequence

MESSAGE_LENGTH_MAX = 500  # characters of a server's message
REASON_LENGTH_MAX = 2000  # characters of a text in a row
DURATION_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def plain(text: str, length_max: int = MESSAGE_LENGTH_MAX) -> str:
    """A server's message as one line, without control characters, truncated."""
    head = text[: 4 * length_max]
    line = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    if len(line) <= length_max and len(head) == len(text):
        return line
    return line[: length_max - 1] + "…"


def sentence(words: str) -> str:
    """The words with a full stop, and a capital letter unless a name or an address comes first."""
    first = words.partition(" ")[0]
    head = f"{words[:1].upper()}{words[1:]}" if first.isalpha() else words
    return f"{head.rstrip('.')}."


def folded_words(given: str) -> list[str]:
    """The words to look for with `has_words`."""
    return given.casefold().split()


def has_words(text: str, words: Sequence[str]) -> bool:
    """Whether a text has all of these folded words, in any case: Straße has strasse."""
    folded = text.casefold() if words else ""
    return all(word in folded for word in words)


def storable(text: str, length_max: int = REASON_LENGTH_MAX) -> str:
    """The text without NUL and lone surrogates, which PostgreSQL refuses."""
    return text[:length_max].replace("\0", "\ufffd").encode(errors="replace").decode()


def counted(number: int, noun: str) -> str:
    """1 tweet; 1,234 tweets."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_size(size: float) -> str:
    """Bytes, in the largest unit that gives at least 1."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return counted(int(size), "byte") if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def format_duration(seconds: float) -> str:
    """5400 → 1 hour 30 minutes: the two largest units, rounded down."""
    parts = []
    left = int(seconds)
    for unit, length in DURATION_UNITS:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts) or "less than a second"


TIME_LEFT_FROM = 0.02  # of the work; before, its speed says little about the rest


def format_time_left(progress: float | None, worked: float) -> str:
    """How long work will probably take that has taken so many seconds; empty: not known."""
    if not progress or progress < TIME_LEFT_FROM:
        return ""
    left = worked / progress * (1 - progress)
    return format_duration(left) if left >= 1 else ""


_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(head: bytes) -> str:
    """Detect the encoding by the byte order mark, or by the NUL next to a first ASCII character."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    first, second = head[:1], head[1:2]
    if second == b"\0" and b"\t" <= first < b"\x80":
        return "utf-16-le"
    if first == b"\0" and b"\t" <= second < b"\x80":
        return "utf-16-be"
    return "utf-8"


def decoded(data: bytes) -> str:
    """The text without its byte order mark; UnicodeError when it is in none of these encodings."""
    return data.decode(encoding_of(data))
