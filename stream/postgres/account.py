"""As whom the embedded server runs. PostgreSQL refuses to run as root, and we change no permission
outside data_dir, so root needs another face.

An ordinary user is its own account. Root tries, in this order, and takes the first that works:

1. the account that owns the cluster already;
2. a user namespace: the process keeps root's access to root's files and sees itself as uid 1;
3. where the kernel or a container forbids namespaces: the owner of the folder around data_dir (the
   person behind `sudo`), then `postgres`, then `nobody`.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stream.errors import TwitterstreamError
from stream.postgres import process

ENTER = 'for folder; do test -x "$folder" || { echo "$folder"; exit 1; }; done'
MAY_PASS = 0o011  # the execute bits of group and others


@dataclass(frozen=True)
class Account:
    """`prefix` goes before a command; `uid` and `gid` own the cluster folder."""

    prefix: tuple[str, ...]
    uid: int
    gid: int

    @property
    def foreign(self) -> bool:
        """Another user than ours."""
        return self.uid != os.geteuid()

    def own(self, folder: Path) -> None:
        """Give a folder inside data_dir, with all that is in it, to this account."""
        owner = folder.lstat()
        if (owner.st_uid, owner.st_gid) == (self.uid, self.gid) or os.geteuid() != 0:
            return
        for path in (*folder.rglob("*"), folder):  # the folder last: it tells what is done
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


async def choose(data_dir: Path, base: Path, cluster: Path) -> Account:
    """The first account that can enter `base`, a folder inside data_dir.

    Raises TwitterstreamError, naming the folder that keeps the last one out, when there is none.
    """
    if os.geteuid() != 0:
        return Account((), os.geteuid(), os.getegid())
    refusal = ""
    for account in _faces(data_dir, cluster):
        if account.foreign:
            for folder in (data_dir, base):
                folder.chmod(folder.stat().st_mode & 0o7777 | MAY_PASS)
        refusal = await _refusal(account, base)
        if not refusal:
            return account
    raise TwitterstreamError(
        f"PostgreSQL does not run as root, and no other account can run it here ({refusal}):"
        " start as an ordinary user, set data_dir to a folder that every user may enter,"
        " such as /var/lib/twitterstream, or set database to the URL of your own PostgreSQL"
    )


def _faces(data_dir: Path, cluster: Path) -> Iterator[Account]:
    if cluster.exists():
        yield from _switched(cluster.stat().st_uid)
    yield Account(("unshare", "--user", "--map-user=1", "--map-group=1", "--"), 0, 0)
    yield from _switched(data_dir.parent.stat().st_uid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            yield from _switched(pwd.getpwnam(name).pw_uid)


def _switched(uid: int) -> Iterator[Account]:
    if uid == 0:
        return
    with suppress(KeyError):  # PostgreSQL refuses a user that has no name on this machine
        gid = pwd.getpwuid(uid).pw_gid
        who = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--inh-caps=-all", "--")
        yield Account(("setpriv", *who), uid, gid)


async def _refusal(account: Account, folder: Path) -> str:
    """Why the account cannot work in this folder; empty when it can."""
    way = [*reversed(folder.parents), folder]
    result = await process.run([*account.prefix, "sh", "-c", ENTER, "sh", *map(str, way)])
    if result.code == 0:
        return ""
    if result.code == 1 and result.output.startswith("/"):
        who = f"user {account.uid}" if account.foreign else "root without its privileges"
        return f"{who} may not enter {result.output}"
    return result.output or f"{account.prefix[0]} ended with code {result.code}"
