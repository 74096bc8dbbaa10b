"""The API does what openapi.yaml says: compared with the routes, and tried with all calls."""

import argparse
import asyncio
import html
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from web.api import about, document, numbers, simple, tracks, tweets
from web.api.described import METHODS, Description
from web.app import ROUTES

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import MakePages, Pages, Visitor

# What a value means is said by no schema: these may be refused although they have the right shape.
RULES = """
[[operations]]
include-operation-id = [
    "listTweets", "addTrack", "changeTrack", "shareTrack", "startStream", "getNewestTweets",
]
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422"]
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
INSERT INTO runs SELECT 1, 1, min(id), max(id) FROM new
"""
OTHERS = """
INSERT INTO track_minutes SELECT 1, date_trunc('minute', now()), 40;
INSERT INTO track_hours SELECT 1, date_trunc('hour', now()), 40, 4000;
INSERT INTO track_days SELECT 1, now()::date, 40, 4000;
INSERT INTO track_tops VALUES (1, date_trunc('hour', now()), 'hashtag', 'snow', 3);
INSERT INTO sources (name, network, url, proxy)
    VALUES ('main', 'x_v2', 'https://api.x.com', 'http://me:secret@proxy:3128');
INSERT INTO gaps (source_id, began_at, ended_at, cause, detail)
    VALUES (1, now() - interval '1 hour', now(), 'network', 'connection reset');
INSERT INTO events (source_id, kind, text) VALUES (1, 'state', 'streaming')
"""


async def fill(pages: "Pages") -> None:
    """A little of everything."""
    await pages.database.execute("INSERT INTO tracks (owner, value) VALUES ('ana', 'snow')")
    await pages.database.execute("SELECT ensure_day(now()::date), ensure_day(now()::date - 1)")
    await pages.database.execute(FILLED)
    await pages.database.execute(OTHERS)


def token_of(program: "Visitor") -> str:
    return str(program.client.headers["Authorization"].removeprefix("Bearer "))


def test_every_call_is_described_and_nothing_else() -> None:
    served = {
        (route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path))
        for route in ROUTES
        if OF_PROGRAMS.match(route.path)
    }
    written = {
        (method.upper(), path)
        for path, item in document.document()["paths"].items()
        for method in METHODS
        if method in item
    }
    assert written == served


@pytest.mark.parametrize(
    ("operation", "shape"),
    [
        ("listTweets", tweets.Wish),
        ("listTracks", tracks.Wish),
        ("getHistory", tracks.Newest),
        ("getTrackCounts", numbers.Steps),
        ("getCounts", numbers.StepsOf),
        ("getTrackTops", numbers.Most),
        ("listGaps", numbers.Missed),
        ("listEvents", about.Wish),
        ("startStream", simple.Start),
        ("stopStream", simple.Stop),
        ("getNewestTweets", simple.Newest),
    ],
)
def test_the_parameters_are_those_that_are_read(operation: str, shape: type) -> None:
    [described] = [
        each
        for section in Description(document.document(), "", {"track": 1}).sections()
        for each in section.operations
        if each.id == operation
    ]
    named = {field.name for field in described.fields if field.place == "query"}
    assert named == set(shape.__struct_fields__) - {"token"}  # type: ignore[attr-defined]


async def test_the_description_is_for_everybody_and_its_page_for_people(pages: "Pages") -> None:
    await fill(pages)
    stranger = await pages.stranger()
    status, text = await stranger.get("/api/v1/openapi.yaml")
    assert status == 200
    assert yaml.safe_load(text)["openapi"] == "3.1.0"
    assert (await stranger.get("/api"))[0] == 303
    ana = await pages.enter("ana")
    status, text = await ana.get("/api")
    assert status == 200
    for path in document.document()["paths"]:
        assert f"<code>{path}</code>" in text


async def test_the_examples_work_as_they_stand_there(pages: "Pages") -> None:
    await fill(pages)
    ana, program = await pages.enter("ana", "admin"), await pages.program("ana", "admin")
    stranger = await pages.stranger()
    for number in range(len(await _examples(ana))):
        example = (await _examples(ana))[number]  # with numbers of what there is by now
        if "text/event-stream" in example:
            continue  # without end
        words = shlex.split(example.replace("$TOKEN", token_of(program)))
        parsed = _curl().parse_args(words[1:])
        headers = dict(each.split(": ", 1) for each in parsed.header)
        async with stranger.client.request(
            parsed.method, parsed.address, data=parsed.data, headers=headers
        ) as answer:
            assert answer.status < 300, f"{example}: {await answer.text()}"


async def _examples(visitor: "Visitor") -> list[str]:
    _, text = await visitor.get("/api")
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
    for path, item in document.document()["paths"].items():
        yield from ((path, method) for method in METHODS if method in item)


@pytest.mark.timeout(300)  # on a machine that has much else to do
async def test_no_call_that_can_be_made_finds_a_fault(
    make_pages: "MakePages", tmp_path: Path
) -> None:
    """By schemathesis, with all its checks; always the same calls."""
    async with make_pages(web={"calls_per_minute": 10_000_000}) as pages:
        await fill(pages)
        program = await pages.program("ana", "admin")
        (tmp_path / "schemathesis.toml").write_text(RULES)
        trying = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", tmp_path / "schemathesis.toml"),
            *("run", f"{pages.address}/api/v1/openapi.yaml", "--url", pages.address),
            *("-H", f"Authorization: Bearer {token_of(program)}"),
            *("--exclude-path", "/api/v1/stream"),  # it never ends
            *("--checks", "all", "--seed", "1", "--max-examples", "6", "--no-shrink"),
            *("--generation-database", "none", "--no-color"),
            *(
                "--request-timeout",
                "120",
                "--suppress-health-check",
                "all",
            ),  # how quick is no matter
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        said, _ = await trying.communicate()
        assert trying.returncode == 0, said.decode()
