"""Subscribers of Redis get what is stored while they listen, and are told what was skipped."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from redis_servers import PASSWORD
from stream.sinks import redis_channels
from stream.store import feed
from stream.store.feed import Cursor

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.sinks.conftest import MakeSubscriber, RedisBench

NAME = redis_channels.NAME


async def between(bench: RedisBench, begin: str, end: str) -> set[str]:
    """The ids of the stored tweets between two cursors, as the API reads them."""
    async with bench.database.acquire() as connection:
        after = await feed.after(connection, Cursor.parse(begin), 1000)
        beyond = await feed.after(connection, Cursor.parse(end), 1000)
    return {str(t.id) for t in after.tweets} - {str(t.id) for t in beyond.tweets}


async def test_subscribers_get_all_tweets_or_those_of_their_track(
    bench: RedisBench, subscriber: MakeSubscriber
) -> None:
    async with (
        bench.passing_on(),
        subscriber("tweets") as all_,
        subscriber("tweets:1") as one,
    ):
        await bench.ready(NAME)
        [*_, last] = await bench.store("snow 1", "rain", "snow 2")
        await bench.eventually(lambda: len(all_.messages) == 3 and len(one.messages) == 2)
        keys = await bench.ids()
        assert all_.ids == keys
        assert one.ids == [keys[0], keys[2]]
        assert [each["tracks"] for each in all_.messages] == [["1"], [], ["1"]]
        numbers = [each["seq"] for each in all_.messages]
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        assert all_.messages[0]["tweet"]["matches"][0]["term"] == "snow"
        await bench.delete(last)
        await bench.eventually(lambda: len(all_.messages) == 4 and len(one.messages) == 3)
        deletion = all_.messages[3]
        assert deletion == one.messages[2]
        assert deletion.keys() == {"v", "id", "seq", "tracks", "deleted_at"}
        assert (deletion["id"], deletion["tracks"]) == (keys[2], ["1"])


async def test_after_an_interruption_subscribers_are_told_what_was_skipped(
    bench: RedisBench, subscriber: MakeSubscriber
) -> None:
    async with bench.passing_on():
        await bench.ready(NAME)
        async with subscriber("tweets") as first:
            await bench.store("snow 1")
            await bench.eventually(lambda: first.ids)
        await bench.redis.kill()
        await bench.store("snow 2", "snow 3")
        await bench.fails(NAME, "Redis cannot be reached")
        await bench.redis.start()
        async with subscriber("tweets") as again, subscriber("tweets:1") as of_track:
            await bench.eventually(lambda: again.skipped and of_track.skipped)
            await bench.store("snow 4")
            await bench.eventually(lambda: again.ids)
    keys = await bench.ids()
    assert again.ids == keys[3:]
    assert again.skipped[0] == of_track.skipped[0]
    missed = await between(bench, again.skipped[0]["from"], again.skipped[0]["to"])
    assert missed == set(keys) - {*first.ids, *again.ids}


async def test_what_was_stored_while_no_daemon_ran_is_told_as_skipped(
    bench: RedisBench, subscriber: MakeSubscriber
) -> None:
    async with bench.passing_on():
        await bench.ready(NAME)
        await bench.works(NAME)
    await bench.store("snow 1")
    async with subscriber("tweets") as listening, bench.passing_on():
        await bench.eventually(lambda: listening.skipped)
        await bench.works(NAME)
        await bench.store("snow 2")
        await bench.eventually(lambda: listening.ids)
    keys = await bench.ids()
    assert listening.ids == keys[1:]
    [told, *_] = listening.skipped
    assert await between(bench, told["from"], told["to"]) == {keys[0]}


async def test_a_frozen_subscriber_is_cut_by_redis_and_delays_no_other(
    bench: RedisBench, subscriber: MakeSubscriber
) -> None:
    client = bench.redis.client
    await client.config_set("client-output-buffer-limit", "pubsub 100kb 100kb 0")
    frozen: Redis = Redis.from_url(bench.redis.url, socket_timeout=None)
    async with bench.passing_on(), subscriber("tweets") as other, frozen.pubsub() as never_reads:
        await bench.ready(NAME)
        await never_reads.subscribe("tweets")
        await never_reads.get_message(timeout=90)
        assert never_reads.connection is not None
        reader = never_reads.connection._reader
        assert reader is not None
        reader._transport.pause_reading()
        number = 0

        async def cut() -> bool:
            nonlocal number
            await bench.store(*(f"snow {n} {'x' * 5000}" for n in range(100)))
            number += 100
            [(_, subscribers)] = await client.pubsub_numsub("tweets")
            return int(subscribers) == 1

        await bench.eventually(cut)
        await bench.eventually(lambda: len(other.ids) == number)
        await bench.works(NAME)
    await frozen.aclose()
    assert other.ids == await bench.ids()


async def test_it_names_its_connections(bench: RedisBench) -> None:
    async with bench.passing_on(streams=True):
        await bench.works(NAME)
        names = {each["name"] for each in await bench.redis.client.client_list()}
    assert "twitterstream" in names


@pytest.mark.parametrize("wrong", ["password", "port"])
async def test_no_password_is_logged_or_shown(
    bench: RedisBench, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    caplog.set_level(logging.DEBUG)
    url = bench.redis.url
    url = (
        url.replace(PASSWORD, "an0ther")
        if wrong == "password"
        else url.replace(str(bench.redis.port), "1")
    )
    reason = {"password": "Redis refuses the login", "port": "Redis cannot be reached"}[wrong]
    async with bench.passing_on(url=url, streams=True):
        state = await bench.fails(NAME, reason)
    logged = [str(vars(record)) for record in caplog.records]
    assert any(reason in text for text in logged)
    for text in (state.reason, *logged):
        assert PASSWORD not in text
        assert "an0ther" not in text


async def test_after_a_restart_that_missed_nothing_the_numbers_continue(
    bench: RedisBench, subscriber: MakeSubscriber
) -> None:
    async with subscriber("tweets") as listening:
        for number in (2, 4, 6):
            async with bench.passing_on():
                await bench.has_begun(NAME)
                await bench.store("snow", "rain")
                await bench.published(listening, number)
                await bench.saved(NAME, listening.messages[-1]["seq"])
    numbers = [each["seq"] for each in listening.messages]
    assert numbers == list(range(numbers[0], numbers[0] + 6))
    assert listening.skipped == []


async def test_after_a_kill_before_the_position_was_saved_numbers_rise_after_skipped(
    bench: RedisBench, subscriber: MakeSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was published since may be told again, but no number is given twice."""
    monkeypatch.setattr(redis_channels, "SAVE_INTERVAL", 1e9)
    async with subscriber("tweets") as listening:
        async with bench.passing_on():
            await bench.has_begun(NAME)
            await bench.store("snow 1", "snow 2")
            await bench.published(listening, 2)
        async with bench.passing_on():
            await bench.has_begun(NAME)
            await bench.store("snow 3")
            await bench.published(listening, 3)
    first, second, told, third = listening.messages
    assert first["seq"] < second["seq"] < told["seq"] == third["seq"] - 1
    assert await between(bench, told["skipped"]["from"], told["skipped"]["to"]) == {
        first["id"],
        second["id"],
    }


async def test_a_repeated_skipped_has_the_number_of_the_last_message(
    bench: RedisBench, subscriber: MakeSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_channels, "REPEATS", (0.0,) * 1000)
    async with bench.passing_on():
        await bench.has_begun(NAME)
    await bench.store("snow 1")
    async with subscriber("tweets") as listening, bench.passing_on():
        await bench.has_begun(NAME)
        await bench.store("snow 2", "snow 3")
        await bench.eventually(
            lambda: len(listening.ids) == 2 and "skipped" in listening.messages[-1]
        )
    last = listening.messages[0]["seq"]
    for message in listening.messages[1:]:
        assert message["seq"] == last + ("skipped" not in message)
        last = message["seq"]


async def test_a_database_that_redis_does_not_have_is_named(bench: RedisBench) -> None:
    async with bench.passing_on(url=bench.redis.url.removesuffix("0") + "99", streams=True):
        for name in (NAME, "redis streams"):
            state = await bench.fails(name, "Redis has no database with this number")
            assert "Correct the number at the end of sinks.redis.url" in state.reason


async def test_another_service_at_the_address_is_named(bench: RedisBench) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with other, bench.passing_on(url=f"redis://127.0.0.1:{port}/0"):
        await bench.fails(NAME, "What answers there is no Redis")


async def test_tls_is_mentioned_where_redis_has_none(bench: RedisBench) -> None:
    async with bench.passing_on(url=bench.redis.url.replace("redis:", "rediss:")):
        state = await bench.fails(NAME, "check that this port of Redis has TLS")
    assert state.reason.startswith(("Redis does not answer", "Redis cannot be reached"))


async def test_a_file_of_tls_that_does_not_exist_is_no_crash(bench: RedisBench) -> None:
    url = bench.redis.url.replace("redis:", "rediss:") + "?ssl_ca_certs=/nowhere.pem"
    async with bench.passing_on(url=url):
        await bench.fails(NAME, "check that this port of Redis has TLS")
