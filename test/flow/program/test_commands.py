"""The command line, as people and scripts use it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import psycopg
import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

import twitterstream
from servers import closed_port
from simulator.server import Settings as Simulated
from simulator.server import serve
from stream.errors import ConfigError
from terminal import PROGRAM, Terminal

ROOT = Path(__file__).resolve().parents[3]
Eventually = Callable[..., Awaitable[None]]


def test_an_interrupt_while_the_program_loads_ends_it_without_a_traceback(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (terminal.folder / "click.py").write_text(loaded)
    monkeypatch.setenv("PYTHONPATH", str(terminal.folder))
    assert terminal.run("status", code=-signal.SIGINT).stderr == ""


def test_help_of_dump_is_that_of_pg_dump(terminal: Terminal) -> None:
    assert "pg_dump [OPTION]" in terminal.run("dump", "--help").stdout


def test_a_simulator_that_cannot_start_shows_no_address(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        error = terminal.run("simulate", "--network", "x_v2", "--port", port, code=1).stderr
    assert "The simulator cannot start" in error
    assert "A simulated" not in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("track", "add", "(cat", "--kind", "query"), "never closed"),
        (("track", "add", ""), "empty"),
        (("track", "add", "x", "--kind", "song"), "song"),
        (("source", "add", "a", "--network", "fax"), "fax"),
        (("source", "add", "a", "--network", "mastadon"), "Did you mean mastodon?"),
        (("import", "-", "--network", "X"), "Did you mean x_v2?"),
        (("source", "add", "a", "--network", "x_v2"), "bearer_token"),
        (("import", "absent.ndjson", "--network", "x_v1"), "absent.ndjson"),
        (("--config", "absent.yaml", "check-config"), "absent.yaml"),
        (("fly",), "fly"),
        (("track", "pause", "9" * 30), "TRACK_ID"),
        (("track", "show", "flood"), "'flood' is not an id; `track list` shows them."),
        (("export", "flood"), "'flood' is not an id; `track list` shows them."),
        (("export", "1", "--since", "soon"), "'soon' is not a time: write 2026-01-31 or"),
        (("simulate", "--network", "x_v1", "--fault", "402"), "402"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    terminal: Terminal, words: tuple[str, ...], said: str
) -> None:
    assert said in terminal.run(*words, code=2).stderr


def test_an_old_schema_is_refused_until_it_is_migrated(
    terminal: Terminal, empty_database: Callable[[], str]
) -> None:
    other = Terminal(terminal.folder, empty_database())
    assert "migrate" in other.run("status", code=1).stderr
    assert "0001_initial.sql" in other.run("migrate").stdout
    assert "No daemon is running" in other.run("status").stdout


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE tracks (song text)",
        "CREATE TABLE ingest_runs (id text)",  # as another one is renamed by a later migration
        "CREATE VIEW hashtags AS SELECT 1 AS one",
        "CREATE TABLE schema_migrations (version text)",
    ],
)
def test_a_database_with_tables_of_another_program_is_refused_as_it_is(
    terminal: Terminal, empty_database: Callable[[], str], statement: str
) -> None:
    other = Terminal(terminal.folder, empty_database())
    with psycopg.connect(other.database, autocommit=True) as connection:
        connection.execute(statement.encode())
    name = statement.split()[2]
    for command in ("migrate", "run"):
        said = other.run(command, code=1).stderr
        assert f"tables of another program, among them {name}. Use an empty database" in said
    found = other.sql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    assert found == [(name,)]


def test_a_database_with_other_tables_beside_ours_is_migrated(
    terminal: Terminal, empty_database: Callable[[], str]
) -> None:
    other = Terminal(terminal.folder, empty_database())
    with psycopg.connect(other.database, autocommit=True) as connection:
        connection.execute("CREATE TABLE songs (name text)")
    assert "0001_initial.sql" in other.run("migrate").stdout


def test_a_database_that_is_not_there_is_one_sentence(terminal: Terminal) -> None:
    for url, code, said in (
        ("postgresql://u:p@127.0.0.1:notaport/x", 2, "A port is a number"),
        ("postgresql://u:p@127.0.0.1:1/x", 1, "The database cannot be used"),
        (f"{terminal.database}&sslmode=perhaps", 2, "sslmode"),
        (f"{terminal.database}&options=-c%20nonsense%3D1", 2, 'parameter "nonsense"'),
    ):
        (terminal.folder / "config.yaml").write_text(f"database: {url}\n")
        assert said in terminal.run("status", code=code).stderr
    with_parameters = "&connect_timeout=5&application_name=x&options=-c%20statement_timeout%3D5s"
    url = terminal.database + with_parameters
    (terminal.folder / "config.yaml").write_text(f"database: {url}\n")
    assert "No daemon is running" in terminal.run("status").stdout
    assert terminal.run("psql", "-tAc", "SHOW statement_timeout").stdout.strip() == "5s"


def test_called_by_its_own_name_it_finds_its_environment(terminal: Terminal) -> None:
    """As README and `run` print it: ./twitterstream.py, whatever python3 is first in the PATH."""
    environment = {"PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin"}
    done = subprocess.run(
        [ROOT / "twitterstream.py", "version"],
        cwd=terminal.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("twitterstream "), done.stderr


def test_psql_passes_its_arguments_on(terminal: Terminal) -> None:
    said = terminal.run("psql", "--tuples-only", "--no-align", "-c", "SELECT 6 * 7")
    assert said.stdout.strip() == "42"
    terminal.run("psql", "-v", "ON_ERROR_STOP=1", "-c", "SELECT nonsense", code=1)


async def test_an_edit_by_sql_takes_effect_and_is_answered_in_the_row(
    terminal: Terminal, eventually: Eventually
) -> None:
    settings = msgspec.structs.replace(Simulated(), rate=200)
    async with serve(settings) as server:
        words = ("source", "add", "main", "--network", "x_v2", "--url", server.url)
        await asyncio.to_thread(terminal.run, *words, "--secrets", "-", given="bearer_token: T")
        daemon = await asyncio.create_subprocess_exec(
            *PROGRAM, "collect", cwd=terminal.folder, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await eventually(lambda: terminal.sql("SELECT 1 FROM daemons"))
            terminal.sql("INSERT INTO tracks (value) VALUES ('snow day') RETURNING id")
            await eventually(lambda: terminal.sql("SELECT 1 FROM tracks WHERE state = 'active'"))
            await eventually(lambda: terminal.sql("SELECT 1 FROM matches LIMIT 1"))
            terminal.sql("UPDATE tracks SET value = 'a (' , kind = 'query' RETURNING id")
            await eventually(lambda: terminal.sql("SELECT 1 FROM tracks WHERE state = 'refused'"))
            terminal.sql("UPDATE tracks SET enabled = false RETURNING id")
            await eventually(lambda: terminal.sql("SELECT 1 FROM tracks WHERE state = 'paused'"))
            [source] = (await asyncio.to_thread(terminal.json, "status"))["sources"]
            assert source["outcomes"]["stored"] > 0
        finally:
            daemon.send_signal(signal.SIGTERM)
            assert await daemon.wait() == 0


async def test_a_newcomer_types_one_command_and_watches_tweets(
    tmp_path: Path, eventually: Eventually
) -> None:
    """`run` in an empty folder: a database, a simulated network, three tracks; Ctrl-C; again."""
    environment = os.environ | {
        "TWITTERSTREAM_STATUS_INTERVAL": "1",
        "TWITTERSTREAM_JOURNAL__MIN_FREE_BYTES": "0",
        "TWITTERSTREAM_JOURNAL__MIN_FREE_PERCENT": "0",
        "TWITTERSTREAM_BLUESKY__HOSTS": f'["ws://127.0.0.1:{closed_port()}"]',  # none
        "TWITTERSTREAM_BLUESKY__OLD_HOSTS": "[]",
    }

    def psql(query: str) -> str:
        done = subprocess.run(
            [*PROGRAM, "psql", "-tAc", query],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    count = "SELECT count(*) FROM tweets"
    stored = 0
    for life in (1, 2):
        log = tmp_path / f"{life}.txt"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *PROGRAM, "run", cwd=tmp_path, stdout=out, stderr=out, env=environment
            )
        await eventually(lambda log=log: " tweets since start" in log.read_text())
        await eventually(lambda before=stored: int(psql(count)) > before)
        await eventually(lambda: psql("SELECT count(*) FROM tracks WHERE state = 'active'") == "3")
        assert ("A simulated source was added" in log.read_text()) == (life == 1)
        assert 'psql -c "SELECT' in log.read_text()
        stored = int(psql(count))
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            assert await process.wait() == 0, log.read_text()
        assert not (tmp_path / "data" / "postgres" / "cluster" / "postmaster.pid").exists()


ENCODED = {
    "UTF-8 with a mark": ("utf-8-sig", 0),
    "UTF-16": ("utf-16", 0),
    "UTF-16 without a mark": ("utf-16-le", 0),
    "Latin-1": ("latin-1", 2),
}


@pytest.mark.parametrize(("encoding", "code"), ENCODED.values(), ids=ENCODED)
def test_secrets_and_passwords_as_other_systems_write_them(
    tmp_path: Path, database: str, encoding: str, code: int
) -> None:
    """The four commands that take one, in this process: a new one takes long to begin."""
    (tmp_path / "config.yaml").write_text(
        json.dumps({"database": database, "data_dir": str(tmp_path / "data")})
    )
    secrets, password = tmp_path / "secrets.txt", tmp_path / "password.txt"
    secrets.write_bytes("# Schlüssel\r\nbearer_token: T\r\n".encode(encoding))
    password.write_bytes("correct hörse 4711\r\nmore\r\n".encode(encoding))
    for words in (
        ("source", "add", "main", "--network", "x_v2", "--secrets", str(secrets)),
        ("source", "secrets", "main", "--secrets", "-"),
        ("user", "add", "ana", "--password", str(password)),
        ("backup", str(tmp_path / "file"), "--passphrase-file", str(password)),
    ):
        done = CliRunner().invoke(
            twitterstream.cli,
            ["--config", str(tmp_path / "config.yaml"), *words],
            input=secrets.read_bytes(),
        )
        if code:
            assert isinstance(done.exception, ConfigError)
            assert "save it as UTF-8" in str(done.exception)
        else:
            assert done.exit_code == 0, (done.output, done.exception)
    if not code:
        with psycopg.connect(database) as connection:
            [[hashed]] = connection.execute("SELECT password FROM users").fetchall()
        assert PasswordHasher().verify(hashed, "correct hörse 4711")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_character_gets_another(terminal: Terminal, encoding: str) -> None:
    """What is for people has signs replaced; what is for programs is UTF-8, as always."""
    terminal.sql("INSERT INTO tracks (value) VALUES ('雪 ❄️') RETURNING id")
    for words, expected in (
        (("track", "list"), b"?"),
        (("track", "list", "--json"), "雪".encode()),
        (("track", "add", "雪崩"), b"?"),
        (("track", "remove", "77雪"), b""),
    ):
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=terminal.folder,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        assert expected in done.stdout


@pytest.mark.parametrize("command", ["mute", "unmute"])
def test_the_usage_of_a_command_names_its_argument_and_not_every_value(command: str) -> None:
    usage = CliRunner().invoke(twitterstream.cli, ["alert", command, "--help"]).output
    assert usage.splitlines()[0].endswith(f"alert {command} [OPTIONS] RULE")
