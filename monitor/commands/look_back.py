"""`look-back run`: the process of the daemon that looks back for tracks. Not for people."""

import contextlib

import click

from monitor.child_process import die_with_parent
from monitor.look_back.run import LookBackRun
from stream.commands.context import Context, command


@click.group("look-back", hidden=True)
def look_back() -> None:
    """Look back for tracks, as the table `look_backs` says."""


@look_back.command()
@click.option("--die-with-parent", "as_child", is_flag=True, hidden=True)  # for the daemon
@command
async def run(context: Context, as_child: bool) -> None:
    """Do what waits, then end. A running daemon calls this."""
    async with (
        die_with_parent() if as_child else contextlib.nullcontext(),
        context.database() as database,
    ):
        await LookBackRun(database, context.settings, context.out.print).run()
