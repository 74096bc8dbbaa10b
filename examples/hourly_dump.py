"""Dump new tweets every hour as Parquet files, into a folder or a bucket: each tweet once.

    TWEETS_TOKEN=… python examples/hourly_dump.py http://127.0.0.1:8080 dump
    TWEETS_TOKEN=… python examples/hourly_dump.py http://127.0.0.1:8080 s3://bucket/tweets --track 1

A file has the cursor after its last tweet in its metadata, and gets its name when it is complete.
So after a crash the newest file says where to continue. Run one at a time for each place.
Needs pyarrow. A bucket of another service: s3://bucket/tweets?endpoint_override=HOST&scheme=https
"""

import argparse
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem

PAGE = 1000  # tweets of one call
GROUP = 50_000  # tweets of a row group: those in memory
TIME = pa.timestamp("us", tz="UTC")
TEXTS = ("id", "network", "native_id", "url", "kind", "lang", "author", "author_id", "text")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in TEXTS]
    + [("created_at", TIME), ("received_at", TIME), ("tracks", pa.list_(pa.string()))]
)


class Place(NamedTuple):
    """A folder or a bucket, and the files in it."""

    filesystem: FileSystem
    folder: str

    def newest(self) -> tuple[int, str]:
        """The number of the newest file, and the cursor after it; 0 and none at first."""
        found = self.filesystem.get_file_info(FileSelector(self.folder, allow_not_found=True))
        names = [info.base_name for info in found if info.base_name.endswith(".parquet")]
        if not names:
            return 0, ""
        newest = max(names)
        with self.filesystem.open_input_file(f"{self.folder}/{newest}") as file:
            metadata = pq.read_metadata(file).metadata
        return int(newest.removeprefix("tweets-").partition(".")[0]), metadata[b"cursor"].decode()

    def write(self, number: int, unwritten: Iterator[dict[str, Any]], rows_max: int) -> int:
        """Write the next of these pages to one file; returns how many tweets."""
        name = f"{self.folder}/tweets-{number:08}.parquet"
        rows: list[dict[str, Any]] = []
        written, cursor = 0, ""
        self.filesystem.create_dir(self.folder)
        with (
            self.filesystem.open_output_stream(f"{name}.part") as stream,
            pq.ParquetWriter(stream, SCHEMA) as writer,
        ):
            for page in unwritten:
                rows += map(row, page["tweets"])
                written, cursor = written + len(page["tweets"]), page["next"]
                if len(rows) >= GROUP:
                    writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                    rows.clear()
                if written >= rows_max:
                    break
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
            writer.add_key_value_metadata({"cursor": cursor})
        self.filesystem.move(f"{name}.part", name)
        return written


def row(tweet: dict[str, Any]) -> dict[str, Any]:
    """A tweet of the API as a row of the file."""
    times = {name: tweet[name] for name in ("created_at", "received_at")}
    parsed = {name: time and datetime.fromisoformat(time) for name, time in times.items()}
    tracks = [match["track"] for match in tweet["matches"]]
    return {name: tweet[name] for name in TEXTS} | parsed | {"tracks": tracks}


def call(address: str) -> dict[str, Any]:
    """The answer of the API; waits while the server is away or asks for patience."""
    token = {"Authorization": f"Bearer {os.environ['TWEETS_TOKEN']}"}
    request = urllib.request.Request(address, headers=token)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code not in {429, 503}:
                raise SystemExit(f"{address}: {error.read().decode()}") from error
            time.sleep(float(error.headers.get("Retry-After", 5)))
        except OSError as error:
            print(f"{address}: {error}; trying again")
            time.sleep(5)


def pages(address: str, tracks: list[int], cursor: str, limit: int) -> Iterator[dict[str, Any]]:
    """The pages with tweets after this cursor, up to the newest tweet."""
    page: dict[str, Any] = {"next": cursor, "more": True}
    while page["more"]:
        query: dict[str, Any] = {"order": "oldest", "limit": limit, "track": tracks}
        query |= {"cursor": page["next"]} if page["next"] else {}
        page = call(f"{address}/api/v1/tweets?{urlencode(query, doseq=True)}")
        if page["tweets"]:
            yield page


def dump(address: str, tracks: list[int], place: Place, rows_max: int) -> int:
    """Write all tweets that are in no file yet; returns how many."""
    newest, cursor = place.newest()
    unwritten = pages(address, tracks, cursor, min(PAGE, rows_max))
    return sum(
        place.write(number, chain([page], unwritten), rows_max)
        for number, page in enumerate(unwritten, newest + 1)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("address", help="where the pages are, as http://127.0.0.1:8080")
    parser.add_argument("place", help="a folder, or s3://BUCKET/FOLDER")
    parser.add_argument("--track", type=int, action="append", default=[], help="default: all")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of a file, about")
    parser.add_argument("--once", action="store_true", help="once, instead of every hour")
    given = parser.parse_args()
    if not os.environ.get("TWEETS_TOKEN"):
        parser.error("TWEETS_TOKEN is missing: make a token with the scope read on My account.")
    uri = given.place if "://" in given.place else Path(given.place).resolve().as_uri()
    try:
        place = Place(*FileSystem.from_uri(uri))
        while True:
            total = dump(given.address.rstrip("/"), given.track, place, given.rows)
            print(f"{total} new tweets in {given.place}", flush=True)
            if given.once:
                return
            time.sleep(3600 - time.time() % 3600)
    except (OSError, pa.ArrowException) as error:
        raise SystemExit(f"{given.place}: {error}") from error


if __name__ == "__main__":
    main()
