"""The page about sources: what it says, what it changes, and what it never tells."""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from simulator.server import Settings as SimulatorSettings
from simulator.server import serve
from stream import ledger, sources, tracks
from stream.sources import SourceRow
from stream.tracks import NewTrack
from stream.tweet import EventNote, GapOpened, NetworkName, SourceId, StateNote
from stream.vault import Vault

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.web.conftest import Pages, Visitor

TOKEN = "a-token-that-nobody-may-see"
V1 = {
    "consumer_key": "consumer-key",
    "consumer_secret": "consumer-secret",
    "token": "user-token",
    "token_secret": "user-secret",
}
NOBODY = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
async def ana(pages: "Pages") -> "Visitor":
    return await pages.enter("ana", "admin")


async def row_of(pages: "Pages", name: str) -> SourceRow | None:
    async with pages.database.acquire() as connection:
        return await sources.named(connection, name)


async def found(pages: "Pages", name: str) -> SourceRow:
    row = await row_of(pages, name)
    assert row is not None
    return row


async def add(
    pages: "Pages",
    vault: Vault,
    name: str = "main",
    network: NetworkName = "x_v2",
    url: str = NOBODY,
    **secrets: str,
) -> SourceId:
    sealed = vault.seal(secrets or {"bearer_token": TOKEN})
    async with pages.database.acquire() as connection:
        return await sources.add(connection, name, network, url, None, sealed)


async def enter_state(pages: "Pages", source_id: SourceId, state: str, reason: str = "") -> None:
    note = StateNote(state, reason, datetime.now(UTC).timestamp())  # type: ignore[arg-type]
    async with pages.database.acquire() as connection:
        await sources.write_state(connection, source_id, note)


@contextlib.asynccontextmanager
async def connected(pages: "Pages", source_id: SourceId) -> AsyncIterator[None]:
    """As if some daemon streamed it."""
    await enter_state(pages, source_id, "streaming")
    async with pages.database.dedicated() as connection:
        assert await sources.try_lock(connection, source_id)
        yield


@contextlib.asynccontextmanager
async def daemon(pages: "Pages", host: str) -> AsyncIterator[None]:
    number = uuid.uuid4()
    async with pages.database.acquire() as connection:
        await sources.daemon_seen(connection, number, host, 1, "collecting")
        yield
        await sources.daemon_gone(connection, number)


# -- changing -------------------------------------------------------------------------------------


async def test_a_source_is_added_and_its_key_never_shown(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    form = {"network": "x_v2", "name": "main", "bearer_token": f" {TOKEN} ", "url": NOBODY}
    assert (await ana.post("/sources/new", form))[0] == 303
    row = await found(pages, "main")
    assert (row.network, row.url, row.enabled) == ("x_v2", NOBODY, True)
    assert row.secrets is not None
    assert Vault(tmp_path).open(row.secrets) == {"bearer_token": TOKEN}
    for path in ("/sources", f"/sources/{row.id}/change"):
        status, text = await ana.get(path)
        assert status == 200
        assert "main" in text
        assert TOKEN not in text


REFUSED = (
    ({"bearer_token": ""}, "Without its keys"),
    ({"name": "has space"}, "letters, digits"),
    ({"name": "taken"}, "There is a source named taken already"),
    ({"url": "ftp://x"}, "http://"),
    ({"proxy": "http://a b"}, "http://"),
    ({"bearer_token": "line\nbreak"}, "cannot be typed"),
    ({"network": "x_v9"}, "no such network"),
    ({"network": "x_v1", "token": "t"}, "API key (consumer key)"),
)


async def test_what_cannot_be_is_refused_with_a_sentence_and_the_key_is_not_given_back(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    await add(pages, Vault(tmp_path), "taken")
    for change, said in REFUSED:
        form = {"network": "x_v2", "name": "main", "bearer_token": TOKEN} | change
        status, text = await ana.post("/sources/new", form)
        assert status == 422, change
        assert said in text
        assert TOKEN not in text
        assert await row_of(pages, "main") is None


async def test_keys_stay_unless_new_ones_are_typed_and_then_all_of_them(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    vault = Vault(tmp_path)
    number = await add(pages, vault, network="x_v1", **V1)
    path = f"/sources/{number}/change"
    assert (await ana.post(path, {"name": "other", "url": ""}))[0] == 303
    row = await found(pages, "other")
    assert row.url is None
    assert vault.open(row.secrets or b"") == V1
    status, text = await ana.post(path, {"name": "third", "token": "only this"})
    assert status == 422
    assert "missing" in text
    assert await row_of(pages, "third") is None
    new = {name: f"new-{value}" for name, value in V1.items()}
    assert (await ana.post(path, {"name": "other"} | new))[0] == 303
    assert vault.open((await found(pages, "other")).secrets or b"") == new


async def test_a_password_in_an_address_is_covered_and_kept(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    number = await add(pages, Vault(tmp_path), url="http://me:hidden@x.invalid")
    path = f"/sources/{number}/change"
    _, text = await ana.get(path)
    assert "http://me:***@x.invalid" in text
    assert "hidden@" not in text + (await ana.get("/sources"))[1]
    shown = {"name": "main", "url": "http://me:***@x.invalid", "proxy": "http://p:1"}
    assert (await ana.post(path, shown))[0] == 303
    row = await found(pages, "main")
    assert (row.url, row.proxy) == ("http://me:hidden@x.invalid", "http://p:1")
    assert (await ana.post(path, shown | {"proxy": "http://me:hidden@p:1"}))[0] == 303
    assert (await ana.post(path, shown | {"proxy": "http://me:***@p:1"}))[0] == 303
    assert (await found(pages, "main")).proxy == "http://me:hidden@p:1"
    assert (await ana.post(path, shown | {"proxy": ""}))[0] == 303
    assert (await found(pages, "main")).proxy is None


async def test_a_source_is_switched_off_and_on_and_removed(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    number = await add(pages, Vault(tmp_path))
    assert (await ana.post(f"/sources/{number}/disable"))[0] == 303
    assert not (await found(pages, "main")).enabled
    assert (await ana.post(f"/sources/{number}/enable"))[0] == 303
    assert (await found(pages, "main")).enabled
    assert (await ana.post(f"/sources/{number}/remove"))[0] == 303
    assert await row_of(pages, "main") is None
    assert (await ana.post(f"/sources/{number}/remove"))[0] == 404
    assert (await ana.get("/sources/99999999999999999999/change"))[0] == 404


async def test_what_was_imported_connects_to_nothing(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    number = await add(pages, Vault(tmp_path))
    await enter_state(pages, number, "importing")
    for what in ("enable", "change", "try"):
        assert (await ana.post(f"/sources/{number}/{what}", {"name": "x"}))[0] == 409
    assert (await ana.post(f"/sources/{number}/remove"))[0] == 303


async def test_only_admins_come_here(pages: "Pages", tmp_path: Path) -> None:
    number = await add(pages, Vault(tmp_path))
    ben = await pages.enter("ben", "user")
    for path in ("/sources", "/sources/new", "/sources/usage", f"/sources/{number}/change"):
        assert (await ben.get(path))[0] == 403
    assert (await ben.post(f"/sources/{number}/remove"))[0] == 403
    assert (await ben.post("/sources/try", {"network": "x_v2"}))[0] == 403


# -- keys on another machine ----------------------------------------------------------------------


async def test_without_the_collectors_key_nothing_is_sealed(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    form = {"network": "x_v2", "name": "main", "bearer_token": TOKEN}
    async with daemon(pages, "another-machine"):
        status, text = await ana.post("/sources/new", form)
    assert status == 409
    assert "secret.key" in text
    assert not (tmp_path / "secret.key").exists()
    assert await row_of(pages, "main") is None
    assert (await ana.post("/sources/new", form))[0] == 303  # the first one of all


async def test_another_key_than_the_collectors_is_noticed(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    number = await add(pages, Vault(tmp_path / "its"))
    Vault(tmp_path).seal({})
    path, form = f"/sources/{number}/change", {"name": "main", "bearer_token": "new"}
    before = (await found(pages, "main")).secrets
    async with daemon(pages, socket.gethostname()), connected(pages, number):
        assert (await ana.post(path, form))[0] == 409  # the collector can open what we cannot
    async with daemon(pages, "another-machine"):
        assert (await ana.post(path, form))[0] == 409
    assert (await found(pages, "main")).secrets == before
    async with daemon(pages, socket.gethostname()):
        assert (await ana.post(path, form))[0] == 303  # its key was lost: this is the remedy
    sealed = (await found(pages, "main")).secrets
    assert Vault(tmp_path).open(sealed or b"") == {"bearer_token": "new"}


# -- trying ---------------------------------------------------------------------------------------


async def test_what_is_typed_is_tried_before_it_is_saved(pages: "Pages", ana: "Visitor") -> None:
    async with serve(SimulatorSettings(bearer_token=TOKEN)) as server:
        form = {"network": "x_v2", "url": server.url, "bearer_token": TOKEN}
        status, text = await ana.post("/sources/try", form, headers={"HX-Request": "true"})
        assert status == 200
        assert "X accepts the bearer token" in text
        _, text = await ana.post("/sources/try", form | {"bearer_token": "wrong-one"})
        assert "does not accept" in text
        assert "wrong-one" not in text
    assert "no connection" in (await ana.post("/sources/try", form))[1].lower()
    bad = form | {"url": "file:///etc/passwd"}
    assert "begins with http" in (await ana.post("/sources/try", bad))[1]


async def test_stored_keys_are_tried_also_with_another_address(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    number = await add(pages, Vault(tmp_path))
    async with serve(SimulatorSettings(bearer_token=TOKEN)) as server:
        assert "no connection" in (await ana.post(f"/sources/{number}/try"))[1].lower()
        _, text = await ana.post(f"/sources/{number}/try_changed", {"url": server.url})
        assert "X accepts the bearer token" in text


async def test_a_stream_that_is_open_is_not_disturbed(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    number = await add(pages, Vault(tmp_path), network="x_v1", **V1)
    async with connected(pages, number):  # nothing listens at its address: nobody is asked
        assert "they work" in (await ana.post(f"/sources/{number}/try"))[1]
        same = {"network": "x_v1", "url": "http://x.invalid"} | V1
        assert "would end its stream" in (await ana.post("/sources/try", same))[1]
    assert "no connection" in (await ana.post(f"/sources/{number}/try"))[1].lower()


async def test_a_test_that_opens_a_stream_costs_an_attempt_and_leaves_the_last_ones(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    number = await add(pages, Vault(tmp_path), network="x_v1", **V1)
    assert "5 of 5" in (await ana.get("/sources"))[1]
    for _ in range(3):
        assert (await ana.post(f"/sources/{number}/try"))[0] == 200
    assert "2 of 5" in (await ana.get("/sources"))[1]
    status, text = await ana.post(f"/sources/{number}/try")
    assert status == 429
    assert "wait a little" in text


async def test_one_test_at_a_time_and_it_can_be_stopped(
    pages: "Pages", ana: "Visitor", tmp_path: Path, eventually: "Eventually"
) -> None:
    asked = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", never)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        number = await add(pages, Vault(tmp_path), url=url)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(ana.post(f"/sources/{number}/try"))
            await asked.wait()
            assert (await ana.post(f"/sources/{number}/try"))[0] == 409
            assert (await ana.post(f"/sources/{number}/try/stop"))[0] == 204
        assert "Stopped." in first.result()[1]
        assert (await ana.post(f"/sources/{number}/try/stop"))[0] == 204  # nothing to stop
    finally:
        await runner.cleanup()


# -- reading --------------------------------------------------------------------------------------


async def test_figures_gaps_and_reasons_are_shown_and_hostile_text_is_only_text(
    pages: "Pages", ana: "Visitor", tmp_path: Path
) -> None:
    number = await add(pages, Vault(tmp_path))
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0)
    hostile = "<script>alert(1)</script>"
    async with pages.database.acquire() as connection:
        counts = {(minute - timedelta(minutes=n), "stored"): 7 for n in range(7)}
        later = {(minute + timedelta(minutes=2), "stored"): 51}  # by a clock that is ahead
        await ledger.count_frames(connection, number, counts | later)
        began = (now - timedelta(minutes=90)).timestamp()
        await ledger.open_gap(connection, number, GapOpened(began, "silence", hostile))
        note = EventNote("state", "connecting: opening the stream", now.timestamp())
        await ledger.event(connection, number, note)
    await enter_state(pages, number, "waiting", hostile)
    async with connected_without_state(pages, number):
        status, text = await ana.get("/sources", headers={"HX-Request": "true"})
    assert status == 200
    assert "<html" not in text
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 2
    assert "waiting to try again" in text
    assert "<dd>7</dd>" in text
    assert "<dd>100</dd>" in text
    assert "1, together 1 hour 30 minutes" in text
    assert "44 of 45" in text
    assert "it was connected, but nothing came" in text


@contextlib.asynccontextmanager
async def connected_without_state(pages: "Pages", source_id: SourceId) -> AsyncIterator[None]:
    async with pages.database.dedicated() as connection:
        assert await sources.try_lock(connection, source_id)
        yield


async def test_what_the_networks_are_asked_for_follows_the_tracks(
    pages: "Pages", ana: "Visitor", tmp_path: Path, eventually: "Eventually"
) -> None:
    assert "No source is switched on" in (await ana.get("/sources/usage"))[1]
    await add(pages, Vault(tmp_path))
    await add(pages, Vault(tmp_path), "old", "x_v1", **V1)
    async with pages.database.acquire() as connection:
        for word in ("snow", "rain", "hail, sleet"):
            await tracks.add(connection, NewTrack(word))

    async def counted() -> bool:
        _, text = await ana.get("/sources/usage")
        return "4 of 1,000 rules" in text and "4 of 400 phrases" in text

    await eventually(counted)
    async with pages.database.acquire() as connection:
        await tracks.enable(connection, 1, enabled=False)

    async def one_less() -> bool:
        return "3 of 1,000 rules" in (await ana.get("/sources/usage"))[1]

    await eventually(one_less)
