"""No credential in what is told, logged or stored, wherever it may come from."""

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from monitor.alert.condition import Condition
from stream.config import Settings
from stream.logs import redact

HIDDEN = "***"
# To hide less than so many characters would only make sentences unreadable.
SHORTEST_PASSWORD = 5
SHORTEST_TOKEN = 8
# Words such as `alerts`, the names of hosts and their addresses are no tokens.
_WORD = re.compile(r"[a-z]{1,15}|[0-9.]{1,15}|(?:[a-z0-9-]+\.)+[a-z]{2,10}", re.ASCII)


class Safe:
    """Takes out what the settings hold of credentials, and whatever looks like one."""

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
        """The same, fit to be told and stored."""
        return msgspec.structs.replace(
            condition,
            subject=self(condition.subject),
            text=self(condition.text),
            remedy=self(condition.remedy),
        )


def _passwords(url: str) -> Iterator[str]:
    """As it stands there and as it is meant; also those that stand among the parameters."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        found = [] if parts.password in (None, parts.username) else [parts.password or ""]
        found += [value for name, value in parse_qsl(parts.query) if "pass" in name.lower()]
        for password in found:
            for form in {password, unquote(password)}:
                if len(form) >= SHORTEST_PASSWORD:
                    yield form


def _tokens(url: str) -> Iterator[str]:
    """In the address of a channel any part but the host may be one; some have theirs there, too."""
    rest = url.partition("://")[2]
    if len(rest) >= SHORTEST_TOKEN:
        yield rest
    for part in re.split(r"[/:@?&=#]+", rest):
        if len(part) >= SHORTEST_TOKEN and not _WORD.fullmatch(part):
            yield part
            yield unquote(part)
