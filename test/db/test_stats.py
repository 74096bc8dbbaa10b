"""The views for people: right by a recount, and never a look at the tweets themselves."""

import json
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stats import ask, measured, read
from stream.db import Database, Executor
from stream.notes import GapClosed, GapOpened
from stream.store import gaps, locks, partitions, rollups, sources, tracks
from stream.store.rollups import Credit
from stream.store.tracks import NewTrack
from stream.tweet import TrackId

VIEWS = (
    "stats_tracks",
    "stats_sources",
    "stats_hours",
    "stats_storage",
    "stats_storage_tracks",
    "stats_forecast",
    "stats_machine",
    "stats_health",
)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SIZE = 1000  # bytes of a tweet


def minute_of(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)


def hour_of(time: datetime) -> datetime:
    return minute_of(time).replace(minute=0)


class Credited:
    """Tweets of tracks by the minute, spread over the last ten days, as the writer counts them."""

    def __init__(self, ids: Sequence[TrackId]) -> None:
        chance, now = random.Random(7), datetime.now(UTC)
        ago = [*range(-1, 120), *(chance.randrange(10 * 24 * 60) for _ in range(500))]
        self.minutes: Counter[tuple[TrackId, datetime]] = Counter()
        for track in ids:
            for minutes in ago:
                at = minute_of(now - timedelta(minutes=max(minutes, 0)))
                self.minutes[track, at] += chance.randrange(1, 20)

    async def count(self, connection: Executor) -> None:
        credits_: defaultdict[tuple[TrackId, datetime], Credit] = defaultdict(Credit)
        for key, number in self.minutes.items():
            credits_[key].add(number, number * SIZE)
        await rollups.add_track_counts(connection, credits_)

    def sum(self, track: TrackId, first: datetime) -> int:
        """Since this minute."""
        return sum(
            number for (who, at), number in self.minutes.items() if who == track and first <= at
        )


async def test_tracks_agree_with_a_recount(connected: Database) -> None:
    async with connected.acquire() as connection:
        old, young = [await tracks.add(connection, NewTrack(word)) for word in ("snow", "rain")]
        credited = Credited([old, young])
        await credited.count(connection)
        made = "UPDATE tracks SET created_at = now() - $2::interval WHERE id = $1"
        await connection.execute(made, old, 100 * DAY)
        await connection.execute(made, young, 3 * DAY)
        await tracks.add(connection, NewTrack("silent", owner="ann"))
    now, found = await ask(connected, "SELECT * FROM stats_tracks ORDER BY id")
    midnight = hour_of(now).replace(hour=0)
    for row, track in zip(found, (old, young), strict=False):
        last_hour = credited.sum(track, now - HOUR)
        assert row["total"] == credited.sum(track, now - 100 * DAY)
        assert row["last_minute"] == credited.minutes[track, minute_of(now) - timedelta(minutes=1)]
        assert row["last_hour"] == last_hour > 0
        assert row["last_day"] == credited.sum(track, hour_of(now - DAY) + HOUR)
        week = credited.sum(track, midnight - 7 * DAY)
        today = credited.sum(track, midnight)
        usual = (week - today) / 168 if track == old else week / 72
        assert float(row["usual_hour"]) == pytest.approx(usual, abs=0.006)
        assert float(row["rate_ratio"]) == pytest.approx(last_hour / usual, rel=0.02)
        assert row["last_at"] == max(at for who, at in credited.minutes if who == track)
    silent = found[2]
    assert (silent["owner"], silent["total"], silent["last_hour"]) == ("ann", 0, 0)
    assert (silent["usual_hour"], silent["rate_ratio"], silent["last_at"]) == (0, None, None)
    async with connected.acquire() as connection:
        counts = await tracks.counts(connection)
    assert counts[old].total == found[0]["total"]


async def test_the_last_tweet_of_a_track_is_known_when_its_minutes_are_pruned(
    connected: Database,
) -> None:
    async with connected.acquire() as connection:
        track = await tracks.add(connection, NewTrack("snow"))
        at = minute_of(datetime.now(UTC)) - 200 * DAY
        credit = Credit()
        credit.add(1, SIZE)
        await rollups.add_track_counts(connection, {(track, at): credit})
        await connection.execute("DELETE FROM track_minutes")
    [row] = await read(connected, "stats_tracks")
    assert row["last_at"] == hour_of(at)


def frames_of(now: datetime) -> Counter[tuple[datetime, str]]:
    """What became of frames, by the minute, over the last three days."""
    chance = random.Random(5)
    outcomes = ("stored", "unmatched", "duplicate", "rejected", "repaired")
    found: Counter[tuple[datetime, str]] = Counter()
    for minutes in (*range(70), *(chance.randrange(3 * 24 * 60) for _ in range(300))):
        at = minute_of(now - timedelta(minutes=minutes))
        found[at, chance.choice(outcomes)] += chance.randrange(1, 9)
    return found


def total(frames: Mapping[tuple[datetime, str], int], first: datetime) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (at, outcome), number in frames.items():
        if at >= first:
            found[outcome] += number
    return dict(found)


async def test_sources_agree_with_a_recount(connected: Database) -> None:
    began = datetime.now(UTC)
    frames = frames_of(began)
    async with connected.acquire() as connection:
        main = await sources.add(connection, "main", "x_v2")
        await sources.add(connection, "other", "x_v1")
        await rollups.add_frame_counts(connection, main, frames)
        for hours_ago in (50, 25, 3):
            start = (began - timedelta(hours=hours_ago)).timestamp()
            await gaps.open_gap(connection, main, GapOpened(start, "network", ""))
            if hours_ago != 3:
                await gaps.close_gap(connection, main, GapClosed(start + 2 * 3600))
        async with connected.dedicated() as holder:
            assert await locks.try_lock(holder, main, locks.SOURCE_LOCK_CLASS)
            now, [row, other] = await ask(connected, "SELECT * FROM stats_sources ORDER BY id")
    last_day = total(frames, hour_of(now - DAY) + HOUR)
    assert json.loads(row["last_hour"]) == total(frames, now - HOUR)
    assert json.loads(row["last_day"]) == last_day
    assert json.loads(row["total"]) == total(frames, now - 100 * DAY)
    assert row["tweets_last_day"] == last_day["stored"] + last_day["unmatched"]
    share = last_day["rejected"] / (sum(last_day.values()) - last_day["repaired"])
    assert float(row["reject_share"]) == pytest.approx(share, abs=0.0001)
    assert row["collected"]
    # The second reaches an hour into the day, the third is still open.
    assert row["gaps_last_day"] == 2
    assert row["gap_seconds_last_day"] == pytest.approx(4 * 3600, abs=60)
    assert (other["collected"], other["tweets_total"], other["gaps_last_day"]) == (False, 0, 0)
    assert (json.loads(other["total"]), other["reject_share"]) == ({}, None)


async def test_hours_agree_with_a_recount_also_when_nothing_came(connected: Database) -> None:
    began = datetime.now(UTC)
    frames = frames_of(began)
    first = began - timedelta(hours=100)
    given = [(first, first + timedelta(hours=2.5)), (began - HOUR, None)]
    async with connected.acquire() as connection:
        main = await sources.add(connection, "main", "x_v2")
        await rollups.add_frame_counts(connection, main, frames)
        for start, end in given:
            await gaps.open_gap(connection, main, GapOpened(start.timestamp(), "http", ""))
            if end is not None:
                await gaps.close_gap(connection, main, GapClosed(end.timestamp()))
    now, found = await ask(connected, "SELECT * FROM stats_hours ORDER BY hour")
    expected: defaultdict[datetime, Counter[str]] = defaultdict(Counter)
    for (at, outcome), number in frames.items():
        expected[hour_of(at)][outcome] += number
    missed: defaultdict[datetime, float] = defaultdict(float)
    for start, end in given:
        hour = hour_of(start)
        while hour < (end or now):
            overlap = min(end or now, hour + HOUR) - max(start, hour)
            missed[hour] += overlap.total_seconds()
            hour += HOUR
    assert [row["hour"] for row in found] == sorted({*expected, *missed})
    for row in found:
        counts = expected[row["hour"]]
        assert (row["source_id"], row["source"]) == (main, "main")
        assert row["frames"] == counts.total() - counts["repaired"]
        assert row["tweets"] == counts["stored"] + counts["unmatched"]
        assert (row["duplicates"], row["rejected"]) == (counts["duplicate"], counts["rejected"])
        assert float(row["gap_seconds"]) == pytest.approx(missed[row["hour"]], abs=0.01)


async def test_a_gap_counts_up_to_now_whatever_its_row_says(connected: Database) -> None:
    """A clock that was wrong, or a person, may have written times of the future."""
    async with connected.acquire() as connection:
        main = await sources.add(connection, "main", "x_v2")
        await connection.execute(
            "INSERT INTO gaps (source_id, began_at, ended_at, cause)"
            " VALUES ($1, now() - interval '2 hours', '9999-01-01', 'network'),"
            " ($1, now() + interval '1 minute', now() + interval '1 day', 'network')",
            main,
        )
        last_day = await gaps.gaps_last_day(connection, main)
    now, [row] = await ask(connected, "SELECT * FROM stats_sources")
    assert (last_day["gaps"], row["gaps_last_day"]) == (1, 1)
    assert last_day["seconds"] == pytest.approx(2 * 3600, abs=60)
    assert row["gap_seconds_last_day"] == pytest.approx(2 * 3600, abs=60)
    now, found = await ask(connected, "SELECT hour, gap_seconds FROM stats_hours ORDER BY hour")
    assert found[-1]["hour"] <= now
    assert sum(float(row["gap_seconds"]) for row in found) == pytest.approx(2 * 3600, abs=60)


async def test_storage_lists_days_with_partitions_raw_copies_and_archives(
    connected: Database,
) -> None:
    now = datetime.now(UTC)
    today, gone = now.date(), (now - 3 * DAY).date()
    counts = {(minute_of(now), "stored"): 400, (minute_of(now), "unmatched"): 100}
    async with connected.acquire() as connection:
        source = await sources.add(connection, "main", "x_v2")
        track = await tracks.add(connection, NewTrack("snow"))
        await partitions.ensure_days(connection, [today, today + DAY])
        await rollups.add_frame_counts(connection, source, counts)
        credit = Credit()
        credit.add(400, 400 * SIZE)
        await rollups.add_track_counts(connection, {(track, minute_of(now)): credit})
        await connection.execute(
            "INSERT INTO archives (day, state, path, bytes) VALUES ($1, 'dropped', 'x', 77)", gone
        )
        await connection.execute(
            "INSERT INTO raw_archives"
            " (path, source_id, journal, position, until, bytes, sha256, began_at)"
            " VALUES ('a', 1, $1, 0, 1, 30, '', $2), ('b', 1, $1, 1, 2, 12, '', $2)",
            uuid.uuid4(),
            now,
        )
        [size] = await connection.fetch(
            "SELECT pg_total_relation_size($1::regclass) + pg_total_relation_size($2::regclass)"
            " AS bytes",
            f"tweets_{today:%Y%m%d}",
            f"matches_{today:%Y%m%d}",
        )
    _, [old, new] = await ask(connected, "SELECT * FROM stats_storage ORDER BY day")
    assert (old["day"], old["archive"], old["archive_bytes"]) == (gone, "dropped", 77)
    assert (old["bytes"], old["bytes_per_million_tweets"], old["tweets"]) == (None, None, 0)
    assert (new["day"], new["tweets"], new["matches"]) == (today, 500, 400)
    assert (new["bytes"], new["raw_bytes"], new["archive"]) == (size["bytes"], 42, None)
    assert new["bytes_per_million_tweets"] == size["bytes"] * 2000
    assert new["ids_bytes"] == old["ids_bytes"] > 0  # of all days together
    assert await read(connected, "stats_storage_tracks") == [
        {"day": today, "track_id": track, "tweets": 400, "bytes": 400 * SIZE}
    ]


async def test_the_forecast_of_a_volume_follows_its_last_seven_days(connected: Database) -> None:
    async with connected.acquire() as connection:
        for hours in range(0, 10 * 24, 2):
            # 24 bytes a day, and before those seven days a jump that no longer matters.
            used = 400 - hours if hours < 7 * 24 else 900
            volumes = {"data": used, "archive": 300, "journal": 100 + hours}
            await measured(connection, "old", hours * HOUR, volumes)
        for minutes in range(60):  # too little to tell
            await measured(connection, "new", timedelta(minutes=minutes), {"data": 900 - minutes})
        await measured(connection, "gone", 2 * DAY, {"data": 5})
    found = {(row["host"], row["volume"]): row for row in await read(connected, "stats_forecast")}
    assert set(found) == {("old", "data"), ("old", "archive"), ("old", "journal"), ("new", "data")}
    data = found["old", "data"]
    assert (data["path"], data["total"], data["free"]) == ("/data", 1000, 600)
    assert data["bytes_per_day"] == 24
    assert float(data["days_until_full"]) == pytest.approx(25, abs=0.2)
    assert found["old", "archive"]["days_until_full"] is None
    assert found["old", "journal"]["bytes_per_day"] == -24
    assert found["old", "journal"]["days_until_full"] is None
    assert found["new", "data"]["bytes_per_day"] is None


async def test_the_machine_is_shown_without_jsonb(connected: Database) -> None:
    async with connected.acquire() as connection:
        await measured(connection, "here", HOUR, {"data": 5, "archive": 7})
    [row] = await read(connected, "stats_machine")
    assert (row["data_used"], row["data_free"], row["archive_used"]) == (5, 995, 7)
    assert (row["postgres_used"], row["journal_free"]) == (None, None)
    assert (row["frames"], row["tweets"], row["bytes"]) == (11, 9, 999)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for below in plan.get("Plans", []) for node in nodes(below))]


@pytest.mark.parametrize("view", VIEWS)
async def test_no_view_reads_tweets_or_matches(connected: Database, view: str) -> None:
    """At any size only roll-ups are read, and of the minutes only what an index gives."""
    async with connected.transaction() as connection:
        today = datetime.now(UTC).date()
        await partitions.ensure_days(connection, [today, today + DAY])
        # What no index can do would be done without one nevertheless.
        await connection.execute("SET LOCAL enable_seqscan = off")
        [row] = await connection.fetch(f"EXPLAIN (FORMAT json) SELECT * FROM {view}")
    found = nodes(json.loads(row["QUERY PLAN"])[0]["Plan"])
    relations = {node["Relation Name"] for node in found if "Relation Name" in node}
    assert relations
    assert [name for name in relations if name.startswith(("tweets", "matches"))] == []
    for node in found:
        if node.get("Relation Name") in ("track_minutes", "source_minutes"):
            assert "_id = " in node.get("Index Cond", node.get("Recheck Cond", "")), node
