"""The API does what its OpenAPI document says: compared with the routes, and tried."""

import argparse
import asyncio
import html
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from exporting import ExportBench
from web.api import openapi_file
from web.api.openapi_page import METHODS, Description
from web.app import ROUTES
from web.context import APP_CONTEXT
from web_app import Client, MakeApp, WebApp

# What a value means is said by no schema: these may be refused although they have the right shape.
RULES = """
[[operations]]
include-operation-id = [
    "listTweets", "addTrack", "changeTrack", "shareTrack", "startStream", "getNewestTweets",
    "addLookBack", "addWebhook", "changeWebhook", "addExport",
    "downloadExport",
]
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422", "429"]
"""
OF_PROGRAMS = re.compile(r"/api/v1/|/stream/|/tweets$")
FILLED = """
WITH new AS (SELECT tweet_key(now() - n * interval '1 second', 1) AS id, n
             FROM generate_series(1, 40) AS n),
kept AS (
    INSERT INTO tweets (id, received_at, network, native_id, kind, lang, text, doc)
    SELECT id, tweet_received_at(id), 'x_v2', n::text, 'original', 'en', 'snow ' || n,
        jsonb_build_object('data', jsonb_build_object('id', n::text, 'text', 'snow ' || n,
            'author_id', '7'))
    FROM new),
matched AS (
    INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
    SELECT id, 1, tweet_received_at(id), 'snow', 'text', 'own' FROM new)
INSERT INTO ingest_runs SELECT 1, 1, min(id), max(id) FROM new
"""
OTHERS = """
INSERT INTO track_minutes SELECT 1, date_trunc('minute', now()), 40;
INSERT INTO track_hours SELECT 1, date_trunc('hour', now()), 40, 4000;
INSERT INTO track_days SELECT 1, now()::date, 40, 4000;
INSERT INTO track_top_items VALUES (1, date_trunc('hour', now()), 'hashtag', 'snow', 3);
INSERT INTO sources (name, network, url, proxy)
    VALUES ('main', 'x_v2', 'https://api.x.com', 'http://me:secret@proxy:3128');
INSERT INTO gaps (source_id, began_at, ended_at, cause, detail)
    VALUES (1, now() - interval '1 hour', now(), 'network', 'connection reset');
INSERT INTO events (source_id, kind, text) VALUES (1, 'state', 'streaming');
INSERT INTO look_backs (track_id, place) VALUES (1, 'stored');
INSERT INTO webhooks (user_id, name, url, position)
    SELECT id, hook, 'https://example.org', '{"cursor": "0", "deletion": 0}'
    FROM users, unnest('{main, main 2}'::text[]) AS hook;
INSERT INTO exports (user_id, tracks, format, until, part_rows)
    SELECT id, '{1}', 'csv', now(), 1000 FROM users;
INSERT INTO webhook_deliveries (webhook_id, message_id, event, tweets, state, created_at, next_at)
    SELECT id, 'msg_1', 'webhook.test', '{}', 'delivered', now(), NULL FROM webhooks
"""


async def fill(app: WebApp) -> None:
    """A little of everything."""
    await app.execute("INSERT INTO tracks (owner, value) VALUES ('ana', 'snow')")
    await app.execute("SELECT ensure_day(now()::date), ensure_day(now()::date - 1)")
    await app.execute(FILLED)
    await app.execute(OTHERS)


def test_every_call_is_described_and_nothing_else() -> None:
    served = {
        (route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path))
        for route in ROUTES
        if OF_PROGRAMS.match(route.path)
    }
    written = {
        (method.upper(), path)
        for path, item in openapi_file.document()["paths"].items()
        for method in METHODS
        if method in item
    }
    assert written == served


def test_the_parameters_are_those_that_are_read() -> None:
    sections = Description(openapi_file.document(), "", {"track": 1}).sections()
    described = {
        each.id: {field.name for field in each.fields if field.place == "query"}
        for section in sections
        for each in section.operations
    }
    for operation in openapi_file.OPERATIONS:
        read = set(operation.query.__struct_fields__) - {"token"}
        assert described[operation.id] == read, operation.id


async def test_the_description_is_for_everybody_and_its_page_for_people(app: WebApp) -> None:
    await fill(app)
    stranger = await app.anonymous()
    status, text = await stranger.get("/api/v1/openapi.yaml")
    assert status == 200
    assert yaml.safe_load(text)["openapi"] == "3.1.0"
    assert (await stranger.get("/api"))[0] == 303
    ana = await app.log_in("ana")
    status, text = await ana.get("/api")
    assert status == 200
    for path in openapi_file.document()["paths"]:
        assert f"<code>{path}</code>" in text


async def test_the_examples_work_as_they_stand_there(app: WebApp) -> None:
    ana, program = await app.log_in("ana", "admin"), await app.api_client("ana", "admin")
    await fill(app)
    stranger = await app.anonymous()
    for number in range(len(await _examples(ana))):
        example = (await _examples(ana))[number]  # with numbers of what there is by now
        if "text/event-stream" in example:
            continue  # without end
        if found := re.search(r"/exports/(\d+)/file", example):
            await _export(app, int(found[1]))
        words = shlex.split(example.replace("$TOKEN", program.token))
        parsed = _curl().parse_args(words[1:])
        headers = dict(each.split(": ", 1) for each in parsed.header)
        async with stranger.http.request(
            parsed.method, parsed.address, data=parsed.data, headers=headers
        ) as answer:
            assert answer.status < 300, f"{example}: {await answer.text()}"


async def _export(app: WebApp, number: int) -> None:
    """Write the file of an export, whatever was done with it before."""
    await app.execute("UPDATE exports SET state = 'waiting' WHERE id = $1", number)
    await ExportBench(app.database, app.application[APP_CONTEXT].settings).do(number)


async def _examples(client: Client) -> list[str]:
    _, text = await client.get("/api")
    found = re.findall(r"<pre><code>(curl.*?)</code></pre>", text, re.DOTALL)
    assert len(found) == len(list(_operations()))
    return list(map(html.unescape, found))


def _curl() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("-X", dest="method", default="GET")
    parser.add_argument("-H", dest="header", action="append", default=[])
    parser.add_argument("-d", dest="data")
    parser.add_argument("address")
    return parser


def _operations() -> Iterator[tuple[str, str]]:
    for path, item in openapi_file.document()["paths"].items():
        yield from ((path, method) for method in METHODS if method in item)


async def test_no_call_that_can_be_made_finds_a_fault(make_app: MakeApp, tmp_path: Path) -> None:
    """By schemathesis, with all its checks; always the same calls."""
    async with make_app(web={"requests_per_minute": 10_000_000}) as app:
        program = await app.api_client("ana", "admin")
        await fill(app)
        (tmp_path / "schemathesis.toml").write_text(RULES)
        trying = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", tmp_path / "schemathesis.toml"),
            *("run", f"{app.address}/api/v1/openapi.yaml", "--url", app.address),
            *("-H", f"Authorization: Bearer {program.token}"),
            *("--exclude-path", "/api/v1/stream"),  # it never ends
            *("--checks", "all", "--seed", "1", "--max-examples", "6", "--no-shrink"),
            *("--generation-database", "none", "--no-color"),
            *("--request-timeout", "300", "--max-response-time", "240"),  # however slow
            *("--suppress-health-check", "all"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        said, _ = await trying.communicate()
        assert trying.returncode == 0, said.decode()
