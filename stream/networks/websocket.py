"""A WebSocket as a `base.Stream`: whole messages, many at a time, within bounded memory.

A task receives ahead of the reader, so that one `read` returns everything that has arrived: a
replay at thousands of messages a second costs one wake-up for hundreds of them. The task pauses
when the reader falls behind, and with it the socket.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import aiohttp
import msgspec
from aiohttp import WSMsgType
from aiohttp.http_websocket import WSMessageTextBytes

from stream.errors import ConnectError
from stream.networks.http import NetworkHttp
from stream.networks.http_errors import describe
from stream.networks.response import Response
from stream.notes import StreamOpened
from stream.text import plain

WAITING_BYTES_MAX = 1 << 20  # of messages that are received and not read
WAITING_MAX = 4096  # messages
CLOSE_TIMEOUT = 2.0  # seconds for the server to answer our close frame
LONGER_FACTOR = 4  # messages up to so many times the limit are cut; longer ones end the connection
REASON_LENGTH_MAX = 200  # characters of the server's reason for closing
NO_CLOSE_FRAME = 1006  # RFC 6455: the connection ended without a close frame
TOO_LONG = 1009

DecodeMessage = Callable[[bytes], bytes]


class WebSocketOptions(msgspec.Struct, frozen=True):
    """How to use one WebSocket.

    `max_bytes`: longer messages are cut to this length; decoding then finds them too large.
    `heartbeat`: seconds between our own pings; a missing answer ends the connection.
    `pings_prove_life`: whether `read` returns for pings and pongs, as for keep-alives. If not, only
    messages do: for networks where an open socket without data is dead.
    `decode_message`: decodes binary messages, such as compressed ones; a ConnectError that it
    raises ends the stream after the messages before it.
    """

    max_bytes: int
    heartbeat: float | None = 30.0
    pings_prove_life: bool = True
    protocols: tuple[str, ...] = ()
    decode_message: DecodeMessage | None = None


class _NotUpgraded(Exception):
    """The server answered with an ordinary response."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


async def open_websocket(
    http: NetworkHttp, path: str, headers: Mapping[str, str], options: WebSocketOptions
) -> "WebSocketStream | Response":
    """Open a WebSocket; returns the whole response if the server does not upgrade.

    ConnectError when there is no response.
    """

    async def only_upgrade(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # aiohttp itself would follow redirects, and drop the body of an error.
        response = await handler(request)
        if response.status == 101:
            return response
        try:
            raise _NotUpgraded(await http.read_response(response))
        finally:
            response.close()

    session = http.session(only_upgrade)
    try:
        async with http.errors():
            socket = await session.ws_connect(
                http.url(path),
                headers=headers,
                protocols=options.protocols,
                proxy=http.proxy_url,
                autoping=False,
                heartbeat=options.heartbeat,
                max_msg_size=options.max_bytes * LONGER_FACTOR,
                decode_text=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
            )
    except _NotUpgraded as answer:
        await session.close()
        return answer.response
    except BaseException:
        await session.close()
        raise
    return WebSocketStream(session, socket, options, http.redact)


class WebSocketStream:
    """See `base.Stream`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        socket: aiohttp.ClientWebSocketResponse[bool],
        options: WebSocketOptions,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.received = 0
        self.keepalives = 0
        self.opened: StreamOpened | None = None
        self.recovered_from: float | None = None
        self.close_code: int | None = None  # of the server's close frame; None while open
        self.protocol = socket.protocol  # that the server chose
        self._session = session
        self._socket = socket
        self._options = options
        self._redact = redact
        self._waiting: list[bytes] = []  # messages, decoded
        self._waiting_bytes = 0
        self._end: Exception | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._receiver = asyncio.create_task(self._receive(), name="WebSocket")

    async def read(self) -> list[bytes] | None:
        """See `base.Stream`. The end is a ConnectError, which states the server's reason."""
        await self._arrived.wait()
        if self._waiting or self._end is None:
            messages, self._waiting, self._waiting_bytes = self._waiting, [], 0
            if self._end is None:
                self._arrived.clear()
            self._room.set()
            return messages
        raise self._end

    def rest(self) -> list[bytes]:
        """See `base.Stream`. A WebSocket delivers whole messages only."""
        return []

    async def send(self, text: str) -> None:
        """Send a text message; ConnectError when the connection is broken."""
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectError(f"the connection broke: {describe(error)}", "drop") from error

    async def close(self) -> None:
        """See `base.Stream`."""
        async with self._session:  # ends with it, also when this is cancelled
            self._receiver.cancel()
            await asyncio.wait([self._receiver])
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._socket.close()
        if self._end is None:
            self._end = ConnectError("the connection was closed", "drop")
        self._arrived.set()

    async def _receive(self) -> None:
        """Receive until the end of the connection."""
        try:
            while self._end is None:
                if len(self._waiting) >= WAITING_MAX or self._waiting_bytes >= WAITING_BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
                await self._take(await self._socket.receive())
        except ConnectError as error:
            self._end = error
        except (aiohttp.ClientError, OSError) as error:
            self._end = self._broken(error)
        except Exception as error:  # noqa: BLE001 - an error of ours: `read` raises it
            self._end = error
        self._arrived.set()

    async def _take(self, message: aiohttp.WSMessage | WSMessageTextBytes) -> None:
        match message.type:
            case WSMsgType.TEXT:
                self._add(message.data, message.data)
            case WSMsgType.BINARY:
                decode = self._options.decode_message
                data = message.data
                self._add(data, data if decode is None else decode(data))
            case WSMsgType.PING:
                await self._socket.pong(message.data)
                self._prove_life()
            case WSMsgType.PONG:
                self._prove_life()
            case WSMsgType.CLOSE:
                self.close_code = message.data
                self._end = self._closed(message.data, message.extra)
            case WSMsgType.ERROR:
                self._end = self._broken(message.data)
            case _:
                self.close_code = NO_CLOSE_FRAME
                text = "the server closed the connection without a close frame"
                self._end = ConnectError(text, "drop")

    def _add(self, wire: bytes, message: bytes) -> None:
        self.received += len(wire)
        if message:
            self._waiting.append(message[: self._options.max_bytes])
            self._waiting_bytes += len(message)
        self._arrived.set()

    def _prove_life(self) -> None:
        self.keepalives += 1
        if self._options.pings_prove_life:
            self._arrived.set()

    def _closed(self, code: int, reason: str | None) -> ConnectError:
        words = plain(self._redact(reason or ""), REASON_LENGTH_MAX)
        what = f"code {code}: {words}" if words else f"code {code}"
        return ConnectError(f"the server closed the connection ({what})", "drop", status=code)

    def _broken(self, error: BaseException) -> ConnectError:
        if isinstance(error, aiohttp.WebSocketError):
            self.close_code = error.code
            if error.code == TOO_LONG:
                longest = self._options.max_bytes * LONGER_FACTOR
                text = f"the server sent a message of more than {longest:,} bytes"
                return ConnectError(text, "drop")
        text = f"the connection broke: {self._redact(describe(error))}"
        return ConnectError(text, "drop")
