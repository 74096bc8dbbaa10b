"""Warn administrators about settings that expose passwords, cookies or metrics."""

import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

from stream.config.settings import Settings
from stream.text import decoded

_PASSWORDS = re.compile(r"[?&](?:ssl)?password=([^&]+)")
_LOGIN = re.compile(r"//([^:/@]*):.*@")  # greedy: a password may itself contain an unescaped / or @
_PARAMETER = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)
_OTHERS = 0o077  # of a file's mode
_WIDE = 8  # bits of a network's prefix: a shorter one covers strangers


def warnings(settings: Settings, config_file: Path | None = None) -> list[str]:
    """One warning with its remedy for each exposed setting."""
    return [*_pages(settings), *_metrics(settings), *_file(settings, config_file)]


def is_local(listen: str) -> bool:
    """Whether only this machine can reach host:port; true when it is empty."""
    host = listen.rpartition(":")[0].strip("[]").partition("%")[0]
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name; its address may change


def _pages(settings: Settings) -> list[str]:
    web, found = settings.web, list[str]()
    is_https = web.public_url.startswith("https:")
    if is_https and not web.trusted_proxies:
        found.append(
            "Cookies of the pages are not Secure: web.public_url is https, but web.trusted_proxies"
            " is empty. Set it to the address of the reverse proxy."
        )
    elif not is_local(web.listen) and not is_https:
        found += [
            f"Other machines reach the pages at {web.listen} without TLS: passwords can be read in"
            " transit. Listen on 127.0.0.1 behind nginx or Caddy with HTTPS"
            " (deploy/README.md), and set web.public_url and web.trusted_proxies.",
            "Cookies of the pages are not Secure, so browsers send them without TLS as well. Use a"
            " reverse proxy with HTTPS.",
        ]
    elif web.public_url and not is_https and not is_local(_host_and_port(web.public_url)):
        found.append(
            f"Users reach the pages at {web.public_url} without TLS: passwords and cookies can be"
            " read in transit. Use HTTPS in the reverse proxy and in web.public_url."
        )
    proxies = (ipaddress.ip_network(each, strict=False) for each in web.trusted_proxies)
    if any(each.prefixlen < _WIDE for each in proxies):
        found.append(
            "web.trusted_proxies contains almost every address: anyone could fake theirs and evade"
            " the login limits. List only your reverse proxies."
        )
    return found


def _host_and_port(url: str) -> str:
    address = url.partition("://")[2].rstrip("/")
    return address if re.search(r":\d+$", address) else f"{address}:80"


def _metrics(settings: Settings) -> list[str]:
    listen = settings.monitor.listen
    if is_local(listen):
        return []
    return [
        f"Anyone who reaches {listen} can read metrics and health (monitor.listen):"
        " listen on 127.0.0.1, or allow only Prometheus in the firewall."
    ]


def _file(settings: Settings, config_file: Path | None) -> list[str]:
    try:
        if config_file is None or not config_file.stat().st_mode & _OTHERS:
            return []
        text = decoded(config_file.read_bytes())
    except (OSError, UnicodeError):
        return []
    if not any(secret in text for secret in _secrets(settings)):
        return []
    return [
        f"Other users of this machine can read {config_file}, which holds passwords:"
        f" chmod 600 {config_file}"
    ]


def _secrets(settings: Settings) -> list[str]:
    """The passwords in the settings."""
    alerts = settings.alerts
    found = [*alerts.channels, *alerts.fallback, alerts.heartbeat_url]
    for url in (*_databases(settings), settings.sinks.redis.url):
        found += _PASSWORDS.findall(url)
        try:
            found.append(urlsplit(url).password or "")
        except ValueError:
            found.append(url)
    return [each for each in found if each]


def _databases(settings: Settings) -> list[str]:
    return [settings.database, *settings.cells.values(), settings.web.replica]


def safe_url(url: str) -> str:
    """The address with *** for every password; for logs, `status` and `check-config`."""
    return _PARAMETER.sub(r"\1***", _LOGIN.sub(r"//\1:***@", url))
