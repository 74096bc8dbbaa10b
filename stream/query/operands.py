"""Accounts, boxes and places as people write them: kind=user, kind=place, operands of rules.

A user track has accounts between commas: by handle, id or address. A place track has boxes of
degrees or names of places between semicolons.
"""

import re
from typing import Literal

from stream.errors import InvalidQuery
from stream.geo import width
from stream.query.keywords import is_handle, is_something, shown
from stream.query.spans import error_span, split_spans
from stream.query.tokenize import canonical
from stream.query.tree import Alternative, AtPlace, InBox, User, alternative, number
from stream.tweet import Box

Relation = Literal["any", "from", "to", "retweets_of"]

_ID = re.compile("[0-9]{1,20}")
_PLC = re.compile("did:plc:[a-z2-7]{24}")
DID = re.compile("did:[a-z]{1,20}:[A-Za-z0-9._:%-]{1,200}")
_PROFILE = re.compile(
    r"(?:https?://)?(?:www\.|mobile\.)?(?:twitter\.com|x\.com|bsky\.app/profile)/@?([^/?#]+)/?",
    re.IGNORECASE,
)
DATE_LINE_WIDTH_MAX = 180  # degrees; a wider box across the date line is a mistake in the order
_NUMBERS_ONLY = re.compile(r"[\d\s.,+°-]*\d[\d\s.,+°-]*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{0,20})?|\.\d{1,20})", re.ASCII)


def users(value: str) -> list[Alternative]:
    """Every account between commas; each by whatever belongs to it, as v1 `follow` delivers."""
    found = []
    for span in split_spans(value, ","):
        with error_span(span):
            found.append(alternative(account(value[slice(*span)])))
    if not found:
        raise InvalidQuery("The value is empty: write an account, such as @nasa, or its id.")
    return found


def account(written: str, relation: Relation = "any") -> User:
    """One account. Digits alone are an id; with an @ before them they are a handle."""
    name = profile[1] if (profile := _PROFILE.fullmatch(written)) else written
    if name[:1] != "@" and (_ID.fullmatch(name) or DID.fullmatch(name)):
        user_id = name if name.startswith("did:") else str(int(name))
        if user_id.startswith("did:plc:") and not _PLC.fullmatch(user_id):
            raise InvalidQuery(
                f"{shown(written)} is not an id of an account: did:plc: is followed by 24 small "
                "letters and digits from 2 to 7. Copy all of it, or write the handle."
            )
        return User(relation, id=user_id)
    handle = name.removeprefix("@").lower()
    if is_handle(handle):
        return User(relation, handle=handle)
    if len(written.split()) > 1:
        raise InvalidQuery(
            f"{shown(written)} is not an account: write its handle, such as @nasa, not the display "
            "name, and separate several accounts by commas."
        )
    raise InvalidQuery(
        f"{shown(written)} is not an account: write a handle of letters, digits and _ (up to 20), "
        "such as @nasa, name.bsky.social or @name@server, or an id in digits."
    )


def places(value: str) -> list[Alternative]:
    """Every box `west,south,east,north` or place name between semicolons."""
    found = []
    for span in split_spans(value, ";"):
        with error_span(span):
            found.append(_place(value[slice(*span)]))
    if not found:
        raise InvalidQuery(
            "The value is empty: write a box as west,south,east,north in degrees, "
            "such as -74,40,-73,41, or the name of a place."
        )
    return found


def _place(written: str) -> Alternative:
    parts = written.split(",")
    if _NUMBERS_ONLY.fullmatch(written) or (len(parts) == 4 and any(map(_is_number, parts))):
        found = box(parts, written)
        return Alternative(",".join(map(number, found)), InBox(found))
    name = place_name(written)
    return Alternative(name, AtPlace("name", name))


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None


def place_name(written: str) -> str:
    """The canonical name of a place, or its id."""
    name = " ".join(canonical(written).split())
    if not is_something(name):
        raise InvalidQuery(f"{shown(written)} is not a place: write its name, or a box in degrees.")
    return name


def box(parts: list[str], written: str) -> Box:
    """Four numbers as a box: longitude first, south-west corner first (X v1.1 reference §7).

    One whose west is greater than its east crosses the date line.
    """
    texts = [part.strip() for part in parts]
    if len(texts) != 4 or not all(_NUMBER.fullmatch(text) for text in texts):
        raise InvalidQuery(
            f"{shown(written)} is not a box: write four numbers in degrees, "
            "west,south,east,north, such as -74,40,-73,41."
        )
    west, south, east, north = (float(text) + 0.0 for text in texts)
    for name, degrees, limit in (
        ("west", west, 180),
        ("south", south, 90),
        ("east", east, 180),
        ("north", north, 90),
    ):
        if abs(degrees) > limit:
            raise InvalidQuery(
                f"In {shown(written)} {name} is {number(degrees)} and must be between -{limit} "
                f"and {limit}: longitude is first, as in west,south,east,north."
            )
    _check_order(west, south, east, north, written)
    return west, south, east, north


def _check_order(west: float, south: float, east: float, north: float, written: str) -> None:
    if south >= north:
        raise InvalidQuery(
            f"In {shown(written)} south ({number(south)}) is not below north ({number(north)}): "
            "write west,south,east,north."
        )
    degrees = width((west, south, east, north))
    if not degrees:
        raise InvalidQuery(
            f"In {shown(written)} west and east are both {number(west)}: write a wider box."
        )
    if west > east and degrees > DATE_LINE_WIDTH_MAX:
        raise InvalidQuery(
            f"In {shown(written)} west ({number(west)}) is right of east ({number(east)}), which "
            f"would be {number(round(degrees, 3))} degrees across the date line: write "
            "west,south,east,north."
        )
