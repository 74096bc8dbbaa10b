"""The embedded server: started, shared, restarted after a crash, stopped by the last user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from embedded import ask, holder, postmaster, running, socket_folder
from stream.errors import TwitterstreamError
from stream.postgres import Embedded, server

if TYPE_CHECKING:
    from test.conftest import Eventually

UNSYNCED = {"fsync": "off"}  # a killed process loses nothing; only a machine would


async def test_a_second_start_finds_the_data_and_keeps_the_address(data: Path) -> None:
    async with Embedded(data).lease() as url:
        assert ask(url, "SELECT number FROM kept") == 7
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
        # Ctrl-C in the terminal does not reach it.
        assert os.getsid(postmaster(data)) != os.getsid(0)
        assert os.getpgid(postmaster(data)) != os.getpgid(0)


async def test_logins_of_users_leave_connections_for_the_program(data: Path) -> None:
    async with Embedded(data, UNSYNCED).lease() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE reader LOGIN PASSWORD 'secret'")
        with contextlib.ExitStack() as stack:

            def connect_as_users() -> None:
                for _ in range(100):
                    login = psycopg.connect(url, user="reader", password="secret")
                    stack.enter_context(login)

            with pytest.raises(psycopg.OperationalError, match="reserved"):
                connect_as_users()
            for _ in range(30):
                stack.enter_context(psycopg.connect(url))


async def test_settings_in_the_cluster_override_ours(data: Path) -> None:
    with (data / "postgres/cluster/postgresql.conf").open("a") as file:
        file.write("work_mem = 12MB\nmax_connections = 60\n")
    async with Embedded(data).lease() as url:
        assert ask(url, "SHOW work_mem") == "12MB"
        assert ask(url, "SHOW max_connections") == "60"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("postgresql.conf", "shared_buffers = 'a lot'\n", r"does not start.*shared_buffers"),
        ("PG_VERSION", "17\n", r"written by PostgreSQL 17.*pg_dump"),
    ],
)
async def test_the_error_says_why_the_server_does_not_start(
    data: Path, file: str, text: str, message: str
) -> None:
    (data / "postgres/cluster" / file).write_text(text)
    with pytest.raises(TwitterstreamError, match=message):
        async with Embedded(data).lease():
            pass


# -- several processes ----------------------------------------------------------------------------


async def test_processes_share_one_server_and_the_last_stops_it(data: Path) -> None:
    async with holder(data) as first, holder(data) as second:  # both start at once
        url = await first.line()
        assert await second.line() == url
        async with Embedded(data).lease() as ours:
            assert ours == url
        assert ask(url) == 1, "the first to leave stopped the server"
        await first.leave()
        assert ask(url) == 1
    assert not running(data)


async def test_the_lease_of_a_killed_process_ends_with_it(data: Path) -> None:
    async with holder(data) as other:
        url = await other.line()
        other.process.kill()
    assert ask(url) == 1, "a killed process cannot stop the server"
    async with Embedded(data).lease():
        pass
    assert not running(data)


async def test_every_holder_of_a_lease_can_restart_a_killed_server(data: Path) -> None:
    embedded = Embedded(data, UNSYNCED)
    async with embedded.lease() as url, holder(data) as other:
        await other.line()
        for restart in (embedded.ensure_running, other.ensure_running, embedded.ensure_running):
            os.kill(postmaster(data), signal.SIGKILL)
            await restart()
            assert ask(url, "SELECT number FROM kept") == 7


# -- crashes --------------------------------------------------------------------------------------


async def test_a_server_killed_while_it_starts_is_started_again(data: Path) -> None:
    embedded = Embedded(data, UNSYNCED)
    async with embedded.lease() as url:
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


async def test_children_of_a_killed_server_do_not_prevent_a_restart(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that hangs keeps the shared memory, and PostgreSQL refuses to start with it there."""
    monkeypatch.setattr(server, "CLEAR", ((signal.SIGQUIT, 0.5), (signal.SIGKILL, 5)))
    embedded = Embedded(data, UNSYNCED)
    async with embedded.lease() as url:
        stuck = psutil.Process(postmaster(data)).children()[0]
        stuck.suspend()
        os.kill(postmaster(data), signal.SIGKILL)
        await embedded.ensure_running()
        assert ask(url) == 1
        assert not stuck.is_running() or stuck.status() == psutil.STATUS_ZOMBIE


async def test_a_server_whose_socket_was_removed_is_replaced(data: Path) -> None:
    embedded = Embedded(data, UNSYNCED)
    async with embedded.lease() as url:
        unreachable = postmaster(data)
        for path in socket_folder(url).iterdir():
            path.unlink()
        await embedded.ensure_running()
        assert ask(url) == 1
        assert postmaster(data) != unreachable


async def test_a_process_id_that_was_reused_is_not_taken_for_the_server(data: Path) -> None:
    """After a reboot, or in a new container, the number left in the file is another process's."""
    async with Embedded(data).lease():
        kept = (data / "postgres/cluster/postmaster.pid").read_text().splitlines()
    (data / "postgres/cluster/postmaster.pid").write_text("\n".join([str(os.getpid()), *kept[1:]]))
    async with Embedded(data).lease() as url:
        assert ask(url) == 1


async def test_the_error_about_a_server_that_hangs_does_not_quote_what_it_logged_before(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "NO_ANSWER_TIMEOUT", 0.0)
    async with Embedded(data).lease() as url:
        with pytest.raises(psycopg.Error):
            ask(url, "SELECT 'mary'::integer")
        hung = psutil.Process(postmaster(data))
        hung.suspend()
        try:
            with pytest.raises(TwitterstreamError, match="does not answer: see") as caught:
                await Embedded(data).ensure_running()
        finally:
            hung.resume()
    assert "mary" not in str(caught.value)


async def test_a_suspended_server_is_refused_at_once_and_left_alone(
    data: Path, eventually: Eventually
) -> None:
    async with Embedded(data).lease() as url:
        suspended = psutil.Process(postmaster(data))
        suspended.suspend()
        await eventually(lambda: suspended.status() == psutil.STATUS_STOPPED)
        try:
            async with asyncio.timeout(50):
                with pytest.raises(TwitterstreamError, match=f"`kill -CONT {suspended.pid}`"):
                    async with Embedded(data).lease():
                        pass
        finally:
            suspended.resume()
        assert ask(url) == 1


async def test_a_server_that_hangs_is_stopped(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP", ((signal.SIGINT, 0.5), (signal.SIGKILL, 5)))
    async with Embedded(data).lease():
        hung = psutil.Process(postmaster(data))
        hung.suspend()
    assert not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE


# -- an interrupted first start -------------------------------------------------------------------


async def test_a_cluster_that_was_never_finished_is_made_again(new_data: Path) -> None:
    half = new_data / "postgres" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with Embedded(new_data).lease() as url:
        assert ask(url) == 1


async def test_a_cancelled_start_can_be_repeated(new_data: Path) -> None:
    async def start() -> None:
        async with Embedded(new_data).lease():
            await asyncio.Event().wait()

    for wait in (0.05, 0.2, 0.5, 0.8):  # seconds: in initdb, in the start, when it runs
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(wait):
                await start()
    async with Embedded(new_data).lease() as url:
        assert ask(url) == 1
    assert not running(new_data)


# -- the password ---------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [None, b"0123", b"\xff" * 48], ids=str)
async def test_a_missing_or_damaged_password_is_replaced(
    data: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = data / "postgres/password"
    async with Embedded(data).lease() as before:
        path.unlink()
        # A second user while the server runs: it cannot be replaced now.
        with pytest.raises(TwitterstreamError, match="the next start sets a new password"):
            async with Embedded(data).lease():
                pass
    if damage is not None:
        path.write_bytes(damage)
    async with Embedded(data).lease() as url:
        assert ask(url, "SELECT number FROM kept") == 7
        with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
            ask(before, "SELECT 1")
    assert "was missing or damaged; it has a new one" in caplog.text
    assert path.stat().st_mode & 0o777 == 0o600
    async with Embedded(data).lease() as again:
        assert again == url
