"""`alert test|list|ack|mute|unmute`: what needs a person, and whom it is told."""

import getpass
import socket
import time
from datetime import UTC, datetime, timedelta

import click
from rich.table import Table

from monitor.alert import book
from monitor.alert.catalogue import RULES
from monitor.alert.channels import Channels, Outcome
from monitor.alert.messages import Message
from monitor.alert.words import clock, lasting
from stream.commands.context import Context, command
from stream.config.units import number
from stream.errors import ConfigError, TwitterstreamError

RULE = click.Choice(list(RULES))


class Duration(click.ParamType[timedelta]):
    """90 min, 2d, 12 h."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        seconds = number(str(value), "seconds")
        if not seconds:
            self.fail(f"{value!r} is no duration such as 90 min, 12 h or 2 d.", param, ctx)
        try:
            datetime.now(UTC) + timedelta(seconds=seconds)
        except OverflowError:
            self.fail(f"{value!r} is too long; leave it out for ever.", param, ctx)
        return timedelta(seconds=seconds)


@click.group()
def alert() -> None:
    """What needs a person, and whom it is told."""


@alert.command()
@command
async def test(context: Context) -> None:
    """Send a test message through every channel and fallback, and say which took it."""
    channels = Channels(context.settings.alerts)
    if not channels:
        raise ConfigError("There is no channel yet: set alerts.channels in config.yaml.")
    at = clock(time.time(), 0)
    message = Message(
        "[twitterstream] test",
        f"This is a test from {socket.gethostname()} at {at}. Alerts of twitterstream come this"
        " way. There is nothing to do.",
    )
    outcomes = await channels.test(message)
    for outcome in outcomes:
        context.out.print(_said(outcome))
    if all(outcome.problem is not None for outcome in outcomes):
        raise TwitterstreamError("No channel took the message: nobody would hear of an alert.")
    if any(outcome.problem is not None for outcome in outcomes):
        raise TwitterstreamError("Not every channel took the message: mend those that did not.")


def _said(outcome: Outcome) -> str:
    how = "sent" if outcome.problem is None else f"NOT sent: {outcome.problem}"
    return f"{outcome.name}: {how}"


@alert.command("list")
@click.option("--all", "closed", is_flag=True, help="Also those that are over.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@command
async def list_alerts(context: Context, closed: bool, as_json: bool) -> None:
    """Open alerts: what is wrong, since when, what to do."""
    async with context.database() as database, database.acquire() as connection:
        rows = await book.listing(connection, closed=closed)
        mutes = await book.all_mutes(connection)
    if as_json:
        context.print_json({"alerts": [dict(r) for r in rows], "mutes": [dict(m) for m in mutes]})
        return
    now = time.time()
    table = Table("id", "severity", "rule", "of", "since", "what is wrong, what to do")
    for row in rows:
        since = clock(row["opened_at"].timestamp(), now)
        if row["closed_at"] is not None:
            since += (
                f", over after {lasting((row['closed_at'] - row['opened_at']).total_seconds())}"
            )
        elif row["acknowledged_at"] is not None:
            since += f", known to {row['acknowledged_by'] or 'somebody'}"
        of = " on ".join(part for part in (row["subject"], row["host"]) if part)
        what = f"{row['text']} {row['remedy']}"
        table.add_row(str(row["id"]), row["severity"], row["rule"], of, since, what)
    if rows:
        context.out.print(table)
    else:
        context.out.print("There was no alert yet." if closed else "No alert is open.")
    for mute_ in mutes:
        until = f"until {mute_['until']:%F %H:%M} UTC" if mute_["until"] else "until it is unmuted"
        of = f" of {mute_['subject']}" if mute_["subject"] is not None else ""
        why = f" ({mute_['reason']})" if mute_["reason"] else ""
        context.out.print(f"Muted: {mute_['rule']}{of} {until}{why}")


@alert.command()
@click.argument("alert_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@command
async def ack(context: Context, alert_id: int) -> None:
    """Say that you know of this alert: it is not repeated, and its end is still told."""
    async with context.database() as database, database.acquire() as connection:
        is_open = await book.acknowledge(connection, alert_id, getpass.getuser())
    if is_open is None:
        raise TwitterstreamError(f"There is no alert {alert_id}; `alert list` shows all.")
    over = "" if is_open else " It was over already."
    context.out.print(f"Alert {alert_id} is not repeated any more.{over}")


@alert.command()
@click.argument("rule", type=RULE)
@click.option("--subject", help="Only of this source, track or volume.")
@click.option("--for", "length", type=Duration(), help="Such as 12 h or 2d; left out, for ever.")
@click.option("--reason", default="", help="For whoever wonders later.")
@command
async def mute(
    context: Context, rule: str, subject: str | None, length: timedelta | None, reason: str
) -> None:
    """Do not tell of RULE; its alerts are still kept."""
    until = None if length is None else datetime.now(UTC) + length
    async with context.database() as database, database.acquire() as connection:
        await book.mute(connection, rule, subject, until, reason)
    of = f" of {subject}" if subject is not None else ""
    when = f"until {until:%F %H:%M} UTC" if until else f"until `alert unmute {rule}`"
    context.out.print(f"{rule}{of} is muted {when}.")


@alert.command()
@click.argument("rule", type=RULE)
@click.option("--subject", help="Only the mutes of this subject.")
@command
async def unmute(context: Context, rule: str, subject: str | None) -> None:
    """Tell of RULE again."""
    async with context.database() as database, database.acquire() as connection:
        taken = await book.unmute(connection, rule, subject)
    if not taken:
        raise TwitterstreamError(f"{rule} is not muted so; `alert list` shows what is.")
    context.out.print(f"{rule} is told again.")
