"""Names: no two classes of one package share one, and a constant says of what it is the limit."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("stream", "monitor", "web", "simulator", "pgbench")
VAGUE = re.compile(
    r"_*((MOST|LONGEST|PATIENCE|BREATH|SHORTEST)(_\w+)?|\w+_(MOST|LONGEST|PATIENCE|BREATH|SHORTEST)"
    r"|EVERY|LIMIT|LOOK|SLACK|FEW|SOME|AT_ONCE)"
)


def _modules(part: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / part).rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path.relative_to(ROOT), ast.parse(path.read_text())


@pytest.mark.parametrize("part", PARTS)
def test_no_two_classes_of_one_package_share_a_name(part: str) -> None:
    places = defaultdict(list)
    for path, module in _modules(part):
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                places[path.parent, node.name.lstrip("_")].append(f"{path}:{node.lineno}")
    assert [found for found in places.values() if len(found) > 1] == []


@pytest.mark.parametrize("part", PARTS)
def test_a_constant_says_of_what(part: str) -> None:
    assert [
        f"{path}:{node.lineno}: {node.id}"
        for path, module in _modules(part)
        for node in ast.walk(module)
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
        and VAGUE.fullmatch(node.id)
    ] == []
