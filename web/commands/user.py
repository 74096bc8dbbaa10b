"""`user add|passwd|limit|sql|disable|enable|list`: manage users of the pages and the API."""

from typing import get_args

import click
import msgspec
from rich.table import Table

from stream.commands.context import Context, command, first_line, text_of_file
from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.store import sessions, sql_roles, users
from stream.store.users import Role
from web.accounts import service, sql_access
from web.accounts.credentials import Passwords
from web.accounts.service import MAX_TRACKS_LIMIT, Limits, new_invite
from web.problem import Problem
from web.proxies import public_origin
from web.templating import ago

PASSWORD = click.option(
    "--password",
    type=text_of_file,
    metavar="FILE",
    help="File with the password in its first line; - for standard input. Default: print a link.",
)


@click.group()
def user() -> None:
    """Manage users of the pages and the API."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(get_args(Role)), default="user", show_default=True)
@PASSWORD
@click.option("--sql", is_flag=True, help="Also give access by SQL, as `user sql`.")
@command
async def add(context: Context, name: str, role: Role, password: str | None, sql: bool) -> None:
    """Add a user. Prints a one-time link to choose a password."""
    hashed = await _hashed(password)
    async with context.database() as database, database.transaction() as connection:
        try:
            user_id = await service.add_user(connection, name, role, hashed)
        except Problem as problem:
            if problem.code == "invalid":
                raise click.UsageError(str(problem)) from problem
            raise
        key = None if hashed else await new_invite(connection, user_id)
        login = await sql_access.new_login(connection, user_id) if sql else None
    context.out.print(f"User {name} added, with the role {role}.")
    _print_link(context, name, key)
    if login is not None:
        _print_login(name, database.address_for(*login))


@user.command()
@click.argument("name")
@PASSWORD
@click.option("--end-tokens", is_flag=True, help="Also revoke the user's API tokens.")
@command
async def passwd(context: Context, name: str, password: str | None, end_tokens: bool) -> None:
    """Set a new password, or print a one-time link to choose one."""
    hashed = await _hashed(password)
    async with context.database() as database, database.transaction() as connection:
        known = await _user_named(connection, name)
        if hashed is None:
            if not known.enabled:
                raise TwitterstreamError(f"{name} is disabled. Run `user enable {name}` first.")
            key = await new_invite(connection, known.id)
        else:
            key = None
            await service.set_password(connection, known.id, hashed)
        if end_tokens:
            await sessions.revoke_tokens(connection, known.id)
    if key is None:
        context.out.print(f"Password of {name} changed. All sessions have ended.")
    if end_tokens:
        context.out.print(f"The API tokens of {name} no longer work.")
    _print_link(context, name, key)


@user.command()
@click.argument("name")
@command
async def disable(context: Context, name: str) -> None:
    """Disable a user at once; the tracks stay."""
    await _enable(context, name, enabled=False)
    context.out.print(f"User {name} disabled. All sessions have ended.")


@user.command()
@click.argument("name")
@command
async def enable(context: Context, name: str) -> None:
    """Enable a disabled user."""
    await _enable(context, name, enabled=True)
    context.out.print(f"User {name} enabled.")


@user.command()
@click.argument("name")
@click.option("--remove", is_flag=True, help="End the access by SQL.")
@command
async def sql(context: Context, name: str, remove: bool) -> None:
    """Give a user a role of Postgres that reads their tweets, or a new password for it."""
    async with context.database() as database, database.transaction() as connection:
        known = await _user_named(connection, name)
        if remove:
            if not await sql_roles.remove(connection, known.id):
                raise TwitterstreamError(f"{name} has no access by SQL.")
            login = None
        else:
            login = await sql_access.new_login(connection, known.id)
    if login is None:
        context.out.print(f"{name} has no access by SQL any more.")
    else:
        _print_login(name, database.address_for(*login))


@user.command()
@click.argument("name")
@click.option("--max-tracks", help="A number, or `none` for no limit.", required=True)
@command
async def limit(context: Context, name: str, max_tracks: str) -> None:
    """Limit how many tracks a user may have."""
    number = None if max_tracks == "none" else max_tracks
    try:
        new = msgspec.convert({"max_tracks": number}, Limits, strict=False)
    except msgspec.ValidationError as error:
        words = f"--max-tracks must be a number from 0 to {MAX_TRACKS_LIMIT}, or `none`."
        raise click.UsageError(words) from error
    async with context.database() as database, database.transaction() as connection:
        known = await _user_named(connection, name)
        await users.set_max_tracks(connection, known.id, new.max_tracks)
    words = "any number of" if new.max_tracks is None else f"at most {new.max_tracks:,}"
    context.out.print(f"User {name} may have {words} tracks.")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def list_users(context: Context, as_json: bool) -> None:
    """List users with their roles and states."""
    async with context.database() as database, database.acquire() as connection:
        lines = await users.summaries(connection)
    if as_json:
        context.print_json(lines)
        return
    if not lines:
        context.out.print("No users yet. Add the first with `user add NAME --role admin`.")
        return
    table = Table("name", "role", "state", "last seen", "tracks", "tokens")
    for line in lines:
        ready = "active" if line.ready else "invited"
        state = ready if line.enabled else "disabled"
        counts = (f"{line.tracks:,}", f"{line.tokens:,}")
        table.add_row(line.name, line.role, state, ago(line.seen_at), *counts)
    context.out.print(table)


async def _hashed(password: str | None) -> str | None:
    if password is None:
        return None
    try:
        return await Passwords().hash(first_line(password))
    except Problem as problem:
        raise click.UsageError(str(problem)) from problem


async def _user_named(connection: Executor, name: str) -> users.User:
    found = await users.by_name(connection, name)
    if found is None:
        raise TwitterstreamError(f"There is no user {name}; `user list` shows all.")
    return found


async def _enable(context: Context, name: str, *, enabled: bool) -> None:
    async with context.database() as database, database.transaction() as connection:
        known = await _user_named(connection, name)
        await service.change_access(connection, known.id, enabled=enabled)


def _print_link(context: Context, name: str, key: str | None) -> None:
    if key is not None:
        home = public_origin(context.settings) + context.settings.web.base_path
        click.echo(f"{home}/welcome?key={key}")
        click.echo(f"(One-time link for {name}, valid for {users.INVITE_HOURS} hours.)")


def _print_login(name: str, url: str) -> None:
    click.echo(url)
    click.echo(f"(SQL access for {name}. The password in this address is not shown again.)")
