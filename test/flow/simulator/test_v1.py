"""The simulated X v1.1, asked over HTTP as a client would (X v1.1 reference §14)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
import oauthlib.oauth1

from simulator.filters import terms
from simulator.oauth import signature
from simulator.server import Limits, OAuth, Server, Settings, serve

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.simulator.conftest import Read

FILTER = "/1.1/statuses/filter.json"
ACCOUNT = OAuth(consumer_key="ck", consumer_secret="cs", token="at", token_secret="ts")
QUICK = 0.01  # of the protocol's times


Signed = tuple[str, bytes, dict[str, str]]


class Client:
    """One account that signs with a library of its own."""

    def __init__(self, server: Server, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    def sign(self, secret: str = "ts", stamp: str | None = None, **form: str) -> Signed:
        signer = oauthlib.oauth1.Client("ck", "cs", "at", secret, timestamp=stamp)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(form, quote_via=quote)
        url, headers, _ = signer.sign(self.server.url + FILTER, "POST", body, headers)
        return url, body.encode(), headers

    @asynccontextmanager
    async def send(self, signed: Signed) -> AsyncIterator[aiohttp.ClientResponse]:
        url, body, headers = signed
        async with self.http.post(url, data=body, headers=headers) as response:
            yield response

    @asynccontextmanager
    async def filter(self, **form: str) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.send(self.sign(**form)) as response:
            yield response

    async def status(self, **form: str) -> int:
        async with self.filter(**form) as response:
            return response.status


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Client]:
    wanted = msgspec.structs.replace(Settings(network="x_v1", rate=200, oauth=ACCOUNT), **settings)
    async with serve(wanted) as server, aiohttp.ClientSession() as http:
        yield Client(server, http)


def test_the_signature_is_that_of_the_published_vector() -> None:
    """X v1.1 reference §3, test vector."""
    parameters = [
        ("track", "twitter api,café #news"), ("stall_warnings", "true"),
        ("oauth_consumer_key", "ck"), ("oauth_token", "at"), ("oauth_nonce", "abc123"),
        ("oauth_timestamp", "1700000000"), ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_version", "1.0"),
    ]  # fmt: skip
    url = "https://stream.twitter.com" + FILTER
    assert signature("POST", url, parameters, ("cs", "ts")) == "QJMVuSKprQhIJf0N7jh21W+OKV4="


async def test_badly_signed_requests_are_refused() -> None:
    """401 for a wrong secret, an old timestamp, a nonce used again, no signature at all."""
    async with running(limits=Limits(v1_connects=50)) as client:
        good = client.sign(track="snow day,café #news")
        async with client.send(good) as response:
            assert response.status == 200
        async with client.send(good) as response:
            assert response.status == 401
        async with client.send(client.sign(secret="wrong", track="snow")) as response:
            assert response.status == 401
        async with client.send(client.sign(stamp="1700000000", track="snow")) as response:
            assert response.status == 401
            assert "Timestamp" in await response.text()
        url, body, headers = client.sign(track="snow")
        async with client.send((url, body + b"s", headers)) as response:
            assert response.status == 401
        async with client.send((url, body, {})) as response:
            assert response.status == 401


async def test_unknown_names_and_empty_values_are_ignored(read: Read) -> None:
    """twarc asks for `stall_warning`; node-tweet-stream sends all parameters, empty or not."""
    form = {"track": "snow", "stall_warning": "True", "include_ext_alt_text": "True"}
    empty = {"locations": "", "follow": "", "language": "", "delimited": "", "count": ""}
    async with running() as client, client.filter(**form, **empty) as response:
        assert response.status == 200
        assert len(await read(response, 5)) == 5
    async with running() as client:
        assert await client.status(track="", follow="", locations="") == 406
        assert await client.status(track="snow,,ice") == 406


async def test_too_many_attempts_are_420() -> None:
    """The sixth attempt within five minutes, well signed or not."""
    async with running() as client:
        assert [await client.status(track="a", secret="x") for _ in range(6)] == [401] * 5 + [420]
        assert client.server.hub.attempt_count == 6


async def test_tweets_pass_the_filter(read: Read) -> None:
    """Every tweet holds a phrase, has the streaming fields, and is on the list of sent ids."""
    async with running() as client, client.filter(track="snow day,#news") as response:
        tweets = await read(response, 60)
    for tweet in tweets:
        found = terms(tweet)
        for inner in ("retweeted_status", "quoted_status"):
            found |= terms(tweet.get(inner, {}))
        assert {"snow", "day"} <= found or "#news" in found
        assert tweet["timestamp_ms"].isdigit()
        assert str(tweet["id"]) == tweet["id_str"]
    assert [tweet["id_str"] for tweet in tweets] == client.server.sent[:60]


async def test_language_and_level_narrow_the_filter(read: Read) -> None:
    """They are AND-ed with the predicates."""
    form = {"locations": "-180,-90,180,90", "language": "es,ja", "filter_level": "low"}
    async with running() as client, client.filter(**form) as response:
        for tweet in await read(response, 30):
            assert tweet["lang"] in {"es", "ja"}
            assert tweet["filter_level"] in {"low", "medium"}
            assert tweet["coordinates"] or tweet["place"]


async def test_followed_accounts_write_are_answered_and_reposted(read: Read) -> None:
    """`follow` brings posts by others too."""
    async with running() as client, client.filter(follow="4711") as response:
        tweets = await read(response, 60)
    own = [tweet for tweet in tweets if tweet["user"]["id_str"] == "4711"]
    assert 0 < len(own) < len(tweets)


async def test_a_second_stream_ends_the_first(read: Read) -> None:
    """The older one receives code 7, then it ends; the newer one goes on."""
    async with running() as client, client.filter(track="a") as older:
        await read(older, 1)
        async with client.filter(track="b") as newer:
            assert (await read(newer, 3))[0]["id_str"]
            rest = [json.loads(line) async for line in older.content if line.strip()]
            assert rest[-1]["disconnect"]["code"] == 7
            await read(newer, 3)


async def test_lengths_count_bytes_and_the_line_end() -> None:
    """`delimited=length` with text of several bytes a character."""
    form: Mapping[str, str] = {"track": "雪,ข่าว,أخبار,é", "delimited": "length"}
    async with running() as client, client.filter(**form) as response:
        for _ in range(30):
            # TwitterAPI reads to \r\n, and takes what is all digits for a count.
            line = await response.content.readuntil(b"\r\n")
            message = await response.content.readexactly(int(line.removesuffix(b"\r\n")))
            assert message.endswith(b"}\r\n")
            json.loads(message)


async def test_the_sample_needs_no_filter(read: Read) -> None:
    """GET statuses/sample."""
    async with running(oauth=None) as client:
        url = client.server.url + "/1.1/statuses/sample.json"
        fields = ["consumer_key", "signature", "signature_method", "timestamp", "nonce", "token"]
        header = "OAuth " + ", ".join(f'oauth_{field}="x"' for field in fields)
        async with client.http.get(url, headers={"Authorization": header}) as response:
            assert len(await read(response, 5)) == 5


async def test_limit_messages_rise_for_each_connection(read: Read) -> None:
    """The total counts from the opening of the connection."""
    async with running(faults=("limit",), rate=0) as client:
        for _ in range(2):
            async with client.filter(track="snow") as response:
                messages = await read(response, 160)
            totals = [m["limit"]["track"] for m in messages if "limit" in m]
            assert totals == [7, 14, 21]


async def test_deletions_come_before_and_after_their_posts(read: Read) -> None:
    async with running(faults=("deletes",), rate=0) as client, client.filter(track="a") as response:
        messages = await read(response, 50)
    order = [
        message["delete"]["status"]["id_str"] if "delete" in message else message["id_str"]
        for message in messages
    ]
    deleted = [each["delete"]["status"]["id_str"] for each in messages if "delete" in each][:3]
    assert ["delete" in messages[order.index(each)] for each in deleted] == [True, False, True]
    assert [order.count(each) for each in deleted] == [2, 2, 2]


async def test_a_wrong_clock_shows_in_the_date_and_refuses_signatures() -> None:
    """401 together with a Date that is ten minutes off."""
    async with running(faults=("clock-skew",)) as client, client.filter(track="a") as response:
        assert response.status == 401
        shown = aiohttp.helpers.parse_http_date(response.headers["Date"])
        assert shown is not None
        assert abs(shown.timestamp() - client.server.hub.now()) < 5
