"""`prove`: kill the daemon and its database at random, and compare what was sent and stored."""

import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import click
import msgspec

from stream.commands.context import Context, command
from stream.commands.parameters import NetworkChoice
from stream.commands.prove_daemon import DaemonUnderTest
from stream.commands.prove_network import (
    NETWORKS,
    WORD,
    Fault,
    NetworkControl,
    simulated_network,
)
from stream.errors import TwitterstreamError
from stream.tweet import NetworkName

START_TIMEOUT = 120.0  # seconds; the database is created meanwhile
# Seconds without progress after the last post: Bluesky's client connects 60 times in 300 s at most.
CATCH_UP_TIMEOUT = 400.0
QUIET = 0.5, 2.5  # seconds between two faults
POLL = 0.2  # seconds


class Verdict(msgspec.Struct, frozen=True):
    """What was sent, and what is stored."""

    sent: int  # posts that a track matches, without those deleted meanwhile
    missing: int
    surplus: int  # stored, although not sent, or deleted
    twice: int

    @property
    def holds(self) -> bool:
        return not (self.missing or self.surplus or self.twice)


@click.command()
@click.option("--network", type=NetworkChoice([*NETWORKS]), default="bluesky", show_default=True)
@click.option("--kills", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(1),
    help="Posts/s (default: "
    + ", ".join(f"{name} {network.rate:g}" for name, network in NETWORKS.items())
    + ").",
)
@click.option("--seed", type=int, default=None, help="Repeat the faults of an earlier run.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the data and the log here (default: a temporary folder).",
)
@command
async def prove(
    context: Context,
    network: str,
    kills: int,
    rate: float | None,
    seed: int | None,
    folder: Path | None,
) -> None:
    """Prove that every post of a simulated network is stored once.

    Kills the daemon and its Postgres at random, and lets the network fail: servers that close, fall
    silent, refuse requests or change their protocol, and an outage. Bluesky sends again what was
    missed; on Mastodon the program reads it again within the server's limits. Everything happens in
    a temporary folder. After many faults the end may take five minutes, until the program may
    connect again.
    """
    name = cast("NetworkName", network)
    rate = rate or NETWORKS[name].rate
    seed = random.randrange(1 << 32) if seed is None else seed  # noqa: S311 - no secret
    context.out.print(f"Seed {seed}; {kills} faults while {rate:g} posts arrive per second.")
    with contextlib.ExitStack() as opened:
        if folder is None:
            made = tempfile.TemporaryDirectory(prefix="twitterstream-prove-")
            folder = Path(opened.enter_context(made))
        folder.mkdir(parents=True, exist_ok=True)
        async with (
            simulated_network(name, folder, seed) as control,
            DaemonUnderTest(folder) as daemon,
        ):
            first = await _begin(control, daemon, rate)
            done = await _fail(control, daemon, kills, seed)
            await control.post("/sim/pace", {"rate": rate, "posts": 0})
            verdict = await _compared(control, daemon, first)
    for what, times in sorted(done.items()):
        context.out.print(f"{times:5} × {what}")
    context.out.print(
        f"Sent {verdict.sent:,}; missing {verdict.missing:,}, stored twice {verdict.twice:,},"
        f" stored in error {verdict.surplus:,}."
    )
    if not verdict.holds:
        raise TwitterstreamError(
            f"What was stored is not what was sent. Repeat with --seed {seed}."
        )
    context.out.print("Stored = sent.")


async def _begin(control: NetworkControl, daemon: DaemonUnderTest, rate: float) -> int:
    """Wait until the daemon is connected; the number of posts sent before."""

    async def is_added() -> bool:
        return (await daemon.run("track", "add", WORD)) is not None

    async def is_connected() -> bool:
        return await control.count("connections") > 0

    await _until(control.is_answering, START_TIMEOUT, "the simulated network")
    await control.post("/sim/pace", {"rate": 1, "posts": 0})
    for fault in control.profile.failures.lasting:
        await control.arm(fault)
    await _until(is_added, START_TIMEOUT, "the daemon")
    arguments = ["source", "add", "proved", "--network", control.name]
    if control.profile.source_needs_url:
        arguments += ["--url", control.url, "--secrets", "-"]
    await daemon.run(*arguments, given=control.profile.secrets)
    await _until(is_connected, START_TIMEOUT, "the connection")
    first = await control.count("sent")
    await control.post("/sim/pace", {"rate": rate, "posts": None})
    return first


async def _fail(
    control: NetworkControl, daemon: DaemonUnderTest, kills: int, seed: int
) -> Counter[str]:
    """Let this number of faults happen; what they were."""
    done: Counter[str] = Counter()
    chance = random.Random(seed)  # noqa: S311 - no secret
    faults: list[Fault] = [
        ("the daemon was killed", daemon.kill),
        ("the daemon was killed", daemon.kill),
        ("Postgres was killed", daemon.kill_postgres),
        ("the daemon was killed, and away for a while", daemon.outage),
        *control.faults(chance),
    ]
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(*QUIET))
        what, happen = chance.choice(faults)
        done[what] += 1
        await happen()
    return done


async def _compared(control: NetworkControl, daemon: DaemonUnderTest, first: int) -> Verdict:
    """Compare until all is stored, or nothing has changed for some time."""
    path = f"/sim/sent?from={first}"
    sent = await control.names(path, "matching") & await control.names(path, "ids")
    sent -= await control.names(path, "deleted")
    verdict = Verdict(len(sent), len(sent), 0, 0)
    deadline = time.monotonic() + CATCH_UP_TIMEOUT
    while not verdict.holds and time.monotonic() < deadline:
        await asyncio.sleep(POLL)
        output = await daemon.run("psql", "-Atc", "SELECT native_id FROM tweets")
        if output is None:
            continue
        last, stored = verdict, Counter(output.split())
        missing, surplus = sent - stored.keys(), stored.keys() - sent
        twice = sum(number - 1 for number in stored.values())
        verdict = Verdict(len(sent), len(missing), len(surplus), twice)
        if verdict != last:
            deadline = time.monotonic() + CATCH_UP_TIMEOUT
    return verdict


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - another process meets it
                await asyncio.sleep(POLL)
    except TimeoutError:
        raise TwitterstreamError(f"{what} did not start within {seconds:g} s.") from None
