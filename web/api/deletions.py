"""The call for programs that keep copies: which stored tweets were deleted since."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.cells import deletions
from stream.store import sharing
from stream.store.lanes import HOME
from web.api.operations import operation
from web.context import app_context, person

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000  # deletions of a page
POSITION_MAX = 4096  # characters
# The number in the home database, and after it those in other cells by name: 12~east.7
_POSITION = r"^\d{1,18}(~[a-z0-9][a-z0-9_-]{0,30}\.\d{1,18})*$"


class DeletionQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the deletion log."""

    after: Annotated[
        str,
        Meta(
            pattern=_POSITION,
            max_length=POSITION_MAX,
            description="`next` of the previous page; 0: from the start.",
            examples=["0"],
        ),
    ] = "0"
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


class DeletionPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Deletions in the order of their becoming known.

    `next` is a text where several databases share the tweets. `incomplete` is only there when some
    of them did not answer, and names them: their deletions come when they are back.
    """

    deletions: list[Deletion]
    next: int | str
    more: bool
    incomplete: tuple[str, ...] = ()


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
    here = app_context(request)
    async with here.database.acquire() as connection:
        found = await deletions.after(here.cells, connection, _numbers(query.after), query.limit)
        seen = {track for each in found.deletions for track in each.tracks}
        if not who.is_admin:
            seen = await sharing.ever_visible_among(connection, who.id, seen)
    shown = [
        Deletion(str(each.tweet_id), each.deleted_at, [str(t) for t in each.tracks if t in seen])
        for each in found.deletions
        if who.is_admin or not seen.isdisjoint(each.tracks)
    ]
    return DeletionPage(shown, _written(found.numbers), found.more, found.missing)


def _numbers(position: str) -> dict[str, int]:
    home, *others = position.split("~")
    parts = (each.split(".") for each in others)
    return {HOME: int(home)} | {name: int(number) for name, number in parts}


def _written(numbers: Mapping[str, int]) -> int | str:
    """The position as it was, a number, where there is only one database."""
    others = sorted((name, number) for name, number in numbers.items() if name != HOME)
    home = numbers.get(HOME, 0)
    return "~".join([str(home), *(f"{name}.{n}" for name, n in others)]) if others else home


OPERATIONS = (list_deletions,)
