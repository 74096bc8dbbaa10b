"""Measures the cost of matching a tweet against 1,000 and 100,000 tracks, on one core.

The tweets are generated from a seed and resemble captured ones: about 20 words with frequencies of
1 / rank; 60 % with non-ASCII characters (mostly an ellipsis or emoji, sometimes accents or
Chinese); 30 % reposts, which are matched twice; hashtags, mentions and links.
The first 1,000 tracks are the same in both runs. The other 99,000 have two rare words each, or rare
hashtags, accounts and links, so that about as few tracks match a tweet: a match has its cost, but
tracks that do not match should cost nothing.
"""

import itertools
import random
import sys
import time
import tracemalloc

from stream.matcher import Matcher
from stream.query import Query, TrackKind, parse
from stream.tweet import Box, Content, NativeId, Place, TrackId, Tweet

SEED = 11
TWEETS = 4000
ROUNDS = 7  # the fastest counts
SIZES = (1_000, 100_000)
TRACKS_MIN, TRACKS_MAX = SIZES
HAN = [chr(0x4E00 + at) for at in range(1500)]
SYLLABLES = "an be cor du el fi gan ho in ja ker lu mo ne or pra qui ros su ta un ver wo xi ya zo"


class _Speech:
    """An invented language whose word frequencies fall with rank."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        syllables = SYLLABLES.split()
        longer = itertools.chain.from_iterable(
            itertools.product(syllables, repeat=length) for length in (1, 2, 3, 4)
        )
        self.words = ["".join(parts) for parts in itertools.islice(longer, 200_000)]
        ranks = range(1, len(self.words) + 1)
        self.heights = list(itertools.accumulate(1 / rank for rank in ranks))

    def some(self, count: int) -> list[str]:
        return self.rng.choices(self.words, cum_weights=self.heights, k=count)

    def han(self, count: int) -> str:
        """A run of ideographs; as in real text, some are far more frequent."""
        return "".join(self.rng.choices(HAN, cum_weights=self.heights[: len(HAN)], k=count))

    def sentence(self) -> str:
        words = self.some(self.rng.randint(8, 24))
        beyond = self.rng.random()
        if beyond < 0.25:
            words.append("and so on…")
        elif beyond < 0.4:
            words.append("🎉🔥")
        elif beyond < 0.5:
            words = [word.replace("a", "á").replace("or", "ñ") for word in words]
        elif beyond < 0.58:
            words = [self.han(60), *words[:4]]
        return " ".join(words).capitalize() + "."


def tweets(count: int) -> list[Tweet]:
    """`count` tweets, the same at every call."""
    speech = _Speech(random.Random(SEED))
    rng = speech.rng
    made: list[Tweet] = []
    for number in range(count):
        own = _content(speech)
        repost = _content(speech) if rng.random() < 0.3 else None
        if repost is not None:
            name = repost.author or ""
            own = Content(
                text=f"RT @{name}: {repost.text[:110]}…", mentions=(name,), author=own.author
            )
        box: Box | None = None
        if repost is None and rng.random() < 0.15:
            west, south = rng.uniform(-120, 110), rng.uniform(-60, 50)
            box = (west, south, west + 0.5, south + 0.5)
        made.append(
            Tweet(
                native_id=NativeId(str(number)),
                kind="original" if repost is None else "repost",
                own=own,
                reposted=repost,
                lang=rng.choice(["en", "en", "en", "es", "ja", "und"]),
                place=Place(names=("somewhere",), box=box) if box else None,
            )
        )
    return made


def _content(speech: _Speech) -> Content:
    rng = speech.rng
    tags = speech.some(rng.choice([0, 0, 0, 1, 2]))
    names = [f"{word}_{rng.randrange(100)}" for word in speech.some(rng.choice([0, 1, 1]))]
    links = (
        (f"https://{speech.some(1)[0]}.example/{rng.randrange(10**6)}", "short.example/x…")
        if rng.random() < 0.5
        else ()
    )
    sigils = [*(f"#{tag}" for tag in tags), *(f"@{name}" for name in names)]
    url = ["https://t.example/Ab3dE9fGh1"] if links else []
    return Content(
        text=" ".join([speech.sentence(), *sigils, *url]),
        hashtags=tuple(tags),
        mentions=tuple(names),
        links=links,
        author=f"{speech.some(1)[0]}_{rng.randrange(100)}",
    )


def tracks(count: int) -> list[tuple[TrackId, Query]]:
    """Tracks of all kinds; a smaller count gives the first of a larger."""
    speech = _Speech(random.Random(SEED + 1))
    return [(TrackId(at), parse(*_track(speech, at))) for at in range(count)]


def _track(  # noqa: PLR0911 - one line for each kind of track
    speech: _Speech, number: int
) -> tuple[TrackKind, str]:
    rng = speech.rng
    word = speech.words[min(500 + number, len(speech.words) - 1)]
    common = speech.some(1)[0]
    other = f"-{common}" if number < TRACKS_MIN else f'"{speech.some(1)[0]} {common}"'
    match number % 10:
        case 0 | 1 | 2 if number >= TRACKS_MIN:
            return "keyword", f"{word} {speech.words[rng.randrange(2_000, 200_000)]}"
        case 0 | 1 | 2:
            return "keyword", word
        case 3 | 4:
            return "keyword", f"{word} {common},{common} {speech.some(1)[0]}{number}"
        case 5:
            return "keyword", f"#{word}"
        case 6:
            return "user", f"@{word}_{rng.randrange(100)}"
        case 7:
            return "query", f"({word} OR #{common}{number}) lang:en -is:retweet {other}"
        case 8:
            west, south = rng.randrange(-1200, 1100) / 10, rng.randrange(-600, 500) / 10
            return "place", f"{west},{south},{west + 0.3:.1f},{south + 0.3:.1f}"
        case _:
            return "keyword", speech.han(4) if number % 20 == 9 else f"{word}.example/{number}"


def measure() -> list[tuple[str, float, str]]:
    """Microseconds per tweet for both numbers of tracks, their ratio, and the cost of building."""
    messages = tweets(TWEETS)
    rows: list[tuple[str, float, str]] = []
    matchers: list[Matcher] = []
    for size in SIZES:
        followed = tracks(size)
        began = time.perf_counter()
        matchers.append(Matcher(followed))
        built = time.perf_counter() - began
        matched = sum(len(matchers[-1].match(message)) for message in messages) / len(messages)
        rows += [
            (f"matches, {size:,} tracks", matched, "/tweet"),
            (f"building the matcher, {size:,} tracks", built, "s"),
        ]
    # In turns, so that other load affects both alike.
    rounds = [[_round(matcher, messages) for matcher in matchers] for _ in range(ROUNDS)]
    costs = [min(column) for column in zip(*rounds, strict=True)]
    for size, cost in zip(SIZES, costs, strict=True):
        rows.append((f"matching, {size:,} tracks", cost, "µs/tweet"))
    rows.append(
        (f"matching, {TRACKS_MAX:,} to {TRACKS_MIN:,} tracks", costs[1] / costs[0], "times")
    )
    rows.append((f"memory of the matcher, {TRACKS_MAX:,} tracks", _megabytes(TRACKS_MAX), "MB"))
    return rows


def _round(matcher: Matcher, messages: list[Tweet]) -> float:
    began = time.perf_counter()
    for message in messages:
        matcher.match(message)
    return (time.perf_counter() - began) / len(messages) * 1e6


def _megabytes(size: int) -> float:
    followed = tracks(size)
    tracemalloc.start()
    matcher = Matcher(followed)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del matcher
    return used / 1e6


if __name__ == "__main__":
    for name, value, unit in measure():
        sys.stdout.write(f"{name:40} {value:10.2f} {unit}\n")
