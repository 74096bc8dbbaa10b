"""Templates escape what they show, and what has backticks around it in a message is code there."""

import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from web.problem import Problem
from web.templating import Pages, readable, size, with_code

TEMPLATES = sorted((Path(__file__).parents[2] / "web" / "templates").glob("*.html"))
# Sentences that API, command line and alerts have, too.
_SENTENCE = re.compile(
    r"\{\{(?! ['\"])[^}]*(?:\.(?:message|reason|remedy|sentence|result)\b|(?:event|alert)\.text"
    r"|(?:\{ |line\.|each\.)(?:problem|sentence)\b(?!\.))[^}]*\}\}"
)


def test_what_has_backticks_around_it_becomes_code_and_stays_escaped() -> None:
    found = with_code("Run `archive <restore>`, then `see` & wait; it`s odd.")
    assert found == (
        "Run <code>archive &lt;restore&gt;</code>, then <code>see</code> &amp; wait; it`s odd."
    )


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_sentence_reaches_a_page_with_its_backticks(path: Path) -> None:
    for found in _SENTENCE.finditer(path.read_text()):
        assert "with_code" in found[0], found[0]


def test_the_page_of_an_error_has_no_backticks() -> None:
    problem = Problem("conflict", "An administrator can restore the day: `archive restore`.")
    page = Pages("").text("problem_part.html", problem=problem)
    assert "restore the day: <code>archive restore</code>." in page


@pytest.mark.parametrize(
    ("bytes_", "words"),
    [(None, ""), (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (11_300, "11.3 kB")],
)
def test_sizes_have_the_unit_that_fits(bytes_: int | None, words: str) -> None:
    assert size(bytes_) == words


def test_a_time_can_be_read_without_scripts() -> None:
    at = datetime(2026, 3, 14, 12, 0, 5, tzinfo=UTC)
    assert readable(at, ZoneInfo("Asia/Kolkata")) == "2026-03-14 17:30:05 (Asia/Kolkata)"
    for path in TEMPLATES:
        assert "moment }}</time>" not in path.read_text(), path.name
