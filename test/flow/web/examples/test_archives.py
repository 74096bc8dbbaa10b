"""The examples that read archives give the answers that Postgres gives."""

import csv
import itertools
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from deleting import delete_tweets
from examples import Example
from monitor.archive.restore import restore_day
from monitor.archive.run import ArchiveRun
from monitor.archive.store import Store
from stream.config import Settings
from stream.store import archives
from stream.tweet import NativeId
from tools import tool
from web_app import WebApp

NEW_YEARS_EVE, NEW_YEAR, SPRING = date(2024, 12, 31), date(2025, 1, 1), date(2025, 3, 14)
TEXTS = ("snow #Ice", "Snow? #ICE #ice #雪", "snow rain #été", "rain", "rain & snow #हिन्दी #Ice_2")
ANSWERS = {
    "days": """
        SELECT received_at::date, track_id, tracks.value, count(*)
        FROM track_tweets JOIN tracks ON tracks.id = track_id WHERE deleted_at IS NULL
        GROUP BY 1, 2, 3 ORDER BY 1, 2
    """,
    "hashtags": """
        SELECT hashtag_lower COLLATE "C", count(DISTINCT tweet_id)
        FROM hashtags JOIN matches USING (tweet_id) JOIN tweets ON tweets.id = tweet_id
        WHERE track_id = 1 AND deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC, 1
    """,
    "authors": """
        SELECT network, author_id, (array_agg(author ORDER BY received_at DESC))[1], count(*),
            count(DISTINCT received_at::date), min(received_at)::date, max(received_at)::date
        FROM track_tweets WHERE track_id = 1 AND deleted_at IS NULL
        GROUP BY network, author_id ORDER BY 4 DESC, 1, author_id COLLATE "C"
    """,
}


def post(number: int, text: str) -> Mapping[str, Any]:
    """A tweet of one of three authors, who change their names."""
    author = 1 + number % 3
    tags = [{"text": word.strip("#")} for word in text.split() if word.startswith("#")]
    return {
        "text": text,
        "user": {"id_str": f"{author}", "screen_name": f"author_{author}_{number // 10}"},
        "entities": {"hashtags": tags, "urls": []},
    }


class Archives:
    """Some days as the program archives them."""

    def __init__(self, app: WebApp, folder: Path, url: str) -> None:
        self.app = app
        self.url = url
        self.settings = msgspec.convert(
            {"data_dir": str(folder), "archive": {"url": url}}, Settings
        )
        self._numbers = itertools.count(1)

    def set(self, **settings: Any) -> None:
        self.settings = msgspec.structs.replace(self.settings, **settings)

    async def fill(self, day: date, tweets: int, hour: int = 12) -> None:
        numbers = [next(self._numbers) for _ in range(tweets)]
        posts = [post(number, TEXTS[number % len(TEXTS)]) for number in numbers]
        at = datetime.combine(day, time(hour), UTC)
        await self.app.store_tweets(*posts, at=at, first=numbers[0])

    @property
    def _run(self) -> ArchiveRun:
        return ArchiveRun(self.app.database, self.settings, Store(self.url), print)

    async def run(self, day: date, *, drop: bool = False) -> None:
        await self._run.run(day, drop=drop)

    async def delete(self, *numbers: int) -> None:
        times = {NativeId(str(number)): datetime.now(UTC) for number in numbers}
        erase = self.settings.deletions == "erase"
        await delete_tweets(self.app.database, "x_v1", times, erase=erase)

    async def restore(self, day: date) -> None:
        async with archives.day_lock(self.app.database, day) as connection:
            assert connection is not None
            await restore_day(connection, Store(self.url), day, erase=True)


async def archived(app: WebApp, folder: Path, url: str) -> Archives:
    """Days of two years, in all the states that archives can have."""
    made = Archives(app, folder, url)
    await app.add_track("snow", None)
    await app.add_track("rain", None)
    for day in (NEW_YEARS_EVE, NEW_YEAR, SPRING):
        await made.fill(day, 40)
        await made.run(day, drop=day == NEW_YEARS_EVE)
    await made.fill(NEW_YEARS_EVE, 10, hour=13)  # late: another part
    await made.run(NEW_YEARS_EVE)
    store, first = Store(url), f"tweets/day={NEW_YEAR}/part=0/tweets-1.parquet"
    last_generation = store.read(first)
    await made.delete(41, 42, 43)
    await made.run(NEW_YEAR)
    store.put(first, last_generation)  # as a kill leaves it
    await app.execute("UPDATE tracks SET value = 'rain, sleet' WHERE id = 2")
    made.set(deletions="flag")
    await made.delete(85, 86)
    await made.run(SPRING)
    make_older(store, f"tweets/day={NEW_YEARS_EVE}/part=1/matches-1.parquet")
    return made


def make_older(store: Store, path: str) -> None:
    """Remove the column that files of the first versions lack."""
    table = pq.read_table(pa.BufferReader(store.read(path))).drop_columns(["look_back"])
    older = pa.BufferOutputStream()
    pq.write_table(table, older)
    store.put(path, older.getvalue().to_pybytes())


async def answers_of_postgres(made: Archives) -> dict[str, list[list[str]]]:
    """With all days in Postgres, as CSV has them."""
    await made.restore(NEW_YEARS_EVE)
    return {
        name: [[str(value) for value in row] for row in await made.app.rows(query)]
        for name, query in ANSWERS.items()
    }


def answers_in(folder: Path) -> dict[str, list[list[str]]]:
    """The answers that an example has written, without their headings."""
    found = {}
    for name in ANSWERS:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            found[name] = list(csv.reader(file))[1:]
    return found


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a folder in an S3 on this machine."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("ENDPOINT_URL", f"http://{host}:{port}"),
        ("ALLOW_HTTP", "true"),
        ("ACCESS_KEY_ID", "a"),
        ("SECRET_ACCESS_KEY", "b"),
        ("REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    # The buckets of all these servers in a process are the same.
    name = f"tweets-{uuid4().hex}"
    request = urllib.request.Request(f"http://{host}:{port}/{name}", method="PUT")
    urllib.request.urlopen(request).close()
    yield f"s3://{name}/below"
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "bucket":
        return str(request.getfixturevalue("bucket"))
    return str(tmp_path / "archive")


async def test_duckdb_answers_as_postgres_does(app: WebApp, place: str, tmp_path: Path) -> None:
    made = await archived(app, tmp_path, place)
    program = Example(app, "", "archive_duckdb.py")
    await program.run(place, tmp_path / "all", "--track", 1)
    found = answers_in(tmp_path / "all")
    assert found == await answers_of_postgres(made)
    assert len({day for day, *_ in found["days"]}) == 3
    assert "rain, sleet" in {track for _, _, track, _ in found["days"]}
    await program.run(place, tmp_path / "one", "--track", 1, "--since", SPRING, "--top", 1)
    one = answers_in(tmp_path / "one")
    assert one["days"] == [row for row in found["days"] if row[0] == str(SPRING)]
    assert (len(one["hashtags"]), len(one["authors"])) == (1, 1)
    process = await program.start(place, tmp_path / "none", "--track", 1, "--since", "2025-06-01")
    output, _ = await process.communicate()
    assert output.decode().endswith(" has no archived day from 2025-06-01 to 9999-12-31\n")


async def test_spark_answers_as_postgres_does(app: WebApp, tmp_path: Path) -> None:
    tool("java")
    url = str(tmp_path / "archive")
    made = await archived(app, tmp_path, url)
    program = Example(app, "", "archive_spark.py")
    program.environment |= {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_SUBMIT_ARGS": "--conf spark.ui.enabled=false pyspark-shell",
    }
    await program.run(url, tmp_path / "answers", "--track", 1)
    assert answers_in(tmp_path / "answers") == await answers_of_postgres(made)
