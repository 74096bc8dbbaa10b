"""The simulated Bluesky as the server runs it: what happens, when, and what was sent."""

import asyncio
from collections.abc import Sequence

import msgspec
from aiohttp import web

from simulator.bluesky.accounts import Record
from simulator.bluesky.activity import Activity, native_id
from simulator.bluesky.event_log import EventLog
from simulator.bluesky.jetstream import JetstreamHosts
from simulator.bluesky.pds import Pds
from simulator.bluesky.recording import post_key, read_line
from simulator.core import Core, PostCredit
from simulator.payload import Json
from simulator.producer import Replay
from simulator.settings import Settings

STEP_PAUSE = 0.01  # seconds
STEP_POSTS = 64  # without a rate
STEP_LINES = 1024  # of a replay, without a rate
READER_LAG = 20_000  # events; without a rate, nothing is made while a reader is further behind


class Bluesky:
    """All hosts of Jetstream, the directory and the PDS, on one event log."""

    def __init__(self, settings: Settings) -> None:
        jetstream = settings.jetstream
        self.core = Core(settings)
        self.log = EventLog(jetstream.lookback, jetstream.log_bytes)
        self.activity = Activity(self.core, self.log)
        self.jetstream = JetstreamHosts(self.core, self.log)
        self.activity.history()
        self.pds = Pds(self.core, self.activity.accounts)
        self.credit = PostCredit(self.core)
        self.replay = Replay(settings.replay, loop=settings.loop) if settings.replay else None

    def routes(self) -> Sequence[web.RouteDef]:
        return (*self.jetstream.routes(), *self.pds.routes())

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        await self.pds.decorate(request, response)

    async def run(self) -> None:
        try:
            await self.core.wait_until(lambda: self.jetstream.started)
            self.credit.reset()
            while True:
                if self.core.posts_left == 0:
                    await self.core.wait_until(lambda: self.core.posts_left != 0)
                    self.credit.reset()
                await self._step()
        finally:
            if self.replay is not None:
                self.replay.close()

    async def _step(self) -> None:
        if not self.core.rate and not self._readers_follow():
            await asyncio.sleep(STEP_PAUSE)
            return
        count = self.credit.due(STEP_LINES if self.replay else STEP_POSTS)
        if self.replay is not None:
            self.append_lines(await self.replay.take(count))
            if self.replay.done and self.replay.at >= len(self.replay.lines):
                self.core.posts_left = 0
        else:
            for _ in range(count):
                self.activity.post()
            if self.core.posts_left is not None:
                self.core.posts_left = max(0, self.core.posts_left - count)
        if count:
            self.log.trim()
            self.core.wake()
        await asyncio.sleep(STEP_PAUSE if self.core.rate else 0)

    def _readers_follow(self) -> bool:
        """Without a rate: is there a reader, and is each of them near the tip?"""
        positions = [each.position for each in self.jetstream.subscriptions]
        return bool(positions) and self.log.tip - min(positions) < READER_LAG

    def append_lines(self, lines: Sequence[bytes]) -> None:
        """Append recorded lines to the log as new events."""
        now = max(self.activity.now, int(self.core.now() * 1e6))
        for line in lines:
            now += 1
            event = read_line(line, self.log.tip, now)
            self.log.append(event)
            self._note(post_key(event), event.did, Record("", event.cid, event.record))
        self.activity.now = now

    def _note(self, key: tuple[str, str] | None, did: str, record: Record) -> None:
        """Note what a replayed line did to a post."""
        sent = self.activity.sent
        if key is None:
            sent.others += 1
            return
        operation, rkey = key
        name = native_id(did, rkey)
        account = self.activity.accounts.named(did)
        if operation == "delete":
            account.records.pop(rkey, None)
            sent.deleted.append(name)
            return
        kept = msgspec.structs.replace(record, rkey=rkey)
        account.keep(kept, self.core.settings.jetstream.records)
        if operation == "create":
            sent.add(name)
        else:
            sent.edited.append(name)

    def status(self) -> Json:
        return {
            "sent": len(self.activity.sent),
            "others": self.activity.sent.others,
            "events": self.log.tip,
            "first_seq": [host.first_seq for host in self.jetstream.hosts],
            "connections": [
                {
                    "id": each.id,
                    "since": each.opened,
                    "host": each.host.index,
                    "wire": each.wire,
                    "compressed": each.compression is not None,
                    "frames": each.frames,
                    "waiting": self.log.tip - each.position,
                }
                for each in self.jetstream.subscriptions
            ],
        }

    def sent(self, start: int) -> Json:
        return self.activity.sent.shown(start)

    def emit(self, body: bytes, *, verbatim: bool) -> int | None:
        """Append lines to the log, or one message exactly as it is."""
        lines = [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip()]
        self.append_lines([body] if verbatim else lines)
        self.core.wake()
        return 1 if verbatim else len(lines)

    def disconnect(self, *, torn: bool) -> int:
        return self.jetstream.disconnect(torn=torn)

    async def shut_down(self) -> None:
        self.disconnect(torn=False)
