"""Who else sees a track."""

from aiohttp import web

from web.accounts import users
from web.pages.tracks import track_number
from web.problem import Problem
from web.rendering import render, see_other
from web.routing import Route
from web.site import person, site
from web.tracking import desk, shares


async def form(request: web.Request) -> web.StreamResponse:
    return await _form(request, None)


async def _form(request: web.Request, problem: Problem | None) -> web.StreamResponse:
    async with site(request).database.acquire() as connection:
        track = await desk.require(connection, person(request), track_number(request), change=True)
        shared = await shares.shared_with(connection, track.id)
        everybody = await users.everybody(connection)
    others = [
        user
        for user in everybody
        if user.name != track.owner and (user.enabled or user.name in shared)
    ]
    return render(
        request,
        "edit_share.html",
        status=problem.status if problem else 200,
        track=track,
        shared=shared,
        others=others,
        problem=problem,
    )


async def share(request: web.Request) -> web.StreamResponse:
    names = [str(name) for name in (await request.post()).getall("names", [])]
    number = track_number(request)
    try:
        await desk.share(site(request).database, person(request), number, names)
    except Problem as problem:
        if problem.field is None:
            raise
        return await _form(request, problem)
    return see_other(request, f"/tracks/{number}")


ROUTES = (
    Route("GET", "/tracks/{id}/share", form, "user"),
    Route("POST", "/tracks/{id}/share", share, "user"),
)
