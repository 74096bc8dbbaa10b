"""The command line, as people and scripts use it."""

import asyncio
import gzip
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from simulator.server import Settings as Simulated
from simulator.server import serve

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = [sys.executable, str(ROOT / "twitterstream.py")]
Eventually = Callable[..., Awaitable[None]]


class Terminal:
    """A shell in an empty folder with one config.yaml."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        settings: dict[str, Any] = {
            "database": database,
            "journal": {"min_free_bytes": 0, "min_free_percent": 0},
        }
        (folder / "config.yaml").write_text(json.dumps(settings))

    def run(
        self, *words: str, given: str | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=self.folder,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture
def terminal(tmp_path: Path, database: str) -> Terminal:
    return Terminal(tmp_path, database)


@pytest.mark.parametrize(
    ("words", "kind", "value"),
    [
        (["snow day,blizzard", "--owner", "admin"], "keyword", "snow day,blizzard"),
        (["@nasa", "--kind", "user"], "user", "@nasa"),
        (["-74,40,-73,41", "--kind", "place"], "place", "-74,40,-73,41"),
        (
            ["(cat OR dog) lang:en -is:retweet", "--kind", "query"],
            "query",
            "(cat OR dog) lang:en -is:retweet",
        ),
    ],
)
def test_the_examples_of_track_add_work_as_written(
    terminal: Terminal, words: list[str], kind: str, value: str
) -> None:
    terminal.run("track", "add", *words)
    [track] = terminal.json("track", "list")
    assert (track["kind"], track["value"], track["tweets"]) == (kind, value, 0)


def test_a_track_may_be_more_important_and_have_a_time_of_its_own(terminal: Terminal) -> None:
    terminal.run("track", "add", "snow", "--priority", "5", "--keep-days", "30")
    assert terminal.sql("SELECT value, priority, keep_days FROM tracks") == [("snow", 5, 30)]
    assert "--keep-days" in terminal.run("track", "add", "x", "--keep-days", "0", code=2).stderr


def test_a_track_is_paused_resumed_and_removed(terminal: Terminal) -> None:
    terminal.run("track", "add", "snow")
    terminal.run("track", "pause", "1")
    assert not terminal.json("track", "list")[0]["enabled"]
    terminal.run("track", "resume", "1")
    assert terminal.json("track", "list")[0]["enabled"]
    terminal.run("track", "remove", "1")
    assert terminal.json("track", "list") == []
    assert "no track 1" in terminal.run("track", "remove", "1", code=1).stderr


def test_a_source_is_added_from_stdin_and_its_secret_is_never_shown(terminal: Terminal) -> None:
    where = ("--url", "http://127.0.0.1:9001", "--proxy", "http://me:PROXYPASS@127.0.0.1:8")
    words = ("source", "add", "main", "--network", "x_v2", *where)
    added = terminal.run(*words, "--secrets", "-", given="bearer_token: SECRET-TOKEN\n")
    listed = terminal.run("source", "list")
    [described] = terminal.json("source", "list")
    assert described["has_secrets"]
    assert described["proxy"] == "http://me:***@127.0.0.1:8"
    assert described["url"] == "http://127.0.0.1:9001"
    for said in (added, listed):
        assert "SECRET-TOKEN" not in said.stdout + said.stderr
    [(sealed,)] = terminal.sql("SELECT secrets FROM sources")
    assert b"SECRET-TOKEN" not in bytes(sealed)
    key = terminal.folder / "data" / "secret.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (
        "main already"
        in terminal.run(*words, "--secrets", "-", given="bearer_token: T", code=1).stderr
    )
    terminal.run("source", "disable", "main")
    assert not terminal.json("source", "list")[0]["enabled"]
    terminal.run("source", "enable", "main")
    terminal.run("source", "remove", "main")
    assert terminal.json("source", "list") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("track", "add", "(cat", "--kind", "query"), "never closed"),
        (("track", "add", ""), "empty"),
        (("track", "add", "x", "--kind", "song"), "song"),
        (("source", "add", "a", "--network", "fax"), "fax"),
        (("source", "add", "a", "--network", "x_v2"), "bearer_token"),
        (("import", "absent.ndjson", "--network", "x_v1"), "absent.ndjson"),
        (("--config", "absent.yaml", "check-config"), "absent.yaml"),
        (("fly",), "fly"),
        (("track", "pause", "9" * 30), "TRACK_ID"),
        (("simulate", "--network", "x_v1", "--fault", "402"), "402"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    terminal: Terminal, words: tuple[str, ...], said: str
) -> None:
    assert said in terminal.run(*words, code=2).stderr


def test_a_wrong_setting_is_named_with_its_line_and_the_right_name(terminal: Terminal) -> None:
    (terminal.folder / "config.yaml").write_text("data_dir: data\nsave_evry: 2\n")
    said = terminal.run("check-config", code=2).stderr
    assert "save_evry" in said
    assert "line 2" in said
    assert "save_every" in said


def test_an_old_schema_is_refused_until_it_is_migrated(
    terminal: Terminal, empty_database: Callable[[], str]
) -> None:
    other = Terminal(terminal.folder, empty_database())
    assert "migrate" in other.run("status", code=1).stderr
    assert "0001_initial.sql" in other.run("migrate").stdout
    assert "No daemon is running" in other.run("status").stdout


def test_a_database_that_is_not_there_is_one_sentence(terminal: Terminal) -> None:
    for url, code, said in (
        ("postgresql://u:p@127.0.0.1:notaport/x", 2, "'notaport' is no port"),
        ("postgresql://u:p@127.0.0.1:1/x", 1, "The database cannot be used"),
    ):
        (terminal.folder / "config.yaml").write_text(f"database: {url}\n")
        assert said in terminal.run("status", code=code).stderr


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


def test_import_goes_the_way_of_live_tweets_and_can_be_repeated(terminal: Terminal) -> None:
    def tweet(number: int, text: str) -> str:
        user = {"id_str": "5", "screen_name": "ann"}
        return json.dumps({"id_str": str(number), "text": text, "user": user})

    lines = [tweet(n, "snow" if n % 2 else "rain") for n in range(1, 101)]
    path = terminal.folder / "tweets.ndjson.gz"
    path.write_bytes(gzip.compress("\n".join([*lines, "", "{torn"]).encode()))
    terminal.run("track", "add", "snow")
    said = terminal.run("import", path.name, "--network", "x_v1").stdout
    assert "101 messages: 50 new and credited to tracks, 50 new, matching no track" in said
    assert "1 rejected" in said
    again = terminal.run("import", path.name, "--network", "x_v1").stdout
    assert "100 stored before" in again
    assert terminal.sql("SELECT count(*) FROM tweets") == [(100,)]
    assert terminal.sql("SELECT sum(tweets) FROM track_minutes") == [(50,)]
    damaged = terminal.folder / "damaged.ndjson.gz"
    damaged.write_bytes(path.read_bytes()[:-20])
    assert "damaged" in terminal.run("import", damaged.name, "--network", "x_v1", code=1).stderr


def test_doctor_finds_what_is_wrong_and_says_what_to_do(terminal: Terminal) -> None:
    words = ("source", "add", "main", "--network", "x_v2", "--url", "http://127.0.0.1:9")
    terminal.run(*words, "--secrets", "-", given="bearer_token: T")
    said = terminal.run("doctor", code=1).stdout
    assert "127.0.0.1:9 is not reachable" in said
    assert "no daemon is running" in said
    (terminal.folder / "data" / "secret.key").chmod(0o644)
    assert "chmod 600" in terminal.run("doctor", code=1).stdout


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
        "TWITTERSTREAM_COUNT_EVERY": "1",
        "TWITTERSTREAM_JOURNAL__MIN_FREE_BYTES": "0",
        "TWITTERSTREAM_JOURNAL__MIN_FREE_PERCENT": "0",
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

    stored = 0
    for life in (1, 2):
        log = tmp_path / f"{life}.txt"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *PROGRAM, "run", cwd=tmp_path, stdout=out, stderr=out, env=environment
            )
        await eventually(lambda log=log: " tweets since the start" in log.read_text())
        assert ("simulated one" in log.read_text()) == (life == 1)
        assert 'psql -c "SELECT' in log.read_text()
        before = stored
        stored = int(psql("SELECT count(*) FROM tweets"))
        assert stored > before
        assert psql("SELECT count(*) FROM tracks WHERE state = 'active'") == "3"
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(15):
            assert await process.wait() == 0, log.read_text()
        assert not (tmp_path / "data" / "postgres" / "cluster" / "postmaster.pid").exists()
