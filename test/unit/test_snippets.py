"""What a reader typed is one text in the lines of every language, and never becomes code."""

import ast
import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given

import power_query
from stream.tweet import TrackId, UserId
from typed_texts import TEXTS, TYPED
from web.person import Person
from web.queries.tweet_filter import TweetQuery
from web.snippets import api_lines, quoting
from web.snippets.snippet import snippets

BEGIN = datetime(2026, 3, 14, 12, 0, 0, 250_000, tzinfo=UTC)


def typed(words: str) -> TweetQuery:
    person = Person(UserId(1), "ana", "user", frozenset())
    return TweetQuery(person=person, tracks=[TrackId(1)], words=words, begin=BEGIN)


def r_value(literal: str) -> str:
    """A text of R, by its manual; refuses what R refuses."""
    assert literal[0] == literal[-1] == '"'
    plain = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}
    value, rest = "", literal[1:-1]
    while rest:
        if rest[0] == "\\":
            found = re.match(r"\\(?:u([0-9A-F]{4})|U([0-9A-F]{8})|(.))", rest)
            assert found is not None
            value += plain[found[3]] if found[3] else chr(int(found[1] or found[2], 16))
            rest = rest[found.end() :]
        else:
            assert rest[0] not in '"\n'
            value, rest = value + rest[0], rest[1:]
    return value


@given(TYPED)
def test_every_language_reads_the_text_as_it_was_typed(text: str) -> None:
    """SQL: test/flow/web/test_use_data.py, by Postgres."""
    assert shlex.split(quoting.shell(text)) == [text]
    assert ast.literal_eval(quoting.python(text)) == text
    assert r_value(quoting.r(text)) == text


@given(TYPED)
def test_invisible_characters_are_written_as_escapes(text: str) -> None:
    for quote in (
        quoting.python,
        quoting.r,
        quoting.power_query,
        quoting.sql,
        quoting.grafana_sql,
    ):
        assert quote(text).isprintable(), quote


@given(TYPED)
def test_grafana_finds_nothing_to_replace(text: str) -> None:
    """It replaces macros and variables before Postgres sees the statement."""
    assert "$" not in quoting.grafana_sql(text)
    assert "[[" not in quoting.grafana_sql(text)


@given(TYPED)
def test_the_address_of_pandas_has_the_parameters(text: str) -> None:
    """The selection of the lines is read back from the code."""
    selection = api_lines.parameters(typed(text))
    module = ast.parse(api_lines.pandas("http://host", selection))
    [written] = [
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
    ]
    assert written == [*selection, ("format", "csv")]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_reads_each_text_as_it_was_typed(shell: str) -> None:
    script = f"printf '%s\\0' {' '.join(map(quoting.shell, TEXTS))}"
    done = subprocess.run([shell, "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == list(TEXTS)


def test_r_reads_each_text_as_it_was_typed(tmp_path: Path) -> None:
    """Only where R is installed: too large for continuous integration."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not installed")
    script = tmp_path / "texts.R"
    lines = f"for (text in c({', '.join(map(quoting.r, TEXTS))})) cat(text, '\\x01', sep = '')"
    script.write_text(lines, encoding="utf-8")
    done = subprocess.run(
        [rscript, "--encoding=UTF-8", script],
        env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().split("\x01")[:-1] == list(TEXTS)


def test_power_query_reads_each_text_as_it_was_typed() -> None:
    """By Microsoft's parser of the language. Excel and Power BI are not run."""
    lines = [
        next(each.text for each in snippets(typed(text), "http://host") if each.name == "excel")
        for text in TEXTS
    ]
    found = power_query.literals(lines)
    for text, literals in zip(TEXTS, found, strict=True):
        assert text in literals
        assert len(literals) == len(found[0]), "a text became code"


def test_no_lines_have_a_password() -> None:
    for each in snippets(typed("snow"), "http://host"):
        assert "Bearer" not in each.text or re.search(
            r'Bearer (?:\$TWEETS_TOKEN"|" [+&] (?:os\.environ\["TWEETS_TOKEN"\]|Token))|'
            r'"Bearer", Sys\.getenv\("TWEETS_TOKEN"\)',
            each.text,
        ), each.name
