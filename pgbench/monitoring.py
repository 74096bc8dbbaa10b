"""Measures what the monitor costs: the same ingest with it and without."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from pgbench import end_to_end
from pgbench.end_to_end import Feed, Track
from pgbench.server import Server

MODES = ("without", "with", "raising", "hanging")  # as in monitored_daemon.py
# All features are on and sample ten times as often as by default.
SETTINGS: Mapping[str, object] = {
    "monitor": {"listen": "127.0.0.1:0", "sample_interval": 1},
    "alerts": {"heartbeat_interval": 1},
    "retention": {"tweets_days": 30},
}


def _collect(mode: str, config: str) -> list[str]:
    return ["-m", "pgbench.monitored_daemon", config, mode]


async def run(
    server: Server, folder: Path, replayed: Path, tracks: Sequence[Track], rounds: int
) -> dict[str, list[float]]:
    """Tweets/s by mode; the modes run in turns."""
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    for turn in range(rounds):
        # Every other round in reverse, so that no mode is always first.
        for mode in MODES if turn % 2 == 0 else reversed(MODES):
            here = folder / f"{mode}-{turn}"
            settings = {**SETTINGS, "archive": {"url": str(here / "archive")}}
            [outcome] = await end_to_end.run(
                server,
                here,
                [Feed("x_v2", replayed, 0)],
                tracks,
                settings=settings,
                collect=partial(_collect, mode),
            )
            rates[mode].append(outcome.rate)
    return rates
