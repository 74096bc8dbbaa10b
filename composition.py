"""The commands that use all packages: `run`, with its first source, and `simulate`."""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import click
import msgspec

from monitor.commands.collect import monitor_companion
from simulator import server as simulator
from stream import credentials
from stream.commands.context import Context, command, text_of_file
from stream.commands.daemon_runner import collect_until_stopped, database_when_ready
from stream.commands.parameters import NetworkChoice
from stream.daemon_report import ROLES, Role
from stream.db import Database
from stream.errors import TwitterstreamError
from stream.logs import LineWriter
from stream.networks.bluesky.reachability import why_unreachable
from stream.store import sources, tracks
from stream.store.tracks import NewTrack
from stream.vault import parse_secrets
from web.commands.serving import pages
from web.templating import missing

logger = logging.getLogger(__name__)

SIMULATED_URL = "http://127.0.0.1:9000"
SIMULATED_SECRETS = {"bearer_token": "simulated"}
SIMULATED = "simulated"  # names of the sources that `run` adds at the first start
BLUESKY = "bluesky"
SIMULATED_RATE = 20.0  # tweets/s: enough to watch, few enough for any disk
SIMULATED_TRACKS = ("snow day,blizzard", "#news", "@nasa")
# Words that are in about one of a hundred posts, of which Bluesky has some 30 a second.
BLUESKY_TRACKS = ("good morning,good night", "today", "music", "#art")
LOOK = (
    "SELECT received_at::time(0), author, left(text, 60) AS text "
    "FROM tweets ORDER BY received_at DESC LIMIT 10"
)


@click.command()
@click.option("--simulated", is_flag=True, help="Collect simulated tweets, also with internet.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["all", *sorted(ROLES)]),
    default=["all"],
    help="With a bus: what this machine does; repeatable. See docs/scale.md.",
)
@command
async def run(context: Context, simulated: bool, roles: tuple[str, ...]) -> None:
    """Collect; sets up the database and its schema, and adds Bluesky if there is no source.

    Without internet it adds simulated tweets instead.
    """
    context.set_up_logging()
    chosen = ROLES if "all" in roles else frozenset(msgspec.convert(roles, set[Role]))
    if chosen != ROLES:
        await _run_roles(context, chosen)
        return
    async with database_when_ready(context, migrate=True) as database:
        await _add_first_source(context, database, simulated=simulated)
        async with _simulated(context, database):
            _print_hints(context)
            companions = [monitor_companion(context), pages(context, click.echo)]
            lines = LineWriter(sys.stdout)

            def report(line: str) -> None:
                lines.write(f"{time.strftime('%H:%M:%S')}  {line}")

            await collect_until_stopped(context, database, report, companions)
            lines.flush()
    click.echo("Stopped. Everything received is safe.")


async def _run_roles(context: Context, roles: frozenset[Role]) -> None:
    """Do a part of the work of an installation on several machines, as a service."""
    if (
        not context.settings.bus
        and not roles >= {"collect", "write"}
        and roles & {"collect", "write"}
    ):
        raise TwitterstreamError(
            "Without a bus one process has to collect and write: set `bus`, or use both roles."
        )
    if roles == {"web"} and context.settings.web.listen and (lack := missing()):
        raise TwitterstreamError(lack)
    async with database_when_ready(context, migrate=False, roles=roles) as database:
        companions = [monitor_companion(context)]
        if "web" in roles:
            companions.append(pages(context, logger.info))
        await collect_until_stopped(context, database, logger.info, companions, roles)


async def _add_first_source(context: Context, database: Database, *, simulated: bool) -> None:
    """Add a source with sample tracks when none is configured: Bluesky, or a simulated one.

    `simulated`: use that one in any case, also beside others.
    """
    async with database.acquire() as connection:
        known = await sources.get_all(connection)
    if simulated:
        await _use_simulated(context, database, known)
        return
    if known:
        return
    if why := await why_unreachable(context.settings):
        added = await _add(context, database, SIMULATED)
        click.echo(
            f"No source is configured, and Bluesky cannot be reached: {why}.\n{added}\n"
            "To collect from Bluesky later (no account needed), in another terminal:\n"
            "    ./twitterstream.py source add bluesky --network bluesky\n"
            f"    ./twitterstream.py source disable {SIMULATED}\n{_how_to_connect()}"
        )
        return
    added = await _add(context, database, BLUESKY)
    click.echo(f"No source is configured.\n{added}\n{_how_to_connect()}")


async def _use_simulated(
    context: Context, database: Database, known: Sequence[sources.SourceRow]
) -> None:
    """Add the simulated source, or enable the one that is there."""
    if not any(row.name == SIMULATED for row in known):
        click.echo(await _add(context, database, SIMULATED))
        return
    async with database.acquire() as connection:
        await sources.enable(connection, SIMULATED, enabled=True)


async def _add(context: Context, database: Database, name: str) -> str:
    """Add this source, and sample tracks if there is no track; returns what was added, in words."""
    what = {
        BLUESKY: "Bluesky was added: public posts, no account needed.",
        SIMULATED: "A simulated source was added: invented tweets, no account needed.",
    }[name]
    values = BLUESKY_TRACKS if name == BLUESKY else SIMULATED_TRACKS
    async with database.acquire() as connection:
        if name == BLUESKY:
            await sources.add(connection, BLUESKY, "bluesky", None, None, None)
        else:
            secrets = credentials.seal(
                context.vault, "x_v2", SIMULATED_URL, None, SIMULATED_SECRETS
            )
            await sources.add(connection, SIMULATED, "x_v2", SIMULATED_URL, None, secrets)
        if await tracks.get_all(connection):
            return f"{what}\nIts name is {name}."
        for value in values:
            await tracks.add(connection, NewTrack(value))
    return f"{what}\nIts name is {name}. Sample tracks: {', '.join(values)}."


def _how_to_connect() -> str:
    return (
        "To connect X or Mastodon, open the page Sources, or in another terminal:\n"
        "    echo 'bearer_token: YOURS' |"
        " ./twitterstream.py source add x --network x_v2 --secrets -\n"
        "    echo 'access_token: YOURS' |"
        " ./twitterstream.py source add mastodon --network mastodon"
        " --url https://YOUR.SERVER --secrets -"
    )


@contextlib.asynccontextmanager
async def _simulated(context: Context, database: Database) -> AsyncIterator[None]:
    """Run the simulator while its source is enabled and no other daemon collects it."""
    async with database.acquire() as connection:
        row = await sources.by_name(connection, SIMULATED)
        collected = await sources.collected_ids(connection)
    if row is None or not row.enabled or row.id in collected:
        yield
        return
    try:
        secrets = context.vault.open(row.secrets) if row.secrets else {}
    except TwitterstreamError:  # the daemon writes the reason into the source's row
        yield
        return
    settings = simulator.Settings(
        network=row.network,
        port=urlsplit(row.url or "").port or 0,
        rate=SIMULATED_RATE,
        bearer_token=secrets.get("bearer_token"),
    )
    async with contextlib.AsyncExitStack() as opened_here:
        try:
            server = await opened_here.enter_async_context(simulator.serve(settings))
        except OSError:  # the port is in use
            anywhere = msgspec.structs.replace(settings, port=0)
            server = await opened_here.enter_async_context(simulator.serve(anywhere))
        if server.url != row.url:
            async with database.acquire() as connection:
                sealed = credentials.seal(
                    context.vault, row.network, server.url, row.proxy, secrets
                )
                await sources.set_url(connection, row.id, server.url, sealed if secrets else None)
        yield


def _print_hints(context: Context) -> None:
    config = f" --config {context.config_path}" if context.config_path else ""
    click.echo(f'Look at the tweets:  ./twitterstream.py{config} psql -c "{LOOK}"')
    click.echo("Press Ctrl-C to stop.")


@click.command()
@click.option("--network", type=NetworkChoice([*simulator.SIMULATIONS]), required=True)
@click.option("--port", type=click.IntRange(0, 65535), default=9001, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(0), default=20, help="Tweets per second; 0: no limit."
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False),
    help="Send the lines of this file (.ndjson, also .gz) instead of invented tweets.",
)
@click.option(
    "--words",
    multiple=True,
    metavar="WORD",
    help="Bluesky, Mastodon: put this text, #tag or @author into some posts; repeatable.",
)
@click.option(
    "--words-every",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="Bluesky, Mastodon: every Nth post holds one of the words.",
)
@click.option(
    "--history",
    type=click.IntRange(0),
    default=0,
    help="Bluesky: posts of the last hour that a cursor finds at the start.",
)
@click.option(
    "--hosts",
    type=click.IntRange(1),
    default=1,
    help="Bluesky: hosts that send the same events, on ports from --port on.",
)
@click.option(
    "--time-scale",
    type=click.FloatRange(0, min_open=True),
    default=1,
    show_default=True,
    help="Multiply all times of the protocol: keep-alives, windows of limits.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[:TIMES]",
    help="Simulate a fault; repeatable. " + ", ".join(sorted(simulator.FAULTS)),
)
@click.option(
    "--secrets",
    type=text_of_file,
    metavar="FILE",
    help="Credentials to require, as for `source add` (default: accept any).",
)
def simulate(
    faults: tuple[str, ...], secrets: str | None, history: int, hosts: int, **options: object
) -> None:
    """Run a local server that speaks a network's protocol, with faults on demand."""
    given: dict[str, str] = parse_secrets(secrets) if secrets is not None else {}
    settings = msgspec.structs.replace(
        msgspec.convert(options, simulator.Settings),
        faults=faults,
        jetstream=simulator.Jetstream(history=history, hosts=hosts),
        bearer_token=given.get("bearer_token", given.get("access_token")),
        oauth=msgspec.convert(given, simulator.OAuth) if "consumer_key" in given else None,
    )

    def serving(url: str) -> None:
        click.echo(f"A simulated {settings.network} on {url}; press Ctrl-C to stop.", err=True)

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(simulator.run(settings, serving))
    except (simulator.UnknownFault, msgspec.ValidationError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise TwitterstreamError(f"The simulator cannot start: {error}.") from error
