"""Figures and sentences of the pages, recounted: rates, states, and what needs attention."""

import re
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from stream.store import daemons, locks
from stream.tweet import SourceId
from web_app import Client, WebApp


async def source(app: WebApp, state: str = "streaming", name: str = "one", **more: Any) -> int:
    return await app.insert("sources", name=name, network="x_v2", state=state, **more)


async def observed(app: WebApp, number: int, seconds: float, tweets: int) -> None:
    """So many tweets in the seconds since it began to stream; spread over minutes as they came."""
    await app.execute(
        "UPDATE sources SET state_at = now() - make_interval(secs => $2) WHERE id = $1",
        number,
        seconds,
    )
    await app.execute(
        """INSERT INTO source_minutes (source_id, minute, outcome, frames)
        SELECT $1, minute, 'stored', round(max($3::float8) * extract(epoch FROM
            least(now(), minute + interval '1 minute')
            - greatest(minute, now() - make_interval(secs => $2))) / max($2))
        FROM generate_series(date_trunc('minute', now() - make_interval(secs => $2)), now(),
            interval '1 minute') AS minute GROUP BY minute""",
        number,
        seconds,
        tweets,
    )


async def rate(app: WebApp, number: int) -> float:
    """As the API says it."""
    _, found = await (await app.log_in("ana", "admin")).json("GET", "/api/v1/sources")
    return float(next(each["per_minute"] for each in found["sources"] if each["id"] == number))


async def rate_is(app: WebApp, number: int, expected: float, seconds: float) -> None:
    """It falls with the time that has gone by since so many seconds were observed."""
    found = await rate(app, number)
    [now] = await app.database.fetch(
        "SELECT extract(epoch FROM now() - state_at)::float AS observed FROM sources WHERE id = $1",
        number,
    )
    assert 0.9 * expected * seconds / now["observed"] <= found <= 1.1 * expected


@pytest.mark.parametrize("seconds", [20, 61, 150, 280])
async def test_the_rate_of_a_young_source_is_that_of_the_time_observed(
    app: WebApp, admin: Client, seconds: float
) -> None:
    """20 a second are 1,200 a minute, after one minute as after five."""
    number = await source(app)
    await observed(app, number, seconds, round(20 * seconds))
    await rate_is(app, number, 1200, seconds)
    _, text = await admin.get("/sources")
    assert "Tweets per minute" in text


async def test_gaps_that_are_over_do_not_lower_the_rate(app: WebApp) -> None:
    number = await source(app)
    await observed(app, number, 90, 1800)
    await app.execute(
        """INSERT INTO gaps (source_id, began_at, ended_at, cause) VALUES
        ($1, now() - interval '1 hour', now() - interval '90 seconds', 'network')""",
        number,
    )
    await rate_is(app, number, 1200, 90)
    await app.execute("UPDATE gaps SET ended_at = NULL, began_at = now()")
    await app.execute("UPDATE sources SET state = 'waiting', state_at = now()")
    assert await rate(app, number) < 1200  # nothing comes any more: it falls


async def test_the_last_minute_of_what_has_just_begun_is_all_of_it(
    app: WebApp, admin: Client
) -> None:
    """Not a share of the minute before, as if it had come all through that minute."""
    number = await source(app)
    await observed(app, number, 40, 800)
    await app.execute(
        "INSERT INTO tracks (value, owner, created_at)"
        " VALUES ('snow', 'ana', now() - interval '40 seconds')"
    )
    await app.execute("INSERT INTO track_minutes SELECT 1, minute, frames FROM source_minutes")
    [before] = await app.database.fetch("SELECT sum(frames) AS n FROM source_minutes")
    for path in ("/", "/tracks/1"):
        _, text = await admin.get(path)
        found = re.findall(r"(?:Last minute\">|last minute</dt><dd>|<strong>)(\d+)</", text)
        assert found, path
        assert all(abs(int(each) - before["n"]) <= 40 for each in found if int(each) > 1), found


async def test_without_a_daemon_no_source_is_connected(app: WebApp, admin: Client) -> None:
    """The row says what the last daemon wrote; who looks must not take it for true."""
    one = await source(app)
    await source(app, "connecting", enabled=False, name="off")
    await source(app, "failed", name="bad")
    await source(app, "importing", name="old", enabled=False)
    _, found = await admin.json("GET", "/api/v1/sources")
    states = {each["name"]: each["state"] for each in found["sources"]}
    assert states == {"one": "stopped", "off": "disabled", "bad": "failed", "old": "importing"}
    _, text = await admin.get("/sources")
    assert "no collector running" in text
    assert ">connected<" not in text
    _, found = await admin.json("GET", "/api/v1/status")
    assert found["arriving"]["streaming"] == 0  # an import is no connection
    assert "No source is connected" in (await admin.get("/"))[1]
    async with app.database.acquire() as connection:
        assert await locks.try_lock(connection, SourceId(one), locks.SOURCE_LOCK_CLASS)
        _, found = await admin.json("GET", "/api/v1/sources")
        assert {"streaming", "stopped"} & {each["state"] for each in found["sources"]} == {
            "streaming"
        }
        await locks.unlock(connection, SourceId(one), locks.SOURCE_LOCK_CLASS)


async def test_a_running_collector_is_about_to_begin_with_a_new_source(
    app: WebApp, admin: Client
) -> None:
    await source(app, "idle")
    assert "no collector running" in (await admin.get("/sources"))[1]
    async with app.database.acquire() as connection:
        await daemons.upsert(connection, uuid.uuid4(), "here", 7, "collecting")
    _, text = await admin.get("/sources")
    assert "no collector running" not in text
    assert "starting" in text


async def test_a_failed_source_says_one_thing_about_its_next_try(
    app: WebApp, admin: Client
) -> None:
    number = await source(app, "failed")
    async with app.database.acquire() as connection:
        assert await locks.try_lock(connection, SourceId(number), locks.SOURCE_LOCK_CLASS)
        assert "does not retry by itself" in (await admin.get("/sources"))[1]
        await app.execute("UPDATE sources SET retry_at = now() + interval '15 minutes'")
        _, text = await admin.get("/sources")
        assert "Next attempt in 1" in text
        assert "does not try again" not in text
        await locks.unlock(connection, SourceId(number), locks.SOURCE_LOCK_CLASS)


async def alert(app: WebApp, rule: str, subject: str, severity: str = "warning") -> None:
    row = {"rule": rule, "subject": subject, "severity": severity, "opened_at": datetime.now(UTC)}
    await app.insert("alerts", text=f"{subject} fails.", remedy="Fix it.", **row)


async def needed(admin: Client) -> str:
    _, text = await admin.get("/health")
    found = re.search(r"<h1>(.*?)</h1>", text)
    assert found is not None
    return found[1]


async def test_what_an_alert_says_is_not_counted_once_more(app: WebApp, admin: Client) -> None:
    """12 archives with a problem, each with its alert, and no daemon: 13 problems, not 25."""
    await app.execute(
        "INSERT INTO daemons (id, host, pid, role, seen_at)"
        " VALUES (gen_random_uuid(), 'here', 1, 'collecting', now() - interval '1 hour')"
    )
    await app.execute(
        """INSERT INTO archives (day, part, state, problem, path)
        SELECT '2026-01-01'::date + n, 0, 'writing', 'broken', 'x'
        FROM generate_series(1, 12) AS n"""
    )
    assert await needed(admin) == "Collector: No daemon runs on this database: start one."
    for day in range(1, 13):
        await alert(app, "archive_failed", f"2026-01-{day + 1:02}")
    assert (await needed(admin)).startswith("13 problems. First: Collector: No daemon runs")
    rows = await app.database.fetch("SELECT about FROM stats_health WHERE NOT ok")
    assert len({row["about"] for row in rows} - {""}) == 13
    [whole] = await app.database.fetch("SELECT sentence FROM stats_health LIMIT 1")
    assert whole["sentence"].startswith("13 of ")
    # Acknowledged: a person deals with it already.
    await app.execute("UPDATE alerts SET acknowledged_at = now() WHERE id <= 2")
    assert (await needed(admin)).startswith("11 problems.")


async def test_a_fixed_problem_leaves_the_headline_when_its_alert_closes(
    app: WebApp, admin: Client
) -> None:
    number = await source(app, "failed")
    async with app.database.acquire() as connection:
        assert await locks.try_lock(connection, SourceId(number), locks.SOURCE_LOCK_CLASS)
        await daemons.upsert(connection, uuid.uuid4(), "here", 7, "collecting")
        await alert(app, "source_failed", "one", severity="critical")
        assert "one fails." in await needed(admin)
        await app.execute(
            "UPDATE sources SET state = 'streaming', reason = '', last_at = now(), state_at = now()"
        )
        await app.execute("UPDATE alerts SET gone_since = now()")
        assert "one fails." not in await needed(admin)
        _, text = await admin.get("/health")
        assert "closes unless it returns" in text
        await locks.unlock(connection, SourceId(number), locks.SOURCE_LOCK_CLASS)


async def test_a_chart_of_rates_begins_where_collecting_began(app: WebApp, admin: Client) -> None:
    """The first step of five minutes holds two minutes: their rate, not two fifths of it."""
    number = await source(app)
    await app.execute(
        """INSERT INTO source_minutes (source_id, minute, outcome, frames)
        SELECT $1, date_bin('5 minutes', now() - interval '2 hours', 'epoch')
            + n * interval '1 minute', 'stored', 1200 FROM generate_series(3, 9) AS n""",
        number,
    )
    await app.execute(
        """INSERT INTO machine_minutes (host, at, cpu_percent, cpu_percent_max, load, memory_used,
            memory_total, network_received, network_sent, process_memory, process_files,
            loop_lag_max, journal_lag_bytes, journal_lag_seconds, database_up, sources, tables,
            volumes)
        VALUES ('here', date_trunc('minute', now()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}',
            '{}', '{}')"""
    )
    _, chart = await admin.json("GET", "/health/charts/tweets?span=day&host=here")
    [series] = chart["series"]
    before, some = series["values"][:200], [each for each in series["values"] if each]
    assert set(before) == {None}
    assert some == [20.0, 20.0]
