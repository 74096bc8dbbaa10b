"""The page of one track: its tweets and why they are there, its chart, what it is about, files."""

import csv
import io
import itertools
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from stream import ledger, sources, tops, tweets
from stream.batch import Batch
from stream.commit import Terms, commit
from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.networks.x_v1.decode import decode
from stream.query import Query, parse
from stream.tops import HOUR, Line, hour_of
from stream.tweet import Frame, SourceId, TrackId
from web.pages.track import PAGE

if TYPE_CHECKING:
    from test.flow.web.conftest import Pages

TERMS = Terms(network="x_v1", keep_unmatched=True, erase=True)
HOSTILE = [
    "'; DROP TABLE tracks; --", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe", "%", "\\", "{{ 'co' ~ 'mputed' }}", "9" * 40, "-1", "../../etc/passwd",
]  # fmt: skip


async def track(pages: "Pages", value: str, owner: str | None = "mary") -> int:
    [row] = await pages.database.fetch(
        "INSERT INTO tracks (value, owner) VALUES ($1, $2) RETURNING id", value, owner
    )
    return int(row["id"])


async def store(
    pages: "Pages", *messages: Mapping[str, Any], at: datetime | None = None, first: int = 1
) -> None:
    """Tweets as the writer stores them, in this order, credited to the tracks that there are."""
    rows = await pages.database.fetch("SELECT id, value FROM tracks")
    matcher = Matcher([(TrackId(row["id"]), _query(row["value"])) for row in rows])
    begin = round((at or datetime.now(UTC)).timestamp() * 1e6)
    frames = []
    for number, message in enumerate(messages, first):
        body = {
            "id": number, "id_str": str(number), "text": "snow", "lang": "en",
            "created_at": "Tue Nov 14 22:13:20 +0000 2023",
            "user": {"id": 5, "id_str": "5", "screen_name": "ann"},
        } | dict(message)  # fmt: skip
        frames.append(Frame(begin + number, json.dumps(body).encode(), number))
    batch = Batch(await _source(pages), 0, 1 << 24)
    batch.add(frames, decode, matcher.match)
    journal = uuid.uuid4()
    async with pages.database.transaction() as connection:
        days = {each.received_at.date() for each in batch.arrivals}
        await tweets.ensure_days(connection, days)
        await ledger.position(connection, journal, batch.source_id, 0)
        await commit(connection, batch, TERMS, journal, 0)


def _query(value: str) -> Query:
    try:
        return parse("keyword", value)
    except InvalidQuery:
        return Query("keyword", ())


async def _source(pages: "Pages") -> SourceId:
    known = await pages.database.fetch("SELECT id FROM sources WHERE name = 'one'")
    if known:
        return SourceId(known[0]["id"])
    async with pages.database.acquire() as connection:
        return await sources.add(connection, "one", "x_v1")


async def text(pages: "Pages", path: str, name: str = "mary") -> str:
    status, page = await (await pages.enter(name)).get(path)
    assert status == 200, page
    return page


def shown(page: str) -> list[str]:
    """The texts of the tweets on a page, without the marks."""
    found = re.findall(r'<p dir="auto">(.*?)</p>', page, re.DOTALL)
    return [re.sub("</?mark>", "", each) for each in found]


async def test_a_tweet_stands_there_with_what_matched_and_why(pages: "Pages") -> None:
    one = await track(pages, "snow day,blizzard")
    await store(pages, {"text": "A day of Snow"}, {"text": "rain"}, {"text": "#Blizzard!"})
    page = await text(pages, f"/tracks/{one}")
    assert '<h1 dir="auto">snow day,blizzard</h1>' in page
    assert "A <mark>day</mark> of <mark>Snow</mark>" in page
    assert "matched ‘snow day’ in the text" in page
    assert "#<mark>Blizzard</mark>!" in page
    assert shown(page) == ["#Blizzard!", "A day of Snow"]
    assert re.search(r"<dt>in all</dt><dd>2</dd>", page)
    assert re.search(r"<dt>last hour</dt><dd>2</dd>", page)


async def test_a_track_without_tweets_says_so(pages: "Pages") -> None:
    one = await track(pages, "snow")
    page = await text(pages, f"/tracks/{one}")
    assert "No tweet yet" in page
    assert page.count("Nothing yet.") == len(tops.ASPECTS)


async def test_only_who_sees_the_track_gets_anything_of_it(pages: "Pages") -> None:
    one = await track(pages, "snow")
    await store(pages, {})
    noor, viewer = await pages.enter("noor"), await pages.enter("vera", "viewer")
    ways = ("", "/tweets", "/chart", "/tweets.csv", "/tweets.ndjson")
    for visitor in (noor, viewer):
        for way in ways:
            assert (await visitor.get(f"/tracks/{one}{way}"))[0] == 404, way
    await pages.database.execute(
        "INSERT INTO track_shares (track_id, user_id)"
        " SELECT $1, id FROM users WHERE name <> 'mary'",
        one,
    )
    for visitor in (noor, viewer, await pages.enter("ada", "admin")):
        for way in ways:
            assert (await visitor.get(f"/tracks/{one}{way}"))[0] == 200, way
    for name, may in (("mary", True), ("noor", False), ("ada", True)):
        page = (await (await pages.enter(name)).get(f"/tracks/{one}"))[1]
        assert f'/live?track={one}"' in page
        for action in ("pause", "change", "share", "remove"):
            assert (f'/tracks/{one}/{action}"' in page) == may, (name, action)
    stranger, program = await pages.stranger(), await pages.program("mary")
    for way in ways:
        assert (await stranger.get(f"/tracks/{one}{way}"))[0] == 303
        assert (await program.get(f"/tracks/{one}{way}"))[0] == 403


async def test_every_address_on_the_page_leads_somewhere(pages: "Pages") -> None:
    one, two = await track(pages, "snow"), await track(pages, "rain")
    await store(pages, *({} for _ in range(PAGE + 1)))
    mary = await pages.enter("mary")
    page = (await mary.get(f"/tracks/{one}?with={two}&words=snow"))[1]
    for address in set(re.findall(r'(?:href|src|hx-get|data-src)="(/[^"#]*)', page)):
        assert (await mary.get(address.replace("&amp;", "&")))[0] == 200, address
    posts = re.findall(r'<form method="post" action="([^"]*)"', page)
    assert posts == ["/logout", f"/tracks/{one}/pause"]
    for action, said in (("pause", "Resume"), ("resume", "Pause")):
        status, _ = await mary.post(f"/tracks/{one}/{action}")
        assert status in (200, 303)
        assert f"<button>{said}</button>" in await text(pages, f"/tracks/{one}")


async def test_a_match_of_a_track_of_somebody_else_is_not_told(pages: "Pages") -> None:
    mine, hers = await track(pages, "snow"), await track(pages, "secret", "noor")
    await track(pages, "rain")
    await store(pages, {"text": "snow secret rain"})
    page = await text(pages, f"/tracks/{mine}")
    assert "matched ‘snow’" in page
    assert "matched ‘secret’" not in page
    assert "matched ‘rain’" not in page  # his, too, but another page's
    assert "<mark>rain" not in page
    status, file = await (await pages.enter("mary")).get(f"/tracks/{mine}/tweets.ndjson")
    assert (status, f'"track":"{mine}"' in file, f'"track":"{hers}"' in file) == (200, True, False)


async def test_a_track_that_is_none_is_not_found(pages: "Pages") -> None:
    ada = await pages.enter("ada", "admin")
    for number in ["0", "77", "9" * 18, "9" * 19, "-1", "x", "1%00"]:
        status, _ = await ada.get(f"/tracks/{number}")
        assert status == 404, number


async def test_filters_narrow_the_list_and_the_files(pages: "Pages") -> None:
    one = await track(pages, "snow")
    now = datetime.now(UTC)
    await store(pages, {"text": "old snow"}, at=now - timedelta(hours=3))
    more = [
        {"text": "snow and Rain", "lang": "de"},
        {"text": "snow again", "in_reply_to_status_id_str": "9"},
    ]
    await store(pages, *more, first=10)
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
        page = await text(pages, f"/tracks/{one}?{query}")
        assert shown(page) == expected, query
        assert ("No tweet fits" in page) == (not expected)
        links = re.findall(r'href="([^"]*tweets\.ndjson[^"]*)"', page)
        file = await text(pages, links[0].replace("&amp;", "&"))
        assert [json.loads(line)["text"] for line in file.splitlines()] == expected, query


async def test_what_cannot_be_is_said_in_a_sentence(pages: "Pages") -> None:
    one = await track(pages, "snow")
    mary = await pages.enter("mary")
    for query in (
        "kind=tweet", "from=yesterday", "to=2026-13-01", "from=2026-02-02&to=2026-02-01",
        "words=" + "x" * 201, "lang=" + "x" * 201, "step=week", "span=week", "cursor=none",
        "from=0001-01-01T00:00%2B10:00",
    ):  # fmt: skip
        status, page = await mary.get(f"/tracks/{one}?{query}")
        assert status == 422, query
        assert "That did not work" in page


async def test_more_tweets_come_page_by_page_and_none_twice(pages: "Pages") -> None:
    one = await track(pages, "snow")
    expected = [f"snow number {n}" for n in range(2 * PAGE + 3)]
    await store(pages, *({"text": each} for each in expected))
    mary = await pages.enter("mary")
    status, page = await mary.get(f"/tracks/{one}")
    found = shown(page)
    assert (status, len(found)) == (200, PAGE)
    while link := re.search(r'hx-get="([^"]*/tweets\?[^"]*)"', page):
        address = link[1].replace("&amp;", "&")
        status, page = await mary.get(address, headers={"HX-Request": "true"})
        assert (status, "<html" in page) == (200, False)
        # Without scripts the same tweets stand on a page of their own.
        whole = await text(pages, address.replace("/tweets?", "?"))
        assert shown(whole) == shown(page)
        found += shown(page)
    assert found == expected[::-1]


async def test_everything_that_others_wrote_is_only_text(pages: "Pages") -> None:
    tracks = [await track(pages, f"snow {each}") for each in HOSTILE]
    one = await track(pages, "snow")
    user = {"screen_name": HOSTILE[2], "id_str": "6"}
    messages = [{"text": f"snow {each}", "lang": each[:20], "user": user} for each in HOSTILE]
    await store(pages, *messages)
    async with pages.database.acquire() as connection:
        lines = {Line(TrackId(one), None, a, h): 1 for a in tops.ASPECTS for h in HOSTILE}
        await tops.add(connection, lines)
    for each in (*tracks, one):
        page = await text(pages, f"/tracks/{each}?span=all")
        for tag in ("<script>alert", "<img", "onerror=alert(1)>", "computed"):
            assert tag not in page
        assert 'href="javascript' not in page


async def test_hostile_parameters_harm_nothing(pages: "Pages") -> None:
    one = await track(pages, "snow")
    await store(pages, {})
    mary = await pages.enter("mary")
    values = (*HOSTILE, "\x00")
    asked = [("", name) for name in ("words", "lang", "kind", "from", "to", "with", "step", "span")]
    asked += [
        ("/tweets", "cursor"),
        ("/chart", "with"),
        ("/chart", "step"),
        ("/tweets.csv", "words"),
    ]
    for (way, name), value in itertools.product(asked, values):
        status, page = await mary.get(f"/tracks/{one}{way}", params={name: value})
        assert status in (200, 404, 422), (name, value, way, page)
        assert "<script>alert" not in page
    for raw in ("words=%ED%A0%80", "words=%FF", "with=%ED%A0%80"):  # no Unicode
        assert (await mary.get(f"/tracks/{one}?{raw}"))[0] in (200, 404, 422)
    assert await pages.database.fetch("SELECT id FROM tracks")


async def test_the_chart_counts_by_steps(pages: "Pages") -> None:
    one = await track(pages, "snow")
    now = datetime.now(UTC)
    await store(pages, {}, {}, at=now - timedelta(days=2))
    await store(pages, {}, first=10)
    mary = await pages.enter("mary")
    for step, length, total in (("minute", 60, 1), ("hour", 3600, 3), ("day", 86400, 3)):
        status, chart = await mary.json("GET", f"/tracks/{one}/chart?step={step}")
        assert status == 200
        times, [series] = chart["times"], chart["series"]
        assert {late - early for early, late in itertools.pairwise(times)} == {length}
        assert times[-1] % length == 0
        assert len(series["values"]) == len(times)
        assert sum(filter(None, series["values"])) == total, step
        assert series["values"][0] is None  # before the track was there
        assert series["label"] == "snow"


async def test_two_tracks_are_compared_by_number_or_by_name(pages: "Pages") -> None:
    one, two, hers = [await track(pages, v, o) for v, o in
                      (("snow", "mary"), ("Rain fall", "mary"), ("hail", "noor"))]  # fmt: skip
    await store(pages, {}, {"text": "rain fall"}, {"text": "rain fall snow"})
    mary = await pages.enter("mary")
    for named in (f"{two}", f" #{two} ", f"{two}: Rain fall", "rain  FALL"):
        status, chart = await mary.json("GET", f"/tracks/{one}/chart", params={"with": named})
        assert status == 200, named
        assert [each["label"] for each in chart["series"]] == ["snow", "Rain fall"]
        assert [sum(filter(None, each["values"])) for each in chart["series"]] == [2, 2]
        page = (await mary.get(f"/tracks/{one}", params={"with": named}))[1]
        assert f"/tracks/{one}/chart?step=minute&amp;with={two}" in page
    for named in (f"{hers}", "hail", "nothing", "2x"):
        for way in ("", "/chart"):
            assert (await mary.get(f"/tracks/{one}{way}", params={"with": named}))[0] == 404
    page = (await mary.get(f"/tracks/{one}"))[1]
    assert re.findall(r'<option value="(\d+: [^"]*)"', page) == [f"{two}: Rain fall"]


async def test_what_was_not_collected_is_told(pages: "Pages") -> None:
    one = await track(pages, "snow")
    source = await _source(pages)
    now = datetime.now(UTC)
    gaps: Sequence[tuple[int, float, float | None, str]] = [
        (source, 100, 90, "network"),
        (source, 80, 79.99, "filter_change"),  # too short to be seen
        (source, 10, None, "silence"),
        (source, 9000, 8000, "http"),  # before the chart begins
        (99, 50, 40, "stopped"),  # of a source that is not there
    ]
    for number, begin, end, cause in gaps:
        await pages.database.execute(
            "INSERT INTO gaps (source_id, began_at, ended_at, cause) VALUES ($1, $2, $3, $4)",
            number,
            now - timedelta(minutes=begin),
            None if end is None else now - timedelta(minutes=end),
            cause,
        )
    mary = await pages.enter("mary")
    _, chart = await mary.json("GET", f"/tracks/{one}/chart?step=minute")
    assert [each["text"] for each in chart["gaps"]] == [
        "one: the connection was lost",
        "one: nothing came any more",
    ]
    assert chart["gaps"][0]["to"] - chart["gaps"][0]["from"] == pytest.approx(600)
    assert chart["gaps"][1]["to"] == pytest.approx(datetime.now(UTC).timestamp(), abs=600)
    await pages.database.execute("UPDATE tracks SET networks = '{x_v2}'")
    _, chart = await mary.json("GET", f"/tracks/{one}/chart?step=minute")
    assert chart["gaps"] == []


async def test_what_it_is_about_is_told_by_aspects_and_spans(pages: "Pages") -> None:
    one = await track(pages, "snow")
    hour = hour_of(datetime.now(UTC))
    async with pages.database.acquire() as connection:
        for back, item in ((0, "now"), (20, "before"), (None, "once")):
            at = None if back is None else hour - back * HOUR
            await tops.add(connection, {Line(TrackId(one), at, "hashtag", item): 1234})
        link = Line(TrackId(one), hour, "link", "https://example.com/a?b=1&c=2")
        await tops.add(connection, {link: 2})
    found = {
        span: re.findall("<bdi>#([a-z]+)</bdi>", await text(pages, f"/tracks/{one}?span={span}"))
        for span in tops.SPANS
    }
    assert found == {
        "hour": ["now"], "day": ["before", "now"], "all": ["before", "now", "once"],
    }  # fmt: skip
    page = await text(pages, f"/tracks/{one}")
    assert 'href="https://example.com/a?b=1&amp;c=2"' in page
    assert f'href="/tracks/{one}?words=%23now#found"' in page
    assert "1,234" in page


async def test_a_file_opens_in_a_spreadsheet_as_it_was_written(pages: "Pages") -> None:
    one = await track(pages, "Snow/../день,snow")
    formula = '=HYPERLINK("http://evil","snow")'
    await store(pages, {"text": formula}, {"text": 'snow, "quoted"\nand more'})
    mary = await pages.enter("mary")
    async with mary.client.get(f"/tracks/{one}/tweets.csv") as answer:
        body, headers = await answer.read(), answer.headers
    assert body.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    assert [row["text"] for row in rows] == ['snow, "quoted"\nand more', "'" + formula]
    assert [row["tracks"] for row in rows] == [str(one)] * 2
    name = re.fullmatch(r'attachment; filename="([\w.-]+)"', headers["Content-Disposition"])
    assert name
    assert name[1].startswith(f"track-{one}-snow-snow-20")
    assert name[1].endswith(".csv")


async def test_a_file_holds_everything_also_what_takes_many_batches(
    pages: "Pages", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.reading.tweets.BATCH", 7)
    one = await track(pages, "snow")
    await store(pages, *({"text": f"snow {n}"} for n in range(40)))
    file = await text(pages, f"/tracks/{one}/tweets.ndjson")
    lines = [msgspec.json.decode(line) for line in file.splitlines()]
    assert [line["text"] for line in lines] == [f"snow {n}" for n in range(39, -1, -1)]


async def test_looks_and_downloads_are_noted_but_not_each_of_them(pages: "Pages") -> None:
    mary = await pages.enter("mary")
    for way in ("", "/chart", "/tweets.csv", "/tweets.ndjson"):
        one = await track(pages, "snow")
        assert await _looked(pages, one) is None
        await mary.get(f"/tracks/{one}{way}")
        first = await _looked(pages, one)
        assert first is not None, way
        await mary.get(f"/tracks/{one}{way}")
        assert await _looked(pages, one) == first
        await pages.database.execute("UPDATE tracks SET looked_at = now() - interval '61 minutes'")
        await mary.get(f"/tracks/{one}{way}")
        again = await _looked(pages, one)
        assert again is not None
        assert again >= first
    assert await pages.database.fetch("SELECT FROM track_history WHERE action = 'changed'") == []


async def _looked(pages: "Pages", track_id: int) -> datetime | None:
    rows = await pages.database.fetch(
        "SELECT looked_at, state_at FROM tracks WHERE id = $1", track_id
    )
    assert rows[0]["state_at"] is None  # nothing was edited
    found: datetime | None = rows[0]["looked_at"]
    return found


async def test_a_file_that_breaks_off_does_not_look_whole(
    pages: "Pages", monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database goes away in the middle, whoever takes the file is told by his program."""
    monkeypatch.setattr("web.reading.tweets.BATCH", 20)
    one = await track(pages, "snow")
    await store(pages, *({"text": "snow " + "x" * 20_000, "id_str": str(n)} for n in range(600)))
    mary = await pages.enter("mary")
    async with mary.client.get(f"/tracks/{one}/tweets.ndjson") as answer:
        assert answer.status == 200
        await answer.content.readany()
        await pages.database.execute("ALTER TABLE matches RENAME TO elsewhere")
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await answer.content.read()
