"""JSON as bytes: sanitizing what jsonb refuses, and decoding into Structs without losing the rest.

Every network's decoder uses these functions. None of them raises anything but
`errors.Reject`, whatever the bytes are.
"""

import json
import re
from typing import TypeVar

import msgspec

from stream.errors import Reject

T = TypeVar("T", bound=msgspec.Struct)

BOM = b"\xef\xbb\xbf"
PRECISE = 8  # this many wrong fields are dropped one by one, further ones with their parents
COARSE = 40  # so many in all, before whole branches of the message are dropped
TRIES = 80  # more than any Struct has fields
DETAIL = 200  # characters of a parser's complaint that are kept

# \u0000, a high surrogate without a low one after it, a low one without a high one before it.
# A surrogate after another backslash may not be an escape; it is checked too.
_SUSPECT = re.compile(
    rb"\\u(?:0000"
    rb"|[dD](?:[89abAB](?!..\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F])"
    rb"|(?<=\\\\u)[dD][89a-fA-F])",
    re.DOTALL,
)
# Every escape in order, so that an escaped backslash is never taken for the start of the next one.
_ESCAPE = re.compile(
    rb"\\(?:u(?P<nul>0000)"
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|u(?P<lone>[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|.)",
    re.DOTALL,
)
_WHERE = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[\w$]+)|\[(?P<index>\d+)\]")


def sanitize_for_jsonb(body: bytes) -> tuple[bytes, bool]:
    """Make a JSON text fit for jsonb; returns whether anything changed.

    PostgreSQL's jsonb refuses `\\u0000` and unpaired surrogates, although RFC 8259 allows both:
    they become U+FFFD. A byte order mark is removed. Invalid UTF-8 raises Reject; whether the
    text is JSON at all is left to the decoder.
    """
    text = body.removeprefix(BOM)
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as wrong:
            raise Reject("not_utf8", f"{wrong.reason} at byte {wrong.start}") from None
    if _SUSPECT.search(text):
        sanitized = _ESCAPE.sub(_storable, text)
        if sanitized != text:
            return sanitized, True
    return text, text is not body


def _storable(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape["nul"] or escape["lone"] else escape[0]


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a sanitized body; parts of the wrong type are dropped, the rest is kept.

    A Struct whose fields all have defaults is always returned if the body is a JSON object.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as wrong:
        return _read_without(wrong, decoder, body)
    except RecursionError:
        raise Reject("too_deep") from None
    except UnicodeDecodeError as wrong:
        raise Reject("not_utf8", f"{wrong.reason} at byte {wrong.start}") from None
    except msgspec.DecodeError as wrong:
        raise Reject("not_json", str(wrong)[:DETAIL]) from None


def sign(raw: msgspec.Raw | None) -> str:
    """The first character of an undecoded value, which shows its kind."""
    return chr(memoryview(raw)[0]) if raw is not None else ""


def view(body: bytes) -> dict[str, object]:
    """The whole message as plain Python values: slow, for the rare messages only."""
    try:
        whole = json.loads(body.decode(), parse_int=_int, parse_constant=_no_constant)
    except RecursionError:
        raise Reject("too_deep") from None
    except UnicodeDecodeError as wrong:
        raise Reject("not_utf8", f"{wrong.reason} at byte {wrong.start}") from None
    except json.JSONDecodeError as wrong:
        raise Reject("not_json", str(wrong)[:DETAIL]) from None
    if not isinstance(whole, dict):
        raise Reject("not_object", type(whole).__name__)
    return whole


def _int(digits: str) -> int | float:
    # Python refuses to read more than 4,300 digits; no id and no count needs more than 19.
    return int(digits) if len(digits) < 100 else float(digits)


def _no_constant(name: str) -> object:
    # NaN and Infinity, which Python's parser takes and PostgreSQL refuses.
    raise Reject("not_json", f"{name} is not JSON")


def _read_without(
    wrong: msgspec.ValidationError, decoder: msgspec.json.Decoder[T], body: bytes
) -> T:
    whole = view(body)
    for attempt in range(TRIES):
        path = _path(str(wrong))
        if attempt >= PRECISE:
            path = path[: 2 if attempt < COARSE else 1]
        if not path:
            break
        _drop(whole, path)
        try:
            made: T = msgspec.convert(whole, decoder.type)
        except msgspec.ValidationError as next_wrong:
            wrong = next_wrong
        except RecursionError:
            raise Reject("too_deep") from None
        else:
            return made
    raise Reject("bad_shape", str(wrong)[:DETAIL])


def _path(complaint: str) -> list[str | int]:
    """The path of the wrong value in msgspec's error: `$.user.names[3]` → user, names, 3."""
    where = _WHERE.search(complaint)
    if where is None:
        return []
    return [step["name"] or int(step["index"]) for step in _STEP.finditer(where["path"])]


def _drop(whole: dict[str, object], path: list[str | int]) -> None:
    at: object = whole
    for step in path[:-1]:
        at = at[step]  # type: ignore[index]  # msgspec has just walked this path
    del at[path[-1]]  # type: ignore[attr-defined]  # the same
