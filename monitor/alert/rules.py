"""All rules together: what is wrong at this moment, as far as this daemon is to judge."""

from collections.abc import Callable, Iterator
from itertools import islice

from monitor.alert import rules_care, rules_machine, rules_source, rules_track
from monitor.alert.condition import Condition, View
from monitor.reading import Reading

ALL: tuple[Callable[[View], Iterator[Condition]], ...] = (
    rules_machine.disk_full_soon,
    rules_machine.disk_low,
    rules_machine.cpu_high,
    rules_machine.memory_high,
    rules_machine.loop_lag,
    rules_machine.database_away,
    rules_source.journal_lag,
    rules_source.journal_full,
    rules_source.source_silent,
    rules_source.source_failures,
    rules_source.reject_share,
    rules_source.unmatched_share,
    rules_care.archive_failed,
    rules_care.chore_failed,
    rules_care.key_file,
    rules_care.standby_took_over,
    rules_care.restart_loop,
)

# They only look at facts, and there may be thousands of tracks: not on the loop.
OF_FACTS: tuple[Callable[[View], Iterator[Condition]], ...] = (
    rules_track.track_silent,
    rules_track.track_runaway,
)
MOST = 500  # conditions of one of them; more would be one cause under many names


def of_facts(view: View) -> list[Condition]:
    """What those rules find that need only be asked when there are new facts; takes a while."""
    return [condition for rule in OF_FACTS for condition in islice(rule(view), MOST)]


def evaluate(view: View) -> tuple[list[Condition], Exception | None]:
    """What all other rules find; and the error of one that is broken, which spoils no other."""
    found: list[Condition] = []
    failed: Exception | None = None
    for rule in ALL:
        try:
            found.extend(rule(view))
        except Exception as error:  # noqa: BLE001 - the caller raises it when all have been asked
            failed = failed or error
    return found, failed


def speaks(reading: Reading, scope: str, subject: str) -> bool:
    """Whether this daemon is the one to judge: of a source its collector, of the rest the leader.

    A source that nobody collects, or that is gone, is the leader's. Standing by, one cannot know.
    """
    if scope == "host":
        return True
    if scope == "source":
        for source in reading.sources:
            if source.name == subject:
                return source.collecting or (reading.leads and not source.standing_by)
    return reading.leads
