"""`track add|find-city|list|show|look-back|pause|resume|remove`: manage tracks."""

import asyncio
from datetime import datetime, timedelta
from typing import get_args

import click
import msgspec
from rich.table import Table

from stream import cities
from stream.cells.counts import all_tracks
from stream.cells.databases import Cells, open_cells
from stream.commands import look_back as look_backs_of
from stream.commands.context import Context, command, not_counted
from stream.commands.daemons import running_daemons
from stream.commands.parameters import Duration, NetworkChoice, RowId, UtcTime
from stream.errors import InvalidQuery, TwitterstreamError
from stream.query import TrackKind, parse
from stream.reach import reach_sentence
from stream.store import look_backs, track_reach, tracks, users
from stream.tweet import NETWORK_NAMES, NetworkName, TrackId


@click.group()
def track() -> None:
    """Manage tracks: keywords, users, places and queries to collect."""


track.add_command(look_backs_of.look_back)


@track.command("find-city")
@click.argument("name")
@click.option(
    "--size",
    type=click.FloatRange(cities.SIZE_MIN, cities.SIZE_MAX),
    help="Width and height of the box in kilometres (default: fits the population).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def find_city(context: Context, /, name: str, size: float | None, as_json: bool) -> None:
    """Find cities by NAME, such as 'Paris, France', and print boxes for place tracks.

    Data of GeoNames, CC BY 4.0.
    """
    found = await asyncio.to_thread(cities.find, name, size)
    if as_json:
        context.print_json([msgspec.structs.asdict(each) for each in found])
        return
    if not found:
        raise TwitterstreamError(f"No city of 15,000 people or more has this name. {cities.HINT}")
    for each in found:
        line = f"{each.value}  {each.title} ({each.population:,} people)"
        context.out.print(line, soft_wrap=True)


# A place may begin with a minus sign, which is not an option.
@track.command("add", context_settings={"ignore_unknown_options": True})
@click.argument("value")
@click.option(
    "--kind", type=click.Choice(get_args(TrackKind)), default="keyword", show_default=True
)
@click.option("--owner", help="Owner: the name of a user.")
@click.option(
    "--network",
    "networks",
    type=NetworkChoice(NETWORK_NAMES),
    multiple=True,
    help="Collect only from this network; repeatable.",
)
@click.option(
    "--look-back",
    type=Duration(),
    help="Search for earlier posts, such as 90min, 36h or 7d back; see `track look-back`.",
)
@click.option("--from", "starts_at", type=UtcTime(), help="Start time (UTC).")
@click.option("--until", "ends_at", type=UtcTime(), help="End time (UTC).")
@click.option(
    "--priority",
    type=click.IntRange(-32_768, 32_767),
    default=0,
    help="Tracks of the lowest priority pause first when a disk fills up.",
)
@click.option(
    "--keep-days",
    type=click.IntRange(1, 36_500),
    help="Keep its tweets N days (default: retention.tweets_days).",
)
@command
async def add(
    context: Context,
    /,
    value: str,
    kind: TrackKind,
    owner: str | None,
    networks: tuple[NetworkName, ...],
    look_back: timedelta | None,
    starts_at: datetime | None,
    ends_at: datetime | None,
    **more: int | None,
) -> None:
    """Add a track for VALUE: words (space: and, comma: or), a @user, a place or a query."""
    try:
        parse(kind, value)
    except InvalidQuery as error:
        raise click.UsageError(str(error)) from error
    if starts_at is not None and ends_at is not None and starts_at >= ends_at:
        raise click.UsageError("--until must be after --from.")
    if look_back is not None:
        look_backs_of.require_one_database(context.settings)
    async with context.database() as database, database.transaction() as connection:
        if owner is not None and not await users.existing_names(connection, [owner]):
            raise TwitterstreamError(
                f"There is no user {owner}: see `user list`, add the user with `user add {owner}`, "
                "or leave out --owner."
            )
        new = tracks.NewTrack(value, kind, owner, networks or None, starts_at, ends_at)
        track_id = await tracks.add(connection, msgspec.structs.replace(new, **more))
        if look_back is not None:
            [added] = await tracks.get_many(connection, [track_id])
            await look_backs_of.add(connection, context.settings, added, look_back)
        daemons = await running_daemons(connection)
    context.out.print(f"Track {track_id} added: {kind} {value}")
    if look_back is not None:
        words = f"`track show {track_id}` tells how far its look-backs are."
        context.out.print(words if daemons else look_backs_of.NO_DAEMON, soft_wrap=True)


@track.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def list_tracks(context: Context, as_json: bool) -> None:
    """List tracks, their states and counts."""
    async with (
        context.database() as database,
        open_cells(context.settings.cells, size=1) as others,
        database.acquire() as connection,
    ):
        rows = await tracks.get_all(connection)
        # A track may have been added between the two queries.
        found = await all_tracks(Cells(database, others), connection)
        reach = await track_reach.named_by_track(connection)
    counts = {row.id: found.value.get(row.id, tracks.NO_COUNTS) for row in rows}
    if found.missing:
        click.echo(not_counted(found.missing), err=True)
    if as_json:
        context.print_json(
            [
                msgspec.structs.asdict(row)
                | {"reach": reach.get(row.id, ()), "tweets": counts[row.id].total}
                | msgspec.structs.asdict(counts[row.id])
                for row in rows
            ]
        )
        return
    table = Table(
        *("id", "owner", "kind", "value", "state", "reason or reach"),
        *("tweets", "last hour", "usual hour"),
    )
    for row in rows:
        count = counts[row.id]
        table.add_row(
            str(row.id),
            row.owner or "",
            row.kind,
            row.value,
            row.state,
            row.reason
            or "\n".join(f"{each.source}: {each.sentence}" for each in reach.get(row.id, ())),
            f"{count.total:,}",
            f"{count.last_hour:,}",
            f"{count.usual_hour:,.1f}",
        )
    context.out.print(table)


@track.command()
@click.argument("track_id", type=RowId("track"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def show(context: Context, track_id: int, as_json: bool) -> None:
    """Show a track: what each source delivers of it, since when, and what is missing."""
    async with context.database() as database, database.acquire() as connection:
        rows = await tracks.get_many(connection, [track_id])
        reach = await track_reach.of_tracks(connection, [TrackId(track_id)])
        looked = await look_backs.of_track(connection, TrackId(track_id))
    if not rows:
        raise _unknown(track_id)
    [row] = rows
    if as_json:
        lines = [msgspec.structs.asdict(each) | {"text": reach_sentence(each)} for each in reach]
        values = msgspec.structs.asdict(row) | {"reach": lines}
        context.print_json(
            values | {"look_backs": [look_backs_of.as_json(each) for each in looked]}
        )
        return
    context.out.print(f"Track {row.id}: {row.kind} {row.value}", soft_wrap=True)
    context.out.print(f"State: {' '.join(filter(None, (row.state, row.reason)))}", soft_wrap=True)
    for each in reach:
        text = f"{each.source} ({each.network}): {reach_sentence(each)}"
        context.out.print(text, soft_wrap=True)
    for line in look_backs_of.lines(looked):
        context.out.print(line, soft_wrap=True)


async def _enable(context: Context, track_id: int, *, enabled: bool) -> None:
    async with context.database() as database, database.acquire() as connection:
        if not await tracks.enable(connection, track_id, enabled=enabled):
            raise _unknown(track_id)


@track.command()
@click.argument("track_id", type=RowId("track"))
@command
async def pause(context: Context, track_id: int) -> None:
    """Pause a track."""
    await _enable(context, track_id, enabled=False)
    context.out.print(f"Track {track_id} paused.")


@track.command()
@click.argument("track_id", type=RowId("track"))
@command
async def resume(context: Context, track_id: int) -> None:
    """Resume a paused track."""
    await _enable(context, track_id, enabled=True)
    context.out.print(f"Track {track_id} resumed.")


@track.command()
@click.argument("track_id", type=RowId("track"))
@command
async def remove(context: Context, track_id: int) -> None:
    """Remove a track. Its tweets stay."""
    async with context.database() as database, database.acquire() as connection:
        if not await tracks.remove(connection, track_id):
            raise _unknown(track_id)
    context.out.print(f"Track {track_id} removed; its tweets stay.")


def _unknown(track_id: int) -> TwitterstreamError:
    return TwitterstreamError(f"There is no track {track_id}; see `track list`.")
