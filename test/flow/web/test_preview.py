"""What a query would have brought, exactly and by estimate, and what is said of it."""

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages

import pytest

from stream.query import parse
from stream.tweet import TrackId
from web.reading import preview as previews
from web.reading.preview import preview

# `count` tweets within so many minutes until now, evenly; every `nth` of them about snow.
FILL = """
WITH made AS (
    SELECT n, tweet_key(now() - n * $2 * interval '1 minute' / $1, 1) AS id,
        CASE WHEN n % $3 = 0 THEN 'snow & ice' ELSE 'nothing new' END AS text
    FROM generate_series(1, $1::integer) AS n
)
INSERT INTO tweets (id, received_at, network, native_id, kind, author, text, doc)
SELECT id, tweet_received_at(id), 'x_v2', n, 'original', 'ana', text,
    jsonb_build_object('data', jsonb_build_object('id', n::text, 'text', text, 'author_id', '5'))
FROM made
"""
COUNT = """
INSERT INTO source_minutes SELECT 1, date_trunc('minute', received_at), 'stored', count(*)
FROM tweets GROUP BY 2
"""


async def fill(pages: "Pages", count: int, minutes: int, nth: int) -> None:
    run = pages.database.execute
    await run(
        "SELECT ensure_day((now() AT TIME ZONE 'UTC')::date - n) FROM generate_series(0, 1) n"
    )
    await run("INSERT INTO runs SELECT 1, 1, 1, 2")
    await run(FILL, count, float(minutes), nth)
    await run(COUNT)


def texts(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


async def test_few_tweets_are_counted_exactly(pages: "Pages") -> None:
    await fill(pages, 400, 100, 4)
    found = await preview(pages.database, parse("keyword", "snow"))
    assert (found.day.tweets, found.day.stored, found.day.exact) == (100, 400, True)
    assert found.hour.exact
    assert 55 <= found.hour.tweets <= 62  # the hour begins with a whole minute
    assert [each.match.term for each in found.examples] == ["snow"] * previews.EXAMPLES
    keys = [each.tweet.id for each in found.examples]
    assert keys == sorted(keys, reverse=True)
    nothing = await preview(pages.database, parse("keyword", "hail"))
    assert (nothing.day.tweets, nothing.examples) == (0, [])


async def test_many_tweets_are_estimated_from_an_even_sample(pages: "Pages") -> None:
    await fill(pages, 9000, 600, 3)
    found = await preview(pages.database, parse("keyword", "snow"))
    assert not found.day.exact
    assert found.day.stored == 9000
    assert found.day.looked_at <= previews.LOOKED_AT * 1.1
    assert found.day.tweets == pytest.approx(3000, rel=0.2)
    assert found.hour.tweets == pytest.approx(300, rel=0.2)


async def test_a_busy_hour_and_its_day_agree(pages: "Pages") -> None:
    """So many are all counted, wherever they lie, and what is rare is found, too."""
    await fill(pages, 4700, 50, 940)
    rare = await preview(pages.database, parse("keyword", "snow"))
    assert [rare.hour.tweets, rare.hour.stored, rare.hour.exact] == [5, 4700, True]
    assert [rare.day.tweets, rare.day.stored, rare.day.exact] == [5, 4700, True]
    assert len(rare.examples) == 5


async def test_a_day_that_is_counted_tells_of_its_hour(pages: "Pages") -> None:
    await fill(pages, 4800, 600, 4)
    found = await preview(pages.database, parse("keyword", "snow"))
    assert (found.day.tweets, found.day.exact, found.hour.exact) == (1200, True, True)
    assert 110 <= found.hour.tweets <= 122  # the hour begins with a whole minute
    assert found.hour.looked_at == pytest.approx(found.hour.stored, abs=8)


async def test_what_is_all_of_the_last_hour_is_one_sample(pages: "Pages") -> None:
    await fill(pages, 6000, 50, 7)
    found = await preview(pages.database, parse("keyword", "snow"))
    hour, day = found.hour, found.day
    assert not hour.exact
    assert hour.tweets == pytest.approx(857, rel=0.3)
    assert (hour.tweets, hour.stored, hour.looked_at) == (day.tweets, day.stored, day.looked_at)


async def test_a_sample_never_says_that_there_is_nothing(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    await fill(pages, 6000, 50, 7)
    _, text = await ana.post("/tracks/preview", {"kind": "keyword", "value": "hail"})
    assert "in the last hour few or none of 6,000 stored" in texts(text)
    _, text = await ana.post("/tracks/preview", {"kind": "keyword", "value": "snow"})
    assert "in the last hour about " in texts(text)


async def test_a_sample_is_taken_once_for_all_who_type(pages: "Pages") -> None:
    await fill(pages, 9000, 600, 3)
    first = await preview(pages.database, parse("keyword", "snow"))
    await pages.database.execute("DELETE FROM tweets")
    second = await preview(pages.database, parse("keyword", "ice"))
    assert first.day.tweets == second.day.tweets > 0


async def test_it_says_which_track_has_it_already(pages: "Pages") -> None:
    await fill(pages, 400, 100, 4)
    await pages.database.execute(
        """INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
        SELECT id, 7, received_at, 'snow', 'text', 'own' FROM tweets WHERE text LIKE 'snow%'"""
    )
    query = parse("keyword", "ice")
    assert (await preview(pages.database, query, {TrackId(7)})).covered == {TrackId(7): 1.0}
    assert (await preview(pages.database, query, {TrackId(8)})).covered == {}


async def test_what_cannot_be_decoded_is_left_out(pages: "Pages") -> None:
    await fill(pages, 100, 50, 2)
    await pages.database.execute(
        "UPDATE tweets SET doc = '[1]' WHERE id % 2 = 0 OR native_id < '5'"
    )
    found = await preview(pages.database, parse("keyword", "snow"))
    assert 0 < found.day.looked_at < 100


async def test_the_page_shows_numbers_samples_and_warnings(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    await fill(pages, 900, 50, 1)
    await pages.database.execute("INSERT INTO tracks (value, owner) VALUES ('winter', 'ana')")
    await pages.database.execute(
        """INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
        SELECT id, 1, received_at, 'snow', 'text', 'own' FROM tweets"""
    )
    given = {"kind": "keyword", "value": "ice"}
    status, text = await ana.post("/tracks/preview", given, headers={"HX-Request": "true"})
    assert status == 200
    assert "900 of 900 stored" in texts(text)
    assert "snow &amp; <mark>ice</mark>" in text
    assert "This is broad: about 900 tweets an hour, 100 % of all that is stored." in texts(text)
    assert "100 % of these tweets are in the track winter already" in texts(text)
    given = {"kind": "keyword", "value": "snow", "track": "1"}
    _, text = await ana.post("/tracks/preview", given)
    assert "already" not in text  # it is that track which is changed
    _, text = await ana.post("/tracks/preview", {"kind": "query", "value": "(("})
    assert text == ""


async def test_an_empty_database_has_nothing_to_show(pages: "Pages") -> None:
    ana = await pages.enter("ana")
    _, text = await ana.post("/tracks/preview", {"kind": "keyword", "value": "ice"})
    assert "Nothing is stored yet" in text
