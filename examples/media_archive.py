"""Keep the pictures and videos of a track: each file once, under its SHA-256.

    TWEETS_TOKEN=… python examples/media_archive.py http://127.0.0.1:8080 media --track 1

Run it again, by cron for example: it continues where it stopped, and removes what was deleted.
`index.sqlite` says which tweet has which file, or why not; the first failure of each kind is shown.
Strangers choose the addresses in tweets, so private ones are refused when the connection is made.
Needs aiohttp.
"""

import argparse
import asyncio
import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp

from media_addresses import TYPES, Failures, addresses, call, locate, public_socket, required_token

SCHEMA = """
CREATE TABLE IF NOT EXISTS position (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS media (tweet TEXT, url TEXT, file TEXT, problem TEXT,
    tries INTEGER, PRIMARY KEY (tweet, url));
CREATE INDEX IF NOT EXISTS media_url ON media (url);
"""
FAILED = "SELECT tweet, url FROM media WHERE file IS NULL AND tries < 5"  # one try a run
SAVE = "INSERT OR REPLACE INTO position VALUES (?, ?)"
KEEP = "INSERT INTO media VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET file = excluded.file,"
KEEP += " problem = excluded.problem, tries = tries + 1"


class Archive:
    """The files in their folder, and the index of them."""

    def __init__(self, given: argparse.Namespace, http: aiohttp.ClientSession) -> None:
        self.given, self.http, self.folder = given, http, given.folder
        self.index = sqlite3.connect(self.folder / "index.sqlite", isolation_level=None)
        self.index.executescript(SCHEMA)
        self.failures = Failures()  # of this run

    def rows(self, query: str, *values: object) -> list[Any]:
        return self.index.execute(query, values).fetchall()

    async def keep(self, tweet: str, url: str) -> None:
        """Download what no other tweet brought; the index says why it did not work."""
        known = self.rows("SELECT file FROM media WHERE url = ? AND file IS NOT NULL", url)
        file, problem = known[0][0] if known else None, None
        if file is None:
            try:
                file = await self._download(await locate(self.http, url, self.given.plc))
            except (aiohttp.ClientError, OSError, ValueError, LookupError) as error:
                problem = self.failures.add(url, error)
        self.rows(KEEP, tweet, url, file, problem)

    async def _download(self, url: str) -> str:
        part, digest, size = self.folder / "download.part", hashlib.sha256(), 0
        async with self.http.get(url, raise_for_status=True) as response:
            if response.content_type not in TYPES:
                raise ValueError(f"{response.content_type} is not kept")
            with part.open("wb") as file:
                async for piece in response.content.iter_chunked(1 << 16):
                    size += file.write(piece)
                    if size > self.given.bytes:
                        raise ValueError(f"larger than {self.given.bytes} bytes")
                    digest.update(piece)
        name = f"{digest.hexdigest()}.{TYPES[response.content_type]}"
        part.replace(self.folder / name)
        return name

    def forget(self, tweet: str) -> None:
        """Remove the files of a deleted tweet that no other tweet has."""
        others = "SELECT count(*) FROM media WHERE file = ? AND tweet <> ?"
        for (file,) in self.rows("SELECT file FROM media WHERE tweet = ?", tweet):
            if file and self.rows(others, file, tweet) == [(0,)]:
                (self.folder / file).unlink(missing_ok=True)
        self.rows("DELETE FROM media WHERE tweet = ?", tweet)

    def position(self, name: str) -> str:
        found = self.rows("SELECT value FROM position WHERE name = ?", name)
        return str(found[0][0]) if found else ""


async def collect(archive: Archive, api: aiohttp.ClientSession, track: int) -> None:
    while True:
        query: dict[str, object] = {"track": track, "order": "oldest", "limit": 100}
        if cursor := archive.position("tweets"):
            query["cursor"] = cursor
        page = await call(api, "tweets", **query)
        for tweet in page["tweets"]:
            whole = await call(api, f"tweets/{tweet['id']}")
            for url in dict.fromkeys(addresses(whole and whole["doc"])):
                await archive.keep(tweet["id"], url)
        archive.rows(SAVE, "tweets", page["next"])
        if not page["more"]:
            return


async def follow_deletions(archive: Archive, api: aiohttp.ClientSession) -> None:
    while True:
        page = await call(api, "deletions", after=archive.position("deletions") or 0, limit=1000)
        for deletion in page["deletions"]:
            archive.forget(deletion["id"])
        archive.rows(SAVE, "deletions", page["next"])
        if not page["more"]:
            return


async def run(given: argparse.Namespace) -> None:
    token = {"Authorization": f"Bearer {required_token()}"}
    outside = aiohttp.TCPConnector(socket_factory=public_socket(given.allow))
    async with (
        aiohttp.ClientSession(given.address.rstrip("/") + "/", headers=token) as api,
        aiohttp.ClientSession(connector=outside, timeout=aiohttp.ClientTimeout(300)) as http,
    ):
        given.folder.mkdir(parents=True, exist_ok=True)
        archive = Archive(given, http)
        for tweet, url in archive.rows(FAILED):
            await archive.keep(tweet, url)
        await collect(archive, api, given.track)
        await follow_deletions(archive, api)
        [[files, urls]] = archive.rows("SELECT count(DISTINCT file), count(*) FROM media")
        failed = archive.failures.total()
        why = f"; {failed} failed now, index.sqlite says why" if failed else ""
        print(f"{files} files of {urls} addresses in {given.folder}{why}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("address", help="where the pages are, as http://127.0.0.1:8080")
    parser.add_argument("folder", type=Path, help="for the files and the index")
    parser.add_argument("--track", type=int, required=True)
    parser.add_argument("--bytes", type=int, default=50_000_000, help="of a file, at most")
    parser.add_argument("--allow", action="append", default=[], help="a private network of yours")
    parser.add_argument("--plc", default="https://plc.directory", help="Bluesky's directory")
    given = parser.parse_args()
    try:
        asyncio.run(run(given))
    except (aiohttp.ClientError, OSError, ValueError, sqlite3.Error) as error:
        problem = str(error) or type(error).__name__
        raise SystemExit(f"{given.address} to {given.folder}: {problem}") from error


if __name__ == "__main__":
    main()
