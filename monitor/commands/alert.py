"""`alert test|list|ack|mute|unmute`: list, acknowledge, mute and test alerts."""

import getpass
import socket
import time
from datetime import UTC, datetime, timedelta

import click
from rich.table import Table

from monitor.alert.messages import Message
from monitor.alert.notifier import Channels, Outcome
from monitor.alert.registry import RULES
from monitor.alert.text import clock, lasting
from stream.commands.context import Context, command
from stream.commands.parameters import Duration, RowId
from stream.errors import ConfigError, TwitterstreamError
from stream.store import alerts

RULE = click.Choice(list(RULES))


@click.group()
def alert() -> None:
    """List, test, acknowledge and mute alerts."""


@alert.command()
@command
async def test(context: Context) -> None:
    """Send a test message through every channel and fallback, and report the results."""
    channels = Channels(context.settings.alerts)
    if not channels:
        raise ConfigError("No channel is configured: set alerts.channels in config.yaml.")
    at = clock(time.time(), 0)
    message = Message(
        "[twitterstream] test",
        f"This is a test from {socket.gethostname()} at {at}. Alerts of twitterstream will arrive"
        " here. No action is needed.",
    )
    outcomes = await channels.test(message)
    for outcome in outcomes:
        context.out.print(_result(outcome))
    if all(outcome.problem is not None for outcome in outcomes):
        raise TwitterstreamError("No channel accepted the message: alerts would not be delivered.")
    if any(outcome.problem is not None for outcome in outcomes):
        raise TwitterstreamError("Some channels failed: correct those listed above.")


def _result(outcome: Outcome) -> str:
    how = "sent" if outcome.problem is None else f"NOT sent: {outcome.problem}"
    return f"{outcome.name}: {how}"


@alert.command("list")
@click.option("--all", "closed", is_flag=True, help="Include resolved alerts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def list_alerts(context: Context, closed: bool, as_json: bool) -> None:
    """List open alerts: what is wrong, since when, what to do."""
    async with context.database() as database, database.acquire() as connection:
        rows = await alerts.listing(connection, closed=closed)
        mutes = await alerts.mutes(connection)
    if as_json:
        context.print_json({"alerts": [dict(r) for r in rows], "mutes": mutes})
        return
    now = time.time()
    table = Table("id", "severity", "rule", "of", "since", "what is wrong, what to do")
    for row in rows:
        since = clock(row["opened_at"].timestamp(), now)
        if row["closed_at"] is not None:
            since += (
                f", resolved after {lasting((row['closed_at'] - row['opened_at']).total_seconds())}"
            )
        elif row["acknowledged_at"] is not None:
            since += f", acknowledged by {row['acknowledged_by'] or 'unknown'}"
        of = " on ".join(part for part in (row["subject"], row["host"]) if part)
        what = f"{row['text']} {row['remedy']}"
        table.add_row(str(row["id"]), row["severity"], row["rule"], of, since, what)
    if rows:
        context.out.print(table)
    else:
        context.out.print("No alerts so far." if closed else "No open alerts.")
    for mute_ in mutes:
        until = f"until {mute_.until:%F %H:%M} UTC" if mute_.until else "until it is unmuted"
        of = f" of {mute_.subject}" if mute_.subject is not None else ""
        why = f" ({mute_.reason})" if mute_.reason else ""
        context.out.print(f"Muted: {mute_.rule}{of} {until}{why}")


@alert.command()
@click.argument("alert_id", metavar="ID", type=RowId("alert"))
@command
async def ack(context: Context, alert_id: int) -> None:
    """Acknowledge an alert: no more reminders; its end is still reported."""
    async with context.database() as database, database.acquire() as connection:
        is_open = await alerts.acknowledge(connection, alert_id, getpass.getuser())
    if is_open is None:
        raise TwitterstreamError(f"There is no alert {alert_id}; `alert list` shows all.")
    over = "" if is_open else " It was already resolved."
    context.out.print(f"Alert {alert_id} is acknowledged.{over}")


@alert.command()
@click.argument("rule", metavar="RULE", type=RULE)
@click.option("--subject", help="Mute only this source, track or volume.")
@click.option(
    "--for", "length", type=Duration(), help="Such as 90min, 12h or 2d (default: for ever)."
)
@click.option("--reason", default="", help="Why (shown in `alert list`).")
@command
async def mute(
    context: Context, rule: str, subject: str | None, length: timedelta | None, reason: str
) -> None:
    """Mute RULE, named as in `alert list`: no messages; its alerts are still recorded."""
    until = None if length is None else datetime.now(UTC) + length
    async with context.database() as database, database.acquire() as connection:
        await alerts.mute(connection, rule, subject, until, reason)
    of = f" of {subject}" if subject is not None else ""
    when = f"until {until:%F %H:%M} UTC" if until else f"until `alert unmute {rule}`"
    context.out.print(f"{rule}{of} is muted {when}.")


@alert.command()
@click.argument("rule", metavar="RULE", type=RULE)
@click.option("--subject", help="Remove only the mute of this subject.")
@command
async def unmute(context: Context, rule: str, subject: str | None) -> None:
    """Unmute RULE."""
    async with context.database() as database, database.acquire() as connection:
        taken = await alerts.unmute(connection, rule, subject)
    if not taken:
        raise TwitterstreamError(f"There is no such mute of {rule}; `alert list` shows all mutes.")
    context.out.print(f"{rule} is unmuted.")
