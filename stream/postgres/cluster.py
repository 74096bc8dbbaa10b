"""The folders, files and locks of the embedded server: created once, configured at every start."""

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from stream import files
from stream.errors import TwitterstreamError
from stream.postgres import process
from stream.postgres.unprivileged import MAJOR, Account
from stream.store.server import new_database, role_password

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

# One daemon, a few commands and a person with psql, on a machine that does other things too. The
# logins of users share what is not reserved for these.
max_connections = 100
superuser_reserved_connections = 40
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
# The settings of twitterstream; your own settings below override them.
include 'twitterstream.conf'
"""

ACCESS = """\
# A password is required; there are no connections from other machines.
# The logins of users have no business in the databases that come with a server.
local all twitterstream scram-sha-256
local postgres,template1 all reject
local all all scram-sha-256
"""
LOCK_POLL = 0.05  # seconds
LOCK_WITHIN = 1200.0  # seconds; longer than a start with initdb may take
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_BYTES = 100  # the kernel takes 107; a socket's path is fixed when the folder is chosen

PASSWORD_BYTES = 24
PASSWORD = re.compile(rf"[0-9a-f]{{{2 * PASSWORD_BYTES}}}")  # else its file was torn

UNQUOTABLE = frozenset('"$`\\\n')  # pg_ctl gives the path to a shell, in double quotes


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
    await set_password(programs, account, new, password, new_database(ROLE))
    write(new / "pg_hba.conf", ACCESS, account)
    write(new / "postgresql.conf", MAIN, account)
    new.rename(cluster)


async def set_password(
    programs: Path, account: Account, cluster: Path, password: str, more: str = ""
) -> None:
    """Set it without a server that listens: no one can log in before, and no former one is needed.

    `more`: statements that follow, one a line.
    """
    single = [*account.prefix, str(programs / "postgres"), "--single", "-D", str(cluster)]
    await _run(
        [*single, "-c", "exit_on_error=on", "template1"],
        role_password(ROLE, password) + more,
    )


async def _run(command: list[str], text: str = "") -> None:
    result = await process.run(command, text)
    if result.code != 0:
        raise TwitterstreamError(
            f"The embedded PostgreSQL could not be set up. Its output: {last_lines(result.output)}"
        )


def check_version(cluster: Path) -> None:
    """Refuse a cluster that another major version wrote: the server could not read it."""
    found = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    if found != MAJOR:
        raise TwitterstreamError(
            f"{cluster} was written by PostgreSQL {found}, and this program includes PostgreSQL"
            f" {MAJOR}: save the data with pg_dump of the former program, move the folder away,"
            " start again, and load them with psql"
        )


def configure(cluster: Path, account: Account, socket: Path, changed: Mapping[str, str]) -> None:
    """Write our settings again: the socket moves with data_dir. `changed` is for tests."""
    lines = [f"{name} = {quoted(value)}\n" for name, value in changed.items()]
    where = f"unix_socket_directories = {quoted(str(socket))}\n"
    write(cluster / "twitterstream.conf", SETTINGS + where + "".join(lines), account)


def quoted(value: str) -> str:
    """Quote a text as a string of postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def write(path: Path, text: str, account: Account) -> None:
    """Replace a file of the account's as a whole.

    By a new name: root never writes through a link that lies in another account's folder.
    """

    def give(descriptor: int) -> None:
        if account.foreign:
            os.fchown(descriptor, account.uid, account.gid)

    with files.replacing(path, prepare=give) as file:
        file.write(text.encode())


def log_tail(cluster: Path) -> str:
    """The end of what the server wrote last, for an error; empty if nothing."""
    logs = [cluster / "start.log", *cluster.glob("log/*.log")]
    written = [log for log in logs if log.exists() and log.stat().st_size]
    if not written:
        return ""
    newest = max(written, key=lambda log: log.stat().st_mtime)
    return last_lines(newest.read_text(encoding="utf-8", errors="replace"))


def last_lines(text: str, count: int = 4) -> str:
    """The last lines of a text, joined to one line."""
    return " / ".join(line.strip() for line in text.splitlines()[-count:] if line.strip())


def new_password() -> str:
    """Create a password of letters and digits only."""
    return secrets.token_hex(PASSWORD_BYTES)


class Folders:
    """All paths, from data_dir.

    postgres/           0700, or 0711 when the server runs under another account
    postgres/cluster    0700, the server's own
    postgres/socket     0700, the server's own
    postgres/password   0600
    postgres/*.lock     0600
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.base = self.data_dir / "postgres"
        self.cluster = self.base / "cluster"
        self.users_lock = self.base / "users.lock"
        self.start_lock = self.base / "start.lock"
        self.password_file = self.base / "password"

    def make(self) -> None:
        """Make the folders above the cluster, if they are missing."""
        if unquotable := set(str(self.base)) & UNQUOTABLE:
            raise TwitterstreamError(
                f"PostgreSQL's own tools cannot work in {self.base}, because of the"
                f" {min(unquotable)} in its name: set data_dir to another folder"
            )
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self.base.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise TwitterstreamError(
                f"The folder {self.base} cannot be created ({error.strerror}): set data_dir to a"
                " folder that you may write to"
            ) from error

    def password(self) -> str | None:
        """The password of the server; None when its file is missing, torn or unreadable."""
        with suppress(OSError, UnicodeError):
            found = self.password_file.read_text(encoding="ascii").strip()
            return found if PASSWORD.fullmatch(found) else None
        return None

    def keep_password(self, password: str) -> None:
        """Write the password that the server has now."""
        files.write(self.password_file, password.encode())

    def socket(self, account_uid: int) -> Path:
        """The folder of the socket: in data_dir, or in /tmp when the path would be too long."""
        inside = self.base / "socket"
        if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.base)).hexdigest()[:12]
        return Path(f"/tmp/twitterstream-{account_uid}-{name}")  # noqa: S108  # checked in make_socket


def make_socket(folder: Path, account: Account) -> None:
    """Create the socket's folder; refuse one that another user has created."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid not in (account.uid, os.geteuid()):
        raise TwitterstreamError(
            f"{folder} must be a folder that only user {account.uid} may enter, for the"
            " database's socket: remove it, and start again"
        )
    account.own(folder)


@asynccontextmanager
async def locked(path: Path, kind: int) -> AsyncIterator[int]:
    """Hold a lock on a file; the kernel gives it back however the process ends."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP):
            remedy = (
                "data_dir belongs to another user; start as that one, or set data_dir to a folder"
                " of your own"
            )
        elif error.errno == errno.EROFS:
            remedy = "the disk is read-only: see `dmesg`, check it and remount it read-write"
        else:
            remedy = "check the disk of data_dir: free space, free inodes, errors (`dmesg`)"
        raise TwitterstreamError(f"{path} cannot be opened ({error.strerror}): {remedy}") from error
    try:
        await _take_soon(path, handle, kind)
        yield handle
    finally:
        os.close(handle)


async def _take_soon(path: Path, handle: int, kind: int) -> None:
    try:
        async with asyncio.timeout(LOCK_WITHIN):
            while not take(handle, kind):  # noqa: ASYNC110  # held by another process
                await asyncio.sleep(LOCK_POLL)
    except TimeoutError:
        raise TwitterstreamError(
            f"Another process of this program has held {path} for {LOCK_WITHIN:.0f} s while it"
            f" starts or stops the database: end it (`fuser {path}` names it), and start again"
        ) from None


def take(handle: int, kind: int) -> bool:
    """Take or convert a lock without waiting. A failed conversion has given up the former lock."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
