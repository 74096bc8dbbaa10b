"""The page Use this data: lines for other programs that read what a search finds."""

import msgspec
from aiohttp import web

from web import exports
from web.context import app_context, person, render
from web.pages.track import filters
from web.problem import Problem
from web.queries.tweet_filter import QueryText, parse_query
from web.routing import Route, row_id
from web.snippets.snippet import file_of_export, snippets
from web.track_editing import service

QUERY_MAX = 1000  # characters, as in the API
TRACKS_MAX = 100  # as in the API


async def page(request: web.Request) -> web.StreamResponse:
    """`track` (also several, with commas) or `query` as on the page Live; a track's filters.

    `export`: the export that they are of.
    """
    here, who, asked = app_context(request), person(request), filters(request.query)
    numbers = [each for each in request.query.get("track", "").split(",") if each.strip()]
    query = None if numbers else _query(request)
    if len(numbers) > TRACKS_MAX:
        raise Problem("invalid", f"Choose at most {TRACKS_MAX} tracks.", field="track")
    of_export = []
    async with here.database.acquire() as connection:
        if "export" in request.query:
            export = await exports.require(connection, who, row_id(request.query["export"]))
            of_export = [file_of_export(export.id, here.origin + here.base)]
        tracks = [
            await service.require(connection, who, row_id(each))
            for each in dict.fromkeys(map(str.strip, numbers))
        ]
    wanted = asked.wanted(who, None, query)
    if tracks:
        wanted = msgspec.structs.replace(wanted, tracks=[track.id for track in tracks])
    return render(
        request,
        "use_data.html",
        tracks=tracks,
        query=query,
        filters=asked.query(),
        begin=asked.begin,
        end=asked.end,
        snippets=[*of_export, *snippets(wanted, here.origin + here.base)],
    )


def _query(request: web.Request) -> QueryText | None:
    """Problem for one that is wrong."""
    text = request.query.get("query", "").replace("\0", "").strip()
    if len(text) > QUERY_MAX:
        raise Problem("invalid", f"Enter at most {QUERY_MAX:,} characters.", field="query")
    if not text:
        return None
    parse_query(text)
    return QueryText("query", text)


ROUTES = (Route("GET", "/use-data", page, "viewer"),)
