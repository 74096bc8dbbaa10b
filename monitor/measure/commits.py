"""How long frames waited for their commit, from the paces of the writers; pure."""

from collections.abc import Sequence

from monitor.reading import Commits
from stream.writer import Pace

NARROW = 1e-9  # seconds; a batch whose frames came at the same moment


def commits(paces: Sequence[Pace]) -> Commits:
    """These commits in four numbers."""
    frames = sum(pace.frames for pace in paces)
    if not frames:
        return Commits(len(paces), None, None, None)
    return Commits(len(paces), frames / len(paces), percentile(paces, 0.5), percentile(paces, 0.99))


def percentile(paces: Sequence[Pace], share: float) -> float:
    """The delay in seconds that this share of the frames kept below.

    A pace tells only of its first and its last frame: the others count as spread evenly between.
    """
    edges: list[tuple[float, float]] = []  # at this delay, so many more frames a second of delay
    for pace in paces:
        low, high = sorted((max(pace.newest, 0.0), max(pace.oldest, 0.0)))
        high = max(high, low + NARROW)
        density = pace.frames / (high - low)
        edges += [(low, density), (high, -density)]
    edges.sort()
    wanted = share * sum(pace.frames for pace in paces)
    passed = density = 0.0
    at = edges[0][0]
    for edge, more in edges:
        within = density * (edge - at)
        if density > 0 and passed + within >= wanted:
            return at + (wanted - passed) / density
        passed, density, at = passed + within, density + more, edge
    return edges[-1][0]
