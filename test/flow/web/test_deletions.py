"""GET /api/v1/deletions: programs that keep copies miss no deletion of theirs, and see no other."""

from datetime import UTC, datetime
from typing import Any

import pytest

from deleting import delete_tweets
from stream.tweet import NativeId
from web_app import Client, WebApp

NOW = datetime.now(UTC).replace(microsecond=0)


async def delete(app: WebApp, *numbers: int) -> None:
    await delete_tweets(app.database, "x_v1", {NativeId(str(number)): NOW for number in numbers})


@pytest.fixture
async def program(app: WebApp) -> Client:
    """Of Ana, who sees one of two tracks; tweet 5 belongs to both."""
    await app.user("bob")
    program = await app.api_client("ana", scopes=("read",))
    await app.add_track("snow", "ana")
    await app.add_track("rain", "bob")
    texts = ("snow", "rain", "neither", "snow again", "snow and rain")
    await app.store_tweets(*({"text": text} for text in texts))
    return program


async def read(program: Client, after: int, limit: int = 100) -> tuple[list[dict[str, Any]], int]:
    """All deletions after a number, and the next number."""
    found: list[dict[str, Any]] = []
    while True:
        path = f"/api/v1/deletions?after={after}&limit={limit}"
        status, page = await program.json("GET", path)
        assert status == 200, page
        found += page["deletions"]
        after = page["next"]
        if not page["more"]:
            return found, after


async def test_each_deletion_of_ones_tracks_is_read_once(app: WebApp, program: Client) -> None:
    ids: dict[str, int] = dict(await app.rows("SELECT native_id, id FROM tweets"))
    assert await read(program, 0) == ([], 0)
    await delete(app, 1, 2)
    first, after = await read(program, 0)
    assert [(each["id"], each["tracks"]) for each in first] == [(str(ids["1"]), ["1"])]
    assert datetime.fromisoformat(first[0]["deleted_at"]) == NOW
    await delete(app, 5)
    await delete(app, 4)
    for limit in (1, 2, 100):
        later, end = await read(program, after, limit)
        assert sorted(each["id"] for each in later) == [str(ids["4"]), str(ids["5"])]
        assert [each["tracks"] for each in later] == [["1"], ["1"]], "Bob's track is not named"
        assert await read(program, end) == ([], end)
    admin = await app.api_client("root", "admin")
    tracks = [each["tracks"] for each in (await read(admin, 0, 2))[0]]
    assert sorted(tracks) == [["1"], ["1"], ["1", "2"], ["2"]]


async def test_deletions_of_tracks_that_were_removed_or_shared_still_come(
    app: WebApp, program: Client
) -> None:
    """Copies of their tweets must not stay."""
    ids: dict[str, int] = dict(await app.rows("SELECT native_id, id FROM tweets"))
    await app.user("cem")
    other = await app.api_client("dora", scopes=("read",))
    await app.execute("INSERT INTO track_shares SELECT 2, id FROM users WHERE name = 'ana'")
    await app.execute("DELETE FROM track_shares")
    await app.execute("UPDATE tracks SET owner = 'cem' WHERE id = 1")
    await app.execute("DELETE FROM tracks")
    await delete(app, 1, 2)
    found = {each["id"]: each["tracks"] for each in (await read(program, 0))[0]}
    assert found == {str(ids["1"]): ["1"], str(ids["2"]): ["2"]}
    admin = await app.api_client("root", "admin")
    assert {each["id"]: each["tracks"] for each in (await read(admin, 0))[0]} == found
    assert (await read(other, 0))[0] == []


async def test_a_new_user_of_an_old_name_does_not_see_the_deletions_of_the_former_one(
    app: WebApp, program: Client
) -> None:
    await app.execute("DELETE FROM tracks")
    await delete(app, 1)
    await app.execute("UPDATE users SET created_at = now() WHERE name = 'ana'")
    assert (await read(program, 0))[0] == []


async def test_a_deletion_without_known_tracks_is_shown_to_admins_only(
    app: WebApp, program: Client
) -> None:
    """Of a day that is only in an archive, until that is rewritten; or a tweet of no track."""
    await app.execute(
        "INSERT INTO deletion_log (tweet_id, deleted_at, tracks) VALUES (7, now(), '{}')"
    )
    await delete(app, 3)
    assert (await read(program, 0))[0] == []
    admin = await app.api_client("root", "admin")
    assert [each["tracks"] for each in (await read(admin, 0))[0]] == [[], []]


async def test_odd_parameters_are_refused(program: Client) -> None:
    for query in ("after=-1", "after=x", "limit=0", "limit=1001", "since=1"):
        status, answer = await program.json("GET", f"/api/v1/deletions?{query}")
        assert (status, answer["error"]["code"]) == (422, "invalid"), query
