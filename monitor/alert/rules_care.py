"""Rules about the daemon's care for itself: chores, archives, keys, standby, restarts."""

from collections.abc import Iterator

from monitor.alert.condition import Condition, View
from monitor.alert.words import clock
from monitor.reading import ChoreReading

FAILING = 900.0  # seconds
ARCHIVE = "archive"  # how the names of the archive's chores begin
STOOD_BY = 2  # readings; at a restart the lock of the process before may live a moment longer
LOOKS = 360  # at readings; of more only some
STARTS = 4  # of daemons of one machine in an hour


def archive_failed(view: View) -> Iterator[Condition]:
    """Its chores, and what stands in `archives`. Nothing is dropped that is not archived."""
    remedy = (
        "See `twitterstream.py archive list`; look at archive.url, its credentials and its room."
        " Nothing is dropped that is not archived, so only the disk fills."
    )
    for chore in _failing(view):
        if chore.name.startswith(ARCHIVE):
            text = _sentence("Archiving", chore, view.now.at)
            yield Condition(
                "archive_failed", chore.name, "warning", text, remedy, 1.0, 0, chore.failing_since
            )
    for day, problem in (view.facts.archive_problems if view.facts else {}).items():
        text = f"The archive of {day} is not in order: {problem.rstrip('.')}."
        yield Condition("archive_failed", day, "warning", text, remedy, 1.0, FAILING)


def chore_failed(view: View) -> Iterator[Condition]:
    for chore in _failing(view):
        if not chore.name.startswith(ARCHIVE):
            text = _sentence(f"The chore {chore.name!r} of {view.now.host}", chore, view.now.at)
            remedy = "Read the log of the daemon for why; collecting goes on."
            yield Condition(
                "chore_failed", chore.name, "warning", text, remedy, 1.0, 0, chore.failing_since
            )


def _failing(view: View) -> Iterator[ChoreReading]:
    """For long; while the database is away, that is what has to be told."""
    if not view.now.database.up:
        return
    for chore in view.now.chores:
        if chore.failed is None or chore.failing_since is None:
            continue
        # Chores wait for a database that has been away: they get the same time after it is back.
        since = max(chore.failing_since, view.now.database.since)
        if view.now.at - since > FAILING:
            yield chore


def _sentence(what: str, chore: ChoreReading, now: float) -> str:
    assert chore.failing_since is not None
    assert chore.failed is not None
    return f"{what} has failed since {clock(chore.failing_since, now)}: {chore.failed.rstrip('.')}."


def key_file(view: View) -> Iterator[Condition]:
    for path, sentence in view.files.problems.items():
        critical = path in view.files.critical
        remedy = (
            "Put the file back from a backup, or renew it; chmod 600 keeps it from other users."
        )
        yield Condition(
            "key_file", path, "critical" if critical else "warning", sentence, remedy, 1.0
        )


def standby_took_over(view: View) -> Iterator[Condition]:
    """Told once; an hour later it is history."""
    for source in view.now.sources:
        if not source.collecting:
            continue
        at = _took_over_at(view, source.id)
        if at is not None:
            text = (
                f"{view.now.host} has taken over source {source.name} from another daemon at"
                f" {clock(at, view.now.at)}."
            )
            remedy = "Look why the other one ended, and start it again: it stands by then."
            yield Condition("standby_took_over", source.name, "notice", text, remedy, 1.0, 0, at)


def _took_over_at(view: View, source_id: int) -> float | None:
    stood = 0
    for reading in view.readings[:: len(view.readings) // LOOKS + 1]:
        source = view.source(reading, source_id)
        if source is not None and source.collecting:
            if stood >= STOOD_BY:
                return reading.at
            stood = 0
        elif source is not None and source.standing_by:
            stood += 1
    return None


def restart_loop(view: View) -> Iterator[Condition]:
    starts = view.facts.starts if view.facts else 0
    if starts >= STARTS:
        text = f"The daemon on {view.now.host} has ended {starts} times in an hour without a stop."
        remedy = "Read the end of its log (`journalctl -u twitterstream`) for why it ends."
        yield Condition("restart_loop", "", "critical", text, remedy, float(starts))
