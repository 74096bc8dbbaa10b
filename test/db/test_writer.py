"""From the journal to the tables: every tweet once, counted once, whatever is between them."""

import json
import time
from datetime import UTC, datetime

import pytest

from stream.journal import Journal
from stream.notes import GapClosed, GapOpened, StateNote
from stream.store.deletions import apply_to_authors
from writer_bench import DAY, MAX_FRAME_BYTES, WriterBench
from x_tweets import v1_tweet as tweet


@pytest.fixture
def bench(writer_bench: WriterBench) -> WriterBench:
    return writer_bench


def set_clock(journal: Journal, microseconds: int) -> None:
    """Frames get stamps from this time on, as if the clock stood there."""
    journal.clock.clock = lambda: microseconds + 1


async def test_a_tweet_is_stored_with_its_columns_match_and_count(
    bench: WriterBench,
) -> None:
    bench.journal.append([tweet(77, "a snow day &amp; more")])
    assert await bench.store() == {"stored": 1}
    [row] = await bench.rows(
        "SELECT network, native_id, kind, lang, author, author_id, url, text, created_at,"
        " doc ->> 'text', received_at = tweet_received_at(id) FROM tweets"
    )
    assert row == (
        "x_v1",
        "77",
        "original",
        "en",
        "ann",
        "5",
        "https://x.com/ann/status/77",
        "a snow day & more",
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "a snow day &amp; more",
        True,
    )
    assert await bench.rows("SELECT track_id, term, field, part FROM track_tweets") == [
        (1, "snow", "text", "own")
    ]
    assert await bench.rows("SELECT track_id, tweets FROM track_minutes") == [(1, 1)]


async def test_each_tweet_delivered_three_times_is_stored_and_counted_once(
    bench: WriterBench,
) -> None:
    """Within a batch, across batches, across a restart, and across midnight."""
    wanted = [tweet(n) for n in range(1, 51)]
    bench.journal.append(wanted + wanted)
    assert await bench.store() == {"stored": 50, "duplicate": 50}
    tomorrow = bench.journal.clock.last + DAY
    set_clock(bench.journal, tomorrow)
    bench.journal.append(wanted)
    assert await bench.store() == {"duplicate": 50}
    assert await bench.one("SELECT count(*) FROM tweets") == 50
    assert await bench.one("SELECT sum(tweets) FROM track_minutes") == 50
    assert await bench.counts_agree()


async def test_frames_on_both_sides_of_midnight_find_their_partitions(
    bench: WriterBench,
) -> None:
    midnight = (time.time_ns() // 1000 // DAY + 40) * DAY
    set_clock(bench.journal, midnight - 11)
    bench.journal.append([tweet(n) for n in range(1, 21)])
    assert await bench.store() == {"stored": 20}
    assert await bench.rows(
        "SELECT count(*) FROM tweets GROUP BY tableoid ORDER BY min(received_at)"
    ) == [(10,), (10,)]


async def test_after_a_clock_was_ahead_tweets_lie_in_the_true_time(
    bench: WriterBench,
) -> None:
    """Also when the time comes that it had shown: no key is given to two tweets."""
    now = time.time_ns() // 1000
    for first, clock in ((1, now + DAY), (4, now), (7, now + DAY)):
        set_clock(bench.journal, clock)
        bench.journal.append([tweet(n) for n in range(first, first + 3)])
        assert await bench.store() == {"stored": 3}
    assert await bench.rows(
        "SELECT native_id FROM tweets WHERE received_at < now() + interval '1 hour' ORDER BY 1"
    ) == [("4",), ("5",), ("6",)]
    assert await bench.one("SELECT count(DISTINCT id) FROM tweets") == 9
    assert await bench.counts_agree()
    [(text,)] = await bench.rows("SELECT text FROM events WHERE kind = 'journal'")
    assert "the clock was set back by 86,400 s" in text


async def test_a_row_that_postgres_refuses_is_found_by_halving(bench: WriterBench) -> None:
    """A number too long for numeric: valid JSON, refused by jsonb alone."""
    poison = tweet(99, "snow").replace(b'"lang"', b'"n": 1e999999, "lang"')
    bench.journal.append(
        [tweet(n) for n in range(1, 14)] + [poison] + [tweet(n) for n in range(20, 40)]
    )
    assert await bench.store() == {"stored": 33, "rejected": 1}
    [(reason, detail, body)] = await bench.rows("SELECT reason, detail, body FROM rejects")
    assert reason == "refused"
    assert "numeric" in detail
    assert body == poison


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"id_str": "1", "text": "torn', "not_json"),
        (b'{"id_str": "1", "text": "\xff\xfe"}', "not_utf8"),
        (b'{"text": "snow", "user": {"id_str": "1"}}', "no_id"),
        (b"[1, 2]", "not_object"),
        (b"x" * MAX_FRAME_BYTES, "too_large"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
    ],
)
async def test_a_bad_frame_costs_one_reject_and_no_neighbour(
    bench: WriterBench, body: bytes, reason: str
) -> None:
    bench.journal.append([tweet(1), body, tweet(2)])
    assert await bench.store() == {"stored": 2, "rejected": 1}
    assert await bench.rows("SELECT reason, body FROM rejects") == [(reason, body)]


async def test_what_jsonb_rejects_is_sanitized_and_counted(bench: WriterBench) -> None:
    bench.journal.append([tweet(1, "snow \0 and \ud800 alone"), tweet(2, "x" * 1_000_000)])
    stored = await bench.store()
    assert stored == {"stored": 1, "unmatched": 1, "repaired": 1}
    assert await bench.one("SELECT text FROM tweets WHERE native_id = '1'") == (
        "snow \ufffd and \ufffd alone"
    )


async def test_unmatched_tweets_are_kept_or_dropped_by_setting_and_always_counted(
    bench: WriterBench,
) -> None:
    bench.journal.append([tweet(1, "rain")])
    assert await bench.store() == {"unmatched": 1}
    bench.keep_unmatched = False
    bench.journal.append([tweet(2, "rain"), tweet(3, "snow")])
    assert await bench.store() == {"dropped": 1, "stored": 1}
    assert await bench.rows("SELECT native_id FROM tweets ORDER BY 1") == [("1",), ("3",)]
    assert await bench.rows("SELECT outcome, frames FROM source_minutes ORDER BY 1") == [
        ("dropped", 1),
        ("stored", 1),
        ("unmatched", 1),
    ]


def deletion(native_id: int) -> bytes:
    status = {"id": native_id, "id_str": str(native_id), "user_id": 5, "user_id_str": "5"}
    return json.dumps({"delete": {"status": status}}).encode()


async def test_the_bytes_that_came_are_counted_for_each_track(bench: WriterBench) -> None:
    frames = [tweet(n) for n in range(1, 6)]
    bench.journal.append(frames)
    await bench.store()
    assert await bench.counts_agree()
    assert await bench.bytes_agree()
    assert await bench.one("SELECT sum(bytes) FROM track_days") == sum(map(len, frames))


async def test_a_deletion_erases_and_wins_over_a_late_arrival(bench: WriterBench) -> None:
    bench.journal.append([tweet(1), tweet(2), deletion(1), deletion(3)])
    await bench.store()
    bench.journal.append([tweet(1), tweet(3)])
    assert await bench.store() == {"deleted": 2}
    assert await bench.rows("SELECT native_id FROM tweets") == [("2",)]
    assert await bench.rows("SELECT native_id FROM track_tweets") == [("2",)]
    assert await bench.rows("SELECT tweets FROM track_minutes") == [(1,)]
    assert await bench.counts_agree()


async def test_a_deletion_only_flags_when_so_set(bench: WriterBench) -> None:
    bench.erase = False
    bench.journal.append([tweet(1), deletion(1)])
    await bench.store()
    assert await bench.rows("SELECT native_id FROM tweets WHERE deleted_at IS NOT NULL") == [("1",)]
    assert await bench.counts_agree()


async def test_scrub_geo_removes_places_now_and_later(bench: WriterBench) -> None:
    point = {"type": "Point", "coordinates": [10.7, 59.9]}
    scrub = {"user_id": 5, "user_id_str": "5", "up_to_status_id": 9, "up_to_status_id_str": "9"}
    bench.journal.append([tweet(1, coordinates=point), tweet(10, coordinates=point)])
    bench.journal.append([json.dumps({"scrub_geo": scrub}).encode(), tweet(2, coordinates=point)])
    await bench.store()
    bench.journal.append([tweet(3, coordinates=point)])
    await bench.store()
    await apply_to_authors(bench.database, erase=True)
    assert await bench.rows(
        "SELECT native_id FROM tweets WHERE doc ? 'coordinates' ORDER BY 1"
    ) == [("10",)]


async def test_withheld_tweets_and_authors_say_so_now_and_later(bench: WriterBench) -> None:
    status = {"id": 1, "user_id": 5, "withheld_in_countries": ["DE"]}
    late = {"id": 2, "user_id": 5, "withheld_in_countries": ["FR"]}
    author = {"id": 6, "withheld_in_countries": ["XX"]}
    other = {"id": 6, "id_str": "6", "screen_name": "bob"}
    bench.journal.append([tweet(1), tweet(3, user=other)])
    bench.journal.append(
        [
            json.dumps({"status_withheld": status}).encode(),
            json.dumps({"status_withheld": late}).encode(),
            json.dumps({"user_withheld": author}).encode(),
        ]
    )
    await bench.store()
    bench.journal.append([tweet(2), tweet(4, user=other), tweet(5)])
    assert await bench.store() == {"stored": 3}
    await apply_to_authors(bench.database, erase=True)
    assert await bench.rows("SELECT native_id, withheld FROM tweets ORDER BY 1") == [
        ("1", ["DE"]),
        ("2", ["FR"]),
        ("3", ["XX"]),
        ("4", ["XX"]),
        ("5", None),
    ]


async def test_limit_messages_carry_totals_and_differences_are_counted(
    bench: WriterBench,
) -> None:
    def limit(number: int) -> bytes:
        return json.dumps({"limit": {"track": number, "timestamp_ms": "1700000000123"}}).encode()

    bench.journal.note(StateNote("connecting", "", 1.0))
    bench.journal.append([limit(5), limit(12)])
    await bench.store()
    bench.journal.append([limit(20)])
    bench.journal.note(StateNote("connecting", "", 2.0))
    bench.journal.append([limit(3)])
    await bench.store()
    assert (
        await bench.one("SELECT sum(frames) FROM source_minutes WHERE outcome = 'undelivered'")
        == 23
    )


async def test_a_damaged_limit_message_is_not_counted(
    bench: WriterBench,
) -> None:
    for number in (7, 9 * 10**15, 10**18 + 1, 50_000_000, 9):
        bench.journal.append([json.dumps({"limit": {"track": number}}).encode()])
        await bench.store()
    counted = "SELECT sum(frames) FROM source_minutes WHERE outcome = 'undelivered'"
    assert await bench.one(counted) == 9
    assert await bench.one("SELECT undelivered FROM positions") == 9


async def test_states_and_gaps_reach_their_tables_in_order(bench: WriterBench) -> None:
    journal = bench.journal
    journal.note(StateNote("streaming", "", 1000.0))
    journal.note(GapOpened(1000.5, "network", "reset by peer"))
    journal.note(GapOpened(1000.7, "killed", "a later word about the same silence"))
    journal.note(StateNote("waiting", "reset by peer", 1001.0, 1005.0))
    await bench.store()
    assert await bench.rows("SELECT state, reason, retry_at IS NOT NULL FROM sources") == [
        ("waiting", "reset by peer", True)
    ]
    journal.note(GapClosed(1010.0))
    await bench.store()
    assert await bench.rows(
        "SELECT extract(epoch FROM began_at)::float, extract(epoch FROM ended_at)::float, cause"
        " FROM gaps"
    ) == [(1000.5, 1010.0, "network")]
    assert [row[0] for row in await bench.rows("SELECT text FROM events ORDER BY id")] == [
        "streaming",
        "waiting: reset by peer",
    ]


async def test_the_gap_of_a_source_ends_when_the_source_is_removed(
    bench: WriterBench,
) -> None:
    bench.journal.note(GapOpened(1000.5, "network", "reset by peer"))
    await bench.store()
    await bench.database.execute("DELETE FROM sources")
    bench.journal.note(GapOpened(2000.5, "stopped", "the last word of its collector"))
    await bench.store()
    assert await bench.rows("SELECT cause, ended_at IS NOT NULL FROM gaps") == [("network", True)]
