"""kind=place: boxes of degrees or names of places, between semicolons."""

import re

from stream.errors import InvalidQuery
from stream.query.keywords import is_something, shown
from stream.query.terms import number
from stream.query.tree import Alternative, AtPlace, InBox
from stream.query.words import canonical
from stream.tweet import Box

_NUMBERS_ONLY = re.compile(r"[\d\s.,+°-]*\d[\d\s.,+°-]*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{0,20})?|\.\d{1,20})", re.ASCII)


def places(value: str) -> list[Alternative]:
    """Every box `west,south,east,north` or place name between semicolons."""
    written = [place.strip() for place in value.split(";") if place.strip()]
    if not written:
        raise InvalidQuery(
            "The value is empty: write a box as west,south,east,north in degrees, "
            "such as -74,40,-73,41, or the name of a place."
        )
    return [_place(each) for each in written]


def _place(written: str) -> Alternative:
    if _NUMBERS_ONLY.fullmatch(written):
        found = box(written.split(","), written)
        return Alternative(",".join(map(number, found)), InBox(found))
    name = place_name(written)
    return Alternative(name, AtPlace("name", name))


def place_name(written: str) -> str:
    """The canonical name of a place, or its id."""
    name = " ".join(canonical(written).split())
    if not is_something(name):
        raise InvalidQuery(f"{shown(written)} is no place: write its name, or a box of degrees.")
    return name


def box(parts: list[str], written: str) -> Box:
    """Four numbers as a box: longitude first, south-west corner first (X v1.1 reference §7)."""
    texts = [part.strip() for part in parts]
    if len(texts) != 4 or not all(_NUMBER.fullmatch(text) for text in texts):
        raise InvalidQuery(
            f"{shown(written)} is no box: write four numbers in degrees, "
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
                f"In {shown(written)} {name} is {number(degrees)} and must lie between -{limit} "
                f"and {limit}: longitude comes first, as west,south,east,north."
            )
    if west >= east or south >= north:
        _refuse_order(west, south, east, north, written)
    return west, south, east, north


def _refuse_order(west: float, south: float, east: float, north: float, written: str) -> None:
    if south >= north:
        raise InvalidQuery(
            f"In {shown(written)} south ({number(south)}) is not below north ({number(north)}): "
            "write west,south,east,north."
        )
    latitudes = f"{number(south)},{{}},{number(north)}"
    halves = (
        f"{number(west)},{latitudes.format(180)};-180,{latitudes.format(number(east))}"
        if west > east
        else "a wider one"
    )
    raise InvalidQuery(
        f"In {shown(written)} west ({number(west)}) is not left of east ({number(east)}): "
        f"write west,south,east,north; for a box across the date line write {halves}."
    )
