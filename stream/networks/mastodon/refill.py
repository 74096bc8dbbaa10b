"""Read what was posted during a gap from the timelines of the REST API, and mark it as refilled.

The streaming API sends nothing again. `Refill.pages` reads the timeline of each channel forward
from the beginning of the gap (`min_id`), oldest first, within the server's limits (Mastodon
reference, "Limits"). Its frames go into the journal like others: they hold a status as it came, and
`"refilled":true`. What arrived on the stream as well is absorbed as a duplicate.

`connection.refiller` calls it after a gap has closed. Edits during the gap do not come back;
for deletions see `deletion_lookup`.
"""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from urllib.parse import quote

import msgspec

from stream.errors import ConnectError
from stream.networks.gap_interface import RefillPage
from stream.networks.mastodon.ids import id_at, time_of
from stream.networks.mastodon.limited_requests import LimitedRequests
from stream.networks.mastodon.plan import Channel
from stream.networks.mastodon.server import ServerApi
from stream.networks.response import Response, foreign_response
from stream.notes import MissedGap

WINDOW = 900.0  # seconds; a server counts pages in windows of 15 minutes
PAGE = 40  # statuses; servers send no more
REWIND = 300.0  # seconds before the gap: posts of other servers get ids of when they were written
_PARAMETERS = {
    "public": "/api/v1/timelines/public?",
    "public:local": "/api/v1/timelines/public?local=true&",
    "public:remote": "/api/v1/timelines/public?remote=true&",
}
_DIGITS = re.compile(r"[0-9]{1,19}")


class _Post(msgspec.Struct):
    id: str


class Refill:
    """The reader of timelines of one source; it keeps the count of pages between gaps."""

    def __init__(self, api: ServerApi, max_pages: int) -> None:
        self.api = api
        self.max_pages = max_pages
        self.requests = LimitedRequests(api, max_pages, WINDOW)

    async def pages(
        self, channels: Iterable[Channel], gaps: Sequence[MissedGap], until: float
    ) -> AsyncIterator[RefillPage]:
        """What was posted during these gaps and up to `until` (seconds since 1970).

        Channel by channel: the one that is furthest behind comes first, so that each is read to its
        end, however often this is interrupted. ConnectError when refilling is switched off, the
        server does not answer, or its ids hold no time.
        """
        if not self.max_pages:
            raise ConnectError("mastodon.max_refill_pages is 0", "final")
        read_to = {channel: _start(channel, gaps) for channel in channels}
        if not read_to:
            raise ConnectError("no channel is followed", "final")
        for channel in sorted(read_to, key=lambda channel: read_to[channel]):
            after = id_at(read_to[channel])
            while read_to[channel] < until:
                posts = await self._page(channel, after)
                newest = max((int(post_id) for post_id, _ in posts), default=after)
                is_last = not posts or newest <= after or newest >= id_at(until)
                after = newest
                read_to[channel] = until if is_last else time_of(newest)
                frames = [_frame(channel, raw) for _, raw in posts]
                yield RefillPage(frames, {_key(each): at for each, at in read_to.items()})

    async def _page(self, channel: Channel, after: int) -> list[tuple[str, bytes]]:
        """The ids and statuses of the next page, oldest first."""
        path = f"{_path(channel)}limit={PAGE}&min_id={after}"
        return self._read(await self.requests.get(path))

    def _read(self, response: Response) -> list[tuple[str, bytes]]:
        try:
            found = msgspec.json.decode(response.body, type=list[msgspec.Raw])
            posts = [(msgspec.json.decode(raw, type=_Post).id, bytes(raw)) for raw in found]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            now = self.api.clock.time()
            raise foreign_response(response, now, "a timeline").reworded(
                self.api.http.redact
            ) from None
        if not all(_DIGITS.fullmatch(post_id) for post_id, _ in posts):
            text = "the ids of this server's posts hold no time, so a gap cannot be filled"
            raise ConnectError(text, "final")
        return sorted(posts, key=lambda post: int(post[0]))


def _key(channel: Channel) -> str:
    return f"{channel.stream} {channel.tag}".rstrip()


def _start(channel: Channel, gaps: Iterable[MissedGap]) -> float:
    """Where to begin reading for these gaps, in seconds since 1970."""
    return min(
        max(gap.began - REWIND, gap.read_to.get(_key(channel), float("-inf"))) for gap in gaps
    )


def _path(channel: Channel) -> str:
    if channel.tag:
        local = "local=true&" if channel.stream == "hashtag:local" else ""
        return f"/api/v1/timelines/tag/{quote(channel.tag, safe='')}?{local}"
    return _PARAMETERS[channel.stream]


def _frame(channel: Channel, status: bytes) -> bytes:
    stream: Sequence[str] = (channel.stream, channel.tag) if channel.tag else (channel.stream,)
    named = msgspec.json.encode(stream)
    return b'{"stream":%b,"event":"update","payload":%b,"refilled":true}' % (named, status)
