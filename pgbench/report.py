"""Formats results as Markdown tables and keeps them in results.md."""

import os
import platform
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

RESULTS = Path(__file__).with_name("results.md")


class Line(msgspec.Struct, frozen=True):
    """One result, the median of its rounds; `of_ceiling` where it is comparable to the ceiling."""

    what: str
    values: Sequence[float]
    unit: str
    of_ceiling: Sequence[float] = ()
    aim: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)


class Section(msgspec.Struct, frozen=True):
    """A table of results and its explanation."""

    title: str
    text: str
    lines: Sequence[Line]


def markdown(sections: Sequence[Section], facts: Sequence[str]) -> str:
    """The text of results.md."""
    parts = [
        "# Results of `make bench`",
        "Written by the benchmark. Results depend on the machine and its load: compare only figures"
        " of one run. Each is the median of its rounds; minimum and maximum are in brackets.",
        f"{os.cpu_count()} processors, Python {platform.python_version()}, {', '.join(facts)}.",
    ]
    for section in sections:
        parts += [f"## {section.title}", section.text, _table(section.lines)]
    return "\n\n".join(parts) + "\n"


def replace(section: Section) -> str:
    """Replace one section of results.md, or append a new one, and return its text."""
    heading = f"## {section.title}\n"
    text = f"{heading}\n{section.text}\n\n{_table(section.lines)}\n"
    parts = re.split(r"(?m)^(?=## )", RESULTS.read_text(encoding="utf-8"))
    renewed = [text if part.startswith(heading) else part for part in parts]
    if text not in renewed:
        renewed.append(text)
    RESULTS.write_text("\n".join(part.rstrip("\n") + "\n" for part in renewed), "utf-8")
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
