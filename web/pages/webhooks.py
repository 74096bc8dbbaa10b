"""The pages about webhooks: add, change, test and remove them, and what became of each message."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from stream.db import Executor
from stream.sinks import webhook_secrets
from stream.store import sharing, tracks, webhook_deliveries
from stream.store.webhooks import Webhook
from stream.tweet import UserId
from web import webhooks as service
from web.context import Form, app_context, form_fields, is_part, person, render, see_other
from web.problem import Problem
from web.routing import Route, row_id
from web.webhooks import WebhookFields

EMPTY = WebhookFields("", "", None)
SHOWN = 50  # deliveries


async def webhooks(request: web.Request) -> web.StreamResponse:
    return await _list(request)


async def _list(
    request: web.Request, problem: Problem | None = None, given: WebhookFields = EMPTY
) -> web.Response:
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        hooks = await service.listed(connection, who)
        choices = await _choices(connection, who.id, who.name)
    return render(
        request,
        "webhooks.html",
        status=200 if problem is None else problem.status,
        hooks=hooks,
        most=0 if here.settings.cells else here.settings.sinks.webhooks.max_per_user,
        no_cells=service.NO_CELLS if here.settings.cells else "",
        choices=choices,
        given=given,
        problem=problem,
    )


async def _choices(
    connection: Executor, user_id: UserId, name: str, chosen: Sequence[int] = ()
) -> list[tuple[int, str, str | None]]:
    """The tracks that a user can choose: those that are chosen, then the newest.

    Each with its id, its value, and its owner if that is another user.
    """
    seen = await sharing.visible_tracks(connection, user_id)
    first = sorted(seen, key=lambda each: (each in chosen, each), reverse=True)
    found = await tracks.get_many(connection, first[: service.TRACKS_MAX])
    rows = {each.id: each for each in found}
    return [
        (int(row.id), row.value, None if row.owner == name else row.owner)
        for row in (rows[each] for each in first if each in rows)
    ]


def _fields(form: Form) -> WebhookFields:
    chosen = [row_id(str(each)) for each in form.getall("tracks", [])]
    return WebhookFields(
        str(form.get("name", "")).strip(),
        str(form.get("url", "")).strip(),
        None if form.get("which") == "all" else chosen,
    )


async def add(request: web.Request) -> web.StreamResponse:
    """Add a webhook; only this answer shows its secret."""
    given = _fields(form_fields(request))
    try:
        hook, secret = await service.add(app_context(request), person(request), given)
    except Problem as problem:
        return await _list(request, problem, given)
    return await _page(request, hook.id, secret=secret)


async def one(request: web.Request) -> web.StreamResponse:
    return await _page(request, _number(request))


async def _page(
    request: web.Request,
    webhook_id: int,
    problem: Problem | None = None,
    given: WebhookFields | None = None,
    secret: str = "",
) -> web.Response:
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        hook = await service.require(connection, who, webhook_id)
        values = await _deliveries(connection, hook)
        choices = await _choices(connection, hook.user_id, hook.owner, hook.tracks or ())
    return render(
        request,
        "webhooks_one.html",
        status=200 if problem is None else problem.status,
        choices=choices,
        given=given or WebhookFields(hook.name, hook.url, hook.tracks),
        problem=problem,
        secret=secret,
        hours=webhook_secrets.OLD_SECRET_HOURS,
        **values,
    )


async def _deliveries(connection: Executor, hook: Webhook) -> Mapping[str, Any]:
    dead = await webhook_deliveries.newest(connection, hook.id, SHOWN, "dead")
    chosen = hook.tracks or ()
    return {
        "hook": hook,
        "is_idle": chosen and not await sharing.visible_among(connection, hook.user_id, chosen),
        "deliveries": await webhook_deliveries.newest(connection, hook.id, SHOWN),
        "dead": [each for each in dead if each.event != "webhook.test"],
    }


async def deliveries(request: web.Request) -> web.StreamResponse:
    """The state and the deliveries, as a part of the page."""
    if not is_part(request):
        return see_other(request, f"/webhooks/{_number(request)}")
    async with app_context(request).database.acquire() as connection:
        hook = await service.require(connection, person(request), _number(request))
        values = await _deliveries(connection, hook)
    return render(request, "webhooks_deliveries.html", **values)


async def edit(request: web.Request) -> web.StreamResponse:
    given = _fields(form_fields(request))
    try:
        await service.edit(app_context(request), person(request), _number(request), given)
    except Problem as problem:
        if problem.field is None:
            raise
        return await _page(request, _number(request), problem, given)
    return _back(request)


async def rotate(request: web.Request) -> web.StreamResponse:
    """Make a new secret; only this answer shows it."""
    hook, secret = await service.rotate(app_context(request), person(request), _number(request))
    return await _page(request, hook.id, secret=secret)


async def pause(request: web.Request) -> web.StreamResponse:
    here = app_context(request)
    await service.set_paused(here, person(request), _number(request), paused=True)
    return _back(request)


async def resume(request: web.Request) -> web.StreamResponse:
    here = app_context(request)
    await service.set_paused(here, person(request), _number(request), paused=False)
    return _back(request)


async def send_test(request: web.Request) -> web.StreamResponse:
    await service.send_test(app_context(request), person(request), _number(request))
    return _back(request)


async def remove(request: web.Request) -> web.StreamResponse:
    await service.remove(app_context(request), person(request), _number(request))
    return see_other(request, "/webhooks")


async def send_again(request: web.Request) -> web.StreamResponse:
    sent = await service.send_again(app_context(request), person(request), _number(request))
    return see_other(request, f"/webhooks/{sent.webhook_id}#deliveries")


def _back(request: web.Request) -> web.Response:
    return see_other(request, f"/webhooks/{_number(request)}")


def _number(request: web.Request) -> int:
    return row_id(request.match_info["id"])


ROUTES = (
    Route("GET", "/webhooks", webhooks, "user"),
    Route("POST", "/webhooks", add, "user"),
    Route("GET", "/webhooks/{id}", one, "user"),
    Route("POST", "/webhooks/{id}", edit, "user"),
    Route("GET", "/webhooks/{id}/deliveries", deliveries, "user"),
    Route("POST", "/webhooks/{id}/secret", rotate, "user"),
    Route("POST", "/webhooks/{id}/pause", pause, "user"),
    Route("POST", "/webhooks/{id}/resume", resume, "user"),
    Route("POST", "/webhooks/{id}/test", send_test, "user"),
    Route("POST", "/webhooks/{id}/remove", remove, "user"),
    Route("POST", "/webhook-deliveries/{id}/send-again", send_again, "user"),
)
