"""The web UI reads tweets and statistics from a streaming replica while that keeps up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from live_app import LiveApp
from monitor.measure.postgres import PostgresSampler
from postgres_servers import PostgresServer, PostgresServers
from stream import db
from stream.commands.doctor import replica_finding
from stream.config import WebSettings
from stream.replica import OTHER_DATABASE, Lag, Replica
from stream.store import migrations
from waiting import Eventually
from web.context import APP_CONTEXT
from web_app import Client, WebApp, plain_text, running_app

MAX_LAG = 3.0  # seconds
REASONS = {  # that Health gives for each fault
    "killed": "it cannot be reached",
    "frozen": "it does not answer",
    "promoted": "it can be written to",
    "late": "s behind",
}


class Pair:
    """A primary, its replica, and the web application on both."""

    def __init__(self, primary: PostgresServer, standby: PostgresServer, app: WebApp) -> None:
        self.primary = primary
        self.standby = standby
        self.app = app
        self.live = LiveApp(app, app.stack)
        self.replica: Replica = app.application[APP_CONTEXT].replica

    async def pause(self) -> None:
        """The replica receives, and shows nothing new."""
        await self.standby.ask("SELECT pg_wal_replay_pause()")

    async def resume(self) -> None:
        await self.standby.ask("SELECT pg_wal_replay_resume()")

    def is_used(self) -> bool:
        return self.replica.status is not None and self.replica.status.used

    async def caught_up(self) -> bool:
        """Whether the replica has all that the primary has now."""
        behind = "SELECT replay_lsn >= pg_current_wal_insert_lsn() FROM pg_stat_replication"
        return bool(await self.primary.ask(behind))

    async def track(self, word: str) -> None:
        """Add a track; the replica gets it."""
        self.live.tracks[word] = await self.app.add_track(word)


@pytest.fixture
async def pair(
    postgres_servers: PostgresServers, tmp_path: Path, eventually: Eventually
) -> AsyncIterator[Pair]:
    primary = await postgres_servers.primary()
    async with db.connect(primary.url) as database:
        await migrations.migrate(database)
    standby = await postgres_servers.standby(primary)
    settings = {"replica": standby.url, "replica_max_lag": MAX_LAG}
    async with running_app(primary.url, tmp_path / "data", web=settings) as app:
        made = Pair(primary, standby, app)
        await eventually(made.is_used)
        yield made


async def test_a_standby_of_another_database_is_not_read(
    postgres_servers: PostgresServers, tmp_path: Path, eventually: Eventually
) -> None:
    one, other = [await postgres_servers.primary() for _ in range(2)]
    for each in (one, other):
        async with db.connect(each.url) as database:
            await migrations.migrate(database)
    wrong = await postgres_servers.standby(other)
    settings = {"replica": wrong.url, "replica_max_lag": MAX_LAG}
    async with running_app(one.url, tmp_path / "data", web=settings) as app:
        replica = app.application[APP_CONTEXT].replica

        def status() -> tuple[bool, str] | None:
            found = replica.status
            return None if found is None else (found.used, found.reason)

        await eventually(lambda: status() == (False, OTHER_DATABASE))
    async with db.connect(one.url) as database:
        finding = await replica_finding(WebSettings(replica=wrong.url), database)
    assert (finding.result, OTHER_DATABASE in finding.text) == ("error", True)


async def texts(client: Client, **parameters: Any) -> tuple[list[str], str]:
    """Texts of a page of tweets, and the cursor after it."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    status, found = await client.json("GET", f"/api/v1/tweets?{query}")
    assert status == 200, found
    return [each["text"] for each in found["tweets"]], found["next"]


async def test_tweets_come_from_the_replica_and_a_users_own_edits_from_the_primary(
    pair: Pair, eventually: Eventually
) -> None:
    """What the replica lacks is not shown yet; a new track is, and is no error without tweets."""
    ana = await pair.app.log_in("ana")
    await pair.track("snow")
    await pair.live.store("snow one")
    await eventually(pair.caught_up)
    await pair.pause()
    await pair.live.store("snow two")
    form = await ana.form("/tracks/new")
    assert (await ana.post("/tracks/new", form | {"value": "brand new"}))[0] == 303
    assert "brand new" in await ana.page("/")
    page = await ana.page("/tracks/2")
    assert "brand new" in page
    assert (await ana.json("GET", "/api/v1/tweets?track=2"))[1]["tweets"] == []
    assert (await ana.get("/tracks/2/chart"))[0] == 200
    assert (await texts(ana, order="oldest"))[0] == ["snow one"]
    text = plain_text(await ana.page("/tracks/1"))
    assert "snow one" in text
    assert "snow two" not in text
    assert "snow two" not in await ana.page("/api/v1/tweets?format=ndjson")
    status, counts = await ana.json("GET", "/api/v1/counts?track=1&begin=2026-03-14T00:00:00Z")
    assert status == 200
    assert sum(each["tweets"] for each in counts["counts"]) == 1
    await pair.resume()

    async def shown() -> bool:
        return "snow two" in plain_text(await ana.page("/tracks/1"))

    await eventually(shown)


async def test_a_share_that_was_taken_back_holds_at_once(
    pair: Pair, eventually: Eventually
) -> None:
    """Who may see what is asked of the primary."""
    await pair.track("snow")
    await pair.live.store("snow one")
    ben = await pair.app.log_in("ben", "viewer")
    await pair.app.share(1, "ben")
    await eventually(pair.caught_up)
    assert (await texts(ben, track=1))[0] == ["snow one"]
    await pair.pause()
    await pair.app.execute("DELETE FROM track_shares")
    assert (await ben.get("/api/v1/tweets?track=1"))[0] == 404
    assert (await texts(ben))[0] == []
    await pair.resume()


@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_a_cursor_of_the_primary_skips_and_repeats_nothing_at_a_replica_that_lags(
    pair: Pair, eventually: Eventually, order: str
) -> None:
    """In commit order it waits; newest first, what follows is read where nothing is missing."""
    ana = await pair.app.log_in("ana")
    await pair.track("snow")
    await pair.live.store(*(f"snow {n}" for n in range(5)))
    await eventually(pair.caught_up)
    await pair.pause()
    await pair.live.store(*(f"snow {n}" for n in range(5, 10)))
    all_of_them = [f"snow {n}" for n in range(10)]
    pair.replica._set("a test reads from the primary")
    first, cursor = await texts(ana, order=order, limit=3 if order == "newest" else 8)
    await eventually(pair.is_used)
    if order == "newest":
        rest, _ = await texts(ana, order=order, cursor=cursor)
        assert (first + rest)[::-1] == all_of_them
        await pair.resume()
        return
    rest, same = await texts(ana, order=order, cursor=cursor)
    assert rest == []
    assert same == cursor
    await pair.resume()
    await eventually(pair.caught_up)
    rest, _ = await texts(ana, order=order, cursor=same)
    assert first + rest == all_of_them


async def test_a_live_reader_misses_and_repeats_nothing_while_replicas_come_and_go(
    pair: Pair, eventually: Eventually
) -> None:
    ana = await pair.app.log_in("ana")
    await pair.track("snow")
    viewer = await pair.live.connect(ana)
    await viewer.watch(track="1")
    await pair.live.store("snow 0")
    assert await viewer.texts(1) == ["snow 0"]
    await pair.pause()
    await pair.live.store("snow 1")
    await eventually(lambda: not pair.is_used())  # it lags too much
    assert await viewer.texts(1) == ["snow 1"]
    await pair.live.store("snow 2")
    assert await viewer.texts(1) == ["snow 2"]
    await pair.resume()
    await eventually(pair.is_used)
    await pair.live.store("snow 3")
    assert await viewer.texts(1) == ["snow 3"]


@pytest.mark.parametrize("how", REASONS)
async def test_reads_go_to_the_primary_while_the_replica_is_no_good_and_health_says_so(
    pair: Pair, eventually: Eventually, how: str
) -> None:
    admin = await pair.app.log_in("root", "admin")
    await pair.track("snow")
    page = await admin.page("/health")
    assert "Tweets are read from the replica" in page
    assert (await admin.json("GET", "/api/v1/status"))[1]["replica"]["used"] is True
    match how:
        case "killed":
            await pair.standby.kill()
        case "frozen":
            pair.standby.freeze()
        case "promoted":
            await pair.standby.promote()
        case _:
            await pair.pause()
    await pair.live.store("snow one")
    await eventually(lambda: not pair.is_used())
    assert (await texts(admin))[0] == ["snow one"]
    page = await admin.page("/health")
    assert "Tweets are read from the primary" in page
    assert REASONS[how] in page
    status = (await admin.json("GET", "/api/v1/status"))[1]["replica"]
    assert status["used"] is False
    assert status["reason"]
    match how:
        case "killed":
            await pair.standby.start()
        case "frozen":
            pair.standby.thaw()
        case "late":
            assert status["lag_seconds"] > MAX_LAG
            assert status["lag_bytes"] > 0
            await pair.resume()
        case _:
            return
    await eventually(pair.is_used)
    assert (await texts(admin))[0] == ["snow one"]


async def test_metrics_and_doctor_know_how_far_a_standby_is(
    pair: Pair, eventually: Eventually, tmp_path: Path
) -> None:
    async with db.connect(pair.primary.url) as database:
        sampler = PostgresSampler(database)

        async def lags() -> bool:
            return (await sampler.sample()).standby_bytes.get("standby", 0) > 0

        await eventually(pair.caught_up)
        assert (await sampler.sample()).standby_bytes == {"standby": 0}
        await pair.pause()
        await pair.live.store("snow one")
        await eventually(lags)
        web = WebSettings(replica=pair.standby.url)
        assert "MB behind" in (await replica_finding(web, database)).text
        await pair.resume()
        await eventually(pair.caught_up)
        finding = await replica_finding(web, database)
        assert finding.result == "ok"
        assert "has all that the database has" in finding.text
        gone = WebSettings(replica=pair.primary.url)
        assert (await replica_finding(gone, database)).result == "error"


def test_lag_is_the_time_since_the_primary_had_what_the_replica_lacks() -> None:
    lag = Lag()
    assert lag.of(5, 0.0) == (None, None)
    for at, position in ((1.0, 100), (2.0, 200), (3.0, 200), (4.0, 300)):
        lag.add(at, position)
    assert lag.of(300, 4.5) == (0.0, 0)
    assert lag.of(400, 4.5) == (0.0, 0)
    assert lag.of(200, 4.5) == (0.5, 100)
    assert lag.of(150, 4.5) == (2.5, 150)
    lag.add(5.0, 50)  # a primary that was promoted and lacks commits
    assert lag.of(50, 6.0) == (0.0, 0)
