"""Where the embedded server keeps its things, and the locks that its users share."""

import asyncio
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from stream.errors import TwitterstreamError
from stream.postgres.account import Account

LOCK_POLL = 0.05  # seconds
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_BYTES = 100  # the kernel takes 107; a socket's path is fixed when the folder is chosen

UNQUOTABLE = frozenset('"$`\\\n')  # pg_ctl gives the path to a shell, in double quotes


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
                f"The folder {self.base} cannot be made ({error.strerror}): set data_dir to a"
                " folder that you may write to"
            ) from error

    def password(self) -> str:
        """The password of the server, made before its cluster; letters and digits only."""
        path = self.base / "password"
        if not path.exists():
            if self.cluster.exists():
                raise TwitterstreamError(
                    f"{path} is missing, and the server in {self.cluster} takes no other password:"
                    " restore the file from a backup"
                )
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(24))
                file.flush()
                os.fsync(handle)
            new.rename(path)
        return path.read_text(encoding="ascii").strip()

    def socket(self, account_uid: int) -> Path:
        """The folder of the socket: in data_dir, or in /tmp when the path would be too long."""
        inside = self.base / "socket"
        if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.base)).hexdigest()[:12]
        return Path(f"/tmp/twitterstream-{account_uid}-{name}")  # noqa: S108  # checked in make_socket


def make_socket(folder: Path, account: Account) -> None:
    """Make the socket's folder, and refuse one that somebody else has laid there."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid not in (account.uid, os.geteuid()):
        raise TwitterstreamError(
            f"{folder} is not a folder that only user {account.uid} may enter: remove it, since"
            " the database's socket shall lie there"
        )
    account.own(folder)


@asynccontextmanager
async def locked(path: Path, kind: int) -> AsyncIterator[int]:
    """Hold a lock on a file; the kernel gives it back however the process ends."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise TwitterstreamError(
            f"{path} cannot be opened ({error.strerror}): data_dir belongs to another user;"
            " start as that one, or set data_dir to a folder of your own"
        ) from error
    try:
        while not take(handle, kind):  # noqa: ASYNC110  # held by another process
            await asyncio.sleep(LOCK_POLL)
        yield handle
    finally:
        os.close(handle)


def take(handle: int, kind: int) -> bool:
    """Take or convert a lock without waiting. A failed conversion has given up the former lock."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
