"""Measures decoding and matching a message of each network, on one core.

The messages are invented: those of X v2 by corpus.py, those of Bluesky by prefilter.py, all others
by the simulator. The tracks are the first 1,000 of prefilter.py, to which hardly any message
belongs.
"""

import json
import random
import sys
from collections.abc import Callable, Mapping

import msgspec

from pgbench import corpus, prefilter
from simulator import wire_v1
from simulator.generator import Generator
from simulator.mastodon.statuses import StatusWriter
from simulator.payload import Json
from stream.jsontext import sanitize_for_jsonb
from stream.matcher import Matcher
from stream.networks.registry import NETWORKS
from stream.tweet import NetworkName, Tweet

MESSAGES = 4000
TRACKS = 1000


def _of_x_v1(count: int) -> list[bytes]:
    generator = Generator(corpus.SEED)
    return [msgspec.json.encode(wire_v1.payload(generator.post())) for _ in range(count)]


def _of_mastodon(count: int) -> list[bytes]:
    writer = StatusWriter(random.Random(corpus.SEED), ())
    return [_update(writer.status(str(n), 1.78e9 + n)) for n in range(count)]


def _update(status: Json) -> bytes:
    """One message; < and > are escaped in the payload, as Ruby on Rails does."""
    payload = json.dumps(status, ensure_ascii=False)
    payload = payload.replace("<", r"\u003c").replace(">", r"\u003e")
    return msgspec.json.encode({"stream": ["public"], "event": "update", "payload": payload})


MAKE: Mapping[NetworkName, Callable[[int], list[bytes]]] = {
    "x_v2": lambda count: [*corpus.make(count).bodies],
    "x_v1": _of_x_v1,
    "bluesky": prefilter.messages,
    "mastodon": _of_mastodon,
}


def measure() -> list[tuple[str, float, str]]:
    """Microseconds of processor time per message, and its mean size."""
    matcher = Matcher(prefilter.tracks(TRACKS))
    rows: list[tuple[str, float, str]] = []
    for network, make in MAKE.items():
        messages = make(MESSAGES)
        size = sum(map(len, messages)) / len(messages)
        name = f"decoding and matching, {network}, {size:,.0f} bytes"
        rows.append((name, prefilter.cost(_tracks_of(network, matcher), messages), "µs/post"))
    return rows


def _tracks_of(network: NetworkName, matcher: Matcher) -> Callable[[bytes], object]:
    decode = NETWORKS[network].decode

    def tracks_of(message: bytes) -> object:
        tweet = decode(sanitize_for_jsonb(message)[0])
        assert isinstance(tweet, Tweet)
        return matcher.match(tweet)

    return tracks_of


if __name__ == "__main__":
    for name, value, unit in measure():
        sys.stdout.write(f"{name:48} {value:10.2f} {unit}\n")
