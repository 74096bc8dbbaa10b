"""Make a track or change one, with checks and a preview while it is written."""

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from stream.db import Executor
from stream.tracks import Track
from stream.tweet import TrackId
from web.accounts import users
from web.marking import reason, segments
from web.pages.edit_form import KINDS, Form, of_track, read
from web.pages.edit_map import CITIES, LAND
from web.pages.source_form import NAMES
from web.pages.tracks import row_number, track_number
from web.person import Person
from web.problem import Problem
from web.reading import preview as previews
from web.reading import tracks as reading
from web.reading.preview import Preview
from web.rendering import is_part, render, see_other
from web.routing import Route
from web.shown import shown
from web.site import person, site
from web.tracking import desk, records
from web.tracking.abilities import abilities
from web.tracking.mistakes import marked

BROAD_PER_HOUR = 10_000  # tweets
BROAD_SHARE, BROAD_FROM = 0.5, 500  # of all that is stored, when that is so many an hour
COVERED = 0.8  # of its tweets
SLOW = 10.0  # seconds after which it is said that a track should be active by now


async def new(request: web.Request) -> web.StreamResponse:
    form = read({"kind": request.query.get("kind"), "value": request.query.get("value", "")}, ())
    return await _form(request, form, None)


async def create(request: web.Request) -> web.StreamResponse:
    """Write it, unless the same is followed already: that is asked for a second time."""
    form, who = await _sent(request), person(request)
    try:
        new = form.new_track()
        desk.checked(form.kind, form.value)
        twin = await _followed(request, form)
        if twin is not None and reading.plain(form.again) != reading.plain(form.value):
            form = msgspec.structs.replace(form, again=form.value)
            return await _form(request, form, None, twin=twin)
        track_id = await desk.add(site(request).database, who, new)
    except Problem as problem:
        return await _form(request, form, None, problem)
    return see_other(request, f"/tracks/{track_id}/saved")


async def _followed(request: web.Request, form: Form) -> Track | None:
    """A track of the same owner that asks for the same."""
    who = person(request)
    async with site(request).database.acquire() as connection:
        owner = form.owner or who.name
        same = await reading.twins(connection, who, form.kind, form.value, TrackId(0), owner)
        tracks = [await desk.require(connection, who, number) for number, _ in same[:1]]
    return next((track for track in tracks if track.owner == owner), None)


async def edit(request: web.Request) -> web.StreamResponse:
    async with site(request).database.acquire() as connection:
        track = await desk.require(connection, person(request), track_number(request), change=True)
        last = await records.last_edit(connection, track.id)
    return await _form(request, of_track(track, last.id if last else 0), track)


async def save(request: web.Request) -> web.StreamResponse:
    """Write it, unless somebody else did so since the form was loaded: then show both."""
    form, number, who = await _sent(request), track_number(request), person(request)
    database = site(request).database
    version = row_number(form.version) if form.version else None
    theirs = None
    try:
        await desk.change(database, who, number, form.changes(), version=version)
    except Problem as problem:
        async with database.acquire() as connection:
            track = await desk.require(connection, who, number, change=True)
            last = await records.last_edit(connection, track.id)
        if problem.code == "conflict" and last is not None:
            theirs = last
            form = msgspec.structs.replace(form, version=str(last.id))
        return await _form(request, form, track, problem, theirs)
    return see_other(request, f"/tracks/{number}/saved")


async def _sent(request: web.Request) -> Form:
    given = await request.post()
    return read(given, given.getall("networks", []))


async def _form(
    request: web.Request,
    form: Form,
    track: Track | None,
    problem: Problem | None = None,
    theirs: records.Entry | None = None,
    twin: Track | None = None,
) -> web.StreamResponse:
    if problem is not None and problem.field is None and theirs is None:
        raise problem
    who = person(request)
    owners: list[str] = []
    if who.is_admin:
        async with site(request).database.acquire() as connection:
            owners = [user.name for user in await users.everybody(connection)]
    return render(
        request,
        "edit.html",
        status=problem.status if problem else HTTPStatus.CONFLICT if twin else HTTPStatus.OK,
        form=form,
        track=track,
        problem=problem,
        theirs=theirs,
        twin=twin,
        current=of_track(track, 0) if track else None,
        wrong=marked(form.value, problem.message) if problem and problem.field == "value" else None,
        kinds=KINDS,
        networks=NAMES,
        owners=owners,
        land=LAND,
        cities=CITIES,
    )


async def check(request: web.Request) -> web.StreamResponse:
    """Whether the value can be understood, and who can follow it; while somebody types."""
    form, who = await _sent(request), person(request)
    values: dict[str, Any] = {"form": form, "problem": None, "wrong": None, "twins": []}
    values |= {"able": [], "empty": not form.value, "names": NAMES}
    if form.value:
        try:
            query = desk.checked(form.kind, form.value)
        except Problem as problem:
            values |= {"problem": problem, "wrong": marked(form.value, problem.message)}
        else:
            async with site(request).database.acquire() as connection:
                used = await reading.networks_used(connection)
                besides = await _besides(request)
                values["twins"] = await reading.twins(
                    connection, who, form.kind, form.value, besides, form.owner or who.name
                )
            values["able"] = [
                each
                for each in abilities(query, site(request).settings, used)
                if each.network in form.networks
            ]
    return render(request, "edit_check.html", **values)


async def preview(request: web.Request) -> web.StreamResponse:
    """What it would have brought."""
    form, who = await _sent(request), person(request)
    try:
        query = desk.checked(form.kind, form.value)
    except Problem:
        return web.Response(text="", content_type="text/html")  # `check` says why
    besides = await _besides(request)
    database = site(request).database
    async with database.acquire() as connection:
        mine = (await desk.seen(connection, who)).keys() - {besides}
    found = await previews.preview(database, query, mine)
    async with database.acquire() as connection:
        covering = await _covering(connection, who, found)
    examples = [
        (
            shown(tweet, ()),
            segments(tweet.text, [match.term]),
            [reason(match.term, match.field, match.part)],
        )
        for tweet, match in found.examples
    ]
    return render(
        request,
        "edit_preview.html",
        preview=found,
        examples=examples,
        covering=covering,
        broad=is_broad(found),
    )


def is_broad(found: Preview) -> bool:
    """Whether so much would come that it is likely not meant."""
    much = found.hour.stored >= BROAD_FROM and found.hour.share >= BROAD_SHARE
    return much or found.per_hour >= BROAD_PER_HOUR


async def _besides(request: web.Request) -> TrackId:
    """The track that is being changed: it does not stand in its own way."""
    return TrackId(row_number(str((await request.post()).get("track", ""))))


async def _covering(connection: Executor, who: Person, found: Preview) -> list[tuple[Track, float]]:
    """The tracks that have most of it already."""
    covered = {number: share for number, share in found.covered.items() if share >= COVERED}
    tracks = [await desk.require(connection, who, number) for number in list(covered)[:3]]
    return [(track, covered[track.id]) for track in tracks]


async def saved(request: web.Request) -> web.StreamResponse:
    """What became of what was saved: asked again until it is active."""
    async with site(request).database.acquire() as connection:
        track = await desk.require(connection, person(request), track_number(request))
        last = await records.last_edit(connection, track.id)
        [line] = await reading.overview(
            connection, person(request), reading.Listing(number=track.id)
        )
    waited = 0.0
    if last is not None and track.state_at is not None:
        waited = max((track.state_at - last.at).total_seconds(), 0.0)
    template = "edit_saved_state.html" if is_part(request) else "edit_saved.html"
    return render(request, template, track=track, line=line, last=last, waited=waited, slow=SLOW)


ROUTES = (
    Route("GET", "/tracks/new", new, "user"),
    Route("POST", "/tracks/new", create, "user"),
    Route("POST", "/tracks/check", check, "user"),
    Route("POST", "/tracks/preview", preview, "user"),
    Route("GET", "/tracks/{id}/change", edit, "user"),
    Route("POST", "/tracks/{id}/change", save, "user"),
    Route("GET", "/tracks/{id}/saved", saved, "viewer"),
)
