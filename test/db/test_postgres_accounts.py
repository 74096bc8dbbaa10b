"""Who may reach the embedded server, as which account it runs, and in which folders."""

import asyncio
import os
import pwd
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from embedded import ask, postmaster, running, socket_folder
from stream.errors import TwitterstreamError
from stream.postgres import Embedded, client_environment, process

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def without_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that forbids user namespaces: unshare fails."""
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted'; exit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")


def modes(folders: list[Path]) -> dict[Path, tuple[int, int, int]]:
    found = {path: path.lstat() for path in folders}
    return {path: (is_.st_mode, is_.st_uid, is_.st_gid) for path, is_ in found.items()}


async def test_only_the_password_opens_the_server_and_psql_gets_it_by_environment(
    data: Path,
) -> None:
    embedded = Embedded(data)
    async with embedded.lease() as url:
        parts = urlsplit(url)
        for credentials in ("twitterstream", "twitterstream:wrong", "postgres", "postgres:"):
            guess = parts._replace(netloc=f"{credentials}@").geturl()
            with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
                ask(guess)
        psql = await asyncio.create_subprocess_exec(
            *(embedded.psql_path, "-Atc", "SELECT current_user"),
            env={**os.environ, **client_environment(url)},
            stdout=-1,
        )
        assert (await psql.communicate())[0] == b"twitterstream\n"


def test_a_url_becomes_the_variables_of_psql() -> None:
    assert client_environment("postgresql://a%40b:p%2Fw@db.example:5433/d?sslmode=require") == {
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGUSER": "a@b",
        "PGPASSWORD": "p/w",
        "PGDATABASE": "d",
        "PGSSLMODE": "require",
    }
    assert client_environment("postgresql://u:p@/d?host=/run/pg&application_name=x") == {
        "PGHOST": "/run/pg",
        "PGUSER": "u",
        "PGPASSWORD": "p",
        "PGDATABASE": "d",
        "PGAPPNAME": "x",
    }


@as_root
async def test_another_user_reaches_neither_socket_nor_password(open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    data = open_folder / "data"
    async with Embedded(data).lease() as url:
        door = socket_folder(url) / ".s.PGSQL.5432"
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(door))  # the door is there
        tries = (
            f"import socket; socket.socket(socket.AF_UNIX).connect({str(door)!r})",
            f"open({str(data / 'postgres' / 'password')!r})",
            f"open({str(data / 'postgres' / 'cluster' / 'PG_VERSION')!r})",
        )
        for attempt in tries:
            child = await asyncio.create_subprocess_exec(
                "/usr/bin/python3", "-c", attempt, user=nobody, stderr=-1, cwd="/"
            )
            _, errors = await child.communicate()
            assert b"PermissionError" in errors, attempt


async def test_no_permission_outside_data_dir_is_changed(new_data: Path) -> None:
    around = [*new_data.parents, *Path(sys.prefix).parents]
    wheel = Embedded(new_data).psql_path.parents[2]
    watched = [*around, wheel, *wheel.rglob("*")]
    before = modes(watched)
    async with Embedded(new_data).lease() as url:
        assert ask(url) == 1
    assert modes(watched) == before


# -- folders --------------------------------------------------------------------------------------


async def test_a_long_path_puts_the_socket_into_a_private_folder_of_its_own(
    tmp_path: Path,
) -> None:
    data = tmp_path / ("long" * 25) / "data"
    async with Embedded(data).lease() as url:
        folder = socket_folder(url)
        assert folder.parent == Path("/tmp")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert ask(url) == 1
    assert not folder.exists()
    folder.symlink_to(tmp_path)  # as another user could
    try:
        with pytest.raises(TwitterstreamError, match="remove it"):
            async with Embedded(data).lease():
                pass
    finally:
        folder.unlink()


async def test_a_path_with_odd_characters_works_and_one_with_shell_syntax_is_refused(
    tmp_path: Path,
) -> None:
    for name in ('a"b', "a$(id)", "a`id`"):
        with pytest.raises(TwitterstreamError, match="another folder"):
            async with Embedded(tmp_path / name).lease():
                pass
    async with Embedded(tmp_path / "it's 100 % ö").lease() as url:
        assert ask(url) == 1


async def test_a_data_dir_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TwitterstreamError, match="set data_dir"):
        async with Embedded(tmp_path / "file" / "data").lease():
            pass


# -- accounts -------------------------------------------------------------------------------------


@as_root
@pytest.mark.usefixtures("without_namespaces")
async def test_root_without_namespaces_runs_it_as_an_ordinary_user(open_folder: Path) -> None:
    data = open_folder / "data"
    outside = [open_folder, *open_folder.parents]
    before = modes(outside)
    for _ in range(2):  # made, and found again
        async with Embedded(data).lease() as url:
            server = psutil.Process(postmaster(data))
            assert server.username() in ("postgres", "nobody")
            assert ask(url) == 1
            assert stat.S_IMODE(socket_folder(url).stat().st_mode) == 0o700
            assert stat.S_IMODE((data / "postgres/password").stat().st_mode) == 0o600
            assert (data / "postgres/password").stat().st_uid == 0
    assert modes(outside) == before


@as_root
async def test_a_cluster_of_root_can_be_taken_to_a_place_without_namespaces(
    open_folder: Path, request: pytest.FixtureRequest
) -> None:
    data = open_folder / "data"
    async with Embedded(data).lease() as url:
        assert (data / "postgres/cluster").stat().st_uid == 0
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
    request.getfixturevalue("without_namespaces")
    async with Embedded(data).lease() as url:
        assert (data / "postgres/cluster").stat().st_uid != 0
        assert ask(url, "SELECT number FROM kept") == 7


@as_root
@pytest.mark.usefixtures("without_namespaces")
async def test_a_folder_that_no_other_account_may_enter_is_named(new_data: Path) -> None:
    closed = new_data.parent
    way = [*reversed(closed.parents), closed]
    first = next(path for path in way if not path.stat().st_mode & stat.S_IXOTH)
    with pytest.raises(TwitterstreamError, match=f"may not enter {first}\\)"):
        async with Embedded(new_data).lease():
            pass


@as_root
async def test_in_the_closed_home_of_another_user_it_runs_as_that_user(open_folder: Path) -> None:
    """`sudo make run` in a home folder: root in a namespace may not enter it, its owner may."""
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    owner = pwd.getpwnam("games")
    os.chown(home, owner.pw_uid, owner.pw_gid)
    async with Embedded(home / "data").lease() as url:
        assert psutil.Process(postmaster(home / "data")).username() == "games"
        assert ask(url) == 1


# -- commands -------------------------------------------------------------------------------------


async def test_the_environment_of_the_caller_does_not_mislead_the_server(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATA", "PGOPTIONS", "PGUSER", "PGSSLMODE"):
        monkeypatch.setenv(name, "7")
    async with Embedded(data).lease():
        assert running(data)


async def test_a_command_that_does_not_end_is_ended() -> None:
    result = await process.run([sys.executable, "-c", "input(); input()"], "\n" * 9)
    assert result.code == 0
    result = await process.run([sys.executable, "-c", "import time; time.sleep(600)"], limit=0.2)
    assert result.code == process.TIMED_OUT
    assert "did not end within 0.2 s" in result.output
