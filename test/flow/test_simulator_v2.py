"""The simulated X v2, asked over HTTP as a client would (X v2 reference §10)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp
import msgspec
import pytest

from simulator.server import Limits, Server, Settings, serve

STREAM = "/2/tweets/search/stream"
RULES = STREAM + "/rules"
EVERYTHING = {
    "tweet.fields": "author_id,created_at,entities,geo,lang,note_tweet,referenced_tweets",
    "expansions": "author_id,referenced_tweets.id,geo.place_id,attachments.media_keys",
}
QUICK = 0.01  # of the protocol's times

pytestmark = pytest.mark.timeout(30)


class Eventually(Protocol):
    """The fixture of conftest.py."""

    async def __call__(self, condition: Callable[[], object]) -> None: ...


class Client:
    """One app with its token."""

    def __init__(self, server: Server, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def ask(
        self, method: str, path: str, body: object = None, **query: str
    ) -> tuple[int, dict[str, Any]]:
        url = self.server.url + path
        async with self.http.request(method, url, json=body, params=query) as response:
            return response.status, json.loads(await response.text() or "{}")

    async def add(self, *values: str) -> None:
        status, _ = await self.ask("POST", RULES, {"add": [{"value": v} for v in values]})
        assert status == 201

    @asynccontextmanager
    async def stream(self, **query: str) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self.http.get(self.server.url + STREAM, params=query) as response:
            yield response


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Client]:
    wanted = msgspec.structs.replace(Settings(rate=200, bearer_token="T"), **settings)
    headers = {"Authorization": "Bearer T"}
    async with serve(wanted) as server, aiohttp.ClientSession(headers=headers) as http:
        yield Client(server, http)


async def read(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """So many messages, keep-alives left out."""
    messages: list[dict[str, Any]] = []
    while len(messages) < count:
        line = await response.content.readline()
        assert line.endswith(b"\r\n"), "the stream ended"
        if line.strip():
            messages.append(json.loads(line))
    return messages


async def test_only_the_right_token_gets_in() -> None:
    """A wrong or missing bearer is 401, OAuth 1.0a is 403, and both carry rate limits."""
    async with running() as client:
        url = client.server.url + RULES
        for header, status in (("Bearer X", 401), ("", 401), ("OAuth a=b", 403)):
            async with client.http.get(url, headers={"Authorization": header}) as response:
                assert response.status == status
                assert "x-rate-limit-reset" in response.headers
        status, body = await client.ask("GET", RULES)
        assert (status, "data" in body) == (200, False)


async def test_rules_are_added_refused_and_found_again() -> None:
    """Partial success, duplicates with the existing id, tags that may be missing."""
    async with running() as client:
        rules = [{"value": "cat", "tag": "t"}, {"value": "from:"}, {"value": "dog"}]
        status, body = await client.ask("POST", RULES, {"add": rules})
        assert status == 201
        meta = body["meta"]
        assert meta["summary"] == {"created": 2, "not_created": 1, "valid": 2, "invalid": 1}
        data, errors = body["data"], body["errors"]
        assert [rule.get("tag") for rule in data] == ["t", None]
        assert errors[0]["type"].endswith("/invalid-rules")
        status, body = await client.ask("POST", RULES, {"add": [{"value": "cat", "tag": "u"}]})
        assert (status, "data" in body) == (200, False)
        errors = body["errors"]
        assert errors[0]["type"].endswith("/duplicate-rules")
        assert errors[0]["id"] == data[0]["id"]
        _, body = await client.ask("GET", RULES, ids=data[1]["id"])
        assert body["data"] == [data[1]]


async def test_rules_are_listed_in_pages() -> None:
    """`next_token` leads to the next page."""
    async with running() as client:
        await client.add("a", "b", "c")
        _, first = await client.ask("GET", RULES, max_results="2")
        meta = first["meta"]
        _, second = await client.ask(
            "GET", RULES, max_results="2", pagination_token=meta["next_token"]
        )
        values = [rule["value"] for page in (first, second) for rule in page["data"]]
        assert values == ["a", "b", "c"]


async def test_the_caps_of_rules_hold() -> None:
    """Number and length of rules are limited, and counts says how far."""
    async with running(limits=Limits(rules=2, rule_length=10)) as client:
        _, body = await client.ask("POST", RULES, {"add": [{"value": "x" * 11}]})
        assert "rule-length" in str(body["errors"])
        await client.add("a", "b")
        _, body = await client.ask("POST", RULES, {"add": [{"value": "c"}]})
        assert "rule-cap" in str(body["errors"])
        _, body = await client.ask("GET", RULES + "/counts")
        assert body["data"]["project_rules_count"] == "2"


async def test_dry_runs_change_nothing_and_delete_all_clears() -> None:
    """`dry_run` validates; add and delete cannot stand together; unknown keys are refused."""
    async with running() as client:
        status, _ = await client.ask("POST", RULES, {"add": [{"value": "a"}]}, dry_run="true")
        _, body = await client.ask("GET", RULES)
        assert (status, "data" in body) == (201, False)
        await client.add("a", "b", "c")
        _, body = await client.ask("POST", RULES, {"delete": {"values": ["a", "zzz"]}})
        assert body["meta"]["summary"] == {"deleted": 1, "not_deleted": 1}
        wrongs: list[dict[str, object]] = [{"add": [], "delete": {"ids": []}}, {"plus": []}, {}]
        for wrong in wrongs:
            status, _ = await client.ask("POST", RULES, wrong)
            assert status == 400
        await client.ask("POST", RULES, delete_all="true")
        _, body = await client.ask("GET", RULES)
        assert "data" not in body


async def test_every_request_is_counted_in_its_window() -> None:
    """After the last allowed request comes 429, until the window is over."""
    async with running(limits=Limits(rule_reads=2)) as client:
        for remaining in ("1", "0"):
            async with client.http.get(client.server.url + RULES) as response:
                assert response.headers["x-rate-limit-remaining"] == remaining
        status, body = await client.ask("GET", RULES)
        assert status == 429
        assert str(body["type"]).endswith("/rate-limit-exceeded")


async def test_without_rules_there_is_no_stream() -> None:
    """409 with RuleConfigurationIssue."""
    async with running() as client, client.stream() as response:
        assert response.status == 409
        assert (await response.json())["connection_issue"] == "RuleConfigurationIssue"


async def test_posts_carry_the_rules_that_they_match() -> None:
    """Only matching posts come, each once, each with all its rules; the list of sent ids agrees."""
    async with running() as client:
        await client.add('"snow day"', "#news lang:en", "@nasa")
        async with client.stream(**EVERYTHING) as response:
            posts = await read(response, 60)
        ids = [post["data"]["id"] for post in posts]
        assert ids == client.server.sent[:60]
        for post in posts:
            text = str(post["data"]).lower() + str(post.get("includes")).lower()
            assert post["matching_rules"]
            assert "snow day" in text or "news" in text or "nasa" in text


async def test_only_what_is_asked_for_is_sent() -> None:
    """Without parameters there are three fields and no includes; unknown values are 400."""
    async with running() as client:
        await client.add("#news")
        async with client.stream() as response:
            (post,) = await read(response, 1)
        assert set(post["data"]) == {"id", "text", "edit_history_tweet_ids"}
        assert "includes" not in post
        for query in ({"tweet.fields": "mood"}, {"maxSize": "1"}, {"backfill_minutes": "2"}):
            async with client.stream(**query) as response:
                assert response.status == 400


async def test_a_new_rule_reaches_the_open_stream() -> None:
    """No reconnect is needed, and a deleted rule stops delivering."""
    async with running() as client:
        await client.add("#first")
        async with client.stream() as response:
            await read(response, 1)
            await client.add("#second")
            await client.ask("POST", RULES, {"delete": {"values": ["#first"]}})
            async with asyncio.timeout(10):
                while True:
                    (post,) = await read(response, 1)
                    if "#second" in str(post["data"]):
                        break


async def test_a_rule_may_take_its_time() -> None:
    """With a delay, a rule exists at once and acts later."""
    async with running(limits=Limits(rule_delay=3)) as client:
        await client.add("#news")
        async with client.stream() as response:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await read(response, 1)
            await read(response, 1)


async def test_there_is_one_slot() -> None:
    """A second stream is refused; when the first is closed there is room again."""
    async with running() as client:
        await client.add("#news")
        async with client.stream() as first:
            await read(first, 1)
            async with client.stream() as second:
                assert second.status == 429
                assert (await second.json())["connection_issue"] == "TooManyConnections"
        await _slot_is_free(client)


async def test_delete_connections_frees_a_busy_slot(eventually: Eventually) -> None:
    """The slot outlives its client with the fault slot-busy, until it is killed."""
    async with running(faults=("slot-busy",)) as client:
        await client.add("#news")
        async with client.stream() as response:
            await read(response, 1)
        await eventually(lambda: not client.server.connections)
        async with client.stream() as response:
            assert response.status == 429
        status, body = await client.ask("DELETE", "/2/connections/filtered_stream")
        assert status == 200
        assert body["data"]["successful_kills"] == 1
        await _slot_is_free(client)


async def test_delete_connections_ends_an_open_stream() -> None:
    """The killed stream ends, and the list of connections is empty."""
    async with running() as client:
        await client.add("#news")
        async with client.stream() as response:
            await read(response, 1)
            _, body = await client.ask("GET", "/2/connections")
            uuid = body["data"][0]["id"]
            await client.ask("DELETE", "/2/connections", {"uuids": [uuid]})
            async with asyncio.timeout(5):
                while await response.content.readline():
                    pass
        _, body = await client.ask("GET", "/2/connections")
        assert body["data"] == []


async def test_a_quiet_stream_is_kept_alive() -> None:
    """Blank lines come when nothing else does, on the simulator's scale of time."""
    async with running(posts=1, time_scale=QUICK) as client:
        await client.add("#news")
        async with client.stream() as response:
            await read(response, 1)
            assert [await response.content.readline() for _ in range(3)] == [b"\r\n"] * 3


async def test_the_simulator_can_be_driven_while_it_runs() -> None:
    """Raw messages, pace, sent ids, status and disconnecting, all over HTTP."""
    async with running(posts=1, time_scale=QUICK) as client:
        await client.add("#news")
        assert (await client.ask("POST", "/sim/emit", {}))[0] == 409
        async with client.stream() as response:
            await read(response, 1)
            url = client.server.url
            async with client.http.post(url + "/sim/emit", data=b'{"a":1}\n{"b":2}\n') as emitted:
                assert (await emitted.json())["messages"] == 2
            assert await read(response, 2) == [{"a": 1}, {"b": 2}]
            await client.ask("POST", "/sim/pace", {"posts": 10, "rate": 0})
            await read(response, 10)
            _, body = await client.ask("GET", "/sim/sent", **{"from": "1"})
            assert body["ids"] == client.server.sent[1:]
            assert body["count"] == 11
            _, body = await client.ask("GET", "/sim/status")
            assert (body["posts_left"], body["others"]) == (0, 2)
            await client.ask("POST", "/sim/disconnect")
            async with asyncio.timeout(5):
                while await response.content.readline():
                    pass


async def _slot_is_free(client: Client) -> None:
    async with asyncio.timeout(5):
        while True:
            async with client.stream() as response:
                if response.status == 200:
                    return
