"""The stream for programs: nothing is missed, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from web.accounts import tokens

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Visitor
    from test.flow.web.live.conftest import Hall

STREAM = "/api/v1/stream"
EVENTS = {"Accept": "text/event-stream"}
PATIENCE = 30  # seconds
Message = dict[str, Any]


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


async def some(visitor: Visitor, number: int, seen: str = "", **parameters: Any) -> list[Event]:
    """The next so many events with a tweet."""
    headers = EVENTS | ({"Last-Event-ID": seen} if seen else {})
    found: list[Event] = []
    async with (
        asyncio.timeout(PATIENCE),
        visitor.client.get(STREAM, params=parameters, headers=headers) as answer,
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


async def test_events_carry_the_cursor_from_which_it_goes_on(hall: Hall) -> None:
    program = await hall.pages.program("ana", "admin")
    await hall.press.store("one", "two", "three")
    found = await some(program, 3, since="0")
    assert texts(found) == ["one", "two", "three"]
    assert [each.id for each in found] == [each.data["cursor"] for each in found]
    assert texts(await some(program, 2, seen=found[0].id)) == ["two", "three"]
    # What a reader has seen counts more than where he began.
    parameters = {"since": "2020-01-01T00:00:00Z"}
    assert texts(await some(program, 1, seen=found[1].id, **parameters)) == ["three"]
    assert texts(await some(program, 3, **parameters)) == ["one", "two", "three"]


async def test_from_now_on(hall: Hall) -> None:
    program = await hall.pages.program("ana", "admin")
    await hall.press.store("before")
    async with program.client.ws_connect(STREAM) as ws, asyncio.timeout(PATIENCE):
        await ws.send_str("hello")  # is not listened to
        await hall.press.store("after")
        message = await ws.receive_json()
        assert message["tweet"]["text"] == "after"
    async with program.client.ws_connect(f"{STREAM}?since=0") as ws, asyncio.timeout(PATIENCE):
        assert (await ws.receive_json())["tweet"]["text"] == "before"


async def test_by_track_and_query(hall: Hall) -> None:
    snow = await hall.press.track("snow", "ana")
    rain = await hall.press.track("rain", "ana")
    program = await hall.pages.program("ana")
    await hall.press.store("sun", "snow", "rain", "snow and rain")
    found = await some(program, 2, since="0", track=str(snow))
    assert texts(found) == ["snow", "snow and rain"]
    assert [m["track"] for m in found[1].data["tweet"]["matches"]] == [str(snow)]
    # Without a track: those of his tracks; a query looks at everything.
    assert texts(await some(program, 3, since="0")) == ["snow", "rain", "snow and rain"]
    assert texts(await some(program, 1, since="0", query="sun")) == ["sun"]
    found = await some(program, 1, since="0", track=str(rain), query="and")
    assert texts(found) == ["snow and rain"]
    rule = {"query": "rain -snow", "query_kind": "query"}
    assert texts(await some(program, 1, since="0", **rule)) == ["rain"]


async def test_a_viewer_gets_only_what_is_shared_with_him(hall: Hall) -> None:
    track = await hall.press.track("snow", "ana")
    viewer = await hall.pages.program("eva", "viewer", ("read",))
    share = "INSERT INTO track_shares (track_id, user_id) SELECT $1, id FROM users WHERE name = $2"
    await hall.pages.database.execute(share, track, "eva")
    await hall.press.store("rain falls", "snow falls")
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
    hall: Hall, parameters: dict[str, str], status: int, field: str
) -> None:
    program = await hall.pages.program("ana")
    said = await program.json("GET", STREAM, params=parameters, headers=EVENTS)
    assert (said[0], said[1]["error"]["field"].partition("[")[0]) == (status, field)


async def test_who_may_and_how_it_is_asked_for(hall: Hall) -> None:
    track = await hall.press.track("snow", "ana")
    ben, stranger = await hall.pages.program("ben"), await hall.pages.stranger()
    assert (await ben.get(STREAM, params={"track": str(track)}, headers=EVENTS))[0] == 404
    assert (await ben.get(STREAM))[0] == 400
    assert (await stranger.get(STREAM, headers=EVENTS))[0] == 401
    blind = await hall.pages.program("ben", scopes=("write",))
    assert (await blind.get(STREAM, headers=EVENTS))[0] == 403
    person = await hall.pages.enter("ben")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await person.client.ws_connect(STREAM, headers={"Origin": "https://evil.example"})
    assert refusal.value.status == 403


async def test_a_token_that_is_revoked_ends_it_with_the_code(hall: Hall) -> None:
    program = await hall.pages.program("ana", "admin")
    async with (
        asyncio.timeout(PATIENCE),
        program.client.ws_connect(STREAM) as ws,
        program.client.get(STREAM, headers=EVENTS) as answer,
    ):
        async with hall.pages.database.acquire() as connection:
            user = await hall.pages.user("ana")
            for token in await tokens.of_user(connection, user):
                await tokens.end(connection, user, token.id)
        message = await ws.receive_json()
        assert message["error"]["code"] == "login_needed"
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        [last] = [event async for event in events(answer) if event.kind == "error"]
        assert last.data["code"] == "login_needed"


@pytest.mark.parametrize("parameters", [{}, {"query": "rain"}])
@pytest.mark.parametrize(
    "change",
    ["UPDATE users SET role = 'viewer'", "UPDATE tokens SET scopes = '{write}'"],
)
async def test_what_a_token_may_is_asked_again_and_again(
    hall: Hall, parameters: dict[str, str], change: str
) -> None:
    program = await hall.pages.program("eva", "admin", ("read", "write"))
    async with (
        asyncio.timeout(PATIENCE),
        program.client.ws_connect(STREAM, params=parameters) as ws,
        program.client.get(STREAM, params=parameters, headers=EVENTS) as answer,
    ):
        await hall.pages.database.execute(change)
        message = await ws.receive_json()
        assert message["error"]["code"] == "unavailable"
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        [last] = [event async for event in events(answer) if event.kind == "error"]
        assert last.data["code"] == "unavailable"


async def test_who_hears_nothing_is_told_how_far_it_has_come(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.live.pursuit.KEEP_ALIVE", 0.2)
    program = await hall.pages.program("ana", "admin")
    parameters = {"query": "snow", "since": "0"}
    await hall.press.store("rain")
    async with (
        asyncio.timeout(PATIENCE),
        program.client.ws_connect(STREAM, params=parameters) as ws,
        program.client.get(STREAM, params=parameters, headers=EVENTS) as answer,
    ):
        message = await ws.receive_json()
        assert list(message) == ["cursor"]
        first = await anext(event async for event in events(answer) if event.id)
        assert (first.data, first.id) == (None, message["cursor"])


class Consumer:
    """A program whose connection is cut again and again."""

    def __init__(self, visitor: Visitor, chance: random.Random) -> None:
        self.visitor = visitor
        self.chance = chance
        self.cursor = "0"
        self.seen: list[str] = []

    async def read(self, until: set[str]) -> None:
        """Until it has seen all of these."""
        while not until <= set(self.seen):
            await self._connect(until, self.chance.randint(1, 25))

    async def _connect(self, until: set[str], most: int) -> None:
        """Take so many, then vanish without a word; sometimes with some read but not kept."""
        raise NotImplementedError

    def keep(self, message: Message) -> None:
        self.cursor = message["cursor"]
        if "tweet" in message:
            self.seen.append(message["tweet"]["native_id"])


class OfEvents(Consumer):
    async def _connect(self, until: set[str], most: int) -> None:
        headers = EVENTS | {"Last-Event-ID": self.cursor}
        async with self.visitor.client.get(STREAM, headers=headers) as answer:
            async for event in events(answer):
                if event.data:
                    self.keep(event.data)
                most -= 1
                if not most or until <= set(self.seen):
                    return


class OfSocket(Consumer):
    async def _connect(self, until: set[str], most: int) -> None:
        async with self.visitor.client.ws_connect(STREAM, params={"since": self.cursor}) as ws:
            for _ in range(most):
                self.keep(await ws.receive_json())
                if until <= set(self.seen):
                    return


@pytest.mark.parametrize("kind", [OfEvents, OfSocket])
async def test_who_is_cut_off_at_random_gets_every_tweet(hall: Hall, kind: type[Consumer]) -> None:
    """From several sources, some of which come late; while it is stored."""
    chance = random.Random(3)
    sources = [await hall.press.source(f"s{n}") for n in range(3)]
    consumer = kind(await hall.pages.program("ana", "admin"), chance)
    first = set(await hall.press.store("one", source=sources[0]))
    stored = set(first)

    async def write() -> None:
        for n in range(60):
            texts = [f"tweet {n}" for _ in range(chance.randint(1, 12))]
            ago = chance.choice((0, 0, 0, 60, 86_400))
            stored.update(await hall.press.store(*texts, source=chance.choice(sources), ago=ago))
            await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        await consumer.read(first)
        await writing
        await consumer.read(stored)
    assert set(consumer.seen) == stored
