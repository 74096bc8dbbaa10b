"""The stream for programs: nothing is missed, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec
import pytest

from live_app import TIMEOUT, LiveApp, Message
from stream.keys import Cursor, Run
from stream.store import feed, sessions
from stream.tweet import LaneId, TweetId
from waiting import Eventually
from web.live import tail
from web_app import Client

STREAM = "/api/v1/stream"
EVENTS = {"Accept": "text/event-stream"}


class Event(msgspec.Struct, frozen=True):
    kind: str
    id: str
    data: Any


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Server-sent events, as the standard says that they are read."""
    last = ""
    kind, data = "message", ""
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        match name:
            case "id":
                last = value
            case "event":
                kind = value
            case "data":
                data += value
            case "" if not value:
                yield Event(kind, last, msgspec.json.decode(data) if data else None)
                kind, data = "message", ""


async def some(client: Client, number: int, seen: str = "", **parameters: Any) -> list[Event]:
    """The next so many events with a tweet."""
    headers = EVENTS | ({"Last-Event-ID": seen} if seen else {})
    found: list[Event] = []
    async with (
        asyncio.timeout(TIMEOUT),
        client.http.get(STREAM, params=parameters, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        async for event in events(answer):
            found += [event] if event.data else []
            if len(found) == number:
                break
    return found


def texts(found: list[Event]) -> list[str]:
    return [each.data["tweet"]["text"] for each in found]


@contextlib.asynccontextmanager
async def both_streams(
    client: Client, **parameters: str
) -> AsyncIterator[tuple[aiohttp.ClientWebSocketResponse, aiohttp.ClientResponse]]:
    """A socket and a stream of events that ask for the same."""
    async with (
        asyncio.timeout(TIMEOUT),
        client.http.ws_connect(STREAM, params=parameters) as ws,
        client.http.get(STREAM, params=parameters, headers=EVENTS) as answer,
    ):
        yield ws, answer


async def end_codes(
    ws: aiohttp.ClientWebSocketResponse, answer: aiohttp.ClientResponse
) -> tuple[str, str]:
    """The codes of the errors with which both end."""
    message = await ws.receive_json()
    assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
    [last] = [event async for event in events(answer) if event.kind == "error"]
    return message["error"]["code"], last.data["code"]


async def test_events_carry_the_cursor_from_which_it_goes_on(live: LiveApp) -> None:
    program = await live.app.api_client("ana", "admin")
    await live.store("one", "two", "three")
    found = await some(program, 3, since="0")
    assert texts(found) == ["one", "two", "three"]
    assert [each.id for each in found] == [each.data["cursor"] for each in found]
    assert texts(await some(program, 2, seen=found[0].id)) == ["two", "three"]
    # The cursor counts more than the start that was asked for.
    parameters = {"since": "2020-01-01T00:00:00Z"}
    assert texts(await some(program, 1, seen=found[1].id, **parameters)) == ["three"]
    assert texts(await some(program, 3, **parameters)) == ["one", "two", "three"]


async def test_from_now_on(live: LiveApp) -> None:
    program = await live.app.api_client("ana", "admin")
    await live.store("before")
    async with program.http.ws_connect(STREAM) as ws, asyncio.timeout(TIMEOUT):
        await ws.send_str("hello")  # is not listened to
        await live.store("after")
        message = await ws.receive_json()
        assert message["tweet"]["text"] == "after"
    async with program.http.ws_connect(f"{STREAM}?since=0") as ws, asyncio.timeout(TIMEOUT):
        assert (await ws.receive_json())["tweet"]["text"] == "before"


async def test_by_track_and_query(live: LiveApp) -> None:
    snow = await live.track("snow", "ana")
    rain = await live.track("rain", "ana")
    program = await live.app.api_client("ana")
    await live.store("sun", "snow", "rain", "snow and rain")
    found = await some(program, 2, since="0", track=str(snow))
    assert texts(found) == ["snow", "snow and rain"]
    assert [m["track"] for m in found[1].data["tweet"]["matches"]] == [str(snow)]
    # Without a track: tweets of the user's tracks; a query looks at everything.
    assert texts(await some(program, 3, since="0")) == ["snow", "rain", "snow and rain"]
    assert texts(await some(program, 1, since="0", query="sun")) == ["sun"]
    found = await some(program, 1, since="0", track=str(rain), query="and")
    assert texts(found) == ["snow and rain"]
    rule = {"query": "rain -snow", "query_kind": "query"}
    assert texts(await some(program, 1, since="0", **rule)) == ["rain"]


async def test_a_viewer_gets_only_what_is_shared_with_him(live: LiveApp) -> None:
    track = await live.track("snow", "ana")
    viewer = await live.app.api_client("eva", "viewer", ("read",))
    await live.app.share(track, "eva")
    await live.store("rain falls", "snow falls")
    assert texts(await some(viewer, 1, since="0")) == ["snow falls"]
    assert texts(await some(viewer, 1, since="0", query="falls")) == ["snow falls"]


@pytest.mark.parametrize(
    ("parameters", "status", "field"),
    [
        ({"track": "99"}, 404, "track"),
        ({"track": "x"}, 422, "track"),
        ({"track": "-1"}, 422, "track"),
        ({"query": "a\0b"}, 422, "query"),
        ({"query": "(", "query_kind": "query"}, 422, "query"),
        ({"since": "yesterday"}, 422, "since"),
        ({"since": "1.1"}, 422, "since"),
        ({"since": "2026-01-01T00:00:00"}, 422, "since"),
        ({"sinse": "now"}, 422, "sinse"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(
    live: LiveApp, parameters: dict[str, str], status: int, field: str
) -> None:
    program = await live.app.api_client("ana")
    said = await program.json("GET", STREAM, params=parameters, headers=EVENTS)
    assert (said[0], said[1]["error"]["field"].partition("[")[0]) == (status, field)


async def test_who_may_and_how_it_is_asked_for(live: LiveApp) -> None:
    track = await live.track("snow", "ana")
    ben, stranger = await live.app.api_client("ben"), await live.app.anonymous()
    assert (await ben.get(STREAM, params={"track": str(track)}, headers=EVENTS))[0] == 404
    assert (await ben.get(STREAM))[0] == 400
    assert (await stranger.get(STREAM, headers=EVENTS))[0] == 401
    blind = await live.app.api_client("ben", scopes=("write",))
    assert (await blind.get(STREAM, headers=EVENTS))[0] == 403
    person = await live.app.log_in("ben")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await person.http.ws_connect(STREAM, headers={"Origin": "https://evil.example"})
    assert refusal.value.status == 403


async def test_a_token_that_is_revoked_ends_it_with_the_code(live: LiveApp) -> None:
    program = await live.app.api_client("ana", "admin")
    async with both_streams(program) as streams:
        async with live.app.database.acquire() as connection:
            user = await live.app.user("ana")
            for token in await sessions.tokens_of(connection, user):
                await sessions.revoke_token(connection, user, token.id)
        assert await end_codes(*streams) == ("login_needed", "login_needed")


@pytest.mark.parametrize("parameters", [{}, {"query": "rain"}])
@pytest.mark.parametrize(
    "change",
    ["UPDATE users SET role = 'viewer'", "UPDATE tokens SET scopes = '{write}'"],
)
async def test_what_a_token_may_is_asked_again_and_again(
    live: LiveApp, parameters: dict[str, str], change: str
) -> None:
    program = await live.app.api_client("eva", "admin", ("read", "write"))
    async with both_streams(program, **parameters) as streams:
        await live.app.execute(change)
        assert await end_codes(*streams) == ("unavailable", "unavailable")


async def test_a_check_that_fails_ends_all_views_and_not_itself(live: LiveApp) -> None:
    """What a check could not decide is not shown; the next ones go on."""
    database = live.app.database
    ana, ben = (
        await live.app.api_client("ana", "admin"),
        await live.app.api_client("ben", "admin"),
    )
    await database.execute("ALTER TABLE tokens ALTER scopes DROP NOT NULL")
    async with (
        asyncio.timeout(TIMEOUT),
        ana.http.ws_connect(STREAM) as first,
        ben.http.ws_connect(STREAM) as second,
    ):
        of_ben = "user_id = (SELECT id FROM users WHERE name = 'ben')"
        await database.execute(f"UPDATE tokens SET scopes = NULL WHERE {of_ben}")
        for ws in (first, second):
            assert (await ws.receive_json())["error"]["code"] == "unavailable"
    await database.execute("UPDATE tokens SET scopes = '{read}'")
    async with asyncio.timeout(TIMEOUT), ana.http.ws_connect(STREAM) as ws:
        await database.execute("DELETE FROM tokens")
        assert (await ws.receive_json())["error"]["code"] == "login_needed"


async def test_who_hears_nothing_is_told_how_far_it_has_come(
    live: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.live.tail.KEEP_ALIVE", 0.2)
    program = await live.app.api_client("ana", "admin")
    await live.store("rain")
    async with both_streams(program, query="snow", since="0") as (ws, answer):
        message = await ws.receive_json()
        assert list(message) == ["cursor"]
        first = await anext(event async for event in events(answer) if event.id)
        assert (first.data, first.id) == (None, message["cursor"])


async def by_events(client: Client, cursor: str) -> AsyncGenerator[Message]:
    headers = EVENTS | {"Last-Event-ID": cursor}
    async with client.http.get(STREAM, headers=headers) as answer:
        async for event in events(answer):
            if event.data:
                yield event.data


async def by_socket(client: Client, cursor: str) -> AsyncGenerator[Message]:
    async with client.http.ws_connect(STREAM, params={"since": cursor}) as ws:
        while True:
            yield await ws.receive_json()


@pytest.mark.parametrize("connect", [by_events, by_socket])
async def test_a_cursor_over_many_lanes_leads_on(
    live: LiveApp, connect: Callable[[Client, str], AsyncGenerator[Message]]
) -> None:
    source = await live.source("main")
    client = await live.app.api_client("ana", "admin")
    cursor = str(Cursor({Run(LaneId(lane), 1): TweetId(lane) for lane in range(100, 400)}))
    for text in ("one", "two"):
        await live.store(text, source=source)
        async for message in connect(client, cursor):
            if "tweet" in message:
                assert message["tweet"]["text"] == text
                cursor = message["cursor"]
                break
    assert len(Cursor.parse(cursor).positions) == 301


@pytest.mark.parametrize("connect", [by_events, by_socket])
async def test_readers_cut_off_at_random_get_every_tweet(
    live: LiveApp, connect: Callable[[Client, str], AsyncGenerator[Message]]
) -> None:
    """From several sources, some of which come late; while it is stored."""
    chance = random.Random(3)
    sources = [await live.source(f"s{n}") for n in range(3)]
    client = await live.app.api_client("ana", "admin")
    first = set(await live.store("one", source=sources[0]))
    stored, seen, cursor = set(first), set[str](), "0"

    async def read(until: set[str]) -> None:
        """Take so many, then vanish without a word; until it has seen all of these."""
        nonlocal cursor
        while not until <= seen:
            left = chance.randint(1, 25)
            async with contextlib.aclosing(connect(client, cursor)) as messages:
                async for message in messages:
                    cursor = message["cursor"]
                    if "tweet" in message:
                        seen.add(message["tweet"]["native_id"])
                    left -= 1
                    if not left or until <= seen:
                        break

    async def write() -> None:
        for n in range(60):
            texts = [f"tweet {n}" for _ in range(chance.randint(1, 12))]
            ago = chance.choice((0, 0, 0, 60, 86_400))
            stored.update(await live.store(*texts, source=chance.choice(sources), ago=ago))
            await asyncio.sleep(0)

    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        await read(first)
        await writing
        await read(stored)
    assert seen == stored


async def test_one_reading_serves_all_streams_that_keep_up(
    live: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads for itself until it has caught up, and then no more."""
    own = 0
    after = feed.after

    async def counted(connection: Any, cursor: Any, limit: int, *more: Any) -> Any:
        nonlocal own
        own += limit == tail.PAGE
        return await after(connection, cursor, limit, *more)

    monkeypatch.setattr("stream.store.feed.after", counted)
    track = await live.track("snow", "ana")
    await live.store("snow before")
    ana, ben = await live.app.api_client("ana"), await live.app.api_client("ben", "admin")
    eva = await live.app.api_client("eva", "viewer", ("read",))
    await live.app.share(track, "eva")
    asked = [(ana, "ana", {}), (ana, "ana", {"track": str(track)}), (eva, "eva", {})]
    asked += [(ana, "rain", {"query": "rain"}), (ben, "rain", {"query": "rain"}), (ben, "all", {})]
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(TIMEOUT):
        sockets = [
            (name, await stack.enter_async_context(client.http.ws_connect(STREAM, params=more)))
            for client, name, more in asked
        ]
        await live.store("snow first", "rain first")
        for name, ws in sockets:
            first = [(await ws.receive_json())["tweet"]["text"]]
            if name == "all":
                first.append((await ws.receive_json())["tweet"]["text"])
            assert first == {"rain": ["rain first"], "all": ["snow first", "rain first"]}.get(
                name, ["snow first"]
            )
        before = own
        for number in range(20):
            await live.store(f"snow {number}", f"rain {number}", f"sun {number}")
        words = {"ana": ["snow"], "eva": ["snow"], "rain": ["rain"], "all": ["snow", "rain", "sun"]}
        for name, ws in sockets:
            got = [(await ws.receive_json())["tweet"]["text"] for _ in range(20 * len(words[name]))]
            assert got == [f"{word} {n}" for n in range(20) for word in words[name]], name
        assert own == before


async def test_a_user_has_ten_live_views_and_streams_together(live: LiveApp) -> None:
    program, person = await live.app.api_client("ana"), await live.app.log_in("ana")
    ben = await live.app.api_client("ben")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await live.connect(person)
            await stack.enter_async_context(program.http.ws_connect(STREAM))
        status, said = await program.json("GET", STREAM, headers=EVENTS)
        assert (status, said["error"]["code"]) == (429, "too_many")
        assert "10 live connections" in said["error"]["message"]
        assert (await person.get("/live/socket", headers={"Origin": live.app.address}))[0] == 429
        await stack.enter_async_context(ben.http.ws_connect(STREAM))


async def test_readers_of_events_who_vanish_give_their_places_back(
    live: LiveApp, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although nothing is written to them in which that would be noticed."""
    monkeypatch.setattr("web.live.tail.KEEP_ALIVE", 3600.0)
    program = await live.app.api_client("ana")
    for _ in range(3):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(10):

                async def is_open() -> bool:
                    answer = await stack.enter_async_context(
                        program.http.get(STREAM, headers=EVENTS)
                    )
                    return answer.status == 200

                await eventually(is_open)
