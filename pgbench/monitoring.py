"""Whether what watches the program slows what it watches: the same ingest with it and without."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from pgbench import whole
from pgbench.server import Server

MODES = ("without", "with", "raising", "hanging")  # as in watched.py
# Everything that can be on is on, and looks ten times as often as it would.
SETTINGS: Mapping[str, object] = {
    "monitor": {"listen": "127.0.0.1:0", "probe_every": 1},
    "alerts": {"heartbeat_every": 1},
    "retention": {"tweets_days": 30},
}


def _collect(mode: str, config: str) -> list[str]:
    return ["-m", "pgbench.watched", config, mode]


async def run(
    server: Server, folder: Path, replayed: Path, tracks: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Tweets a second by mode, the modes in turns."""
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    for turn in range(rounds):
        # Every other round backwards: whoever comes first shall not always be the same.
        for mode in MODES if turn % 2 == 0 else reversed(MODES):
            here = folder / f"{mode}-{turn}"
            settings = {**SETTINGS, "archive": {"url": str(here / "archive")}}
            outcome = await whole.run(
                server,
                here,
                "x_v2",
                replayed,
                tracks,
                0,
                settings=settings,
                collect=partial(_collect, mode),
            )
            rates[mode].append(outcome.rate)
    return rates
