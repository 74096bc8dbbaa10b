"""What tracks are about is counted once for each tweet, and stays small."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor import item_counts
from monitor.item_counts import links
from monitor.jobs import Leader
from monitor.maintenance import top_items_job
from monitor.maintenance.top_items_job import TopItemsJob
from stream.db import Database
from stream.decoded_tweets import DecodedTweets
from stream.keys import hour_of
from stream.store import sources, top_items
from stream.store.top_items import ASPECTS, HOUR, Aspect, ItemKey, Span
from stream.tweet import Frame, Match, SourceId, TrackId, Tweet
from x_tweets import store_frames, v1_tweet

SNOW = TrackId(1)
ANN = {"id": 5, "id_str": "5", "screen_name": "Ann"}


def snow(found: Tweet) -> Sequence[Match]:
    """Track 1 follows snow, track 2 rain."""
    words = {"snow": 1, "rain": 2}
    return [Match(TrackId(n), word, "text") for word, n in words.items() if word in found.text]


class Bench:
    """A database that is filled as the writer fills it, and who counts."""

    def __init__(self, database: Database, source: SourceId) -> None:
        self.database = database
        self.source = source
        self.decoded = DecodedTweets()  # of a daemon that stores and counts
        self.keeper = self.make_keeper()
        self.number = 0

    def make_keeper(self) -> TopItemsJob:
        leader = Leader(self.database)
        leader.leads = True
        return TopItemsJob(self.database, leader)

    async def store(self, *messages: Mapping[str, Any], at: datetime | None = None) -> None:
        frames = []
        begin = round((at or datetime.now(UTC)).timestamp() * 1e6)
        for message in messages:
            self.number += 1
            body = v1_tweet(self.number, **({"user": ANN} | dict(message)))
            frames.append(Frame(begin + self.number, body, self.number))
        batch = await store_frames(self.database, self.source, frames, snow)
        self.decoded.add(batch.arrivals)

    async def top(
        self, aspect: Aspect, span: Span = "all", track: TrackId = SNOW, limit: int = 9
    ) -> dict[str, int]:
        async with self.database.acquire() as connection:
            of_track = await top_items.most_frequent_by_aspect(connection, track, span, limit)
        found = of_track[aspect]
        assert found == sorted(found, key=lambda top: (-top.tweets, top.item))
        return {top.item: top.tweets for top in found}

    async def put(self, lines: Mapping[ItemKey, int]) -> None:
        async with self.database.acquire() as connection:
            await top_items.add(connection, lines)


@pytest.fixture
async def bench(connected: Database) -> Bench:
    async with connected.acquire() as connection:
        source = await sources.add(connection, "one", "x_v1")
        for value in ("snow", "rain"):
            await connection.execute("INSERT INTO tracks (value) VALUES ($1)", value)
    return Bench(connected, source)


def entities(tags: Sequence[str] = (), names: Sequence[str] = (), urls: Sequence[str] = ()) -> Any:
    return {
        "entities": {
            "hashtags": [{"text": tag} for tag in tags],
            "user_mentions": [{"screen_name": name, "id_str": "7"} for name in names],
            "urls": [
                {"url": "https://t.co/x", "expanded_url": url, "display_url": url[8:20] + "…"}
                for url in urls
            ],
        }
    }


async def test_every_aspect_of_every_track_is_counted(bench: Bench) -> None:
    await bench.store(
        entities(["Snow", "SNOW", "winter"], ["NASA"], ["https://example.com/a?utm_source=x&b=1"]),
        entities(["snow"], ["nasa", "esa"], ["https://EXAMPLE.com/a?b=1#c"]) | {"lang": "de"},
        {"text": "rain and snow", "in_reply_to_status_id_str": "9"},
        {"text": "nothing"},
    )
    await bench.keeper.count()
    assert await bench.top("hashtag") == {"snow": 2, "winter": 1}
    assert await bench.top("mention") == {"nasa": 2, "esa": 1}
    assert await bench.top("link") == {"https://example.com/a?b=1": 2}
    assert await bench.top("lang") == {"en": 2, "de": 1}
    assert await bench.top("kind") == {"original": 2, "reply": 1}
    assert await bench.top("author") == {"ann": 3}
    assert await bench.top("kind", track=TrackId(2)) == {"reply": 1}
    for span in top_items.SPANS:
        assert await bench.top("hashtag", span) == {"snow": 2, "winter": 1}
    assert await bench.top("hashtag", limit=1) == {"snow": 2}


async def test_tweets_that_are_decoded_here_are_counted_without_their_rows(bench: Bench) -> None:
    counting = TopItemsJob(bench.database, bench.keeper.leader, bench.decoded)
    await counting.count()
    await bench.store(entities(["winter"]), entities(["ice"]), {"text": "nothing"})
    async with bench.database.acquire() as connection:
        await connection.execute("UPDATE tweets SET doc = '{}', kind = 'quote'")
    await counting.count()
    assert await bench.top("hashtag") == {"winter": 1, "ice": 1}
    assert await bench.top("kind") == {"original": 2}
    await bench.store(entities(["winter"]), entities(["storm"]))
    await bench.make_keeper().count()  # another daemon, which has decoded nothing
    assert await bench.top("hashtag") == {"winter": 2, "ice": 1, "storm": 1}


async def test_a_deleted_tweet_does_not_count_although_it_is_decoded_here(bench: Bench) -> None:
    counting = TopItemsJob(bench.database, bench.keeper.leader, bench.decoded)
    await counting.count()
    await bench.store(entities(["winter"]), entities(["ice"]))
    async with bench.database.acquire() as connection:
        await connection.execute("DELETE FROM tweets WHERE native_id = '1'")
    await counting.count()
    assert await bench.top("hashtag") == {"ice": 1}


async def test_the_hashtags_of_a_reposted_tweet_count(bench: Bench) -> None:
    original = {"id": 90, "id_str": "90", "text": "snow", "user": {"id_str": "6"}}
    await bench.store({"retweeted_status": original | entities(["winter"]), "text": "RT: snow"})
    await bench.keeper.count()
    assert await bench.top("hashtag") == {"winter": 1}
    assert await bench.top("author") == {"ann": 1}


async def test_each_tweet_counts_once_whoever_counts_and_wherever_it_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_items_job, "PAGE_TWEETS", 7)
    monkeypatch.setattr(top_items_job, "TRANSACTION_TWEETS", 13)
    monkeypatch.setattr(top_items_job, "RUN_TWEETS_MAX", 40)
    monkeypatch.setattr(item_counts, "STATEMENT_ROWS", 3)
    await bench.keeper.count()
    expected: Counter[str] = Counter()
    for round_ in range(4):
        tags = [f"t{n % 5}" for n in range(25)]
        expected.update(tags)
        await bench.store(*(entities([tag]) for tag in tags))
        for pause in range(6):  # ended at some moment in the middle
            task = asyncio.create_task(bench.make_keeper().count())
            for _ in range(3 * pause + round_):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(bench.keeper.count(), bench.make_keeper().count())
    for _ in range(3):
        await bench.keeper.count()
    assert await bench.top("hashtag") == expected
    assert await bench.top("lang") == {"en": 100}


async def test_one_run_does_no_more_than_it_may(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PAGE_TWEETS", 5), ("TRANSACTION_TWEETS", 10), ("RUN_TWEETS_MAX", 20)):
        monkeypatch.setattr(top_items_job, name, value)
    await bench.keeper.count()
    await bench.store(*({} for _ in range(50)))
    await bench.keeper.count()
    assert await bench.top("lang") == {"en": 20}


async def test_nobody_counts_who_does_not_lead(bench: Bench) -> None:
    await bench.store({})
    bench.keeper.leader.leads = False
    await bench.keeper.work()
    assert await bench.database.fetch("SELECT FROM consumer_cursors") == []
    bench.keeper.leader.leads = True
    await bench.keeper.work()
    assert await bench.top("lang") == {"en": 1}


async def test_the_first_time_it_begins_an_hour_ago(bench: Bench) -> None:
    now = datetime.now(UTC)
    await bench.store({}, at=now - 3 * HOUR)
    await bench.store({"lang": "de"}, at=now - HOUR / 2)
    await bench.keeper.count()
    assert await bench.top("lang") == {"de": 1}


async def test_spans_are_whole_hours(bench: Bench) -> None:
    hour = hour_of(datetime.now(UTC))
    back: list[datetime | None] = [hour - n * HOUR for n in range(30)]
    await bench.put({ItemKey(SNOW, each, "lang", "en"): 1 for each in [*back, None]})
    hours_now = hour_of(datetime.now(UTC))
    if hours_now == hour:
        assert await bench.top("lang", "hour") == {"en": 2}
        assert await bench.top("lang", "day") == {"en": 25}
    assert await bench.top("lang", "all") == {"en": 31}


async def test_old_hours_are_added_up_and_nothing_is_lost(bench: Bench) -> None:
    hour = hour_of(datetime.now(UTC))
    back = [hour - n * HOUR for n in range(30)]
    await bench.put({ItemKey(SNOW, each, "lang", "en"): 1 for each in back})
    for _ in range(2):
        await bench.keeper.prune(hour)
        async with bench.database.acquire() as connection:
            assert await top_items.hours(connection) == back[top_items.HOURS_KEPT :: -1]
        assert await bench.top("lang") == {"en": 30}


async def test_tails_are_cut_and_heads_stay(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_items_job, "KEPT_CURRENT_HOUR", 20)
    monkeypatch.setattr(top_items_job, "KEPT_CLOSED_HOUR", 10)
    monkeypatch.setattr(top_items_job, "KEPT_OLDER", 5)
    monkeypatch.setattr(top_items_job, "PAUSE_BETWEEN_BATCHES", 0)
    hour = hour_of(datetime.now(UTC))
    kept: dict[datetime | None, int] = {hour: 20, hour - HOUR: 10, hour - 30 * HOUR: 0, None: 5}
    for each in kept:
        for aspect in ("hashtag", "author"):
            await bench.put({ItemKey(SNOW, each, aspect, f"i{n:03}"): n for n in range(1, 51)})
    await bench.keeper.prune(hour)
    rows = await bench.database.fetch(
        "SELECT nullif(hour, '-infinity') AS hour, count(*) FROM track_top_items"
        " WHERE aspect = 'hashtag' GROUP BY 1"
    )
    assert {row["hour"]: row["count"] for row in rows} == {k: n for k, n in kept.items() if n}
    assert await bench.top("author", limit=2) == {"i050": 4 * 50, "i049": 4 * 49}


async def test_a_batch_adds_only_the_most_frequent_of_very_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_counts, "ADDED_MAX", 3)
    await bench.store(*(entities([f"t{n}", "all"]) for n in range(9)))
    await bench.keeper.count()
    found = await bench.top("hashtag")
    assert found.pop("all") == 9
    assert list(found.values()) == [1, 1]


async def test_what_comes_very_late_is_not_given_an_hour_of_its_own(bench: Bench) -> None:
    await bench.keeper.count()
    await bench.store({}, at=datetime.now(UTC) - timedelta(days=3))
    await bench.keeper.count()
    async with bench.database.acquire() as connection:
        assert await top_items.hours(connection) == []
    assert await bench.top("lang") == {"en": 1}


async def test_the_tops_of_a_removed_track_stay_for_a_week(bench: Bench) -> None:
    for track in (1, 2):
        await bench.put({ItemKey(TrackId(track), None, "lang", "en"): 1})
    await bench.database.execute("DELETE FROM tracks WHERE id = 1")
    now = datetime.now(UTC)
    await bench.keeper.prune(now)
    assert await bench.top("lang") == {"en": 1}
    await bench.database.execute("UPDATE track_history SET at = now() - interval '8 days'")
    await bench.keeper.prune(now)
    assert await bench.top("lang") == {}
    assert await bench.top("lang", track=TrackId(2)) == {"en": 1}


async def test_hostile_items_are_only_text(bench: Bench) -> None:
    tags = ["'; DROP TABLE tracks; --", "<script>alert(1)</script>", "\u202egat", "x" * 501, ""]
    await bench.store(entities(tags, tags, [f"https://example.com/{tag}" for tag in tags]))
    await bench.keeper.count()
    assert set(await bench.top("hashtag")) == {tag.lower() for tag in tags[:3]}
    assert len(await bench.top("link")) == 4


async def test_a_message_that_cannot_be_read_any_more_counts_by_its_columns(bench: Bench) -> None:
    await bench.store(entities(["winter"]))
    await bench.database.execute("UPDATE tweets SET doc = $1", b'{"nothing": 1}')
    await bench.keeper.count()
    assert [await bench.top(aspect) for aspect in ASPECTS] == [
        {}, {"ann": 1}, {}, {}, {"en": 1}, {"original": 1},
    ]  # fmt: skip


async def test_an_author_that_is_counted_by_id_has_the_handle_that_is_known(bench: Bench) -> None:
    dids = ["did:plc:ann", "did:plc:bob", "did:plc:eve"]
    await bench.put({ItemKey(SNOW, None, "author", did): 1 for did in dids})
    await bench.database.execute(
        "INSERT INTO accounts (network, author_id, handle, checked_at) VALUES"
        " ('bluesky', 'did:plc:ann', 'ann.example', now()),"
        " ('bluesky', 'did:plc:bob', 'handle.invalid', now())"
    )
    async with bench.database.acquire() as connection:
        found = await top_items.most_frequent_by_aspect(connection, SNOW, "all", 9)
    assert [top.name for top in found["author"]] == ["ann.example", None, None]


async def test_tops_are_read_by_the_key(bench: Bench) -> None:
    async with bench.database.transaction() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        statement = top_items._TOPS.replace("$4", "10").replace("$1", "1").replace("$3", "now()")
        plan = await connection.fetch("EXPLAIN " + statement.replace("$2", "'{lang}'"))
    assert "track_top_items_pkey" in "\n".join(row[0] for row in plan)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["https://example.com/", "example.com"], {"https://example.com"}),
        (["http://Example.com/A?fbclid=1"], {"http://example.com/A"}),
        (["https://e.com/?q=a%20b&gclid=2&r="], {"https://e.com?q=a+b&r="}),
        (["https://e.com/?q=a%20b"], {"https://e.com?q=a%20b"}),
        (["https://bit.ly/x", "bit.ly/x", "https://e.com/x"], {"https://e.com/x"}),
        (["https://bit.ly/x"], {"https://bit.ly/x"}),
        (["https://x.com/a/status/1/photo/1", "pic.x.com/b"], set()),
        (["https://x.com/a/status/1"], {"https://x.com/a/status/1"}),
        (["https://[e.com/", "https:///x", "javascript:alert(1)", "ftp://e.com"], set()),
    ],
)
def test_a_page_has_one_address(written: list[str], expected: set[str]) -> None:
    assert links(written) == expected
