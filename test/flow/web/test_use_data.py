"""Lines to paste: each is run by its own program as the page shows it, and reads the same tweets.

Excel and Grafana are not run. Power Query's lines are parsed by Microsoft's parser, and their call
is made. The macros of Grafana's statement are replaced as its documentation says, and Postgres runs
it.
"""

import asyncio
import csv
import html
import io
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import psycopg
import pytest
from hypothesis import given

import power_query
from exporting import ExportBench
from sql_login import sql_login
from stream.postgres.unprivileged import installed_programs
from tools import tool
from typed_texts import TEXTS, TYPED
from web.context import APP_CONTEXT
from web.snippets import quoting
from web_app import Client, WebApp, plain_text

LINES = re.compile(r'<pre id="lines-(\w+)"[^>]*><code>(.*?)</code></pre>', re.DOTALL)
WORDS = (
    "",
    "WORLD snow März",
    'it\'s "quoted"',
    "$HOME `id` $(id) ${IFS} !!",
    "\\' \\\" \\\\ \\u0041 \\x41",
    "SQL\n); \\! id",
    "$__timeFilter(x) ${name} [[name]] #(lf)",
    "naïve 雪 ❄️ 👩‍👩‍👧 \x1b[31m",
    "'; DROP TABLE tracks; --",
    "% _ no such text",
)  # of the page's field; what is read as it was typed: test/unit/test_snippets.py
PROGRAMS = os.pathsep.join(
    [str(Path(sys.executable).parent), str(installed_programs()), os.environ["PATH"]]
)


class Place(NamedTuple):
    """Where the lines are pasted: a folder, and the variables that they name."""

    folder: Path
    environment: dict[str, str]

    async def run(self, *command: str) -> str:
        for path in self.folder.glob("[a-z]*.*"):
            path.unlink()
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()


@pytest.fixture
async def reader(app: WebApp) -> Client:
    """Ana, who has a track of tweets with every odd text, and Bob's, which she does not see."""
    ana = await app.log_in("ana")
    await app.user("bob")
    await app.add_track("world", "ana")
    await app.add_track("secret", "bob")
    texts = [f"World {text}" for text in (*TEXTS, "SNOW day", "Schnee im März", "NA")]
    messages = [
        {"text": text, "lang": "de" if "März" in text else "en", "user": _author(number % 4)}
        for number, text in enumerate([*texts, "secret world of bob", "secret"])
    ]
    await app.store_tweets(*messages)
    return ana


def _author(number: int) -> dict[str, object]:
    return {"id": number, "id_str": str(number), "screen_name": f"author{number}"}


@pytest.fixture
async def place(app: WebApp, tmp_path: Path) -> AsyncIterator[Place]:
    program = await app.api_client("ana", scopes=("read",))
    (tmp_path / ".duckdbrc").write_text(".mode csv\n")
    async with sql_login(app, "ana") as database:
        yield Place(
            tmp_path,
            {
                "PATH": PROGRAMS,
                "HOME": str(tmp_path),
                "LANG": "C.UTF-8",
                "TWEETS_TOKEN": program.token,
                "TWEETS_DATABASE": database,
            },
        )


def lines_of(page: str) -> dict[str, str]:
    """The lines for each program, as a browser copies them."""
    return {name: html.unescape(text) for name, text in LINES.findall(page)}


async def selected(reader: Client, **parameters: str) -> list[str]:
    """The ids that the API answers."""
    _, page = await reader.json("GET", f"/api/v1/tweets?{urlencode({'limit': 1000} | parameters)}")
    return sorted(tweet["id"] for tweet in page["tweets"])


async def shown(reader: Client, path: str, **parameters: str) -> dict[str, str]:
    return lines_of(await reader.page(f"{path}?{urlencode(parameters)}"))


def ids_in(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return sorted(row["id"] for row in csv.DictReader(file))


async def test_the_lines_of_an_export_fetch_its_file(
    app: WebApp, reader: Client, place: Place
) -> None:
    bench = ExportBench(app.database, app.application[APP_CONTEXT].settings)
    number = await bench.request(await app.value("SELECT id FROM users WHERE name = 'ana'"))
    made = await bench.do(number)
    assert made is not None
    link = re.search(r'href="(/use-data\?export=1&[^"]+)"', await reader.page("/exports"))
    assert link is not None
    page = await reader.page(html.unescape(link[1]))
    await place.run("sh", "-c", lines_of(page)["file"])
    assert (place.folder / "export-1.zip").read_bytes() == made.read_bytes()
    bob = await app.log_in("bob")
    assert (await bob.get("/use-data?export=1"))[0] == 404


async def test_the_page_says_which_tweets_they_are(app: WebApp, reader: Client) -> None:
    page = plain_text(await reader.page("/use-data?track=1&words=snow+day&lang=en&kind=reply"))
    assert "Tweets of world , with the words snow day , in the language en , only of the" in page
    assert "export TWEETS_TOKEN='ts_…'" in page


async def test_every_program_reads_what_the_page_shows(
    app: WebApp, reader: Client, place: Place
) -> None:
    numbers = []
    for words in WORDS:
        filters = {"words": words} if words else {}
        found = await shown(reader, "/tracks/1", **filters)
        wanted = await selected(reader, track="1", **filters)
        for check in (by_curl, by_pandas, by_duckdb, by_psql, by_grafana, by_power_query):
            await check(app, place, found, wanted)
        numbers.append(len(wanted))
    assert numbers == [28, 0, 1, 1, 1, 1, 0, 1, 1, 0]


async def by_curl(app: WebApp, place: Place, lines: dict[str, str], wanted: list[str]) -> None:
    await place.run("bash", "-c", lines["curl"])
    tweets = (place.folder / "tweets.ndjson").read_bytes().splitlines()
    assert sorted(json.loads(tweet)["id"] for tweet in tweets) == wanted


async def by_pandas(app: WebApp, place: Place, lines: dict[str, str], wanted: list[str]) -> None:
    show = "\ntweets.to_csv('pandas.csv', index=False); assert (tweets.text != '').all()"
    show += "\nassert str(tweets.received_at.dtype).endswith('UTC]'), tweets.received_at.dtype"
    await place.run(sys.executable, "-W", "error", "-c", lines["pandas"] + show)
    assert ids_in(place.folder / "pandas.csv") == wanted


async def by_r(rscript: str, place: Place, lines: dict[str, str], wanted: list[str]) -> None:
    lines_of_r = (
        lines["r"] + "\nwrite.csv(tweets, 'r.csv', row.names = FALSE, fileEncoding = 'UTF-8')"
        "\nstopifnot(!is.na(tweets$received_at))"
    )
    await place.run(rscript, "-e", lines_of_r)
    assert ids_in(place.folder / "r.csv") == wanted


async def by_duckdb(app: WebApp, place: Place, lines: dict[str, str], wanted: list[str]) -> None:
    output = await place.run("bash", "-c", lines["duckdb"])
    rows = list(csv.DictReader(output.splitlines()))
    assert sum(int(row["tweets"]) for row in rows) == len(wanted), output
    assert {row["author"] for row in rows} <= {f"author{number}" for number in range(4)}


async def by_psql(app: WebApp, place: Place, lines: dict[str, str], wanted: list[str]) -> None:
    output = await place.run("bash", "-c", "set -e\n" + lines["psql"])
    assert output == ""
    assert ids_in(place.folder / "tweets.csv") == wanted


async def by_grafana(app: WebApp, place: Place, lines: dict[str, str], wanted: list[str]) -> None:
    """Its macros by https://grafana.com/docs/grafana/latest/datasources/postgres/."""
    statement = lines["grafana"]
    for macro, replaced in (
        ("$__timeFilter(received_at)", "received_at BETWEEN '2000-01-01' AND '2100-01-01'"),
        ("$__interval", "1h"),
        (
            "$__timeGroupAlias(received_at, 1h)",
            'floor(extract(epoch from received_at)/3600)*3600 AS "time"',
        ),
    ):
        assert statement.count(macro) == 1, statement
        statement = statement.replace(macro, replaced)
    assert "$" not in statement
    assert "[[" not in statement
    async with await psycopg.AsyncConnection.connect(
        place.environment["TWEETS_DATABASE"]
    ) as connection:
        rows = await (await connection.execute(statement.encode())).fetchall()
    assert sum(tweets for _, tweets in rows) == len(wanted)


async def by_power_query(
    app: WebApp, place: Place, lines: dict[str, str], wanted: list[str]
) -> None:
    [texts] = power_query.literals([lines["excel"]])
    names = re.findall(r"^      (\w+) = ", lines["excel"], re.MULTILINE)
    address, path, *values = texts[: len(names) + 2]
    program = await app.anonymous()
    headers = {"Authorization": f"Bearer {place.environment['TWEETS_TOKEN']}"}
    query = urlencode(list(zip(names, values, strict=True)))
    status, text = await program.get(f"{address}/{path}?{query}", headers=headers)
    assert status == 200, text
    assert sorted(row["id"] for row in csv.DictReader(io.StringIO(text, newline=""))) == wanted


async def test_r_reads_what_the_page_shows(app: WebApp, reader: Client, place: Place) -> None:
    rscript = tool("Rscript")
    for words in WORDS:
        filters = {"words": words} if words else {}
        lines = await shown(reader, "/tracks/1", **filters)
        await by_r(rscript, place, lines, await selected(reader, track="1", **filters))
    query = "world -snow lang:en"
    lines = await shown(reader, "/use-data", query=query)
    wanted = await selected(reader, query=query, query_kind="query")
    assert wanted
    await by_r(rscript, place, lines, wanted)
    await app.add_track("snow", "ana")
    await app.store_tweets({"text": "snow"}, {"text": "world snow"}, first=500)
    lines = await shown(reader, "/use-data", track="1,3")
    await by_r(rscript, place, lines, await selected(reader))


async def test_all_filters_of_the_page_are_in_the_lines(
    app: WebApp, reader: Client, place: Place
) -> None:
    times = [at for (at,) in await app.rows("SELECT received_at FROM tweets ORDER BY 1")]
    begin, end = times[1], times[-2]
    api = {"lang": "en", "kind": "original", "begin": begin.isoformat(), "end": end.isoformat()}
    page = {"lang": "EN", "kind": "original", "from": api["begin"], "to": api["end"]}
    wanted = await selected(reader, track="1", **api)
    everything = await selected(reader, track="1")
    # One before, one German, and one at the end.
    assert 1 < len(wanted) == len(everything) - 3
    found = await shown(reader, "/tracks/1", **page)
    for check in (by_curl, by_pandas, by_duckdb, by_psql, by_grafana, by_power_query):
        await check(app, place, found, wanted)


async def test_a_search_has_lines_without_sql(app: WebApp, reader: Client, place: Place) -> None:
    query = "world -snow lang:en"
    found = await shown(reader, "/use-data", query=query)
    wanted = await selected(reader, query=query, query_kind="query")
    assert wanted
    for check in (by_curl, by_pandas, by_duckdb, by_power_query):
        await check(app, place, found, wanted)
    assert not found.keys() & {"psql", "grafana"}
    assert "SQL has no such queries" in await reader.page(f"/use-data?query={query}")


async def test_without_a_choice_the_lines_read_all_tracks_that_the_user_sees(
    app: WebApp, reader: Client, place: Place
) -> None:
    wanted = await selected(reader)
    assert len(wanted) > 1
    lines = await shown(reader, "/use-data")
    for check in (by_curl, by_psql, by_grafana, by_power_query):
        await check(app, place, lines, wanted)


async def test_several_tracks_are_read_together(app: WebApp, reader: Client, place: Place) -> None:
    """As an export has them; a tweet of both comes once."""
    await app.add_track("snow", "ana")
    await app.store_tweets({"text": "snow"}, {"text": "world snow"}, first=500)
    _, both = await reader.json("GET", "/api/v1/tweets?limit=1000&track=1&track=3")
    wanted = sorted(tweet["id"] for tweet in both["tweets"])
    assert len(wanted) == len(await selected(reader, track="1")) + 1
    lines = await shown(reader, "/use-data", track="1,3")
    assert "track=3" in lines["curl"]
    for check in (by_curl, by_pandas, by_psql, by_grafana):
        await check(app, place, lines, wanted)


async def test_the_live_lines_print_a_tweet_when_it_is_stored(
    app: WebApp, reader: Client, place: Place
) -> None:
    lines = (await shown(reader, "/use-data", track="1"))["stream"]
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"exec {lines}",
        env=place.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert (await process.stdout.readline()).startswith(b"retry: ")
        await app.store_tweets({"text": "world, live"}, first=1000)
        while not (line := await process.stdout.readline()).startswith(b"data: "):
            assert line
        assert json.loads(line.removeprefix(b"data: "))["tweet"]["text"] == "world, live"
    finally:
        process.kill()
        await process.wait()


async def test_no_page_shows_lines_of_a_track_that_is_not_visible(
    app: WebApp, reader: Client
) -> None:
    for path in (
        "/use-data?track=2",
        "/use-data?track=99",
        "/use-data?track=x",
        "/use-data?track=1,2",
    ):
        status, page = await reader.get(path)
        assert (status, lines_of(page)) == (404, {}), path
    status, page = await reader.get("/use-data?query=(")
    assert (status, lines_of(page)) == (422, {})


def test_postgres_reads_each_text_as_it_was_typed(database: str) -> None:
    """Also with the setting under which a backslash escapes in every text."""
    with psycopg.connect(database, autocommit=True) as connection:

        @given(TYPED)
        def check(text: str) -> None:
            for conforming in ("on", "off"):
                connection.execute(f"SET standard_conforming_strings = {conforming}".encode())
                for quote in (quoting.sql, quoting.grafana_sql):
                    [[found]] = connection.execute(f"SELECT {quote(text)}".encode()).fetchall()
                    assert found == text

        check()
