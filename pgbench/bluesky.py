"""Posts of Bluesky: from the socket to the decision, and a replay beside another source.

    python -m pgbench bluesky

The posts and tracks are those of prefilter.py; one post in 1,000 belongs to a track. A simulated
Jetstream of the v2 wire sends them as fast as the daemon reads, compressed with a dictionary, as by
default, and not compressed. Processor time is that of the daemon alone, from its first attempt to
connect to the last commit: simulator and Postgres are processes of their own.
"""

from collections.abc import Iterable
from pathlib import Path

from pgbench import decoding, end_to_end, prefilter
from pgbench.corpus import Corpus
from pgbench.end_to_end import Feed, Outcome, Track
from pgbench.report import Line, Section
from pgbench.server import Server

POSTS = 60_000
ROUNDS = 3
AIMS = {1_000: 5_000, 10_000: 2_000}  # posts/s on one core, by the number of tracks
REPLAY_RATE, STEADY_RATE, SECONDS = 20_000, 100, 30  # messages/s of Bluesky and of X
MB = 1e6


async def measure(server: Server, folder: Path, beside: Corpus) -> Section:
    """Measure everything; `beside`: what X sends beside a replay of Bluesky."""
    folder.mkdir()
    posts = folder / "posts.ndjson"
    messages = prefilter.messages(POSTS)
    _write(posts, messages)
    lines = [Line(what, [value], unit) for what, value, unit in prefilter.measure()]
    lines += [Line(what, [value], unit) for what, value, unit in decoding.measure()]
    for count, aim in AIMS.items():
        tracks = prefilter.track_values(count)
        for compressed in (True, False):
            outcomes = [
                await _collected(server, folder / f"{count}-{compressed}-{turn}", posts, tracks,
                                 compressed=compressed)
                for turn in range(ROUNDS)
            ]  # fmt: skip
            lines += _end_to_end(outcomes, count, aim, compressed=compressed)
    lines += await _replay(server, folder, messages, beside)
    return Section(
        "Posts of Bluesky",
        "With posts and tracks of its own, of which one post in 1,000 matches. The pre-filter and"
        " decoding: see prefilter.py and decoding.py. End to end, a simulated Jetstream sends"
        f" {POSTS:,} posts as fast as the daemon reads, from the socket through the journal to the"
        " commit; posts per core are posts by the processor time of the daemon. In the replay"
        f" Bluesky sends {REPLAY_RATE:,} posts per second for {SECONDS} s, while a source of X"
        f" delivers {STEADY_RATE} tweets per second to the same daemon, which are all stored.",
        lines,
    )


async def _collected(
    server: Server, folder: Path, posts: Path, tracks: list[Track], *, compressed: bool
) -> Outcome:
    settings = {"bluesky": {"compression": compressed}}
    feeds = [Feed("bluesky", posts, 0)]
    [outcome] = await end_to_end.run(server, folder, feeds, tracks, settings=settings)
    return outcome


def _end_to_end(
    outcomes: list[Outcome], tracks: int, aim: int, *, compressed: bool
) -> Iterable[Line]:
    named = f"end to end, {tracks:,} tracks, {'zstd' if compressed else 'not compressed'}"
    costs = [each.daemon_cpu / each.messages for each in outcomes]
    yield Line(f"{named}: processor time", [cost * 1e6 for cost in costs], "µs/post")
    per_core = [1 / cost for cost in costs]
    yield Line(f"{named}: posts per core", per_core, "/s", (), f"≥ {aim:,}")
    yield Line(f"{named}: posts collected", [each.rate for each in outcomes], "/s")


async def _replay(
    server: Server, folder: Path, messages: list[bytes], beside: Corpus
) -> Iterable[Line]:
    """Collect from X alone, then the same beside a replay of Bluesky."""
    posts, tweets = folder / "replay.ndjson", folder / "beside.ndjson"
    times, rest = divmod(REPLAY_RATE * SECONDS, len(messages))
    _write(posts, [*messages * times, *messages[:rest]])
    _write(tweets, beside.bodies[: STEADY_RATE * SECONDS])
    replayed, steady = Feed("bluesky", posts, REPLAY_RATE), Feed("x_v2", tweets, STEADY_RATE)
    tracks: list[Track] = [("keyword", value) for value in beside.tracks]
    [alone] = await end_to_end.run(server, folder / "alone", [steady], tracks)
    tracks += prefilter.track_values(1_000)
    bluesky, x = await end_to_end.run(server, folder / "beside", [replayed, steady], tracks)
    return [
        Line("replay: posts decided", [bluesky.rate], "/s", (), f"{REPLAY_RATE:,}"),
        Line("replay: processors used by the daemon", [bluesky.daemon_cpu / bluesky.seconds], ""),
        Line("replay: resident memory, maximum", [bluesky.memory_max / MB], "MB", (), "≤ 200"),
        Line("replay: memory growth over its second half", [bluesky.memory_growth / MB], "MB"),
        Line("X alone: latency, p50", [alone.latency_p50 * 1e3], "ms"),
        Line("X alone: latency, p99", [alone.latency_p99 * 1e3], "ms"),
        Line("X beside the replay: latency, p50", [x.latency_p50 * 1e3], "ms"),
        Line("X beside the replay: latency, p99", [x.latency_p99 * 1e3], "ms", (), "≤ 500"),
    ]


def _write(path: Path, messages: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(message + b"\n" for message in messages)
