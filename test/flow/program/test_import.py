"""Imports: files and pipes, whole and damaged, killed and begun again; what is counted adds up."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import re
import signal
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import zstandard

from statuses import status
from stream.config import JournalSettings
from stream.journal import Journal

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.program.conftest import MakeProgram, Program

MESSAGES = re.compile(r"([\d,]+) messages?: (.*)\.")


def tweet(number: int, text: str = "snow") -> str:
    user = {"id_str": "5", "screen_name": "ann"}
    return json.dumps({"id_str": str(number), "text": text, "user": user})


def lines(numbers: range) -> bytes:
    return "".join(f"{tweet(number)}\n" for number in numbers).encode()


def sql(database: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
async def program(make_program: MakeProgram, database: str) -> Program:
    return make_program("main", database)


async def import_files(program: Program, *words: str, network: str = "x_v1") -> tuple[int, str]:
    """How it ended and what it said; what it counts must add up."""
    code, said = await program.fails("import", *words, "--network", network)
    assert "Traceback" not in said
    for total, parts in MESSAGES.findall(said):
        counts = [int(found.replace(",", "")) for found in re.findall(r"[\d,]*\d", parts)]
        assert sum(counts) == int(total.replace(",", "")), said
    return code, said


async def test_it_goes_the_way_of_live_tweets_and_can_be_repeated(
    program: Program, database: str
) -> None:
    path = program.folder / "tweets.ndjson.gz"
    texts = [tweet(n, "snow" if n % 2 else "rain") for n in range(1, 101)]
    path.write_bytes(gzip.compress("\n".join([*texts, "", "{torn"]).encode()))
    await program.command("track", "add", "snow")
    code, said = await import_files(program, path.name)
    assert code == 0
    assert "101 messages: 50 new, matching tracks, 50 new, matching no track" in said
    assert "1 rejected" in said
    assert "100 stored before" in (await import_files(program, path.name))[1]
    assert sql(database, "SELECT count(*) FROM tweets") == [(100,)]
    assert sql(database, "SELECT sum(tweets) FROM track_minutes") == [(50,)]


@contextlib.asynccontextmanager
async def importing(program: Program, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """An import that runs meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *program._command("import", *words, "--network", "x_v1"),
        cwd=program.folder,
        stdin=-1,
        stdout=-1,
        stderr=-2,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def zipped(data: bytes, names: tuple[str, ...] = ("tweets.json",)) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return written.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": lambda data: bz2.compress(data, 1),
    "xz": lzma.compress,
    "zst": zstandard.compress,
    "zip": zipped,
}


async def test_files_of_every_kind_each_with_its_sentence(program: Program, database: str) -> None:
    """Named so that no name helps; those with something wrong do not keep the others away."""
    good = {
        **{name: pack(lines(range(1, 11))) for name, pack in PACKERS.items()},
        "zip of a Mac": zipped(lines(range(1, 11)), ("t.json", "__MACOSX/._t.json", ".DS_Store")),
        "twice": gzip.compress(gzip.compress(lines(range(1, 11)))),
        "members": gzip.compress(lines(range(1, 6))) + gzip.compress(lines(range(6, 11))),
        "bom": b"\xef\xbb\xbf" + lines(range(1, 11)),
        "utf16": lines(range(1, 11)).decode().encode("utf-16"),
        "array": json.dumps([json.loads(tweet(n)) for n in range(1, 11)], indent=2).encode(),
    }
    bad = {
        "several": (zipped(b"{}", ("a.json", "b.json")), "a zip of 2 files"),
        "csv": (b"id,text\n1,snow\n", "it contains no JSON"),
        "binary": (b"\x89PNG" + os.urandom(300) + b"\0", "it contains binary data"),
        "nothing": (b"", "is empty"),
        "packed nothing": (gzip.compress(b"\n\n"), "is empty"),
        "other": (b'{"a": 1}\n{"b": 2}\n', "contains no tweet: no tweet in it; its keys: a"),
        "v2": (b'{"data":{"id":"5","text":"snow","author_id":"7"}}\n', "--network x_v2"),
    }
    for name, data in {**good, **{name: data for name, (data, _) in bad.items()}}.items():
        (program.folder / f"{name}.dat").write_bytes(data)
    code, said = await import_files(program, *(f"{name}.dat" for name in [*good, *bad]))
    assert code == 1
    for name, (_, sentence) in bad.items():
        errors = [line.removeprefix("Error: ") for line in said.splitlines()]
        assert [sentence in line for line in errors if line.startswith(f"{name}.dat ")][-1]
    assert "113 messages: 10 new, matching no track, 100 stored before, 3 rejected" in said
    assert sql(database, "SELECT count(*) FROM tweets") == [(10,)]
    code, _ = await import_files(program, "gz.dat", "array.dat")
    assert code == 0


async def test_what_is_whole_in_a_file_that_was_cut_short_is_stored(
    program: Program, database: str
) -> None:
    for number, (kind, pack) in enumerate(PACKERS.items()):
        packed = pack(lines(range(number * 10_000 + 1, number * 10_000 + 3001)))
        (program.folder / f"cut.{kind}").write_bytes(packed[:-30])
    code, said = await import_files(program, *(f"cut.{kind}" for kind in PACKERS))
    assert code == 1
    for number, kind in enumerate(PACKERS):
        assert f"cut.{kind} is damaged: it is " in said
        [[stored, newest]] = sql(
            database,
            "SELECT count(*), max(native_id::bigint) % 10000 FROM tweets"
            f" WHERE native_id::bigint / 10000 = {number}",
        )
        assert stored == newest  # every one before the damage
        # A block of bzip2 is whole or nothing: 100 kB. So is one of zstd: 128 kB.
        assert stored > (1000 if kind in ("bz2", "zst") else 2900)
    assert said.index(" messages: ") < said.index("is damaged")
    # Nothing of it is left over to be counted as another's.
    (program.folder / "next").write_bytes(lines(range(50_001, 50_003)))
    assert "\n2 messages: 2 new" in (await import_files(program, "next"))[1]


async def test_from_a_pipe(program: Program, database: str, eventually: Eventually) -> None:
    """What comes is stored while the pipe is still open."""
    os.mkfifo(program.folder / "fifo")
    async with importing(program, "fifo", "-") as process:
        writing = await asyncio.to_thread(os.open, program.folder / "fifo", os.O_WRONLY)
        os.write(writing, lines(range(1, 11)))
        await eventually(lambda: sql(database, "SELECT count(*) FROM tweets") == [(10,)])
        os.close(writing)
        said, _ = await process.communicate(gzip.compress(lines(range(11, 21))))
        assert process.returncode == 0
        assert "20 messages: 20 new" in said.decode()


async def test_what_tools_make_of_json_is_understood(program: Program, database: str) -> None:
    """A tweet in a string, one with NaN, and server-sent events."""
    odd = tweet(2).replace('{"id_str"', '{"score": NaN, "id_str"', 1)
    (program.folder / "strings").write_text(f"{json.dumps(tweet(1))}\n{odd}\n")
    (program.folder / "events").write_text(f": hello\n\nevent: update\ndata: {tweet(3)}\n\n")
    code, said = await import_files(program, "strings", "events")
    assert code == 0
    assert "3 messages: 3 new" in said
    assert sql(database, "SELECT native_id FROM tweets ORDER BY 1") == [("1",), ("2",), ("3",)]


async def test_a_closed_standard_input_is_named(program: Program) -> None:
    command = program._command("import", "-", "--network", "x_v1")
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'exec "$@" <&-', "sh", *command), stdout=-1, stderr=-2, cwd=program.folder
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode == 1
    assert b"Standard input is closed" in said
    assert b"Traceback" not in said


async def test_a_pipe_that_stays_silent_can_be_left(
    program: Program, database: str, eventually: Eventually
) -> None:
    async with importing(program, "-") as process:
        await eventually(lambda: sql(database, "SELECT 1 FROM positions"))
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
        assert process.returncode == 130
        assert b"Traceback" not in said


async def test_a_line_longer_than_memory(program: Program, database: str) -> None:
    """400 MB, of which only the beginning is kept, and never more than that is in memory."""
    async with importing(program, "-") as process:
        assert process.stdin is not None
        process.stdin.write(lines(range(1, 2)) + b'{"text":"')
        chunk = b"x" * (1 << 20)
        for _ in range(400):
            process.stdin.write(chunk)
            await process.stdin.drain()
        process.stdin.write(b'"}\n' + lines(range(2, 3)))
        await process.stdin.drain()
        most = peak_memory(process.pid)
        said, _ = await process.communicate(b"\n")
        assert process.returncode == 0, said
        assert "3 messages: 2 new, matching no track, 1 rejected" in said.decode()
        assert sql(database, "SELECT reason, length(body) FROM rejects") == [("too_large", 8 << 20)]
        assert most < 300 << 20


def peak_memory(pid: int) -> int:
    """Bytes that a process has had at most."""
    [line] = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) << 10


async def test_killed_and_begun_again_each_tweet_is_there_once_and_counted_for_its_own(
    program: Program, database: str, eventually: Eventually
) -> None:
    """What the killed one had read is stored first, and said apart."""
    count = 8000
    (program.folder / "many.gz").write_bytes(gzip.compress(lines(range(1, count + 1)), 1))
    (program.folder / "few").write_bytes(lines(range(count + 1, count + 11)))
    async with importing(program, "many.gz"):
        await eventually(lambda: sql(database, "SELECT count(*) FROM tweets")[0][0] >= 300)
    [[before]] = sql(database, "SELECT count(*) FROM tweets")
    code, said = await import_files(program, "few")
    assert code == 0
    left = re.search(r"interrupted import: ([\d,]+) messages: [\d,]+ new", said)
    [[after]] = sql(database, "SELECT count(*) FROM tweets")
    interrupted = int(left[1].replace(",", "")) if left is not None else 0
    assert after == before + interrupted + 10
    assert "\n10 messages: 10 new" in f"\n{said}"
    await import_files(program, "many.gz")
    assert sql(database, "SELECT count(*), count(DISTINCT native_id) FROM tweets") == [
        (count + 10, count + 10)
    ]
    assert sql(database, "SELECT count(*) FROM tweet_ids") == [(count + 10,)]


async def test_what_an_interrupted_import_left_is_stored_first_and_counted_apart(
    program: Program, database: str
) -> None:
    (program.folder / "few").write_bytes(lines(range(1, 11)))
    await import_files(program, "few")
    with Journal.open(program.journal, JournalSettings()) as journal:
        journal.resume(journal.end)
        journal.append([tweet(number).encode() for number in (101, 102, 103)])
    code, said = await import_files(program, "few")
    assert code == 0
    assert "From an interrupted import: 3 messages: 3 new, matching no track." in said
    assert "\n10 messages: 10 stored before." in said
    assert sql(database, "SELECT count(*) FROM tweets") == [(13,)]


@pytest.mark.parametrize(
    ("network", "kept"), [("x_v1", "1 new, matching no track"), ("mastodon", "not kept")]
)
async def test_what_matches_no_track_is_kept_only_of_networks_that_filter(
    network: str, kept: str, program: Program, database: str
) -> None:
    sql(database, "INSERT INTO tracks (value) VALUES ('snow') RETURNING id")
    path = program.folder / "two.ndjson"
    if network == "x_v1":
        path.write_text(f"{tweet(1)}\n{tweet(2, 'rain')}\n")
    else:
        posts = [
            status(f"<p>{text}</p>", uri=f"https://a.example/{text}") for text in ("snow", "rain")
        ]
        path.write_text("\n".join(map(json.dumps, posts)))
    code, said = await import_files(program, str(path), network=network)
    assert (code, sql(database, "SELECT count(*) FROM matches")) == (0, [(1,)])
    assert kept in said
    assert "1 new, matching tracks" in said
