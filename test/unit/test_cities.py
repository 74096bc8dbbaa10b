"""Cities are found by their names in any language, each with a box around it."""

import tracemalloc

import pytest

from stream.cities import FITTING_MAX, FITTING_MIN, City, find, fitting_size
from stream.config import Settings
from stream.errors import InvalidField
from stream.geo import KM_PER_DEGREE, width
from stream.network_support import network_support
from stream.query import InBox, parse, terms_of

MEMORY_MAX = 5_000_000  # bytes, while it searches


@pytest.mark.parametrize(
    ("written", "first"),
    [
        ("Zürich", "Zürich, Switzerland"),
        ("ZURICH", "Zürich, Switzerland"),
        ("sao paulo", "São Paulo, Brazil"),
        ("北京", "Beijing, China"),
        ("Москва", "Moscow, Russia"),
        ("القاهرة", "Cairo, Egypt"),
        ("Paris", "Paris, France"),
        ("Paris, TX", "Paris, TX, United States"),
        ("Springfield, il ", "Springfield, IL, United States"),
        ("Córdoba, es", "Córdoba, Spain"),
        ("Córdoba, Argentina", "Córdoba, Argentina"),
        ("Johannesb", "Johannesburg, South Africa"),
        ("Paris, Texas", "Paris, TX, United States"),
        ("paris , FRA", "Paris, France"),
        ("Springfield, Illinois, USA", "Springfield, IL, United States"),
        ("Springfield, the U.S.A., illinois", "Springfield, IL, United States"),
        ("Washington, D.C.", "Washington, DC, United States"),
        ("Atlanta, Georgia", "Atlanta, GA, United States"),
        ("Tbilisi, Georgia", "Tbilisi, Georgia"),
        ("London, Ontario, Canada", "London, ON, Canada"),
        ("Perth, Scotland", "Perth, Scotland, United Kingdom"),
        ("Perth, WA", "Perth, WA, Australia"),
        ("Montreal, Québec", "Montréal, QC, Canada"),
        ("London, UK,", "London, England, United Kingdom"),
        ("Den Haag, The Netherlands", "The Hague, Netherlands"),
        ("Ankara, Türkiye", "Ankara, Turkey"),
    ],
)
def test_the_most_populous_city_of_a_name_is_first(written: str, first: str) -> None:
    found = find(written)
    assert found[0].title == first
    assert [each.population for each in found] == sorted(
        (each.population for each in found), reverse=True
    )


def test_all_cities_of_a_name_are_told_apart() -> None:
    titles = [each.title for each in find("Springfield")]
    assert {f"Springfield, {state}, United States" for state in ("IL", "MA", "MO")} <= {*titles}
    assert len({*titles}) == len(titles)
    assert find("no such city at all") == find("Paris, Illinois, France") == []


@pytest.mark.parametrize(
    ("name", "size"),
    [("", None), (" , France", None), ("a" * 101, None), ("Rome", 0), ("Rome", 2e3)],
)
def test_what_cannot_be_searched_is_refused(name: str, size: float | None) -> None:
    with pytest.raises(InvalidField):
        find(name, size)


@pytest.mark.parametrize("size", [None, 5.0, 100.0])
@pytest.mark.parametrize("written", ["London", "Quito", "Suva", "Longyearbyen", "Punta Arenas"])
def test_the_box_is_a_track_and_as_large_as_wanted(written: str, size: float | None) -> None:
    found = find(written, size)[0]
    [term] = terms_of(parse("place", found.value))
    assert isinstance(term, InBox)
    _, south, _, north = term.box
    high = (north - south) * KM_PER_DEGREE
    assert high == pytest.approx(size or fitting_size(found.population), abs=0.3)


def test_a_box_may_cross_the_date_line() -> None:
    west, _, east, _ = box = City("Suva", -18.1, 179.99, "FJ", 1).box(50)
    assert west > 0 > east
    assert 0 < width(box) < 1


def test_a_box_that_fits_is_neither_too_small_nor_too_large_for_x() -> None:
    assert fitting_size(0) == FITTING_MIN
    assert fitting_size(10**8) == FITTING_MAX
    for name in ("Istanbul", "Saint Petersburg", "Helsinki", "Shanghai"):
        query = parse("place", find(name)[0].value)
        support = network_support(query, Settings(), ["x_v2"])
        assert [each.usable for each in support if each.network == "x_v2"] == [True], name


def test_a_search_takes_little_memory_and_keeps_none() -> None:
    find("Paris")
    tracemalloc.start()
    try:
        find("London")
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_MAX
    assert kept < MEMORY_MAX / 20
