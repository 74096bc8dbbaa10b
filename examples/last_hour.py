"""A dashboard of the last hour, for a screen on a wall: one page that updates by itself.

    TWEETS_TOKEN=… python examples/last_hour.py http://127.0.0.1:8080
    TWEETS_TOKEN=… python examples/last_hour.py http://127.0.0.1:8080 --track 1 --listen :8090

Reads the live stream of the API once and shows it to any number of browsers, which never see the
token. Both sides use server-sent events. Needs aiohttp.
"""

import argparse
import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

HOUR = timedelta(hours=1)
INTERVAL = 2  # seconds
KEPT_MAX = 200_000  # tweets; of a busier hour only the newest
HASHTAG = re.compile(r"#\w+")
PAGE = Path(__file__).with_suffix(".html")


class LastHour:
    """The tweets of the last hour, and what the page shows of them."""

    def __init__(self) -> None:
        self.tweets: dict[str, tuple[datetime, str, str]] = {}  # by id: some may arrive again
        self.shown = b""

    def add(self, tweet: dict[str, Any]) -> None:
        at = datetime.fromisoformat(tweet["received_at"])
        self.tweets[tweet["id"]] = at, tweet["author"] or "unknown", tweet["text"]

    def sum_up(self) -> None:
        now = datetime.now(UTC)
        for key, (at, *_) in list(self.tweets.items()):
            if at > now - HOUR and len(self.tweets) <= KEPT_MAX:
                break
            del self.tweets[key]
        tweets = list(self.tweets.values())
        ages = Counter(int((now - at).total_seconds() // 60) for at, _, _ in tweets)
        tags = Counter(tag.lower() for *_, text in tweets for tag in set(HASHTAG.findall(text)))
        found = {
            "total": len(tweets),
            "minutes": [ages[age] for age in range(59, -1, -1)],
            "hashtags": tags.most_common(10),
            "authors": Counter(author for _, author, _ in tweets).most_common(10),
            "newest": [text for *_, text in tweets[:-6:-1]],
        }
        self.shown = f"data: {json.dumps(found)}\n\n".encode()


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str]]:
    """The id and data of each server-sent event."""
    event: dict[str, str] = {}
    async for line in response.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            event[name] = value
        elif "data" in event:
            yield event.pop("id", ""), event.pop("data")


async def follow(address: str, tracks: list[int], hour: LastHour) -> None:
    """Read the stream for ever; after an interruption it continues where it stopped."""
    since = (datetime.now(UTC) - HOUR).isoformat()
    headers = {
        "Authorization": f"Bearer {os.environ['TWEETS_TOKEN'].strip()}",
        "Accept": "text/event-stream",
    }
    timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, read_bufsize=2**20) as http:
        while True:
            query = [("since", since), *(("track", str(track)) for track in tracks)]
            try:
                async with http.get(f"{address}/api/v1/stream", params=query) as response:
                    response.raise_for_status()
                    async for cursor, data in events(response):
                        if tweet := json.loads(data).get("tweet"):
                            hour.add(tweet)
                            since = cursor
            except (aiohttp.ClientError, TimeoutError) as error:
                print(f"{address}: {error}; trying again", flush=True)
            await asyncio.sleep(2)


def application(address: str, tracks: list[int]) -> web.Application:
    hour = LastHour()

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:  # until the browser closes the connection
            await response.write(hour.shown)
            await asyncio.sleep(INTERVAL)

    async def sum_up() -> None:
        while True:
            hour.sum_up()
            await asyncio.sleep(INTERVAL)

    async def work(_: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(each) for each in (follow(address, tracks, hour), sum_up())]
        yield
        for task in tasks:
            task.cancel()

    made = web.Application()
    made.router.add_get("/", page)
    made.router.add_get("/events", stream)
    made.cleanup_ctx.append(work)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("address", help="where the pages are, as http://127.0.0.1:8080")
    parser.add_argument("--track", type=int, action="append", default=[], help="default: all")
    parser.add_argument("--listen", default="127.0.0.1:8090", help="HOST:PORT of the dashboard")
    given = parser.parse_args()
    if not os.environ.get("TWEETS_TOKEN"):
        parser.error("TWEETS_TOKEN is missing: make a token with the scope read on My account.")
    host, _, port = given.listen.rpartition(":")
    if not port.isdecimal():
        parser.error(f"--listen: HOST:PORT, such as {parser.get_default('listen')}")
    made = application(given.address.rstrip("/"), given.track)
    try:
        web.run_app(made, host=host, port=int(port))
    except (OSError, OverflowError) as error:
        raise SystemExit(f"--listen {given.listen}: {error}") from error


if __name__ == "__main__":
    main()
