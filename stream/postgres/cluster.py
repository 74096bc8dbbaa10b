"""The files of the embedded server: made once, configured at every start."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from stream.errors import TwitterstreamError
from stream.postgres import process
from stream.postgres.account import Account
from stream.postgres.programs import MAJOR

ROLE = "twitterstream"  # also the name of the database
CLEARINGS, POLL = 100, 0.05  # attempts; seconds

INITDB = (
    "--auth=reject",  # until pg_hba.conf is ours
    "--encoding=UTF8",
    # The server's own C.UTF-8: an index stays right when the system's library is upgraded.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
)

SETTINGS = """\
# Written by twitterstream at every start. Put your own settings into postgresql.conf.

# Private: one socket in a folder that only this account can enter, no TCP, and a password.
listen_addresses = ''
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'

# One daemon, a few commands and a person with psql, on a machine that does other things too.
max_connections = 50
shared_buffers = 128MB
max_parallel_workers_per_gather = 1
jit = off                       # our statements are short: compiling takes longer than running

# Much is written and never changed: fewer checkpoints write fewer full pages, and what is left
# of them is compressed. A restart after a crash replays at most this much.
max_wal_size = 2GB
min_wal_size = 256MB
checkpoint_timeout = 10min
checkpoint_completion_target = 0.9
wal_compression = on

# A week of logs, one file a day, each overwritten a week later.
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_line_prefix = '%m [%p] '
log_lock_waits = on

# Days begin at midnight UTC, for partitions and statistics alike.
timezone = 'UTC'
log_timezone = 'UTC'
"""

MAIN = """\
# The settings of twitterstream come first; what you write below them wins.
include 'twitterstream.conf'
"""

ACCESS = """\
# Nobody comes in without the password, and nobody comes from outside.
local all all scram-sha-256
"""


async def make(programs: Path, account: Account, cluster: Path, password: str) -> None:
    """Make the cluster with its role and its database, all of it or nothing.

    Made under another name and renamed, so that a kill in the middle leaves no half cluster. The
    password is set, and the database made, before the server ever listens.
    """
    new = cluster.with_suffix(".new")
    for _ in range(CLEARINGS):  # what was killed in the middle may write for a moment yet
        shutil.rmtree(new, ignore_errors=True)
        if not new.exists():
            break
        await asyncio.sleep(POLL)
    new.mkdir(0o700)
    account.own(new)
    initdb = [*account.prefix, str(programs / "initdb"), *INITDB]
    await _run([*initdb, f"--pgdata={new}", f"--username={ROLE}"])
    single = [*account.prefix, str(programs / "postgres"), "--single", "-D", str(new)]
    await _run(
        [*single, "-c", "exit_on_error=on", "template1"],
        f"ALTER ROLE {ROLE} PASSWORD '{password}';\nCREATE DATABASE {ROLE};\n",
    )
    write(new / "pg_hba.conf", ACCESS, account)
    write(new / "postgresql.conf", MAIN, account)
    new.rename(cluster)


async def _run(command: list[str], text: str = "") -> None:
    result = await process.run(command, text)
    if result.code != 0:
        raise TwitterstreamError(
            f"The embedded PostgreSQL could not be made; it says: {last_lines(result.output)}"
        )


def check_version(cluster: Path) -> None:
    """Refuse a cluster that another major version wrote: the server could not read it."""
    found = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    if found != MAJOR:
        raise TwitterstreamError(
            f"{cluster} was written by PostgreSQL {found}, and this program brings PostgreSQL"
            f" {MAJOR}: save the data with pg_dump of the former program, move the folder away,"
            " start again, and load them with psql"
        )


def configure(cluster: Path, account: Account, socket: Path, changed: Mapping[str, str]) -> None:
    """Write our settings anew: the socket moves when data_dir does. `changed` is for tests."""
    lines = [f"{name} = {quoted(value)}\n" for name, value in changed.items()]
    where = f"unix_socket_directories = {quoted(str(socket))}\n"
    write(cluster / "twitterstream.conf", SETTINGS + where + "".join(lines), account)


def quoted(value: str) -> str:
    """As a string of postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def write(path: Path, text: str, account: Account) -> None:
    """Replace a file of the account's as a whole.

    By a new name: root never writes through a link that lies in another account's folder.
    """
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
        if account.foreign:
            os.fchown(handle, account.uid, account.gid)
    new.rename(path)


def complaint(cluster: Path) -> str:
    """The end of what the server wrote last, for an error; empty if nothing."""
    logs = [cluster / "start.log", *cluster.glob("log/*.log")]
    written = [log for log in logs if log.exists() and log.stat().st_size]
    if not written:
        return ""
    newest = max(written, key=lambda log: log.stat().st_mtime)
    return last_lines(newest.read_text(encoding="utf-8", errors="replace"))


def last_lines(text: str, count: int = 4) -> str:
    """The last lines as one."""
    return " / ".join(line.strip() for line in text.splitlines()[-count:] if line.strip())
