"""The API against what people send who mean it ill, or only mistype; and against sheer amounts."""

import logging
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from stream.store.users import Role
from web.api import openapi_file
from web.api.openapi_page import METHODS
from web_app import Client, MakeApp, WebApp

SQL = "'; DROP TABLE tracks; SELECT '"
STRANGE = (
    SQL,
    "%00",
    "%FF%FE",
    "%ED%A0%80",  # half a character
    "<script>alert(1)</script>",
    "9" * 400,
    "-1",
    "1.5",
    "null",
    "[]",
    "\u202eabc",
    "../../etc/passwd",
    "",
)
BODIES: tuple[Any, ...] = (
    SQL,
    "\x00",
    "<script>",
    10**30,
    -1,
    1.5,
    None,
    True,
    [],
    {},
    [[1]],
    {"x": 1},
    [SQL],
    "x" * 5000,
)
FILLED = """
WITH new AS (
    SELECT tweet_key(now() - n * interval '1 ms', 1) AS id, n FROM generate_series(1, $1) AS n
), kept AS (
    INSERT INTO tweets (id, received_at, network, native_id, kind, text, doc)
    SELECT id, tweet_received_at(id), 'x_v2', n::text, 'original', repeat('snow ', 200), '{}'
    FROM new
), matched AS (
    INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
    SELECT id, 1, tweet_received_at(id), 'snow', 'text', 'own' FROM new
)
INSERT INTO ingest_runs SELECT 1, 1, min(id), max(id) FROM new
"""


def parameters() -> Iterator[tuple[str, str, list[str]]]:
    """Of every call: method, path, and what may stand behind the question mark."""
    described = openapi_file.document()
    for path, item in described["paths"].items():
        for method in METHODS:
            if method not in item or path == "/api/v1/stream":
                continue
            given = [*item.get("parameters", []), *item[method].get("parameters", [])]
            named = [
                described["components"]["parameters"][each["$ref"].rpartition("/")[2]]
                if "$ref" in each
                else each
                for each in given
            ]
            queries = [each["name"] for each in named if each["in"] == "query"]
            yield method.upper(), path.replace("{id}", "1"), queries


async def two(app: WebApp) -> tuple[Client, Client]:
    """The owner of track 1, and a user who may not see it."""
    ana = await app.api_client("ana")
    assert (await ana.json("POST", "/api/v1/tracks", {"value": "snow"}))[1]["id"] == 1
    return ana, await app.api_client("bob")


FOREIGN: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/api/v1/tracks/1", None),
    ("PATCH", "/api/v1/tracks/1", {"enabled": False}),
    ("DELETE", "/api/v1/tracks/1", None),
    ("PUT", "/api/v1/tracks/1/shares", {"names": ["bob"]}),
    ("GET", "/api/v1/tracks/1/history", None),
    ("GET", "/api/v1/tracks/1/counts", None),
    ("GET", "/api/v1/tracks/1/tops", None),
    ("GET", "/api/v1/counts?track=1", None),
    ("GET", "/api/v1/tweets?track=1", None),
    ("GET", "/api/v1/tweets?track=1&query=snow&order=oldest", None),
    ("POST", "/api/v1/tracks/pause", {"tracks": [1]}),
    ("POST", "/api/v1/tracks/resume", {"tracks": [1]}),
    ("POST", "/api/v1/history/1/undo", None),
    ("POST", "/stream/stop?id=1", None),
    ("POST", "/stream/stop?track=snow", None),
    ("GET", "/tweets?id=1", None),
)


async def test_what_belongs_to_others_is_not_there(app: WebApp) -> None:
    ana, bob = await two(app)
    for method, path, body in FOREIGN:
        status, answer = await bob.json(method, path, body)
        assert (status, answer["error"]["code"]) == (404, "not_found"), path
    assert (await bob.json("GET", "/api/v1/tracks"))[1]["tracks"] == []
    assert (await bob.json("GET", "/api/v1/history"))[1]["history"] == []
    assert (await bob.json("GET", "/stream/status"))[1]["tracks"] == []
    assert (await bob.json("POST", "/stream/stop"))[1]["stopped"] == []
    assert (await ana.json("GET", "/api/v1/tracks/1"))[1]["enabled"] is True


async def test_what_is_shared_may_be_seen_and_not_changed(app: WebApp) -> None:
    ana, bob = await two(app)
    await ana.json("PUT", "/api/v1/tracks/1/shares", {"names": ["bob"]})
    for method, path, body in FOREIGN:
        status, _ = await bob.json(method, path, body)
        own_words = path == "/stream/stop?track=snow"
        assert status == (404 if own_words else 200 if method == "GET" else 403), path
    assert (await bob.json("POST", "/api/v1/tracks", {"value": "x", "owner": "ana"}))[0] == 403


async def test_nothing_that_stands_in_an_address_does_harm(make_app: MakeApp) -> None:
    async with make_app(web={"requests_per_minute": 10_000_000}) as app:
        await _try_all_addresses(app)


async def _try_all_addresses(app: WebApp) -> None:
    ana, _ = await two(app)
    for method, path, names in parameters():
        for name in [*names, "nonsense"]:
            for value in STRANGE if method == "GET" else STRANGE[:4]:
                address = f"{path}?{name}={value}"
                status, answer = await ana.json(method, address)
                assert status < 500, address
                if status >= 400:
                    assert set(answer["error"]) == {"code", "message", "field"}, address
                if name == "nonsense" and status not in (403, 404):
                    assert (status, answer["error"]["field"]) == (422, "nonsense"), address
    assert len(await app.database.fetch("SELECT FROM tracks WHERE id = 1")) == 1


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/api/v1/tracks", "value kind owner networks starts_at priority keep_days x"),
        ("PATCH", "/api/v1/tracks/1", "value kind owner networks enabled ends_at priority x"),
        ("PUT", "/api/v1/tracks/1/shares", "names x"),
        ("POST", "/api/v1/tracks/pause", "tracks x"),
    ],
)
async def test_nothing_that_stands_in_a_body_does_harm(
    app: WebApp, method: str, path: str, fields: str
) -> None:
    ana, _ = await two(app)
    for field in fields.split():
        for value in BODIES:
            body = {"value": "snow"} if path == "/api/v1/tracks" else {}
            status, answer = await ana.json(method, path, body | {field: value})
            assert status < 500, (field, value)
            if status >= 400:
                assert set(answer["error"]) == {"code", "message", "field"}, (field, value)
                assert answer["error"]["message"].endswith((".", "?")), answer
    for raw in (b"", b"{", b"[]", b"\xff", b'{"value": "\\ud800"}', b"[" * 100_000, b"1e999"):
        headers = {"Content-Type": "application/json"}
        async with ana.http.request(method, path, data=raw, headers=headers) as response:
            assert response.status in (400, 422), raw[:20]
    assert (await ana.json("GET", "/api/v1/tracks/1"))[0] == 200


async def test_what_is_mistyped_is_named_with_what_was_meant(app: WebApp) -> None:
    ana, _ = await two(app)
    for path, field, hint in (
        ("/api/v1/tracks?words=%00", "words", "character"),
        ("/api/v1/tweets?lmit=3", "lmit", "`limit`"),
        ("/tweets?q=x", "q", "There is no parameter `q`. Known: `count`, `id`, `cursor`, `token`."),
        ("/tweets?cout=3", "cout", "Did you mean `count`?"),
        ("/api/v1/tweets?user=x", "user", "Known: `track`"),
        ("/api/v1/tweets?from=2026-01-01", "from", "Known: `track`"),
        ("/api/v1/tweets?sort=newest", "sort", "Known: `track`"),
        ("/api/v1/tracks?knd=user", "knd", "`kind`"),
        ("/api/v1/me?x=1", "x", "takes none"),
        ("/api/v1/tweets?limit=1001", "limit", "1000"),
        ("/api/v1/tweets?limit=1&limit=2", "limit", "2 times"),
        ("/api/v1/tweets?limit=x", "limit", "`limit` must be a whole number (1 to 1000)."),
        ("/api/v1/tweets?track=x", "track", "`track` must be a whole number (1 to "),
        (
            f"/api/v1/tracks?kind={'x' * 5000}",
            "kind",
            "must be one of keyword, place, query, user.",
        ),
        ("/api/v1/tracks?forgotten=yes", "forgotten", "must be true or false."),
        ("/api/v1/gaps?source=", "source", "must be a text of 1 to 63 characters"),
        ("/api/v1/tweets?begin=2026-01-31", "begin", "such as 2026-01-31T12:00:00Z."),
        ("/api/v1/tweets?begin=2026-01-01T00:00:00", "begin", "timezone"),
        ("/api/v1/tweets?query=%22&query_kind=query", "query", ""),
    ):
        status, answer = await ana.json("GET", path)
        assert (status, answer["error"]["code"]) == (422, "invalid"), path
        assert answer["error"]["field"] == field, path
        assert hint in answer["error"]["message"], answer
    status, answer = await ana.json("POST", "/api/v1/tracks", {"valeu": "snow"})
    assert (status, answer["error"]["field"]) == (422, "valeu")
    assert "`value`" in answer["error"]["message"]


async def test_the_old_name_of_a_sort_order_is_refused_with_the_new_one(app: WebApp) -> None:
    ana = await app.api_client("ana")
    assert (await ana.json("GET", "/api/v1/tracks?sort=viewed"))[0] == 200
    status, answer = await ana.json("GET", "/api/v1/tracks?sort=looked")
    assert (status, answer["error"]["field"]) == (422, "sort")
    assert answer["error"]["message"].endswith(", viewed.")


async def test_what_is_wrong_in_a_body_is_named(app: WebApp) -> None:
    ana, _ = await two(app)
    track, shares = "/api/v1/tracks/1", "/api/v1/tracks/1/shares"
    for method, path, body, field, words in (
        ("PATCH", track, b'{"priority": 1e999}', "priority", "a whole number"),
        ("PATCH", track, b'{"priority": %d}' % 10**30, "priority", "32767"),
        ("PATCH", track, b'{"priority": %s}' % (b"9" * 5000), None, "out of range"),
        ("POST", "/api/v1/tracks/pause", b'{"tracks": [1, 1e999]}', "tracks[1]", "a whole number"),
        ("PUT", shares, b'{"names": ["a\\u0000"]}', "names", "no user with this name: a\ufffd."),
    ):
        headers = {"Content-Type": "application/json"}
        async with ana.http.request(method, path, data=body, headers=headers) as response:
            error = (await response.json())["error"]
            assert (response.status, error["field"]) == (422, field), error
            assert words in error["message"]


async def test_a_network_is_kept_once_however_often_it_is_said(app: WebApp) -> None:
    ana = await app.api_client("ana")
    doubled = {"value": "snow", "networks": ["x_v2", "x_v1", "x_v2"]}
    _, made = await ana.json("POST", "/api/v1/tracks", doubled)
    assert made["networks"] == ["x_v2", "x_v1"]
    _, made = await ana.json("PATCH", "/api/v1/tracks/1", {"networks": ["x_v1", "x_v1"]})
    assert made["networks"] == ["x_v1"]
    _, made = await ana.json("PATCH", "/api/v1/tracks/1", {"networks": None})
    assert made["networks"] is None


async def test_a_token_that_only_writes_makes_tracks_and_takes_removals_back(
    app: WebApp,
) -> None:
    writer = await app.api_client("ana", scopes=("write",))
    assert (await writer.json("POST", "/api/v1/tracks", {"value": "snow"}))[0] == 201
    assert (await writer.json("POST", "/stream/start?track=rain"))[0] == 200
    assert (await writer.json("GET", "/api/v1/tracks/1"))[0] == 403
    assert (await writer.json("DELETE", "/api/v1/tracks/1"))[0] == 204
    [row] = await app.database.fetch("SELECT max(id) AS id FROM track_history")
    assert (await writer.json("POST", f"/api/v1/history/{row['id']}/undo"))[0] == 200


async def test_scopes_that_the_role_cannot_use_are_not_said(app: WebApp) -> None:
    expected: dict[Role, list[str]] = {
        "viewer": ["read"],
        "user": ["read", "write"],
        "admin": ["admin", "read", "write"],
    }
    for role, scopes in expected.items():
        for client in (await app.log_in(role, role), await app.api_client(role, role)):
            assert (await client.json("GET", "/api/v1/me"))[1]["scopes"] == scopes
    writer = await app.api_client("ana", scopes=("read", "admin"))
    assert (await writer.json("GET", "/api/v1/me"))[1]["scopes"] == ["read"]


async def test_simple_calls_follow_and_stop_by_one_address(app: WebApp) -> None:
    ana = await app.api_client("ana")
    script = await app.anonymous()

    async def call(method: str, path: str, **options: Any) -> Any:
        async with script.http.request(method, path, **options) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    bad = f"/stream/start?token={ana.token}&kind=query&track=%28snow"
    async with script.http.post(bad) as answer:
        assert answer.status == 422
        assert (await answer.json())["error"]["field"] == "track"
    begun = await call("POST", f"/stream/start?token={ana.token}&track=snow+day")
    assert (begun["track"], begun["kind"], begun["enabled"]) == ("snow day", "keyword", True)
    stopped = await call("POST", f"/stream/stop?token={ana.token}")
    assert stopped == {"stopped": [begun["id"]]}
    shown = await call("GET", f"/stream/status?token={ana.token}")
    assert [(each["id"], each["enabled"]) for each in shown["tracks"]] == [(begun["id"], False)]
    again = await call("POST", f"/stream/start?token={ana.token}", data={"track": "snow day"})
    assert (again["id"], again["enabled"]) == (begun["id"], True)
    assert (await call("GET", f"/tweets?token={ana.token}&count=5"))["tweets"] == []
    for path in ("/stream/status", "/stream/status?token=ts_wrong", "/tweets?token=%FF"):
        assert (await script.get(path))[0] == 401, path
    # Elsewhere no token is taken out of an address.
    assert (await script.get(f"/api/v1/me?token={ana.token}"))[0] == 401


async def test_a_token_of_bytes_that_are_no_text_is_none(app: WebApp) -> None:
    reader, writer = await app.connect()
    writer.write(b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
    said = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert b" 401 " in said


async def test_no_token_of_an_address_is_ever_logged(
    app: WebApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ana = await app.api_client("ana")
    script = await app.anonymous()

    async def broken(*_: object) -> None:
        raise ValueError("ours")

    monkeypatch.setattr("web.queries.tweets.page", broken)
    with caplog.at_level(logging.DEBUG):
        status, text = await script.get(f"/tweets?token={ana.token}&count=5")
        assert status == 500
        assert (await script.get(f"/tweets?token={ana.token}&count={'9' * 20_000}"))[0] == 400
        assert (await script.get(f"/tweets?token={ana.token}x"))[0] == 401
    assert " failed" in caplog.text
    assert ana.token not in caplog.text + text


async def test_a_long_download_takes_no_more_memory_than_a_short_one(app: WebApp) -> None:
    """100,000 tweets of a kilobyte each; what is kept of them would show."""
    ana, _ = await two(app)
    await app.execute("SELECT ensure_day(now()::date), ensure_day(now()::date - 1)")
    await app.execute(FILLED, 100_000)
    process, lines, rss = psutil.Process(), 0, []
    accept = {"Accept": "application/x-ndjson"}
    async with ana.http.get("/api/v1/tweets?track=1", headers=accept) as answer:
        async for chunk in answer.content.iter_any():
            lines += chunk.count(b"\n")
            if lines >= 10_000:
                rss.append(process.memory_info().rss)
    assert lines == 100_000
    assert max(rss) - rss[0] < 50_000_000
