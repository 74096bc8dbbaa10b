"""Exports on the page and by the API: who may request, follow, cancel and download them."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deleting import delete_tweets
from exporting import ExportBench, Made
from stream.export_requests import COLUMNS, FORMATS
from stream.tweet import NativeId
from web.context import APP_CONTEXT
from web_app import FRAGMENT, Client, WebApp, plain_text

EXPORTS = "/api/v1/exports"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def bench(app: WebApp) -> ExportBench:
    """A track of ana with three tweets, and the process that exports."""
    await app.user("ana")
    await app.add_track()
    await app.store_tweets(*({"text": f"snow {n}"} for n in range(3)))
    return ExportBench(app.database, app.application[APP_CONTEXT].settings)


async def requested(client: Client, **wanted: Any) -> int:
    status, found = await client.json("POST", EXPORTS, {"tracks": [1], **wanted})
    assert status == 201, found
    return int(found["id"])


async def file_of(client: Client, path: str, **headers: str) -> tuple[int, bytes, Any]:
    async with client.http.get(path, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_an_export_is_requested_followed_and_downloaded(
    app: WebApp, bench: ExportBench, tmp_path: Path
) -> None:
    ana = await app.api_client("ana")
    number = await requested(ana)
    assert (await ana.json("GET", f"{EXPORTS}/{number}"))[1]["state"] == "waiting"
    assert (await file_of(ana, f"{EXPORTS}/{number}/file"))[0] == 404
    await bench.do(number)
    found = (await ana.json("GET", f"{EXPORTS}/{number}"))[1]
    assert (found["state"], found["rows"]) == ("done", 3)
    status, data, headers = await file_of(ana, f"{EXPORTS}/{number}/file")
    assert (status, headers["Content-Type"]) == (200, "application/zip")
    assert headers["Content-Disposition"] == f'attachment; filename="export-{number}.zip"'
    assert hashlib.sha256(data).hexdigest() == found["sha256"]
    (tmp_path / "got.zip").write_bytes(data)
    assert [row["text"] for row in Made(tmp_path / "got.zip").csv_rows] == [
        "snow 0",
        "snow 1",
        "snow 2",
    ]
    status, part, headers = await file_of(ana, f"{EXPORTS}/{number}/file", Range="bytes=10-19")
    assert (status, part) == (206, data[10:20])
    assert headers["Content-Range"] == f"bytes 10-19/{len(data)}"
    rest = {"Range": "bytes=10-", "If-Range": headers["ETag"]}
    status, part, _ = await file_of(ana, f"{EXPORTS}/{number}/file", **rest)
    assert (status, part) == (206, data[10:])


async def test_a_link_needs_no_login_and_expires(app: WebApp, bench: ExportBench) -> None:
    ana, stranger = await app.api_client("ana"), await app.anonymous()
    number = await requested(ana)
    await bench.do(number)
    link = (await ana.json("GET", f"{EXPORTS}/{number}"))[1]["link"]
    assert (await file_of(stranger, link))[0] == 200
    assert (await file_of(stranger, link[:-3] + "abc"))[0] == 404
    await app.execute("UPDATE exports SET expires_at = now() - interval '1 second'")
    old = (await ana.json("GET", f"{EXPORTS}/{number}"))[1]["link"]
    status, text, _ = await file_of(stranger, old)
    assert (status, b"expired" in text) == (404, True)


async def test_only_visible_tracks_are_exported_and_only_while_they_are(
    app: WebApp, bench: ExportBench
) -> None:
    vera = await app.api_client("vera", "viewer")
    body = {"tracks": [1]}
    assert (await vera.json("POST", EXPORTS, body))[0] == 422
    await app.share(1, "vera")
    number = await requested(vera)
    await bench.do(number)
    ana, other = await app.api_client("ana"), await app.api_client("other")
    for client in (ana, other):
        assert (await client.json("GET", f"{EXPORTS}/{number}"))[0] == 404
    assert (await file_of(vera, f"{EXPORTS}/{number}/file"))[0] == 200
    link = (await vera.json("GET", f"{EXPORTS}/{number}"))[1]["link"]
    await app.execute("DELETE FROM track_shares")
    assert (await file_of(vera, f"{EXPORTS}/{number}/file"))[0] == 403
    assert (await file_of(await app.anonymous(), link))[0] == 403
    late = await app.value(
        "INSERT INTO exports (user_id, tracks, format, until, part_rows)"
        " SELECT user_id, tracks, format, until, part_rows FROM exports RETURNING id"
    )
    assert await bench.do(late) is None
    assert "does not share it" in (await bench.row(late)).reason


async def test_a_tweet_that_is_deleted_later_is_not_in_what_is_downloaded(
    app: WebApp, bench: ExportBench, tmp_path: Path
) -> None:
    ana = await app.api_client("ana")
    number = await requested(ana)
    await bench.do(number)
    before = (await bench.row(number)).sha256
    link = (await ana.json("GET", f"{EXPORTS}/{number}"))[1]["link"]
    _, _, old = await file_of(ana, link)
    [[native_id]] = await app.rows("SELECT native_id FROM tweets WHERE text = 'snow 1'")
    await delete_tweets(app.database, "x_v1", {NativeId(native_id): datetime.now(UTC)})
    for _ in range(2):  # the second time it waits to be written
        for path in (f"{EXPORTS}/{number}/file", link):
            status, _, headers = await file_of(ana, path)
            assert (status, "Retry-After" in headers) == (503, True)
    await bench.do(number)
    status, data, _ = await file_of(ana, f"{EXPORTS}/{number}/file")
    assert status == 200
    for tag in (old["ETag"], "old", "*"):  # of another file, or of none
        rest = {"Range": "bytes=10-", "If-Range": tag}
        assert (await file_of(ana, f"{EXPORTS}/{number}/file", **rest))[:2] == (200, data)
    (tmp_path / "got.zip").write_bytes(data)
    texts = [row["text"] for row in Made(tmp_path / "got.zip").csv_rows]
    assert texts == ["snow 0", "snow 2"]
    assert (await bench.row(number)).sha256 != before


async def test_the_page_requests_lists_and_cancels(app: WebApp, bench: ExportBench) -> None:
    ana = await app.log_in("ana")
    assert "New export" in await ana.page("/exports")
    fields = {"track": "1", "format": "ndjson", "columns": "everything", "words": "snow"}
    assert (await ana.post("/exports", fields))[0] == 303
    assert "waiting" in plain_text(await ana.page("/exports"))
    status, part = await ana.post("/exports/1/cancel", headers=FRAGMENT)
    assert (status, "cancelled" in part, "<html" in part) == (200, True, False)
    assert (await ana.post("/exports", fields))[0] == 303
    await bench.do(2)
    page = await ana.page("/exports")
    assert "/api/v1/exports/2/file" in page
    status, text = await ana.post("/exports/2/link")
    assert (status, "/exports/files/" in text) == (200, True)
    assert (await ana.post("/exports", fields | {"track": "7"}))[0] == 422
    assert (await ana.post("/exports", fields | {"since": "soon"}))[0] == 422


async def test_the_page_keeps_what_was_entered_and_names_tracks(
    app: WebApp, bench: ExportBench
) -> None:
    ana = await app.log_in("ana")
    fields = {"track": "1", "format": "gexf", "graph": "mention", "words": "snow"}
    status, page = await ana.post("/exports", fields | {"since": "soon"})
    assert (status, "Write a date and a time." in page) == (422, True)
    for name, value in fields.items():
        [field] = re.findall(rf'<input [^>]*name="{name}" value="{value}"[^>]*>', page)
        assert name == "words" or "checked" in field, field
    status, page = await ana.post("/exports", {"format": "xlsx"})
    assert (status, "Choose a track, and at most 1,000." in page) == (422, True)
    assert (await ana.post("/exports", fields))[0] == 303
    assert "Graph (GEXF) of snow , with snow , requested" in plain_text(await ana.page("/exports"))
    assert "requested by" not in plain_text(await ana.page("/exports"))
    assert "now · Who mentions whom Cancel" in plain_text(await ana.page("/exports"))
    [[graph]] = await app.rows("SELECT graph FROM exports")
    assert graph == "mention"
    await app.execute("DELETE FROM tracks")
    assert "Graph (GEXF) of a removed track" in plain_text(await ana.page("/exports"))


@pytest.mark.parametrize(
    ("times", "field", "said"),
    [
        ({"since": "9999-01-01T00:00"}, "since", "The start must be in the past."),
        (
            {"since": "9998-01-01T00:00", "until": "9999-01-01T00:00"},
            "since",
            "The start must be in the past.",
        ),
        (
            {"since": "2026-02-01T00:00", "until": "2026-01-01T00:00"},
            "since",
            "The start must be before the end.",
        ),
        (
            {"since": "2026-01-01T00:00", "until": "2026-01-01T00:00"},
            "since",
            "The start must be before the end.",
        ),
        (
            {"since": "2018-01-01T00:00", "until": "2019-01-01T00:00"},
            "until",
            "The end must be after 2020-01-01.",
        ),
    ],
)
async def test_what_is_wrong_with_a_time_is_said(
    app: WebApp, bench: ExportBench, times: dict[str, str], field: str, said: str
) -> None:
    program, ana = await app.api_client("ana"), await app.log_in("ana")
    moments = {name: f"{time}:00Z" for name, time in times.items()}
    status, found = await program.json("POST", EXPORTS, {"tracks": [1]} | moments)
    error = found["error"]
    assert (status, error["field"], error["message"]) == (422, field, said)
    status, page = await ana.post("/exports", {"track": "1", "format": "csv"} | times)
    assert (status, said in page) == (422, True)


async def test_columns_are_chosen_for_the_formats_that_have_a_choice(
    app: WebApp, bench: ExportBench
) -> None:
    """By the page, too, which hides them for the others, but sends them."""
    program, ana = await app.api_client("ana"), await app.log_in("ana")
    wanted = {"tracks": [1], "format": "ids"}
    status, found = await program.json("POST", EXPORTS, wanted | {"columns": "twarc"})
    error = found["error"]
    assert (status, error["field"]) == (422, "columns")
    assert error["message"] == (
        "`columns` cannot be chosen for the format ids: leave it out, or choose the format csv,"
        " excel, xlsx, ndjson or parquet."
    )
    assert (await program.json("POST", EXPORTS, wanted))[0] == 201
    for form, expected in (("ids", "everything"), ("xlsx", "twarc")):
        fields = {"track": "1", "format": form, "columns": "twarc", "graph": "mention"}
        assert (await ana.post("/exports", fields))[0] == 303
        assert await app.rows("SELECT columns FROM exports ORDER BY id DESC LIMIT 1") == [
            (expected,)
        ]


async def test_a_graph_is_limited_as_the_page_and_the_api_ask(
    app: WebApp, bench: ExportBench
) -> None:
    ana, program = await app.log_in("ana"), await app.api_client("ana")
    fields = {"track": "1", "format": "gexf", "graph": "mention", "min_weight": "2"}
    assert (await ana.post("/exports", fields))[0] == 303
    row = await bench.row(1)
    assert (row.graph, row.min_weight, row.max_nodes) == ("mention", 2, 10_000)
    for wrong in ({"graph": "other"}, {"min_weight": "0"}, {"max_nodes": "many"}):
        assert (await ana.post("/exports", fields | wrong))[0] == 422
    wanted = {"tracks": [1], "format": "gexf", "graph": "reply", "max_nodes": 9}
    found = await program.json("POST", EXPORTS, wanted)
    assert found[0] == 201
    row = await bench.row(2)
    assert (row.graph, row.min_weight, row.max_nodes) == ("reply", 1, 9)
    assert (await program.json("POST", EXPORTS, wanted | {"min_weight": 0}))[0] == 422


async def test_who_exported_what_is_in_the_history(app: WebApp, bench: ExportBench) -> None:
    await app.user("vera", "viewer")
    await app.share(1, "vera")
    vera, ana = await app.log_in("vera", "viewer"), await app.log_in("ana")
    await vera.post("/exports", {"track": "1", "format": "csv"})
    assert "vera exported its tweets as csv" in plain_text(await ana.page("/tracks/1/history"))
    [[after]] = await app.rows("SELECT after FROM track_history WHERE action = 'exported'")
    assert b'"user": "vera"' in after


async def test_unfinished_exports_are_limited(app: WebApp, bench: ExportBench) -> None:
    ana = await app.api_client("ana")
    for _ in range(3):
        await requested(ana)
    assert (await ana.json("POST", EXPORTS, {"tracks": [1]}))[0] == 429


async def test_admins_see_whose_exports_and_tracks_they_are(
    app: WebApp, bench: ExportBench
) -> None:
    ana, admin = await app.api_client("ana"), await app.log_in("admin", "admin")
    await requested(ana)
    await bench.request()
    page = plain_text(await admin.page("/exports"))
    assert "Export 1 : CSV for programs of snow , requested by ana now · Everything" in page
    assert "Export 2 : CSV for programs of snow , requested by the command line now" in page
    assert "snow of ana" in page
    program = await app.api_client("admin", "admin")
    found = (await program.json("GET", EXPORTS))[1]["exports"]
    assert [each["owner"] for each in found] == [None, "ana"]
    assert "snow of ana" not in plain_text(await (await app.log_in("ana")).page("/exports"))


def _with_tags(tags: str) -> dict[str, Any]:
    return {"text": "snow", "entities": {"hashtags": [{"text": each} for each in tags]}}


async def test_a_graph_has_nodes_and_edges(app: WebApp, bench: ExportBench) -> None:
    ana, program = await app.log_in("ana"), await app.api_client("ana")
    await app.store_tweets(_with_tags("ab"), _with_tags("abc"), first=10)
    number = await requested(program, format="gexf")
    await bench.do(number)
    assert "Download export 1 3 nodes and 3 edges," in plain_text(await ana.page("/exports"))
    found = (await program.json("GET", f"{EXPORTS}/{number}"))[1]
    assert (found["nodes"], found["edges"], found["rows"]) == (3, 3, 4)
    made = Made(bench.settings_dir / "exports" / str(number) / "export.zip")
    assert b"It has 3 nodes and 3 edges." in made.read("README.md")
    await bench.do(await requested(program))
    assert "Download export 2 5 tweets," in plain_text(await ana.page("/exports"))


async def test_each_format_says_what_it_is_good_for(app: WebApp, bench: ExportBench) -> None:
    page = plain_text(await (await app.log_in("ana")).page("/exports"))
    documented = (ROOT / "docs" / "operations.md").read_text()
    for name, (title, use) in [*FORMATS.items(), *COLUMNS.items()]:
        assert f"{title} {use}" in page
        row = re.escape(f"| `{name}` | {title} | {use}")
        assert re.search(rf"{row}(?: \||: )", documented), name
