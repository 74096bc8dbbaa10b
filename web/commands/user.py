"""`user add|passwd|disable|enable|list`: who may use the pages and the API."""

import socket
from typing import TextIO, get_args

import click
from rich.table import Table

from stream.commands.context import Context, command
from stream.config import Settings
from stream.db import Executor
from stream.errors import TwitterstreamError
from web.accounts import invites, sessions, users
from web.accounts.passwords import Passwords
from web.environment import ago
from web.person import Role
from web.problem import Problem
from web.reading import people

PASSWORD = click.option(
    "--password",
    type=click.File("r", encoding="utf-8"),
    help="File whose first line is the password; - reads standard input. Left out: a link.",
)
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


@click.group()
def user() -> None:
    """Who may use the pages and the API."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(get_args(Role)), default="user", show_default=True)
@PASSWORD
@command
async def add(context: Context, name: str, role: Role, password: TextIO | None) -> None:
    """Let somebody in. Prints a link that works once, to choose a password."""
    hashed = await _hashed(password)
    async with context.database() as database, database.transaction() as connection:
        try:
            user_id = await users.add(connection, name, role, hashed)
        except Problem as problem:
            if problem.code == "invalid":
                raise click.UsageError(str(problem)) from problem
            raise
        key = None if hashed else await invites.make(connection, user_id)
    context.out.print(f"User {name} is added, with the role {role}.")
    _say_link(context, name, key)


@user.command()
@click.argument("name")
@PASSWORD
@command
async def passwd(context: Context, name: str, password: TextIO | None) -> None:
    """Give somebody a new password, or a link that works once to choose one."""
    hashed = await _hashed(password)
    async with context.database() as database, database.transaction() as connection:
        known = await _known(connection, name)
        if hashed is None:
            if not known.enabled:
                raise TwitterstreamError(f"{name} is disabled: `user enable {name}` comes first.")
            key = await invites.make(connection, known.id)
        else:
            key = None
            await users.set_password(connection, known.id, hashed)
            await sessions.end_all(connection, known.id)
    if key is None:
        context.out.print(f"User {name} has a new password, and is logged out everywhere.")
    _say_link(context, name, key)


@user.command()
@click.argument("name")
@command
async def disable(context: Context, name: str) -> None:
    """Keep somebody out, at once; tracks stay."""
    await _enable(context, name, enabled=False)
    context.out.print(f"User {name} is disabled, and logged out everywhere.")


@user.command()
@click.argument("name")
@command
async def enable(context: Context, name: str) -> None:
    """Let somebody in again."""
    await _enable(context, name, enabled=True)
    context.out.print(f"User {name} may come in again.")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@command
async def list_users(context: Context, as_json: bool) -> None:
    """Everybody, with role and state."""
    async with context.database() as database, database.acquire() as connection:
        lines = await people.lines(connection)
    if as_json:
        context.print_json(lines)
        return
    if not lines:
        context.out.print("There is nobody yet. `user add NAME --role admin` adds the first one.")
        return
    table = Table("name", "role", "state", "last seen", "tracks", "tokens")
    for line in lines:
        ready = "active" if line.ready else "has no password yet"
        state = ready if line.enabled else "disabled"
        counts = (f"{line.tracks:,}", f"{line.tokens:,}")
        table.add_row(line.name, line.role, state, ago(line.seen_at), *counts)
    context.out.print(table)


async def _hashed(password: TextIO | None) -> str | None:
    if password is None:
        return None
    try:
        return await Passwords().hash(password.readline().rstrip("\r\n"))
    except Problem as problem:
        raise click.UsageError(str(problem)) from problem


async def _known(connection: Executor, name: str) -> users.User:
    found = await users.named(connection, name)
    if found is None:
        raise TwitterstreamError(f"There is no user named {name}; `user list` shows all.")
    return found


async def _enable(context: Context, name: str, *, enabled: bool) -> None:
    async with context.database() as database, database.transaction() as connection:
        known = await _known(connection, name)
        await users.change(connection, known.id, enabled=enabled)
        if not enabled:
            await sessions.end_all(connection, known.id)
            await invites.end(connection, known.id)


def _say_link(context: Context, name: str, key: str | None) -> None:
    if key is not None:
        click.echo(_address(context.settings) + f"/welcome?key={key}")
        click.echo(f"(It works once, within {invites.HOURS} hours: {name} chooses a password.)")


def _address(settings: Settings) -> str:
    """Where the pages are, as far as the settings tell; a server in front has its own."""
    host, _, port = settings.web.listen.rpartition(":")
    if host.strip("[]") in _EVERYWHERE:
        host = socket.gethostname()
    home = f"http://{host}:{port}" if settings.web.listen else ""
    return home + settings.web.base_path
