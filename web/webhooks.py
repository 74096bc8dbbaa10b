"""Changes of webhooks by pages and the API: who may do what, with an error where a rule fails."""

import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import msgspec

from stream.db import Executor
from stream.errors import RowRefused, TwitterstreamError
from stream.sinks import webhook_address, webhook_secrets
from stream.sinks.reader import head_position
from stream.store import sharing, webhook_deliveries, webhooks
from stream.store.webhook_deliveries import Delivery, NewDelivery
from stream.store.webhooks import NewWebhook, Webhook
from stream.tweet import TrackId, UserId
from web.context import AppContext
from web.person import Person
from web.problem import Problem

NAME_MAX = 100  # characters
TRACKS_MAX = 1000  # as the table's constraint
AGAIN_MAX = 10  # deliveries of one webhook that are sent again at a time, or tests
NO_CELLS = "Webhooks get only the tweets that the home database stores, so none can be added."
_NONE = "This webhook does not exist."


class WebhookFields(msgspec.Struct, frozen=True):
    """What a person enters. `tracks` None: all that the owner sees."""

    name: str
    url: str
    tracks: Sequence[int] | None


async def require(
    connection: Executor, person: Person, webhook_id: int, *, lock: bool = False
) -> Webhook:
    """The webhook, if it is the person's own, or for admins; else Problem."""
    if lock:
        await webhooks.lock(connection, webhook_id)
    found = await webhooks.by_id(connection, webhook_id)
    if found is None or not (person.is_admin or found.user_id == person.id):
        raise Problem("not_found", _NONE)
    return found


async def listed(connection: Executor, person: Person) -> list[Webhook]:
    """A person's webhooks; for admins those of all users."""
    return await webhooks.get_all(connection, None if person.is_admin else person.id)


async def add(here: AppContext, person: Person, given: WebhookFields) -> tuple[Webhook, str]:
    """Add a webhook of this person, from the newest tweets on; also returns its secret."""
    if here.settings.cells:
        raise Problem("conflict", NO_CELLS)
    _check_name(given.name)
    await _check_address(here, given.url)
    secret = webhook_secrets.new_secret()
    sealed = webhook_secrets.seal(here.vault, secret)
    most = here.settings.sinks.webhooks.max_per_user
    async with here.database.transaction() as connection:
        if await webhooks.lock_count(connection, person.id) >= most:
            words = f"You have {most} webhooks, the limit: delete one."
            raise Problem("conflict", words if most else "Webhooks are turned off.")
        tracks = await _visible(connection, person.id, given.tracks)
        position = str(await head_position(connection))
        new = NewWebhook(given.name, given.url, tracks, sealed, position)
        try:
            webhook_id = await webhooks.add(connection, person.id, new)
        except RowRefused as error:
            raise _refusal(error) from error
        return await require(connection, person, webhook_id), secret


async def edit(here: AppContext, person: Person, webhook_id: int, given: WebhookFields) -> Webhook:
    """Change a webhook; what waits is tried at once."""
    _check_name(given.name)
    async with here.database.acquire() as connection:
        before = await require(connection, person, webhook_id)
    if given.url != before.url:
        await _check_address(here, given.url)
    async with here.database.transaction() as connection:
        hook = await require(connection, person, webhook_id, lock=True)
        tracks = await _visible(connection, hook.user_id, given.tracks, hook.tracks or ())
        try:
            await webhooks.edit(connection, webhook_id, given.name, given.url, tracks)
        except RowRefused as error:
            raise _refusal(error) from error
        if hook.url != given.url:
            await webhook_deliveries.try_now(connection, webhook_id)
        return await require(connection, person, webhook_id)


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        words = f"Enter a name of 1 to {NAME_MAX} characters, without control characters."
        raise Problem("invalid", words, field="name")


async def _check_address(here: AppContext, url: str) -> None:
    allowed = webhook_address.parse_networks(here.settings.sinks.webhooks.allowed_networks)
    try:
        await webhook_address.check(url, allowed)
    except TwitterstreamError as error:
        raise Problem("invalid", str(error), field="url") from None


async def _visible(
    connection: Executor,
    user_id: UserId,
    tracks: Sequence[int] | None,
    before: Collection[int] = (),
) -> list[TrackId] | None:
    """These tracks, if the owner of the webhook sees all of them.

    Those that it had before are not checked: they may be gone, and then nothing of them is sent.
    """
    if tracks is None:
        return None
    asked = sorted(set(tracks))
    if not 1 <= len(asked) <= TRACKS_MAX:
        words = f"Choose 1 to {TRACKS_MAX:,} tracks, or all."
        raise Problem("invalid", words, field="tracks")
    added = [each for each in asked if each not in before]
    seen = await sharing.visible_among(connection, user_id, added)
    if len(seen) < len(added):
        missing = next(each for each in added if each not in seen)
        words = f"Track {missing} does not exist, or the owner of the webhook does not see it."
        raise Problem("invalid", words, field="tracks")
    return [TrackId(each) for each in asked]


def _refusal(error: RowRefused) -> Problem:
    if error.constraint == "webhooks_name_unique":
        return Problem("conflict", "There is already a webhook of this name.", field="name")
    raise error


async def set_paused(here: AppContext, person: Person, webhook_id: int, *, paused: bool) -> Webhook:
    """Pause a webhook; or resume it, where it stopped, and try what waits at once."""
    async with here.database.transaction() as connection:
        hook = await require(connection, person, webhook_id, lock=True)
        if paused and hook.state == "active":
            await webhooks.set_state(connection, webhook_id, "paused")
        elif not paused and hook.state != "active":
            await webhooks.set_state(connection, webhook_id, "active")
            await webhook_deliveries.try_now(connection, webhook_id)
        return await require(connection, person, webhook_id)


async def rotate(here: AppContext, person: Person, webhook_id: int) -> tuple[Webhook, str]:
    """Give a webhook a new secret; for some time the former one signs as well."""
    secret = webhook_secrets.new_secret()
    async with here.database.transaction() as connection:
        hook = await require(connection, person, webhook_id, lock=True)
        sealed, until = webhook_secrets.rotate(here.vault, hook, secret)
        await webhooks.set_secrets(connection, webhook_id, sealed, until)
        if until is None:  # it could not send without one
            await webhook_deliveries.try_now(connection, webhook_id)
        return await require(connection, person, webhook_id), secret


async def remove(here: AppContext, person: Person, webhook_id: int) -> None:
    """Delete a webhook with its deliveries."""
    async with here.database.transaction() as connection:
        await require(connection, person, webhook_id, lock=True)
        await webhooks.remove(connection, webhook_id)


async def send_test(here: AppContext, person: Person, webhook_id: int) -> Delivery:
    """Send a test message; the daemon does so within two seconds."""
    async with here.database.transaction() as connection:
        await require(connection, person, webhook_id, lock=True)
        await _check_again(connection, webhook_id)
        message_id, now = f"msg_{uuid.uuid4().hex}", datetime.now(UTC)
        new = NewDelivery(message_id, "webhook.test", (), "", "again", now)
        return await webhook_deliveries.add(connection, webhook_id, new)


async def send_again(here: AppContext, person: Person, delivery_id: int) -> Delivery:
    """Send a finished delivery once more: its tweets are read again, its id stays."""
    async with here.database.transaction() as connection:
        found = await webhook_deliveries.by_id(connection, delivery_id)
        if found is None:
            raise Problem("not_found", "This delivery does not exist, or no longer.")
        await require(connection, person, found.webhook_id, lock=True)
        if found.is_skipped_day:
            raise Problem("conflict", found.result)
        await _check_again(connection, found.webhook_id)
        if not await webhook_deliveries.send_again(connection, found.webhook_id, delivery_id):
            raise Problem("conflict", "This delivery is not finished yet.")
        sent = await webhook_deliveries.by_id(connection, delivery_id)
        assert sent is not None
        return sent


async def _check_again(connection: Executor, webhook_id: int) -> None:
    if await webhook_deliveries.count_again(connection, webhook_id) >= AGAIN_MAX:
        words = f"{AGAIN_MAX} deliveries of this webhook are being sent again: wait for them."
        raise Problem("too_many", words, retry_after=10)
