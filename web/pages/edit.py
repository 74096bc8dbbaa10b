"""The form to add or edit a track, with checks and a preview while typing."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from stream.cities import NAME_MAX
from stream.db import Executor
from stream.look_back_requests import SearchScope, parsed
from stream.network_support import network_support
from stream.networks.descriptions import TITLES
from stream.store import sharing, sources, track_history, track_list, users
from stream.store.track_history import Entry
from stream.store.track_list import TrackFilter
from stream.store.tracks import Track
from stream.tweet import TrackId
from stream.tweet_view import view_of
from web.context import app_context, form_fields, is_part, person, render, see_other, zone_of
from web.highlighting import reason, segments
from web.pages import cities, look_back_form
from web.pages import look_back as look_back_page
from web.pages.edit_form import KINDS, Form, mark_error, of_track, read
from web.pages.edit_map import CITIES, LAND
from web.pages.look_back_form import NEW_TRACK, NOTHING
from web.pages.tracks import track_number
from web.person import Person
from web.problem import Problem
from web.queries import preview as previews
from web.queries.preview import Preview
from web.queries.tracks import normalized, overview
from web.routing import Route, row_id
from web.track_editing import look_back, service
from web.track_editing.look_back import Offer

BROAD_PER_HOUR = 10_000  # tweets
BROAD_SHARE, BROAD_FROM = 0.5, 500  # of all that is stored, when that is so many an hour
COVERED = 0.8  # of its tweets
SLOW = 10.0  # seconds after which the page shows that a track should be active by now


async def new(request: web.Request) -> web.StreamResponse:
    given = {"kind": request.query.get("kind"), "value": request.query.get("value", "")}
    form = read(given, (), zone_of(request))
    return await _form(request, form, None)


async def create(request: web.Request) -> web.StreamResponse:
    """Add the track; a duplicate needs a second confirmation."""
    form, who, here = await _sent(request), person(request), app_context(request)
    given = form_fields(request)
    try:
        new, wanted = form.new_track(), look_back_form.read(given, NOTHING).wanted()
        service.checked(form.kind, form.value)
        duplicate = await _duplicate_of(request, form)
        if duplicate is not None and normalized(form.again) != normalized(form.value):
            form = msgspec.structs.replace(form, again=form.value)
            return await _form(request, form, None, duplicate=duplicate)
        track_id = await look_back.add_track(here.database, who, here.settings, new, wanted)
    except Problem as problem:
        return await _form(request, form, None, problem)
    return see_other(request, f"/tracks/{track_id}/saved")


async def _duplicate_of(request: web.Request, form: Form) -> Track | None:
    """A track of the same owner with the same meaning."""
    who = person(request)
    async with app_context(request).database.acquire() as connection:
        owner = form.owner or who.name
        same = await track_list.duplicates(
            connection, who.id, form.kind, form.value, TrackId(0), owner
        )
        tracks = [await service.require(connection, who, number) for number, _ in same[:1]]
    return next((track for track in tracks if track.owner == owner), None)


async def edit(request: web.Request) -> web.StreamResponse:
    async with app_context(request).database.acquire() as connection:
        track = await service.require(
            connection, person(request), track_number(request), change=True
        )
        last = await track_history.last_edit(connection, track.id)
    form = of_track(track, last.id if last else 0, zone_of(request))
    return await _form(request, form, track)


async def save(request: web.Request) -> web.StreamResponse:
    """Save the changed fields; if the track was changed meanwhile, show both versions."""
    form, number, who = await _sent(request), track_number(request), person(request)
    database = app_context(request).database
    version = row_id(form.version) if form.version else None
    newer = None
    async with database.acquire() as connection:
        track = await service.require(connection, who, number, change=True)
    try:
        changes = form.changes(of_track(track, 0, form.time_zone))
        if changes == service.Changes():
            return see_other(request, f"/tracks/{number}/saved")
        await service.change(database, who, number, changes, version=version)
    except Problem as problem:
        async with database.acquire() as connection:
            track = await service.require(connection, who, number, change=True)
            last = await track_history.last_edit(connection, track.id)
        if problem.code == "conflict" and last is not None:
            newer = last
            form = form.rebased(of_track(track, last.id, form.time_zone))
        return await _form(request, form, track, problem, newer)
    return see_other(request, f"/tracks/{number}/saved")


async def _sent(request: web.Request) -> Form:
    given = form_fields(request)
    return read(given, given.getall("networks", []), zone_of(request))


async def _form(
    request: web.Request,
    form: Form,
    track: Track | None,
    problem: Problem | None = None,
    newer: Entry | None = None,
    duplicate: Track | None = None,
) -> web.StreamResponse:
    if problem is not None and problem.field is None and newer is None:
        raise problem
    here, who = app_context(request), person(request)
    owners: list[str] = []
    async with here.database.acquire() as connection:
        used = await sources.enabled_networks(connection)
        if who.is_admin:
            owners = [user.name for user in await users.all(connection)]
    query = parsed(form.kind, form.value)
    offers: list[Offer] = []
    if track is None:
        offers = look_back.offers(SearchScope(query, form.networks, used, here.settings))
    looked_back = look_back_form.read(form_fields(request), NEW_TRACK)
    return render(
        request,
        "edit.html",
        status=problem.status if problem else HTTPStatus.CONFLICT if duplicate else HTTPStatus.OK,
        form=form,
        track=track,
        problem=problem,
        newer=newer,
        duplicate=duplicate,
        current=of_track(track, 0, form.time_zone) if track else None,
        wrong=mark_error(form.value, problem.span) if problem else None,
        kinds=KINDS,
        networks=TITLES,
        owners=owners,
        land=LAND,
        cities=CITIES,
        city_sizes=cities.SIZES,
        city_name_max=NAME_MAX,
        **look_back_form.template_values(looked_back, offers),
    )


async def check(request: web.Request) -> web.StreamResponse:
    """Whether the value is valid, and which networks can track it; called while typing."""
    form, who, settings = await _sent(request), person(request), app_context(request).settings
    values: dict[str, Any] = {"form": form, "problem": None, "wrong": None, "duplicates": []}
    values |= {"support": [], "empty": not form.value, "names": TITLES, "offers": ()}
    if form.value:
        try:
            query = service.checked(form.kind, form.value)
        except Problem as problem:
            values |= {"problem": problem, "wrong": mark_error(form.value, problem.span)}
        else:
            async with app_context(request).database.acquire() as connection:
                used = await sources.enabled_networks(connection)
                edited = await _edited_track(request)
                values["duplicates"] = await track_list.duplicates(
                    connection, who.id, form.kind, form.value, edited, form.owner or who.name
                )
            values["support"] = [
                each
                for each in network_support(query, settings, used)
                if each.network in form.networks
            ]
            if not edited:
                scope = SearchScope(query, form.networks, used, settings)
                values |= _look_back_fields(request, look_back.offers(scope))
    return render(request, "edit_check.html", **values)


def _look_back_fields(request: web.Request, offers: Sequence[Offer]) -> dict[str, Any]:
    """The fields for look-backs, if other places make sense than the form shows.

    Otherwise they stay: what is ticked meanwhile must not be lost.
    """
    given = form_fields(request)
    if given.get("offered") == look_back_form.key(offers):
        return {}
    return look_back_form.template_values(look_back_form.read(given, NEW_TRACK), offers)


async def preview(request: web.Request) -> web.StreamResponse:
    """How many stored tweets the value would have matched, with examples."""
    form, who = await _sent(request), person(request)
    try:
        query = service.checked(form.kind, form.value)
    except Problem:
        return web.Response(text="", content_type="text/html")  # `check` says why
    edited = await _edited_track(request)
    here = app_context(request)
    async with here.database.acquire() as connection:
        mine = (await sharing.visible_tracks(connection, who.id)).keys() - {edited}
    found = await previews.preview(here.cells, who.id, query, mine)
    async with here.database.acquire() as connection:
        covering = await _covering(connection, who, found)
    examples = [
        (
            view_of(tweet, ()),
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
    """Whether it matches so much that it is probably a mistake."""
    much = found.hour.stored >= BROAD_FROM and found.hour.share >= BROAD_SHARE
    return much or found.per_hour >= BROAD_PER_HOUR


async def _edited_track(request: web.Request) -> TrackId:
    """Id of the track that is being edited: it is not a duplicate of itself."""
    return TrackId(row_id(str(form_fields(request).get("track", ""))))


async def _covering(connection: Executor, who: Person, found: Preview) -> list[tuple[Track, float]]:
    """The tracks that already have most of these tweets."""
    covered = {number: share for number, share in found.covered.items() if share >= COVERED}
    tracks = [await service.require(connection, who, number) for number in list(covered)[:3]]
    return [(track, covered[track.id]) for track in tracks]


async def saved(request: web.Request) -> web.StreamResponse:
    """The state of a saved track; the page polls until it is active."""
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        track = await service.require(connection, who, track_number(request))
        last = await track_history.last_edit(connection, track.id)
        lines = await overview(here.cells, connection, who, TrackFilter(ids=[track.id]))
        looked_back = await look_back_page.listed(connection, person(request), track)
    waited = 0.0
    if last is not None and track.state_at is not None:
        waited = max((track.state_at - last.at).total_seconds(), 0.0)
    template = "edit_saved_state.html" if is_part(request) else "edit_saved.html"
    looked_back |= {"line": lines.value[0], "last": last, "waited": waited, "slow": SLOW}
    return render(request, template, track=track, **looked_back)


ROUTES = (
    Route("GET", "/tracks/new", new, "user"),
    Route("POST", "/tracks/new", create, "user"),
    Route("POST", "/tracks/check", check, "user"),
    Route("POST", "/tracks/preview", preview, "user"),
    Route("GET", "/tracks/{id}/change", edit, "user"),
    Route("POST", "/tracks/{id}/change", save, "user"),
    Route("GET", "/tracks/{id}/saved", saved, "viewer"),
)
