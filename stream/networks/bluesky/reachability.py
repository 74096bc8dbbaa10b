"""Whether this machine can reach Bluesky: for the first start, where a person waits.

In threads of its own: a name lookup without an answer can take half a minute, cannot be cancelled,
and would keep the event loop's own threads busy, and the program from ending.
"""

import asyncio
import base64
import contextlib
import http.client
import ssl
import threading
from urllib.parse import unquote, urlsplit

from stream.config import Settings, safe_url
from stream.networks.egress import Proxy, choose_proxy

WITHIN = 2.5  # seconds, with name lookup, proxy and TLS
HOSTS_MAX = 3  # asked at once
_PORTS = {"wss": 443, "https": 443, "ws": 80, "http": 80}


async def why_unreachable(settings: Settings, within: float = WITHIN) -> str:
    """Why no host of Bluesky can be connected to; empty if one can. Takes `within` at most."""
    hosts = [*settings.bluesky.hosts[:2], *settings.bluesky.old_hosts][:HOSTS_MAX]
    answers: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def ask(host: str) -> None:
        answer = _why_not(host, within)
        with contextlib.suppress(RuntimeError):  # too late: the loop has ended
            loop.call_soon_threadsafe(answers.put_nowait, answer)

    for host in hosts:
        threading.Thread(target=ask, args=(host,), name="ask Bluesky", daemon=True).start()
    reason = ""
    try:
        async with asyncio.timeout(within):
            for _ in hosts:
                reason = await answers.get()
                if not reason:
                    break
    except TimeoutError:
        return f"Bluesky did not answer within {within:g} s"
    return reason


def _why_not(host: str, timeout: float) -> str:
    """Why there is no connection, with TLS, to this host; empty if there is one."""
    proxy = choose_proxy(None, host)
    through = "" if proxy is None else f" through the proxy {proxy}"
    try:
        connection = _connection(host, proxy, timeout)
        with contextlib.closing(connection):
            connection.connect()
    except ssl.SSLCertVerificationError as error:
        why = f"its certificate is not valid: {error.verify_message}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer"
    else:
        return ""
    return f"no connection to {safe_url(host)}{through}: {why}"


def _connection(host: str, proxy: Proxy | None, timeout: float) -> http.client.HTTPConnection:
    """A connection that is not open yet."""
    parts = urlsplit(host)
    name, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    make = (
        http.client.HTTPSConnection
        if _PORTS.get(parts.scheme) == 443
        else http.client.HTTPConnection
    )
    if proxy is None:
        return make(name, port, timeout=timeout)
    by = urlsplit(proxy.url)
    connection = make(by.hostname or "", by.port or _PORTS.get(by.scheme, 80), timeout=timeout)
    headers = {}
    if by.username:
        words = f"{unquote(by.username)}:{unquote(by.password or '')}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(words).decode()}"
    connection.set_tunnel(name, port, headers)
    return connection
