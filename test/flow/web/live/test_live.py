"""The page Live: each viewer sees their own tweets, and slows down no other."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from live_app import LiveApp
from stream.store import sessions
from stream.store.users import Role
from waiting import Eventually
from web_app import MakeApp

HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)> \u202egnp.exe snow & \"'"


async def test_two_viewers_see_each_his_own(live: LiveApp) -> None:
    ana = await live.viewer("ana")
    ben = await live.viewer("ben")
    await ana.watch(query="snow")
    await ben.watch(query="rain OR hail")
    await live.store("snow falls", "rain falls", "sun shines", "hail and snow")
    await live.store("more snow", "more rain")
    assert await ana.texts(3) == ["snow falls", "hail and snow", "more snow"]
    assert await ben.texts(3) == ["rain falls", "hail and snow", "more rain"]


async def test_everything_is_shown_to_whoever_asks_for_nothing(live: LiveApp) -> None:
    ana = await live.viewer("ana")
    await ana.watch()
    await live.store("one", "two")
    assert await ana.texts(2) == ["one", "two"]
    said = ana.messages[-1]
    assert said["rate"] > 0
    assert said["all"] > 0
    assert not said["away"]


async def test_a_tweet_comes_with_what_matched_and_why(live: LiveApp) -> None:
    ana = await live.viewer("ana")
    await ana.watch(query="snow")
    await live.store(HOSTILE)
    [found] = await ana.tweets(1)
    assert found["tweet"]["text"] == HOSTILE
    assert "".join(each["text"] for each in found["segments"]) == HOSTILE
    assert [each["text"] for each in found["segments"] if each["marked"]] == ["snow"]
    assert found["reason"] == "matched ‘snow’ in the text"


async def test_a_track_is_watched_by_those_who_see_it(live: LiveApp) -> None:
    track = await live.track("snow", "ana")
    ana = await live.viewer("ana")
    await ana.watch(track=str(track))
    await live.store("rain", "snow")
    [found] = await ana.tweets(1)
    assert found["tweet"]["matches"] == [
        {"track": str(track), "term": "snow", "field": "text", "part": "own", "look_back": False}
    ]
    ben = await live.viewer("ben")
    for number in (str(track), "999", "-1", "x", "9" * 40):
        assert await ben.refused("watch", track=number) == ("not_found", "track")


async def test_a_viewer_sees_only_tweets_of_what_is_shared_with_him(live: LiveApp) -> None:
    track = await live.track("snow", "ana")
    eva = await live.connect(await live.app.log_in("eva", "viewer"))
    await live.app.share(track, "eva")
    await eva.watch()
    await live.store("rain", "snow")
    assert await eva.texts(1) == ["snow"]
    await eva.watch(query="falls")
    await live.store("rain falls", "snow falls")
    assert await eva.texts(1) == ["snow falls"]


async def test_a_share_that_is_withdrawn_ends_the_view(live: LiveApp) -> None:
    track = await live.track("snow", "ana")
    ben = await live.app.log_in("ben")
    await live.app.share(track, "ben")
    watcher = await live.connect(ben)
    await watcher.watch(track=str(track))
    await live.app.execute("DELETE FROM track_shares")
    assert await watcher.ended() == "not_found"


async def test_a_session_that_is_revoked_ends_the_view(live: LiveApp) -> None:
    ana, ben = await live.app.log_in("ana"), await live.app.log_in("ben")
    leaving, staying = await live.connect(ana), await live.connect(ben)
    await leaving.watch()
    await staying.watch()
    async with live.app.database.acquire() as connection:
        await sessions.revoke_sessions(connection, await live.app.user("ana"))
    assert await leaving.ended() == "login_needed"
    await live.store("still here")
    assert await staying.texts(1) == ["still here"]


@pytest.mark.parametrize("role", ["admin", "user"])
async def test_who_may_see_less_than_before_goes_on_with_that(live: LiveApp, role: Role) -> None:
    track = await live.track("snow", "ana")
    client, ben = await live.app.log_in("eva", role), await live.app.log_in("ben", role)
    eva = await live.connect(client)
    searching, staying = await live.connect(client), await live.connect(ben)
    await eva.watch()
    await searching.watch(query="rain")
    await staying.watch()
    await live.app.share(track, "eva")
    await live.app.execute("UPDATE users SET role = 'viewer' WHERE name = 'eva'")
    # Not a code after which the page gives up: it connects again.
    assert await eva.ended() == await searching.ended() == "unavailable"
    again = await live.connect(client)
    await again.watch(cursor=eva.cursor)
    await live.store("rain", "snow")
    assert await again.texts(1) == ["snow"]
    assert await staying.texts(2) == ["rain", "snow"]


async def test_pause_and_resume_from_where_it_was(live: LiveApp) -> None:
    ana = await live.viewer("ana")
    ben = await live.viewer("ben")
    await ana.watch(query="snow")
    await ben.watch(query="snow")
    await live.store("snow 1")
    await ana.texts(1)
    await ana.pause()
    await live.store("snow 2", "rain")
    late = await live.source("late")
    await live.store("snow of yesterday", source=late, ago=86_400)
    assert "snow 2" in await ben.texts(3)  # so all this is past
    await ana.watch(query="snow", cursor=ana.cursor)
    assert sorted(await ana.texts(2)) == ["snow 2", "snow of yesterday"]
    await live.store("snow 3")
    assert await ana.texts(1) == ["snow 3"]


async def test_after_a_long_pause_the_newest_come_and_the_others_are_counted(
    live: LiveApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.live.session.CATCH_UP_SCAN_MAX", 30)
    monkeypatch.setattr("web.live.session.CATCH_UP_SHOWN_MAX", 5)
    ana = await live.viewer("ana")
    ben = await live.viewer("ben")
    await ana.watch(query="snow")
    await ben.watch(query="snow")
    await live.store("snow")
    await ana.texts(1)
    await ben.texts(1)
    await ana.pause()
    await live.store(*(f"snow {n}" for n in range(100)))
    await ben.tweets(1)  # what was stored is past
    await ana.watch(query="snow", cursor=ana.cursor)
    assert await ana.texts(5) == [f"snow {n}" for n in range(95, 100)]
    assert (ana.messages[-1]["missed"], ana.messages[-1]["skipped"]) == (25, 70)


async def test_queries_and_cursors_are_checked(live: LiveApp) -> None:
    ana = await live.viewer("ana")
    for query, is_right in (("snow", True), ("(snow", False), ("lang:en", True), ("", True)):
        await ana.send("check", query=query)
        said = await ana.wait_for("checked")
        assert said["query"] == query
        assert (said["message"] == "") is is_right
    assert await ana.refused("watch", query="(snow") == ("invalid", "query")
    assert await ana.refused("watch", cursor="'; DROP TABLE tweets; --") == ("invalid", "cursor")


@pytest.mark.parametrize("text", ["", "{}", "[]", "7", '{"do":"fly"}', '{"do":"check","query":1}'])
async def test_what_is_no_wish_is_refused_in_words(live: LiveApp, text: str) -> None:
    ana = await live.viewer("ana")
    await ana.ws.send_str(text)
    assert (await ana.receive())["kind"] == "refused"
    await ana.watch()  # and nothing else has happened


async def test_a_message_that_is_too_long_ends_it(live: LiveApp) -> None:
    ana = await live.viewer("ana")
    await ana.ws.send_str(json.dumps({"do": "check", "query": "x" * 100_000}))
    async with asyncio.timeout(90):
        assert (await ana.ws.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_no_other_site_may_watch_through_a_browser(live: LiveApp) -> None:
    ana = await live.app.log_in("ana")
    for origin in ("https://evil.example", "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await live.connect(ana, headers={"Origin": origin})
        assert refusal.value.status == 403


async def test_only_people_who_are_logged_in_watch(live: LiveApp) -> None:
    stranger, program = await live.app.anonymous(), await live.app.api_client("ana")
    assert (await stranger.get("/live/socket"))[0] == 303
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await live.connect(program)
    assert refusal.value.status == 403


async def test_there_is_room_for_so_many(make_app: MakeApp, eventually: Eventually) -> None:
    async with make_app(web={"max_live_per_user": 1}) as app:
        ana, ben = await app.log_in("ana"), await app.log_in("ben")
        headers = {"Origin": app.address}
        first = await ana.http.ws_connect("/live/socket", headers=headers)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await ana.http.ws_connect("/live/socket", headers=headers)
        assert refusal.value.status == 429
        status, text = await ana.get("/live/socket", headers=headers)
        assert status == 429
        assert "live connections open already" in text
        async with ben.http.ws_connect("/live/socket", headers=headers):
            await first.close()

            async def ana_has_room() -> bool:
                return (await ana.get("/live/socket", headers=headers))[0] == 400

            await eventually(ana_has_room)


async def test_the_page_has_a_box_and_the_tracks_to_choose_from(live: LiveApp) -> None:
    mine = await live.track("<b>snow</b>", "ana")
    await live.app.add_track("<b>snow</b>", "ana", kind="query")
    other = await live.track("rain", "ben")
    ana = await live.app.log_in("ana")
    status, text = await ana.get("/live", params={"query": '"><script>'})
    assert status == 200
    assert "&#34;&gt;&lt;script&gt;" in text
    assert "&lt;b&gt;snow&lt;/b&gt; (keyword)<" in text
    assert "&lt;b&gt;snow&lt;/b&gt; (query)<" in text
    assert f'value="{mine}"' in text
    assert f'value="{other}"' not in text
    for strange in ("x", "-1", "9" * 30, str(other)):
        assert (await ana.get("/live", params={"track": strange}))[0] == 200
