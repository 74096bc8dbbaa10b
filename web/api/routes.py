"""All calls of the REST API."""

from web.api import about, document, numbers, simple, stream, tracks, tweets
from web.routing import Route

ROUTES: tuple[Route, ...] = (
    *about.ROUTES,
    *document.ROUTES,
    *numbers.ROUTES,
    *simple.ROUTES,
    *stream.ROUTES,
    *tracks.ROUTES,
    *tweets.ROUTES,
)
