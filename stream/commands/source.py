"""`source add|test|list|secrets|lanes|enable|disable|remove`: manage connections to networks."""

import click
import msgspec
from rich.table import Table

from stream.commands.context import Context, command, text_of_file
from stream.commands.parameters import NetworkChoice
from stream.config import safe_url
from stream.errors import ConfigError, TwitterstreamError
from stream.networks.descriptions import OWN_SERVER, SERVER_MISSING, credentials_missing
from stream.store import sources
from stream.store.sources import LANES_MAX
from stream.tweet import NETWORK_NAMES, NetworkName
from stream.vault import parse_secrets


@click.group()
def source() -> None:
    """Manage sources: connections to networks."""


@source.command("add")
@click.argument("name")
@click.option("--network", type=NetworkChoice(NETWORK_NAMES), required=True)
@click.option("--url", help="Base URL (default: the network's own).")
@click.option("--proxy", help="URL of an HTTP proxy.")
@click.option(
    "--secrets",
    type=text_of_file,
    metavar="FILE",
    help="File with credentials as `key: value` lines; - for standard input.",
)
@click.option("--disabled", is_flag=True, help="Add the source without connecting.")
@command
async def add(
    context: Context,
    name: str,
    network: NetworkName,
    url: str | None,
    proxy: str | None,
    secrets: str | None,
    disabled: bool,
) -> None:
    """Add a source: a connection to a network, under a NAME of your choice."""
    given: dict[str, str] = parse_secrets(secrets) if secrets is not None else {}
    sealed = _sealed(context, network, url, proxy, given)
    async with context.database() as database, database.acquire() as connection:
        secret = sealed if given else None
        await sources.add(connection, name, network, url, proxy, secret, enabled=not disabled)
    then = "Enable it to collect." if disabled else "A running daemon connects within seconds."
    context.out.print(f"Source {name} added. {then}")


def _sealed(
    context: Context,
    network: NetworkName,
    url: str | None,
    proxy: str | None,
    given: dict[str, str],
) -> bytes:
    """The credentials, complete and encrypted for these addresses."""
    # The networks import aiohttp, which `source list` and `status` do without.
    from stream import credentials  # noqa: PLC0415 - see above
    from stream.networks.registry import NETWORKS  # noqa: PLC0415 - see above

    if absent := NETWORKS[network].missing_credentials(given):
        raise ConfigError(credentials_missing(network, absent))
    if url is None and network in OWN_SERVER:
        raise ConfigError(f"{SERVER_MISSING} Give it as --url.")
    credentials.check_addresses(url, proxy)
    return credentials.seal(context.vault, network, url, proxy, given)


@source.command("test")
@click.argument("name")
@command
async def test_connection(context: Context, name: str) -> None:
    """Test the connection of a source; exit code 1 if it does not work."""
    # See `_sealed`.
    from stream import credentials  # noqa: PLC0415 - see above
    from stream.networks.connection_test import run_connection_test  # noqa: PLC0415 - see above
    from stream.networks.registry import NETWORKS  # noqa: PLC0415 - see above

    async with context.database() as database, database.acquire() as connection:
        row = await sources.by_name(connection, name)
        collected = await sources.collected_ids(connection)
    if row is None:
        raise unknown(name)
    if row.state == "importing":
        raise TwitterstreamError(f"{name} contains imported tweets only, and cannot connect.")
    if row.id in collected and row.state == "streaming" and NETWORKS[row.network].test_opens_stream:
        raise TwitterstreamError(f"{name} is connected, and a test would end its stream.")
    result = await run_connection_test(credentials.source_of(context.vault, row), context.settings)
    context.out.print(result.sentence)
    if result.problem:
        raise SystemExit(1)


@source.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def list_sources(context: Context, as_json: bool) -> None:
    """List sources and their states."""
    async with context.database() as database, database.acquire() as connection:
        rows = await sources.get_all(connection)
    if as_json:
        context.print_json([describe(row) for row in rows])
        return
    if not rows:
        context.out.print("There is no source yet. See `source add --help`.")
        return
    table = Table("name", "network", "state", "reason", "address")
    for row in rows:
        table.add_row(
            row.name,
            row.network,
            row.shown_state,
            row.reason,
            safe_url(row.url or "the network's own"),
        )
    context.out.print(table)


def describe(row: sources.SourceRow) -> dict[str, object]:
    """A source as JSON fields: whether it has credentials, but never what they are."""
    fields = msgspec.structs.asdict(row)
    del fields["secrets"]
    fields["state"] = fields.pop("shown_state")
    shown = {name: safe_url(value) for name in ("url", "proxy") if (value := fields[name])}
    return fields | shown | {"has_secrets": row.secrets is not None}


async def _enable(context: Context, name: str, *, enabled: bool) -> None:
    async with context.database() as database, database.acquire() as connection:
        row = await sources.by_name(connection, name)
        if row is None:
            raise unknown(name)
        if row.state == "importing":
            raise TwitterstreamError(f"{name} contains imported tweets only, and cannot connect.")
        await sources.enable(connection, name, enabled=enabled)


@source.command()
@click.argument("name")
@command
async def enable(context: Context, name: str) -> None:
    """Enable a source: connect again."""
    await _enable(context, name, enabled=True)
    context.out.print(f"Source {name} is enabled.")


@source.command("secrets")
@click.argument("name")
@click.option(
    "--secrets",
    type=text_of_file,
    metavar="FILE",
    required=True,
    help="File with credentials as `key: value` lines; - for standard input.",
)
@command
async def replace_secrets(context: Context, name: str, secrets: str) -> None:
    """Replace the credentials; a running daemon uses them at once."""
    given = parse_secrets(secrets)
    async with context.database() as database, database.acquire() as connection:
        row = await sources.by_name(connection, name)
        if row is None:
            raise unknown(name)
        sealed = _sealed(context, row.network, row.url, row.proxy, given)
        await sources.set_credentials(connection, name, sealed)
    context.out.print(f"Source {name} has new credentials.")


@source.command()
@click.argument("name")
@command
async def disable(context: Context, name: str) -> None:
    """Disable a source: disconnect, but keep its settings."""
    await _enable(context, name, enabled=False)
    context.out.print(f"Source {name} is disabled.")


@source.command("lanes")
@click.argument("name")
@click.argument("number", type=click.IntRange(1, LANES_MAX))
@command
async def set_lanes(context: Context, name: str, number: int) -> None:
    """Let NUMBER writers share the tweets of a source. Needs a bus.

    For a source that is too fast for one writer. Its tweets are divided into lanes by their ids;
    machines with the role `write` store the lanes side by side. The source reconnects once.
    """
    if number > 1 and not context.settings.bus:
        raise ConfigError(
            "Several lanes need a bus, which carries them to the machines that write: set `bus`"
            " (docs/scale.md)."
        )
    async with context.database() as database, database.acquire() as connection:
        if not await sources.set_lanes(connection, name, number):
            raise unknown(name)
    lanes = "one lane" if number == 1 else f"{number} lanes"
    context.out.print(f"Source {name} has {lanes}. `status` shows which machine stores each.")


@source.command()
@click.argument("name")
@command
async def remove(context: Context, name: str) -> None:
    """Remove a source and its credentials. Its tweets stay."""
    async with context.database() as database, database.acquire() as connection:
        if not await sources.remove(connection, name):
            raise unknown(name)
    context.out.print(f"Source {name} is removed; its tweets stay.")


def unknown(name: str) -> TwitterstreamError:
    return TwitterstreamError(f"There is no source named {name}; see `source list`.")
