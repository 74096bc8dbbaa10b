"""Cities by name, on the form of a place track."""

from aiohttp import web

from stream.cities import HINT
from web.context import is_part, render_part
from web.problem import Problem
from web.queries import cities
from web.routing import Route

SIZES = {  # km
    "": "as large as the city",
    **{str(size): f"{size} km wide" for size in (5, 10, 25, 50, 100, 250, 500)},
}


async def find(request: web.Request) -> web.StreamResponse:
    """The cities with a name, each with a box to choose; a page of its own without JavaScript."""
    written, size = request.query.get("name", "").strip(), request.query.get("size", "")
    if size not in SIZES:
        raise Problem("invalid", "Choose one of the sizes.", field="size")
    found = await cities.find(written, float(size) if size else None)
    return render_part(
        request,
        "edit_cities.html",
        "Cities",
        "edit.css",
        found=found,
        written=written,
        hint=HINT,
        in_form=is_part(request),
    )


ROUTES = (Route("GET", "/tracks/cities", find, "user"),)
