"""Logging: lines for people, objects for programs, and credentials in neither."""

import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from stream import logs
from stream.config import Settings
from stream.errors import ConfigError
from stream.logs import LINES_MAX

ROOT = Path(__file__).resolve().parents[2]
logger = logging.getLogger("stream.example")
LogFormat = Literal["text", "json"]
BOTH = pytest.mark.parametrize("logformat", ["text", "json"])


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Whatever a test sets up is undone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def logfile(tmp_path: Path) -> Path:
    return tmp_path / "log"


def set_up(logfile: Path, logformat: LogFormat = "text", **more: Any) -> None:
    # pytest's own handlers would be closed by what set_up replaces.
    logs.set_up(Settings(logfile=str(logfile), logformat=logformat, **more))


def test_a_text_line_has_time_level_logger_message_and_fields(logfile: Path) -> None:
    set_up(logfile)
    logger.info("batch stored", extra={"tweets": 200, "why": "it is time", "name_": ""})
    [line] = logfile.read_text().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info stream\.example: batch stored"
        r' tweets=200 why="it is time" name_=""',
        line,
    )


def test_a_json_line_is_an_object(logfile: Path) -> None:
    set_up(logfile, "json")
    logger.warning("half %s", "done", extra={"tweets": 200, "level": "mine", "path": Path("/a")})
    line = json.loads(logfile.read_text())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "stream.example",
        "message": "half done",
        "tweets": 200,
        "level_": "mine",
        "path": "/a",
    }


@BOTH
def test_an_exception_is_written_with_its_trace(logfile: Path, logformat: LogFormat) -> None:
    set_up(logfile, logformat)
    try:
        raise ValueError("it broke")  # noqa: TRY301  # a trace is what is wanted
    except ValueError:
        logger.exception("failed")
    text = logfile.read_text()
    assert "Traceback" in text
    assert "ValueError: it broke" in text
    if logformat == "json":
        assert "it broke" in json.loads(text)["exception"]


def test_control_characters_are_escaped_so_that_no_line_is_forged(logfile: Path) -> None:
    set_up(logfile)
    logger.info("said: %s", "x\n2026 error\r\x1b[2J\u2028", extra={"more": "a\nb"})
    [line] = logfile.read_text().splitlines()
    assert r"x\n2026 error\r\x1b[2J\u2028" in line
    assert r'more="a\nb"' in line


@BOTH
def test_a_lone_surrogate_is_written_as_its_number(logfile: Path, logformat: LogFormat) -> None:
    set_up(logfile, logformat)
    logger.info("file \ud800", extra={"name_": "\ud801", "keys": {(1, 2): "\ud802"}})
    text = logfile.read_text()
    assert r"\ud800" in text
    assert r"\ud801" in text


def test_lines_below_the_log_level_are_left_out(logfile: Path) -> None:
    set_up(logfile, loglevel="warning")
    logger.info("quiet")
    logger.warning("loud")
    assert "quiet" not in logfile.read_text()
    assert "loud" in logfile.read_text()


def test_a_log_file_that_was_moved_is_created_again(logfile: Path) -> None:
    set_up(logfile)
    logger.info("one")
    logfile.rename(logfile.with_suffix(".1"))
    logger.info("two")
    assert "two" in logfile.read_text()


def test_a_full_log_file_is_rotated(logfile: Path) -> None:
    set_up(logfile, logfile_max_bytes=1 << 16, logfile_keep=3)
    written = [f"line {number:05d} {'x' * 1000}" for number in range(400)]
    for line in written:
        logger.info("%s", line)
    files = [logfile, *(logfile.with_name(f"log.{number}") for number in (1, 2, 3))]
    assert sorted(logfile.parent.iterdir()) == sorted(files)
    found = [line for file in reversed(files) for line in file.read_text().splitlines()]
    assert [line.partition(": ")[2] for line in found] == written[-len(found) :]
    assert len(found) > 3 * 60
    for file in files:
        assert file.stat().st_size <= (1 << 16) + 2000
        assert file.stat().st_mode & 0o777 == 0o600


TWO = """
import logging, sys
from stream import logs
from stream.config import Settings
logs.set_up(Settings(logfile=sys.argv[1], logfile_max_bytes=1 << 16, logfile_keep=50))
for number in range(1000):
    logging.getLogger("x").info("%s %04d %s", sys.argv[2], number, "y" * 200)
"""


def test_two_processes_with_one_log_file_lose_and_tear_no_line(logfile: Path) -> None:
    """Only daemons write it, but two may have the same settings."""
    both = [
        subprocess.Popen([sys.executable, "-c", TWO, str(logfile), name], cwd=ROOT)
        for name in ("a", "b")
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    lines = [line for file in logfile.parent.iterdir() for line in file.read_text().splitlines()]
    said = Counter(tuple(line.partition(" x: ")[2].split()[:2]) for line in lines)
    assert said == {(name, f"{number:04d}"): 1 for name in ("a", "b") for number in range(1000)}
    assert all(line.endswith(" " + "y" * 200) for line in lines)


def test_a_log_file_that_cannot_be_rotated_grows(logfile: Path) -> None:
    set_up(logfile, logfile_max_bytes=1 << 16, logfile_keep=1)
    aside = logfile.with_name("log.1")
    aside.mkdir()
    (aside / "in the way").touch()
    for number in range(200):
        logger.info("%03d %s", number, "x" * 1000)
    assert len(logfile.read_text().splitlines()) == 200


def test_warnings_of_libraries_are_logged(logfile: Path) -> None:
    set_up(logfile)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("something is old", stacklevel=1)
    assert "something is old" in logfile.read_text()


LOGS = """
import logging, sys
from stream import logs
from stream.config import Settings
logs.set_up(Settings())
for number in range(int(sys.argv[1])):
    logging.getLogger("x").warning("line %d %s", number, "." * 100)
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("lines", [5_000, 30_000])
def test_a_blocked_standard_error_does_not_block_the_program(lines: int) -> None:
    """Neither a pipe that is full nor a terminal that was stopped with Ctrl-S."""
    program = subprocess.Popen(
        [sys.executable, "-c", LOGS, str(lines)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    with program:
        killer = threading.Timer(60, program.kill)
        killer.start()
        assert program.stdout.readline() == "done\n", "it waits for its reader"
        _, said = program.communicate("\n", timeout=240)
        killer.cancel()
    numbers = [int(number) for number in re.findall(r"line (\d+) ", said)]
    left_out = re.findall(r"\((\d+) more lines were dropped", said)
    assert numbers[:LINES_MAX] == list(range(min(lines, LINES_MAX)))
    assert len(numbers) + sum(map(int, left_out)) == lines


def test_lines_go_to_standard_error_while_the_disk_is_full() -> None:
    """Without tracebacks, and redacted."""
    program = """
import logging
from stream import logs
from stream.config import Settings
logs.set_up(Settings(logfile="/dev/full"))
for number in range(3):
    logging.getLogger("x").warning("line %d %s", number, "password=hunter2HUNTER2")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, *lines = done.stderr.splitlines()
    assert first.startswith("/dev/full cannot be written: No space left on device.")
    assert [line.partition(" ")[2] for line in lines] == [
        f"warning x: line {number} password=***" for number in range(3)
    ]


def test_a_log_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logfile: .* cannot be written"):
        logs.set_up(Settings(logfile=str(tmp_path / "none" / "log")))


SECRET = "hunter2HUNTER2hunter2"


@BOTH
@pytest.mark.parametrize(
    "said",
    [
        f"Authorization: Bearer {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f'{{"authorization": "bearer {SECRET}"}}',
        f"Authorization: Basic {SECRET}==",
        "authorization=hunter2HUNTER2hunter2",
        f'OAuth oauth_consumer_key="{SECRET}", oauth_token="{SECRET}", oauth_signature="{SECRET}"',
        f"GET /1.1/x?oauth_token={SECRET}&oauth_signature={SECRET}%3D",
        f"{{'bearer_token': '{SECRET}', 'consumer_secret': '{SECRET}'}}",
        f'{{"access_token":"{SECRET}"}}',
        f"password: {SECRET}",
        f"PGPASSWORD={SECRET}",
        f"api_key={SECRET} apikey = {SECRET}",
        f"postgresql://twitterstream:{SECRET}@/db?host=/run",
        f"proxy http://me:{SECRET}@127.0.0.1:8080 refused",
        f"{'A' * 21}MLheAAAAAAA0{SECRET}Bu5beeC5",
    ],
)
def test_credentials_are_redacted(logfile: Path, said: str, logformat: LogFormat) -> None:
    set_up(logfile, logformat)
    logger.info("in the words: %s", said)
    logger.info("in a field", extra={"headers": said, "nested": {"x": [said]}})
    try:
        raise ValueError(said)  # noqa: TRY301  # a trace is what is wanted
    except ValueError:
        logger.exception("in a trace")
    text = logfile.read_text()
    assert SECRET not in text
    assert "***" in text
    if logformat == "json":
        messages = [json.loads(line)["message"] for line in text.splitlines()]
        assert messages[1:] == ["in a field", "in a trace"]


@pytest.mark.parametrize(
    "said",
    [
        *("tokens: 400 phrases", "http://127.0.0.1:9001/2/tweets/search/stream"),
        *("the token was refused; wait until 12:00", "position 12 of 40", "Basic information"),
        "the bearer token of main was refused",
    ],
)
def test_other_text_is_not_redacted(said: str) -> None:
    assert logs.redact(said) == said


def test_redaction_of_a_long_line_is_quick() -> None:
    """Its time grows with the length only: a megabyte that nearly matches takes no minutes."""
    parts = "://x:|token |authorization |authorization:a |Bearer|token='|a"
    for part in ("A" * 15 + " ", *parts.split("|")):
        logs.redact(part * (1_000_000 // len(part)))
