"""`source add|list|secrets|enable|disable|remove`: the connections to networks."""

from typing import TextIO, get_args

import click
import msgspec
from rich.table import Table

from stream import sources
from stream.commands.context import Context, command
from stream.config import safe_url
from stream.errors import ConfigError, TwitterstreamError
from stream.networks.table import NETWORKS
from stream.tweet import NetworkName
from stream.vault import parse_secrets

NETWORK = click.Choice(get_args(NetworkName))


@click.group()
def source() -> None:
    """Connections to networks."""


@source.command("add")
@click.argument("name")
@click.option("--network", type=NETWORK, required=True)
@click.option("--url", help="Base address; left out, the network's own.")
@click.option("--proxy", help="Address of an HTTP proxy.")
@click.option(
    "--secrets",
    type=click.File("r", encoding="utf-8"),
    help="File with the credentials as `key: value` lines; - reads standard input.",
)
@click.option("--disabled", is_flag=True, help="Add it without connecting yet.")
@command
async def add(
    context: Context,
    name: str,
    network: NetworkName,
    url: str | None,
    proxy: str | None,
    secrets: TextIO | None,
    disabled: bool,
) -> None:
    """Connect to a network under a NAME of your choice."""
    given: dict[str, str] = parse_secrets(secrets.read()) if secrets is not None else {}
    if absent := NETWORKS[network].missing(given):
        raise ConfigError(f"A source on {network} needs these secrets, too: {', '.join(absent)}.")
    sealed = context.vault.seal(given) if given else None
    async with context.database() as database, database.acquire() as connection:
        await sources.add(connection, name, network, url, proxy, sealed, enabled=not disabled)
    context.out.print(f"Source {name} added. A running daemon connects within seconds.")


@source.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@command
async def list_sources(context: Context, as_json: bool) -> None:
    """All sources and how they are."""
    async with context.database() as database, database.acquire() as connection:
        rows = await sources.everything(connection)
    if as_json:
        context.print_json([describe(row) for row in rows])
        return
    if not rows:
        context.out.print("There is no source yet. `source add --help` tells how to add one.")
        return
    table = Table("name", "network", "state", "reason", "address")
    for row in rows:
        table.add_row(
            row.name, row.network, row.state, row.reason, safe_url(row.url or "the network's own")
        )
    context.out.print(table)


def describe(row: sources.SourceRow) -> dict[str, object]:
    """A source for programs; whether there are credentials, never what they are."""
    fields = {
        name: value for name, value in msgspec.structs.asdict(row).items() if name != "secrets"
    }
    shown = {name: safe_url(value) for name in ("url", "proxy") if (value := fields[name])}
    return fields | shown | {"has_secrets": row.secrets is not None}


async def _enable(context: Context, name: str, *, enabled: bool) -> None:
    async with context.database() as database, database.acquire() as connection:
        row = await sources.named(connection, name)
        if row is None:
            raise unknown(name)
        if row.state == "importing":
            raise TwitterstreamError(f"{name} holds what was imported; it connects to nothing.")
        await sources.enable(connection, name, enabled=enabled)


@source.command()
@click.argument("name")
@command
async def enable(context: Context, name: str) -> None:
    """Connect again."""
    await _enable(context, name, enabled=True)
    context.out.print(f"Source {name} is enabled.")


@source.command("secrets")
@click.argument("name")
@click.option(
    "--secrets",
    type=click.File("r", encoding="utf-8"),
    required=True,
    help="File with the credentials as `key: value` lines; - reads standard input.",
)
@command
async def give_secrets(context: Context, name: str, secrets: TextIO) -> None:
    """Exchange the credentials; a running daemon connects with them at once."""
    given = parse_secrets(secrets.read())
    async with context.database() as database, database.acquire() as connection:
        row = await sources.named(connection, name)
        if row is None:
            raise unknown(name)
        if absent := NETWORKS[row.network].missing(given):
            raise ConfigError(f"A source on {row.network} needs these, too: {', '.join(absent)}.")
        await sources.give_secrets(connection, name, context.vault.seal(given))
    context.out.print(f"Source {name} has new credentials.")


@source.command()
@click.argument("name")
@command
async def disable(context: Context, name: str) -> None:
    """Disconnect, and keep the source for later."""
    await _enable(context, name, enabled=False)
    context.out.print(f"Source {name} is disabled.")


@source.command()
@click.argument("name")
@command
async def remove(context: Context, name: str) -> None:
    """Forget a source and its credentials. What it brought stays."""
    async with context.database() as database, database.acquire() as connection:
        if not await sources.remove(connection, name):
            raise unknown(name)
    context.out.print(f"Source {name} is removed; its tweets stay.")


def unknown(name: str) -> TwitterstreamError:
    return TwitterstreamError(f"There is no source named {name}; `source list` shows all.")
