"""The simulated Mastodon server as the program serves it: what is posted, when, and its faults."""

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import cast

from aiohttp import web

from simulator.core import Core, PostCredit
from simulator.faults import Armed
from simulator.mastodon.api import MastodonApi
from simulator.mastodon.site import Listener, MastodonSite, Rules, Status, Token
from simulator.mastodon.statuses import StatusWriter
from simulator.payload import Json
from simulator.producer import Replay
from simulator.settings import Settings

STEP_PAUSE = 0.01  # seconds
STEP_POSTS = 64  # without a rate
READER_LAG = 5000  # messages; without a rate, nothing is made while a reader is further behind
DELETE_AFTER = 8  # posts between a post and its deletion
STALL = 60.0  # seconds of silence in the fault of this name
STREAM_FAULTS = ("stall", "half-open", "reset", "close", "garbage", "unknown-kinds")
GARBAGE = ('{"stream":["public"', "no JSON at all", "<html>502 Bad Gateway</html>")
UNKNOWN = (
    '{"stream":["public"],"event":"label","payload":"{}"}',
    '{"stream":["user"],"event":"notification","payload":"{}"}',
    "{}",
)


class SentStatuses:
    """The truth to compare a collector with: uris, each list in the order of what happened."""

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}  # public posts
        self.matching: list[str] = []  # those that hold one of the words
        self.deleted: list[str] = []
        self.edited: list[str] = []

    def shown(self, start: int) -> Json:
        """The body of /sim/sent: posts from index `start` on, everything else wholly."""
        return {
            "count": len(self.ids),
            "ids": list(self.ids)[start:],
            "matching": self.matching,
            "deleted": self.deleted,
            "edited": self.edited,
        }


class Mastodon:
    """One server whose users post at the set rate, also while no client is connected."""

    def __init__(self, settings: Settings) -> None:
        self.core = Core(settings)
        wanted = settings.bearer_token
        self.site = MastodonSite(
            Rules(time_scale=settings.time_scale),
            {} if wanted is None else {wanted: Token(("read",))},
            default=Token(("read",)) if wanted is None else None,
        )
        self.api = MastodonApi(self.site, self.core)
        self.rng = random.Random(settings.seed)  # noqa: S311  repeatable, not secret
        self.writer = StatusWriter(self.rng, settings.words)
        self.truth = SentStatuses()
        self.made = 0
        self.recent: deque[Status] = deque(maxlen=100)
        self.doomed: deque[tuple[int, Status]] = deque()  # number after which it is deleted
        self.credit = PostCredit(self.core)
        self.replay = Replay(settings.replay, loop=settings.loop) if settings.replay else None

    def routes(self) -> Sequence[web.RouteDef]:
        return self.api.routes()

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Nothing: this server adds no header to all responses."""

    # -- time passes ------------------------------------------------------------------------------

    async def run(self) -> None:
        is_idle = True
        try:
            while True:
                self._apply_faults()
                if not self.site.was_heard or self.core.posts_left == 0:
                    is_idle = True
                else:
                    if is_idle:
                        self.credit.reset()
                    is_idle = False
                    await self._step()
                await asyncio.sleep(STEP_PAUSE if self.core.rate or is_idle else 0)
        finally:
            if self.replay is not None:
                self.replay.close()

    async def _step(self) -> None:
        readers = self.site.open_listeners
        if not self.core.rate and (
            not readers or max(each.queue.qsize() for each in readers) > READER_LAG
        ):
            await asyncio.sleep(STEP_PAUSE)
            return
        count = self.credit.due(STEP_POSTS)
        if self.replay is not None:
            self._take(await self.replay.take(count))
            if self.replay.done and self.replay.at >= len(self.replay.lines):
                self.core.posts_left = 0
            return
        for _ in range(count):
            self.post()
        if self.core.posts_left is not None:
            self.core.posts_left = max(0, self.core.posts_left - count)

    def _apply_faults(self) -> None:
        rules, mode = self.site.rules, self.core.faults.mode
        rules.live_local = rules.live_remote = "disabled" if mode("feeds-off") else "public"
        rules.has_only_deletes = bool(mode("only-deletes"))
        rules.is_paging_refused = bool(mode("paging-429"))
        rules.is_mute = bool(mode("silence"))
        rules.are_tokens_revoked = bool(mode("token-revoked"))
        if rules.are_tokens_revoked:
            self.site.drop_all()
        if self.site.open_listeners:
            armed = self.core.faults.take("stream", *STREAM_FAULTS)
            if armed is not None:
                self._run_fault(armed)

    def _run_fault(self, armed: Armed) -> None:
        match armed.fault:
            case "stall":
                self._silence(time.monotonic() + self.core.duration(armed, STALL))
            case "half-open":
                self._silence(float("inf"))
            case "garbage":
                for number in range(armed.n or len(GARBAGE)):
                    self.site.send_raw(GARBAGE[number % len(GARBAGE)])
            case "unknown-kinds":
                for message in UNKNOWN:
                    self.site.send_raw(message)
            case ending:
                self.site.drop_all(torn=ending == "reset")

    def _silence(self, until: float) -> None:
        for listener in self.site.open_listeners:
            listener.silent_until = until

    # -- what the users do ------------------------------------------------------------------------

    def post(self) -> None:
        """One more post, and the edits and deletions that the modes ask for."""
        self.made += 1
        settings, now = self.core.settings, self.core.now()
        word = None
        if settings.words and self.made % settings.words_every == 0:
            word = settings.words[self.made // settings.words_every % len(settings.words)]
        status = self.writer.status(self.site.new_id(now), now, word)
        self._publish(status, matching=word is not None)
        if self._due("deletes", 10) or self._due("only-deletes", 10):
            self.doomed.append((self.made + DELETE_AFTER, status))
        else:
            self.recent.append(status)
        if self._due("edits", 5) and self.recent:
            self._edit(self.rng.choice(self.recent))
        while self.doomed and self.doomed[0][0] <= self.made:
            self._delete(str(self.doomed.popleft()[1]["id"]))

    def _due(self, mode: str, default: int) -> bool:
        armed = self.core.faults.mode(mode)
        return armed is not None and self.made % (armed.n or default) == 0

    def _publish(self, status: Status, *, matching: bool = False) -> None:
        copies = self.core.faults.mode("duplicates")
        for _ in range((copies.n or 2) if copies else 1):
            self.site.publish(status)
        self.truth.ids[str(status["uri"])] = None
        if matching:
            self.truth.matching.append(str(status["uri"]))

    def _edit(self, status: Status) -> None:
        status["content"] = f"{status['content']}<p>(edited)</p>"
        status["edited_at"] = status["created_at"]
        self.site.edit(status)
        self.truth.edited.append(str(status["uri"]))

    def _delete(self, status_id: str) -> None:
        status = self.site.statuses.get(status_id)
        self.site.delete(status_id)
        if status is not None:
            self.truth.deleted.append(str(status["uri"]))

    def _take(self, lines: Sequence[bytes]) -> int:
        """Let happen what recorded lines say: messages of a stream, or statuses."""
        taken = 0
        for line in lines:
            found = _object(line)
            event, payload = found.get("event", "update"), found.get("payload", found)
            if isinstance(payload, str) and event != "delete":
                payload = _object(payload)
            if event == "delete" and isinstance(payload, str):
                self._delete(payload)
            elif isinstance(payload, dict) and payload.get("uri") and payload.get("id"):
                status = cast("Status", payload)
                if event == "status.update":
                    self.site.edit(status)
                    self.truth.edited.append(str(status["uri"]))
                else:
                    self._publish(status)
            else:
                self.site.send_raw(line.decode(errors="replace"))
            taken += 1
        return taken

    # -- control ----------------------------------------------------------------------------------

    def status(self) -> Json:
        return {
            "sent": len(self.truth.ids),
            "others": len(self.truth.deleted) + len(self.truth.edited),
            "pages": self.api.pages,
            "connections": [_shown(listener) for listener in self.site.open_listeners],
        }

    def sent(self, start: int) -> Json:
        return self.truth.shown(start)

    def emit(self, body: bytes, *, verbatim: bool) -> int | None:
        if not self.site.open_listeners:
            return None
        if verbatim:
            self.site.send_raw(body.decode(errors="replace"))
            return 1
        return self._take([line for line in body.splitlines() if line.strip()])

    def disconnect(self, *, torn: bool) -> int:
        count = len(self.site.open_listeners)
        self.site.drop_all(torn=torn)
        return count

    async def shut_down(self) -> None:
        self.disconnect(torn=False)


def _object(text: str | bytes) -> Json:
    """A JSON object; empty for everything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _shown(listener: Listener) -> Json:
    return {
        "since": listener.opened,
        "websocket": listener.is_socket,
        "channels": [list(channel) for channel in listener.channels],
        "waiting": listener.queue.qsize(),
    }
