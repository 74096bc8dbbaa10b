"""Pages out of templates, that know who looks at them."""

from datetime import UTC, datetime
from string import punctuation
from urllib.parse import quote

from aiohttp import web

from web.site import PERSON, site


def render(
    request: web.Request, template: str, *, status: int = 200, **values: object
) -> web.Response:
    """A page, or a part of one for htmx."""
    here, person = site(request), request.get(PERSON)
    text = here.pages.text(
        template,
        person=person,
        csrf=person.csrf if person is not None else "",
        path=request.path.removeprefix(here.base),
        now=datetime.now(UTC),
        **values,
    )
    return web.Response(text=text, status=status, content_type="text/html")


def is_part(request: web.Request) -> bool:
    """Whether htmx asks, and wants no whole page."""
    return "HX-Request" in request.headers and "HX-Boosted" not in request.headers


def see_other(request: web.Request, path: str) -> web.Response:
    """Go on there; htmx is told in its own way."""
    location = quote(site(request).pages.url(path), safe=punctuation)
    if is_part(request):
        return web.Response(headers={"HX-Redirect": location})
    return web.Response(status=303, headers={"Location": location})
