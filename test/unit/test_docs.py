"""Documents name files, tests, settings, alerts, tables, calls and commands: all of them exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
import yaml

from monitor.alert.registry import RULES
from stream.config import Settings
from twitterstream import cli
from web.app import ROUTES

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "deploy/README.md",
    ROOT / "deploy/cluster/README.md",
    ROOT / "examples/README.md",
)
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PAGES}
CURRENT = sorted(TEXTS.keys() - {"CHANGELOG.md"})  # the changelog also names what is no more
FOLDERS = "stream|monitor|web|simulator|sql|test|deploy|docs|pgbench|examples|.ci"
SEARCHED = (
    "dedup", "idempotent", "backpressure", "rate limit", "audit log", "upsert", "fan-out",
    "exactly once", "dead letter", "watermark", "checkpoint", "WAL", "consumer offset",
    "backfill", "tombstone",
)  # fmt: skip


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table whose first column has this heading, without their pipes."""
    rows = TEXTS[page].partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    assert rows, f"{page} has no table of {heading}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def _schema() -> str:
    return "".join(
        path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "sql").rglob("*.sql"))
        if path.parent.name != "migrations"
    )


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", CURRENT)
def test_each_file_and_test_that_is_named_exists(page: str) -> None:
    """In backquotes, from the project's folder; ALL CAPITALS stand for a name of the reader's."""
    missing = []
    for name in quoted(TEXTS[page]):
        path, _, function = name.partition("::")
        if not re.fullmatch(rf"({FOLDERS})/[\w./@-]*", path) or re.search(r"/[A-Z_]{2,}[/.]", path):
            continue
        found = ROOT / path
        if not found.exists() or (
            function and f"def {function}(" not in found.read_text(encoding="utf-8")
        ):
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_the_target_of_each_link_and_picture_exists(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in map(anchor, headings), target


def test_each_promise_has_tests_that_prove_it() -> None:
    rows = TEXTS["README.md"].partition("| | promise |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 12))
    assert all("`test/" in row for row in rows)


@pytest.mark.parametrize("page", CURRENT)
def test_each_table_and_view_that_is_named_exists(page: str) -> None:
    made = set(re.findall(r"^CREATE (?:TABLE|VIEW) (\w+)", _schema(), re.MULTILINE))
    named = re.findall(r"\b(?:tables?|views?) ((?:(?:, | and )?`\w+`)+)", TEXTS[page])
    assert {name for names in named for name in quoted(names)} <= made


def test_each_alert_is_in_the_table_of_alerts() -> None:
    rows = table("docs/operations.md", "alert")
    assert sorted(name for row in rows for name in quoted(row[0])) == sorted(RULES)


def test_each_table_and_its_bound_are_those_of_the_schema() -> None:
    bounds = dict(re.findall(r"COMMENT ON TABLE (\w+) IS\s+'(?:Bound: )?(.+)';", _schema()))
    assert len(bounds) > 30
    rows = table("docs/operations.md", "table")
    assert {row[0].strip("`"): row[1] for row in rows} == bounds


def _settings(of: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(of):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _settings(field.type, f"{field.name}.")
        else:
            yield f"{prefix}{field.name}"


@pytest.mark.parametrize("page", CURRENT)
def test_each_setting_that_is_named_exists(page: str) -> None:
    known = set(_settings(Settings))
    sections = {name.partition(".")[0] for name in known if "." in name}
    found = re.findall(rf"`((?:{'|'.join(sections)})\.\w+)", TEXTS[page])
    assert set(found) <= known | {"web.app", "monitor.alert"}


def test_each_call_of_the_api_is_in_its_tables() -> None:
    text = TEXTS["docs/api.md"]
    calls = {
        (route.method, re.sub(r":[^}]*", "", route.path))
        for route in ROUTES
        if route.path.startswith(("/api/v1", "/stream/")) or route.path == "/tweets"
    }
    named = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)", text)) | {
        (method, "/api/v1/tracks/{id}") for method in re.findall(r"`(PATCH|DELETE)`", text)
    }
    assert named == calls


def _commands(text: str) -> Iterator[str]:
    """Lines of code that call the program, without what stands before and after."""
    for line in re.findall(r"^(?:    |).*\./twitterstream\.py .*$", text, re.MULTILINE):
        if line.startswith("    "):
            command = line.partition("./twitterstream.py ")[2]
            yield re.split(r"\s+#\s|\s\|\s", command)[0]


@pytest.mark.parametrize("page", CURRENT)
def test_each_command_and_option_that_is_shown_exists(page: str, tmp_path: Path) -> None:
    """Parsed as it would be; files that it reads are given by name only."""
    for line in _commands(TEXTS[page]):
        command: click.Command = cli
        words = ["--" if word == "…" else word for word in shlex.split(line)]
        while isinstance(command, click.Group):
            name = words.pop(0)
            found = command.get_command(click.Context(command), name)
            assert found is not None, line
            command = found
        known = {name for option in command.params for name in option.opts}
        if command.context_settings.get("ignore_unknown_options"):
            continue
        assert {word for word in words if word.startswith("--") and word != "--"} <= known, line


def test_each_example_is_listed_short_and_tested() -> None:
    examples = {
        path for path in (ROOT / "examples").iterdir() if path.suffix in {".py", ".sql", ".ipynb"}
    }
    listed = {name for row in table("examples/README.md", "example") for name in quoted(row[0])}
    assert listed == {str(path.relative_to(ROOT)) for path in examples}
    tests = "".join(path.read_text() for path in ROOT.glob("test/*/**/test_*.py"))
    for path in examples:
        assert path.name in tests
        assert path.suffix == ".ipynb" or len(path.read_text().splitlines()) < 150, path.name


@pytest.mark.parametrize("page", CURRENT)
def test_each_make_target_that_is_shown_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"(?:^    |`)(?:sudo )?make (\w+)", TEXTS[page], re.MULTILINE):
        assert f"\n{name}:" in makefile, name


@pytest.mark.parametrize("term", SEARCHED)
def test_the_glossary_has_the_common_term(term: str) -> None:
    assert re.search(rf"\b{re.escape(term)}", TEXTS["GLOSSARY.md"], re.IGNORECASE)


def test_the_hooks_before_a_commit_are_the_checks_of_make_test() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    [local] = hooks["repos"]
    assert local["repo"] == "local"
    assert all(hook["language"] == "system" for hook in local["hooks"])
    entries = [hook["entry"] for hook in local["hooks"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ntest:")[2].partition("\n\n")[0].splitlines()[1:]
    checks = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe]
    assert entries == [check for check in checks if not check.startswith(".venv/bin/pytest")]
