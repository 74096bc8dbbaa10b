"""Calls about webhooks: add, change, test and remove them; their deliveries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from stream.store import webhook_deliveries
from stream.store.webhook_deliveries import Delivery, Event
from stream.store.webhook_deliveries import State as DeliveryState
from stream.store.webhooks import State, Webhook
from stream.tweet import TrackId
from web import webhooks as service
from web.api.operations import operation
from web.api.params import PLAIN, TrackNumber, row_number, track_ids
from web.context import app_context, person
from web.webhooks import NAME_MAX, TRACKS_MAX, WebhookFields

Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, pattern=PLAIN)]
Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2000,
        pattern=PLAIN,
        description="With https; http only in allowed networks.",
    ),
]
Tracks = Annotated[
    Sequence[TrackNumber],
    Meta(min_length=1, max_length=TRACKS_MAX, description="Null: all that you see."),
]
_WEBHOOK = "Id of the webhook."


def _chosen(tracks: Sequence[TrackNumber] | None) -> Sequence[TrackId] | None:
    return None if tracks is None else track_ids(tracks)


class AddWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A webhook to add."""

    name: Name
    url: Url
    tracks: Tracks | None = None


class ChangeWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields to change; omitted ones stay as they are."""

    name: Name | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    tracks: Tracks | UnsetType | None = UNSET
    paused: bool | UnsetType = UNSET


class WebhookStatus(msgspec.Struct, frozen=True):
    """A webhook. `reason`: why it fails, or was disabled.

    `old_secret_until`: until then the former secret signs as well.
    """

    id: int
    owner: str
    name: str
    url: str
    tracks: Sequence[TrackId] | None
    state: State
    reason: str
    failing_since: datetime | None
    old_secret_until: datetime | None
    created_at: datetime


class WebhookList(msgspec.Struct, frozen=True):
    """Webhooks, by owner and name."""

    webhooks: list[WebhookStatus]


class WebhookWithSecret(msgspec.Struct, frozen=True):
    """A webhook and its new secret, which is shown only once."""

    id: int
    secret: str
    webhook: WebhookStatus


class DeliveryStatus(msgspec.Struct, frozen=True):
    """A message to a webhook.

    `state`: `waiting` for its next try, being sent `again`, `delivered`, or `dead`: given up.
    `tweets`: their ids. `seconds`, `status` and `answer` are of the last try; `result` says why it
    failed. A dead one without tweets stands for a day whose tweets were archived and left Postgres
    before they were sent: it cannot be sent again.
    """

    id: int
    webhook_id: int
    message_id: str
    event: Event
    tweets: Sequence[str]
    state: DeliveryState
    created_at: datetime
    tries: int
    tried_at: datetime | None
    seconds: float | None
    status: int | None
    result: str
    answer: str
    next_at: datetime | None


class DeliveryList(msgspec.Struct, frozen=True):
    """Deliveries of a webhook, the newest first."""

    deliveries: list[DeliveryStatus]


class DeliveryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which deliveries to list."""

    state: DeliveryState | None = None
    limit: Annotated[int, Meta(ge=1, le=150)] = 50


@operation("GET", "/api/v1/webhooks", "listWebhooks", "Webhooks", access="user")
async def list_webhooks(request: web.Request) -> WebhookList:
    """Your webhooks; for admins those of all users."""
    async with app_context(request).database.acquire() as connection:
        found = await service.listed(connection, person(request))
    return WebhookList([_status(each) for each in found])


@operation(
    "POST",
    "/api/v1/webhooks",
    "addWebhook",
    "Webhooks",
    access="user",
    scope="write",
    status=201,
    location="/api/v1/webhooks/{id}",
    errors=(409,),
    example={"name": "my service", "url": "https://example.org/hook"},
)
async def add_webhook(request: web.Request, body: AddWebhook) -> WebhookWithSecret:
    """Add a webhook.

    Tweets of these tracks that are stored from now on are sent to its address. The answer has the
    secret with which messages are signed; it is not shown again.
    """
    given = WebhookFields(body.name, body.url, _chosen(body.tracks))
    hook, secret = await service.add(app_context(request), person(request), given)
    return WebhookWithSecret(hook.id, secret, _status(hook))


@operation(
    "GET",
    "/api/v1/webhooks/{id:[0-9]+}",
    "getWebhook",
    "Webhooks",
    access="user",
    path_help=_WEBHOOK,
)
async def get_webhook(request: web.Request) -> WebhookStatus:
    """A webhook, and whether it works."""
    async with app_context(request).database.acquire() as connection:
        return _status(await service.require(connection, person(request), row_number(request)))


@operation(
    "PATCH",
    "/api/v1/webhooks/{id:[0-9]+}",
    "changeWebhook",
    "Webhooks",
    access="user",
    scope="write",
    example={"paused": False},
    path_help=_WEBHOOK,
)
async def change_webhook(request: web.Request, body: ChangeWebhook) -> WebhookStatus:
    """Change a webhook, pause or resume it.

    A webhook that was paused or disabled continues where it stopped.
    """
    here, who, number = app_context(request), person(request), row_number(request)
    async with here.database.acquire() as connection:
        hook = await service.require(connection, who, number)
    given = WebhookFields(
        hook.name if body.name is UNSET else body.name,
        hook.url if body.url is UNSET else body.url,
        hook.tracks if body.tracks is UNSET else _chosen(body.tracks),
    )
    if given != WebhookFields(hook.name, hook.url, hook.tracks):
        hook = await service.edit(here, who, number, given)
    if body.paused is not UNSET:
        hook = await service.set_paused(here, who, number, paused=body.paused)
    return _status(hook)


@operation(
    "POST",
    "/api/v1/webhooks/{id:[0-9]+}/secret",
    "rotateWebhookSecret",
    "Webhooks",
    access="user",
    scope="write",
    path_help=_WEBHOOK,
)
async def rotate_secret(request: web.Request) -> WebhookWithSecret:
    """Give a webhook a new secret.

    For 24 hours messages have two signatures, the second one with the former secret.
    """
    here = app_context(request)
    hook, secret = await service.rotate(here, person(request), row_number(request))
    return WebhookWithSecret(hook.id, secret, _status(hook))


@operation(
    "POST",
    "/api/v1/webhooks/{id:[0-9]+}/test",
    "testWebhook",
    "Webhooks",
    access="user",
    scope="write",
    path_help=_WEBHOOK,
)
async def test_webhook(request: web.Request) -> DeliveryStatus:
    """Send a test: the event `webhook.test`, once, also while the webhook is paused."""
    here = app_context(request)
    return _delivery(await service.send_test(here, person(request), row_number(request)))


@operation(
    "GET",
    "/api/v1/webhooks/{id:[0-9]+}/deliveries",
    "listWebhookDeliveries",
    "Webhooks",
    access="user",
    path_help=_WEBHOOK,
)
async def list_deliveries(request: web.Request, query: DeliveryQuery) -> DeliveryList:
    """The newest deliveries of a webhook."""
    async with app_context(request).database.acquire() as connection:
        hook = await service.require(connection, person(request), row_number(request))
        found = await webhook_deliveries.newest(connection, hook.id, query.limit, query.state)
    return DeliveryList([_delivery(each, hook.state) for each in found])


@operation(
    "POST",
    "/api/v1/webhook-deliveries/{id:[0-9]+}/send-again",
    "sendWebhookDeliveryAgain",
    "Webhooks",
    access="user",
    scope="write",
    path_help="Id of the delivery.",
)
async def send_again(request: web.Request) -> DeliveryStatus:
    """Send a delivery again.

    Its tweets are read again, also from archives, and the message has the same `webhook-id`. Tweets
    that were deleted meanwhile, or are no longer shared with you, are left out.
    """
    here = app_context(request)
    return _delivery(await service.send_again(here, person(request), row_number(request)))


@operation(
    "DELETE",
    "/api/v1/webhooks/{id:[0-9]+}",
    "removeWebhook",
    "Webhooks",
    access="user",
    scope="write",
    path_help=_WEBHOOK,
)
async def remove_webhook(request: web.Request) -> None:
    """Delete a webhook with its deliveries."""
    await service.remove(app_context(request), person(request), row_number(request))


def _status(hook: Webhook) -> WebhookStatus:
    return msgspec.convert(hook, WebhookStatus, from_attributes=True)


def _delivery(found: Delivery, state: State = "active") -> DeliveryStatus:
    """A delivery, whose webhook is in this state."""
    values = {name: getattr(found, name) for name in DeliveryStatus.__struct_fields__}
    values["tweets"] = [str(key) for key in found.tweets]
    values["next_at"] = found.next_try(is_active=state == "active")
    return DeliveryStatus(**values)


OPERATIONS = (
    list_webhooks,
    add_webhook,
    get_webhook,
    change_webhook,
    rotate_secret,
    test_webhook,
    list_deliveries,
    send_again,
    remove_webhook,
)
