"""An author's whole history from their server: as live posts, complete, resumed, rate limited."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web

from jetstream_messages import ANN
from servers import answering
from simulator.bluesky.accounts import Account
from simulator.server import Jetstream, Server, serve
from simulator.server import Settings as SimulatorSettings
from stream.backoff import Clock
from stream.config import Settings
from stream.config.settings import BlueskySettings
from stream.errors import ConnectError
from stream.jsontext import sanitize_for_jsonb
from stream.networks.base import PastPage, PastPages, ReportRetry
from stream.networks.bluesky import repository
from stream.networks.bluesky.author_history import read_author_past
from stream.networks.bluesky.decode import decode
from stream.networks.bluesky.replay import read_past
from stream.tweet import Source, SourceId, Tweet

HANDLE = "paged.example"


class NotingClock(Clock):
    """A clock that notes each wait and makes it short."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(min(seconds, 0.2))


def ignore(why: str) -> None:
    """For readers whose retries are not looked at."""


@asynccontextmanager
async def writing(
    *faults: str, posts: int = 900, requests: int = 3000, window: float = 300
) -> AsyncIterator[tuple[Server, Account]]:
    """A network on which one author has written a third of the posts."""
    jetstream = Jetstream(history=posts, pds_requests=requests, pds_window=window)
    settings = SimulatorSettings(
        network="bluesky", faults=faults, words=(f"@{HANDLE}",), words_every=3, jetstream=jetstream
    )
    async with serve(settings) as server:
        yield server, server.bluesky.activity.accounts.named(HANDLE)


def settings_for(server: Server) -> Settings:
    return Settings(
        bluesky=BlueskySettings(
            hosts=[server.url],
            old_hosts=[],
            plc=server.url,
            appview=server.url,
            did_web=server.url,
            private_hosts=True,
        )
    )


def read(
    server: Server,
    author: str = HANDLE,
    resume: str | None = None,
    clock: Clock | None = None,
    since: float = 0,
    report: ReportRetry = ignore,
) -> PastPages:
    clock = clock or NotingClock()
    return read_author_past(author, settings_for(server), clock, since, resume, report)


def tweets(pages: list[PastPage]) -> list[Tweet]:
    found = [decode(sanitize_for_jsonb(body)[0]) for page in pages for _, body in page.messages]
    assert all(isinstance(each, Tweet) for each in found)
    return [each for each in found if isinstance(each, Tweet)]


def keys(pages: list[PastPage]) -> list[str]:
    return [each.native_id.partition("/")[0] for each in tweets(pages)]


@pytest.mark.parametrize("by_id", [False, True])
async def test_all_posts_are_read_the_newest_first(by_id: bool) -> None:
    async with writing("deletes", "edits") as (server, account):
        pages = [page async for page in read(server, account.did if by_id else f"@{HANDLE}")]
        assert keys(pages) == sorted(account.records, reverse=True)
        assert {each.own.author_id for each in tweets(pages)} == {account.did}
        assert len(pages) > 2
        times = [time for page in pages for time, _ in page.messages]
        assert times == sorted(set(times))
        shares = [page.progress or 0 for page in pages]
        assert 0 < shares[0] < shares[-1] == 1


async def test_it_is_read_back_to_a_time_by_the_keys_of_posts() -> None:
    async with writing() as (server, account):
        every = sorted(account.records, reverse=True)
        [first, *_] = [page async for page in read(server)]
        oldest = tweets([first])[-1].created_at
        assert oldest is not None
        found = [page async for page in read(server, since=oldest.timestamp() + 1)]
        assert keys(found) == every[: len(first.messages)]
        assert found[-1].progress == 1
        assert [page async for page in read(server, resume=found[-1].resume)] == []


async def test_a_post_is_the_same_as_the_one_that_came_live() -> None:
    async with writing("escapes", "bad-facets", "bad-clocks", "wrong-types") as (server, _):
        source = Source(SourceId(1), "main", "bluesky", None, None, {}, enabled=True)
        live: dict[str, bytes] = {}
        past = read_past(source, settings_for(server), Clock(), time.time() - 7200, None, ignore)
        async with aclosing(past):
            async for page in past:
                for _, body in page.messages:
                    tweet = decode(sanitize_for_jsonb(body)[0])
                    if isinstance(tweet, Tweet):
                        live[tweet.native_id] = body
        found = [page async for page in read(server)]
        bodies = [body for page in found for _, body in page.messages]
        both = [
            pair for pair in zip(tweets(found), bodies, strict=True) if pair[0].native_id in live
        ]
        assert len(both) > 200
        for tweet, body in both:
            as_live = live[tweet.native_id]
            assert decode(sanitize_for_jsonb(as_live)[0]) == tweet
            doc, live_doc = json.loads(body), json.loads(as_live)
            assert live_doc["payload"].keys() - doc["payload"].keys() == {"seq", "rev"}
            doc["payload"].pop("time")
            assert doc["payload"].items() <= live_doc["payload"].items()
            assert list(doc["payload"]["record"]) == list(live_doc["payload"]["record"])


async def test_after_every_page_it_can_be_resumed() -> None:
    async with writing() as (server, account):
        found: list[PastPage] = []
        while not found or found[-1].progress != 1:
            resume = found[-1].resume if found else None
            async with aclosing(read(server, resume=resume)) as pages:
                found.append(await anext(pages))
        assert keys(found) == sorted(account.records, reverse=True)
        assert [page async for page in read(server, resume=found[-1].resume)] == []


async def test_rate_limits_and_errors_of_the_server_cost_time_but_no_post() -> None:
    clock = NotingClock()
    async with writing("pds-errors", requests=4, window=1) as (server, account):
        pages = [page async for page in read(server, clock=clock)]
        assert keys(pages) == sorted(account.records, reverse=True)
        assert max(clock.waits) > 0.2


async def test_a_server_that_keeps_refusing_is_an_error_that_says_when_to_retry() -> None:
    clock = NotingClock()
    async with writing("pds-busy") as (server, account):
        with pytest.raises(ConnectError, match="429") as refused:
            await anext(read(server, account.did, clock=clock))
        assert refused.value.retry_at is not None
        assert max(clock.waits) > 60


async def test_a_server_that_asks_to_wait_for_long_is_not_waited_for() -> None:
    clock = NotingClock()
    async with writing("pds-busy", window=2000) as (server, account):
        with pytest.raises(ConnectError, match="429"):
            await anext(read(server, account.did, clock=clock))
    assert clock.waits == []


@pytest.mark.parametrize(
    ("status", "words"),
    [("deleted", "deleted"), ("takendown", "taken down"), ("deactivated", "is deactivated")],
)
async def test_an_account_that_vanishes_is_said(status: str, words: str) -> None:
    async with writing() as (server, account):
        pages = read(server)
        await anext(pages)
        account.status = status
        with pytest.raises(ConnectError, match=words) as gone:
            await anext(pages)
        assert gone.value.retry == "final"
        with pytest.raises(ConnectError) as unknown:
            await anext(read(server, account.did))
        assert unknown.value.retry == "final"


@pytest.mark.parametrize(
    ("author", "words"),
    [
        ("no.such.example", "No account on Bluesky has the handle no.such.example. Correct it"),
        ("12345", "'12345' is not an account on Bluesky: write its handle"),
        ("did:plc:ann", "its whole id"),
        ("two words", "not an account on Bluesky"),
    ],
)
async def test_who_is_no_account_is_refused_with_the_form(author: str, words: str) -> None:
    async with writing(posts=3) as (server, _):
        with pytest.raises(ConnectError, match=words) as refused:
            await anext(read(server, author))
        assert refused.value.retry == "final"


# -- servers that are no PDS ----------------------------------------------------------------------

POST = {"uri": "at://x/app.bsky.feed.post/3k1", "cid": "c", "value": {"text": "snow"}}

WRONG: list[dict[str, object]] = [{"cid": 7}, {"uri": None}]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" * 100_000, "cannot be read"),
        (b'{"records":[', "cannot be read"),
        (b'{"records":"' + b"a" * (repository.PAGE_BYTES_MAX + 1) + b'"}', "more than"),
        (b"<html>", "web page"),
        *[
            (json.dumps({"records": [POST, POST | wrong]}).encode(), "cannot be read")
            for wrong in WRONG
        ],
    ],
)
async def test_what_is_no_list_of_posts_is_an_error(body: bytes, words: str) -> None:
    with pytest.raises(ConnectError, match=words):
        await list_all(body)


async def test_a_list_that_leads_to_itself_has_an_end() -> None:
    pages = await list_all(json.dumps({"records": [POST], "cursor": "3k1"}).encode())
    assert len(pages) == 2
    assert pages[-1].progress == 1


async def list_all(body: bytes) -> list[PastPage]:
    """The pages of an author whose server always answers with this body."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "listRecords" in request.path:
            return web.Response(body=body, content_type="application/json")
        if request.path != f"/{ANN}":
            return web.json_response({}, status=404)
        service = {"id": "#atproto_pds", "serviceEndpoint": url}
        return web.json_response({"id": ANN, "service": [service]})

    async with answering(answer) as url:
        bluesky = BlueskySettings(plc=url, appview=url, private_hosts=True)
        past = read_author_past(ANN, Settings(bluesky=bluesky), NotingClock(), 0, None, ignore)
        return [page async for page in past]
