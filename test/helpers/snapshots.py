"""A snapshot on which all is well, for tests to change what they are about."""

import msgspec

from monitor.snapshot import (
    Commits,
    DatabaseSnapshot,
    Machine,
    Process,
    Snapshot,
    SourceSnapshot,
    Volume,
)

GB = 10**9


def make_snapshot(at: float, **changed: object) -> Snapshot:
    """A daemon that has collected from one source for two hours."""
    since = at - 7200
    volumes = (
        Volume("data", "/srv", 1, 100 * GB, 40 * GB, 60 * GB),
        Volume("journal", "/srv/journal", 1, 100 * GB, 40 * GB, 60 * GB),
    )
    snapshot = Snapshot(
        at=at,
        host="web1",
        version="1",
        leads=True,
        machine=Machine(10.0, 2, 0.1, 8 * GB, 2 * GB, 0, 0, volumes),
        process=Process(200_000_000, 5.0, 20, 1024, loop_lag=0.0, started_at=since),
        sources=(make_source(at),),
        commits=Commits(1, 10.0, 0.1, 0.2),
        database=DatabaseSnapshot(True, "", since, None, {}, None, None, None, None, None),
        jobs=(),
        tracks={},
    )
    return msgspec.structs.replace(snapshot, **changed)


def make_source(at: float, **changed: object) -> SourceSnapshot:
    """A source that has streamed for two hours."""
    source = SourceSnapshot(
        id=1,
        name="main",
        network="x_v2",
        enabled=True,
        collecting=True,
        standing_by=False,
        state="streaming",
        reason="",
        state_since=at - 7200,
        until=None,
        last_byte=at - 1,
        bytes=10_000,
        frames=100,
        attempts=1,
        attempts_left=44,
        losses={},
        outcomes={},
        rejects={},
        journal_bytes=0,
        why_journal_full=None,
        lag_bytes=0,
        lag_seconds=0.0,
        away_since=None,
        gap_seconds_today=0.0,
    )
    return msgspec.structs.replace(source, **changed)
