"""Logging: lines for people, objects for programs, and credentials in neither."""

import json
import logging
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from stream import logs
from stream.config import Settings
from stream.errors import ConfigError

logger = logging.getLogger("stream.example")


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


def set_up(logfile: Path, logformat: Literal["text", "json"] = "text") -> None:
    # pytest's own handlers would be closed by what set_up replaces.
    logging.getLogger().handlers.clear()
    logs.set_up(Settings(logfile=str(logfile), logformat=logformat))


def test_a_line_for_people_has_time_level_place_words_and_fields(logfile: Path) -> None:
    set_up(logfile)
    logger.info("batch stored", extra={"tweets": 200, "why": "it is time", "name_": ""})
    [line] = logfile.read_text().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info stream\.example: batch stored"
        r' tweets=200 why="it is time" name_=""',
        line,
    )


def test_a_line_for_programs_is_an_object(logfile: Path) -> None:
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


@pytest.mark.parametrize("logformat", ["text", "json"])
def test_an_exception_is_written_with_its_trace(
    logfile: Path, logformat: Literal["text", "json"]
) -> None:
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


def test_what_comes_from_outside_cannot_forge_a_line(logfile: Path) -> None:
    set_up(logfile)
    logger.info("said: %s", "x\n2026 error\r\x1b[2J\u2028", extra={"more": "a\nb"})
    [line] = logfile.read_text().splitlines()
    assert r"x\n2026 error\r\x1b[2J\u2028" in line
    assert r'more="a\nb"' in line


@pytest.mark.parametrize("logformat", ["text", "json"])
def test_a_lone_surrogate_is_written_as_its_number(
    logfile: Path, logformat: Literal["text", "json"]
) -> None:
    set_up(logfile, logformat)
    logger.info("file \ud800", extra={"name_": "\ud801", "keys": {(1, 2): "\ud802"}})
    text = logfile.read_text()
    assert r"\ud800" in text
    assert r"\ud801" in text


def test_the_level_is_obeyed(logfile: Path) -> None:
    logging.getLogger().handlers.clear()
    logs.set_up(Settings(logfile=str(logfile), loglevel="warning"))
    logger.info("quiet")
    logger.warning("loud")
    assert "quiet" not in logfile.read_text()
    assert "loud" in logfile.read_text()


def test_a_log_that_was_moved_away_is_begun_anew(logfile: Path) -> None:
    set_up(logfile)
    logger.info("one")
    logfile.rename(logfile.with_suffix(".1"))
    logger.info("two")
    assert "two" in logfile.read_text()


def test_a_full_log_is_set_aside_and_so_many_older_ones_stay(logfile: Path) -> None:
    logging.getLogger().handlers.clear()
    logs.set_up(Settings(logfile=str(logfile), logfile_max_bytes=1 << 16, logfile_keep=3))
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


def test_two_processes_on_one_log_lose_no_line_and_tear_none(logfile: Path) -> None:
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


def test_a_log_that_cannot_be_set_aside_is_written_on(logfile: Path) -> None:
    logging.getLogger().handlers.clear()
    logs.set_up(Settings(logfile=str(logfile), logfile_max_bytes=1 << 16, logfile_keep=1))
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


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logfile: .* cannot be written"):
        logs.set_up(Settings(logfile=str(tmp_path / "none" / "log")))


ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2HUNTER2hunter2"


@pytest.mark.parametrize("logformat", ["text", "json"])
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
def test_nothing_that_looks_like_a_credential_is_written(
    logfile: Path, said: str, logformat: Literal["text", "json"]
) -> None:
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
        assert [json.loads(line)["message"] for line in text.splitlines()][1:] == [
            "in a field",
            "in a trace",
        ]


@pytest.mark.parametrize(
    "said",
    [
        "tokens: 400 phrases",
        "http://127.0.0.1:9001/2/tweets/search/stream",
        "the token was refused; wait until 12:00",
        "position 12 of 40",
        "Basic information",
        "the bearer token of main was refused",
    ],
)
def test_what_is_no_credential_stays(said: str) -> None:
    assert logs.redact(said) == said


def test_redaction_of_a_long_line_is_quick() -> None:
    """Its time grows with the length only: a megabyte that nearly matches takes no minutes."""
    for part in (
        "A" * 15 + " ",
        "a",
        "://x:",
        "token ",
        "authorization ",
        "authorization:a ",
        "Bearer",
        "token='",
    ):
        logs.redact(part * (1_000_000 // len(part)))
