"""Templates: everything is escaped, and addresses are written below the base path."""

import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
VENDOR = {  # what npm installs, under the names that the pages use
    "htmx.min.js": HERE / "node_modules/htmx.org/dist/htmx.min.js",
    "uPlot.iife.min.js": HERE / "node_modules/uplot/dist/uPlot.iife.min.js",
    "uPlot.min.css": HERE / "node_modules/uplot/dist/uPlot.min.css",
}


def missing() -> str:
    """What to do when the files of npm are not there; empty when they are."""
    if all(path.exists() for path in VENDOR.values()):
        return ""
    return f"What browsers load is not installed: run  sh {HERE / 'npm.sh'}"


class Pages:
    """The templates, and how addresses are written in them."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self.environment.globals.update(url=self.url, asset=self.asset)
        self.environment.filters.update(number=number, ago=ago, size=size, moment=moment)

    def url(self, path: str, **query: object) -> str:
        """An address of ours, below the base path."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return self.base + path + (f"?{urlencode(given)}" if given else "")

    def asset(self, name: str) -> str:
        """A file of static/ or of npm; its address changes with its content."""
        return self.url(f"/static/{name}", v=_version(name))

    def text(self, template: str, **values: object) -> str:
        return self.environment.get_template(template).render(**values)


@lru_cache(maxsize=200)
def _version(name: str) -> str:
    path = VENDOR.get(name.removeprefix("vendor/"), HERE / "static" / name)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def number(value: float | None) -> str:
    """1234567 → 1,234,567; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.1f}"


def size(value: float | None) -> str:
    """Bytes, in the largest unit that gives at least 1."""
    if value is None:
        return ""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def moment(value: datetime | None) -> str:
    """For the attribute `datetime` of `<time>`, which the browser shows in its own time zone."""
    return "" if value is None else value.astimezone(UTC).isoformat(timespec="seconds")


def ago(value: datetime | None, now: datetime | None = None) -> str:
    """How long it is past, in the largest unit; in the future: `in …`."""
    if value is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - value).total_seconds()
    words = "now"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if (count := int(abs(seconds) // length)) > 0:
            words = f"{count} {unit}{'s' if count > 1 else ''}"
            break
    if words == "now":
        return "now"
    return f"{words} ago" if seconds > 0 else f"in {words}"
