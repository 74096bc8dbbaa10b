"""Where the media of a message are, what is kept of them, and connections to public addresses.

For media_archive.py, with its token, its calls of the API, and its failures.
"""

import asyncio
import errno
import ipaddress
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import aiohttp

TYPES = {f"image/{kind}": kind for kind in ("jpeg", "png", "gif", "webp", "avif")}
TYPES |= {"video/mp4": "mp4", "video/webm": "webm", "audio/mpeg": "mp3"}


def addresses(node: Any, did: str = "") -> Iterator[str]:
    """Where the media of a message are: X, Mastodon, and Bluesky (as at://ACCOUNT/BLOB)."""
    if isinstance(node, list):
        for each in node:
            yield from addresses(each, did)
    elif isinstance(node, dict):
        did = node.get("did", did)
        if variants := node.get("variants") or node.get("video_info", {}).get("variants"):
            films = [each for each in variants if each.get("content_type") == "video/mp4"]
            yield max(films, key=lambda v: v.get("bitrate") or v.get("bit_rate") or 0)["url"]
        elif "media_url_https" in node:
            yield node["media_url_https"]
        elif node.get("$type") == "blob":
            yield f"at://{did}/{node['ref']['$link']}"
        elif node.get("type") in {"photo", "image", "gifv", "video", "audio"} and "url" in node:
            yield node["url"]
        else:
            previews = {"thumb", "card"} | ({"entities"} if "extended_entities" in node else set())
            for name in sorted(node.keys() - previews):
                yield from addresses(node[name], did)


def public_socket(allowed: list[str]) -> Callable[[Any], socket.socket]:
    """Sockets to public addresses and allowed networks; asked for each connection."""
    networks = [ipaddress.ip_network(each) for each in allowed]

    def make(info: Any) -> socket.socket:
        ip = ipaddress.ip_address(info[4][0].partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        is_public = ip.is_global and not ip.is_multicast
        if not is_public and not any(ip in network for network in networks):
            raise PermissionError(errno.EACCES, f"{ip} is not a public address")
        return socket.socket(*info[:3])

    return make


async def locate(http: aiohttp.ClientSession, url: str, plc: str) -> str:
    """The address to download from: a blob of Bluesky is on the server of its account."""
    if not url.startswith("at://"):
        return url
    did, _, cid = url.removeprefix("at://").rpartition("/")
    web_host = did.removeprefix("did:web:")
    document = f"{plc}/{did}" if web_host == did else f"https://{web_host}/.well-known/did.json"
    async with http.get(document) as response:
        found = json.loads(await response.content.read(1 << 20))
    [host] = [s["serviceEndpoint"] for s in found["service"] if s["id"].endswith("#atproto_pds")]
    return f"{host}/xrpc/com.atproto.sync.getBlob?{urlencode({'did': did, 'cid': cid})}"


def required_token() -> str:
    """The token of TWEETS_TOKEN; without it the program ends."""
    if not (token := os.environ.get("TWEETS_TOKEN")):
        raise SystemExit("TWEETS_TOKEN is missing: make a token with the scope read on My account.")
    return token


async def call(api: aiohttp.ClientSession, path: str, **query: Any) -> Any:
    """The answer of the API, None: the tweet is gone; waits when it asks for patience."""
    while True:
        async with api.get(f"api/v1/{path}", params=query) as answer:
            if answer.ok:
                return await answer.json()
            if answer.status == 404 and path.startswith("tweets/"):
                return None
            if answer.status not in {429, 503}:
                raise SystemExit(f"{answer.url}: {await answer.text()}")
            await asyncio.sleep(float(answer.headers.get("Retry-After", 5)))


class Failures(Counter[str]):
    """How many failures there are of each kind; the first of each is printed."""

    def add(self, url: str, error: Exception) -> str:
        """Count a failure; returns what it is."""
        problem = str(error) or type(error).__name__
        kind = f"{type(error).__name__} {getattr(error, 'status', '')}"
        self[kind] += 1
        if self[kind] == 1:
            print(repr(f"{url}: {problem}"[:300])[1:-1], flush=True)  # strangers write addresses
        return problem
