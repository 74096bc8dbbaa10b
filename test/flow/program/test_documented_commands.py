"""Every command and every query that README and docs show is tried as it stands there."""

import gzip
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from click.testing import CliRunner

from twitterstream import cli

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("README.md", "docs/operations.md", "docs/privacy.md")
# They do not end, or need another server.
NOT_RUN = ("dump | psql postgresql://user:password@host/name",)
LINE = re.compile(
    r"^ {4,}(?:echo (?P<given>'[^']*') \| )?\./twitterstream\.py (?P<words>.+)$", re.MULTILINE
)
STATUS = {"id": 7, "id_str": "7", "text": "a snow day", "user": {"id": 1, "id_str": "1"}}
# What a reader has by then: sources, tracks, an alert, and a day that was archived and dropped.
PREPARED = """
INSERT INTO sources (name, network) VALUES ('simulated', 'x_v2'), ('open', 'bluesky');
INSERT INTO tracks (value) VALUES ('election'), ('snow'), ('weather');
INSERT INTO alerts (rule, severity, text, remedy, opened_at)
VALUES ('loop_lag', 'warning', 'slow', 'wait', now());
SELECT ensure_day('2026-11-20');
INSERT INTO tweets (id, received_at, network, native_id, kind, lang, text, doc)
SELECT tweet_key(at, 1), at, 'x_v2', '1', 'original', 'en', 'snow', '{"data": {"id": "1"}}'
FROM (VALUES (timestamptz '2026-11-20 12:00+00')) AS noon (at)
"""


class Channel(BaseHTTPRequestHandler):
    """Takes every message."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def channel() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Channel) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"json://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, database: str, channel: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = {
        "database": database,
        "alerts": {"channels": [channel]},
        "archive": {"url": str(tmp_path / "archive")},
        "journal": {"min_free_bytes": 0, "min_free_percent": 0},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    (tmp_path / "archive").mkdir()
    created_at = datetime.now(UTC).strftime("%a %b %d %H:%M:%S +0000 %Y")
    lines = json.dumps(STATUS | {"created_at": created_at}) + "\n"
    (tmp_path / "tweets.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(PREPARED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: list[str], given: str | None) -> tuple[int, str]:
    """In this process, which is quicker, where the command can do without its own."""
    if words[0] in ("psql", "import", "alert"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "twitterstream.py"), *words],
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr
    result = CliRunner().invoke(cli, words, input=given)
    return result.exit_code, f"{result.output}{result.exception or ''}"


def commands(page: str) -> Iterator[tuple[list[str], str | None]]:
    for found in LINE.finditer((ROOT / page).read_text(encoding="utf-8")):
        if found["words"] not in NOT_RUN:
            given = found["given"]
            yield (
                shlex.split(found["words"], comments=True),
                None if given is None else f"{given[1:-1]}\n",
            )


@pytest.mark.parametrize("page", PAGES)
def test_each_command_does_what_the_page_says(page: str, folder: Path) -> None:
    tried = 0
    for words, given in commands(page):
        if words[:2] == ["archive", "restore"]:
            code, said = run(["archive", "run", "--day", words[2], "--drop"], None)
            assert code == 0, said
        code, said = run(words, given)
        assert code == 0, f"{shlex.join(words)}: {said}"
        tried += 1
    assert tried


@pytest.mark.parametrize("page", PAGES)
def test_each_query_is_understood(page: str, database: str) -> None:
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    with psycopg.connect(database, autocommit=True) as connection:
        for block in blocks:
            connection.execute(block)
