"""The README is the product's face: what it names exists."""

import re
from pathlib import Path

import pytest

from twitterstream import cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test/[\w/.:]+)`", README))))
def test_each_test_that_proves_a_promise_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert (ROOT / path).exists()
    assert not function or f"def {function}(" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_each_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`{name}[` ]", README)


def test_each_runtime_dependency_has_its_line_in_the_table() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", pyproject, re.DOTALL | re.MULTILINE)
    assert listed is not None
    names = re.findall(r'^  "([\w-]+)', listed[1], re.MULTILINE)
    assert len(names) > 10
    missing = [name for name in names if f"| {name} |" not in README]
    assert not missing
