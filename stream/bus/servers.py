"""Ask the servers of the bus how they store.

Only the system account may ask that. deploy/cluster/nats-server.conf lets the program's account ask
too; elsewhere no answer comes.
"""

import contextlib
import time
from collections.abc import Mapping
from datetime import datetime

import msgspec
import nats.errors
from nats.aio.client import Client

from stream.daemon_report import ServerReport

SUBJECT = "$SYS.REQ.SERVER.PING.JSZ"
TIMEOUT = 1.0  # seconds without another answer


class _Config(msgspec.Struct, frozen=True):
    max_storage: int = 0
    sync_always: bool = False


class _JetStream(msgspec.Struct, frozen=True):
    disabled: bool = False  # then `config` does not say how it would store
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


async def ask_servers(client: Client) -> Mapping[str, ServerReport]:
    """The servers that answer, by name; none where this account may not ask.

    Raises errors of the client.
    """
    found: dict[str, ServerReport] = {}
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        await client.publish(SUBJECT, reply=inbox)
        with contextlib.suppress(nats.errors.TimeoutError, msgspec.MsgspecError):
            while data := (await answers.next_msg(TIMEOUT)).data:  # empty: nobody may answer
                answer = _decode(data)
                found[answer.server.name] = _report(answer, time.time())
    finally:
        with contextlib.suppress(Exception):
            await answers.unsubscribe()
    return found


def _report(answer: _Answer, now: float) -> ServerReport:
    """What a server says; `now`: our clock when the answer arrived."""
    server, store = answer.server, answer.data
    return ServerReport(
        version=server.ver,
        jetstream=not store.disabled,
        sync_always=store.config.sync_always,
        clock_offset=round(server.time.timestamp() - now, 3),
        bytes=store.storage,
        max_bytes=store.config.max_storage,
    )
