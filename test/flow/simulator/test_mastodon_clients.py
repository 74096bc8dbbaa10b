"""A genuine client accepts the simulated Mastodon server: Mastodon.py, also its streams."""

import asyncio
from typing import TYPE_CHECKING, Any

import mastodon
import pytest

from servers import serving
from simulator.mastodon.api import MastodonApi
from simulator.mastodon.site import MastodonSite, Rules, Token
from statuses import status

if TYPE_CHECKING:
    from test.conftest import Eventually


class Listener(mastodon.StreamListener):
    """Keeps what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str]] = []

    def on_update(self, status: Any) -> None:
        self.events.append(("update", status.content))

    def on_status_update(self, status: Any) -> None:
        self.events.append(("status.update", status.content))

    def on_delete(self, status_id: Any) -> None:
        self.events.append(("delete", str(status_id)))

    def handle_heartbeat(self) -> None:
        """A comment; the first one comes at once."""


def client_of(url: str) -> Any:
    return mastodon.Mastodon(
        access_token="t",
        api_base_url=url,
        version_check_mode="none",
    )


async def test_mastodon_py_reads_streams_and_timelines(eventually: "Eventually") -> None:
    site = MastodonSite(Rules(time_scale=1 / 60), {"t": Token()})  # a client closes at a heartbeat
    public, flood = Listener(), Listener()
    options = {"run_async": True, "timeout": 60}
    async with serving(MastodonApi(site).app()) as url:
        client = await asyncio.to_thread(client_of, url)
        handles = [
            await asyncio.to_thread(client.stream_public, public, **options),
            await asyncio.to_thread(client.stream_hashtag, "Flood", flood, **options),
        ]
        try:
            await eventually(lambda: site.channels == {("public",), ("hashtag", "flood")})
            number = site.new_id()
            tags = [{"name": "flood", "url": "https://social.example/tags/flood"}]
            site.publish(status(id=number, tags=tags))
            site.edit(status("<p>Rain</p>", id=number, tags=tags))
            site.delete(number)
            site.publish(status("<p>Last</p>", id=site.new_id()))
            await eventually(lambda: len(public.events) == 4)
            await eventually(lambda: len(flood.events) == 3)
            found = await asyncio.to_thread(client.timeline_public, limit=5)
            last = site.new_id()
            looked_up = await asyncio.to_thread(client.statuses, [found[0].id, last])
            with pytest.raises(mastodon.MastodonNotFoundError):
                await asyncio.to_thread(client.status, last)
            assert await asyncio.to_thread(client.stream_healthy)
        finally:
            for handle in handles:
                await asyncio.to_thread(handle.close)
    changes = [
        ("update", "<p>Snow in town</p>"),
        ("status.update", "<p>Rain</p>"),
        ("delete", number),
    ]
    assert public.events == [*changes, ("update", "<p>Last</p>")]
    assert flood.events == changes
    assert [each.content for each in found] == ["<p>Last</p>"]
    assert [each.id for each in looked_up] == [found[0].id]
