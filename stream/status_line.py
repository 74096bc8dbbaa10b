"""The status line of a daemon, for its log, the terminal and systemd."""

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from stream.collector import Collector
from stream.daemon_report import BusReport, LaneReport, Role

BACKLOG_SHOWN_MIN = 1 << 20  # bytes
LAG_SHOWN_MIN = 10.0  # seconds


def status_line(
    total: Counter[str],
    recent: Counter[str],
    seconds: float,
    collectors: Iterable[Collector],
    lanes: Sequence[LaneReport] | None = None,
    bus: BusReport | None = None,
    roles: AbstractSet[Role] = frozenset(),
) -> str:
    """Counts, and the state of each source; with a bus also of its lanes and the bus.

    `lanes`: None when this daemon stores none, as without a bus.
    """
    parts = []
    if lanes is not None or bus is None:
        parts += _counts(total, recent, seconds)
    parts += [f"{each.source.name}: {_source_status(each)}" for each in collectors]
    if lanes is not None:
        parts.append(_lanes(lanes))
    if bus is not None and bus.failing:
        parts.append(f"the bus cannot be used: {bus.failing}")
    elif bus is not None and not parts:
        parts.append(f"running: {', '.join(sorted(roles))}")
    return " · ".join(parts)


def _counts(total: Counter[str], recent: Counter[str], seconds: float) -> list[str]:
    kept = ("stored", "unmatched")
    new = sum(recent[outcome] for outcome in kept)
    since_start = sum(total[outcome] for outcome in kept)
    extra = ("duplicate", "dropped", "opted_out", "rejected")
    return [
        f"{since_start:,} tweets since start, {new:,} new ({new / seconds:,.1f}/s)",
        *(f"{recent[name]:,} {name.replace('_', ' ')}" for name in extra if recent[name]),
    ]


def _lanes(lanes: Sequence[LaneReport]) -> str:
    """How many lanes are stored here, and what is wrong with some."""
    if not lanes:
        return "no lane to store: there is none, or other machines have them"
    text = "storing 1 lane" if len(lanes) == 1 else f"storing {len(lanes)} lanes"
    late = [each.lag for each in lanes if each.lag > LAG_SHOWN_MIN]
    waiting = sum(bool(each.missing) for each in lanes)
    failing = next((each.failing for each in lanes if each.failing), "")
    text += f", up to {max(late):,.0f} s late" if late else ""
    text += f", {waiting} of them waiting for missing frames" if waiting else ""
    return text + (f" ({failing})" if failing else "")


def _source_status(collector: Collector) -> str:
    """State of one source, and how much of its journal is not stored yet."""
    if collector.failure:
        return f"failed ({collector.failure})"
    if collector.blocked is not None:
        return f"paused ({collector.blocked})"
    if collector.journal is None or not collector.collecting:
        return "on standby, another daemon collects"
    assert collector.connection is not None
    state = collector.connection.state
    text = state.state if state.state == "streaming" else f"{state.state} ({state.reason})"
    backlog = collector.journal.end - collector.journal.stored
    away = collector.writer is not None and collector.writer.away_since is not None
    if away or backlog > BACKLOG_SHOWN_MIN:
        text += f", {backlog / 1e6:,.1f} MB not stored yet"
        text += " (Postgres does not store)" if away else ""
    return text
