"""The page about health: what it says of trouble, what can be done there, and what is drawn."""

import socket
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from stream import db
from stream.daemon_report import (
    BusReport,
    DaemonReport,
    JournalReport,
    LaneReport,
    ServerReport,
)
from stream.notes import EventNote, GapClosed, GapOpened
from stream.store import daemons, events, gaps, lanes, partitions, rollups, sources
from stream.store.events import EventFilter
from stream.tweet import SourceId
from waiting import Eventually
from web_app import FRAGMENT, Client, MakeApp, WebApp, database_away

HERE = socket.gethostname()
MINUTE = timedelta(minutes=1)
DISK_LOW = ("disk_low", "critical", "Little disk is left.", "Free some.")
HOSTILE = "<script>alert(1)</script>"


async def make_well(app: WebApp) -> None:
    """A daemon that has just begun, and the partitions of tomorrow."""
    async with app.database.transaction() as connection:
        await daemons.upsert(connection, uuid.uuid4(), HERE, 1, "collecting")
        await partitions.ensure_days(connection, [datetime.now(UTC).date() + timedelta(days=1)])


async def open_alert(app: WebApp, rule: str, severity: str, text: str, remedy: str) -> int:
    alert = {"rule": rule, "severity": severity, "text": text, "remedy": remedy}
    return await app.insert("alerts", subject="data", opened_at=datetime.now(UTC), **alert)


async def measure(app: WebApp, host: str, at: datetime, **values: object) -> None:
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
    async with app.database.acquire() as connection:
        await db.copy(connection, "machine_minutes", list(ready), [tuple(ready.values())])


# -- the sentence ---------------------------------------------------------------------------------


async def test_the_first_sentence_says_whether_all_is_well_and_what_to_do(
    app: WebApp, admin: Client
) -> None:
    _, text = await admin.get("/health")
    first = "Collector: No daemon runs on this database: start one."
    assert f"<h1>{first}</h1>" in text
    await make_well(app)
    number = await open_alert(app, *DISK_LOW)
    assert (await admin.post(f"/health/alerts/{number}/acknowledge"))[0] == 303
    _, text = await admin.get("/health", headers=FRAGMENT)
    assert "<html" not in text
    assert "<h1>All is well.</h1>" in text
    await open_alert(app, "cpu_high", "critical", "The processor is busy.", "Look at it.")
    _, text = await admin.get("/health", headers=FRAGMENT)
    assert "<h1>The processor is busy. Look at it.</h1>" in text


async def test_an_alert_is_acknowledged_muted_and_told_again(app: WebApp, admin: Client) -> None:
    number = await open_alert(app, *DISK_LOW)
    assert (await admin.post(f"/health/alerts/{number}/acknowledge"))[0] == 303
    rows = await app.database.fetch("SELECT acknowledged_by FROM alerts")
    assert [row["acknowledged_by"] for row in rows] == ["ana"]
    assert "acknowledged by <bdi>ana</bdi>" in (await admin.get("/health"))[1]
    given = {"for": "24", "reason": HOSTILE}
    assert (await admin.post(f"/health/alerts/{number}/mute", given))[0] == 303
    [row] = await app.database.fetch(
        "SELECT id, rule, subject, reason, until - now() AS rest FROM alert_mutes"
    )
    assert (row["rule"], row["subject"], row["reason"]) == ("disk_low", "data", f"ana: {HOSTILE}")
    assert timedelta(hours=23) < row["rest"] <= timedelta(hours=24)
    _, text = await admin.get("/health")
    assert "<script>alert" not in text
    assert "Unmute" in text
    assert (await admin.post(f"/health/mutes/{row['id']}/remove"))[0] == 303
    assert await app.rows("SELECT FROM alert_mutes") == []
    assert (await admin.post(f"/health/alerts/{number}/mute", {"for": "ever"}))[0] == 303
    rows = await app.database.fetch("SELECT until FROM alert_mutes")
    assert [row["until"] for row in rows] == [None]


async def test_each_sink_is_listed_with_its_trouble_and_the_remedy(
    app: WebApp, admin: Client
) -> None:
    assert "Sinks" not in (await admin.get("/health"))[1]
    late = datetime.now(UTC) - timedelta(hours=2)
    await app.database.execute(
        "INSERT INTO sinks (name, reason, late_since, seen_at) VALUES"
        " ('redis channels', '', NULL, now()), ('redis streams', $1, $2, now()),"
        " ('old', '', NULL, $2), ('webhooks', '', NULL, now())",
        f"{HOSTILE} Start it.",
        late,
    )
    await app.execute(
        "INSERT INTO webhooks (user_id, name, url, state, position)"
        " SELECT id, 'mine', 'https://example.org/', 'disabled', '' FROM users"
    )
    _, text = await admin.get("/health")
    assert "redis channels: ok" in text
    assert "webhooks: ok, 1 of 1 fails" in text
    assert "Start it." in text
    assert "Late since" in text
    assert "no daemon has run it since" in text
    assert "<script>alert" not in text


async def test_what_is_over_or_makes_no_sense_is_refused(app: WebApp, admin: Client) -> None:
    number = await open_alert(app, *DISK_LOW)
    assert (await admin.post(f"/health/alerts/{number}/mute", {"for": "77"}))[0] == 422
    for path in ("alerts/9999/acknowledge", "mutes/9999/remove", f"alerts/{'9' * 30}/acknowledge"):
        assert (await admin.post(f"/health/{path}"))[0] == 404
    assert await app.rows("SELECT FROM alert_mutes") == []


async def test_hostile_text_is_only_text(app: WebApp, admin: Client) -> None:
    await open_alert(app, "disk_low", "critical", HOSTILE, HOSTILE)
    async with app.database.acquire() as connection:
        await events.add(connection, None, EventNote("daemon", HOSTILE, 1.0))
        statement = "INSERT INTO jobs (name, ran_at, took, failed) VALUES ('c', now(), 1, $1)"
        await connection.execute(statement, HOSTILE)
        statement = (
            "INSERT INTO archives (day, state, path, problem) VALUES (now(), 'writing', '', $1)"
        )
        await connection.execute(statement, HOSTILE)
    for path in ("/health", "/health/events", "/health/archives"):
        _, text = await admin.get(path)
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text


# -- what is drawn --------------------------------------------------------------------------------


async def test_a_chart_is_what_was_measured_step_by_step(app: WebApp, admin: Client) -> None:
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    volumes = {"data": {"path": "/data", "total": 100, "used": 60, "free": 40}}
    await measure(app, HERE, minute - 5 * MINUTE, cpu_percent=20, cpu_percent_max=50)
    await measure(app, HERE, minute - 3 * MINUTE, cpu_percent=40, volumes=volumes)
    await measure(app, "other", minute - 3 * MINUTE, cpu_percent=99)
    status, chart = await admin.json("GET", f"/health/charts/cpu?span=hour&host={HERE}")
    assert status == 200
    mean, most = chart["series"]
    drawn = dict(zip(chart["times"], mean["values"], strict=True))
    steps = {round((at - minute.timestamp()) / 60): value for at, value in drawn.items() if value}
    assert steps == {-5: 20, -3: 40}
    assert len(chart["times"]) == 60
    assert mean["unit"] == most["unit"] == "percent"
    assert max(value for value in most["values"] if value is not None) == 50
    asked = time.time()
    _, chart = await admin.json("GET", f"/health/charts/disk?span=day&host={HERE}")
    [free] = chart["series"]
    assert [value for value in free["values"] if value is not None] == [40]
    assert asked - 300 < chart["times"][-1] <= time.time()  # up to now
    for span in ("week", "month"):
        status, chart = await admin.json("GET", f"/health/charts/latency?span={span}&host={HERE}")
        assert status == 200
        assert all(len(each["values"]) == len(chart["times"]) for each in chart["series"])


async def test_tweets_a_second_are_drawn_with_the_gaps(app: WebApp, admin: Client) -> None:
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0)
    await measure(app, HERE, minute - MINUTE)
    async with app.database.acquire() as connection:
        number = await sources.add(connection, "main", "x_v2")
        counts = {(minute - 10 * MINUTE, outcome): 60 for outcome in ("stored", "unmatched")}
        await rollups.add_frame_counts(connection, number, counts | {(minute, "rejected"): 5})
        began = (now - 30 * MINUTE).timestamp()
        await gaps.open_gap(connection, number, GapOpened(began, "silence", ""))
        await gaps.close_gap(connection, number, GapClosed(began + 600))
    _, chart = await admin.json("GET", f"/health/charts/tweets?span=hour&host={HERE}")
    [rate] = chart["series"]
    assert [value for value in rate["values"] if value] == [2.0]
    [gap] = chart["gaps"]
    assert (gap["from"], gap["to"]) == (int(began), int(began + 600))
    assert gap["text"] == "main: connected, but no data"


async def test_a_chart_that_there_is_not_is_not_found(app: WebApp, admin: Client) -> None:
    await measure(app, HERE, datetime.now(UTC).replace(second=0, microsecond=0))
    for path in (f"cpu?host={HERE}&span=year", "cpu?host=nowhere", "cpu", f"nothing?host={HERE}"):
        assert (await admin.get(f"/health/charts/{path}"))[0] == 404


# -- events ---------------------------------------------------------------------------------------


async def test_events_are_filtered_and_gone_through_to_the_oldest(
    app: WebApp, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVENTS_SCAN_MAX", 5)
    async with app.database.acquire() as connection:
        number = await sources.add(connection, "main", "x_v2")
        for n in range(12):
            note = EventNote("state" if n % 2 else "plan", f"Event {n:02}!", float(n))
            await events.add(connection, number if n % 3 == 0 else None, note)

    async def every(**query: object) -> list[int]:
        """The numbers of all events, page by page."""
        async with app.database.acquire() as connection:
            found: list[int] = []
            before: int | None = None
            for _ in range(20):
                wanted = EventFilter(**query, below=before)  # type: ignore[arg-type]
                some, before = await events.search(connection, wanted, 3)
                found += [int(event.text[6:8]) for event in some]
                if before is None:
                    return found
        raise AssertionError("it has no end")

    assert await every() == list(range(11, -1, -1))
    assert await every(source_id=number) == [9, 6, 3, 0]
    assert await every(kind="state") == [11, 9, 7, 5, 3, 1]
    assert await every(words="eVENT 1") == [11, 10]
    assert await every(words="%") == []
    _, text = await admin.get(f"/health/events?source={number}&kind=state&words=event")
    assert "Event 09!" in text
    assert "Event 11!" not in text
    assert "Older" in text
    for query in ("source=x", "before=-1", f"before={'9' * 30}", "words=%00%27", "kind=%27"):
        assert (await admin.get(f"/health/events?{query}"))[0] == 200


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "Past days are archived when <code>archive.url</code> is set."),
        ("/srv/archive", "A day (UTC) is archived an hour or more after its end."),
    ],
)
async def test_without_archives_it_says_what_the_first_one_needs(
    make_app: MakeApp, url: str, sentence: str
) -> None:
    async with make_app(archive={"url": url}) as app:
        admin = await app.log_in("ana", "admin")
        _, text = await admin.get("/health")
    assert f"No archives yet. {sentence}</p>" in text


async def test_archives_are_gone_through_day_by_day(app: WebApp, admin: Client) -> None:
    await app.execute(
        "INSERT INTO archives (day, state, path, tweets, bytes)"
        " SELECT day, 'verified', '', 5, 1000000"
        " FROM generate_series(date '2026-01-01', '2026-01-20', '1 day') AS day"
    )
    _, text = await admin.get("/health")
    assert "20 archives from 2026-01-01 to 2026-01-20 (UTC days) hold 100 tweets in 20.0 MB" in text
    _, text = await admin.get("/health/archives")
    assert "2026-01-20" in text
    assert "before=2026-01-07" in text
    _, text = await admin.get("/health/archives?before=2026-01-07")
    assert [date(2026, 1, n).isoformat() in text for n in (1, 6, 7)] == [True, True, False]
    assert "before=" not in text
    assert (await admin.get("/health/archives?before=tomorrow"))[0] == 422


async def test_the_share_of_a_disk_is_the_one_that_alerts_count_by(
    app: WebApp, admin: Client
) -> None:
    """What only root may fill is neither free nor used: 15 GB of 75 GB are 20 %, not 15 %."""
    gb = 10**9
    volumes = {"data": {"path": "/data", "total": 100 * gb, "used": 60 * gb, "free": 15 * gb}}
    await measure(app, HERE, datetime.now(UTC), volumes=volumes)
    _, text = await admin.get("/health", headers=FRAGMENT)
    assert "15.0 GB <small>(20 %)</small>" in text
    assert ">75.0 GB<" in text
    assert (
        await app.value("SELECT sentence FROM stats_health WHERE component = 'volume'")
        == "15.0 GB of 75.0 GB are free."
    )


async def test_collectors_and_jobs_are_listed(app: WebApp, admin: Client) -> None:
    await make_well(app)
    await app.execute(
        "INSERT INTO jobs (name, ran_at, took, failed) VALUES ('prune', now(), 1.5, 'no room')"
    )
    _, text = await admin.get("/health", headers=FRAGMENT)
    assert "last run of 1 of 1 failed" in text
    assert f"<bdi>{HERE}</bdi>, process 1: collecting" in text
    assert "<bdi>no room</bdi>" in text


async def test_while_the_database_is_away_the_page_says_so_and_it_comes_back_by_itself(
    app: WebApp, admin: Client, server: str, database: str, eventually: Eventually
) -> None:
    with database_away(server, database):
        async with admin.http.get("/health") as answer:
            assert answer.status == 503
            assert "Refresh" in answer.headers
            assert "The database is unavailable" in await answer.text()
        assert (await admin.get("/health", headers=FRAGMENT))[0] == 503

    async def is_back() -> bool:
        return (await admin.get("/health"))[0] == 200

    await eventually(is_back)


# -- several machines -----------------------------------------------------------------------------


async def test_machines_lanes_and_the_bus_are_shown_where_there_is_a_bus(
    app: WebApp, admin: Client
) -> None:
    _, text = await admin.get("/health", headers=FRAGMENT)
    assert "Machines" not in text
    good = BusReport(
        created="2026",
        bytes=5_000_000,
        max_bytes=20_000_000_000,
        leader="n1",
        replicas={"n1": True, "n2": True, "n3": False},
        servers={
            "n1": ServerReport(sync_always=True),
            "n2": ServerReport(),
            "n3": ServerReport(jetstream=False),
        },
    )
    away = BusReport(failing="no quorum", remedy="Start the servers.")
    source = SourceId(await app.insert("sources", name="main", network="x_v2", lanes=2))
    async with app.database.transaction() as connection:
        await lanes.lanes_of(connection, source, [lanes.HOME], 2)
        lane = LaneReport(id=lanes.first_lane(source), lag=3.2, blocks=1234)
        await daemons.upsert(
            connection,
            uuid.uuid4(),
            "host1",
            7,
            "other",
            roles=["write"],
            lanes=[lane.id],
            report=DaemonReport(version="1.2", lanes=[lane], bus=good),
        )
        journal = JournalReport(source_id=source, source="main", collecting=True)
        await daemons.upsert(
            connection,
            uuid.uuid4(),
            HOSTILE,
            8,
            "collecting",
            roles=["collect"],
            report=DaemonReport(journals=[journal], bus=away),
        )
    _, text = await admin.get("/health", headers=FRAGMENT)
    assert HOSTILE not in text
    for words in (
        '<h3 id="machines">Machines</h3>',
        "main, lane 2",
        '<span class="bad">no machine</span>',
        "3.2 s",
        "1,234",
        '<span class="bad">away or behind</span>',
        '<span class="warn">not synced</span>',
        '<span class="bad">JetStream is off on <bdi>n3</bdi>.</span> See the server',
        "no quorum.",
        "Start the servers.",
    ):
        assert words in text, words
    assert text.count("not synced") == 1
    assert "Collectors</h3>" not in text
