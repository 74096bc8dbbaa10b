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
TIMES = ("created_at", "received_at")
TEXTS = ("id", "network", "native_id", "url", "kind", "lang", "author", "author_id", "text")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in TEXTS]
    + [(name, pa.timestamp("us", tz="UTC")) for name in TIMES]
    + [("tracks", pa.list_(pa.string()))]
)


class Place(NamedTuple):
    """A folder or a bucket, and the files in it."""

    filesystem: FileSystem
    folder: str

    def newest(self) -> tuple[int, str]:
        """The number of the newest file, and the cursor after it; 0 and none at first."""
        found = self.filesystem.get_file_info(FileSelector(self.folder, allow_not_found=True))
        newest = max((i.base_name for i in found if i.base_name.endswith(".parquet")), default="")
        if not newest:
            return 0, ""
        with self.filesystem.open_input_file(f"{self.folder}/{newest}") as file:
            metadata = pq.read_metadata(file).metadata
        return int(newest.removeprefix("tweets-").partition(".")[0]), metadata[b"cursor"].decode()

    def write(self, number: int, unwritten: Iterator[dict[str, Any]], rows_max: int) -> int:
        """Write the next of these pages to one file; returns how many tweets."""
        unfinished = f"{self.folder}/.unfinished"  # readers of folders ignore such names
        rows: list[dict[str, Any]] = []
        written, cursor = 0, ""
        self.filesystem.create_dir(self.folder)
        with (
            self.filesystem.open_output_stream(unfinished) as stream,
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
        self.filesystem.move(unfinished, f"{self.folder}/tweets-{number:08}.parquet")
        return written


def row(tweet: dict[str, Any]) -> dict[str, Any]:
    """A tweet of the API as a row of the file."""
    times = {name: tweet[name] and datetime.fromisoformat(tweet[name]) for name in TIMES}
    tracks = [match["track"] for match in tweet["matches"]]
    return {name: tweet[name] for name in TEXTS} | times | {"tracks": tracks}


def call(address: str) -> dict[str, Any]:
    """The answer of the API; waits while the server is away or asks for patience."""
    token = os.environ["TWEETS_TOKEN"].strip()
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code not in {429, 503}:
                raise SystemExit(f"{address}: {error.read().decode()}") from error
            time.sleep(float(error.headers.get("Retry-After", 5)))
        except OSError as error:
            if "unknown url type" in str(error):
                raise SystemExit(f"{address}: {error}") from error
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
    left = pages(address, tracks, cursor, min(PAGE, rows_max))
    numbered = enumerate(left, newest + 1)
    return sum(place.write(number, chain([page], left), rows_max) for number, page in numbered)


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
            number = dump(given.address.rstrip("/"), given.track, place, given.rows)
            print(f"{number} new tweets in {given.place}", flush=True)
            if given.once:
                return
            time.sleep(3600 - time.time() % 3600)
    except (OSError, pa.ArrowException) as error:
        raise SystemExit(f"{given.place}: {error}") from error


if __name__ == "__main__":
    main()
