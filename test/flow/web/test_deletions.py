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


async def test_a_deletion_without_known_tracks_reaches_everyone(
    app: WebApp, program: Client
) -> None:
    """Of a tweet whose day is archived: a copy of it must not stay."""
    await app.execute(
        "INSERT INTO deletion_log (tweet_id, deleted_at, tracks) VALUES (7, now(), '{}')"
    )
    [found] = (await read(program, 0))[0]
    assert (found["id"], found["tracks"]) == ("7", [])


async def test_odd_parameters_are_refused(program: Client) -> None:
    for query in ("after=-1", "after=x", "limit=0", "limit=1001", "since=1"):
        status, answer = await program.json("GET", f"/api/v1/deletions?{query}")
        assert (status, answer["error"]["code"]) == (422, "invalid"), query
