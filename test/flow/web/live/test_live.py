"""The page Live: everybody sees his own, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest

from web.accounts import sessions

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.web.conftest import MakePages
    from test.flow.web.live.conftest import Hall
    from web.person import Role

HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)> \u202egnp.exe snow & \"'"


async def test_two_viewers_see_each_his_own(hall: Hall) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    ben = await hall.watcher(await hall.pages.enter("ben"))
    await ana.watch(query="snow")
    await ben.watch(query="rain OR hail")
    await hall.press.store("snow falls", "rain falls", "sun shines", "hail and snow")
    await hall.press.store("more snow", "more rain")
    assert await ana.texts(3) == ["snow falls", "hail and snow", "more snow"]
    assert await ben.texts(3) == ["rain falls", "hail and snow", "more rain"]


async def test_everything_is_shown_to_whoever_asks_for_nothing(hall: Hall) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    await ana.watch()
    await hall.press.store("one", "two")
    assert await ana.texts(2) == ["one", "two"]
    said = ana.heard[-1]
    assert said["rate"] > 0
    assert said["all"] > 0
    assert not said["away"]


async def test_a_tweet_comes_with_what_matched_and_why(hall: Hall) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    await ana.watch(query="snow")
    await hall.press.store(HOSTILE)
    [found] = await ana.tweets(1)
    assert found["tweet"]["text"] == HOSTILE
    assert "".join(each["text"] for each in found["segments"]) == HOSTILE
    assert [each["text"] for each in found["segments"] if each["marked"]] == ["snow"]
    assert found["reason"] == "matched ‘snow’ in the text"


async def test_a_track_is_watched_by_those_who_see_it(hall: Hall) -> None:
    track = await hall.press.track("snow", "ana")
    ana = await hall.watcher(await hall.pages.enter("ana"))
    await ana.watch(track=str(track))
    await hall.press.store("rain", "snow")
    [found] = await ana.tweets(1)
    assert found["tweet"]["matches"] == [
        {"track": str(track), "term": "snow", "field": "text", "part": "own"}
    ]
    ben = await hall.watcher(await hall.pages.enter("ben"))
    for number in (str(track), "999", "-1", "x", "9" * 40):
        await ben.say("watch", track=number)
        refused = await ben.until(lambda said: said["kind"] == "refused")
        assert (refused["code"], refused["field"]) == ("not_found", "track")


async def test_a_viewer_sees_only_tweets_of_what_is_shared_with_him(hall: Hall) -> None:
    track = await hall.press.track("snow", "ana")
    eva = await hall.watcher(await hall.pages.enter("eva", "viewer"))
    share = "INSERT INTO track_shares (track_id, user_id) SELECT $1, id FROM users WHERE name = $2"
    await hall.pages.database.execute(share, track, "eva")
    await eva.watch()
    await hall.press.store("rain", "snow")
    assert await eva.texts(1) == ["snow"]
    await eva.watch(query="falls")
    await hall.press.store("rain falls", "snow falls")
    assert await eva.texts(1) == ["snow falls"]


async def test_a_share_that_is_withdrawn_ends_the_view(hall: Hall) -> None:
    track = await hall.press.track("snow", "ana")
    ben = await hall.pages.enter("ben")
    share = "INSERT INTO track_shares (track_id, user_id) SELECT $1, id FROM users WHERE name = $2"
    await hall.pages.database.execute(share, track, "ben")
    watcher = await hall.watcher(ben)
    await watcher.watch(track=str(track))
    await hall.pages.database.execute("DELETE FROM track_shares")
    assert (await watcher.ends())["code"] == "not_found"


async def test_a_session_that_is_revoked_ends_the_view(hall: Hall) -> None:
    ana, ben = await hall.pages.enter("ana"), await hall.pages.enter("ben")
    leaving, staying = await hall.watcher(ana), await hall.watcher(ben)
    await leaving.watch()
    await staying.watch()
    async with hall.pages.database.acquire() as connection:
        await sessions.end_all(connection, await hall.pages.user("ana"))
    assert (await leaving.ends())["code"] == "login_needed"
    await hall.press.store("still here")
    assert await staying.texts(1) == ["still here"]


@pytest.mark.parametrize("role", ["admin", "user"])
async def test_who_may_see_less_than_before_goes_on_with_that(hall: Hall, role: Role) -> None:
    track = await hall.press.track("snow", "ana")
    visitor, ben = await hall.pages.enter("eva", role), await hall.pages.enter("ben", role)
    eva = await hall.watcher(visitor)
    searching, staying = await hall.watcher(visitor), await hall.watcher(ben)
    await eva.watch()
    await searching.watch(query="rain")
    await staying.watch()
    share = "INSERT INTO track_shares (track_id, user_id) SELECT $1, id FROM users WHERE name = $2"
    await hall.pages.database.execute(share, track, "eva")
    await hall.pages.database.execute("UPDATE users SET role = 'viewer' WHERE name = 'eva'")
    # Not a code after which the page gives up: it connects again.
    assert (await eva.ends())["code"] == (await searching.ends())["code"] == "unavailable"
    again = await hall.watcher(visitor)
    await again.watch(cursor=eva.cursor)
    await hall.press.store("rain", "snow")
    assert await again.texts(1) == ["snow"]
    assert await staying.texts(2) == ["rain", "snow"]


async def test_pause_and_resume_from_where_it_was(hall: Hall) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    ben = await hall.watcher(await hall.pages.enter("ben"))
    await ana.watch(query="snow")
    await ben.watch(query="snow")
    await hall.press.store("snow 1")
    await ana.texts(1)
    await ana.pause()
    await hall.press.store("snow 2", "rain")
    late = await hall.press.source("late")
    await hall.press.store("snow of yesterday", source=late, ago=86_400)
    assert "snow 2" in await ben.texts(3)  # so all this is past
    await ana.watch(query="snow", cursor=ana.cursor)
    assert sorted(await ana.texts(2)) == ["snow 2", "snow of yesterday"]
    await hall.press.store("snow 3")
    assert await ana.texts(1) == ["snow 3"]


async def test_after_a_long_pause_the_newest_come_and_the_others_are_counted(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.live.lookback.MOST_READ", 30)
    monkeypatch.setattr("web.live.lookback.MOST_SHOWN", 5)
    ana = await hall.watcher(await hall.pages.enter("ana"))
    ben = await hall.watcher(await hall.pages.enter("ben"))
    await ana.watch(query="snow")
    await ben.watch(query="snow")
    await hall.press.store("snow")
    await ana.texts(1)
    await ben.texts(1)
    await ana.pause()
    await hall.press.store(*(f"snow {n}" for n in range(100)))
    await ben.tweets(1)  # what was stored is past
    await ana.watch(query="snow", cursor=ana.cursor)
    assert await ana.texts(5) == [f"snow {n}" for n in range(95, 100)]
    assert (ana.heard[-1]["missed"], ana.heard[-1]["skipped"]) == (25, 70)


async def test_a_query_is_checked_while_it_is_typed(hall: Hall) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    for query, is_right in (("snow", True), ("(snow", False), ("lang:en", True), ("", True)):
        await ana.say("check", query=query)
        said = await ana.until(lambda said: said["kind"] == "checked")
        assert said["query"] == query
        assert (said["message"] == "") is is_right
    await ana.say("watch", query="(snow")
    refused = await ana.until(lambda said: said["kind"] == "refused")
    assert (refused["code"], refused["field"]) == ("invalid", "query")


@pytest.mark.parametrize("text", ["", "{}", "[]", "7", '{"do":"fly"}', '{"do":"check","query":1}'])
async def test_what_is_no_wish_is_refused_in_words(hall: Hall, text: str) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    await ana.ws.send_str(text)
    assert (await ana.hear())["kind"] == "refused"
    await ana.watch()  # and nothing else has happened


async def test_a_strange_cursor_is_refused(hall: Hall) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    await ana.say("watch", cursor="'; DROP TABLE tweets; --")
    refused = await ana.until(lambda said: said["kind"] == "refused")
    assert (refused["code"], refused["field"]) == ("invalid", "cursor")


async def test_a_message_that_is_too_long_ends_it(hall: Hall) -> None:
    ana = await hall.watcher(await hall.pages.enter("ana"))
    await ana.ws.send_str(json.dumps({"do": "check", "query": "x" * 100_000}))
    async with asyncio.timeout(30):
        assert (await ana.ws.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_no_other_site_may_watch_through_a_browser(hall: Hall) -> None:
    ana = await hall.pages.enter("ana")
    for origin in ("https://evil.example", "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await hall.watcher(ana, headers={"Origin": origin})
        assert refusal.value.status == 403


async def test_only_people_who_are_logged_in_watch(hall: Hall) -> None:
    stranger, program = await hall.pages.stranger(), await hall.pages.program("ana")
    assert (await stranger.get("/live/socket"))[0] == 303
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await hall.watcher(program)
    assert refusal.value.status == 403


async def test_there_is_room_for_so_many(make_pages: MakePages, eventually: Eventually) -> None:
    async with make_pages(web={"viewers": 4}) as pages:
        ana, ben = await pages.enter("ana"), await pages.enter("ben")
        headers = {"Origin": pages.address}
        first = await ana.client.ws_connect("/live/socket", headers=headers)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await ana.client.ws_connect("/live/socket", headers=headers)
        assert refusal.value.status == 429
        status, text = await ana.get("/live/socket", headers=headers)
        assert status == 429
        assert "in so many places" in text
        async with ben.client.ws_connect("/live/socket", headers=headers):
            await first.close()

            async def ana_has_room() -> bool:
                return (await ana.get("/live/socket", headers=headers))[0] == 400

            await eventually(ana_has_room)


async def test_the_page_has_a_box_and_the_tracks_to_choose_from(hall: Hall) -> None:
    mine = await hall.press.track("<b>snow</b>", "ana")
    other = await hall.press.track("rain", "ben")
    ana = await hall.pages.enter("ana")
    status, text = await ana.get("/live", params={"query": '"><script>'})
    assert status == 200
    assert "&#34;&gt;&lt;script&gt;" in text
    assert "&lt;b&gt;snow&lt;/b&gt;" in text
    assert f'value="{mine}"' in text
    assert f'value="{other}"' not in text
    for strange in ("x", "-1", "9" * 30, str(other)):
        assert (await ana.get("/live", params={"track": strange}))[0] == 200
