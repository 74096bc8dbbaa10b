"""The simulated Mastodon server as the program serves it: posts, faults, /sim, timelines."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from simulator.server import Server, Settings, faults_of, serve

if TYPE_CHECKING:
    from test.conftest import Eventually

TOKEN = "access_token=t"
STATUSES = "/api/v1/statuses"
STREAM = "/api/v1/streaming?stream=public&access_token=t"
TAGGED = "/api/v1/streaming?stream=hashtag&tag=rain&access_token=t"
PAGE = "/api/v1/timelines/public?limit=40&access_token=t"


class Site:
    """A client of it."""

    def __init__(self, server: Server, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def ask(self, path: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
        async with self.http.request(method, self.server.url + path, json=body) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else text

    async def arm(self, fault: str, **more: float) -> None:
        status, _ = await self.ask("/sim/faults", "POST", {"fault": fault, **more})
        assert status == 200

    def stream(self, path: str = STREAM) -> AbstractAsyncContextManager[Any]:
        return self.http.ws_connect(self.server.url + path)

    async def refused(self, path: str = STREAM) -> int:
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with self.stream(path):
                pass
        return error.value.status


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    wanted = Settings(network="mastodon", **{"rate": 200, "seed": 3, **settings})
    async with serve(wanted) as server, aiohttp.ClientSession() as http:
        yield Site(server, http)


async def received(socket: Any, count: int) -> list[tuple[str, Any]]:
    """Event and payload of so many messages."""
    found = []
    for _ in range(count):
        message = json.loads((await socket.receive(timeout=90)).data)
        payload = message["payload"]
        found.append(
            (message["event"], payload if message["event"] == "delete" else json.loads(payload))
        )
    return found


async def test_posts_hold_the_words_and_are_written_down() -> None:
    async with site(words=("snow day", "#rain", "@ann@harbour.example"), words_every=3) as client:
        async with client.stream() as socket:
            got = [status for _, status in await received(socket, 60)]
        await client.ask("/sim/pace", "POST", {"posts": 0})
        _, sent = await client.ask("/sim/sent")
        assert sent["ids"][:60] == [status["uri"] for status in got]
        matching = set(sent["matching"])
        assert len(matching) == sent["count"] // 3
        for status in got:
            text = json.dumps(status, ensure_ascii=False)
            written = (
                "snow day" in text
                or any(tag["name"] == "rain" for tag in status["tags"])
                or status["account"]["acct"] == "ann@harbour.example"
            )
            assert written == (status["uri"] in matching)
        assert {"@" in status["account"]["acct"] for status in got} == {True, False}


async def test_hashtag_channels_carry_only_their_tag() -> None:
    async with site(words=("#rain",), words_every=4) as client, client.stream(TAGGED) as socket:
        got = await received(socket, 5)
        assert {status["tags"][-1]["name"] for _, status in got} == {"rain"}


async def test_edits_and_deletions_follow_their_posts() -> None:
    faults = ("edits", "deletes")
    async with site(faults=faults) as client, client.stream() as socket:
        got = await received(socket, 200)
        _, sent = await client.ask("/sim/sent")
    ids = {status["id"]: status["uri"] for event, status in got if event == "update"}
    deleted = [ids[payload] for event, payload in got if event == "delete"]
    edited = [status["uri"] for event, status in got if event == "status.update"]
    assert len(deleted) > 5
    assert len(edited) > 10
    assert sent["deleted"][: len(deleted)] == deleted
    assert sent["edited"][: len(edited)] == edited


async def test_single_statuses_are_looked_up_as_long_as_they_exist() -> None:
    async with site() as client, client.stream() as socket:
        [(_, first), (_, second)] = await received(socket, 2)
        mastodon = client.server.mastodon.site
        mastodon.delete(first["id"])
        numbers = [first["id"], second["id"]]
        status, found = await client.ask(f"{STATUSES}?{_listed(numbers)}&{TOKEN}")
        assert (status, [each["id"] for each in found]) == (200, [second["id"]])
        assert (await client.ask(f"{STATUSES}/{first['id']}?{TOKEN}"))[0] == 404
        assert (await client.ask(f"{STATUSES}/{second['id']}?{TOKEN}"))[0] == 200
        assert (await client.ask(f"{STATUSES}?{_listed(range(21))}&{TOKEN}"))[0] == 422
        mastodon.rules.has_lookup = False
        assert (await client.ask(f"{STATUSES}?{_listed(numbers)}&{TOKEN}"))[0] == 404


def _listed(numbers: Iterable[object]) -> str:
    return "&".join(f"id[]={number}" for number in numbers)


async def test_it_posts_while_nobody_listens_and_timelines_show_it(
    eventually: "Eventually",
) -> None:
    async with site() as client:
        async with client.stream() as socket:
            [(_, last)] = await received(socket, 1)
        before = len(client.server.sent)
        await eventually(lambda: len(client.server.sent) > before + 50)
        status, page = await client.ask(f"{PAGE}&min_id={last['id']}")
        assert status == 200
        assert [each["uri"] for each in page][::-1] == client.server.sent[1:41]
        await client.arm("paging-429")
        await eventually(lambda: client.server.mastodon.site.rules.is_paging_refused)
        assert (await client.ask(PAGE))[0] == 429


async def test_faults_end_streams_silence_them_and_refuse_new_ones(
    eventually: "Eventually",
) -> None:
    async with site(rate=1000) as client:
        for ending in ("close", "reset"):
            async with client.stream() as socket:
                await received(socket, 1)
                await client.arm(ending)
                while (message := await socket.receive(timeout=90)).type == aiohttp.WSMsgType.TEXT:
                    pass
                assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED,
                                        aiohttp.WSMsgType.ERROR}  # fmt: skip
        await client.arm("429-rate")
        assert await client.refused() == 429
        async with client.stream() as socket:
            await received(socket, 1)
            await client.arm("half-open")
            [listener] = client.server.mastodon.site.open_listeners
            await eventually(lambda: listener.queue.qsize() > 100)
            status, answer = await client.ask("/sim/disconnect?torn=1", "POST")
            assert (status, answer) == (200, {"connections": 1})
        await client.arm("token-revoked")
        await eventually(lambda: client.server.mastodon.site.rules.are_tokens_revoked)
        assert await client.refused() == 401
        assert (await client.ask(PAGE))[0] == 401
        await client.ask("/sim/faults", "DELETE")
        await eventually(lambda: not client.server.mastodon.site.rules.are_tokens_revoked)
        async with client.stream() as socket:
            await received(socket, 1)
        _, status = await client.ask("/sim/status")
        assert [attempt["status"] for attempt in status["attempts"]][-2:] == [401, 200]
        assert status["faults"] == faults_of("mastodon")


@pytest.mark.parametrize(
    ("fault", "access"), [("feeds-off", "disabled"), ("only-deletes", "public")]
)
async def test_a_feed_without_posts_still_carries_deletions(
    fault: str, access: str, eventually: "Eventually"
) -> None:
    async with site(faults=("deletes",)) as client, client.stream() as socket:
        await received(socket, 1)
        await client.arm(fault)
        before = len(client.server.sent)
        await eventually(lambda: len(client.server.sent) > before + 100)
        _, instance = await client.ask("/api/v2/instance")
        feeds = instance["configuration"]["timelines_access"]["live_feeds"]
        assert feeds == {"local": access, "remote": access}
        await client.ask("/sim/faults/deletes", "DELETE")
        await client.ask("/sim/pace", "POST", {"posts": 0})
        _, status = await client.ask("/sim/status")
        assert status["connections"][0]["channels"] == [["public"]]
        events = ""
        while not events.endswith("delete" * 3):
            [(event, _)] = await received(socket, 1)
            events += event


async def test_recorded_messages_happen_again() -> None:
    async with site(rate=1, posts=0) as client, client.stream() as socket:
        status = {"id": "7", "uri": "https://a.example/7", "visibility": "public", "tags": [],
                  "account": {"id": "1", "acct": "ann"}}  # fmt: skip
        lines = [
            {"stream": ["public"], "event": "update", "payload": json.dumps(status)},
            {"stream": ["public"], "event": "status.update", "payload": json.dumps(status)},
            {"stream": ["public"], "event": "delete", "payload": "7"},
        ]
        body = "\n".join(json.dumps(line) for line in lines)
        async with client.http.post(client.server.url + "/sim/emit", data=body) as response:
            assert await response.json() == {"messages": 3}
        found = await received(socket, 3)
        assert found == [("update", status), ("status.update", status), ("delete", "7")]
        _, sent = await client.ask("/sim/sent")
        uri = [status["uri"]]
        assert (sent["ids"], sent["edited"], sent["deleted"]) == (uri, uri, uri)
