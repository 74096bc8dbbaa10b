"""Check the address of a Redis: redis-py ignores some mistakes, and fails late at others."""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

_ENCODE = "percent-encode / ? # @ : % in the password"
_DATABASE = re.compile(r"(/\d{0,9})?")
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")  # files
_OPTIONS = {"redis": (), "rediss": _TLS, "unix": ("db",)}


def problem(url: str) -> str:
    """What is wrong, without the address itself, which has a password; empty: nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"has an invalid host or port; {_ENCODE}"
    if not url:
        return ""
    if port == 0:
        return "has the port 0; leave it out for 6379"
    return _problem_of_path(parts) or _problem_of_options(parts.scheme, parts.query)


def _problem_of_path(parts: SplitResult) -> str:
    if parts.fragment:
        return f"has a #; {_ENCODE}"
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            return "needs the path of a socket, such as unix:///run/redis/redis.sock"
    elif not _DATABASE.fullmatch(parts.path):
        return f"has a database that is not a number; {_ENCODE}"
    return ""


def _problem_of_options(scheme: str, query: str) -> str:
    allowed = _OPTIONS[scheme]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            shown = "" if "@" in query else f" {name!r}"  # may be a part of a password
            known = f"{scheme}:// takes only {', '.join(allowed)}" if allowed else "remove it"
            return f"has an unknown option{shown}: {known}, or {_ENCODE}"
        if not value or (name == "db" and not re.fullmatch(r"\d{1,9}", value)):
            return f"has an invalid value for its option {name}"
    return ""
