"""`webhooks read-archived` is the process in which the daemon reads what is sent again."""

import contextlib
import sys

import click

from monitor.child_process import die_with_parent
from monitor.export.delivery_process import MARK
from stream.commands.context import Context, command


@click.group(hidden=True)
def webhooks() -> None:
    """Read what webhooks are sent."""


@webhooks.command("read-archived")
@click.argument("delivery", type=int)
@click.option("--die-with-parent", "as_child", is_flag=True, hidden=True)  # for the daemon
@command
async def read_archived(context: Context, delivery: int, as_child: bool) -> None:
    """Print the tweets of a delivery, from Postgres and archives. A running daemon calls this."""
    from monitor.export.delivery import tweets_of  # noqa: PLC0415 - pyarrow, which few need

    async with (
        die_with_parent() if as_child else contextlib.nullcontext(),
        context.database() as database,
        contextlib.aclosing(tweets_of(database, context.settings, delivery)) as items,
    ):
        async for item in items:
            sys.stdout.buffer.write(MARK + item + b"\n")
