"""What users may not: more tracks than admins allow, more priority, the names of others."""

import asyncio
from typing import Any

import pytest

from stream.keys import tweet_key
from web_app import Client, WebApp

TRACKS = "/api/v1/tracks"


async def limit(app: WebApp, ana: Client, name: str, most: str) -> None:
    number = await app.user(name)
    status, text = await ana.post(f"/users/{number}/limits", {"max_tracks": most})
    assert status == 303, text


async def add(client: Client, value: str = "snow", **more: Any) -> tuple[int, Any]:
    return await client.json("POST", TRACKS, {"value": value} | more)


# -- tracks ---------------------------------------------------------------------------------------


async def test_a_user_has_so_many_tracks_however_they_come(app: WebApp) -> None:
    ana, bo = await app.log_in("ana", "admin"), await app.log_in("bo")
    program = await app.api_client("bo")
    first = (await add(program))[1]["id"]
    await limit(app, ana, "bo", "2")
    other = (await add(program, "rain"))[1]["id"]
    status, said = await add(program, "hail")
    assert (status, said["error"]["code"]) == (409, "conflict")
    assert "bo has 2 tracks, and the limit is 2" in said["error"]["message"]
    form = {"kind": "keyword", "value": "hail", "anyway": "1", "networks": ["x_v2", "x_v1"]}
    assert (await bo.post("/tracks/new", form))[0] == 409
    assert (await program.post("/stream/start", {"track": "hail"}))[0] == 409
    # Nor does it help to remove one, add another, and take the removal back.
    assert (await program.json("DELETE", f"{TRACKS}/{other}"))[0] == 204
    assert (await add(program, "wind"))[0] == 201
    [entry] = [e for e in await history(program) if e["action"] == "removed"]
    status, said = await program.json("POST", f"/api/v1/history/{entry['id']}/undo")
    assert (status, said["error"]["code"]) == (409, "conflict")
    # An admin gives it no more, either; what is there can be changed.
    mine = (await add(ana, "sun"))[1]["id"]
    assert (await ana.json("PATCH", f"{TRACKS}/{mine}", {"owner": "bo"}))[0] == 409
    assert (await program.json("PATCH", f"{TRACKS}/{first}", {"value": "sleet"}))[0] == 200
    await limit(app, ana, "bo", "")
    assert (await add(program, "hail"))[0] == 201


async def history(client: Client) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await client.json("GET", "/api/v1/history"))[1]["history"]
    return entries


async def test_those_who_add_at_once_are_counted_one_after_the_other(app: WebApp) -> None:
    ana, program = await app.log_in("ana", "admin"), await app.api_client("bo")
    await limit(app, ana, "bo", "3")
    done = await asyncio.gather(*(add(program, f"word{n}") for n in range(8)))
    assert sorted(status for status, _ in done) == [201] * 3 + [409] * 5


@pytest.mark.parametrize("most", ["-1", "1000001", "9" * 5000, "x", "1.5"])
async def test_what_is_no_limit(app: WebApp, admin: Client, most: str) -> None:
    number = await app.user("bo")
    assert (await admin.post(f"/users/{number}/limits", {"max_tracks": most}))[0] == 422
    bo = await app.log_in("bo")
    assert (await bo.post(f"/users/{number}/limits", {"max_tracks": "9"}))[0] == 403
    assert (await admin.post("/users/999/limits", {"max_tracks": "9"}))[0] == 404


# -- priority -------------------------------------------------------------------------------------


async def test_only_admins_give_a_priority_above_0(app: WebApp) -> None:
    ana, bo = await app.api_client("ana", "admin"), await app.api_client("bo")
    person = await app.log_in("bo")
    status, said = await add(bo, priority=1)
    assert (status, said["error"]["field"]) == (403, "priority")
    number = (await add(bo, priority=-5))[1]["id"]
    where = f"{TRACKS}/{number}"
    assert (await bo.json("PATCH", where, {"priority": 1}))[0] == 403
    assert (await bo.json("PATCH", where, {"priority": 0}))[0] == 200
    assert (await ana.json("PATCH", where, {"priority": 7}))[0] == 200
    # What an admin gave stays when something else is changed, and may be lowered.
    assert (await bo.json("PATCH", where, {"value": "rain"}))[0] == 200
    assert (await bo.json("PATCH", where, {"priority": 8}))[0] == 403
    assert (await ana.json("PATCH", where, {"priority": 0}))[0] == 200
    lowered = (await history(bo))[0]["id"]
    assert (await bo.json("POST", f"/api/v1/history/{lowered}/undo"))[0] == 403
    form = {"kind": "keyword", "value": "x", "priority": "3", "networks": ["x_v2", "x_v1"]}
    status, text = await person.post("/tracks/new", form)
    assert status == 403
    assert "Only admins can set a priority" in text


# -- names ----------------------------------------------------------------------------------------


async def test_sharing_tells_no_names_and_no_roles(app: WebApp) -> None:
    ana, bo = await app.log_in("ana", "admin"), await app.log_in("bo")
    for name, role in (("carla", "viewer"), ("dora", "admin"), ("emil", "user")):
        await app.user(name, role)  # type: ignore[arg-type]
    number = (await add(await app.api_client("bo")))[1]["id"]
    where = f"/tracks/{number}/share"
    status, text = await bo.get(where)
    assert status == 200
    for word in ("carla", "dora", "emil", "ana", "viewer", "disabled"):
        assert word not in text
    status, text = await bo.post(where, {"more": "carl"})
    assert (status, "There is no user with this name: carl" in text) == (422, True)
    assert 'value="carl"' in text
    assert (await bo.post(where, {"more": "carla, EMIL"}))[0] == 303
    _, text = await bo.get(where)
    assert 'value="carla" checked' in text
    assert 'value="emil" checked' in text
    assert (await bo.post(where, {"names": "carla"}))[0] == 303
    _, text = await bo.get(where)
    assert "emil" not in text
    assert (await ana.get(where))[0] == 200
    for path in ("/tracks/new", f"/tracks/{number}/edit", "/", "/account", "/history"):
        _, text = await bo.get(path)
        assert "dora" not in text, path


# -- rules of others ------------------------------------------------------------------------------

DOC = (
    '{"data": {"id": "1", "text": "snow"}, "matching_rules": [{"id": "9", "tag": "ts:secret"}],'
    ' "gnip": {"matching_rules": [{"tag": "ts:secret"}], "klout": 1}, "more": {"a": 1e400}}'
)


async def test_no_one_learns_by_which_rules_a_tweet_came(app: WebApp) -> None:
    ana, bo = await app.api_client("ana", "admin"), await app.api_client("bo")
    key = tweet_key(1_770_000_000_000_000, 1)  # type: ignore[arg-type]
    run = app.execute
    await run("SELECT ensure_day((tweet_received_at($1) AT TIME ZONE 'UTC')::date)", key)
    await run(
        "INSERT INTO tweets (id, received_at, network, native_id, kind, text, doc)"
        " VALUES ($1, tweet_received_at($1), 'x_v2', '1', 'original', 'snow', $2)",
        key,
        DOC.encode(),
    )
    status, text = await bo.get(f"/api/v1/tweets/{key}")
    assert status == 200
    assert "secret" not in text
    assert "matching_rules" not in text
    assert '"klout"' in text
    assert '"text":' in text
    for form in ("text/csv", "application/x-ndjson", "application/json"):
        _, text = await bo.get("/api/v1/tweets?query=snow", headers={"Accept": form})
        assert "secret" not in text
    assert "ts:secret" in (await ana.get(f"/api/v1/tweets/{key}"))[1]
