"""The page about health: what it says of trouble, what can be done there, and what is drawn."""

import socket
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest

from stream import db, ledger, sources, tweets
from stream.tweet import EventNote, GapClosed, GapOpened
from web.reading import health

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.web.conftest import Pages, Visitor

HERE = socket.gethostname()
MINUTE = timedelta(minutes=1)
HOSTILE = "<script>alert(1)</script>"
PART = {"HX-Request": "true"}


@pytest.fixture
async def ana(pages: "Pages") -> "Visitor":
    return await pages.enter("ana", "admin")


async def make_well(pages: "Pages") -> None:
    """A daemon that has just begun, and the partitions of tomorrow."""
    async with pages.database.transaction() as connection:
        await sources.daemon_seen(connection, uuid.uuid4(), HERE, 1, "collecting")
        await tweets.ensure_days(connection, [datetime.now(UTC).date() + timedelta(days=1)])


async def open_alert(pages: "Pages", rule: str, severity: str, text: str, remedy: str) -> int:
    [row] = await pages.database.fetch(
        "INSERT INTO alerts (rule, subject, severity, text, remedy, opened_at)"
        " VALUES ($1, 'data', $2, $3, $4, now()) RETURNING id",
        rule,
        severity,
        text,
        remedy,
    )
    return int(row["id"])


async def measure(pages: "Pages", host: str, at: datetime, **values: object) -> None:
    """A row of machine_minutes with nothing in it but this."""
    row: dict[str, object] = dict.fromkeys(
        (
            "cpu_percent", "cpu_percent_max", "load", "memory_used", "memory_total",
            "network_received", "network_sent", "process_memory", "process_files", "loop_lag_max",
            "journal_lag_bytes", "journal_lag_seconds", "database_up",
        ),
        0,
    )  # fmt: skip
    row |= {"host": host, "at": at, "sources": {}, "tables": {}, "volumes": {}} | values
    ready = {
        name: msgspec.json.encode(value) if isinstance(value, Mapping) else value
        for name, value in row.items()
    }
    async with pages.database.acquire() as connection:
        await db.copy(connection, "machine_minutes", list(ready), [tuple(ready.values())])


# -- the sentence ---------------------------------------------------------------------------------


async def test_the_first_sentence_says_whether_all_is_well_and_what_to_do(
    pages: "Pages", ana: "Visitor"
) -> None:
    _, text = await ana.get("/health")
    first = "Collector: No daemon runs on this database: start one."
    assert f"<h1>2 things need you. The first: {first}</h1>" in text
    await make_well(pages)
    number = await open_alert(pages, "disk_low", "critical", "Little disk is left.", "Free some.")
    assert (await ana.post(f"/health/alerts/{number}/acknowledge"))[0] == 303
    _, text = await ana.get("/health", headers=PART)
    assert "<html" not in text
    assert "<h1>All is well.</h1>" in text
    await open_alert(pages, "cpu_high", "critical", "The processor is busy.", "Look at it.")
    _, text = await ana.get("/health", headers=PART)
    assert "<h1>The processor is busy. Look at it.</h1>" in text


async def test_an_alert_is_acknowledged_muted_and_told_again(
    pages: "Pages", ana: "Visitor"
) -> None:
    number = await open_alert(pages, "disk_low", "critical", "Little disk is left.", "Free some.")
    assert (await ana.post(f"/health/alerts/{number}/acknowledge"))[0] == 303
    rows = await pages.database.fetch("SELECT acknowledged_by FROM alerts")
    assert [row["acknowledged_by"] for row in rows] == ["ana"]
    assert "known to <bdi>ana</bdi>" in (await ana.get("/health"))[1]
    given = {"for": "24", "reason": HOSTILE}
    assert (await ana.post(f"/health/alerts/{number}/mute", given))[0] == 303
    [row] = await pages.database.fetch(
        "SELECT id, rule, subject, reason, until - now() AS rest FROM alert_mutes"
    )
    assert (row["rule"], row["subject"], row["reason"]) == ("disk_low", "data", f"ana: {HOSTILE}")
    assert timedelta(hours=23) < row["rest"] <= timedelta(hours=24)
    _, text = await ana.get("/health")
    assert "<script>alert" not in text
    assert "Tell of it again" in text
    assert (await ana.post(f"/health/mutes/{row['id']}/remove"))[0] == 303
    assert await pages.database.fetch("SELECT FROM alert_mutes") == []
    assert (await ana.post(f"/health/alerts/{number}/mute", {"for": "ever"}))[0] == 303
    rows = await pages.database.fetch("SELECT until FROM alert_mutes")
    assert [row["until"] for row in rows] == [None]


async def test_what_is_over_or_makes_no_sense_is_refused(pages: "Pages", ana: "Visitor") -> None:
    number = await open_alert(pages, "disk_low", "critical", "Little disk is left.", "Free some.")
    assert (await ana.post(f"/health/alerts/{number}/mute", {"for": "77"}))[0] == 422
    for path in ("alerts/9999/acknowledge", "mutes/9999/remove", f"alerts/{'9' * 30}/acknowledge"):
        assert (await ana.post(f"/health/{path}"))[0] == 404
    assert await pages.database.fetch("SELECT FROM alert_mutes") == []


async def test_only_admins_come_here(pages: "Pages") -> None:
    number = await open_alert(pages, "disk_low", "critical", "Little disk is left.", "Free some.")
    ben = await pages.enter("ben", "user")
    for path in ("/health", "/health/events", "/health/archives", "/health/charts/cpu"):
        assert (await ben.get(path))[0] == 403
    assert (await ben.post(f"/health/alerts/{number}/acknowledge"))[0] == 403


async def test_hostile_text_is_only_text(pages: "Pages", ana: "Visitor") -> None:
    await open_alert(pages, "disk_low", "critical", HOSTILE, HOSTILE)
    async with pages.database.acquire() as connection:
        await ledger.event(connection, None, EventNote("daemon", HOSTILE, 1.0))
        statement = "INSERT INTO chores (name, ran_at, took, failed) VALUES ('c', now(), 1, $1)"
        await connection.execute(statement, HOSTILE)
        statement = (
            "INSERT INTO archives (day, state, path, problem) VALUES (now(), 'writing', '', $1)"
        )
        await connection.execute(statement, HOSTILE)
    for path in ("/health", "/health/events", "/health/archives"):
        _, text = await ana.get(path)
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text


# -- what is drawn --------------------------------------------------------------------------------


async def test_a_chart_is_what_was_measured_step_by_step(pages: "Pages", ana: "Visitor") -> None:
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    volumes = {"data": {"path": "/data", "total": 100, "used": 60, "free": 40}}
    await measure(pages, HERE, minute - 5 * MINUTE, cpu_percent=20, cpu_percent_max=50)
    await measure(pages, HERE, minute - 3 * MINUTE, cpu_percent=40, volumes=volumes)
    await measure(pages, "other", minute - 3 * MINUTE, cpu_percent=99)
    status, chart = await ana.json("GET", f"/health/charts/cpu?span=hour&host={HERE}")
    assert status == 200
    mean, most = chart["series"]
    drawn = dict(zip(chart["times"], mean["values"], strict=True))
    steps = {round((at - minute.timestamp()) / 60): value for at, value in drawn.items() if value}
    assert steps == {-5: 20, -3: 40}
    assert len(chart["times"]) == 60
    assert mean["unit"] == most["unit"] == "percent"
    assert max(value for value in most["values"] if value is not None) == 50
    asked = time.time()
    _, chart = await ana.json("GET", f"/health/charts/disk?span=day&host={HERE}")
    [free] = chart["series"]
    assert [value for value in free["values"] if value is not None] == [40]
    assert asked - 300 < chart["times"][-1] <= time.time()  # up to now
    for span in ("week", "month"):
        status, chart = await ana.json("GET", f"/health/charts/latency?span={span}&host={HERE}")
        assert status == 200
        assert all(len(each["values"]) == len(chart["times"]) for each in chart["series"])


async def test_tweets_a_second_are_drawn_with_the_gaps(pages: "Pages", ana: "Visitor") -> None:
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0)
    await measure(pages, HERE, minute - MINUTE)
    async with pages.database.acquire() as connection:
        number = await sources.add(connection, "main", "x_v2")
        counts = {(minute - 10 * MINUTE, outcome): 60 for outcome in ("stored", "unmatched")}
        await ledger.count_frames(connection, number, counts | {(minute, "rejected"): 5})
        began = (now - 30 * MINUTE).timestamp()
        await ledger.open_gap(connection, number, GapOpened(began, "silence", ""))
        await ledger.close_gap(connection, number, GapClosed(began + 600))
    _, chart = await ana.json("GET", f"/health/charts/tweets?span=hour&host={HERE}")
    [rate] = chart["series"]
    assert [value for value in rate["values"] if value] == [2.0]
    [gap] = chart["gaps"]
    assert (gap["from"], gap["to"]) == (int(began), int(began + 600))
    assert gap["text"] == "main: it was connected, but nothing came"


async def test_a_chart_that_there_is_not_is_not_found(pages: "Pages", ana: "Visitor") -> None:
    await measure(pages, HERE, datetime.now(UTC).replace(second=0, microsecond=0))
    for path in (f"cpu?host={HERE}&span=year", "cpu?host=nowhere", "cpu", f"nothing?host={HERE}"):
        assert (await ana.get(f"/health/charts/{path}"))[0] == 404


# -- books ----------------------------------------------------------------------------------------


async def test_events_are_filtered_and_gone_through_to_the_oldest(
    pages: "Pages", ana: "Visitor", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "EVENTS", 3)
    monkeypatch.setattr(health, "LOOKED_AT", 5)
    async with pages.database.acquire() as connection:
        number = await sources.add(connection, "main", "x_v2")
        for n in range(12):
            note = EventNote("state" if n % 2 else "plan", f"Event {n:02}!", float(n))
            await ledger.event(connection, number if n % 3 == 0 else None, note)

    async def every(**query: object) -> list[int]:
        """The numbers of all events, page by page."""
        async with pages.database.acquire() as connection:
            found: list[int] = []
            before: int | None = None
            for _ in range(20):
                wanted = health.Filter(**query, before=before)  # type: ignore[arg-type]
                events, before = await health.events(connection, wanted)
                found += [int(event.text[6:8]) for event in events]
                if before is None:
                    return found
        raise AssertionError("it has no end")

    assert await every() == list(range(11, -1, -1))
    assert await every(source_id=number) == [9, 6, 3, 0]
    assert await every(kind="state") == [11, 9, 7, 5, 3, 1]
    assert await every(words="eVENT 1") == [11, 10]
    assert await every(words="%") == []
    _, text = await ana.get(f"/health/events?source={number}&kind=state&words=event")
    assert "Event 09!" in text
    assert "Event 11!" not in text
    assert "Older" in text
    for query in ("source=x", "before=-1", f"before={'9' * 30}", "words=%00%27", "kind=%27"):
        assert (await ana.get(f"/health/events?{query}"))[0] == 200


async def test_archives_are_gone_through_day_by_day(pages: "Pages", ana: "Visitor") -> None:
    await pages.database.execute(
        "INSERT INTO archives (day, state, path, tweets, bytes)"
        " SELECT day, 'verified', '', 5, 1000000"
        " FROM generate_series(date '2026-01-01', '2026-01-20', '1 day') AS day"
    )
    _, text = await ana.get("/health")
    assert "20 archives from 2026-01-01 to 2026-01-20 hold 100 tweets in 20.0 MB" in text
    _, text = await ana.get("/health/archives")
    assert "2026-01-20" in text
    assert "before=2026-01-07" in text
    _, text = await ana.get("/health/archives?before=2026-01-07")
    assert [date(2026, 1, n).isoformat() in text for n in (1, 6, 7)] == [True, True, False]
    assert "before=" not in text
    assert (await ana.get("/health/archives?before=tomorrow"))[0] == 422


async def test_collectors_and_chores_are_listed(pages: "Pages", ana: "Visitor") -> None:
    await make_well(pages)
    await pages.database.execute(
        "INSERT INTO chores (name, ran_at, took, failed) VALUES ('prune', now(), 1.5, 'no room')"
    )
    _, text = await ana.get("/health", headers=PART)
    assert "1 of 1 failed the last time" in text
    assert f"<bdi>{HERE}</bdi>, process 1: collecting" in text
    assert "Housekeeping <bdi>prune</bdi>" in text


async def test_while_the_database_is_away_the_page_says_so_and_it_comes_back_by_itself(
    pages: "Pages", ana: "Visitor", server: str, database: str, eventually: "Eventually"
) -> None:
    name = urlsplit(database).path[1:]
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as admin:

        async def let(allowed: str) -> None:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}".encode())

        await let("false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        async with ana.client.get("/health") as answer:
            assert answer.status == 503
            assert "Refresh" in answer.headers
            assert "The database is away" in await answer.text()
        assert (await ana.get("/health", headers=PART))[0] == 503
        await let("true")

    async def is_back() -> bool:
        return (await ana.get("/health"))[0] == 200

    await eventually(is_back)
