"""The `archive` commands, on a folder and on S3, and as a child process of the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from monitor.archive.archive_process import ArchiveProcess
from monitor.child_process import ChildFailed
from monitor.jobs import Leader
from stream.config import ArchiveSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
DAYS = ("2026-03-14", "2026-03-15")
NUMBER = 400
BUCKET = "tweets-of-ours"
FILL = """
SELECT ensure_day('{day}');
INSERT INTO tweets (id, received_at, network, native_id, kind, lang, author, text, doc)
SELECT tweet_key(at, 1), at, 'x_v2', '{day}' || n, 'original', (ARRAY['de', NULL, 'en'])[1 + n % 3],
    'ann', 'snow ' || n, jsonb_build_object('data', jsonb_build_object('n', n))
FROM (SELECT n, timestamptz '{day} 12:00+00' + n * interval '20 s' AS at
      FROM generate_series(1, {number}) AS n) AS made;
INSERT INTO tweet_ids (network, native_id, tweet_id)
SELECT network, native_id, id FROM tweets WHERE received_at::date = '{day}';
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT id, 1 + id / 4096 / 20000000 % 2, received_at, 'snow', 'text', 'own' FROM tweets
WHERE received_at::date = '{day}';
"""


class CommandLine:
    """Runs `archive` commands with a config of its own."""

    def __init__(self, folder: Path, database: str, archive: dict[str, object]) -> None:
        self.database = database
        self.config = folder / "config.yaml"
        settings = {"database": database, "data_dir": str(folder / "data"), "archive": archive}
        self.config.write_text(json.dumps(settings))
        self.environment: dict[str, str] = {}

    def command(self, *words: str) -> list[str]:
        program = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(self.config)]
        return [*program, "archive", *words]

    async def run(self, *words: str, code: int = 0) -> str:
        """Run a command; its output and errors."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*words), stdout=-1, stderr=-1, env=os.environ | self.environment
        )
        output, errors = await process.communicate()
        assert process.returncode == code, (output + errors).decode()
        return (errors + output).decode()

    async def query(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(await self.run("query", query, "--json"))
        return found

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def fill(self) -> None:
        self.rows("INSERT INTO tracks (value) VALUES ('snow')")
        for day in DAYS:
            self.rows(FILL.format(day=day, number=NUMBER))


@pytest.fixture
def shell(tmp_path: Path, database: str) -> CommandLine:
    made = CommandLine(tmp_path, database, {"url": str(tmp_path / "archive")})
    made.fill()
    return made


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a local S3 server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket=BUCKET)
    client.close()
    yield f"s3://{BUCKET}/below"
    server.stop()


async def test_commands_with_nothing_to_do_say_so(database: str, tmp_path: Path) -> None:
    shell = CommandLine(tmp_path, database, {"url": str(tmp_path / "archive")})
    assert "Nothing to do" in await shell.run("run")
    assert "Nothing is archived yet" in await shell.run("verify")


async def test_a_day_is_archived_to_s3_and_restored(database: str, tmp_path: Path, s3: str) -> None:
    shell = CommandLine(tmp_path, database, {"url": s3, "ndjson": True})
    shell.fill()
    before = shell.rows("SELECT * FROM tweets ORDER BY id")
    output = await shell.run("run", "--day", DAYS[0], "--drop")
    assert "archived 400 tweets" in output
    assert "dropped" in output
    assert "complete" in await shell.run("verify", DAYS[0])
    [counted] = await shell.query("SELECT count(*) AS n, min(day)::text AS day FROM tweets")
    assert counted == {"n": NUMBER, "day": DAYS[0]}
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    folder = f"tweets/day={DAYS[0]}/part=0"
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=f"below/{folder}")["Contents"]
    keys = [each["Key"] for each in found]
    assert sorted(key.rpartition("/")[2] for key in keys) == [
        "manifest.json",
        "matches-1.parquet",
        "tracks-1.parquet",
        "tweets-1.ndjson.zst",
        "tweets-1.parquet",
    ]
    listed = client.get_object(Bucket=BUCKET, Key=f"below/lists/tweets/day={DAYS[0]}/part-0.txt")
    assert listed["Body"].read().decode() == f"{s3}/{folder}/tweets-1.parquet\n"
    assert "400 tweets" in await shell.run("restore", DAYS[0])
    assert shell.rows("SELECT * FROM tweets ORDER BY id") == before
    # A damaged file is found, and written again from Postgres.
    client.put_object(Bucket=BUCKET, Key=next(k for k in keys if "matches" in k), Body=b"broken")
    client.close()
    assert "damaged" in await shell.run("verify", code=1)
    assert "archived 400 tweets" in await shell.run("run", "--day", DAYS[0], "--drop")
    assert shell.rows("SELECT count(*) FROM matches") == [(NUMBER,)]
    assert "complete" in await shell.run("verify", DAYS[0])


async def test_an_error_of_s3_is_one_sentence(database: str, tmp_path: Path, s3: str) -> None:
    shell = CommandLine(tmp_path, database, {"url": s3.replace(BUCKET, "missing-bucket")})
    shell.fill()
    output = await shell.run("run", code=1)
    assert "missing-bucket" in output
    assert "Traceback" not in output
    assert "test-secret" not in output
    assert shell.rows("SELECT count(*) FROM tweets") == [(2 * NUMBER,)]


async def test_sql_over_archives_and_postgres_agrees(shell: CommandLine) -> None:
    query = (
        "SELECT lang, count(*) AS n, min(received_at) AS first FROM track_tweets"
        " WHERE track_id = 1 GROUP BY lang ORDER BY lang NULLS LAST"
    )
    expected = shell.rows(query)
    await shell.run("run")
    for day in DAYS:
        await shell.run("run", "--day", day, "--drop")
    found = await shell.query(query)
    assert [(row["lang"], row["n"]) for row in found] == [row[:2] for row in expected]
    assert found[0]["first"] == expected[0][2].isoformat(sep="T").replace("+00:00", "Z")
    [one] = await shell.query(
        f"SELECT count(*) AS n, sum((doc->>'$.data.n')::int) AS sum FROM tweets"
        f" WHERE day = '{DAYS[1]}'"
    )
    assert one == {"n": NUMBER, "sum": NUMBER * (NUMBER + 1) // 2}
    assert await shell.query("SELECT value, day::text AS day FROM tracks ORDER BY day") == [
        {"value": "snow", "day": day} for day in DAYS
    ]
    lines = (await shell.run("query", "SELECT day, text FROM tweets LIMIT 3", "--csv")).split()
    assert next(csv.reader(lines)) == ["day", "text"]
    assert "snow" in await shell.run("query", "SELECT text FROM tweets LIMIT 3")


FORBIDDEN = (
    ("DELETE FROM tweets", "archives are read-only"),
    ("SELECT 1; SELECT 2", "one SELECT"),
    ("COPY tweets TO '{folder}/stolen.csv'", "archives are read-only"),
    ("SELECT * FROM read_text('{folder}/config.yaml')", "disabled by configuration"),
    ("SELECT * FROM read_parquet('archive://../../config.yaml')", "cannot be answered"),
    ("ATTACH '{folder}/x.db'", "archives are read-only"),
    ("SET enable_external_access = true", "archives are read-only"),
    ("SELECT nothing FROM tweets", "nothing"),
    ("SELEKT", "cannot be answered"),
)


async def test_sql_can_only_read_archives(shell: CommandLine, tmp_path: Path) -> None:
    await shell.run("run")
    before = sorted(tmp_path.rglob("*"))
    for query, sentence in FORBIDDEN:
        output = await shell.run("query", query.format(folder=tmp_path), code=1)
        assert sentence in output
        assert "Traceback" not in output
    assert sorted(tmp_path.rglob("*")) == before


async def test_before_anything_is_archived_and_without_an_address(
    database: str, tmp_path: Path
) -> None:
    shell = CommandLine(tmp_path, database, {"url": str(tmp_path / "archive")})
    assert "Nothing is archived yet" in await shell.run("list")
    assert await shell.query("SELECT count(*) AS n FROM track_tweets") == [{"n": 0}]
    assert "is not archived" in await shell.run("restore", DAYS[0], code=1)
    shell = CommandLine(tmp_path, database, {})
    for words in (("run",), ("list",), ("verify",), ("restore", DAYS[0]), ("query", "SELECT 1")):
        assert "set `archive.url`" in await shell.run(*words, code=1)


async def test_the_list_shows_states_and_problems(shell: CommandLine) -> None:
    await shell.run("run", "--day", DAYS[0], "--drop")
    await shell.run("run")
    [first, second] = json.loads(await shell.run("list", "--json"))
    assert (first["day"], first["state"], first["manifest"]["tweets"]) == (DAYS[0], "dropped", 400)
    assert (second["day"], second["state"]) == (DAYS[1], "verified")
    assert "dropped" in await shell.run("list")


# -- as a child process --------------------------------------------------------------------------


class _Leading(Leader):
    def __init__(self) -> None:
        self.leads = True


async def test_the_job_archives_and_a_failure_has_its_error(
    shell: CommandLine,
) -> None:
    settings = Settings(archive=ArchiveSettings(url="/somewhere"))
    archiving = ArchiveProcess(settings, _Leading(), shell.command("run", "--die-with-parent"))
    await archiving.work()
    assert [each["state"] for each in json.loads(await shell.run("list", "--json"))] == [
        "verified",
        "verified",
    ]
    shell.rows("ALTER TABLE archives RENAME TO elsewhere")
    with pytest.raises(ChildFailed, match=r"\barchives\b"):
        await archiving.work()


@contextlib.asynccontextmanager
async def _daemon(words: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that starts another one as the daemon does, and waits."""
    code = (
        "import subprocess, sys; child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE);"
        " print(child.pid, flush=True); child.wait()"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *words, stdout=-1)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # until its child has closed the pipe, too


async def test_archiving_dies_with_its_daemon(shell: CommandLine, eventually: Any) -> None:
    with psycopg.connect(shell.database) as blocker:  # so that it cannot finish
        blocker.execute("LOCK TABLE archives IN ACCESS EXCLUSIVE MODE")
        async with _daemon(shell.command("run", "--die-with-parent")) as daemon:
            assert daemon.stdout is not None
            child = psutil.Process(int(await daemon.stdout.readline()))
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL AND"
                " database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            await eventually(lambda: shell.rows(waiting) == [(1,)])
            assert child.nice() == 19
            daemon.kill()
            await eventually(
                lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
            )
