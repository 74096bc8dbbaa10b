"""The page about sources: what it says, what it changes, and what it never shows."""

import asyncio
import contextlib
import re
import socket
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from servers import answering
from simulator.server import Settings as SimulatorSettings
from simulator.server import serve
from stream import credentials
from stream.notes import GapOpened, StateNote
from stream.store import daemons, events, gaps, locks, rollups, sources, tracks
from stream.store.sources import SourceRow
from stream.store.tracks import NewTrack
from stream.tweet import NetworkName, SourceId
from stream.vault import Vault
from waiting import Eventually
from web_app import Client, WebApp

TOKEN = "a-token-that-nobody-may-see"
V1 = {
    "consumer_key": "consumer-key",
    "consumer_secret": "consumer-secret",
    "token": "user-token",
    "token_secret": "user-secret",
}
NOBODY = "http://127.0.0.1:9"  # nothing listens there


async def row_of(app: WebApp, name: str) -> SourceRow | None:
    async with app.database.acquire() as connection:
        return await sources.by_name(connection, name)


async def found(app: WebApp, name: str) -> SourceRow:
    row = await row_of(app, name)
    assert row is not None
    return row


async def add(
    app: WebApp,
    vault: Vault,
    name: str = "main",
    network: NetworkName = "x_v2",
    url: str = NOBODY,
    **secrets: str,
) -> SourceId:
    keys = secrets or {"bearer_token": TOKEN}
    sealed = credentials.seal(vault, network, url, None, keys)
    async with app.database.acquire() as connection:
        return await sources.add(connection, name, network, url, None, sealed)


async def enter_state(app: WebApp, source_id: SourceId, state: str, reason: str = "") -> None:
    note = StateNote(state, reason, datetime.now(UTC).timestamp())  # type: ignore[arg-type]
    async with app.database.acquire() as connection:
        await sources.write_state(connection, source_id, note)


@contextlib.asynccontextmanager
async def streaming(app: WebApp, source_id: SourceId) -> AsyncIterator[None]:
    """As if a daemon had it."""
    async with app.database.dedicated() as connection:
        assert await locks.try_lock(connection, source_id, locks.SOURCE_LOCK_CLASS)
        yield


@contextlib.asynccontextmanager
async def daemon(app: WebApp, host: str) -> AsyncIterator[None]:
    number = uuid.uuid4()
    async with app.database.acquire() as connection:
        await daemons.upsert(connection, number, host, 1, "collecting")
        yield
        await daemons.delete(connection, number)


# -- changing -------------------------------------------------------------------------------------


async def test_a_source_is_added_and_its_key_never_shown(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    form = {"network": "x_v2", "name": "main", "bearer_token": f" {TOKEN} ", "url": NOBODY}
    assert (await admin.post("/sources/new", form))[0] == 303
    row = await found(app, "main")
    assert (row.network, row.url, row.enabled) == ("x_v2", NOBODY, True)
    assert row.secrets is not None
    assert Vault(tmp_path).open(row.secrets) == {"bearer_token": TOKEN}
    for path in ("/sources", f"/sources/{row.id}/change"):
        status, text = await admin.get(path)
        assert status == 200
        assert "main" in text
        assert TOKEN not in text


REFUSED = (
    ({"bearer_token": ""}, "needs keys"),
    ({"name": "has space"}, "letters, digits"),
    ({"name": "taken"}, "There is already a source named taken"),
    ({"url": "ftp://x"}, "http://"),
    ({"url": "http://me:hunter2@127.0.0.1"}, "http://me:***@127.0.0.1"),
    ({"proxy": "http://a b"}, "http://"),
    ({"bearer_token": "line\nbreak"}, "cannot be typed"),
    ({"network": "x_v9"}, "Unknown network"),
    ({"network": "x_v1", "token": "t"}, "API key (consumer key)"),
)


async def test_what_cannot_be_is_refused_with_a_sentence_and_the_key_is_not_given_back(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    await add(app, Vault(tmp_path), "taken")
    for change, said in REFUSED:
        form = {"network": "x_v2", "name": "main", "bearer_token": TOKEN} | change
        status, text = await admin.post("/sources/new", form)
        assert status == 422, change
        assert said in text
        assert TOKEN not in text
        assert await row_of(app, "main") is None


async def test_keys_stay_unless_new_ones_are_typed_and_then_all_of_them(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    vault = Vault(tmp_path)
    number = await add(app, vault, network="x_v1", **V1)
    path = f"/sources/{number}/change"
    assert (await admin.post(path, {"name": "other", "url": NOBODY}))[0] == 303
    assert vault.open((await found(app, "other")).secrets or b"") == V1
    status, text = await admin.post(path, {"name": "third", "token": "only this"})
    assert status == 422
    assert "missing" in text
    assert await row_of(app, "third") is None
    new = {name: f"new-{value}" for name, value in V1.items()}
    assert (await admin.post(path, {"name": "other"} | new))[0] == 303
    assert vault.open((await found(app, "other")).secrets or b"") == new


async def test_a_password_in_an_address_is_covered_and_kept(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    number = await add(app, Vault(tmp_path), url="http://me:hidden@x.invalid")
    path = f"/sources/{number}/change"
    _, text = await admin.get(path)
    assert "http://me:***@x.invalid" in text
    assert "hidden@" not in text + (await admin.get("/sources"))[1]
    shown = {"name": "main", "url": "http://me:***@x.invalid", "proxy": "http://p:1"}
    shown |= {"bearer_token": TOKEN}  # another proxy asks for it
    assert (await admin.post(path, shown))[0] == 303
    row = await found(app, "main")
    assert (row.url, row.proxy) == ("http://me:hidden@x.invalid", "http://p:1")
    assert (await admin.post(path, shown | {"proxy": "http://me:hidden@p:1"}))[0] == 303
    assert (await admin.post(path, shown | {"proxy": "http://me:***@p:1"}))[0] == 303
    assert (await found(app, "main")).proxy == "http://me:hidden@p:1"
    assert (await admin.post(path, shown | {"proxy": ""}))[0] == 303
    assert (await found(app, "main")).proxy is None


async def test_a_source_is_switched_off_and_on_and_removed(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    number = await add(app, Vault(tmp_path))
    assert (await admin.post(f"/sources/{number}/disable"))[0] == 303
    assert not (await found(app, "main")).enabled
    assert (await admin.post(f"/sources/{number}/enable"))[0] == 303
    assert (await found(app, "main")).enabled
    assert (await admin.post(f"/sources/{number}/remove"))[0] == 303
    assert await row_of(app, "main") is None
    assert (await admin.post(f"/sources/{number}/remove"))[0] == 404
    assert (await admin.get("/sources/99999999999999999999/change"))[0] == 404


async def test_what_was_imported_connects_to_nothing(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    number = await add(app, Vault(tmp_path))
    await enter_state(app, number, "importing")
    for what in ("enable", "change", "try"):
        assert (await admin.post(f"/sources/{number}/{what}", {"name": "x"}))[0] == 409
    assert (await admin.post(f"/sources/{number}/remove"))[0] == 303


# -- keys on another machine ----------------------------------------------------------------------


async def test_without_the_collectors_key_nothing_is_sealed(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    form = {"network": "x_v2", "name": "main", "bearer_token": TOKEN}
    async with daemon(app, "another-machine"):
        status, text = await admin.post("/sources/new", form)
    assert status == 409
    assert "secret.key" in text
    assert not (tmp_path / "secret.key").exists()
    assert await row_of(app, "main") is None
    assert (await admin.post("/sources/new", form))[0] == 303  # the first one of all


async def test_another_key_than_the_collectors_is_noticed(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    number = await add(app, Vault(tmp_path / "its"))
    Vault(tmp_path).seal({})
    path, form = f"/sources/{number}/change", {"name": "main", "bearer_token": "new"}
    before = (await found(app, "main")).secrets
    await enter_state(app, number, "streaming")
    async with daemon(app, socket.gethostname()), streaming(app, number):
        assert (await admin.post(path, form))[0] == 409  # the collector can open what we cannot
    async with daemon(app, "another-machine"):
        assert (await admin.post(path, form))[0] == 409
    assert (await found(app, "main")).secrets == before
    async with daemon(app, socket.gethostname()):
        assert (await admin.post(path, form))[0] == 303  # its key was lost: this is the remedy
    sealed = (await found(app, "main")).secrets
    assert Vault(tmp_path).open(sealed or b"") == {"bearer_token": "new"}


# -- trying ---------------------------------------------------------------------------------------


async def test_what_is_typed_is_tried_before_it_is_saved(app: WebApp, admin: Client) -> None:
    async with serve(SimulatorSettings(bearer_token=TOKEN)) as server:
        form = {"network": "x_v2", "url": server.url, "bearer_token": TOKEN}
        status, text = await admin.post("/sources/try", form, headers={"HX-Request": "true"})
        assert status == 200
        assert "X accepts the bearer token" in text
        _, text = await admin.post("/sources/try", form | {"bearer_token": "wrong-one"})
        assert "does not accept" in text
        assert "wrong-one" not in text
    assert "no connection" in (await admin.post("/sources/try", form))[1].lower()
    bad = form | {"url": "file:///etc/passwd"}
    assert "is not an address" in (await admin.post("/sources/try", bad))[1]


def elsewhere(url: str) -> list[dict[str, str]]:
    """Changes of address and proxy that would carry the keys to this server."""
    return [{"url": url}, {"url": NOBODY, "proxy": url}, {"url": f"{NOBODY}/", "proxy": url}]


async def test_keys_go_to_no_address_that_they_were_not_entered_for(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    heard: list[str] = []

    async def listen(request: web.Request) -> web.StreamResponse:
        heard.append(str(request.url))
        return web.Response(status=503)

    number = await add(app, Vault(tmp_path))
    async with answering(listen) as url:
        for change in elsewhere(url):
            _, text = await admin.post(f"/sources/{number}/try_changed", {"name": "main"} | change)
            assert "enter the keys again" in text
            status, text = await admin.post(f"/sources/{number}/change", {"name": "main"} | change)
            assert status == 422
            assert "enter the keys again" in text
            assert 'name="bearer_token"' in text
            row = await found(app, "main")
            assert (row.url, row.proxy) == (NOBODY, None)
        # By psql: neither the button nor the daemon (see test_tracks.py) sends them.
        await app.execute("UPDATE sources SET url = $1", url)
        status, text = await admin.post(f"/sources/{number}/try")
        assert status == 422
        assert f"entered for {NOBODY}" in text
        assert heard == []
        # With keys of its own the new address is asked, and kept.
        keyed = {"name": "main", "url": url, "bearer_token": "another"}
        assert (await admin.post(f"/sources/{number}/try_changed", keyed))[0] == 200
        assert heard
        assert (await admin.post(f"/sources/{number}/change", keyed))[0] == 303
        await admin.post(f"/sources/{number}/try")
        assert len(heard) == 2


async def test_the_same_address_written_otherwise_asks_for_no_keys(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    number = await add(app, Vault(tmp_path), url="https://api.x.com")
    for url in ("https://API.X.COM:443/", "", "https://me:secret@api.x.com"):
        change = {"name": "main", "url": url}
        assert (await admin.post(f"/sources/{number}/change", change))[0] == 303, url


async def test_a_stream_that_is_open_is_not_disturbed(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    number = await add(app, Vault(tmp_path), network="x_v1", **V1)
    await enter_state(app, number, "streaming")
    async with streaming(app, number):  # nothing listens at its address: no request is made
        assert "they work" in (await admin.post(f"/sources/{number}/try"))[1]
        same = {"network": "x_v1", "url": "http://x.invalid"} | V1
        assert "would end its stream" in (await admin.post("/sources/try", same))[1]
    assert "no connection" in (await admin.post(f"/sources/{number}/try"))[1].lower()


async def test_a_test_that_opens_a_stream_costs_an_attempt_and_leaves_the_last_ones(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    number = await add(app, Vault(tmp_path), network="x_v1", **V1)
    assert "5 of 5" in (await admin.get("/sources"))[1]
    for _ in range(3):
        assert (await admin.post(f"/sources/{number}/try"))[0] == 200
    assert "2 of 5" in (await admin.get("/sources"))[1]
    status, text = await admin.post(f"/sources/{number}/try")
    assert status == 429
    assert "try again later" in text


async def test_one_test_at_a_time_and_it_can_be_stopped(
    app: WebApp, admin: Client, tmp_path: Path, eventually: Eventually
) -> None:
    asked = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with answering(never) as url:
        number = await add(app, Vault(tmp_path), url=url)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(admin.post(f"/sources/{number}/try"))
            await asked.wait()
            assert (await admin.post(f"/sources/{number}/try"))[0] == 409
            assert (await admin.post(f"/sources/{number}/try/stop"))[0] == 204
        assert "Stopped." in first.result()[1]
        assert (await admin.post(f"/sources/{number}/try/stop"))[0] == 204  # nothing to stop


# -- reading --------------------------------------------------------------------------------------


async def test_figures_gaps_and_reasons_are_shown_and_hostile_text_is_only_text(
    app: WebApp, admin: Client, tmp_path: Path
) -> None:
    number = await add(app, Vault(tmp_path))
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0)
    hostile = "<script>alert(1)</script>"
    async with app.database.acquire() as connection:
        # The next minute may have begun when the page is asked for.
        counts = {(minute - timedelta(minutes=n), "stored"): 7 for n in range(-1, 7)}
        later = {(minute + timedelta(minutes=2), "stored"): 51}  # by a clock that is ahead
        await rollups.add_frame_counts(connection, number, counts | later)
        began = (now - timedelta(minutes=90)).timestamp()
        await gaps.open_gap(connection, number, GapOpened(began, "silence", hostile))
        await events.add_state(
            connection, number, "connecting", "opening the stream", now.timestamp()
        )
    await enter_state(app, number, "waiting", hostile)
    async with streaming(app, number):
        status, text = await admin.get("/sources", headers={"HX-Request": "true"})
    assert status == 200
    assert "<html" not in text
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 2
    assert "waiting to retry" in text
    found = re.search(r"Tweets per minute</dt><dd>([\d.]+)", text)
    assert found is not None
    assert 7 <= float(found[1]) <= 8.4  # six times 7 in 5 to 6 minutes
    assert "<dd>107</dd>" in text
    assert "1, 1 hour 30 minutes in total" in text
    assert "44 of 45" in text
    assert "connected, but no data" in text


async def test_what_the_networks_are_asked_for_follows_the_tracks(
    app: WebApp, admin: Client, tmp_path: Path, eventually: Eventually
) -> None:
    assert "No source is enabled" in (await admin.get("/sources/usage"))[1]
    await add(app, Vault(tmp_path))
    await add(app, Vault(tmp_path), "old", "x_v1", **V1)
    async with app.database.acquire() as connection:
        for word in ("snow", "rain", "hail, sleet"):
            await tracks.add(connection, NewTrack(word))

    async def counted() -> bool:
        _, text = await admin.get("/sources/usage")
        return "4 of 1,000 rules" in text and "4 of 400 phrases" in text

    await eventually(counted)
    async with app.database.acquire() as connection:
        await tracks.enable(connection, 1, enabled=False)

    async def one_less() -> bool:
        return "3 of 1,000 rules" in (await admin.get("/sources/usage"))[1]

    await eventually(one_less)
