"""A typical collector for comparison: tweepy and psycopg, one tweet per commit.

Runs as its own program:

    tweepy_baseline.py plain|same ADDRESS DATABASE COUNT

`plain` fills one table as a short script would; `same` writes the same rows as our program.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import psycopg
import requests
import tweepy
from psycopg.types.json import Jsonb
from requests.adapters import HTTPAdapter

Connection: TypeAlias = "psycopg.Connection[Any]"
Store: TypeAlias = Callable[[Connection, dict[str, Any]], None]

TABLE = """
CREATE TABLE collected (
    id         bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    author_id  bigint NOT NULL,
    text       text NOT NULL,
    rules      text[] NOT NULL,
    payload    jsonb NOT NULL
)
"""
INSERT = """
INSERT INTO collected (id, created_at, author_id, text, rules, payload)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING
"""
IDENTITY = """
INSERT INTO tweet_ids (network, native_id, tweet_id) VALUES ('x_v2', %s, %s)
ON CONFLICT DO NOTHING RETURNING tweet_id
"""
TWEET = """
INSERT INTO tweets (id, received_at, created_at, network, native_id, kind, lang, author_id, author,
                    url, text, doc)
VALUES (%s, tweet_received_at(%s), %s, 'x_v2', %s, 'original', %s, %s, %s, %s, %s, %s)
"""
MATCH = """
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
VALUES (%s, %s, tweet_received_at(%s), %s, 'text', 'own')
"""
MINUTE = """
INSERT INTO track_minutes (track_id, minute, tweets)
VALUES (%s, date_trunc('minute', tweet_received_at(%s)), 1)
ON CONFLICT (track_id, minute) DO UPDATE SET tweets = track_minutes.tweets + 1
"""
KEY_EPOCH = 1_577_836_800_000_000  # microseconds: 2020-01-01
FIRST_RULE = 10**18  # rules and tracks have the same order


def plain(connection: Connection, payload: dict[str, Any]) -> None:
    """One row in one table."""
    data = payload["data"]
    rules = [rule["tag"] for rule in payload["matching_rules"]]
    row = data["id"], data["created_at"], data["author_id"], data["text"], rules, Jsonb(payload)
    connection.execute(INSERT, row)


def same(connection: Connection, payload: dict[str, Any]) -> None:
    """Our rows, one statement for each."""
    data = payload["data"]
    key = (time.time_ns() // 1000 - KEY_EPOCH) << 12 | 1
    if connection.execute(IDENTITY, (data["id"], key)).fetchone() is None:
        return
    user = payload["includes"]["users"][0]["username"]
    url = f"https://x.com/{user}/status/{data['id']}"
    connection.execute(
        TWEET,
        (key, key, data["created_at"], data["id"], data["lang"], data["author_id"], user, url,
         data["text"], Jsonb(payload)),
    )  # fmt: skip
    for rule in payload["matching_rules"]:
        track = int(rule["id"]) - FIRST_RULE + 1
        connection.execute(MATCH, (key, track, key, rule["tag"]))
        connection.execute(MINUTE, (track, key))


class Collector(tweepy.StreamingClient):  # type: ignore[misc]  # tweepy has no types
    """Stores tweets until `count` is reached."""

    def __init__(self, connection: Connection, store: Store, count: int) -> None:
        super().__init__("bench")
        self.connection = connection
        self.store = store
        self.left = count

    def on_data(self, raw_data: bytes) -> None:
        self.store(self.connection, json.loads(raw_data))
        self.connection.commit()
        self.left -= 1
        if not self.left:
            self.disconnect()

    def on_request_error(self, status_code: int) -> None:
        raise SystemExit(f"HTTP {status_code}")


class Redirect(HTTPAdapter):
    """Redirects requests for X to another address."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.to = urlsplit(address)

    def send(
        self, request: requests.PreparedRequest, *args: Any, **options: Any
    ) -> requests.Response:
        here = urlsplit(request.url or "")
        request.url = urlunsplit(here._replace(scheme=self.to.scheme, netloc=self.to.netloc))
        return super().send(request, *args, **options)


def main(how: str, address: str, database: str, count: int) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(TABLE)
        connection.execute("SELECT ensure_day(current_date)")
        connection.commit()
        client = Collector(connection, {"plain": plain, "same": same}[how], count)
        client.session.mount("https://", Redirect(address))
        client.add_rules(tweepy.StreamRule("anything"))  # X delivers nothing without a rule
        client.filter()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
