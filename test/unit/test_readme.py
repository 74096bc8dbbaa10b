"""The README is the product's face: what it names exists."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from twitterstream import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted({*cli.commands, *COMMANDS}))
def test_each_command_is_in_the_table_of_commands_but_for_hidden_ones(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.hidden or re.search(rf"^\|.*`{name}[` ].*\|", OPERATIONS, re.MULTILINE)


def test_the_table_of_dependencies_is_the_one_of_pyproject() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", pyproject, re.DOTALL | re.MULTILINE)
    assert listed is not None
    names = re.findall(r'^  "([\w-]+)', listed[1], re.MULTILINE)
    assert len(names) > 10
    table = README.partition("| dependency |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| ([\w-]+) \|", table, re.MULTILINE)) == sorted(names)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_each_dependency_is_pinned(lock: str) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [re.split(r"[^\w.-]", each)[0] for each in pyproject["project"]["dependencies"]]
    assert {each.lower() for each in wanted} <= {*pinned}
