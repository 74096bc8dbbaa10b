"""What each source delivers of a track, on the pages and by the API."""

import io
import json
import re
import zipfile
from datetime import UTC, datetime, timedelta

from stream.store import locks
from stream.tweet import SourceId, TrackId
from web_app import HOSTILE, Client, WebApp, assert_harmless, plain_text

BEGAN = datetime(2026, 3, 21, 14, 2, tzinfo=UTC)


async def with_reach(app: WebApp) -> TrackId:
    """A track that one source delivers, with a gap half refilled, and another cannot."""
    one = await app.add_track()
    for name, network in (("blue", "bluesky"), ("main", "x_v2")):
        await app.insert("sources", name=name, network=network)
    reach = [
        {
            "source_id": source,
            "how": how,
            "sentence": sentence,
            "since": BEGAN.isoformat(),
            "replays": source == 1,
        }
        for source, how, sentence in (
            (1, "decided", "Every public post."),
            (2, "cannot", f"Cannot be collected here. {HOSTILE}"),
        )
    ]
    body = json.dumps(reach).encode()
    await app.execute("UPDATE tracks SET state = 'active', reach = $1", body)
    hour = BEGAN + timedelta(hours=1)
    await app.insert(
        "gaps",
        source_id=1,
        began_at=hour,
        ended_at=hour + timedelta(minutes=10),
        cause="network",
        recovered_from=hour + timedelta(minutes=4),
    )
    return one


async def test_the_page_of_a_track_says_it_in_the_users_time_zone(app: WebApp, ana: Client) -> None:
    one = await with_reach(app)
    await app.execute("UPDATE users SET time_zone = 'Asia/Tokyo'")
    async with app.database.dedicated() as daemon:
        assert await locks.try_lock(daemon, SourceId(1), locks.SOURCE_LOCK_CLASS)
        page = await ana.page(f"/tracks/{one}")
    sentence = (
        r"blue \(Bluesky\) : Every public post\. Complete since 22 Mar( \d{4})? 00:06\."
        r" Missing: 4 minutes\. Refilled: 6 minutes\."
    )
    assert re.search(sentence, plain_text(page))
    assert "main (X, API v2) : Cannot be collected here." in plain_text(page)
    assert_harmless(page)
    assert "It does not deliver at the moment." in plain_text(await ana.page(f"/tracks/{one}"))


async def test_the_list_says_it_where_there_is_no_reason(app: WebApp, ana: Client) -> None:
    await with_reach(app)
    page = await ana.page("/")
    assert "blue: Every public post." in plain_text(page)
    assert "main: Cannot be collected here." in plain_text(page)
    assert_harmless(page)
    await app.execute("UPDATE tracks SET reason = 'Something else.'")
    assert "Every public post." not in await ana.page("/")


async def test_the_api_gives_it_to_those_who_see_the_track(app: WebApp) -> None:
    one = await with_reach(app)
    ana, ben = await app.api_client("ana"), await app.api_client("ben")
    async with app.database.dedicated() as daemon:
        assert await locks.try_lock(daemon, SourceId(1), locks.SOURCE_LOCK_CLASS)
        status, found = await ana.json("GET", f"/api/v1/tracks/{one}/reach")
    assert status == 200
    blue, x = found["reach"]
    assert (blue["source"], blue["network"], blue["how"]) == ("blue", "bluesky", "decided")
    assert (blue["seconds_missing"], blue["seconds_refilled"]) == (240, 360)
    assert blue["complete_since"] == "2026-03-21T15:06:00Z"
    assert blue["text"].startswith("Every public post. Complete since 21 Mar")
    assert (x["how"], x["complete_since"]) == ("cannot", None)
    _, track = await ana.json("GET", f"/api/v1/tracks/{one}")
    assert [each["how"] for each in track["reach"]] == ["decided", "cannot"]
    status, _ = await ben.json("GET", f"/api/v1/tracks/{one}/reach")
    assert status == 404


async def test_downloads_say_it_or_link_to_it(app: WebApp, ana: Client) -> None:
    one = await with_reach(app)
    here = f"/api/v1/tracks/{one}/reach"
    for path in (f"/tracks/{one}/tweets.", f"/api/v1/tweets?track={one}&format="):
        for kind in ("csv", "ndjson"):
            async with ana.http.get(path + kind) as answer:
                assert str(answer.links["describedby"]["url"]).endswith(here)
        async with ana.http.get(path + "xlsx") as answer:
            workbook = io.BytesIO(await answer.read())
        with zipfile.ZipFile(workbook) as opened:
            about = plain_text(opened.read("xl/worksheets/sheet2.xml").decode())
        assert f"Track {one} snow blue (Bluesky) Every public post." in about
        assert "main (X, API v2) Cannot be collected here." in about
        assert HOSTILE[0] in about
        assert "Column look_back Ids of the tracks" in about
