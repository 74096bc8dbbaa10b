"""What goes out of Postgres when its time is up, and what must not."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from monitor.archive.dues import OwnTime, due
from monitor.archive.running import Archivist
from monitor.archive.store import Store
from monitor.keep import retention
from monitor.keep.retention import Retention
from monitor.leader import Leader
from stream import db
from stream.config import ArchiveSettings, RetentionSettings, Settings
from stream.db import Database
from stream.errors import DatabaseAway

DAYS = 12  # before today
REMOVED = 99  # a track that is no more
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
    monkeypatch.setattr(retention, "BATCH", 7)
    monkeypatch.setattr(retention, "BREATH", 0)


@pytest.fixture
async def connected(database: str) -> AsyncIterator[Database]:
    async with db.connect(database) as connected:
        for days in OWN.values():
            await connected.execute(
                "INSERT INTO tracks (value, keep_days, created_at) "
                "VALUES ('x', $1, now() - interval '1 year')",
                days,
            )
        yield connected


def today() -> date:
    return datetime.now(UTC).date()


async def fill(database: Database, seed: int, each_day: int = 40) -> Tweets:
    """Some days of tweets, each with some tracks; a few with none."""
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
    """The rule, told once more: a tweet stays as long as any of its tracks wants it."""
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
async def test_without_an_archive_exactly_what_is_due_goes(
    connected: Database, keep: RetentionSettings
) -> None:
    made = await fill(connected, 1)
    wanted = {name: tweet for name, tweet in made.items() if keeps(tweet, keep)}
    for _ in range(2):  # and once more changes nothing
        await enforce(connected, settings(keep))
        assert await left(connected) == wanted
    # A match stays as long as its track wants it, and a track that goes by nothing, for ever.
    credited = {row["native_id"]: set(row["tracks"]) for row in await connected.fetch(CREDITED)}
    for name, (age, tracks) in wanted.items():
        limits = {track: OWN.get(track) or keep.tweets_days for track in tracks}
        stay = {track for track, limit in limits.items() if limit == 0 or age - 1 < limit}
        assert credited.get(name, set()) == stay


async def test_a_day_that_nobody_wants_goes_as_a_whole(connected: Database) -> None:
    await fill(connected, 1)
    await connected.execute("UPDATE tracks SET keep_days = NULL")
    await enforce(connected, settings(RetentionSettings(tweets_days=3)))
    rows = await connected.fetch(
        "SELECT count(*) AS n FROM pg_inherits"
        " WHERE inhparent IN ('tweets'::regclass, 'matches'::regclass)"
    )
    assert rows[0]["n"] == 2 * 4  # today and three days that are over


async def test_only_the_leader_lets_go(connected: Database) -> None:
    made = await fill(connected, 1, 5)
    keep = settings(RetentionSettings(tweets_days=1))
    await Retention(connected, keep, Leader(connected)).work()
    assert await left(connected) == made


async def test_writers_do_not_wait_for_it(connected: Database) -> None:
    """An open transaction on the parent holds a drop up, and nothing breaks or hangs."""
    made = await fill(connected, 1, 5)
    await connected.execute("UPDATE tracks SET keep_days = NULL")
    keep = settings(RetentionSettings(tweets_days=1))
    async with connected.dedicated() as writer:
        await writer.execute("BEGIN")
        await writer.execute("LOCK TABLE tweets IN ROW EXCLUSIVE MODE")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("monitor.archive.book.LOCK_ATTEMPTS", 1)
            with pytest.raises(DatabaseAway):
                await enforce(connected, keep)
        await writer.execute("ROLLBACK")
    assert await left(connected) == made
    await enforce(connected, keep)
    assert len(await left(connected)) == 2 * 5


async def test_a_track_made_later_says_nothing_about_days_before_it() -> None:
    keep = RetentionSettings(tweets_days=5)
    day, now = date(2026, 1, 1), date(2026, 3, 1)
    late = OwnTime(1, 1000, datetime(2026, 2, 1, tzinfo=UTC))
    early = OwnTime(2, 1000, datetime(2025, 2, 1, tzinfo=UTC))
    assert due(day, now, keep, [late]).kept == ()
    assert due(day, now, keep, [late, early]).kept == (2,)
    assert due(day, now, keep, [late]).rule == due(day, now, keep, []).rule


# -- with an archive ------------------------------------------------------------------------------


async def archive(database: Database, its_settings: Settings) -> None:
    store = Store(its_settings.archive.url)
    await Archivist(database, its_settings, store, lambda _: None).run()


def archived(folder: Path) -> set[str]:
    """Native ids of all tweets in the files."""
    return {
        name
        for path in folder.rglob("tweets-*.parquet")
        for name in pq.read_table(path, columns=["native_id"]).column(0).to_pylist()
    }


@pytest.mark.parametrize("keep", RULES[1:5])
async def test_with_an_archive_the_same_goes_but_only_what_it_has(
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
    wanted = {name: tweet for name, tweet in made.items() if keeps(tweet, keep)}
    for _ in range(2):
        await enforce(connected, its_settings)
        assert await left(connected) == wanted
        await archive(connected, its_settings)  # a thinned day is not archived again
    assert set(made) - set(wanted) <= archived(tmp_path / "archive")
    assert await left(connected) == wanted


async def test_what_came_after_a_day_was_thinned_stays_until_it_is_archived_too(
    connected: Database, tmp_path: Path
) -> None:
    made = await fill(connected, 4)
    forever = settings(RetentionSettings(), str(tmp_path / "archive"), str(tmp_path))
    await connected.execute("UPDATE tracks SET keep_days = 7 WHERE id IN (2, 3)")
    await connected.execute("UPDATE tracks SET keep_days = NULL WHERE id = 4")
    await archive(connected, forever)
    await enforce(connected, forever)  # thins the days over seven days ago
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
    # The next run archives it, as another part of its day, and then it may go.
    for _ in range(2):
        await archive(connected, all_due)
        await enforce(connected, all_due)
    assert {age for age, _ in (await left(connected)).values()} == set(range(9))
    assert {"late", *made} - set(await left(connected)) <= archived(tmp_path / "archive")
    states = await connected.fetch("SELECT part, state FROM archives WHERE part > 0")
    assert [tuple(row) for row in states] == [(1, "dropped")]
