"""Gaps of Mastodon are refilled from the API of the server."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clocks import FastClock
from mastodon_sites import TOKEN, Site, running_site
from simulator.mastodon.site import Token
from statuses import decoded
from stream.backoff import Clock
from stream.config import MastodonSettings, Settings
from stream.errors import ConnectError
from stream.networks.base import SilentReporter
from stream.networks.mastodon.client import MastodonClient
from stream.networks.mastodon.plan import Channel
from stream.notes import MissedGap
from stream.tweet import Source, SourceId, Tweet


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as found:
        yield found


def client_of(site: Site, clock: Clock | None = None, **limits: Any) -> MastodonClient:
    source = Source(SourceId(1), "s", "mastodon", site.url, None, {"access_token": TOKEN}, True)
    settings = Settings(mastodon=MastodonSettings(**limits))
    return MastodonClient(source, settings, clock or Clock(), SilentReporter())


BEGAN = 1_790_000_000.0  # seconds since 1970


def missed(site: Site, number: int, *tags: str) -> list[str]:
    """Posts of one second each, from the beginning of the gap."""
    ids = []
    for n in range(number):
        status_id = site.new_id(BEGAN + n)
        site.publish(site.made(status_id, f"missed {n}", *tags))
        ids.append(status_id)
    return ids


async def refilled(
    client: MastodonClient, ended: float, *channels: Channel
) -> tuple[list[Tweet], list[float]]:
    tweets, filled = [], []
    gaps = [MissedGap(BEGAN, ended)]
    async for page in client.refill.pages(channels or (Channel("public"),), gaps, ended):
        for frame in page.frames:
            assert json.loads(frame)["refilled"] is True
            found = decoded(frame)
            assert isinstance(found, Tweet)
            tweets.append(found)
        filled.append(min(page.read_to.values()))
    return tweets, filled


async def test_a_gap_is_refilled_oldest_first_and_in_whole(site: Site) -> None:
    ids = missed(site, 130)
    found, filled = await refilled(client_of(site), BEGAN + 130)
    assert [tweet.server_id for tweet in found] == ids
    assert [tweet.text for tweet in found[:2]] == ["missed 0", "missed 1"]
    assert filled == [*sorted(filled[:-1]), BEGAN + 130]
    assert filled[0] == pytest.approx(BEGAN + 39, abs=0.01)


async def test_a_refill_ends_with_the_gap_and_follows_each_channel(site: Site) -> None:
    missed(site, 100, "flood")
    site.post("later", "flood")
    client = client_of(site)
    found, _ = await refilled(client, BEGAN + 30)
    assert {tweet.text for tweet in found} == {f"missed {n}" for n in range(40)}
    channels = (Channel("hashtag", "flood"), Channel("hashtag", "storm"), Channel("public:remote"))
    found, _ = await refilled(client, BEGAN + 100, *channels)
    assert len(found) == 101
    paths = [path for path in site.requests if "timelines" in path]
    assert any(path.startswith("/api/v1/timelines/tag/flood?limit=40&min_id=") for path in paths)
    assert any("public?remote=true" in path for path in paths)


async def test_a_refill_keeps_to_its_own_limit_and_to_the_servers(site: Site) -> None:
    missed(site, 45)
    site.rules.pagings, site.rules.time_scale = 1, 1 / 900  # a page a second
    client = client_of(site)
    began = client.clock.monotonic()
    found, _ = await refilled(client, BEGAN + 45)
    assert (len(found), client.refill.requests.made) == (45, 3)
    assert client.clock.monotonic() - began >= 1
    site.rules.pagings = 1000
    clock = FastClock(5000)
    own = client_of(site, clock, max_refill_pages=1)
    began = clock.monotonic()
    found, _ = await refilled(own, BEGAN + 45)
    assert len(found) == 45
    assert clock.monotonic() - began >= 1800  # three pages, one in 15 minutes


async def test_a_refill_stops_where_the_server_refuses(site: Site) -> None:
    missed(site, 3)
    site.tokens[TOKEN] = Token(("read:accounts",))
    with pytest.raises(ConnectError) as refused:
        await refilled(client_of(site), BEGAN + 3)
    assert refused.value.code == "credentials"
