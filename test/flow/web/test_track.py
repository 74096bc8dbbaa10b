"""The page of one track: its tweets and why they are there, its chart, what it is about, files."""

import itertools
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from stream.keys import hour_of
from stream.store import top_items
from stream.store.top_items import HOUR, ItemKey
from stream.tweet import TrackId
from web.pages.track import PAGE
from web_app import HOSTILE, Client, WebApp, assert_harmless


def shown(page: str) -> list[str]:
    """The texts of the tweets on a page, without the marks."""
    found = re.findall(r'<p dir="auto">(.*?)</p>', page, re.DOTALL)
    return [re.sub("</?mark>", "", each) for each in found]


async def test_a_tweet_stands_there_with_what_matched_and_why(app: WebApp, ana: Client) -> None:
    one = await app.add_track("snow day,blizzard")
    await app.store_tweets({"text": "A day of Snow"}, {"text": "rain"}, {"text": "#Blizzard!"})
    page = await ana.page(f"/tracks/{one}")
    assert '<h1 dir="auto">snow day,blizzard</h1>' in page
    assert "A <mark>day</mark> of <mark>Snow</mark>" in page
    assert "matched ‘snow day’ in the text" in page
    assert "#<mark>Blizzard</mark>!" in page
    assert shown(page) == ["#Blizzard!", "A day of Snow"]
    assert re.search(r"<dt>in total</dt><dd>2</dd>", page)
    assert re.search(r"<dt>last hour</dt><dd>2</dd>", page)


async def test_a_track_without_tweets_says_so(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    page = await ana.page(f"/tracks/{one}")
    assert "No tweets yet" in page
    assert page.count("Nothing yet.") == len(top_items.ASPECTS)


async def test_only_who_sees_the_track_gets_anything_of_it(app: WebApp) -> None:
    one = await app.add_track()
    await app.store_tweets({})
    noor, viewer = await app.log_in("noor"), await app.log_in("vera", "viewer")
    ways = ("", "/tweets", "/chart", "/tweets.csv", "/tweets.xlsx", "/tweets.ndjson")
    for client in (noor, viewer):
        for way in ways:
            assert (await client.get(f"/tracks/{one}{way}"))[0] == 404, way
    await app.share(one, "noor", "vera")
    for client in (noor, viewer, await app.log_in("ada", "admin")):
        for way in ways:
            assert (await client.get(f"/tracks/{one}{way}"))[0] == 200, way
    for name, may in (("ana", True), ("noor", False), ("ada", True)):
        page = (await (await app.log_in(name)).get(f"/tracks/{one}"))[1]
        assert f'/live?track={one}"' in page
        for action in ("pause", "change", "share", "remove"):
            assert (f'/tracks/{one}/{action}"' in page) == may, (name, action)


async def test_every_address_on_the_page_leads_somewhere(app: WebApp, ana: Client) -> None:
    one, two = await app.add_track(), await app.add_track("rain")
    await app.store_tweets(*({} for _ in range(PAGE + 1)))
    page = (await ana.get(f"/tracks/{one}?with={two}&words=snow"))[1]
    for address in set(re.findall(r'(?:href|src|hx-get|data-src)="(/[^"#]*)', page)):
        assert (await ana.get(address.replace("&amp;", "&")))[0] == 200, address
    posts = re.findall(r'<form method="post" action="([^"]*)"', page)
    assert posts == ["/logout", f"/tracks/{one}/pause", f"/tracks/{one}/look-backs"]
    for action, said in (("pause", "Resume"), ("resume", "Pause")):
        status, _ = await ana.post(f"/tracks/{one}/{action}")
        assert status in (200, 303)
        assert f"<button>{said}</button>" in await ana.page(f"/tracks/{one}")


async def test_a_match_of_a_track_of_somebody_else_is_not_told(app: WebApp, ana: Client) -> None:
    mine, hers = await app.add_track(), await app.add_track("secret", "noor")
    await app.add_track("rain")
    await app.store_tweets({"text": "snow secret rain"})
    page = await ana.page(f"/tracks/{mine}")
    assert "matched ‘snow’" in page
    assert "matched ‘secret’" not in page
    assert "matched ‘rain’" not in page  # visible, too, but on another page
    assert "<mark>rain" not in page
    status, file = await (await app.log_in("ana")).get(f"/tracks/{mine}/tweets.ndjson")
    assert (status, f'"track":"{mine}"' in file, f'"track":"{hers}"' in file) == (200, True, False)


async def test_a_track_that_is_none_is_not_found(app: WebApp) -> None:
    ada = await app.log_in("ada", "admin")
    for number in ["0", "77", "9" * 18, "9" * 19, "-1", "x", "1%00"]:
        status, _ = await ada.get(f"/tracks/{number}")
        assert status == 404, number


async def test_filters_narrow_the_list_and_the_files(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    now = datetime.now(UTC)
    await app.store_tweets({"text": "old snow"}, at=now - timedelta(hours=3))
    more = [
        {"text": "snow and Rain", "lang": "de"},
        {"text": "snow again", "in_reply_to_status_id_str": "9"},
    ]
    await app.store_tweets(*more, first=10)
    begin = f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M}"
    for query, expected in (
        ("words=rain", ["snow and Rain"]),
        ("words=+SNOW++rain+", ["snow and Rain"]),
        ("lang=DE", ["snow and Rain"]),
        ("kind=reply", ["snow again"]),
        (f"from={begin}", ["snow again", "snow and Rain"]),
        (f"to={begin}", ["old snow"]),
        (f"from={begin}:00.000Z&kind=original", ["snow and Rain"]),
        ("words=hail", []),
    ):
        page = await ana.page(f"/tracks/{one}?{query}")
        assert shown(page) == expected, query
        assert ("No tweets match" in page) == (not expected)
        links = re.findall(r'href="([^"]*tweets\.ndjson[^"]*)"', page)
        file = await ana.page(links[0].replace("&amp;", "&"))
        assert [json.loads(line)["text"] for line in file.splitlines()] == expected, query


async def test_what_cannot_be_is_said_in_a_sentence(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    for query in (
        "kind=tweet", "from=yesterday", "to=2026-13-01", "from=2026-02-02&to=2026-02-01",
        "words=" + "x" * 201, "lang=" + "x" * 201, "step=week", "span=week", "cursor=none",
        "from=0001-01-01T00:00%2B10:00",
    ):  # fmt: skip
        status, page = await ana.get(f"/tracks/{one}?{query}")
        assert status == 422, query
        assert "Not possible" in page


async def test_more_tweets_come_page_by_page_and_none_twice(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    expected = [f"snow number {n}" for n in range(2 * PAGE + 3)]
    await app.store_tweets(*({"text": each} for each in expected))
    status, page = await ana.get(f"/tracks/{one}")
    found = shown(page)
    assert (status, len(found)) == (200, PAGE)
    while link := re.search(r'hx-get="([^"]*/tweets\?[^"]*)"', page):
        address = link[1].replace("&amp;", "&")
        status, page = await ana.get(address, headers={"HX-Request": "true"})
        assert (status, "<html" in page) == (200, False)
        # Without scripts the same tweets stand on a page of their own.
        whole = await ana.page(address.replace("/tweets?", "?"))
        assert shown(whole) == shown(page)
        found += shown(page)
    assert found == expected[::-1]


async def test_everything_that_others_wrote_is_only_text(app: WebApp, ana: Client) -> None:
    tracks = [await app.add_track(f"snow {each}") for each in HOSTILE]
    one = await app.add_track()
    user = {"screen_name": HOSTILE[2], "id_str": "6"}
    messages = [{"text": f"snow {each}", "lang": each[:20], "user": user} for each in HOSTILE]
    await app.store_tweets(*messages)
    async with app.database.acquire() as connection:
        lines = {ItemKey(TrackId(one), None, a, h): 1 for a in top_items.ASPECTS for h in HOSTILE}
        await top_items.add(connection, lines)
    for each in (*tracks, one):
        page = await ana.page(f"/tracks/{each}?span=all")
        assert_harmless(page)


async def test_hostile_parameters_harm_nothing(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    await app.store_tweets({})
    values = (*HOSTILE, "\x00")
    asked = [("", name) for name in ("words", "lang", "kind", "from", "to", "with", "step", "span")]
    asked += [("/tweets", "cursor"), ("/tweets.csv", "words")]
    asked += [("/chart", "with"), ("/chart", "step")]
    for (way, name), value in itertools.product(asked, values):
        status, page = await ana.get(f"/tracks/{one}{way}", params={name: value})
        assert status in (200, 404, 422), (name, value, way, page)
        assert_harmless(page)
    for raw in ("words=%ED%A0%80", "words=%FF", "with=%ED%A0%80"):  # no Unicode
        assert (await ana.get(f"/tracks/{one}?{raw}"))[0] in (200, 404, 422)
    assert await app.database.fetch("SELECT id FROM tracks")


async def test_the_chart_counts_by_steps(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    now = datetime.now(UTC)
    await app.store_tweets({}, {}, at=now - timedelta(days=2))
    await app.store_tweets({}, first=10)
    for step, length, total in (("minute", 60, 1), ("hour", 3600, 3), ("day", 86400, 3)):
        status, chart = await ana.json("GET", f"/tracks/{one}/chart?step={step}")
        assert status == 200
        times, [series] = chart["times"], chart["series"]
        assert {late - early for early, late in itertools.pairwise(times)} == {length}
        assert times[-1] % length == 0
        assert len(series["values"]) == len(times)
        assert sum(filter(None, series["values"])) == total, step
        assert series["values"][0] is None  # before the track was there
        assert series["label"] == "snow (keyword)"


async def test_two_tracks_are_compared_by_number_or_by_name(app: WebApp, ana: Client) -> None:
    one, two, hers = [await app.add_track(v, o) for v, o in
                      (("snow", "ana"), ("Rain fall", "ana"), ("hail", "noor"))]  # fmt: skip
    await app.store_tweets({}, {"text": "rain fall"}, {"text": "rain fall snow"})
    for named in (f"{two}", f" #{two} ", f"{two}: Rain fall", "rain  FALL"):
        status, chart = await ana.json("GET", f"/tracks/{one}/chart", params={"with": named})
        assert status == 200, named
        labels = ["snow (keyword)", "Rain fall (keyword)"]
        assert [each["label"] for each in chart["series"]] == labels
        assert [sum(filter(None, each["values"])) for each in chart["series"]] == [2, 2]
        page = (await ana.get(f"/tracks/{one}", params={"with": named}))[1]
        assert f"/tracks/{one}/chart?step=minute&amp;with={two}" in page
    for named in (f"{hers}", "hail", "nothing", "2x"):
        for way in ("", "/chart"):
            assert (await ana.get(f"/tracks/{one}{way}", params={"with": named}))[0] == 404
    page = (await ana.get(f"/tracks/{one}"))[1]
    assert re.findall(r'<option value="(\d+: [^"]*)"', page) == [f"{two}: Rain fall (keyword)"]


async def test_what_was_not_collected_is_told(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    source = await app.source()
    now = datetime.now(UTC)
    gaps: Sequence[tuple[int, float, float | None, str]] = [
        (source, 100, 90, "network"),
        (source, 80, 79.99, "filter_change"),  # too short to be seen
        (source, 10, None, "silence"),
        (source, 9000, 8000, "http"),  # before the chart begins
        (99, 50, 40, "stopped"),  # of a source that is not there
    ]
    for number, begin, end, cause in gaps:
        await app.execute(
            "INSERT INTO gaps (source_id, began_at, ended_at, cause) VALUES ($1, $2, $3, $4)",
            number,
            now - timedelta(minutes=begin),
            None if end is None else now - timedelta(minutes=end),
            cause,
        )
    _, chart = await ana.json("GET", f"/tracks/{one}/chart?step=minute")
    assert [each["text"] for each in chart["gaps"]] == [
        "one: connection lost or failed",
        "one: connected, but no data",
    ]
    assert chart["gaps"][0]["to"] - chart["gaps"][0]["from"] == pytest.approx(600)
    assert chart["gaps"][1]["to"] == pytest.approx(datetime.now(UTC).timestamp(), abs=600)
    await app.execute("UPDATE tracks SET networks = '{x_v2}'")
    _, chart = await ana.json("GET", f"/tracks/{one}/chart?step=minute")
    assert chart["gaps"] == []


async def test_what_it_is_about_is_told_by_aspects_and_spans(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    hour = hour_of(datetime.now(UTC))
    async with app.database.acquire() as connection:
        for back, item in ((0, "now"), (20, "before"), (None, "once")):
            at = None if back is None else hour - back * HOUR
            await top_items.add(connection, {ItemKey(TrackId(one), at, "hashtag", item): 1234})
        link = ItemKey(TrackId(one), hour, "link", "https://example.com/a?b=1&c=2")
        await top_items.add(connection, {link: 2})
        for code in ("und", "ja"):
            await top_items.add(connection, {ItemKey(TrackId(one), hour, "lang", code): 1})
    found = {
        span: re.findall("<bdi>#([a-z]+)</bdi>", await ana.page(f"/tracks/{one}?span={span}"))
        for span in top_items.SPANS
    }
    assert found == {
        "hour": ["now"], "day": ["before", "now"], "all": ["before", "now", "once"],
    }  # fmt: skip
    page = await ana.page(f"/tracks/{one}")
    assert 'href="https://example.com/a?b=1&amp;c=2"' in page
    assert f'href="/tracks/{one}?words=%23now#found"' in page
    assert "1,234" in page
    assert re.findall(r'data-lang="(\w+)"', page) == ["ja"]
    assert f'<a href="/tracks/{one}?lang=und#found">unknown language</a>' in page


async def test_looks_and_downloads_are_noted_but_not_each_of_them(app: WebApp, ana: Client) -> None:
    for way in ("", "/chart", "/tweets.csv", "/tweets.ndjson"):
        one = await app.add_track()
        assert await _looked(app, one) is None
        await ana.get(f"/tracks/{one}{way}")
        first = await _looked(app, one)
        assert first is not None, way
        await ana.get(f"/tracks/{one}{way}")
        assert await _looked(app, one) == first
        await app.execute("UPDATE tracks SET last_viewed_at = now() - interval '61 minutes'")
        await ana.get(f"/tracks/{one}{way}")
        again = await _looked(app, one)
        assert again is not None
        assert again >= first
    assert await app.rows("SELECT FROM track_history WHERE action = 'changed'") == []


async def _looked(app: WebApp, track_id: int) -> datetime | None:
    statement = "SELECT last_viewed_at, state_at FROM tracks WHERE id = $1"
    [(viewed_at, state_at)] = await app.rows(statement, track_id)
    assert state_at is None  # nothing was edited
    return viewed_at  # type: ignore[no-any-return]  # of a row
