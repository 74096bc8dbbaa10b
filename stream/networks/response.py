"""A response that is not a stream: when to retry, and whether the network itself sent it.

Proxies, firewalls and login pages may answer instead of a network. Such errors can pass, so they
never fail a source; only the network's own refusal does.
"""

import html
import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from stream.errors import ConnectError

SHOWN_BYTES = 1024  # bytes of an error's body that are shown
QUOTED_LENGTH = 200  # characters of another server's text
CLOCK_SKEW_MAX = 60.0  # seconds; a greater difference is reported as a wrong clock
RETRY_AFTER_MAX = 3600.0  # seconds; longer requests to wait are cut to this
# Dates outside of these are ignored: that server's clock is wrong.
DATE_MIN, DATE_MAX = 946_684_800.0, 4_102_444_800.0  # 2000 and 2100, in seconds since 1970

_PAGE = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*<")  # also in UTF-16
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


class Response(msgspec.Struct, frozen=True):
    """A complete response, or the beginning of an error response."""

    status: int
    headers: Mapping[str, str]  # keys in lower case
    body: bytes
    base: str = "the server"  # the address of the request
    proxy: str = ""  # the proxy in between, if any

    def text(self) -> str:
        """The body as one line of text."""
        return " ".join(self.body[:SHOWN_BYTES].decode("utf-8", "replace").split())

    @property
    def via(self) -> str:
        """The proxy in brackets; empty without one."""
        return f" (through the proxy {self.proxy})" if self.proxy else ""

    @property
    def is_page(self) -> bool:
        """Whether it is a web page."""
        return is_page(self.headers, self.body)

    def skew(self, now: float) -> float | None:
        """Seconds by which our clock is ahead of the server's; None without a Date header."""
        date = _date(self.headers.get("date", ""))
        return None if date is None else now - date

    def retry_at(self, now: float) -> float | None:
        """Time of the retry that the server asks for, by our own clock; None if it names none."""
        asked = self.headers.get("retry-after", "")
        resets = [self.headers.get(name, "") for name in ("x-rate-limit-reset", "ratelimit-reset")]
        ahead = self.skew(now) or 0.0
        times = [_date(asked), *map(_number, resets)]
        moments = [at - now + ahead for at in times if at is not None]
        waits = [wait for wait in (_number(asked), *moments) if wait is not None and wait > 0]
        return now + min(max(waits), RETRY_AFTER_MAX) if waits else None


def is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a response is HTML, by its type or its first bytes."""
    return "html" in headers.get("content-type", "").lower() or _PAGE.match(body) is not None


def foreign_response(
    response: Response, now: float, expected: str = "the network's answer"
) -> ConnectError:
    """The error for a response that is not the network's; it is retried with back-off."""
    if response.status == 407:
        name = response.proxy or "in between"
        text = f"the proxy {name} asks for a user name and password (407)"
        return ConnectError(text, "http", response.retry_at(now), "proxy", 407)
    target = response.headers.get("location", "")
    if 300 <= response.status < 400 and target:
        what = f", a redirect to {target[:QUOTED_LENGTH]}; it was not followed"
    elif response.is_page:
        what = f" with a web page instead of {expected}{_title(response)}"
    elif response.body.strip():
        what = f", but not in the network's own format: {response.text()[:QUOTED_LENGTH]}"
    else:
        what = " without a reason"
    text = f"{response.base}{response.via} answered {response.status}{what}"
    return ConnectError(text, "http", response.retry_at(now), "foreign", response.status)


def wrong_clock(response: Response, now: float) -> str | None:
    """How wrong this machine's clock is by the server's; None when it is about right."""
    skew = response.skew(now)
    if skew is None or abs(skew) <= CLOCK_SKEW_MAX:
        return None
    side = "ahead" if skew > 0 else "behind"
    return f"the clock of this machine is {abs(skew):.0f} s {side}"


def _title(response: Response) -> str:
    found = _TITLE.search(response.body[:SHOWN_BYTES].decode("utf-8", "replace"))
    title = " ".join(html.unescape(found[1]).split())[:QUOTED_LENGTH] if found else ""
    return f" (“{title}”)" if title else ""


def _date(text: str) -> float | None:
    """The time in a header, in seconds since 1970; None when invalid or implausible."""
    try:
        date = parsedate_to_datetime(text)
        at = date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # it raises each of them
        return None
    return at if DATE_MIN <= at < DATE_MAX else None


def _number(text: str) -> float | None:
    """The number in a header; None when invalid."""
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
