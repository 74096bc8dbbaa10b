"""What a query would have brought, exactly and by estimate, and what is said of it."""

import asyncio
import html
import re

import pytest

from stream.query import parse
from stream.tweet import TrackId, UserId
from web.queries import preview as previews
from web.queries.preview import preview
from web_app import Client, WebApp

ANA, BEN = UserId(1), UserId(2)

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


async def fill(app: WebApp, count: int, minutes: int, nth: int) -> None:
    run = app.execute
    await run(
        "SELECT ensure_day((now() AT TIME ZONE 'UTC')::date - n) FROM generate_series(0, 1) n"
    )
    await run("INSERT INTO ingest_runs SELECT 1, 1, 1, 2")
    await run(FILL, count, float(minutes), nth)
    await run(COUNT)


def texts(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


async def test_few_tweets_are_counted_exactly(app: WebApp) -> None:
    await fill(app, 400, 100, 4)
    found = await preview(app.cells, ANA, parse("keyword", "snow"))
    assert (found.day.tweets, found.day.stored, found.day.exact) == (100, 400, True)
    assert found.hour.exact
    assert 55 <= found.hour.tweets <= 62  # the hour begins with a whole minute
    assert [each.match.term for each in found.examples] == ["snow"] * previews.EXAMPLES
    keys = [each.tweet.id for each in found.examples]
    assert keys == sorted(keys, reverse=True)
    nothing = await preview(app.cells, ANA, parse("keyword", "hail"))
    assert (nothing.day.tweets, nothing.examples) == (0, [])


async def test_many_tweets_are_estimated_from_an_even_sample(app: WebApp) -> None:
    await fill(app, 9000, 600, 3)
    found = await preview(app.cells, ANA, parse("keyword", "snow"))
    assert not found.day.exact
    assert found.day.stored == 9000
    assert found.day.examined <= previews.SAMPLE_SIZE * 1.1
    assert found.day.tweets == pytest.approx(3000, rel=0.2)
    assert found.hour.tweets == pytest.approx(300, rel=0.2)


async def test_what_only_look_backs_have_stored_is_searched_too(app: WebApp) -> None:
    """The writers have not counted it."""
    await fill(app, 400, 100, 4)
    await app.execute("DELETE FROM source_minutes WHERE minute < now() - interval '10 minutes'")
    found = await preview(app.cells, ANA, parse("keyword", "snow"))
    assert (found.day.tweets, found.day.stored, found.day.exact) == (100, 400, True)


async def test_strata_with_many_tweets_are_estimated(
    app: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "COUNTED_MAX", 60)
    await fill(app, 9000, 600, 3)
    await app.execute("DELETE FROM source_minutes")
    found = await preview(app.cells, ANA, parse("keyword", "snow"))
    assert found.day.stored == pytest.approx(9000, rel=0.02)
    assert found.day.tweets == pytest.approx(3000, rel=0.2)


async def test_a_busy_hour_and_its_day_agree(app: WebApp) -> None:
    """So many are all counted, wherever they lie, and what is rare is found, too."""
    await fill(app, 4700, 50, 940)
    rare = await preview(app.cells, ANA, parse("keyword", "snow"))
    assert [rare.hour.tweets, rare.hour.stored, rare.hour.exact] == [5, 4700, True]
    assert [rare.day.tweets, rare.day.stored, rare.day.exact] == [5, 4700, True]
    assert len(rare.examples) == 5


async def test_a_day_that_is_counted_tells_of_its_hour(app: WebApp) -> None:
    await fill(app, 4800, 600, 4)
    found = await preview(app.cells, ANA, parse("keyword", "snow"))
    assert (found.day.tweets, found.day.exact, found.hour.exact) == (1200, True, True)
    assert 110 <= found.hour.tweets <= 122  # the hour begins with a whole minute
    assert found.hour.examined == pytest.approx(found.hour.stored, abs=8)


async def test_what_is_all_of_the_last_hour_is_one_sample(app: WebApp) -> None:
    await fill(app, 6000, 50, 7)
    found = await preview(app.cells, ANA, parse("keyword", "snow"))
    hour, day = found.hour, found.day
    assert not hour.exact
    assert hour.tweets == pytest.approx(857, rel=0.3)
    assert (hour.tweets, hour.stored, hour.examined) == (day.tweets, day.stored, day.examined)


async def test_a_sample_never_says_that_there_is_nothing(app: WebApp, ana: Client) -> None:
    await fill(app, 6000, 50, 7)
    _, text = await ana.post("/tracks/preview", {"kind": "keyword", "value": "hail"})
    assert "in the last hour few or none of 6,000 stored" in texts(text)
    _, text = await ana.post("/tracks/preview", {"kind": "keyword", "value": "snow"})
    assert "in the last hour about " in texts(text)


async def test_a_sample_is_taken_once_for_all_who_type(app: WebApp) -> None:
    await fill(app, 9000, 600, 3)
    first = await preview(app.cells, ANA, parse("keyword", "snow"))
    await app.execute("DELETE FROM tweets")
    second = await preview(app.cells, ANA, parse("keyword", "ice"))
    assert first.day.tweets == second.day.tweets > 0


async def test_it_says_which_track_has_it_already(app: WebApp) -> None:
    await fill(app, 400, 100, 4)
    await app.execute(
        """INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
        SELECT id, 7, received_at, 'snow', 'text', 'own' FROM tweets WHERE text LIKE 'snow%'"""
    )
    query = parse("keyword", "ice")
    assert (await preview(app.cells, ANA, query, {TrackId(7)})).covered == {TrackId(7): 1.0}
    assert (await preview(app.cells, ANA, query, {TrackId(8)})).covered == {}


async def test_what_cannot_be_decoded_is_left_out(app: WebApp) -> None:
    await fill(app, 100, 50, 2)
    await app.execute("UPDATE tweets SET doc = '[1]' WHERE id % 2 = 0 OR native_id < '5'")
    found = await preview(app.cells, ANA, parse("keyword", "snow"))
    assert 0 < found.day.examined < 100


async def test_the_page_shows_numbers_samples_and_warnings(app: WebApp, ana: Client) -> None:
    await fill(app, 900, 50, 1)
    await app.execute("INSERT INTO tracks (value, owner) VALUES ('winter', 'ana')")
    await app.execute(
        """INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
        SELECT id, 1, received_at, 'snow', 'text', 'own' FROM tweets"""
    )
    given = {"kind": "keyword", "value": "ice"}
    status, text = await ana.post("/tracks/preview", given, headers={"HX-Request": "true"})
    assert status == 200
    assert "900 of 900 stored" in texts(text)
    assert "snow &amp; <mark>ice</mark>" in text
    assert "This matches a lot: about 900 tweets an hour, 100 % of all stored tweets." in texts(
        text
    )
    assert "100 % of these tweets are already in the track winter" in texts(text)
    given = {"kind": "keyword", "value": "snow", "track": "1"}
    _, text = await ana.post("/tracks/preview", given)
    assert "already" not in text  # it is that track which is changed
    _, text = await ana.post("/tracks/preview", {"kind": "query", "value": "(("})
    assert text == ""


async def test_an_empty_database_has_nothing_to_show(ana: Client) -> None:
    _, text = await ana.post("/tracks/preview", {"kind": "keyword", "value": "ice"})
    assert "No tweets are stored yet" in text


async def test_a_page_is_told_that_too_many_previews_run(app: WebApp, ana: Client) -> None:
    await fill(app, 10, 10, 1)
    form = {"kind": "keyword", "value": "snow"}
    async with asyncio.TaskGroup() as group, app.database.transaction() as connection:
        await connection.execute("LOCK TABLE source_minutes")
        asked = [group.create_task(ana.post("/tracks/preview", form)) for _ in range(8)]
        for done in asyncio.as_completed(asked):
            status, text = await done
            assert (status, "Several of your previews" in text) == (429, True)
            break
        await connection.execute("SELECT")
