"""A streaming response as a `base.Stream`: its bytes are split into messages as they arrive."""

import contextlib
import re
from collections.abc import Callable, Mapping
from functools import partial

import aiohttp
import msgspec

from stream.errors import ConnectError
from stream.networks.framing import Framing
from stream.networks.http import NetworkHttp, headers_of
from stream.networks.http_errors import describe
from stream.networks.response import Response, foreign_response, is_page

# A message is an object on one line; a length may precede it (`delimited=length` of v1.1).
FIRST_MESSAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\{(?![^\S\n]*\n)|[0-9])")


async def open_stream(
    http: NetworkHttp,
    method: str,
    path: str,
    headers: Mapping[str, str],
    framing: Framing,
    body: bytes | None = None,
    beginning: re.Pattern[bytes] = FIRST_MESSAGE,
) -> "HttpStream | Response":
    """Open a streaming response; returns an error response as a whole.

    ConnectError when there is no response, or a web page instead, or anything else that does not
    match `beginning`.
    """
    async with contextlib.AsyncExitStack() as opened, http.errors():
        session = await opened.enter_async_context(http.session())
        request = http.send(session, method, path, headers, body)
        response = await opened.enter_async_context(request)
        if response.status != 200:
            return await http.read_response(response)
        if is_page(headers_of(response), b""):
            raise _not_the_stream(http, response, await http.read_beginning(response))
        opened.pop_all()  # the stream closes both
        check = partial(_check_start, http, response, beginning)
        return HttpStream(session, response, framing, check)
    raise AssertionError("one of the two was returned")


def _check_start(
    http: NetworkHttp,
    response: aiohttp.ClientResponse,
    beginning: re.Pattern[bytes],
    data: bytes,
) -> ConnectError | None:
    """Why a response that begins so is not a stream; None when it may be one."""
    # A stream has no length, and its messages end with a newline.
    whole = response.content_length is not None and b"\n" not in data
    if not whole and (beginning.match(data) or _has_message(data)):
        return None
    return _not_the_stream(http, response, data)


def _not_the_stream(
    http: NetworkHttp, response: aiohttp.ClientResponse, body: bytes
) -> ConnectError:
    whole = http.make_response(response, body)
    return foreign_response(whole, http.clock.time(), "the stream").reworded(http.redact)


def _has_message(data: bytes) -> bool:
    """Whether one of the lines of a text, which is no web page, is an object with content."""
    return not is_page({}, data) and any(map(_is_object, data.split(b"\n")[:-1]))


def _is_object(line: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class HttpStream:
    """A streaming response, split into messages."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        response: aiohttp.ClientResponse,
        framing: Framing,
        check_start: Callable[[bytes], ConnectError | None],
    ) -> None:
        self._session = session
        self._response = response
        self._framing = framing
        self._check_start = check_start
        self._is_checked = False  # its first bytes are those of a stream
        self.received = 0
        self.headers = headers_of(response)

    @property
    def keepalives(self) -> int:
        return self._framing.keepalives

    @property
    def opened(self) -> None:
        """See `base.Stream`."""

    @property
    def recovered_from(self) -> None:
        """See `base.Stream`."""

    async def read(self) -> list[bytes] | None:
        """See `base.Stream`."""
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectError(f"the connection broke: {describe(error)}", "drop") from error
        if not data:
            return None
        if not self._is_checked and data.strip():
            # The only place that inspects bytes before they are kept: a web page is not a message.
            # With a message among them, all are kept: what is none becomes a reject.
            if (wrong_start := self._check_start(data)) is not None:
                raise wrong_start
            self._is_checked = True
        self.received += len(data)
        return self._framing.feed(data)

    def rest(self) -> list[bytes]:
        """See `base.Stream`."""
        return self._framing.rest()

    async def close(self) -> None:
        """See `base.Stream`."""
        self._response.close()
        await self._session.close()
