"""Ask the servers of the bus how they store.

Only the system account may ask that. deploy/cluster/nats-server.conf lets the program's account ask
too; elsewhere no answer comes.
"""

import contextlib
from datetime import datetime

import msgspec
import nats.errors
from nats.aio.client import Client

from stream.bus.messages import BusServer

SUBJECT = "$SYS.REQ.SERVER.PING.JSZ"
TIMEOUT = 1.0  # seconds without another answer


class _Config(msgspec.Struct, frozen=True):
    max_storage: int = 0
    sync_always: bool = False


class _JetStream(msgspec.Struct, frozen=True):
    storage: int = 0
    config: _Config = _Config()


class _Server(msgspec.Struct, frozen=True):
    name: str
    ver: str
    time: datetime


class _Answer(msgspec.Struct, frozen=True):
    server: _Server
    data: _JetStream = _JetStream()


_decode = msgspec.json.Decoder(_Answer).decode


async def ask_servers(client: Client) -> list[BusServer]:
    """The servers that answer; none where this account may not ask. Raises errors of the client."""
    found: dict[str, BusServer] = {}
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        await client.publish(SUBJECT, reply=inbox)
        with contextlib.suppress(nats.errors.TimeoutError, msgspec.MsgspecError):
            while data := (await answers.next_msg(TIMEOUT)).data:  # empty: nobody may answer
                server = _server(_decode(data))
                found[server.name] = server
    finally:
        with contextlib.suppress(Exception):
            await answers.unsubscribe()
    return list(found.values())


def _server(answer: _Answer) -> BusServer:
    server, store = answer.server, answer.data
    return BusServer(
        server.name,
        server.ver,
        server.time,
        store.config.sync_always,
        store.storage,
        store.config.max_storage,
    )
