"""The REST API: what programs ask for is what they get, in pages that miss nothing."""

import csv
import io
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from web_app import Client, MakeApp, WebApp

NOW = datetime.now(UTC).replace(microsecond=0)
STORE = """
WITH new AS (
    SELECT tweet_key($1::timestamptz - n * interval '1 second', $2) AS id, n
    FROM unnest($3::integer[]) AS n
), kept AS (
    INSERT INTO tweets (id, received_at, created_at, network, native_id, kind, lang, author_id,
        author, url, text, doc)
    SELECT id, tweet_received_at(id), tweet_received_at(id), 'x_v2', $2 || '_' || n,
        CASE WHEN n % 5 = 0 THEN 'reply' ELSE 'original' END,
        CASE WHEN n % 3 = 0 THEN 'de' ELSE 'en' END, '7', 'mary', 'https://x.com/mary/' || n,
        CASE WHEN n % 2 = 0 THEN 'Snow on day ' ELSE 'Rain on day ' END || n,
        jsonb_build_object('data', jsonb_build_object('id', n::text, 'author_id', '7', 'text',
            CASE WHEN n % 2 = 0 THEN 'Snow on day ' ELSE 'Rain on day ' END || n))
    FROM new
)
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT id, track, tweet_received_at(id), 'day', 'text', 'own'
FROM new CROSS JOIN unnest($4::bigint[]) AS track
"""
RUN = """
WITH keys AS (
    SELECT tweet_key($2::timestamptz - n * interval '1 second', $1) AS id
    FROM unnest($3::integer[]) AS n
), noted AS (
    SELECT number FROM (SELECT min(id) AS first, max(id) AS last FROM keys) AS ends
    CROSS JOIN note_ingest_run($1, first, last)
)
UPDATE tweets SET run = noted.number FROM keys, noted WHERE tweets.id = keys.id
"""


async def store(
    app: WebApp, numbers: Sequence[int], tracks: Sequence[int], source: int = 1
) -> None:
    """Tweets that came so many seconds ago; as one run of the source."""
    for day in {(NOW - timedelta(seconds=n)).date() for n in numbers}:
        await app.execute("SELECT ensure_day($1)", day)
    await app.execute(STORE, NOW, source, list(numbers), list(tracks))
    await app.execute(RUN, source, NOW, list(numbers))


async def track(app: WebApp, owner: str, value: str = "day") -> int:
    statement = "INSERT INTO tracks (owner, value) VALUES ($1, $2) RETURNING id"
    return int((await app.database.fetch(statement, owner, value))[0]["id"])


async def walk(client: Client, path: str, limit: int = 7) -> AsyncIterator[dict[str, Any]]:
    """All tweets, page by page, until there is no more at this moment."""
    cursor = ""
    while True:
        status, page = await client.json("GET", f"{path}&limit={limit}{cursor}")
        assert status == 200, page
        assert len(page["tweets"]) <= limit
        for tweet in page["tweets"]:
            yield tweet
        if not page["more"]:
            return
        cursor = f"&cursor={page['next']}"


async def numbers(client: Client, path: str, limit: int = 7) -> list[int]:
    """The seconds ago that the tweets have in their texts."""
    return [int(each["text"].split()[-1]) async for each in walk(client, path, limit)]


async def add_lanes(app: WebApp, number: int) -> None:
    """Lanes whose newest tweets are of the last minutes; a tenth of them stored some late."""
    await app.execute(
        """
        INSERT INTO ingest_runs (source_id, run, first_id, last_id)
        SELECT lane, run, tweet_key(now() - interval '30 days', lane),
            tweet_key(now() - lane * interval '0.3 s' - run * interval '1 day', lane)
        FROM generate_series(100, 99 + $1::integer) AS lane
        CROSS JOIN generate_series(1, 2) AS run WHERE run = 1 OR lane % 10 = 0
        """,
        number,
    )


@pytest.fixture
async def filled(app: WebApp) -> WebApp:
    """Two tracks of ana (1, 2) and one of bob (3); 60 tweets of track 1, 5 of both others."""
    await app.user("ana")
    await app.user("bob")
    for owner, value in (("ana", "day"), ("ana", "snow"), ("bob", "rain")):
        await track(app, owner, value)
    await store(app, range(1, 61), [1])
    await store(app, range(70, 75), [2], source=2)
    await store(app, range(80, 85), [3], source=3)
    return app


async def test_pages_hold_every_tweet_once_in_both_orders(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    mine = [*range(1, 61), *range(70, 75)]
    assert await numbers(ana, "/api/v1/tweets?") == mine
    assert await numbers(ana, "/api/v1/tweets?order=oldest") == mine[::-1]
    assert await numbers(ana, "/api/v1/tweets?track=2&track=1", limit=1000) == mine
    eva = await filled.api_client("eva", "admin")
    everything = [*mine, *range(80, 85)]
    assert await numbers(eva, "/api/v1/tweets?") == everything
    assert await numbers(eva, "/api/v1/tweets?order=oldest", limit=9) == everything[::-1]
    assert (
        await numbers(ana, "/api/v1/tweets?track=2&order=oldest", limit=1) == [*range(70, 75)][::-1]
    )


FILTERS: dict[str, Callable[[int], bool]] = {
    "kind=reply": lambda n: n % 5 == 0,
    "lang=DE": lambda n: n % 3 == 0,
    "words=SNOW+on": lambda n: n % 2 == 0,
    "words=snow&lang=de&kind=reply": lambda n: n % 30 == 0,
    "track=1&query=snow": lambda n: n % 2 == 0 and n < 61,
    "track=1&query=-rain+day&query_kind=query": lambda n: n % 2 == 0 and n < 61,
    "words=fog": lambda _: False,
}


async def test_somebody_with_many_tracks_gets_the_same(
    filled: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.store.search.MANY_TRACKS", 1)
    ana = await filled.api_client("ana")
    mine = [*range(1, 61), *range(70, 75)]
    assert await numbers(ana, "/api/v1/tweets?") == mine
    assert await numbers(ana, "/api/v1/tweets?order=oldest") == mine[::-1]
    german = [n for n in mine if n % 3 == 0]
    assert await numbers(ana, "/api/v1/tweets?lang=de&order=oldest") == german[::-1]


async def test_filters(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    for question, wanted in FILTERS.items():
        expected = [n for n in [*range(1, 61), *range(70, 75)] if wanted(n)]
        path = f"/api/v1/tweets?{question}"
        assert await numbers(ana, path, limit=3) == expected, question
        assert await numbers(ana, f"{path}&order=oldest", limit=3) == expected[::-1], question


async def test_times_are_from_and_until_before(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    begin, end = (f"{NOW - timedelta(seconds=n):%Y-%m-%dT%H:%M:%SZ}" for n in (20, 10))
    for order in ("newest", "oldest"):
        question = f"/api/v1/tweets?begin={begin}&end={end}&order={order}"
        assert sorted(await numbers(ana, question, limit=3)) == [*range(11, 21)]
        for nothing in ("begin=2199-01-01T00:00:00Z", "end=0001-01-01T00:00:00%2B05:00"):
            assert await numbers(ana, f"/api/v1/tweets?{nothing}&order={order}") == []


async def test_a_query_of_a_user_looks_at_everything_and_shows_no_foreign_track(
    filled: WebApp,
) -> None:
    ana = await filled.api_client("ana")
    found = [each async for each in walk(ana, "/api/v1/tweets?query=rain")]
    assert len(found) == 30 + 2 + 2
    foreign = [each for each in found if int(each["text"].split()[-1]) >= 80]
    assert len(foreign) == 2
    for tweet in foreign:
        [why] = tweet["matches"]
        assert why == {
            "track": "",
            "term": "rain",
            "field": "text",
            "part": "own",
            "look_back": False,
        }


async def test_a_viewer_sees_what_is_shared_with_him_whatever_he_asks(filled: WebApp) -> None:
    vera = await filled.api_client("vera", "viewer")
    assert await numbers(vera, "/api/v1/tweets?") == []
    assert await numbers(vera, "/api/v1/tweets?query=day") == []
    ana = await filled.api_client("ana")
    status, _ = await ana.json("PUT", "/api/v1/tracks/2/shares", {"names": ["vera"]})
    assert status == 204
    assert await numbers(vera, "/api/v1/tweets?") == [*range(70, 75)]
    assert await numbers(vera, "/api/v1/tweets?query=snow") == [70, 72, 74]
    _, page = await ana.json("GET", "/api/v1/tweets?limit=1")
    hidden = page["tweets"][0]["id"]
    assert (await vera.json("GET", f"/api/v1/tweets/{hidden}"))[0] == 404


async def test_a_cursor_that_is_kept_for_long_misses_nothing_also_not_what_came_late(
    filled: WebApp,
) -> None:
    ana = await filled.api_client("ana")
    _, page = await ana.json("GET", "/api/v1/tweets?order=oldest&limit=1000")
    assert not page["more"]
    await store(filled, range(30, 33), [1], source=4)  # a source that was unknown, and late
    await store(filled, range(65, 68), [2], source=2)  # older than what was stored of it
    path = f"/api/v1/tweets?order=oldest&cursor={page['next']}"
    _, later = await ana.json("GET", path)
    new = {int(each["text"].split()[-1]) for each in later["tweets"]}
    assert new >= {*range(30, 33), *range(65, 68)}
    assert not later["more"]


async def test_a_cursor_is_for_one_question_only(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    _, page = await ana.json("GET", "/api/v1/tweets?limit=1")
    for other in ("lang=en", "track=1", "order=oldest", "query=snow", "kind=reply", "words=x"):
        status, answer = await ana.json("GET", f"/api/v1/tweets?cursor={page['next']}&{other}")
        assert (status, answer["error"]["field"]) == (422, "cursor"), other
        assert "This cursor is for" in answer["error"]["message"]
    for strange in ("x", page["next"][:-1], page["next"] + "AA", "k6ZuZXdlc3Q", "%00", "💥"):
        status, answer = await ana.json("GET", f"/api/v1/tweets?cursor={strange}")
        assert (status, answer["error"]["field"]) == (422, "cursor"), strange


async def test_a_page_that_finds_little_says_how_far_it_looked(
    filled: WebApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.queries.tweet_filter.PAGE_SECONDS_MAX", 0.0)
    monkeypatch.setattr("web.queries.tweet_filter.FIRST_SLICE", 10)
    ana = await filled.api_client("ana")
    status, page = await ana.json("GET", "/api/v1/tweets?words=fog")
    assert (status, page["tweets"], page["more"]) == (200, [], True)
    looked = datetime.fromisoformat(page["looked_until"])
    assert looked == NOW - timedelta(seconds=10)
    assert await numbers(ana, "/api/v1/tweets?words=74") == [74]


async def test_one_tweet_comes_with_its_message_as_it_was(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    _, page = await ana.json("GET", "/api/v1/tweets?limit=1")
    [tweet] = page["tweets"]
    status, whole = await ana.json("GET", f"/api/v1/tweets/{tweet['id']}")
    assert status == 200
    doc = {"data": {"id": "1", "author_id": "7", "text": "Rain on day 1"}}
    assert whole == tweet | {"doc": doc}
    why = {"track": "1", "term": "day", "field": "text", "part": "own", "look_back": False}
    assert tweet["matches"] == [why]


async def test_lines_hold_the_same_as_pages(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    listed = [each async for each in walk(ana, "/api/v1/tweets?lang=en")]
    accept = {"Accept": "application/x-ndjson"}
    _, text = await ana.get("/api/v1/tweets?lang=en", headers=accept)
    assert [msgspec.json.decode(line) for line in text.splitlines()] == listed
    _, text = await ana.get("/api/v1/tweets?lang=en&limit=3", headers=accept)
    assert [msgspec.json.decode(line) for line in text.splitlines()] == listed[:3]
    _, text = await ana.get("/api/v1/tweets?lang=en", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(text)))
    for name in ("id", "text", "received_at"):
        assert [row[name] for row in rows] == [each[name] for each in listed]


async def test_a_file_has_the_format_that_is_asked_for(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    listed = [each async for each in walk(ana, "/api/v1/tweets?lang=en")]
    path = "/api/v1/tweets?lang=en&format="
    _, text = await ana.get(f"{path}csv", headers={"Accept": "application/json"})
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["id"] for row in rows] == [each["id"] for each in listed]
    _, text = await ana.get(f"{path}excel")
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [row["id"] for row in rows] == [f"'{each['id']}" for each in listed]
    assert len(rows[0]["received_at (UTC)"]) == len("2026-03-14 15:09:26")
    status, found = await ana.json("GET", f"{path}json", headers={"Accept": "text/csv"})
    assert (status, len(found["tweets"])) == (200, len(listed))
    assert (await ana.json("GET", f"{path}pdf"))[0] == 422
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    for asked, headers in (("xlsx", {}), ("", {"Accept": kind})):
        address = f"{path}{asked}" if asked else "/api/v1/tweets?lang=en"
        async with ana.http.get(address, headers=headers) as answer:
            body = await answer.read()
            assert answer.headers["Content-Type"] == kind
            assert int(answer.headers["Content-Length"]) == len(body)
        with zipfile.ZipFile(io.BytesIO(body)) as file:
            sheet = file.read("xl/worksheets/sheet1.xml").decode()
        assert sheet.count("<row ") == len(listed) + 1
        assert all(f"<t>{each['id']}</t>" in sheet for each in listed)


async def test_tracks_are_made_changed_paused_and_removed(app: WebApp) -> None:
    ana = await app.api_client("ana")
    status, made = await ana.json("POST", "/api/v1/tracks", {"value": "snow day", "priority": -2.0})
    assert (status, made["owner"], made["state"], made["may_change"]) == (
        201,
        "ana",
        "pending",
        True,
    )
    path = f"/api/v1/tracks/{made['id']}"
    status, changed = await ana.json("PATCH", path, {"kind": "user", "value": "nasa"})
    assert (status, changed["kind"], changed["value"]) == (200, "user", "nasa")
    assert await ana.json("POST", "/api/v1/tracks/pause", {"tracks": [made["id"]]}) == (
        200,
        {"changed": [made["id"]]},
    )
    assert await ana.json("POST", "/api/v1/tracks/pause", {"tracks": [made["id"]]}) == (
        200,
        {"changed": []},
    )
    assert (await ana.json("GET", path))[1]["enabled"] is False
    assert (await ana.json("DELETE", path))[0] == 204
    assert (await ana.json("GET", path))[0] == 404
    _, done = await ana.json("GET", f"{path}/history")
    assert [each["action"] for each in done["history"]] == ["removed", "paused", "changed", "added"]
    assert {each["actor"] for each in done["history"]} == {"ana"}
    status, undone = await ana.json("POST", f"/api/v1/history/{done['history'][0]['id']}/undo")
    assert (status, undone) == (200, {"track": made["id"]})
    _, listed = await ana.json("GET", "/api/v1/tracks?words=NAS&kind=user")
    assert (listed["total"], [each["id"] for each in listed["tracks"]]) == (1, [made["id"]])


async def test_numbers_come_from_the_roll_ups(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    hour = NOW.replace(minute=0, second=0)
    await filled.database.execute(
        "INSERT INTO track_hours SELECT n, $1, 10 * n, 0 FROM generate_series(1, 2) AS n", hour
    )
    _, found = await ana.json("GET", "/api/v1/counts?track=1&track=2&track=1")
    assert [each["tweets"] for each in found["counts"]] == [30]
    _, found = await ana.json("GET", "/api/v1/tracks/2/counts")
    assert [each["tweets"] for each in found["counts"]] == [20]
    status, found = await ana.json(
        "GET", "/api/v1/tracks/2/counts?step=minute&begin=1970-01-01T00:00:00Z"
    )
    begin, end = (datetime.fromisoformat(found[name]) for name in ("begin", "end"))
    assert (status, end - begin) == (200, timedelta(minutes=20_000))
    insert = "INSERT INTO track_top_items VALUES (1, $1, 'hashtag', $2, $3)"
    await filled.database.execute(insert, hour, "snow", 3)
    await filled.database.execute(insert, hour, "<b>", 4)
    _, found = await ana.json("GET", "/api/v1/tracks/1/tops?aspect=hashtag&span=all")
    assert found["tops"] == {
        "hashtag": [
            {"item": "<b>", "tweets": 4, "name": None},
            {"item": "snow", "tweets": 3, "name": None},
        ]
    }


SOURCE = """
INSERT INTO sources (name, network, url, proxy, secrets)
VALUES ('main', 'x_v2', 'https://me:hidden@api.x.com/?key=hidden', 'http://me:hidden@proxy:3128',
    '\\x01')
"""
BOOKS = """
INSERT INTO gaps (source_id, began_at, cause, detail) VALUES (1, now(), 'network', 'of 10.0.0.1');
INSERT INTO events (source_id, kind, text) VALUES (1, 'state', 'connecting to 10.0.0.1');
"""


async def test_only_admins_see_more_of_the_collector_than_names_and_states(app: WebApp) -> None:
    await app.execute(SOURCE)
    await app.execute(BOOKS)
    eva, bob = await app.api_client("eva", "admin"), await app.api_client("bob")
    _, found = await eva.json("GET", "/api/v1/sources")
    assert found["sources"][0]["proxy"] == "http://proxy:3128"
    assert "hidden" not in str(found)
    _, found = await bob.json("GET", "/api/v1/sources")
    assert set(found["sources"][0]) == {"name", "network", "state", "collected"}
    assert (await bob.json("GET", "/api/v1/gaps"))[1]["gaps"][0]["detail"] is None
    assert "10.0.0.1" in (await eva.json("GET", "/api/v1/gaps?source=main"))[1]["gaps"][0]["detail"]
    _, found = await eva.json("GET", "/api/v1/events?kind=state&limit=1")
    [event] = found["events"]
    assert event["source"] == "main"
    assert (await eva.json("GET", f"/api/v1/events?below={event['id']}"))[1]["events"] == []
    assert [each["name"] for each in (await eva.json("GET", "/api/v1/users"))[1]["users"]] == [
        "bob",
        "eva",
    ]
    assert "password" not in str(await eva.json("GET", "/api/v1/users"))
    assert {"daemons", "health"} & set((await bob.json("GET", "/api/v1/status"))[1]) == set()
    assert {"daemons", "health"} <= set((await eva.json("GET", "/api/v1/status"))[1])
    for path in ("events", "users"):
        assert (await bob.json("GET", f"/api/v1/{path}"))[0] == 403


async def test_what_has_not_changed_is_not_sent_again(filled: WebApp) -> None:
    ana = await filled.api_client("ana")
    async with ana.http.get("/api/v1/tracks/1") as answer:
        tag = answer.headers["ETag"]
    async with ana.http.get("/api/v1/tracks/1", headers={"If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
    await ana.json("PATCH", "/api/v1/tracks/1", {"priority": 3})
    await ana.json("PATCH", "/api/v1/tracks/1", {"enabled": False})
    async with ana.http.get("/api/v1/tracks/1", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200


async def test_everybody_may_call_so_often_and_is_told_how_often(make_app: MakeApp) -> None:
    async with make_app(web={"requests_per_minute": 3}) as app:
        ana, bob = await app.api_client("ana"), await app.api_client("bob")
        left = []
        for _ in range(3):
            async with ana.http.get("/api/v1/me") as answer:
                left.append(answer.headers["RateLimit-Remaining"])
        assert left == ["2", "1", "0"]
        async with ana.http.get("/api/v1/me") as answer:
            assert answer.status == 429
            assert 1 <= int(answer.headers["Retry-After"]) <= 20
            assert answer.headers["RateLimit-Limit"] == "3"
            error = (await answer.json())["error"]
            assert error["code"] == "too_many"
            assert "At most 3 calls at once, then 0.05 per second" in error["message"]
        assert (await bob.json("GET", "/api/v1/me"))[0] == 200


async def test_a_body_takes_ids_of_tracks_as_numbers_and_as_texts(app: WebApp) -> None:
    """So that a program can pass on what `matches` of a tweet says."""
    ana = await app.api_client("ana")
    await app.add_track()
    await app.store_tweets({"text": "snow"})
    [match] = (await ana.json("GET", "/api/v1/tweets"))[1]["tweets"][0]["matches"]
    for given in (match["track"], 1):
        chosen = {"tracks": [given]}
        assert await ana.json("POST", "/api/v1/tracks/pause", chosen) == (200, {"changed": [1]})
        assert await ana.json("POST", "/api/v1/tracks/resume", chosen) == (200, {"changed": [1]})
        status, made = await ana.json("POST", "/api/v1/exports", chosen)
        assert (status, made["tracks"]) == (201, [1])
        new = {"name": repr(given), "url": "https://example.org/", **chosen}
        status, made = await ana.json("POST", "/api/v1/webhooks", new)
        assert status == 201, made
        assert made["webhook"]["tracks"] == [1]
        path = f"/api/v1/webhooks/{made['id']}"
        assert (await ana.json("PATCH", path, chosen))[1]["tracks"] == [1]
    for wrong in ("0", "01", "-1", "one", "1" * 19, 0, True):
        status, found = await ana.json("POST", "/api/v1/tracks/pause", {"tracks": [wrong]})
        assert (status, found["error"]["field"]) == (422, "tracks[0]"), wrong
        assert "must be a whole number" in found["error"]["message"]


async def test_cursors_over_very_many_lanes_lead_on(filled: WebApp) -> None:
    await add_lanes(filled, 1000)
    client = await filled.api_client("ana")
    assert await numbers(client, "/api/v1/tweets?order=oldest&track=1", 25) == [*range(60, 0, -1)]
    _, page = await client.json("GET", "/api/v1/tweets?order=oldest&track=1&limit=100")
    await store(filled, [0], [1])
    status, page = await client.json(
        "GET", f"/api/v1/tweets?order=oldest&track=1&limit=100&cursor={page['next']}"
    )
    assert (status, [each["text"].split()[-1] for each in page["tweets"]]) == (200, ["0"])
