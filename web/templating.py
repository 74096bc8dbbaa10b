"""Jinja templates with escaping, addresses below the base path, and filters."""

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stream.text import DURATION_UNITS, counted, format_size
from web.authors import shown_author, top_author
from web.local_time import local_text

_CODE = re.compile(r"`([^`]+)`")
HERE = Path(__file__).parent
VENDOR = {  # installed by npm, under the names that pages use
    "htmx.min.js": HERE / "node_modules/htmx.org/dist/htmx.min.js",
    "uPlot.iife.min.js": HERE / "node_modules/uplot/dist/uPlot.iife.min.js",
    "uPlot.min.css": HERE / "node_modules/uplot/dist/uPlot.min.css",
}


def missing() -> str:
    """How to install the files of npm; empty when they are installed."""
    if all(path.exists() for path in VENDOR.values()):
        return ""
    return f"Files for browsers are not installed. Run:  sh {HERE / 'npm.sh'}"


class Pages:
    """The templates, and the functions they use."""

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
        self.environment.globals.update(url=self.url, asset=self.asset, shown_author=shown_author)
        self.environment.filters.update(number=number, ago=ago, size=size, moment=moment)
        self.environment.filters.update(local=local_text, top_author=top_author)
        self.environment.filters.update(counted=counted, readable=readable, with_code=with_code)

    def url(self, path: str, **query: object) -> str:
        """An address of this site, below the base path."""
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


def with_code(text: object) -> Markup:
    """A message as HTML, in which what has backticks around it is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def number(value: float | None) -> str:
    """1234567 → 1,234,567; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.1f}"


def size(value: float | None) -> str:
    """Bytes, in the largest unit that gives at least 1; nothing for None."""
    return "" if value is None else format_size(value)


def moment(value: datetime | None) -> str:
    """Format a time for `<time datetime>`; browsers show it in their own time zone."""
    return "" if value is None else value.astimezone(UTC).isoformat(timespec="seconds")


def readable(value: datetime, zone: ZoneInfo) -> str:
    """The text of `<time>` where browsers run no scripts: 2026-03-14 12:00 (Europe/Berlin)."""
    return f"{local_text(value, zone).replace('T', ' ')} ({zone.key})"


def ago(value: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in the largest unit; in the future: `in …`."""
    if value is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - value).total_seconds()
    words = "now"
    for unit, length in DURATION_UNITS:
        if (count := int(abs(seconds) // length)) > 0:
            words = f"{count} {unit}{'s' if count > 1 else ''}"
            break
    if words == "now":
        return "now"
    return f"{words} ago" if seconds > 0 else f"in {words}"
