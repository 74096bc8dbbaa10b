"""Expired tweets are deleted from Postgres, and no others."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pyarrow.parquet as pq
import pytest

from lock_waits import waiting
from monitor.archive.due_days import expired_tweets
from monitor.archive.run import ArchiveRun
from monitor.archive.store import Store
from monitor.jobs import Leader
from monitor.maintenance import retention
from monitor.maintenance.retention import Retention
from stream.config import ArchiveSettings, RetentionSettings, Settings
from stream.db import Database
from stream.errors import DatabaseAway
from stream.store import day_deletion
from stream.store.partitions import day_bounds
from stream.store.tracks import OwnRetention

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from stream.store.day_deletion import Deleted
    from waiting import Eventually

DAYS = 12  # before today
REMOVED = 99  # a track that was removed
OWN = {1: None, 2: 1, 3: 4, 4: 30}  # tracks and their keep_days
INSERT = """
WITH new AS (
    SELECT tweet_key(at, 1) AS id, native_id, doc
    FROM unnest($1::timestamptz[], $2::text[], $3::text[]) AS given (at, native_id, doc)
)
INSERT INTO tweets (id, received_at, network, native_id, kind, text, doc)
SELECT id, tweet_received_at(id), 'x_v1', native_id, 'original', '', doc::jsonb FROM new
"""
MATCH = """
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT id, track::bigint, received_at, 'x', 'text', 'own'
FROM tweets CROSS JOIN jsonb_array_elements_text(doc) AS track
ON CONFLICT DO NOTHING
"""
LEFT = "SELECT received_at, native_id, doc::text FROM tweets"
CREDITED = """
SELECT tweets.native_id, array_agg(track_id ORDER BY track_id) AS tracks
FROM tweets JOIN matches ON tweet_id = tweets.id AND matches.received_at = tweets.received_at
GROUP BY 1
"""

Tweets = dict[str, tuple[int, frozenset[int]]]  # by native id: days since its day, and its tracks


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_TWEETS", 7)
    monkeypatch.setattr(retention, "PAUSE_BETWEEN_BATCHES", 0)


@pytest.fixture
async def connected(connected: Database) -> Database:
    for days in OWN.values():
        await connected.execute(
            "INSERT INTO tracks (value, keep_days, created_at) "
            "VALUES ('x', $1, now() - interval '1 year')",
            days,
        )
    return connected


def today() -> date:
    return datetime.now(UTC).date()


async def fill(database: Database, seed: int, each_day: int = 40) -> Tweets:
    """Store some days of tweets, each with some tracks; a few with none."""
    chance, made = random.Random(seed), dict[str, tuple[int, frozenset[int]]]()
    midnight = datetime.combine(today(), datetime.min.time(), UTC)
    rows = []
    for age in range(DAYS + 1):
        await database.execute("SELECT ensure_day($1)", today() - timedelta(days=age))
        for _ in range(each_day):
            tracks = frozenset(chance.sample([*OWN, REMOVED], chance.choice([0, 1, 1, 1, 2, 3])))
            native_id = str(len(made) + 1)
            made[native_id] = age, tracks
            at = midnight - timedelta(days=age) + timedelta(seconds=chance.randrange(86_400))
            at += timedelta(microseconds=len(made))
            rows.append((at, native_id, msgspec.json.encode(sorted(tracks)).decode()))
    await database.execute(INSERT, *map(list, zip(*rows, strict=True)))
    await database.execute(MATCH)
    return made


async def left(database: Database) -> Tweets:
    found = {}
    for row in await database.fetch(LEFT):
        age = (today() - row["received_at"].date()).days
        found[row["native_id"]] = age, frozenset(msgspec.json.decode(row["doc"]))
    return found


def keeps(tweet: tuple[int, frozenset[int]], keep: RetentionSettings) -> bool:
    """The rule, written a second time: a tweet stays as long as any of its tracks keeps it."""
    age, tracks = tweet
    limits = [OWN.get(track) or keep.tweets_days for track in tracks]
    if not tracks:
        limits = [keep.unmatched_days or keep.tweets_days]
    return any(limit == 0 or age - 1 < limit for limit in limits)


def settings(keep: RetentionSettings, url: str = "", data_dir: str = "none") -> Settings:
    return Settings(data_dir=data_dir, retention=keep, archive=ArchiveSettings(url=url))


async def enforce(database: Database, its_settings: Settings) -> None:
    leader = Leader(database)
    leader.leads = True
    await Retention(database, its_settings, leader).work()


RULES = [
    RetentionSettings(tweets_days=tweets, unmatched_days=unmatched)
    for tweets, unmatched in [(0, 0), (0, 3), (6, 0), (6, 2), (2, 6), (40, 0), (1, 1)]
]


@pytest.mark.parametrize("keep", RULES)
async def test_without_an_archive_exactly_the_expired_tweets_are_deleted(
    connected: Database, keep: RetentionSettings
) -> None:
    made = await fill(connected, 1)
    expected = {name: tweet for name, tweet in made.items() if keeps(tweet, keep)}
    for _ in range(2):  # and once more changes nothing
        await enforce(connected, settings(keep))
        assert await left(connected) == expected
    # A match stays as long as its track keeps it, and of a track without a limit, for ever.
    credited = {row["native_id"]: set(row["tracks"]) for row in await connected.fetch(CREDITED)}
    for name, (age, tracks) in expected.items():
        limits = {track: OWN.get(track) or keep.tweets_days for track in tracks}
        stay = {track for track, limit in limits.items() if limit == 0 or age - 1 < limit}
        assert credited.get(name, set()) == stay


async def test_a_day_that_no_track_keeps_is_dropped(connected: Database) -> None:
    await fill(connected, 1)
    await connected.execute("UPDATE tracks SET keep_days = NULL")
    await enforce(connected, settings(RetentionSettings(tweets_days=3)))
    rows = await connected.fetch(
        "SELECT count(*) AS n FROM pg_inherits"
        " WHERE inhparent IN ('tweets'::regclass, 'matches'::regclass)"
    )
    assert rows[0]["n"] == 2 * 4  # today and three days that are over


async def test_only_the_leader_deletes(connected: Database) -> None:
    made = await fill(connected, 1, 5)
    keep = settings(RetentionSettings(tweets_days=1))
    await Retention(connected, keep, Leader(connected)).work()
    assert await left(connected) == made


async def test_writers_do_not_wait(connected: Database) -> None:
    """An open transaction on the parent table delays a drop, and nothing breaks or hangs."""
    made = await fill(connected, 1, 5)
    await connected.execute("UPDATE tracks SET keep_days = NULL")
    keep = settings(RetentionSettings(tweets_days=1))
    async with connected.dedicated() as writer:
        await writer.execute("BEGIN")
        await writer.execute("LOCK TABLE tweets IN ROW EXCLUSIVE MODE")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("stream.store.partitions.LOCK_ATTEMPTS", 1)
            with pytest.raises(DatabaseAway):
                await enforce(connected, keep)
        await writer.execute("ROLLBACK")
    assert await left(connected) == made
    await enforce(connected, keep)
    assert len(await left(connected)) == 2 * 5


@pytest.mark.parametrize(
    "delete",
    [
        partial(day_deletion.delete_expired, keep_days=1, age=9, unmatched=True),
        day_deletion.delete_stored,
    ],
)
async def test_tweets_are_locked_before_their_matches(
    connected: Database, eventually: Eventually, delete: Callable[..., Awaitable[Deleted]]
) -> None:
    """In the order of stream/row_locks.py, so that it never ends in a deadlock."""
    await fill(connected, 1, 5)
    bounds = day_bounds(today() - timedelta(days=3))

    async def work() -> None:
        async with connected.transaction() as connection:
            keys = await day_deletion.next_keys(connection, 0, *bounds, 100)
            assert (await delete(connection, keys, bounds)).matches > 0

    async with connected.dedicated() as holder, connected.dedicated() as other:
        await holder.execute("BEGIN")
        await holder.execute("SELECT FROM tweets FOR UPDATE")
        async with waiting(connected, holder, work(), eventually) as waits:
            assert waits
            await other.execute("SELECT FROM matches FOR UPDATE NOWAIT")
            await holder.execute("COMMIT")


async def test_a_new_track_changes_nothing_about_days_before_it() -> None:
    keep = RetentionSettings(tweets_days=5)
    day, now = date(2026, 1, 1), date(2026, 3, 1)
    late = OwnRetention(1, 1000, datetime(2026, 2, 1, tzinfo=UTC))
    early = OwnRetention(2, 1000, datetime(2025, 2, 1, tzinfo=UTC))
    assert expired_tweets(day, now, keep, [late]).kept == ()
    assert expired_tweets(day, now, keep, [late, early]).kept == (2,)
    assert expired_tweets(day, now, keep, [late]).rule == expired_tweets(day, now, keep, []).rule


# -- with an archive ------------------------------------------------------------------------------


async def archive(database: Database, its_settings: Settings) -> None:
    store = Store(its_settings.archive.url)
    await ArchiveRun(database, its_settings, store, lambda _: None).run()


def archived(folder: Path) -> set[str]:
    """Native ids of all tweets in the files."""
    return {
        name
        for path in folder.rglob("tweets-*.parquet")
        for name in pq.read_table(path, columns=["native_id"]).column(0).to_pylist()
    }


@pytest.mark.parametrize("keep", RULES[1:5])
async def test_with_an_archive_the_same_is_deleted_but_only_what_is_archived(
    connected: Database, keep: RetentionSettings, tmp_path: Path
) -> None:
    made = await fill(connected, 3)
    its_settings = settings(keep, str(tmp_path / "archive"), str(tmp_path))
    await enforce(connected, its_settings)
    assert await left(connected) == made, "nothing is archived yet"
    forever = msgspec.structs.replace(its_settings, retention=RetentionSettings())
    await connected.execute("UPDATE tracks SET keep_days = keep_days + 1000")
    await archive(connected, forever)
    await connected.execute("UPDATE tracks SET keep_days = keep_days - 1000")
    assert await left(connected) == made
    expected = {name: tweet for name, tweet in made.items() if keeps(tweet, keep)}
    for _ in range(2):
        await enforce(connected, its_settings)
        assert await left(connected) == expected
        await archive(connected, its_settings)  # a partially expired day is not archived again
    assert set(made) - set(expected) <= archived(tmp_path / "archive")
    assert await left(connected) == expected


async def test_late_tweets_of_a_partially_expired_day_stay_until_they_are_archived(
    connected: Database, tmp_path: Path
) -> None:
    made = await fill(connected, 4)
    forever = settings(RetentionSettings(), str(tmp_path / "archive"), str(tmp_path))
    await connected.execute("UPDATE tracks SET keep_days = 7 WHERE id IN (2, 3)")
    await connected.execute("UPDATE tracks SET keep_days = NULL WHERE id = 4")
    await archive(connected, forever)
    await enforce(connected, forever)  # of the days over seven days ago
    after = await left(connected)
    assert 0 < len(after) < len(made)
    late = datetime.combine(today() - timedelta(days=10), datetime.min.time(), UTC)
    await connected.execute(INSERT, [late + timedelta(hours=1)], ["late"], ["[2]"])
    await connected.execute(MATCH)
    # Everything is due now; the late one is in no archive.
    all_due = msgspec.structs.replace(forever, retention=RetentionSettings(tweets_days=8))
    await connected.execute("UPDATE tracks SET keep_days = 8")
    await enforce(connected, all_due)
    found = await left(connected)
    assert "late" in found
    assert {age for age, _ in found.values()} == {*range(9), 10}
    assert [name for name, (age, _) in found.items() if age == 10] == ["late"]
    # The next run archives it as another part of its day, and then it is deleted.
    for _ in range(2):
        await archive(connected, all_due)
        await enforce(connected, all_due)
    assert {age for age, _ in (await left(connected)).values()} == set(range(9))
    assert {"late", *made} - set(await left(connected)) <= archived(tmp_path / "archive")
    states = await connected.fetch("SELECT part, state FROM archives WHERE part > 0")
    assert [tuple(row) for row in states] == [(1, "dropped")]
