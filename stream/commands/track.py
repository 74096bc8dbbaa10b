"""`track add|list|pause|resume|remove`: what is followed."""

from datetime import UTC, datetime
from typing import get_args

import click
import msgspec
from rich.table import Table

from stream import tracks
from stream.commands.context import Context, command
from stream.commands.source import NETWORK
from stream.errors import InvalidQuery, TwitterstreamError
from stream.query import TrackKind, parse
from stream.tweet import NetworkName

TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%SZ"])


@click.group()
def track() -> None:
    """What is followed: keywords, users, places, queries."""


# A place may begin with a minus sign, which is no option.
@track.command("add", context_settings={"ignore_unknown_options": True})
@click.argument("value")
@click.option(
    "--kind", type=click.Choice(get_args(TrackKind)), default="keyword", show_default=True
)
@click.option("--owner", help="Whose track it is.")
@click.option("--network", "networks", type=NETWORK, multiple=True, help="Only there; repeatable.")
@click.option("--from", "starts_at", type=TIME, help="Begin then (UTC).")
@click.option("--until", "ends_at", type=TIME, help="End then (UTC).")
@click.option(
    "--priority",
    type=click.IntRange(-1000, 1000),
    default=0,
    help="The lowest pause first when a disk fills.",
)
@click.option(
    "--keep-days",
    type=click.IntRange(1, 36_500),
    help="Its tweets stay so long; left out, retention.tweets_days.",
)
@command
async def add(
    context: Context,
    /,
    value: str,
    kind: TrackKind,
    owner: str | None,
    networks: tuple[NetworkName, ...],
    starts_at: datetime | None,
    ends_at: datetime | None,
    **more: int | None,
) -> None:
    """Follow VALUE: words (space: and, comma: or), a @user, a place or a query."""
    try:
        parse(kind, value)
    except InvalidQuery as error:
        raise click.UsageError(str(error)) from error
    async with context.database() as database, database.acquire() as connection:
        new = tracks.NewTrack(value, kind, owner, networks or None, _utc(starts_at), _utc(ends_at))
        track_id = await tracks.add(connection, msgspec.structs.replace(new, **more))
    context.out.print(f"Track {track_id} follows the {kind} {value}")


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)


@track.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@command
async def list_tracks(context: Context, as_json: bool) -> None:
    """All tracks, how they are, and what they brought."""
    async with context.database() as database, database.acquire() as connection:
        rows = await tracks.everything(connection)
        # A track may have been added between the two questions.
        found = await tracks.counts(connection)
    counts = {row.id: found.get(row.id, tracks.NOTHING) for row in rows}
    if as_json:
        context.print_json(
            [
                msgspec.structs.asdict(row)
                | {"tweets": counts[row.id].total}
                | msgspec.structs.asdict(counts[row.id])
                for row in rows
            ]
        )
        return
    table = Table(
        "id", "owner", "kind", "value", "state", "reason", "tweets", "last hour", "usual hour"
    )
    for row in rows:
        count = counts[row.id]
        table.add_row(
            str(row.id),
            row.owner or "",
            row.kind,
            row.value,
            row.state,
            row.reason,
            f"{count.total:,}",
            f"{count.last_hour:,}",
            f"{count.usual_hour:,.1f}",
        )
    context.out.print(table)


async def _enable(context: Context, track_id: int, *, enabled: bool) -> None:
    async with context.database() as database, database.acquire() as connection:
        if not await tracks.enable(connection, track_id, enabled=enabled):
            raise _unknown(track_id)


@track.command()
@click.argument("track_id", type=click.IntRange(1, 2**63 - 1))
@command
async def pause(context: Context, track_id: int) -> None:
    """Stop following for now."""
    await _enable(context, track_id, enabled=False)
    context.out.print(f"Track {track_id} is paused.")


@track.command()
@click.argument("track_id", type=click.IntRange(1, 2**63 - 1))
@command
async def resume(context: Context, track_id: int) -> None:
    """Follow again."""
    await _enable(context, track_id, enabled=True)
    context.out.print(f"Track {track_id} is followed again.")


@track.command()
@click.argument("track_id", type=click.IntRange(1, 2**63 - 1))
@command
async def remove(context: Context, track_id: int) -> None:
    """Stop following for good. What was collected stays."""
    async with context.database() as database, database.acquire() as connection:
        if not await tracks.remove(connection, track_id):
            raise _unknown(track_id)
    context.out.print(f"Track {track_id} is removed; its tweets stay.")


def _unknown(track_id: int) -> TwitterstreamError:
    return TwitterstreamError(f"There is no track {track_id}; `track list` shows all.")
