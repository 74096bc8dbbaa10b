"""All alert rules: names, titles, check functions, and which daemon is responsible.

The table of alerts in the documentation has a line for each.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from monitor.alert import rules_cluster, rules_source, rules_system, rules_track
from monitor.alert.condition import Condition, Rule, RuleContext
from monitor.snapshot import Snapshot

_MINUTE = 60.0

RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("disk_full_soon", "disk full soon", 60 * _MINUTE, needs_facts=True),
        Rule("disk_low", "disk space low", 2 * _MINUTE),
        Rule("cpu_high", "processor busy", 5 * _MINUTE),
        Rule("memory_high", "memory low", 5 * _MINUTE),
        Rule("loop_lag", "daemon slow", 10 * _MINUTE, "daemon"),
        Rule("journal_lag", "tweets are stored late", 2 * _MINUTE, "daemon"),
        Rule("journal_full", "collecting paused: no space for the journal", 2 * _MINUTE, "source"),
        Rule("writer_stalled", "nothing is stored", _MINUTE, "source"),
        Rule("journal_damaged", "journal damaged", _MINUTE, "source"),
        Rule("clock_jumped", "clock jumped", _MINUTE, "daemon"),
        Rule("database_away", "Postgres does not answer", _MINUTE),
        Rule("source_silent", "source silent", 2 * _MINUTE, "source"),
        Rule("source_refused", "credentials refused", 2 * _MINUTE, "source"),
        Rule("source_clock", "clock wrong", 2 * _MINUTE, "source"),
        Rule("source_plan", "not allowed by the plan", 2 * _MINUTE, "source"),
        Rule("source_quota", "quota used up", 2 * _MINUTE, "source"),
        Rule("source_failed", "source failed", 2 * _MINUTE, "source"),
        Rule("no_source", "no source enabled", _MINUTE, "all"),
        Rule("rules_not_applied", "rules not applied", _MINUTE, "source"),
        Rule(
            "reject_share",
            "many messages rejected",
            15 * _MINUTE,
            "source",
            needs_facts=True,
        ),
        Rule(
            "unmatched_share",
            "many tweets match no track",
            15 * _MINUTE,
            "source",
            needs_facts=True,
        ),
        Rule("tracks_refused", "tracks refused", _MINUTE, "all"),
        Rule("track_silent", "track silent", 5 * _MINUTE, "all", needs_facts=True),
        Rule("track_runaway", "unusually many tweets", 30 * _MINUTE, "all", needs_facts=True),
        Rule("partitions_missing", "partitions missing", _MINUTE, "all"),
        Rule("archive_failed", "archiving fails", _MINUTE, "all", needs_facts=True),
        Rule("job_failed", "job fails", _MINUTE, "daemon"),
        Rule("sink_late", "tweets are passed on late", 2 * _MINUTE, "daemon"),
        Rule("webhook_disabled", "webhook disabled", _MINUTE, "all", needs_facts=True),
        Rule("key_file", "key or certificate", _MINUTE),
        Rule(
            "standby_took_over",
            "standby took over",
            _MINUTE,
            "daemon",
            needs_facts=True,
            once=True,
        ),
        Rule("bus_away", "bus does not work", _MINUTE, "all"),
        Rule("bus_full", "bus nearly full", 2 * _MINUTE, "all"),
        Rule("bus_replicas", "replicas of the bus missing", 2 * _MINUTE, "all"),
        Rule("bus_sync", "bus without sync_interval always", _MINUTE, "all"),
        Rule("cell_away", "database of a cell cannot be used", _MINUTE, "all"),
        Rule("lane_unwritten", "lane without a writer", _MINUTE, "all"),
        Rule("lane_lag", "lane stored late", 2 * _MINUTE, "all"),
        Rule("frames_missing", "tweets wait on another machine", _MINUTE, "all"),
        Rule("machine_gone", "machine gone", _MINUTE, "all"),
        Rule("settings_differ", "settings differ between machines", _MINUTE, "all"),
        Rule("restart_loop", "daemon keeps crashing", 60 * _MINUTE, "all", needs_facts=True),
    )
}

SNAPSHOT_CHECKS: tuple[Callable[[RuleContext], Iterator[Condition]], ...] = (
    rules_system.disk_full_soon,
    rules_system.disk_low,
    rules_system.cpu_high,
    rules_system.memory_high,
    rules_system.loop_lag,
    rules_system.database_away,
    rules_source.journal_lag,
    rules_source.journal_full,
    rules_source.writer_stalled,
    rules_source.journal_damaged,
    rules_source.clock_jumped,
    rules_source.source_silent,
    rules_source.source_failures,
    rules_source.no_source,
    rules_source.rules_not_applied,
    rules_source.reject_share,
    rules_source.unmatched_share,
    rules_track.tracks_refused,
    rules_system.partitions_missing,
    rules_system.archive_failed,
    rules_system.job_failed,
    rules_system.sink_late,
    rules_system.webhook_disabled,
    rules_system.key_file,
    rules_system.standby_took_over,
    rules_system.restart_loop,
    rules_cluster.bus_away,
    rules_cluster.bus_full,
    rules_cluster.bus_replicas,
    rules_cluster.bus_sync,
    rules_cluster.cell_away,
    rules_cluster.lane_unwritten,
    rules_cluster.lane_lag,
    rules_cluster.frames_missing,
    rules_cluster.machine_gone,
    rules_cluster.settings_differ,
)

# These look at facts only, possibly of thousands of tracks: not on the event loop.
FACT_CHECKS: tuple[Callable[[RuleContext], Iterator[Condition]], ...] = (
    rules_track.track_silent,
    rules_track.track_runaway,
)
CONDITIONS_MAX = 500  # of one check; more would be one cause under many names


def evaluate_facts(context: RuleContext) -> list[Condition]:
    """Conditions that the checks of facts find; slow, only needed when there are new facts."""
    return [
        condition for check in FACT_CHECKS for condition in islice(check(context), CONDITIONS_MAX)
    ]


def evaluate_snapshot(context: RuleContext) -> tuple[list[Condition], Exception | None]:
    """Conditions that the checks of snapshots find, and the first error of a check."""
    found: list[Condition] = []
    failed: Exception | None = None
    for check in SNAPSHOT_CHECKS:
        try:
            found.extend(check(context))
        except Exception as error:  # noqa: BLE001 - the caller raises it after all checks
            failed = failed or error
    return found, failed


def is_responsible(snapshot: Snapshot, scope: str, subject: str) -> bool:
    """Whether this daemon decides: about a source its collector, about the rest the leader.

    A source without a collector, or removed, is the leader's; a standby cannot know how it is.
    About itself each daemon decides, and about a machine one of those that run on it.
    """
    if scope == "daemon":
        return True
    if scope == "host":
        return snapshot.reports_machine
    if scope == "source":
        for source in snapshot.sources:
            if source.name == subject:
                return source.collecting or (snapshot.leads and not source.standing_by)
    return snapshot.leads
