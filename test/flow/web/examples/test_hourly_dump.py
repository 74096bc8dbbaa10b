"""examples/hourly_dump.py: each tweet once, in a folder and in a bucket, although it is killed."""

import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from moto.server import ThreadedMotoServer
from pyarrow.fs import FileSelector, FileSystem

from examples import example
from waiting import Eventually
from web_app import WebApp

ROWS = 20  # of a file


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 on this machine, with the bucket `tweets`."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("ACCESS_KEY_ID", "a"),
        ("SECRET_ACCESS_KEY", "b"),
        ("REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    request = urllib.request.Request(f"http://{host}:{port}/tweets", method="PUT")
    with urllib.request.urlopen(request, timeout=90) as answer:
        assert answer.status == 200
    yield f"s3://tweets/dump?endpoint_override={host}:{port}&scheme=http"
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "bucket":
        return str(request.getfixturevalue("bucket"))
    return (tmp_path / "dump").as_uri()


def dumped(place: str) -> list[tuple[str, str]]:
    """Id and text of each row of all files, in their order."""
    filesystem, folder = FileSystem.from_uri(place)
    files = ds.dataset(folder, filesystem=filesystem, exclude_invalid_files=False)
    table = files.to_table(columns=["id", "text"])
    return list(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))


async def test_no_tweet_is_missing_or_twice_over_kills(
    app: WebApp, place: str, eventually: Eventually
) -> None:
    program = await example(app, "hourly_dump.py")
    await app.add_track("snow", "ana")
    filesystem, folder = FileSystem.from_uri(place)
    words = (app.address, place, "--track", 1, "--rows", ROWS, "--once")

    def files() -> int:
        found = filesystem.get_file_info(FileSelector(folder, allow_not_found=True))
        return sum(info.base_name.endswith(".parquet") for info in found)

    stored = 0
    for killed in range(4):
        texts = [{"text": f"snow {number}"} for number in range(stored, stored + 150)]
        await app.store_tweets(*texts, {"text": "rain"}, first=stored + 1)
        stored += len(texts) + 1
        before = files()
        process = await program.start(*words)
        await eventually(lambda: files() > before + killed % 3)  # noqa: B023 - of this round
        process.kill()
        await process.wait()
    await program.run(*words)
    assert await program.run(*words) == f"0 new tweets in {place}\n"
    wanted = await app.rows("SELECT id::text, text FROM tweets WHERE text LIKE 'snow%' ORDER BY id")
    assert len(wanted) == 600
    found = dumped(place)
    assert sorted(found) == sorted(wanted)
    assert found == wanted, "in the order of storing"


async def test_a_file_can_be_read_by_its_columns(app: WebApp, tmp_path: Path) -> None:
    program = await example(app, "hourly_dump.py")
    await app.add_track("snow", "ana")
    await app.store_tweets({"text": "snow"})
    output = await program.run(app.address, tmp_path / "dump", "--once")
    assert output == f"1 new tweets in {tmp_path}/dump\n"
    [row] = ds.dataset(tmp_path / "dump").to_table().to_pylist()
    [[received_at]] = await app.rows("SELECT received_at FROM tweets")
    assert row["received_at"] == received_at
    assert (row["tracks"], row["network"], row["text"]) == (["1"], "x_v1", "snow")
    assert [path.name for path in (tmp_path / "dump").iterdir()] == ["tweets-00000001.parquet"]


async def test_an_unfinished_file_is_read_by_nobody(app: WebApp, tmp_path: Path) -> None:
    """As a kill leaves one, in a bucket between its copy and its deletion."""
    program = await example(app, "hourly_dump.py")
    await app.add_track("snow", "ana")
    await app.store_tweets({"text": "snow"})
    await program.run(app.address, tmp_path / "dump", "--once")
    [file] = (tmp_path / "dump").iterdir()
    shutil.copy(file, tmp_path / "dump" / ".unfinished")
    assert len(dumped((tmp_path / "dump").as_uri())) == 1
    assert await program.run(app.address, tmp_path / "dump", "--once") == (
        f"0 new tweets in {tmp_path}/dump\n"
    )


async def test_an_address_without_http_is_said(app: WebApp, tmp_path: Path) -> None:
    program = await example(app, "hourly_dump.py")
    process = await program.start(app.address.removeprefix("http://"), tmp_path / "dump", "--once")
    output, _ = await process.communicate()
    assert (process.returncode, b"unknown url type" in output, output.count(b"\n")) == (1, True, 1)


async def test_a_wrong_track_is_said(app: WebApp, tmp_path: Path) -> None:
    program = await example(app, "hourly_dump.py")
    process = await program.start(app.address, tmp_path / "dump", "--once", "--track", 99)
    output, _ = await process.communicate()
    assert process.returncode == 1
    assert b"There is no track 99" in output


async def test_a_place_that_cannot_be_used_is_said(app: WebApp, tmp_path: Path) -> None:
    program = await example(app, "hourly_dump.py")
    await app.add_track("snow", "ana")
    await app.store_tweets({"text": "snow"})
    (tmp_path / "file").touch()
    for place in ("/proc/dump", str(tmp_path / "file"), "fax://dump"):
        process = await program.start(app.address, place, "--once")
        output = (await process.communicate())[0].decode()
        assert (process.returncode, output.count("\n")) == (1, 1), output
        assert output.startswith(f"{place}: "), output
