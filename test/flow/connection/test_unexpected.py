"""Whatever a server sends, and whatever goes wrong with one source, the program goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
import pytest
from aiohttp import web

from servers import V2_TWEET as TWEET
from servers import send, status
from stream.connection import ConnectionSupervisor
from stream.connection.gap_repair import GapRepair
from stream.errors import Broken, DatabaseAway
from stream.networks.http_stream import HttpStream
from stream.networks.registry import NETWORKS
from stream.networks.x_v2.client import XV2Client
from stream.notes import EventNote
from stream.tweet import Source, SourceId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.connection.conftest import MakeRig, Rig

RULES = b'{"data":[{"id":"1","value":"snow","tag":"tws-1"}],"meta":{}}'
OF_LISTING = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(RULES), RULES)


class Rude:
    """A server that takes requests and hangs up without an answer; it counts connections."""

    def __init__(self) -> None:
        self.asked: list[str] = []  # the first line of each connection's request
        self.lists = False  # whether it answers those for rules

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.split(b"\r\n")[0].decode()
            self.asked.append(line)
            if self.lists and "/rules" in line:
                writer.write(OF_LISTING)
                await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self.take, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("lists", [False, True])
async def test_one_attempt_is_one_connection(
    make_rig: MakeRig, eventually: Eventually, *, lists: bool
) -> None:
    """X counts 50 in 15 minutes, and does not ask which of them we meant."""
    rig = await make_rig(speed=20)
    rude = Rude()
    rude.lists = lists
    async with rude.serving() as url, rig.running(url=url) as connection:
        await eventually(lambda: connection.counters["waiting"] >= 5)
        path = "/2/tweets/search/stream?" if lists else "/2/tweets/search/stream/rules"
        asked = [line for line in rude.asked if path in line]
        assert len(asked) == connection.counters["attempts"]
        assert "Server disconnected" in connection.state.reason


async def test_requests_for_rules_stay_below_the_limit_of_attempts_too(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=1000)
    rude = Rude()
    began = rig.clock.time()
    async with rude.serving() as url, rig.running(url=url):
        await eventually(lambda: rig.clock.time() - began > 1700)
    assert len(rude.asked) <= 90  # 45 in any 15 minutes


async def test_each_page_of_the_rules_counts(make_rig: MakeRig, eventually: Eventually) -> None:
    """A list without end is read no further than X allows requests for it, 450 in 15 minutes."""
    rig = await make_rig(speed=5)
    asked = 0

    async def page(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.json_response({"data": [], "meta": {"next_token": "again"}})

    rig.server.rule_step = page
    rig.server.script = [send(TWEET)]
    started = rig.clock.time()
    async with rig.running() as connection:
        await eventually(lambda: asked >= 400)
        await eventually(lambda: connection.state.state == "streaming")
        began = rig.clock.time()
        await eventually(lambda: rig.clock.time() - began > 20)
    # On a busy machine more than 15 minutes of this clock may have gone by.
    assert asked <= 400 * (1 + (rig.clock.time() - started) // 900)


HEADERS = [
    (401, "Date", "Sat, 28 Nov 2026 10:00:00 +99999999999999999999"),
    (401, "Date", "Fri, 31 Dec 9999 23:59:59 GMT"),
    (401, "Date", "Mon, 01 Jan 0001 00:00:00 GMT"),
    (503, "Retry-After", "Sat, 99999999999999999999 Nov 2026 10:00:00 GMT"),
    (503, "Retry-After", "Sat, 28 Nov 2026 10:00:00 -99999999999999999999"),
    (503, "Retry-After", "9" * 5000),
    (429, "x-rate-limit-reset", "1e400"),
    (429, "x-rate-limit-reset", "\x85 tomorrow"),
]


@pytest.mark.parametrize("network", ["x_v1", "x_v2"])
@pytest.mark.parametrize(("code", "header", "value"), HEADERS)
async def test_no_header_ends_a_source(
    make_rig: MakeRig,
    eventually: Eventually,
    network: str,
    code: int,
    header: str,
    value: str,
) -> None:
    rig = await make_rig()
    rig.network = "x_v1" if network == "x_v1" else "x_v2"
    rig.server.script = [status(code, {"title": "No"}, {header: value})]
    async with rig.running() as connection:
        await eventually(lambda: connection.state.state in ("waiting", "failed"))
        assert str(code) in connection.state.reason
        assert connection.state.until is not None
        assert connection.state.until < rig.clock.time() + 2 * 3600


@pytest.mark.parametrize("why", ["a\x00b", "\x85" * 3_000_000, "long " * 600_000])
async def test_whatever_x_says_of_a_rule_fits_into_the_row_of_its_track(
    make_rig: MakeRig, why: str
) -> None:
    rig = await make_rig(send(TWEET))
    rig.server.bad.add("snow")
    rig.server.why = why
    await rig.run("snow", "ice", until="streaming")
    [reason] = rig.refused[-1].values()
    assert reason.isprintable()
    assert len(reason) <= 2000


# -- our own errors ------------------------------------------------------------------------------


class Faulty(XV2Client):
    """A client with a mistake that shows once, or that breaks an invariant."""

    error: Exception | None = OverflowError("hidden-token")

    async def connect(self) -> HttpStream:
        error, Faulty.error = Faulty.error, None
        if error is not None:
            raise error
        return await super().connect()


def faulty(rig: Rig, error: Exception) -> ConnectionSupervisor:
    Faulty.error = error
    connection = ConnectionSupervisor(
        Source(SourceId(1), "main", "x_v2", rig.server.url, None, rig.secrets, enabled=True),
        msgspec.structs.replace(NETWORKS["x_v2"], client=Faulty),
        rig.journal,
        rig.settings,
        attempts_file=rig.folder / "attempts",
        clock=rig.clock,
    )
    connection.set_plan(rig.plan("snow"))
    return connection


async def test_an_error_of_ours_fails_the_source_is_logged_and_tried_again(
    make_rig: MakeRig, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    rig = await make_rig(send(TWEET), speed=50)
    connection = faulty(rig, OverflowError("hidden-token"))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(connection.run())
        await eventually(lambda: connection.state.state == "failed")
        assert "OverflowError" in connection.state.reason
        assert "hidden-token" not in connection.state.reason
        await eventually(lambda: connection.state.state == "streaming")
        task.cancel()
    assert any(record.exc_info and "unexpected" in record.message for record in caplog.records)


async def test_a_broken_invariant_of_ours_still_ends_the_program(make_rig: MakeRig) -> None:
    rig = await make_rig()
    connection = faulty(rig, ExceptionGroup("in a task", [Broken("no sense")]))
    with pytest.raises(ExceptionGroup):
        await connection.run()


async def test_work_after_gaps_is_retried_and_a_broken_invariant_in_it_ends_the_program(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(send(TWEET), speed=1000)
    connection = rig.connection("snow")
    errors = [DatabaseAway("away"), OverflowError("odd"), Broken("no sense")]

    async def step() -> bool:
        raise errors.pop(0)

    connection.repairs.append(GapRepair("repair", connection.recorder, step))
    with pytest.RaisesGroup(Broken):
        await connection.run()
    assert errors == []
    events = [record.text for record in await rig.records() if isinstance(record, EventNote)]
    assert any(text.startswith("repair after a gap failed: unexpected error") for text in events)
