"""The commands of archives as a person gives them: in S3, by SQL, beside a daemon."""

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

from monitor.archive.child import Archiving
from monitor.archive.manifest import ArchiveError
from monitor.leader import Leader
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
INSERT INTO identities (network, native_id, tweet_id)
SELECT network, native_id, id FROM tweets WHERE received_at::date = '{day}';
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT id, 1 + id / 4096 / 20000000 % 2, received_at, 'snow', 'text', 'own' FROM tweets
WHERE received_at::date = '{day}';
"""


class Person:
    """Somebody with a config, who gives commands."""

    def __init__(self, folder: Path, database: str, archive: dict[str, object]) -> None:
        self.database = database
        self.config = folder / "config.yaml"
        settings = {"database": database, "data_dir": str(folder / "data"), "archive": archive}
        self.config.write_text(json.dumps(settings))
        self.environment: dict[str, str] = {}

    def words(self, *words: str) -> list[str]:
        program = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(self.config)]
        return [*program, "archive", *words]

    async def says(self, *words: str, code: int = 0) -> str:
        """What the command says, on both ways."""
        process = await asyncio.create_subprocess_exec(
            *self.words(*words), stdout=-1, stderr=-1, env=os.environ | self.environment
        )
        said, wrong = await process.communicate()
        assert process.returncode == code, (said + wrong).decode()
        return (wrong + said).decode()

    async def asks(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(await self.says("query", query, "--json"))
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
def person(tmp_path: Path, database: str) -> Person:
    made = Person(tmp_path, database, {"url": str(tmp_path / "archive")})
    made.fill()
    return made


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 of the test's own."""
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


async def test_a_day_goes_to_s3_and_comes_back(database: str, tmp_path: Path, s3: str) -> None:
    person = Person(tmp_path, database, {"url": s3, "ndjson": True})
    person.fill()
    before = person.rows("SELECT * FROM tweets ORDER BY id")
    said = await person.says("run", "--day", DAYS[0], "--drop")
    assert "archived 400 tweets" in said
    assert "dropped" in said
    assert "whole" in await person.says("verify", DAYS[0])
    [counted] = await person.asks("SELECT count(*) AS n, min(day)::text AS day FROM tweets")
    assert counted == {"n": NUMBER, "day": DAYS[0]}
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    keys = [each["Key"] for each in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert sorted(key.rpartition("/")[2] for key in keys) == [
        "manifest.json",
        "matches-1.parquet",
        "tracks-1.parquet",
        "tweets-1.ndjson.zst",
        "tweets-1.parquet",
    ]
    assert "400 tweets" in await person.says("restore", DAYS[0])
    assert person.rows("SELECT * FROM tweets ORDER BY id") == before
    # What somebody breaks there is found, and mended with what is here.
    client.put_object(Bucket=BUCKET, Key=next(k for k in keys if "matches" in k), Body=b"broken")
    client.close()
    assert "damaged" in await person.says("verify", code=1)
    assert "archived 400 tweets" in await person.says("run", "--day", DAYS[0], "--drop")
    assert person.rows("SELECT count(*) FROM matches") == [(NUMBER,)]
    assert "whole" in await person.says("verify", DAYS[0])


async def test_an_s3_that_refuses_is_one_sentence(database: str, tmp_path: Path, s3: str) -> None:
    person = Person(tmp_path, database, {"url": s3.replace(BUCKET, "nobodys-bucket")})
    person.fill()
    said = await person.says("run", code=1)
    assert "nobodys-bucket" in said
    assert "Traceback" not in said
    assert "test-secret" not in said
    assert person.rows("SELECT count(*) FROM tweets") == [(2 * NUMBER,)]


async def test_sql_over_archives_and_postgres_says_the_same(person: Person) -> None:
    query = (
        "SELECT lang, count(*) AS n, min(received_at) AS first FROM track_tweets"
        " WHERE track_id = 1 GROUP BY lang ORDER BY lang NULLS LAST"
    )
    expected = person.rows(query)
    await person.says("run")
    for day in DAYS:
        await person.says("run", "--day", day, "--drop")
    found = await person.asks(query)
    assert [(row["lang"], row["n"]) for row in found] == [row[:2] for row in expected]
    assert found[0]["first"] == expected[0][2].isoformat(sep="T").replace("+00:00", "Z")
    [one] = await person.asks(
        f"SELECT count(*) AS n, sum((doc->>'$.data.n')::int) AS sum FROM tweets"
        f" WHERE day = '{DAYS[1]}'"
    )
    assert one == {"n": NUMBER, "sum": NUMBER * (NUMBER + 1) // 2}
    assert await person.asks("SELECT value, day::text AS day FROM tracks ORDER BY day") == [
        {"value": "snow", "day": day} for day in DAYS
    ]
    lines = (await person.says("query", "SELECT day, text FROM tweets LIMIT 3", "--csv")).split()
    assert next(csv.reader(lines)) == ["day", "text"]
    assert "snow" in await person.says("query", "SELECT text FROM tweets LIMIT 3")


FORBIDDEN = (
    ("DELETE FROM tweets", "only be read"),
    ("SELECT 1; SELECT 2", "one SELECT"),
    ("COPY tweets TO '{folder}/stolen.csv'", "only be read"),
    ("SELECT * FROM read_text('{folder}/config.yaml')", "disabled by configuration"),
    ("SELECT * FROM read_parquet('archive://../../config.yaml')", "cannot be answered"),
    ("ATTACH '{folder}/x.db'", "only be read"),
    ("SET enable_external_access = true", "only be read"),
    ("SELECT nothing FROM tweets", "nothing"),
    ("SELEKT", "cannot be answered"),
)


async def test_sql_can_only_read_archives(person: Person, tmp_path: Path) -> None:
    await person.says("run")
    before = sorted(tmp_path.rglob("*"))
    for query, sentence in FORBIDDEN:
        said = await person.says("query", query.format(folder=tmp_path), code=1)
        assert sentence in said
        assert "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before


async def test_before_anything_is_archived_and_without_an_address(
    database: str, tmp_path: Path
) -> None:
    person = Person(tmp_path, database, {"url": str(tmp_path / "archive")})
    assert "Nothing is archived yet" in await person.says("list")
    assert await person.asks("SELECT count(*) AS n FROM track_tweets") == [{"n": 0}]
    assert "not in the archive" in await person.says("restore", DAYS[0], code=1)
    person = Person(tmp_path, database, {})
    for words in (("run",), ("list",), ("verify",), ("restore", DAYS[0]), ("query", "SELECT 1")):
        assert "set `archive.url`" in await person.says(*words, code=1)


async def test_the_list_shows_states_and_problems(person: Person) -> None:
    await person.says("run", "--day", DAYS[0], "--drop")
    await person.says("run")
    [first, second] = json.loads(await person.says("list", "--json"))
    assert (first["day"], first["state"], first["manifest"]["tweets"]) == (DAYS[0], "dropped", 400)
    assert (second["day"], second["state"]) == (DAYS[1], "verified")
    assert "dropped" in await person.says("list")


# -- beside a daemon ------------------------------------------------------------------------------


class _Leading(Leader):
    def __init__(self) -> None:
        self.leads = True


async def test_the_chore_archives_and_tells_the_last_line_of_a_failure(person: Person) -> None:
    settings = Settings(archive=ArchiveSettings(url="/somewhere"))
    archiving = Archiving(settings, _Leading(), person.words("run", "--tied"))
    await archiving.work()
    assert [each["state"] for each in json.loads(await person.says("list", "--json"))] == [
        "verified",
        "verified",
    ]
    person.rows("ALTER TABLE archives RENAME TO elsewhere")
    with pytest.raises(ArchiveError, match=r"\barchives\b"):
        await archiving.work()


@contextlib.asynccontextmanager
async def _daemon(words: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that begins another one as the daemon does, and waits."""
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
        await process.communicate()  # until its child, too, has let go of the pipe


async def test_archiving_dies_with_its_daemon(person: Person, eventually: Any) -> None:
    with psycopg.connect(person.database) as blocker:  # so that it cannot come to its end
        blocker.execute("LOCK TABLE archives IN ACCESS EXCLUSIVE MODE")
        async with _daemon(person.words("run", "--tied")) as daemon:
            assert daemon.stdout is not None
            child = psutil.Process(int(await daemon.stdout.readline()))
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL AND"
                " database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            await eventually(lambda: person.rows(waiting) == [(1,)])
            assert child.nice() == 19
            daemon.kill()
            await eventually(
                lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
            )
