"""The call that finds cities by name, for the boxes of place tracks."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.cities import NAME_MAX, SIZE_MAX, SIZE_MIN, FoundCity
from web.api.operations import operation
from web.api.params import PLAIN
from web.queries import cities


class CityQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which city, and how large a box."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=NAME_MAX,
            pattern=PLAIN,
            description="Its name in any language. After a comma its country, and of the USA,"
            " Canada, Australia and the UK its state, province or nation: `Paris, France`,"
            " `Paris, TX`, `Springfield, Illinois, USA`.",
            examples=["Paris, France"],
        ),
    ]
    size: (
        Annotated[
            float,
            Meta(
                ge=SIZE_MIN,
                le=SIZE_MAX,
                description="Width and height of the box in kilometres; default: fits the city's"
                " population.",
            ),
        ]
        | None
    ) = None


class CityPage(msgspec.Struct, frozen=True):
    """The cities with the name, the most populous first."""

    cities: list[FoundCity]


@operation("GET", "/api/v1/cities", "findCities", "Tracks")
async def find_cities(_: web.Request, query: CityQuery) -> CityPage:
    """Cities by name, with boxes for place tracks.

    Up to 20 cities of 15,000 people or more; data of GeoNames, CC BY 4.0.
    """
    return CityPage(await cities.find(query.name, query.size))


OPERATIONS = (find_cities,)
