"""The call for programs that keep copies: which stored tweets were deleted since."""

from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.store import deletion_log, sharing
from web.api.operations import operation
from web.context import app_context, person
from web.routing import ROW_ID_MAX

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000  # deletions of a page


class DeletionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the deletion log."""

    after: Annotated[
        int,
        Meta(ge=0, le=ROW_ID_MAX, description="`next` of the previous page; 0: from the start."),
    ] = 0
    limit: Annotated[
        int, Meta(ge=1, le=LIMIT_MAX, description="Maximum number of deletions to look at.")
    ] = LIMIT_DEFAULT


class Deletion(msgspec.Struct, frozen=True):
    """A stored tweet that was deleted: remove your copy.

    `tracks`: those of its tracks that you see or saw, also removed ones; for admins all.
    """

    id: str
    deleted_at: datetime
    tracks: list[str]


class DeletionPage(msgspec.Struct, frozen=True):
    """Deletions in the order of their becoming known."""

    deletions: list[Deletion]
    next: int
    more: bool


@operation("GET", "/api/v1/deletions", "listDeletions", "Tweets")
async def list_deletions(request: web.Request, query: DeletionQuery) -> DeletionPage:
    """Deletions of stored tweets of your tracks, for programs that keep copies.

    Repeat the call with `after` = `next`, for ever: then no deletion is missed. A page may be empty
    although `more` is true. Tracks that you see no longer are yours here, too, as you may have
    copies. A deletion of a day that is only in an archive comes when the archive was rewritten;
    until then its tracks are not known, and only admins see it. The log goes back as far as the
    setting `retention.deletions_days` says.
    """
    who = person(request)
    async with app_context(request).database.acquire() as connection:
        found = await deletion_log.after(connection, query.after, query.limit)
        seen = {track for each in found for track in each.tracks}
        if not who.is_admin:
            seen = await sharing.ever_visible_among(connection, who.id, seen)
    deletions = [
        Deletion(str(each.tweet_id), each.deleted_at, [str(t) for t in each.tracks if t in seen])
        for each in found
        if who.is_admin or not seen.isdisjoint(each.tracks)
    ]
    last = found[-1].number if found else query.after
    return DeletionPage(deletions, last, len(found) == query.limit)


OPERATIONS = (list_deletions,)
