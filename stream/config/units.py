"""Sizes and durations as people write them: `10 GB`, `500 MiB`, `90 s`, `2 h`."""

import re
from typing import Literal

Unit = Literal["bytes", "seconds", "hours"]

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_SIZES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
_SECONDS = {"MS": 0.001, "S": 1, "MIN": 60, "H": 3600, "D": 86400}
_FACTORS: dict[Unit, dict[str, float]] = {
    "bytes": {**_SIZES},
    "seconds": {**_SECONDS},
    "hours": {name: factor / 3600 for name, factor in _SECONDS.items()},
}
EXAMPLES: dict[Unit, str] = {"bytes": "10 GB", "seconds": "30 s", "hours": "2 d"}


def number(text: str, unit: Unit) -> float | int | None:
    """The quantity in its base unit; None when the text is none, or of another dimension."""
    match = _QUANTITY.fullmatch(text.strip())
    factor = _FACTORS[unit].get(match[2].upper()) if match else None
    if match is None or factor is None:
        return None
    value = float(match[1]) * factor
    return round(value) if unit == "bytes" else value
