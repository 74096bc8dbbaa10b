"""Exports of a running daemon, of the command line, and of a process that is killed at random."""

from __future__ import annotations

import asyncio
import os
import random
import shlex
import signal
import zipfile
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporting import Made

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.program.conftest import MakeProgram, Program

KILLS = int(os.environ.get("EXPORT_KILLS", "8"))  # more: make it a proof
FORMATS = os.environ.get("EXPORT_FORMATS", "csv gexf").split()
ABOUT = {"README.md", "datapackage.json"}  # with the time
SEED = 20261129
DAYS = ("2026-03-14", "2026-03-15")
NUMBER = max(1500, 150 * KILLS)  # of a day
FILL = """
SELECT ensure_day('{day}');
INSERT INTO tweets (id, received_at, network, native_id, kind, lang, author, text, doc)
SELECT tweet_key(at, 1), at, 'x_v2', '{day}' || n, 'original', 'de', 'ann', 'snow ' || n,
    jsonb_build_object('data', jsonb_build_object('n', n,
        'text', '#snow #t' || n % 9 || ' #u' || n % 7))
FROM (SELECT n, timestamptz '{day} 00:00+00' + n * interval '20 s' AS at
      FROM generate_series(1, {number}) AS n) AS made;
INSERT INTO tweet_ids (network, native_id, tweet_id)
SELECT network, native_id, id FROM tweets WHERE received_at::date = '{day}';
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT id, 1, received_at, 'snow', 'text', 'own' FROM tweets WHERE received_at::date = '{day}';
"""


class Tables:
    """The database of a program."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def request(self, form: str = "csv") -> int:
        """An export of all tweets, in small parts; returns its id."""
        [[number]] = self.rows(
            "INSERT INTO exports (tracks, format, until, part_rows, requested_at)"
            f" VALUES ('{{1}}', '{form}', '2026-03-16', 100, '2026-03-16') RETURNING id"
        )
        assert isinstance(number, int)
        return number


@pytest.fixture
def tables(database: str) -> Tables:
    made = Tables(database)
    made.rows("INSERT INTO tracks (value) VALUES ('snow')")
    for day in DAYS:
        made.rows(FILL.format(day=day, number=NUMBER))
    return made


@pytest.fixture
async def program(make_program: MakeProgram, tables: Tables, tmp_path: Path) -> Program:
    """A program whose first day is only in its archive."""
    made = make_program("main", tables.url, archive={"url": str(tmp_path / "archive")})
    await made.command("archive", "run", "--day", DAYS[0], "--drop")
    return made


async def run(program: Program, until: Callable[[], bool]) -> bool:
    """Run the process of the daemon, and kill it then; False: it had ended by itself."""
    process = await asyncio.create_subprocess_exec(
        *program._command("exports", "run", "--die-with-parent"), stdin=-1, stdout=-1, stderr=-2
    )
    assert process.stdout is not None
    ended = asyncio.ensure_future(process.stdout.read())
    while not ended.done():
        if until():
            process.kill()
            break
        await asyncio.wait([ended], timeout=0.01)
    said = await ended
    if await process.wait() == -signal.SIGKILL:
        return True
    assert process.returncode == 0, said.decode()
    return False


def never() -> bool:
    return False


@pytest.mark.timeout(600 + 60 * KILLS)
@pytest.mark.parametrize("form", FORMATS)
async def test_an_export_that_is_killed_at_random_has_the_same_bytes(
    program: Program, tables: Tables, form: str
) -> None:
    whole = tables.request(form)
    assert not await run(program, never)
    killed = tables.request(form)
    chance = random.Random(SEED)
    folder = program.data_dir / "exports" / str(killed)
    kills = 0
    while kills < KILLS:
        begun = len(list(folder.glob("*-[0-9]*")))
        more, delay = chance.randint(0, 3), chance.uniform(0, 0.15)
        moment = float("inf")

        def is_further(begun: int = begun, more: int = more, delay: float = delay) -> bool:
            nonlocal moment
            now = asyncio.get_running_loop().time()
            if (folder / "export.zip").exists() or (
                len(list(folder.glob("*-[0-9]*"))) > begun + more
            ):
                moment = min(moment, now + delay)
            return now >= moment

        if not await run(program, is_further):
            break
        kills += 1
        # As after the lease of the killed process.
        tables.rows("UPDATE exports SET leased_until = now() WHERE state = 'running'")
    else:
        assert not await run(program, never)
    assert kills >= KILLS // 2
    parts = "SELECT number, name, after_id, last_id, rows, sha256 FROM export_parts"
    first, second = (
        tables.rows(f"{parts} WHERE export_id = {number} ORDER BY 1, 2")
        for number in (whole, killed)
    )
    assert first == second
    made = [Made(program.data_dir / "exports" / str(n) / "export.zip") for n in (whole, killed)]
    assert made[0].names == made[1].names
    for name in set(made[0].names) - ABOUT:
        assert made[0].read(name) == made[1].read(name), name
    if form == "csv":
        assert len(made[0].ids) == len(set(made[0].ids)) == NUMBER * len(DAYS)
    assert {path.name for path in folder.iterdir()} == {"export.zip"}


async def test_a_row_starts_an_export(
    program: Program, tables: Tables, eventually: Eventually
) -> None:
    """By psql: the daemon finds it."""
    await program.start()
    number = tables.request()
    done = f"SELECT state FROM exports WHERE id = {number}"
    await eventually(lambda: tables.rows(done) == [("done",)])
    made = Made(program.data_dir / "exports" / str(number) / "export.zip")
    assert len(made.ids) == NUMBER * len(DAYS)


async def test_the_command_writes_a_file(program: Program, tables: Tables) -> None:
    said = await program.command(
        *("export", "1", "--format", "ndjson", "--since", DAYS[1], "--words", "snow 77"),
        *("--output", "snow.zip"),
    )
    found = Made(program.folder / "snow.zip").json_rows
    rows = tables.rows(
        "SELECT id::text FROM tweets WHERE text LIKE '%snow%' AND text LIKE '%77%' ORDER BY id"
    )
    assert [(row["id"],) for row in found] == rows != []
    [line] = said.splitlines()  # without progress, which is for terminals
    assert line.startswith(f"snow.zip: {len(rows):,} tweets, ")


async def test_the_command_writes_a_folder(program: Program, tables: Tables) -> None:
    folder, left = program.folder / "snow", program.folder / "snow.partial"
    left.mkdir()  # by a command that was killed
    (left / "half").touch()
    said = await program.command("export", "1", "--part-rows", "1000", "--folder", "snow")
    assert said.startswith("snow: ")
    [package] = (program.data_dir / "exports").glob("*/export.zip")
    with zipfile.ZipFile(package) as made:
        wanted = {name: made.read(name) for name in made.namelist()}
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == wanted
    assert len(wanted) > len(ABOUT) + 1  # in parts
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not left.exists()
    fifo = program.folder / "fifo"
    os.mkfifo(fifo)  # as devices, it would be replaced
    for options, words in (
        (("--folder", "snow"), "snow is not empty: give the name of a new folder"),
        (("--folder", "none/snow"), "there is no folder none"),
        (("--output", "none/snow.zip"), "there is no folder none"),
        (("--folder", "new", "--output", "new.zip"), "not both"),
        (("--output", str(fifo)), "fifo cannot be written: it is not a file"),
        (("--folder", "n" * 300), "cannot be written: File name too long"),
    ):
        _, said = await program.fails("export", "1", *options)
        assert words in " ".join(said.split()), said
    assert tables.rows("SELECT count(*) FROM exports") == [(1,)]  # refused at once


async def test_the_command_refuses_options_that_the_format_does_not_have(
    program: Program, tables: Tables
) -> None:
    for form, option, value, choose in (
        ("received", "--columns", "simple", "csv, excel, xlsx, ndjson or parquet"),
        ("csv", "--graph", "mention", "gexf"),
        ("csv", "--min-weight", "2", "gexf"),
        ("csv", "--max-nodes", "5", "gexf"),
    ):
        code, said = await program.fails("export", "1", "--format", form, option, value)
        assert code == 2
        words = f"for the format {form}: leave it out, or choose the format {choose}."
        assert (option in said, words in " ".join(said.split())) == (True, True), said
    assert tables.rows("SELECT id FROM exports") == []


async def test_the_command_shows_its_progress_on_a_terminal(
    program: Program, tables: Tables
) -> None:
    # A hundred parts, which take much longer than the tenth of a second between two frames.
    options = ("--part-rows", "30", "--output", "snow.zip")
    command = shlex.join(program._command("export", "1", *options))
    process = await asyncio.create_subprocess_exec(
        *("script", "--quiet", "--return", "--command", command, "/dev/null"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        cwd=program.folder,
        env=os.environ | {"TERM": "xterm"},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert b" tweets, up to 2026-03-1" in said
    assert b"writing " in said
    assert said.rstrip().endswith(b"B")
