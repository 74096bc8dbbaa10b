"""The operators of kind query, `name:value`, and quoted phrases (X v2 reference §4)."""

import difflib
import functools
import re
from collections.abc import Callable
from typing import get_args, get_type_hints

from stream.errors import InvalidQuery
from stream.query.keywords import is_something, query_word, quoted, shown
from stream.query.operands import DID, Relation, account, box, place_name
from stream.query.tokenize import bare_address, canonical
from stream.query.tree import (
    AtPlace,
    Conversation,
    Has,
    InBox,
    InRadius,
    Is,
    Lang,
    Link,
    Node,
)

_KM_PER_MILE = 1.609344
_DIGITS = r"\d{1,6}(?:\.\d{1,20})?"
_RADIUS = re.compile(
    rf"\s*([+-]?{_DIGITS})[\s,]+([+-]?{_DIGITS})[\s,]+({_DIGITS})\s*(km|mi)\s*",
    re.ASCII | re.IGNORECASE,
)
_X_ID = re.compile("[0-9]{1,20}")
_KEY = "[A-Za-z0-9_~.:-]{1,100}"
_BLUESKY_POST = re.compile(  # as tweets have it, and as an address
    f"(?P<key>{_KEY})/(?P<did>{DID.pattern})"
    rf"|(?:at://|https://bsky\.app/profile/)(?P<last_did>{DID.pattern})"
    rf"/(?:app\.bsky\.feed\.)?post/(?P<last_key>{_KEY})"
)
_LANGUAGE = re.compile("([a-z]{2,3})(?:-[a-z0-9]{2,8})*")
_IS = get_args(get_type_hints(Is)["what"])
_HAS = get_args(get_type_hints(Has)["what"])
_ALIASES = {"videos": "video_link", "video": "video_link", "hashtag": "hashtags", "link": "links"}
# What X knows but does not send.
_UNSUPPORTED = re.compile(
    "(from|to)_affiliate_of|url_(title|description|contains)|context|entity|bio(_name|_location)?"
    "|sample|min_followers|(followers|tweets|following|listed)_count|source"
    "|(in_reply_to|retweets_of)_tweet_id|embedding(_threshold)?"
)
# X still uses the old codes of Indonesian, Hebrew and Yiddish.
_X_LANGUAGES = {"id": "in", "he": "iw", "yi": "ji"}


def operator(written: str) -> Node:
    """Parse `name:value`."""
    name, _, value = written.partition(":")
    if name.lower() in ("http", "https"):
        return _need(query_word(written), written)
    read = _OPERATORS.get(name.lower())
    if read is None:
        raise InvalidQuery(_unknown(name, written))
    value = value.strip('"').strip()
    if not value:
        raise InvalidQuery(
            f"{shown(written)} has no value: write it directly after the colon, without a space."
        )
    return read(value, written)


def phrase(written: str) -> Node:
    """`"words in this order"`; one plain word in quotes is just that word."""
    if not written.endswith('"'):
        raise InvalidQuery(
            f"{shown(written)}: words within a distance (~) are not supported: "
            "write the words, or the exact phrase."
        )
    return quoted(written.strip('"'), query_word)


@functools.lru_cache(maxsize=512)
def language(code: str) -> str | None:
    """A language as X names it, without region or script; None if it is not a code."""
    found = _LANGUAGE.fullmatch(code.lower().replace("_", "-"))
    return _X_LANGUAGES.get(found[1], found[1]) if found else None


def _need(node: Node | None, written: str) -> Node:
    if node is None:
        raise InvalidQuery(f"{shown(written)} contains no word: write one, or remove it.")
    return node


def _unknown(name: str, written: str) -> str:
    if _UNSUPPORTED.fullmatch(name.lower()):
        return (
            f"{name}: is not supported, because tweets do not contain this information: remove it."
        )
    near = difflib.get_close_matches(name.lower(), _OPERATORS, 1)
    hint = (
        f"did you mean {near[0]}:?" if near else "to search for the text itself, put it in quotes."
    )
    return f"{shown(written)}: there is no operator {shown(name + ':')}; {hint}"


def _user(relation: Relation) -> Callable[[str, str], Node]:
    return lambda value, _: account(value, relation)


def _one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    name = _ALIASES.get(value.lower(), value.lower())
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {what}:{near[0]}?" if near else f"known are {', '.join(known)}."
    raise InvalidQuery(f"There is no {shown(f'{what}:{value}')}; {hint}")


def _is(value: str, _: str) -> Node:
    if value.lower() == "nullcast":
        raise InvalidQuery("is:nullcast can only be excluded: write -is:nullcast.")
    return Is(_one_of("is", value, _IS))  # type: ignore[arg-type]  # one of _IS


def _has(value: str, _: str) -> Node:
    return Has(_one_of("has", value, _HAS))  # type: ignore[arg-type]  # one of _HAS


def _lang(value: str, written: str) -> Node:
    code = language(value)
    if code is None:
        raise InvalidQuery(
            f"{shown(written)} is not a language: write its two-letter code, such as lang:en."
        )
    return Lang(code)


def _country(value: str, written: str) -> Node:
    if not (len(value) == 2 and value.isascii() and value.isalpha()):
        raise InvalidQuery(
            f"{shown(written)} is not a country: write its two-letter code, such as "
            "place_country:US."
        )
    return AtPlace("country", value.upper())


def _link(value: str, written: str) -> Node:
    text = " ".join(bare_address(canonical(value)).split())
    if not is_something(text):
        raise InvalidQuery(f"{shown(written)} contains no part of an address: write one.")
    return Link(text)


def _conversation(value: str, written: str) -> Node:
    if _X_ID.fullmatch(value):
        return Conversation(value)
    post = _BLUESKY_POST.fullmatch(value)
    if post is None:
        raise InvalidQuery(
            f"{shown(written)} is not a conversation: write the id of its first tweet, or the "
            "address of a Bluesky post with its did:."
        )
    return Conversation(f"{post['key'] or post['last_key']}/{post['did'] or post['last_did']}")


def _bounding_box(value: str, written: str) -> Node:
    return InBox(box(value.strip("[]").replace(",", " ").split(), written))


def _radius(value: str, written: str) -> Node:
    found = _RADIUS.fullmatch(value.strip("[]"))
    if found is None:
        raise InvalidQuery(
            f"{shown(written)} is not a circle: write point_radius:[longitude latitude 16km], "
            "in degrees and km or mi."
        )
    longitude, latitude, distance = float(found[1]), float(found[2]), float(found[3])
    if abs(longitude) > 180 or abs(latitude) > 90:
        raise InvalidQuery(
            f"In {shown(written)} the point is out of range: write the longitude (-180 to 180) "
            "first, then the latitude (-90 to 90)."
        )
    km = distance * (_KM_PER_MILE if found[4].lower() == "mi" else 1)
    if not 0 < km <= 20_000:
        raise InvalidQuery(
            f"In {shown(written)} the radius must be more than 0 and at most 20000km."
        )
    return InRadius((longitude + 0.0, latitude + 0.0), round(km, 6))


_OPERATORS: dict[str, Callable[[str, str], Node]] = {
    "from": _user("from"),
    "to": _user("to"),
    "retweets_of": _user("retweets_of"),
    "url": _link,
    "lang": _lang,
    "is": _is,
    "has": _has,
    "place": lambda value, _: AtPlace("name", place_name(value)),
    "place_country": _country,
    "point_radius": _radius,
    "bounding_box": _bounding_box,
    "conversation_id": _conversation,
}
