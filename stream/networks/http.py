"""HTTP client for networks: requests with their proxy, timeouts and errors.

Every request has its own session and socket, so a failure leaves no broken transport for the next
attempt, and addresses are looked up again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from importlib import metadata
from urllib.parse import quote, urlsplit

import aiohttp

from stream.backoff import Clock
from stream.config import safe_url
from stream.errors import ConnectError, RetryMode
from stream.networks.egress import (
    Proxy,
    check_host,
    choose_proxy,
    is_refusal,
    make_public_socket,
    make_socket,
)
from stream.networks.http_errors import describe
from stream.networks.response import Response, foreign_response
from stream.tweet import Source

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 30.0  # seconds, from the DNS lookup to the response's headers
TCP_TIMEOUT = 10.0  # seconds
RESPONSE_BYTES_MAX = 32 << 20  # 25,000 rules are less
ERROR_BYTES_MAX = 1 << 20  # of an error's body; the network's own are shorter
BODY_TIMEOUT = 5.0  # seconds, for reading an error's body
REDACTED = "***"
SECRET_LENGTH_MIN = 5  # characters


def user_agent() -> str:
    """The User-Agent header: name and version."""
    try:
        return f"twitterstream/{metadata.version('twitterstream')}"
    except metadata.PackageNotFoundError:  # run from a working copy
        return "twitterstream/0"


class NetworkHttp:
    """HTTP requests of one source, with its address and proxy; errors never contain its secrets.

    `public_only`: nothing is sent to a private address; for an address that a stranger chose.
    `max_bytes`: of a response.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        default: str,
        *,
        public_only: bool = False,
        max_bytes: int = RESPONSE_BYTES_MAX,
    ) -> None:
        self.base = (source.url or default).rstrip("/")
        self._public_only = public_only
        self._max_bytes = max_bytes
        self._shown = safe_url(self.base)
        self.clock = clock
        self._proxy = choose_proxy(source.proxy, self.base)
        self._hidden = _secrets(source, self._proxy)
        if self._proxy is not None and self._proxy.variable:
            text = "requests use the proxy of an environment variable; NO_PROXY sets exceptions"
            logger.info(text, extra={"source": source.name, "proxy": str(self._proxy)})

    def redact(self, text: str) -> str:
        """Redact the source's credentials in a text."""
        for secret in self._hidden:
            text = text.replace(secret, REDACTED)
        return text

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> Response:
        """Send a short request; returns the whole response, whatever its status.

        ConnectError when there is none, when it is too large, or a web page instead.
        """
        async with (
            self.errors(),
            self.session() as session,
            self.send(session, method, path, headers, body) as response,
        ):
            answer = await self.read_response(response)
        if answer.status == 200 and answer.is_page:
            raise foreign_response(answer, self.clock.time()).reworded(self.redact)
        return answer

    def make_response(self, response: aiohttp.ClientResponse, body: bytes) -> Response:
        """A response with this body."""
        proxy = "" if self._proxy is None else str(self._proxy)
        return Response(response.status, headers_of(response), body, self.base, proxy)

    async def read_response(self, response: aiohttp.ClientResponse) -> Response:
        """A response as a whole; of an error only the beginning."""
        if response.status < 300:
            body = await _whole(response, self._max_bytes + 1)
            if len(body) > self._max_bytes:
                text = f"{self._shown} answered with more than {self._max_bytes:,} bytes"
                raise ConnectError(self.redact(text), "http", code="foreign")
            return self.make_response(response, body)
        return self.make_response(response, await self.read_beginning(response))

    async def read_beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """Read an error's body for a short time; the status suffices if it is incomplete."""
        body = bytearray()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.clock.timeout(BODY_TIMEOUT):
                while len(body) < ERROR_BYTES_MAX and (data := await response.content.readany()):
                    body += data
        return bytes(body[:ERROR_BYTES_MAX])

    def session(self, *middlewares: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
        """A session with one socket of its own."""
        # A proxy may be at a private address: the operator chose it.
        public_only = self._public_only and self._proxy is None
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                force_close=True,
                use_dns_cache=False,
                socket_factory=make_public_socket if public_only else make_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=TCP_TIMEOUT),
            middlewares=(*middlewares, _only_once),
            headers={"User-Agent": user_agent(), "Accept-Encoding": "gzip, deflate"},
        )

    def send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request in a session; the response is open within the context."""
        # Redirects are not followed: another host must not get our credentials.
        return session.request(
            method,
            self.url(path),
            headers=headers,
            data=body,
            proxy=self.proxy_url,
            allow_redirects=False,
        )

    def url(self, path: str) -> str:
        """The whole address; RefusedAddress where nothing may be sent to."""
        check_host(self.base, public_only=self._public_only)
        return self.base + path

    @property
    def proxy_url(self) -> str | None:
        return None if self._proxy is None else self._proxy.url

    @contextlib.asynccontextmanager
    async def errors(self) -> AsyncIterator[None]:
        """Translate everything that prevents a response into ConnectError."""
        try:
            if self._proxy is not None and not self._proxy.usable:
                text = f"the proxy {self._proxy} is not supported: only http:// and https:// are"
                raise ConnectError(text, "final", code="proxy")
            async with self.clock.timeout(CONNECT_TIMEOUT):
                yield
        except aiohttp.InvalidURL as error:
            raise self.unusable(error) from error
        except aiohttp.ClientHttpProxyError as error:
            raise self._refused_by_proxy(error) from error
        except aiohttp.ClientProxyConnectionError as error:
            reason = f"no connection to the proxy {self._proxy}: {describe(error)}"
            raise ConnectError(self.redact(reason), "network", code="proxy") from error
        except TimeoutError as error:
            seconds = TCP_TIMEOUT if isinstance(error, aiohttp.ClientError) else CONNECT_TIMEOUT
            reason = f"{self._shown}{self._via} did not answer within {seconds:.0f} s"
            raise ConnectError(self.redact(reason), "network") from error
        # Certificate errors are ValueErrors as well, so this comes before ValueError.
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            reason = f"no connection to {self._shown}{self._via}: {describe(error)}"
            retry: RetryMode = "final" if is_refusal(error) else "network"
            raise ConnectError(self.redact(reason), retry) from error
        except ValueError as error:
            raise self.unusable(error) from error

    @property
    def _via(self) -> str:
        return "" if self._proxy is None else f" (through the proxy {self._proxy})"

    def unusable(self, error: ValueError) -> ConnectError:
        """The error for an invalid address."""
        reason = f"the address {self._shown}{self._via} cannot be used: {describe(error)}"
        return ConnectError(self.redact(reason), "final")

    def _refused_by_proxy(self, error: aiohttp.ClientHttpProxyError) -> ConnectError:
        """A proxy that refuses to connect to an https address."""
        if error.status == 407:
            reason = f"the proxy {self._proxy} asks for a user name and password (407)"
        else:
            answer = f"{error.status} {error.message}".strip()
            where = f"the proxy {self._proxy} does not connect to {self._shown}"
            reason = f"{where}: it answered {answer}"
        return ConnectError(self.redact(reason), "http", code="proxy")


async def _whole(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while len(body) < max_bytes and (data := await response.content.read(max_bytes - len(body))):
        body += data
    return bytes(body)


async def _only_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request only once: aiohttp would repeat one without a response, and X counts both.

    There is no switch for that; aiohttp repeats on these two exceptions only.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if isinstance(error, aiohttp.ClientConnectorError):
            raise  # without a connection it is not repeated
        raise aiohttp.ClientConnectionError(describe(error)) from error


def headers_of(response: aiohttp.ClientResponse) -> dict[str, str]:
    """The headers of a response, their names in lower case."""
    return {name.lower(): value for name, value in response.headers.items()}


def _secrets(source: Source, proxy: Proxy | None) -> list[str]:
    """Everything to redact in messages, also in URL encoding."""
    secrets: Iterable[str | None] = source.secrets.values()
    for address in (source.url, source.proxy, None if proxy is None else proxy.url):
        with contextlib.suppress(ValueError):
            secrets = (*secrets, urlsplit(address or "").password)
    # Real secrets are long; hiding a letter or two would make messages unreadable.
    plain = {secret for secret in secrets if secret and len(secret) >= SECRET_LENGTH_MIN}
    return sorted(plain | {quote(secret, safe="") for secret in plain}, key=len, reverse=True)
