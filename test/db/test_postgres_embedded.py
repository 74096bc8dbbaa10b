"""The embedded server: private, shared, restarted after a crash, as any user."""

import asyncio
import contextlib
import os
import pwd
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import pytest

from stream.errors import TwitterstreamError
from stream.postgres import Embedded, client_environment, server

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

HOLDER = """
import asyncio, sys
from pathlib import Path
import uvloop
from stream.postgres import Embedded

async def main():
    embedded = Embedded(Path(sys.argv[1]))
    async with embedded.lease() as url:
        print(url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await embedded.ensure_running()
            print("running", flush=True)

uvloop.run(main())
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data_dir that does not exist yet, below a folder that only we may enter."""
    tmp_path.chmod(0o700)
    return tmp_path / "data"


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


def ask(url: str, question: str = "SELECT 1") -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(question.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])


def running(data: Path) -> bool:
    return (data / "postgres" / "cluster" / "postmaster.pid").exists()


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children()


def socket_folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


@asynccontextmanager
async def holder(data: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A process with a lease, on the loop that the program uses.

    A line makes it ensure that the server runs; the end of its input makes it leave.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(data), stdin=-1, stdout=-1, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.communicate()


async def test_a_second_start_finds_everything_as_it_was(data: Path) -> None:
    async with Embedded(data).lease() as url:
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
    assert not running(data)
    async with Embedded(data).lease() as again:
        assert again == url
        assert ask(url, "SELECT number FROM kept") == 7


async def test_the_server_is_as_safe_as_the_documentation_says(data: Path) -> None:
    async with Embedded(data).lease() as url:
        for name, value in {
            "fsync": "on",
            "synchronous_commit": "on",
            "data_checksums": "on",
            "listen_addresses": "",
            "server_encoding": "UTF8",
            "timezone": "UTC",
            "shared_buffers": "128MB",
        }.items():
            assert ask(url, f"SHOW {name}") == value, name
        locale = (
            "SELECT datlocprovider::text || datlocale FROM pg_database"
            " WHERE datname = current_database()"
        )
        assert ask(url, locale) == "bC.UTF-8"


async def test_the_last_of_two_processes_stops_the_server(data: Path) -> None:
    async with holder(data) as (_, theirs):
        async with Embedded(data).lease() as url:
            assert theirs == url
        assert ask(url) == 1, "the first to leave stopped the server"
    assert not running(data)


async def test_two_that_start_at_once_share_one_server(data: Path) -> None:
    async with holder(data) as (_, first), holder(data) as (_, second):
        assert first == second
        assert ask(first) == 1


async def test_the_lease_of_a_killed_process_is_gone_with_it(data: Path) -> None:
    async with holder(data) as (process, url):
        process.kill()
    assert ask(url) == 1, "a killed process cannot stop the server"
    async with Embedded(data).lease():
        pass
    assert not running(data)


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server(data: Path) -> None:
    async with Embedded(data).lease():
        assert os.getsid(postmaster(data)) != os.getsid(0)
        assert os.getpgid(postmaster(data)) != os.getpgid(0)


async def test_a_killed_server_is_started_again_with_its_data(data: Path) -> None:
    embedded = Embedded(data)
    async with embedded.lease() as url:
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
        for _ in range(3):
            os.kill(postmaster(data), signal.SIGKILL)
            await embedded.ensure_running()
            assert ask(url, "SELECT number FROM kept") == 7


async def test_a_server_that_is_killed_while_it_starts_comes_up_all_the_same(data: Path) -> None:
    embedded = Embedded(data)
    async with embedded.lease() as url:
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
        for _ in range(3):
            before = postmaster(data)
            os.kill(before, signal.SIGKILL)
            async with asyncio.TaskGroup() as group:
                starting = group.create_task(embedded.ensure_running())
                while not starting.done():
                    # The next one, as soon as it has written its number.
                    with contextlib.suppress(OSError, ValueError, IndexError):
                        if (new := postmaster(data)) != before:
                            os.kill(new, signal.SIGKILL)
                            break
                    await asyncio.sleep(0)
            await embedded.ensure_running()
            assert ask(url, "SELECT number FROM kept") == 7


async def test_another_holder_of_a_lease_starts_it_again(data: Path) -> None:
    async with Embedded(data).lease() as url, holder(data) as (process, _):
        assert process.stdin is not None
        assert process.stdout is not None
        os.kill(postmaster(data), signal.SIGKILL)
        process.stdin.write(b"again\n")
        assert await process.stdout.readline() == b"running\n"
        assert ask(url) == 1


async def test_children_of_a_killed_server_do_not_stop_the_next_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that hangs keeps the shared memory, and PostgreSQL refuses to start beside it."""
    monkeypatch.setattr(server, "CLEAR", ((signal.SIGQUIT, 0.5), (signal.SIGKILL, 5)))
    embedded = Embedded(data)
    async with embedded.lease() as url:
        stuck = children(postmaster(data))[0]
        stuck.suspend()
        os.kill(postmaster(data), signal.SIGKILL)
        await embedded.ensure_running()
        assert ask(url) == 1
        assert not stuck.is_running() or stuck.status() == psutil.STATUS_ZOMBIE


async def test_a_server_whose_socket_was_swept_away_is_replaced(data: Path) -> None:
    embedded = Embedded(data)
    async with embedded.lease() as url:
        deaf = postmaster(data)
        for path in socket_folder(url).iterdir():
            path.unlink()
        await embedded.ensure_running()
        assert ask(url) == 1
        assert postmaster(data) != deaf


async def test_a_number_that_now_belongs_to_another_process_is_no_server(data: Path) -> None:
    """After a reboot, or in a new container, the process number left behind is somebody else's."""
    async with Embedded(data).lease():
        kept = (data / "postgres/cluster/postmaster.pid").read_text().splitlines()
    (data / "postgres/cluster/postmaster.pid").write_text("\n".join([str(os.getpid()), *kept[1:]]))
    async with Embedded(data).lease() as url:
        assert ask(url) == 1


async def test_a_cluster_that_was_never_finished_is_made_again(data: Path) -> None:
    half = data / "postgres" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with Embedded(data).lease() as url:
        assert ask(url) == 1


async def test_a_server_that_hangs_is_stopped_all_the_same(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STOP", ((signal.SIGINT, 0.5), (signal.SIGKILL, 5)))
    async with Embedded(data).lease():
        hung = psutil.Process(postmaster(data))
        hung.suspend()
    assert not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE


async def test_nobody_enters_without_the_password(data: Path) -> None:
    async with Embedded(data).lease() as url:
        parts = urlsplit(url)
        for credentials in ("twitterstream", "twitterstream:wrong", "postgres", "postgres:"):
            guess = parts._replace(netloc=f"{credentials}@").geturl()
            with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
                ask(guess)


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
            process = await asyncio.create_subprocess_exec(
                "/usr/bin/python3", "-c", attempt, user=nobody, stderr=-1, cwd="/"
            )
            _, said = await process.communicate()
            assert b"PermissionError" in said, attempt


def modes(folders: list[Path]) -> dict[Path, tuple[int, int, int]]:
    found = {path: path.lstat() for path in folders}
    return {path: (is_.st_mode, is_.st_uid, is_.st_gid) for path, is_ in found.items()}


async def test_no_permission_outside_data_dir_is_changed(data: Path) -> None:
    around = [*data.parents, *Path(sys.prefix).parents]
    wheel = Embedded(data).psql_path.parents[2]
    watched = [*around, wheel, *wheel.rglob("*")]
    before = modes(watched)
    async with Embedded(data).lease() as url:
        assert ask(url) == 1
    assert modes(watched) == before


async def test_a_long_path_puts_the_socket_into_a_private_folder(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 25) / "data"
    async with Embedded(data).lease() as url:
        folder = socket_folder(url)
        assert folder.parent == Path("/tmp")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert ask(url) == 1
    assert not folder.exists()


async def test_a_socket_folder_laid_by_somebody_else_is_refused(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 25) / "data"
    async with Embedded(data).lease() as url:
        folder = socket_folder(url)
    folder.symlink_to(tmp_path)
    try:
        with pytest.raises(TwitterstreamError, match="remove it"):
            async with Embedded(data).lease():
                pass
    finally:
        folder.unlink()


async def test_the_environment_of_the_caller_does_not_mislead_the_server(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATA", "PGOPTIONS", "PGUSER", "PGSSLMODE"):
        monkeypatch.setenv(name, "7")
    async with Embedded(data).lease():
        assert running(data)


async def test_a_path_with_odd_characters_works(tmp_path: Path) -> None:
    async with Embedded(tmp_path / "it's 100 % ö").lease() as url:
        assert ask(url) == 1


async def test_a_path_that_a_shell_would_read_is_refused(tmp_path: Path) -> None:
    for name in ('a"b', "a$(id)", "a`id`"):
        with pytest.raises(TwitterstreamError, match="another folder"):
            async with Embedded(tmp_path / name).lease():
                pass


async def test_the_server_says_why_it_does_not_start(data: Path) -> None:
    async with Embedded(data).lease():
        pass
    (data / "postgres/cluster/postgresql.conf").write_text("shared_buffers = 'a lot'\n")
    with pytest.raises(TwitterstreamError, match=r"does not start.*shared_buffers"):
        async with Embedded(data).lease():
            pass


async def test_a_cluster_of_another_major_version_is_refused(data: Path) -> None:
    async with Embedded(data).lease():
        pass
    (data / "postgres/cluster/PG_VERSION").write_text("17\n")
    with pytest.raises(TwitterstreamError, match=r"written by PostgreSQL 17.*pg_dump"):
        async with Embedded(data).lease():
            pass


async def test_a_lost_password_is_said(data: Path) -> None:
    async with Embedded(data).lease():
        pass
    (data / "postgres/password").unlink()
    with pytest.raises(TwitterstreamError, match="restore the file"):
        async with Embedded(data).lease():
            pass


async def test_settings_of_ones_own_win_over_ours(data: Path) -> None:
    async with Embedded(data).lease():
        pass
    with (data / "postgres/cluster/postgresql.conf").open("a") as file:
        file.write("work_mem = 12MB\nmax_connections = 60\n")
    async with Embedded(data).lease() as url:
        assert ask(url, "SHOW work_mem") == "12MB"
        assert ask(url, "SHOW max_connections") == "60"


@as_root
@pytest.mark.usefixtures("without_namespaces")
async def test_root_without_namespaces_runs_it_as_an_ordinary_user(open_folder: Path) -> None:
    data = open_folder / "data"
    outside = [open_folder, *open_folder.parents]
    before = modes(outside)
    for _ in range(2):  # made, and found again
        async with Embedded(data).lease() as url:
            process = psutil.Process(postmaster(data))
            assert process.username() in ("postgres", "nobody")
            assert ask(url) == 1
            assert stat.S_IMODE(socket_folder(url).stat().st_mode) == 0o700
            assert stat.S_IMODE((data / "postgres/password").stat().st_mode) == 0o600
            assert (data / "postgres/password").stat().st_uid == 0
    assert modes(outside) == before


@as_root
async def test_a_cluster_follows_root_into_a_place_without_namespaces(
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
async def test_a_folder_that_no_other_account_may_enter_is_named(data: Path) -> None:
    closed = data.parent
    way = [*reversed(closed.parents), closed]
    first = next(path for path in way if not path.stat().st_mode & stat.S_IXOTH)
    with pytest.raises(TwitterstreamError, match=f"may not enter {first}\\)"):
        async with Embedded(data).lease():
            pass


@as_root
async def test_in_the_closed_home_of_another_user_it_runs_as_that_user(open_folder: Path) -> None:
    """`sudo make run` in a home folder: root in a namespace has no key to it, its owner has."""
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    someone = pwd.getpwnam("games")
    os.chown(home, someone.pw_uid, someone.pw_gid)
    async with Embedded(home / "data").lease() as url:
        assert psutil.Process(postmaster(home / "data")).username() == "games"
        assert ask(url) == 1


async def test_a_data_dir_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TwitterstreamError, match="set data_dir"):
        async with Embedded(tmp_path / "file" / "data").lease():
            pass


async def test_cancelled_while_starting_it_can_be_started_again(data: Path) -> None:
    async def start() -> None:
        async with Embedded(data).lease():
            await asyncio.Event().wait()

    for patience in (0.05, 0.2, 0.5, 0.8):  # seconds: in initdb, in the start, when it runs
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(patience):
                await start()
    async with Embedded(data).lease() as url:
        assert ask(url) == 1
    assert not running(data)


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


async def test_psql_enters_by_these_variables(data: Path) -> None:
    embedded = Embedded(data)
    async with embedded.lease() as url:
        psql = await asyncio.create_subprocess_exec(
            embedded.psql_path,
            "-Atc",
            "SELECT current_user",
            env={**os.environ, **client_environment(url)},
            stdout=-1,
        )
        assert (await psql.communicate())[0] == b"twitterstream\n"
