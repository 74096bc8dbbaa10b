"""Generates the test data of all benchmarks: posts of realistic size and matching tracks."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from simulator import wire_v2
from simulator.generator import Generator
from simulator.posts import Constraints

SEED = 7
SYLLABLES = (
    "ka", "lo", "mi", "ru", "ten", "vos", "shi", "bar", "del", "nup", "gos", "wem", "zir", "fal",
    "och", "tra",
)  # fmt: skip
SUBJECTS = (
    "Weather", "Railways", "Gardening", "Football", "Libraries", "Astronomy", "Cooking", "Harbours",
    "Cinema", "Schools", "Music", "Bicycles",
)  # fmt: skip


class Corpus(msgspec.Struct, frozen=True):
    """Messages of X v2, and the values of the keyword tracks that they match."""

    bodies: Sequence[bytes]
    tracks: Sequence[str]

    @property
    def mean_bytes(self) -> float:
        return sum(map(len, self.bodies)) / len(self.bodies)


def tracks(count: int) -> list[str]:
    """Values of keyword tracks: one invented word, every fourth has two."""
    words = ("".join(parts) for parts in itertools.product(SYLLABLES, repeat=4))
    picked = random.Random(SEED).sample(list(words), count + count // 4)
    firsts, seconds = picked[:count], iter(picked[count:])
    return [
        f"{word} {next(seconds)}" if number % 4 == 3 else word for number, word in enumerate(firsts)
    ]


def make(count: int, track_count: int = 1000) -> Corpus:
    """`count` different posts; each matches at least one track, the first tracks most often."""
    rng = random.Random(SEED)
    generator = Generator(SEED)
    values = tracks(track_count)
    chances = [1 / (place + 10) for place in range(track_count)]
    picks = iter(rng.choices(values, chances, k=2 * count))
    encode = msgspec.json.Encoder().encode
    bodies = []
    for _ in range(count):
        wished = (next(picks), next(picks)) if rng.random() < 0.2 else (next(picks),)
        payload: dict[str, Any] = wire_v2.payload(generator.post(Constraints(words=wished)))
        _annotate(payload, rng)
        payload["matching_rules"] = [
            {"id": str(10**18 + values.index(value)), "tag": f"bench {value}"}
            for value in dict.fromkeys(wished)
        ]
        bodies.append(encode(payload))
    return Corpus(bodies, values)


def _annotate(payload: dict[str, Any], rng: random.Random) -> None:
    """Add what X sends beyond the simulator's fields: about half of a real post."""
    data = payload["data"]
    subjects = rng.sample(SUBJECTS, rng.choice((0, 3, 5, 8, 12)))
    if subjects:
        data["context_annotations"] = [_context(subject, rng) for subject in subjects]
    for link in data.get("entities", {}).get("urls", ()):
        title = " ".join(rng.sample(SUBJECTS, 5))
        link["title"], link["description"] = title, f"{title}: {title.lower()} and much more"
        link["images"] = [
            {"url": f"https://pbs.example.com/news/{size}.jpg", "width": size, "height": size}
            for size in (1200, 150)
        ]
    for user in payload["includes"]["users"]:
        place = {
            "start": 0,
            "end": 23,
            "url": "https://t.co/profilepage",
            "display_url": "e.com/me",
        }
        user["entities"] = {"url": {"urls": [place]}}
        user["pinned_tweet_id"] = str(rng.randrange(10**17, 10**18))


def _context(subject: str, rng: random.Random) -> dict[str, object]:
    return {
        "domain": {
            "id": str(rng.randrange(200)),
            "name": f"Unified {subject} Taxonomy",
            "description": f"A taxonomy of {subject.lower()} and of what people say about it",
        },
        "entity": {
            "id": str(rng.randrange(10**18, 10**19)),
            "name": subject,
            "description": f"What is said about {subject.lower()} in the world",
        },
    }


def lines(corpus: Corpus) -> Iterator[bytes]:
    """The lines of a file that the simulator replays."""
    for body in corpus.bodies:
        yield body + b"\n"
