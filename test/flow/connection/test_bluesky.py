"""The client of Bluesky against simulated hosts: failing dictionaries, dead hosts, replays."""

import contextlib
from pathlib import Path

import msgspec
import pytest

from servers import answering, closed_port, status
from simulator.server import Settings as SimulatorSettings
from simulator.server import serve
from stream.backoff import Clock
from stream.config import JournalSettings, Settings
from stream.config.settings import BlueskySettings
from stream.connection.recorder import Recorder
from stream.errors import ConnectError
from stream.journal import Journal, JournalReader
from stream.networks.base import SilentReporter
from stream.networks.bluesky.client import BlueskyClient
from stream.notes import GapClosed, GapOpened, Note, StreamOpened
from stream.tweet import Source, SourceId

ATTEMPTS = 3  # with the dictionary, with one fetched again, without


@pytest.mark.parametrize("fault", ["bad-dictionary", "wrong-dictionary"])
async def test_a_dictionary_that_fails_costs_compression_but_no_post(fault: str) -> None:
    simulated = SimulatorSettings(network="bluesky", faults=(fault,), rate=100)
    async with serve(simulated) as server:
        source = Source(SourceId(1), "main", "bluesky", server.url, None, {}, enabled=True)
        client = BlueskyClient(source, Settings(), Clock(), SilentReporter())
        frames: list[bytes] = []
        for _ in range(ATTEMPTS):
            with contextlib.suppress(ConnectError):
                frames += await first_frames(client)
        assert frames[0].startswith(b"{")


async def test_after_a_silent_host_every_other_host_is_tried() -> None:
    async with serve(SimulatorSettings(network="bluesky")) as server:
        dead = f"http://127.0.0.1:{closed_port()}"
        settings = Settings(
            bluesky=BlueskySettings(hosts=[server.url, dead, server.url, dead], old_hosts=[])
        )
        source = Source(SourceId(1), "main", "bluesky", None, None, {}, enabled=True)
        clock = LaterClock()
        client = BlueskyClient(source, settings, clock, SilentReporter())
        await (await client.connect()).close()
        clock.later += settings.bluesky.silence_timeout
        with pytest.raises(ConnectError):
            await client.connect()
        await (await client.connect()).close()


class LaterClock(Clock):
    """The clock some seconds later."""

    later = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later


async def first_frames(client: BlueskyClient) -> list[bytes]:
    stream = await client.connect()
    try:
        return await stream.read() or []
    finally:
        await stream.close()


@pytest.mark.parametrize("code", [302, 400, 403, 404, 429, 503])
async def test_a_page_in_place_of_the_stream_is_called_so_and_changes_no_protocol(
    code: int,
) -> None:
    page = "<!DOCTYPE html><html><head><title>Airport Wi-Fi</title></head></html>"
    async with answering(status(code, page)) as url:
        client = client_of(url)
        with pytest.raises(ConnectError, match=rf"{code} with a web page .*“Airport Wi-Fi”") as was:
            await client.connect()
        assert was.value.retry == "http"
        assert client.hosts.current.wire == "v2"


async def test_an_answer_of_very_many_brackets_is_an_error_of_the_server() -> None:
    async with answering(status(403, '{"a":' + "[" * 5000)) as url:
        with pytest.raises(ConnectError, match="answered 403") as was:
            await client_of(url).connect()
        assert was.value.retry == "http"


def client_of(url: str) -> BlueskyClient:
    source = Source(SourceId(1), "main", "bluesky", url, None, {}, enabled=True)
    settings = Settings(bluesky=BlueskySettings(compression=False))
    return BlueskyClient(source, settings, Clock(), SilentReporter())


async def test_the_end_of_a_gap_is_noted_again_once_the_first_event_says_what_is_replayed(
    tmp_path: Path,
) -> None:
    """As after `#info` of a cursor that is too old, or a part of an event."""
    with Journal.open(tmp_path, JournalSettings(min_free_bytes=0, min_free_percent=0)) as journal:
        recorder = Recorder("main", journal, Clock())
        opened = StreamOpened("a.example", "v2")
        recorder.begin_connection(opened)
        recorder.record_bytes([b"{}"], 2)
        recorder.open_gap("network", "reset by peer")
        recorder.begin_connection(opened)
        recorder.record_bytes([], 10)
        recorder.record_bytes([b"{}"], 10, 990.0)
        recorder.record_bytes([b"{}"], 10, 990.0)
        recorder.begin_connection(opened)  # another account is followed
        recorder.record_bytes([b"{}"], 10, 995.0)
        with contextlib.closing(JournalReader(journal, 0)) as reader:
            bodies = [frame.body for frame in await reader.read(100, 1 << 20) if frame.is_note]
    notes = [msgspec.json.decode(body, type=Note) for body in bodies]
    gap = next(note for note in notes if isinstance(note, GapOpened))
    closed = [note for note in notes if isinstance(note, GapClosed)]
    assert [(each.recovered_from, each.opened) for each in closed] == [(None, gap), (990.0, gap)]
    assert closed[0].ended == closed[1].ended
