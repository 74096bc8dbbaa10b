"""The texts of alerts: figures and names for a sentence, and the removal of credentials."""

import contextlib
import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from monitor.alert.condition import Condition
from stream.config import Settings
from stream.logs import redact
from stream.text import plain

SECONDS_BELOW = 10  # minutes; shorter durations include seconds
NAME_MAX = 60  # characters of a track's value in a sentence
HIDDEN = "***"
# Hiding shorter ones would only make sentences unreadable.
PASSWORD_MIN = 5  # characters
TOKEN_MIN = 8
# Words such as `alerts`, host names and IP addresses are not tokens.
_WORD = re.compile(r"[a-z]{1,15}|[0-9.]{1,15}|(?:[a-z0-9-]+\.)+[a-z]{2,10}", re.ASCII)


def clock(at: float, now: float) -> str:
    """A time in UTC, with its date unless that is today. Both in seconds since 1970."""
    today = time.strftime("%F", time.gmtime(now))
    day, minute = time.strftime("%F %H:%M", time.gmtime(at)).split()
    return f"{minute} UTC" if day == today else f"{day} {minute} UTC"


def lasting(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60 % 60, whole // 3600 % 24, whole // 86_400
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes < SECONDS_BELOW and whole % 60:
        return f"{minutes} min {whole % 60} s"
    return f"{minutes} min"


def size(number: float) -> str:
    """Bytes in a suitable unit."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def usual(per_hour: float) -> str:
    """A rate per hour, or per day if it is less than one an hour."""
    if per_hour >= 1:
        return f"{per_hour:,.0f} an hour"
    return f"{per_hour * 24:,.1f} a day".replace(".0 ", " ")


def short(text: str) -> str:
    """User input as part of a sentence: one line, not too long."""
    return plain(text, NAME_MAX)


def listed(names: list[str]) -> str:
    """Join names to a list in a sentence: a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


class Redactor:
    """Hides the credentials of the settings, and whatever looks like one."""

    def __init__(self, settings: Settings) -> None:
        alerts = settings.alerts
        secrets = set(_passwords(settings.database))
        for url in (alerts.heartbeat_url, *alerts.channels, *alerts.fallback):
            secrets |= {*_passwords(url), *_tokens(url)}
        # The longest first: one may be a part of another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return redact(text)

    def condition(self, condition: Condition) -> Condition:
        """A condition without credentials in its texts, safe to send and store."""
        return msgspec.structs.replace(
            condition,
            subject=self(condition.subject),
            text=self(condition.text),
            remedy=self(condition.remedy),
        )


def _passwords(url: str) -> Iterator[str]:
    """Passwords, encoded and decoded; also those among the parameters."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        found = [] if parts.password in (None, parts.username) else [parts.password or ""]
        found += [value for name, value in parse_qsl(parts.query) if "pass" in name.lower()]
        for password in found:
            for form in {password, unquote(password)}:
                if len(form) >= PASSWORD_MIN:
                    yield form


def _tokens(url: str) -> Iterator[str]:
    """In a channel's address any part may be a token, sometimes even the host."""
    rest = url.partition("://")[2]
    if len(rest) >= TOKEN_MIN:
        yield rest
    for part in re.split(r"[/:@?&=#]+", rest):
        if len(part) >= TOKEN_MIN and not _WORD.fullmatch(part):
            yield part
            yield unquote(part)
