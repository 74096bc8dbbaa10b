"""The address of the database: read strictly, so that no part of a password passes for another."""

import re
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from stream.errors import ConfigError

_TEXT = r"(?:[^/?#@:,%\s\x00-\x1f]|%(?!00)[0-9A-Fa-f]{2})"
_PASSWORD = r"(?:[^/?#@%\x00-\x1f]|%(?!00)[0-9A-Fa-f]{2})"  # noqa: S105 - a pattern
_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|{_TEXT}*)(?::\d{{1,5}})?"
_URL = re.compile(
    rf"postgres(?:ql)?://(?:(?P<user>{_TEXT}*)(?::(?P<password>{_PASSWORD}*))?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?:/(?P<name>{_TEXT}*))?"
    # An @ here would be that of the password, of which a ? was taken for this one.
    r"(?:\?(?P<parameters>(?:[a-z_]+=[^@?#&\x00-\x1f]*(?:&|$))*))?"
)
_LAST_PORT = 65535
_USUAL_PORT = "5432"
_PORT_BEHIND = re.compile(r"(?P<host>.*?)(?::(?P<port>\d+))?")

# Parameters of the driver itself, and those that it passes to the server.
_PARAMETERS = frozenset(
    {
        *("host", "port", "dbname", "database", "user", "password", "passfile"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("target_session_attrs", "krbsrvname", "gsslib", "service", "servicefile"),
        *("application_name", "options", "connect_timeout"),
    }
)

_OF_SERVER = ("host=", "port=", "sslmode=")  # parameters that are the same for every user

UNREADABLE = (
    "cannot be read as an address; nothing of it is shown. Percent-encode these characters in the "
    "user, the password and the name: / as %2F, ? as %3F, # as %23, @ as %40, : as %3A, % as %25. "
    "A port is a number: postgresql://user:password@host:5432/name"
)


class DatabaseURL(msgspec.Struct, frozen=True):
    """A parsed address. With several hosts the first writable one is used."""

    user: str
    password: str
    hosts: tuple[str, ...]
    ports: tuple[str, ...]  # one for each host; empty: the usual one
    name: str
    parameters: dict[str, str]
    driver_url: str  # without what the driver would take for a setting of the server

    def __repr__(self) -> str:
        return "DatabaseURL(...)"  # the password must not reach a log by way of a traceback

    @property
    def host_list(self) -> list[tuple[str, str]]:
        """Host and port of each server; empty: the usual one."""
        given = self.parameters
        if "host" not in given or any(self.hosts):
            return list(zip(self.hosts, self.ports, strict=True))
        hosts, ports = given["host"].split(","), given.get("port", "").split(",")
        if len(ports) < len(hosts):
            ports = ports[:1] * len(hosts)
        return list(zip(hosts, ports, strict=False))

    @property
    def place(self) -> tuple[frozenset[tuple[str, str]], str]:
        """Which database it is, regardless of the login; one server may have several addresses."""
        given = self.parameters
        user = self.user or given.get("user", "")
        name = self.name or given.get("dbname") or given.get("database") or user
        hosts = {(host.lower(), port or _USUAL_PORT) for host, port in self.host_list}
        return frozenset(hosts), name

    @property
    def connect_timeout(self) -> float | None:
        """Seconds; None when nothing, or no limit, was asked for."""
        return float(self.parameters.get("connect_timeout", "0")) or None


def parse(url: str) -> DatabaseURL:
    """Read an address; the text of a ConfigError continues the setting's name."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ConfigError(UNREADABLE)
    text = found["parameters"] or ""
    parameters = dict(parse_qsl(text, keep_blank_values=True))
    for name, value in parameters.items():
        _check(name, value)
    hosts = [_PORT_BEHIND.fullmatch(host) for host in found["hosts"].split(",")]
    if not all(_can_exist(host["host"], host["port"] or "0") for host in hosts if host):
        raise ConfigError("has a host or a port that cannot exist")
    kept = [part for part in text.split("&") if not part.startswith("connect_timeout=")]
    driver_url = url.partition("?")[0] + ("?" + "&".join(kept) if any(kept) else "")
    return DatabaseURL(
        unquote(found["user"] or ""),
        unquote(found["password"] or ""),
        tuple(unquote(host["host"]).strip("[]") for host in hosts if host),
        tuple(host["port"] or "" for host in hosts if host),
        unquote(found["name"] or ""),
        parameters,
        driver_url,
    )


def with_login(url: str, user: str, password: str, name: str) -> str:
    """The address of this database on the same server for another user, with its name."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ConfigError(UNREADABLE)
    parameters = (found["parameters"] or "").split("&")
    kept = "&".join(part for part in parameters if part.startswith(_OF_SERVER))
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    address = f"postgresql://{login}@{found['hosts']}/{quote(name, safe='')}"
    return f"{address}?{kept}" if kept else address


def _can_exist(host: str, port: str) -> bool:
    try:
        return len(unquote(host).encode("idna")) >= 0 and int(port) <= _LAST_PORT
    except UnicodeError:  # a part between two dots is empty or too long
        return host.startswith("%2F")  # the folder of a socket


def _check(name: str, value: str) -> None:
    if name not in _PARAMETERS:
        raise ConfigError(
            f"has the parameter {name!r}, which is not supported; leave it out. A setting of "
            "the server is given as options=-c%20name=value"
        )
    if name == "connect_timeout" and not re.fullmatch(r"\d{1,6}", value):
        raise ConfigError("has a connect_timeout that is not a whole number of seconds")
