"""`track look-back`, and how look-backs are requested and shown on the command line."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import get_args

import click
import msgspec

from stream.commands.context import Context, command
from stream.commands.daemons import running_daemons
from stream.commands.parameters import Duration, RowId
from stream.config import Settings
from stream.db import Database, Executor
from stream.errors import TwitterstreamError
from stream.store import look_backs, tracks
from stream.store.look_backs import LookBack, NewLookBack, Place, Requested
from stream.store.tracks import Track
from stream.tweet import TrackId

PLACES = get_args(Place)
WAIT_POLL = 1.0  # seconds
TITLES: dict[Place, str] = {
    "stored": "stored tweets",
    "recorded": "recorded messages",
    "network": "what the network replays",
    "author": "all posts of",
}
NO_DAEMON = (
    "No daemon is running: look-backs wait until one does. Start it with `./twitterstream.py run`."
)
_FAILED = {"failed": "failed", "cancelled": "was cancelled"}


@click.command("look-back")
@click.argument("track_id", type=RowId("track"))
@click.option(
    "--since",
    type=Duration(),
    help="How far back, such as 90min, 36h or 7d (default: all there is).",
)
@click.option(
    "--place",
    "places",
    type=click.Choice([place for place in PLACES if place != "author"]),
    multiple=True,
    help="Where to look; repeatable (default: all of these that make sense).",
)
@click.option("--author", help="Look through all posts of this Bluesky account: handle or DID.")
@click.option("--cancel", is_flag=True, help="Cancel what is not finished. What was found stays.")
@click.option("--wait", is_flag=True, help="Wait until these are done, and show the result.")
@command
async def look_back(
    context: Context,
    /,
    track_id: int,
    since: timedelta | None,
    places: tuple[Place, ...],
    author: str | None,
    cancel: bool,
    wait: bool,
) -> None:
    """Search for posts from before a track existed. A running daemon does it."""
    if cancel and (since is not None or places or author is not None):
        raise click.UsageError(
            "--cancel ends all look-backs of the track: use it without --since, --place or"
            " --author. To cancel one of them, use the track's page."
        )
    if not cancel:
        require_one_database(context.settings)
    async with context.database() as database:
        if cancel:
            await _cancel(database, track_id)
            requested = []
        else:
            requested = await _request(context, database, track_id, since, places, author)
        for each in requested:
            if each.explanation:
                context.out.print(f"Look-back {each.id} {each.explanation}", soft_wrap=True)
        followed = await _follow(context, database, [each.id for each in requested], wait=wait)
        async with database.acquire() as connection:
            newest = await look_backs.of_track(connection, TrackId(track_id))
    listed = {row.id: row for row in [*newest, *followed.values()]}
    for line in lines(listed[number] for number in sorted(listed, reverse=True)):
        context.out.print(line, soft_wrap=True)
    _require_none_failed([(each.id, followed.get(each.id)) for each in requested])


def _require_none_failed(requested: Iterable[tuple[int, LookBack | None]]) -> None:
    """TwitterstreamError for those that failed, were cancelled, or are gone with their track."""
    sentences = [
        f"Look-back {number} {'was removed with its track' if row is None else _FAILED[row.state]}."
        for number, row in requested
        if row is None or row.state in _FAILED
    ]
    if sentences:
        raise TwitterstreamError(" ".join(sentences))


async def _track(connection: Executor, track_id: int) -> Track:
    """The track, locked until the end of the transaction."""
    rows = await tracks.get_many(connection, [track_id], lock=True)
    if not rows:
        raise TwitterstreamError(f"There is no track {track_id}; see `track list`.")
    return rows[0]


async def _cancel(database: Database, track_id: int) -> None:
    async with database.transaction() as connection:
        track = await _track(connection, track_id)
        await look_backs.cancel_all(connection, track.id)


async def _request(
    context: Context,
    database: Database,
    track_id: int,
    since: timedelta | None,
    places: Sequence[Place],
    author: str | None,
) -> list[Requested]:
    async with database.transaction() as connection:
        track = await _track(connection, track_id)
        new = [] if author is None else [NewLookBack("author", _start(since), author)]
        new += [NewLookBack(place, _start(since)) for place in places]
        return await add(connection, context.settings, track, since, new)


def require_one_database(settings: Settings) -> None:
    """TwitterstreamError where several databases share the tweets."""
    if settings.cells:
        from stream.look_back_requests import NO_CELLS  # noqa: PLC0415 - it imports all networks

        raise TwitterstreamError(NO_CELLS)


async def add(
    connection: Executor,
    settings: Settings,
    track: Track,
    since: timedelta | None,
    new: Sequence[NewLookBack] = (),
) -> list[Requested]:
    """Request these look-backs of a track; without any, in all places that make sense."""
    from stream import look_back_requests as requests  # noqa: PLC0415 - it imports all networks

    scope = await requests.require_scope(connection, settings, track)
    new = new or [NewLookBack(place, _start(since)) for place in scope.places]
    return await look_backs.add(connection, track.id, scope.checked(new), None)


def _start(since: timedelta | None) -> datetime | None:
    return None if since is None else datetime.now(UTC) - since


def lines(rows: Iterable[LookBack]) -> list[str]:
    """A line for each look-back, as `track show` prints them."""
    return [" ".join(filter(None, (_line(row), row.reason))) for row in rows]


def as_json(row: LookBack) -> dict[str, object]:
    """A look-back for `track show --json`."""
    return {k: v for k, v in msgspec.structs.asdict(row).items() if k != "resume_at"}


def _line(row: LookBack) -> str:
    where = " ".join(filter(None, (TITLES[row.place], row.author)))
    since = "" if row.since is None else f" since {row.since:%Y-%m-%d %H:%M} UTC"
    done = "" if row.progress is None or not row.unfinished else f" ({row.progress:.0%})"
    queue = "" if row.position is None else f", number {row.position} in the queue"
    return (
        f"Look-back {row.id}: {where}{since}: {row.state}{done}{queue}."
        f" Looked at {row.looked:,} posts, found {row.found:,} for the track,"
        f" {row.added:,} of them not stored before."
    )


async def _follow(
    context: Context, database: Database, ids: Sequence[int], *, wait: bool
) -> Mapping[int, LookBack]:
    """Those of these look-backs that exist, with `wait` when all have ended.

    Says when no daemon runs.
    """
    warned = False
    while True:
        async with database.acquire() as connection:
            rows = await look_backs.by_ids(connection, ids)
            daemons = await running_daemons(connection)
        unfinished = any(row.unfinished for row in rows)
        if unfinished and not daemons and not warned:
            context.out.print(NO_DAEMON, soft_wrap=True)
            warned = True
        if not unfinished or not wait:
            return {row.id: row for row in rows}
        await asyncio.sleep(WAIT_POLL)
