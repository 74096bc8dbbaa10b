"""The bus: one stream of NATS JetStream that has the blocks of all lanes.

Reading needs no consumer on the server: the bus is asked for the next messages of a subject from a
number on (Direct Get in batches, NATS ADR-31), so that only that number has to be remembered. The
errors of this module are BusAway: the same call may work later.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import nats
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from stream.bus import advice
from stream.bus.batches import DIRECT_GET, BatchReader, is_end
from stream.bus.calls import CALL_TIMEOUT, call
from stream.bus.client import ReconnectingClient
from stream.bus.login import login, tls_context
from stream.bus.messages import StreamState
from stream.bus.servers import ask_servers
from stream.bus.transport import use_aborting_transport
from stream.config import Settings
from stream.daemon_report import CONNECTING, ServerReport
from stream.errors import BusAway, ConfigError
from stream.tweet import LaneId

CONNECT_TIMEOUT = 5  # seconds
RECONNECT_INTERVAL = 1  # seconds between two attempts, for ever
PING_INTERVAL = 5  # seconds; a server that leaves two unanswered is left
CLOSE_TIMEOUT = 2.0  # seconds
PUBLISH_TIMEOUT = 2.0  # seconds; then it is sent again: a leader that dies answers nothing more
DUPLICATE_WINDOW = 120.0  # seconds in which the bus recognizes the id of a message
REFUSAL_LASTS = 10.0  # seconds that a refusal is the reason; each attempt brings it again

logger = logging.getLogger(__name__)


class Bus:
    """A connection to the bus, which reconnects by itself after every error."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stream = settings.bus_stream
        use_aborting_transport()
        self._client = ReconnectingClient()
        self._js = JetStreamContext(self._client, timeout=CALL_TIMEOUT)
        self.away_because: str | None = CONNECTING  # None: it is connected
        self._refused_at = -REFUSAL_LASTS  # loop time of the last reason that needs a person
        self.forbidden = ""  # what the account may not do
        self.stream_created: datetime | None = None  # as it was seen last
        self._connected = asyncio.Event()  # once at least
        self._closing = False

    # -- connecting -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["Bus"]:
        """Keep connected until the end; does not wait for the connection."""
        async with asyncio.TaskGroup() as group:
            connecting = group.create_task(self._connect(), name="bus")
            try:
                yield self
            finally:
                self._closing = True
                connecting.cancel()
                with contextlib.suppress(Exception):  # a frozen server takes no more
                    async with asyncio.timeout(CLOSE_TIMEOUT):
                        await self._client.close()
                if (transport := self._client._transport) is not None:  # noqa: SLF001 - nowhere else
                    transport.close()  # type: ignore[no-untyped-call]

    @property
    def address(self) -> str:
        """The server that we are connected to."""
        url = self._client.connected_url
        return url.netloc if url is not None else ""

    @property
    def server_version(self) -> str:
        """Its version."""
        return str(self._info.get("version", ""))

    @property
    def is_encrypted(self) -> bool:
        """Whether it takes connections by TLS only, as ours then is."""
        return bool(self._info.get("tls_required"))

    @property
    def is_cluster(self) -> bool:
        """Whether the server that we are connected to is one of several."""
        return bool(self._info.get("cluster"))

    @property
    def _info(self) -> Mapping[str, object]:
        """What the server said of itself when we connected."""
        found: Mapping[str, object] = self._client._server_info  # noqa: SLF001 - nowhere else
        return found

    async def until_connected(self) -> None:
        """Wait for the first connection."""
        await self._connected.wait()

    async def _connect(self) -> None:
        user, password = login(self._settings.bus_credentials)
        context = tls_context(self._settings)
        await self._client.connect(
            self._settings.bus.split(","),
            name="twitterstream",
            error_cb=self._note_error,
            disconnected_cb=self._note_disconnected,
            reconnected_cb=self._note_connected,
            connect_timeout=CONNECT_TIMEOUT,
            reconnect_time_wait=RECONNECT_INTERVAL,
            max_reconnect_attempts=-1,
            ping_interval=PING_INTERVAL,
            tls=context,
            # Else the client would send the password in the clear to a server without TLS.
            tls_handshake_first=context is not None,
            user=user,
            password=password,
        )
        await self._note_connected()

    async def _note_error(self, error: Exception) -> None:
        if "permissions violation" in str(error):  # the call itself gets no answer
            self.forbidden = str(error)
        if not self._client.is_connected:
            self._read_files()
        silent = f"no NATS server answers within {CONNECT_TIMEOUT} s"
        self._note_away(str(error) or (silent if isinstance(error, TimeoutError) else repr(error)))

    def _read_files(self) -> None:
        """Use login and certificates as they are now in their files, from the next attempt on.

        A file that cannot be read changes nothing.
        """
        with contextlib.suppress(ConfigError):
            user, password = login(self._settings.bus_credentials)
            self._client.options.update(user=user, password=password)
        if self._settings.bus_ca:
            with contextlib.suppress(ConfigError):
                self._client.options.update(tls=tls_context(self._settings))

    async def _note_disconnected(self) -> None:
        self._note_away("the connection is lost")

    def _note_away(self, why: str) -> None:
        if not self._client.is_connected and not self._closing:
            if self.away_because is None:
                logger.warning("the bus is unreachable; retrying", extra={"why": why})
            # A server that refuses us says why, and then hangs up: that is no reason of its own.
            now, settings = asyncio.get_running_loop().time(), self._settings
            if advice.needs_person(why, settings):
                self._refused_at = now
            elif now - self._refused_at < REFUSAL_LASTS:
                return
            self.away_because = why

    async def _note_connected(self) -> None:
        self._connected.set()
        self.forbidden = ""
        if self.away_because is not None:
            self.away_because = None
            logger.info("connected to the bus")

    # -- the stream -------------------------------------------------------------------------------

    def subject(self, lane: LaneId | Literal["*"]) -> str:
        """The subject of a lane's blocks; "*": of all lanes'."""
        return f"{self._stream}.lane.{lane}"

    async def ensure_stream(self) -> StreamState:
        """The state of the stream, which is created if there is none."""
        found = await self.find_stream()
        if found is None:
            async with call():
                found = _state(await self._js.add_stream(self._wanted))
            self.stream_created = found.created
        return found

    async def find_stream(self) -> StreamState | None:
        """The state of the stream; None: there is none."""
        async with call():
            try:
                found = _state(await self._js.stream_info(self._stream))
            except nats.js.errors.NotFoundError:
                return None
        self.stream_created = found.created
        return found

    async def adapt_stream(self) -> None:
        """Change the stream to what the settings want; once, as machines may have others."""
        async with call():
            found = (await self._js.stream_info(self._stream)).config
            wanted = self._wanted
            changed = {
                f"bus_{name.removeprefix('num_')}": (getattr(found, name), getattr(wanted, name))
                for name in ("num_replicas", "max_bytes")
                if getattr(found, name) != getattr(wanted, name)
            }
            if changed:
                await self._js.update_stream(wanted)
                extra = {name: f"{now}, was {before}" for name, (before, now) in changed.items()}
                logger.warning("changed the stream to the settings of this machine", extra=extra)

    @property
    def _wanted(self) -> api.StreamConfig:
        return api.StreamConfig(
            name=self._stream,
            subjects=[f"{self._stream}.lane.*"],
            storage=api.StorageType.FILE,
            num_replicas=self._settings.bus_replicas,
            max_bytes=self._settings.bus_max_bytes,
            discard=api.DiscardPolicy.NEW,
            duplicate_window=DUPLICATE_WINDOW,
            allow_direct=True,
        )

    async def publish(self, lane: LaneId, data: bytes, headers: Mapping[str, str]) -> int:
        """Publish a message; returns its number once a quorum has it on disk."""
        if not self._client.is_connected:  # it would only wait in a buffer
            raise BusAway(self.away_because or "the connection is lost")
        async with call(PUBLISH_TIMEOUT):
            stored = await self._js.publish(
                self.subject(lane), data, timeout=PUBLISH_TIMEOUT, headers=dict(headers)
            )
        return stored.seq

    async def lanes_with_blocks(self) -> set[LaneId]:
        """The lanes that have messages."""
        async with call():
            found = await self._js.stream_info(self._stream, subjects_filter=self.subject("*"))
        names = (each.rpartition(".")[2] for each in found.state.subjects or {})
        return {LaneId(int(name)) for name in names if name.isdecimal()}

    async def free(self, lane: LaneId, before: int | None = None) -> None:
        """Delete the messages of a lane with lower numbers; None: all."""
        async with call():
            await self._js.purge_stream(self._stream, seq=before, subject=self.subject(lane))

    async def has(self, sequence: int) -> bool:
        """Whether the stream has the message with this number."""
        async with call():
            try:
                await self._js.get_msg(self._stream, sequence, direct=True)
            except nats.js.errors.NotFoundError:
                return False
        return True

    async def count_after(self, lane: LaneId, sequence: int) -> int:
        """How many messages of a lane have a higher number."""
        asked = {"seq": sequence + 1, "next_by_subj": self.subject(lane), "batch": 1}
        async with call():
            answer = await self._client.request(
                f"{DIRECT_GET}.{self._stream}", json.dumps(asked).encode(), timeout=CALL_TIMEOUT
            )
        headers = answer.headers or {}
        return 0 if is_end(headers) else 1 + int(headers.get("Nats-Num-Pending", 0))

    async def servers(self) -> Mapping[str, ServerReport]:
        """The servers that let this account ask how they store, by name; empty when none does.

        deploy/cluster/nats-server.conf lets it: an import from the system account.
        """
        async with call():
            return await ask_servers(self._client)

    # -- reading ----------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def reading(self, lane: LaneId) -> AsyncIterator["BatchReader"]:
        """Read the messages of a lane."""
        async with call():
            inbox = self._client.new_inbox()
            answers = await self._client.subscribe(f"{inbox}.*")
        try:
            yield BatchReader(self._client, self._stream, self.subject(lane), inbox, answers)
        finally:
            with contextlib.suppress(Exception):
                await answers.unsubscribe()

    # -- messages that are not stored -------------------------------------------------------------

    def _unstored(self, topic: str, name: str) -> str:
        return f"{self._stream}.{topic}.{name}"

    async def notify(self, topic: str, name: str, data: bytes = b"") -> None:
        """Send a message to those who listen at this moment."""
        async with call():
            if self._client.is_connected:  # it would only wait in a buffer
                await self._client.publish(self._unstored(topic, name), data)

    @contextlib.asynccontextmanager
    async def listening(
        self, topic: str, name: str, hear: Callable[[bytes], None]
    ) -> AsyncIterator[None]:
        """Call `hear` for each such message; also after the connection was lost in between."""

        async def deliver(message: Msg) -> None:
            hear(message.data)

        async with call():
            listening = await self._client.subscribe(self._unstored(topic, name), cb=deliver)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                await listening.unsubscribe()


def _state(found: api.StreamInfo) -> StreamState:
    cluster = found.cluster
    peers = (cluster.replicas if cluster is not None else None) or []
    return StreamState(
        created=(found.created or datetime.fromtimestamp(0, UTC)).astimezone(UTC),
        last_sequence=found.state.last_seq,
        messages=found.state.messages,
        bytes=found.state.bytes,
        max_bytes=found.config.max_bytes or -1,
        leader=cluster.leader if cluster is not None else "",
        replicas={
            each.name: bool(each.current) and not each.offline for each in peers if each.name
        },
    )
