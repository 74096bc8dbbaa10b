"""The table of results: printed, and kept in results.md."""

import os
import platform
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

RESULTS = Path(__file__).with_name("results.md")


class Line(msgspec.Struct, frozen=True):
    """One figure, the median of its rounds; `of_ceiling` where it is a rate like the ceiling."""

    what: str
    values: Sequence[float]
    unit: str
    of_ceiling: Sequence[float] = ()
    aim: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)


class Section(msgspec.Struct, frozen=True):
    """Lines that belong together, and what has to be known to read them."""

    title: str
    text: str
    lines: Sequence[Line]


def markdown(sections: Sequence[Section], facts: Sequence[str]) -> str:
    """The whole of results.md."""
    parts = [
        "# Results of `make bench`",
        "Written by the benchmark itself. Machines differ, and a busy one differs from itself:"
        " compare figures of one run only. Each is the median of its rounds, with the lowest and"
        " the highest in brackets where there were several.",
        f"{os.cpu_count()} processors, Python {platform.python_version()}, {', '.join(facts)}.",
    ]
    for section in sections:
        parts += [f"## {section.title}", section.text, _table(section.lines)]
    return "\n\n".join(parts) + "\n"


def replace(section: Section) -> str:
    """Put a section that was measured alone in its place in results.md; its text."""
    text = f"## {section.title}\n\n{section.text}\n\n{_table(section.lines)}\n"
    parts = re.split(r"(?m)^(?=## )", RESULTS.read_text(encoding="utf-8"))
    kept = [part for part in parts if not part.startswith(f"## {section.title}\n")]
    RESULTS.write_text("\n".join(part.rstrip("\n") + "\n" for part in [*kept, text]), "utf-8")
    return text


def _table(lines: Sequence[Line]) -> str:
    columns = ["", "", "unit"]
    with_ceiling = any(line.of_ceiling for line in lines)
    with_aim = any(line.aim for line in lines)
    columns += ["of the ceiling"] * with_ceiling + ["aim"] * with_aim
    rows = [columns, ["---", "---:", "---", *["---:"] * with_ceiling, *["---"] * with_aim]]
    for line in lines:
        row = [line.what, _range(line.values), line.unit]
        if with_ceiling:
            row.append(f"{statistics.median(line.of_ceiling):.2f}" if line.of_ceiling else "")
        rows.append([*row, line.aim] if with_aim else row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _range(values: Sequence[float]) -> str:
    middle = _number(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({_number(min(values))} – {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"
