"""Cities by name, for the boxes of place tracks: one search at a time, in a thread."""

import asyncio

from stream import cities
from stream.cities import FoundCity
from stream.errors import InvalidField
from web.limiters import AdmissionLimiter
from web.problem import Problem

WAITING_MAX = 10  # searches, each of which takes half a second
_SEARCHES = AdmissionLimiter(1, WAITING_MAX)


async def find(name: str, size: float | None) -> list[FoundCity]:
    """The cities with this name; Problem for a wrong field, or when too many search at once."""
    busy = Problem("too_many", "Too many searches at once: try again.", retry_after=WAITING_MAX)
    async with _SEARCHES.admit(busy):
        try:
            return await asyncio.to_thread(cities.find, name, size)
        except InvalidField as error:
            raise Problem("invalid", str(error), field=error.field) from error
