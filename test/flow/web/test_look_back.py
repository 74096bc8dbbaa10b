"""Look-backs: what is offered for a track, who may request and cancel, and what is shown."""

import re
from typing import Any

import pytest

from stream.store.look_backs import RETRYING
from stream.tweet import TrackId
from web.accounts.service import LOOK_BACKS_MAX
from web_app import FRAGMENT, HOSTILE, Client, WebApp, assert_harmless, form_in, plain_text

BLUESKY = "INSERT INTO sources (name, network) VALUES ('blue', 'bluesky')"
ROWS = "SELECT place, author, requested_by, state, since IS NULL FROM look_backs ORDER BY id"
TICKED = {"choose_look_back": "1"}


def offered(page: str) -> list[str]:
    """The places and accounts that a form offers."""
    return re.findall(r'<input type="checkbox" name="(?:look_back|account)" value="([^"]*)"', page)


async def test_only_places_that_make_sense_are_offered(app: WebApp, ana: Client) -> None:
    assert offered(await ana.page("/tracks/new")) == ["stored"]
    await app.execute(BLUESKY)
    page = await ana.page("/tracks/new")
    assert offered(page) == ["stored", "recorded", "network"]
    assert form_in(page, "/tracks/new")["look_back"] == "stored"
    assert "matched no track then. This server keeps them for 2 days." in plain_text(page)
    check = {"kind": "place", "value": "13,52,14,53"} | TICKED
    _, part = await ana.post("/tracks/check", check, headers=FRAGMENT)
    assert offered(part) == ["stored"]  # no post on Bluesky has a place
    on_x = {"kind": "keyword", "value": "snow", "networks": "x_v2"}
    _, part = await ana.post("/tracks/check", on_x, headers=FRAGMENT)
    assert offered(part) == ["stored"]


async def test_accounts_that_the_value_names_are_offered(app: WebApp, ana: Client) -> None:
    await app.execute(BLUESKY)
    check = {
        "kind": "user",
        "value": "@One.bsky.social, @esa, did:plc:ewvi7nxzyoun6zhxrhs64oiz",
    } | TICKED
    _, part = await ana.post("/tracks/check", check, headers=FRAGMENT)
    assert offered(part)[3:] == ["one.bsky.social", "did:plc:ewvi7nxzyoun6zhxrhs64oiz"]
    check = {"kind": "keyword", "value": "snow", "account": "@One.bsky.social"} | TICKED
    _, part = await ana.post("/tracks/check", check, headers=FRAGMENT)
    assert 'name="account" value="@One.bsky.social"' in part
    status, text = await ana.post("/tracks/new", check | {"account": "Mary"})
    assert status == 422
    assert "is not an account on Bluesky: write its handle" in text
    [field] = re.findall(r'<input name="account"[^>]*>', text)
    assert 'value="Mary"' in field
    assert 'aria-invalid="true" aria-describedby="wrong-author about-author"' in field
    assert text.count('id="wrong-author"') == 1
    assert (await ana.post("/tracks/new", check))[0] == 303
    assert await app.rows(ROWS) == [("author", "one.bsky.social", "ana", "waiting", True)]


@pytest.mark.parametrize(
    ("track", "source", "words"),
    [
        (
            {"kind": "place"},
            "true",
            "No post on Bluesky can match this track. 13,52,14,53: Posts on Bluesky carry no",
        ),
        ({}, "false", "Only Bluesky sends earlier posts again: add or enable a source of it."),
        ({"networks": ["x_v2"]}, "true", "again: add it to the networks of this track."),
    ],
)
async def test_a_place_that_makes_no_sense_is_refused_with_the_cause(
    app: WebApp, track: dict[str, Any], source: str, words: str
) -> None:
    await app.execute(BLUESKY)
    await app.execute(f"UPDATE sources SET enabled = {source}")
    program = await app.api_client("ana")
    value = "13,52,14,53" if "kind" in track else "snow"
    _, added = await program.json("POST", "/api/v1/tracks", {"value": value} | track)
    here = f"/api/v1/tracks/{added['id']}/look-backs"
    status, error = await program.json("POST", here, {"place": "network"})
    assert status == 422
    assert words in error["error"]["message"]


async def test_ticks_are_not_lost_while_the_value_is_checked(app: WebApp, ana: Client) -> None:
    """The fields are sent again only when they offer something else, then with the same ticks."""
    await app.execute(BLUESKY)
    form = await ana.form("/tracks/new") | {"value": "snow", "look_back": ["stored", "network"]}
    _, part = await ana.post("/tracks/check", form, headers=FRAGMENT)
    assert "look-back-fields" not in part
    _, part = await ana.post("/tracks/check", form | {"offered": ""}, headers=FRAGMENT)
    assert re.findall(r'value="(\w+)" checked', part) == ["stored", "network"]


async def test_a_new_track_looks_back_where_it_is_told(app: WebApp, ana: Client) -> None:
    await app.execute(BLUESKY)
    given = {"kind": "keyword", "value": "snow"}
    for fields in (given, given | {"value": "ice"} | TICKED):  # the first one by an older script
        assert (await ana.post("/tracks/new", fields))[0] == 303
    assert await app.rows(ROWS) == []
    form = await ana.form("/tracks/new") | {"value": "hail", "look_back": ["stored", "network"]}
    status, _ = await ana.post("/tracks/new", form | {"look_back_hours": "6"})
    assert status == 303
    assert await app.rows(ROWS) == [
        (place, None, "ana", "waiting", False) for place in ("stored", "network")
    ]
    text = plain_text(await ana.page("/tracks/3/saved"))
    assert "Next in the queue. Look-backs run one at a time" in text
    assert "Number 2 in the queue." in text


@pytest.mark.parametrize(
    "fields", [{"look_back": "network"}, {"look_back": "attic"}, {"look_back_hours": "5"}]
)
async def test_a_place_or_period_that_is_not_possible_is_refused(
    app: WebApp, ana: Client, fields: dict[str, str]
) -> None:
    given = {"kind": "keyword", "value": "snow"} | TICKED | fields
    status, text = await ana.post("/tracks/new", given)
    assert status == 422
    assert 'id="wrong-look_back"' in text
    assert await app.rows("SELECT FROM tracks") == []


async def test_a_user_has_so_many_unfinished_look_backs(app: WebApp, ana: Client) -> None:
    track = await app.add_track()
    await app.execute(
        "INSERT INTO look_backs (track_id, place, author, requested_by)"
        " SELECT $1, 'author', 'did:plc:' || n, 'ana' FROM generate_series(1, $2::int) AS n",
        track,
        LOOK_BACKS_MAX,
    )
    given = {"kind": "keyword", "value": "ice", "look_back": "stored"} | TICKED
    status, text = await ana.post("/tracks/new", given)
    assert status == 429
    assert f"At most {LOOK_BACKS_MAX} look-backs of a user may wait or run" in text
    assert f"these would make it {LOOK_BACKS_MAX + 1}: wait" in text
    program = await app.api_client("ana")
    here = f"/api/v1/tracks/{track}/look-backs"
    assert (await program.json("POST", here, {"place": "stored"}))[0] == 429
    assert len(await app.rows(ROWS)) == LOOK_BACKS_MAX
    await app.execute(
        "UPDATE look_backs SET place = 'stored', author = NULL, since = now()"
        " WHERE author = 'did:plc:2'"
    )
    assert (await program.json("POST", here, {"place": "stored"}))[0] == 200  # widened
    assert (await program.json("POST", here, {"place": "stored"}))[0] == 200  # covered
    await app.execute("UPDATE look_backs SET state = 'done' WHERE author = 'did:plc:1'")
    assert (await ana.post("/tracks/new", given))[0] == 303


async def test_a_place_that_is_requested_twice_counts_once(app: WebApp) -> None:
    program, since = await app.api_client("ana"), "2026-03-14T12:00:00Z"
    await app.execute(
        "WITH added AS (INSERT INTO tracks (value, owner) VALUES ('ice', 'ana') RETURNING id)"
        " INSERT INTO look_backs (track_id, place, author, requested_by)"
        " SELECT id, 'author', 'did:plc:' || n, 'ana'"
        " FROM added, generate_series(2, $1::int) AS n",
        LOOK_BACKS_MAX,
    )
    twice = [{"place": "stored", "since": since}, {"place": "stored"}]
    new = {"value": "snow", "look_back": twice}
    assert (await program.json("POST", "/api/v1/tracks", new))[0] == 201
    assert (await app.rows(ROWS))[-1] == ("stored", None, "ana", "waiting", True)


async def test_the_page_says_what_one_from_before_does_for_a_request(
    app: WebApp, ana: Client
) -> None:
    track = await app.add_track()
    here, given = f"/tracks/{track}/look-backs", {"look_back": "stored"} | TICKED
    for hours, words in (
        ("24", ""),
        ("6", "goes as far back or further, and has not finished. No other one was added."),
        ("", "did not go so far back, and had not finished. It begins again, and goes further."),
    ):
        _, part = await ana.post(here, given | {"look_back_hours": hours}, headers=FRAGMENT)
        notes = re.findall(r'<p class="hint" role="status">(.*?)</p>', part)
        expected = f"Stored tweets : the look-back requested before {words}"
        assert [plain_text(note).strip() for note in notes] == [expected] * bool(words)


async def test_without_javascript_the_page_says_it_too(app: WebApp, ana: Client) -> None:
    track = await app.add_track()
    form = await ana.form(f"/tracks/{track}", f"/tracks/{track}/look-backs")
    given = form | {"look_back": "stored"}
    for hours, words in (
        ("24", ""),
        ("6", "goes as far back or further"),
        ("", "did not go so far back"),
    ):
        chosen = given | {"look_back_hours": hours}
        async with ana.http.post(f"/tracks/{track}/look-backs", data=chosen) as answer:
            notes = re.findall(r'<p class="hint" role="status">(.*?)</p>', await answer.text())
        assert [words in note for note in notes] == [True] * bool(words)
    page = await ana.page(f"/tracks/{track}?widened=1&widened=x&covered=999&covered=-1")
    assert page.count("requested before") == 1  # of those of this track only


async def test_many_new_tracks_look_back_in_the_same_places(app: WebApp, ana: Client) -> None:
    await app.execute(BLUESKY)
    given = {"kind": "keyword", "lines": "snow\nice", "look_back": ["stored", "network"]} | TICKED
    status, page = await ana.post("/tracks/paste", given | {"look_back_hours": "6"})
    assert (status, offered(page)) == (200, ["stored", "recorded", "network"])
    assert re.findall(r'value="(\w+)" checked', page) == ["keyword", "stored", "network"]
    add = given | {"do": "add", "look_back_hours": "6"}
    many = "\n".join(f"word{number}" for number in range(LOOK_BACKS_MAX))
    status, page = await ana.post("/tracks/paste", add | {"lines": many})
    assert status == 429
    assert f"At most {LOOK_BACKS_MAX} look-backs" in page
    assert many in page
    status, page = await ana.post("/tracks/paste", add | {"look_back": "attic"})
    assert status == 422
    assert await app.rows("SELECT FROM tracks") == []
    assert (await ana.post("/tracks/paste", add))[0] == 303
    assert await app.rows(ROWS) == [
        (place, None, "ana", "waiting", False) for place in ("stored", "network") * 2
    ]


async def _states(app: WebApp, track: TrackId) -> None:
    for state, found in (("running", 1240), ("failed", 0)):
        await app.insert(
            "look_backs",
            track_id=track,
            place="author",
            author=f"{state}{HOSTILE[0]}",
            requested_by="ana",
            state=state,
            reason=HOSTILE[1] if state == "failed" else "",
            progress=0.25,
            looked=5000,
            found=found,
            added=312 if found else 0,
        )
    # It has waited for hours, which does not count.
    await app.execute("UPDATE look_backs SET started_at = now() - interval '5 hours', worked = 120")


async def test_the_page_shows_progress_result_and_reason(app: WebApp, ana: Client) -> None:
    track = await app.add_track()
    count = "Tweets found by look-back count at their original time"
    assert count not in await ana.page(f"/tracks/{track}")
    await _states(app, track)
    page = await ana.page(f"/tracks/{track}")
    text = plain_text(page)
    assert "25 %, about 6 minutes left" in text
    assert "Found 1,240 tweets (312 new) so far; searched 5,000 posts." in text
    assert "Found no more tweets; searched 5,000 posts." in text
    assert count in page
    assert "Tweets found by look-back count, too." in text
    assert 'hx-trigger="every 2s"' in page
    assert_harmless(page)
    await app.execute("UPDATE look_backs SET state = 'done' WHERE state = 'running'")
    _, part = await ana.get(f"/tracks/{track}/look-backs", headers=FRAGMENT)
    assert "every 2s" not in part
    assert "(312 new); searched 5,000 posts." in plain_text(part)


async def test_no_time_is_promised_while_a_network_is_retried(app: WebApp, ana: Client) -> None:
    track = await app.add_track()
    await _states(app, track)
    retried = f"Some posts are missing. The host sent nothing. {RETRYING}"
    await app.execute("UPDATE look_backs SET reason = $1 WHERE state = 'running'", retried)
    text = plain_text(await ana.page(f"/tracks/{track}"))
    assert "25 %. Found 1,240 tweets" in text
    assert " left" not in text.partition("Look back")[2].partition("Top items")[0]
    assert retried in text


async def test_a_first_look_back_that_finds_nothing_speaks_of_no_more(
    app: WebApp, ana: Client
) -> None:
    track = await app.add_track()
    await app.insert("look_backs", track_id=track, place="stored", state="done", looked=10)
    text = plain_text(await ana.page(f"/tracks/{track}"))
    assert "Found no tweets; searched 10 tweets." in text


async def test_only_the_owner_and_admins_request_and_cancel(app: WebApp) -> None:
    track = await app.add_track(owner="ana")
    here, given = f"/tracks/{track}/look-backs", {"look_back": "stored"} | TICKED
    ana, ben = await app.log_in("ana"), await app.log_in("ben")
    root = await app.log_in("root", "admin")
    assert (await ben.post(here, given))[0] == 404
    await app.share(track, "ben")
    assert (await ben.post(here, given))[0] == 403
    assert (await ana.post(here, TICKED))[0] == 422  # nothing is ticked
    status, part = await ana.post(here, given, headers=FRAGMENT)
    assert status == 200
    cancel = re.findall(r'action="([^"]*cancel)"', part)
    assert cancel == ["/look-backs/1/cancel"]
    seen = await ben.page(f"/tracks/{track}")
    assert "Stored tweets" in seen
    assert "Cancel" not in seen
    assert (await ben.post(cancel[0]))[0] == 403
    assert (await root.post(cancel[0]))[0] == 303
    assert (await ana.post("/look-backs/99/cancel"))[0] == 404
    assert await app.rows(ROWS) == [("stored", None, "ana", "cancelled", True)]


async def test_programs_do_the_same(app: WebApp) -> None:
    await app.execute(BLUESKY)
    program, other = await app.api_client("ana"), await app.api_client("ben")
    status, track = await program.json(
        "POST", "/api/v1/tracks", {"value": "snow", "look_back": [{"place": "stored"}]}
    )
    assert status == 201
    here = f"/api/v1/tracks/{track['id']}/look-backs"
    since, wider = "2026-03-14T12:00:00Z", "2026-03-13T12:00:00Z"
    for status, asked, kept in (
        (201, since, since),
        (200, since, since),  # the same one is returned
        (200, wider, wider),
        (200, since, wider),
        (200, None, None),
    ):
        answer = await program.json("POST", here, {"place": "network", "since": asked})
        assert (answer[0], answer[1]["id"], answer[1]["since"]) == (status, 2, kept)
    _, found = await program.json("GET", here)
    assert [each["place"] for each in found["look_backs"]] == ["network", "stored"]
    assert (await other.json("GET", here))[0] == 404
    assert (await other.json("DELETE", "/api/v1/look-backs/2"))[0] == 404
    assert (await program.json("DELETE", "/api/v1/look-backs/2"))[0] == 204
    _, one = await program.json("GET", "/api/v1/look-backs/2")
    assert one["state"] == "cancelled"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"place": "author"}, "author"),
        ({"place": "stored", "author": "a.bsky.social"}, "author"),
        ({"place": "attic"}, "place"),
        ({"place": "stored", "since": "2999-01-01T00:00:00Z"}, "since"),
        ({"place": "stored", "since": "1800-01-01T00:00:00Z"}, "since"),
        *(
            ({"place": "author", "author": author}, "author")
            for author in (" ", "a b", "nasa", "me@mastodon.example", "did:key:abc", "did:plc:abc")
        ),
    ]
    for body, field in wrong:
        status, error = await program.json("POST", here, body)
        assert (status, error["error"]["field"]) == (422, field), body


async def test_what_a_look_back_found_is_marked(app: WebApp, ana: Client) -> None:
    track = await app.add_track()
    await app.store_tweets({}, {})
    await app.execute("UPDATE matches SET look_back = tweet_id = (SELECT min(id) FROM tweets)")
    page = plain_text(await ana.page(f"/tracks/{track}"))
    assert page.count("matched ‘snow’ in the text") == 2
    assert page.count("matched ‘snow’ in the text, found by look-back") == 1
    _, found = await ana.json("GET", f"/api/v1/tweets?track={track}")
    assert [each["matches"][0]["look_back"] for each in found["tweets"]] == [False, True]
    lines = (await ana.page(f"/tracks/{track}/tweets.csv")).split()
    assert [line.rpartition(",")[2] for line in lines[:1] + lines[-2:]].count(str(track)) == 1
