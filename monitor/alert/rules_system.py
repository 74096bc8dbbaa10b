"""Alert rules about the machine, Postgres, and the program's jobs, archives, keys and crashes."""

from collections.abc import Iterator, Sequence

from monitor.alert.condition import Condition, RuleContext
from monitor.alert.text import clock, lasting, listed, short, size
from monitor.snapshot import JobSnapshot, Volume
from stream.config import Settings
from stream.store.alerts import Severity

LOAD_WINDOW = 60.0  # seconds; a shorter peak does not count
LAG_WINDOW = 60.0  # seconds; blocked at least this often …
LAG_FOR = 120.0  # … for so long
DISK_LOW_FOR = 20.0  # seconds
DISK_HYSTERESIS = 1.0  # percent of free space above the limit that end an alert
DISK_FULL_SOON_FOR = 600.0  # seconds
FAILING_FOR = 900.0  # seconds
ARCHIVE = "archive"  # the prefix of its jobs' names
STANDBY_MIN = 2  # snapshots; after a restart the old lock may last a moment longer
TAKEOVER_WITHIN = 90.0  # seconds from the last sign of life of the other daemon
SAMPLES_MAX = 360  # snapshots that are looked at; of more, some are skipped
PARTITIONS_FOR = 600.0  # seconds; longer than between two looks at them
CRASHES_MIN = 4  # of daemons with the same roles on one machine in an hour


def disk_low(context: RuleContext) -> Iterator[Condition]:
    """Too little free space; each file system is reported once, whatever its mount points."""
    settings = context.settings.alerts
    for volumes in _disks(context.now.machine.volumes):
        first = volumes[0]
        open_ = ("disk_low", first.name) in context.opened
        percent = first.free_percent - (DISK_HYSTERESIS if open_ else 0.0)
        if percent < settings.disk_warn_percent:
            severity, effect, remedy = _level(volumes, context.settings)
            names = listed([volume.name for volume in volumes])
            text = (
                f"The disk of {names} ({first.path}) is low on space: {size(first.free)}"
                f" ({first.free_percent:.1f} %) free{effect}."
            )
            yield Condition(
                "disk_low", first.name, severity, text, remedy, first.free_percent, DISK_LOW_FOR
            )


def _disks(volumes: Sequence[Volume]) -> list[list[Volume]]:
    by_device: dict[int, list[Volume]] = {}
    for volume in volumes:
        by_device.setdefault(volume.device, []).append(volume)
    return list(by_device.values())


def _level(volumes: Sequence[Volume], settings: Settings) -> tuple[Severity, str, str]:
    """Severity, what the program does about it, and what a person can do."""
    limits, percent = settings.alerts, volumes[0].free_percent
    remedy = "Free up space on it, or move data_dir to a larger disk. Everything resumes by itself."
    if [volume.name for volume in volumes] == ["archive"]:
        return "warning", "; archiving stops when it is full", "Free up space on it."
    if percent < limits.disk_pause_all_percent:
        return "critical", "; collecting is paused", remedy
    if percent < limits.disk_pause_low_percent:
        return "critical", "; the tracks of lowest priority are paused", remedy
    if percent < limits.disk_archive_percent:
        if settings.archive.url:
            return "warning", "; archived days are deleted from Postgres early", remedy
        more = f"{remedy} With archive.url set, old days move to the archive."
        return "warning", f"; below {limits.disk_pause_low_percent:g} % tracks are paused", more
    return "warning", "", remedy


def disk_full_soon(context: RuleContext) -> Iterator[Condition]:
    """The disk will soon be full, by the trend of the last seven days."""
    days = context.settings.alerts.disk_full_days
    for each in context.facts.forecasts if context.facts else ():
        if each.days <= days:
            # The rule's keep_firing_for is hysteresis enough: a trend of seven days does not jump.
            text = (
                f"The disk of {each.volume} will be full in {lasting(each.days * 86_400)}:"
                f" {size(each.free)} free, growing by {size(each.bytes_per_day)} a day."
            )
            remedy = (
                "Free up space, move data_dir to a larger disk, keep tweets for a shorter time"
                " (retention.tweets_days), or narrow the tracks."
            )
            yield Condition(
                "disk_full_soon",
                each.volume,
                "warning",
                text,
                remedy,
                each.days,
                DISK_FULL_SOON_FOR,
            )


def cpu_high(context: RuleContext) -> Iterator[Condition]:
    settings = context.settings.alerts
    recent = context.last(LOAD_WINDOW)
    percent = sum(each.machine.cpu_percent for each in recent) / len(recent)
    if percent >= settings.cpu_percent:
        text = f"The processor of {context.now.host} is {percent:.0f} % busy."
        remedy = "Check with `top` what runs there. Tweets may be stored late, but none is lost."
        yield Condition("cpu_high", "", "warning", text, remedy, percent, settings.busy_for)


def memory_high(context: RuleContext) -> Iterator[Condition]:
    settings = context.settings.alerts
    recent = context.last(LOAD_WINDOW)
    percent = sum(each.machine.memory_percent for each in recent) / len(recent)
    if percent >= settings.memory_percent:
        text = (
            f"The memory of {context.now.host} is {percent:.0f} % in use; this daemon uses"
            f" {size(context.now.process.memory)}."
        )
        remedy = "Check with `top` what uses it. When none is left, Linux kills processes."
        yield Condition("memory_high", "", "warning", text, remedy, percent, settings.busy_for)


def loop_lag(context: RuleContext) -> Iterator[Condition]:
    worst = max(each.process.loop_lag for each in context.last(LAG_WINDOW))
    if worst >= context.settings.alerts.loop_lag:
        text = (
            f"The daemon on {context.now.name or context.now.host} is slow:"
            f" its event loop was blocked for {worst:.1f} s."
        )
        remedy = (
            "Check with `top` whether the machine is overloaded or swapping. A network may close a"
            " connection that is read too slowly."
        )
        yield Condition("loop_lag", "", "warning", text, remedy, worst, LAG_FOR)


def database_away(context: RuleContext) -> Iterator[Condition]:
    database = context.now.database
    if not database.up:
        why = f": {database.error}" if database.error else ""
        text = (
            f"Postgres has not answered {context.now.host} since"
            f" {clock(database.since, context.now.at)}{why}."
        )
        remedy = (
            "Start it, or correct `database` in config.yaml. Tweets wait in the journal meanwhile;"
            " none is lost while that has room."
        )
        yield Condition(
            "database_away",
            "",
            "critical",
            text,
            remedy,
            context.now.at - database.since,
            context.settings.alerts.database_away,
            database.since,
        )


def partitions_missing(context: RuleContext) -> Iterator[Condition]:
    """The job `partitions` should have created them days ago."""
    database = context.now.database
    if database.up and database.days_ahead == 0:
        text = "The partitions for tomorrow's tweets do not exist yet."
        remedy = (
            "Check the daemon's log for why the job `partitions` fails. Nothing is lost: otherwise"
            " they are created with the first tweet of the day."
        )
        yield Condition("partitions_missing", "", "warning", text, remedy, 1.0, PARTITIONS_FOR)


def archive_failed(context: RuleContext) -> Iterator[Condition]:
    """Archiving fails, or `archives` has problems. Nothing is deleted that is not archived."""
    remedy = (
        "See `twitterstream.py archive list`; check archive.url, its credentials and free space."
        " Days that are not archived are not deleted, so the disk keeps filling up."
    )
    for job in _failing(context):
        if job.name.startswith(ARCHIVE):
            text = _sentence("Archiving", job, context.now.at)
            yield Condition(
                "archive_failed", job.name, "warning", text, remedy, 1.0, 0, job.failing_since
            )
    for day, problem in (context.facts.archive_problems if context.facts else {}).items():
        text = f"The archive of {day} has a problem: {problem.rstrip('.')}."
        yield Condition("archive_failed", day, "warning", text, remedy, 1.0, FAILING_FOR)


def job_failed(context: RuleContext) -> Iterator[Condition]:
    for job in _failing(context):
        if not job.name.startswith(ARCHIVE):
            text = _sentence(
                f"The job {job.name!r} of {context.now.name or context.now.host}",
                job,
                context.now.at,
            )
            remedy = "Check the daemon's log for the cause. Collecting continues."
            yield Condition(
                "job_failed", job.name, "warning", text, remedy, 1.0, 0, job.failing_since
            )


def _failing(context: RuleContext) -> Iterator[JobSnapshot]:
    """Jobs that have failed for long; not while Postgres is away, which has its own alert."""
    if not context.now.database.up:
        return
    for job in context.now.jobs:
        if job.failed is None or job.failing_since is None:
            continue
        # After an outage of Postgres, jobs get the same time again.
        since = max(job.failing_since, context.now.database.since)
        if context.now.at - since > FAILING_FOR:
            yield job


def _sentence(what: str, job: JobSnapshot, now: float) -> str:
    assert job.failing_since is not None
    assert job.failed is not None
    return f"{what} has failed since {clock(job.failing_since, now)}: {job.failed.rstrip('.')}."


def sink_late(context: RuleContext) -> Iterator[Condition]:
    """A sink fails, or does not keep up; not while Postgres is away, which has its own alert."""
    for sink in context.now.sinks if context.now.database.up else ():
        if sink.late_since is None:
            continue
        since = max(sink.late_since, context.now.database.since)
        seconds = context.now.at - since
        if seconds > context.settings.alerts.sink_late:
            why = f": {sink.reason.rstrip('.')}" if sink.reason else ""
            text = f"Tweets have waited for the sink {sink.name} for {lasting(seconds)}{why}."
            remedy = sink.remedy or (
                "Check with `top` what is busy: this machine, or that of the sink. None is lost."
            )
            yield Condition("sink_late", sink.name, "warning", text, remedy, seconds, 0, since)


def webhook_disabled(context: RuleContext) -> Iterator[Condition]:
    """The daemon has given a webhook up; its tweets wait."""
    for hook in context.facts.disabled_webhooks if context.facts else ():
        text = (
            f"Webhook {hook.id} ({short(hook.name)}) of {hook.owner} is disabled:"
            f" {hook.reason.rstrip('.')}."
        )
        remedy = (
            f"Its owner, {hook.owner}, repairs the receiver or the address, and resumes or deletes"
            " the webhook on the page Webhooks."
        )
        yield Condition("webhook_disabled", str(hook.id), "warning", text, remedy, 1.0)


def key_file(context: RuleContext) -> Iterator[Condition]:
    for path, sentence in context.files.problems.items():
        critical = path in context.files.critical
        remedy = (
            "Restore the file from a backup, or renew it. `chmod 600` protects it from other users."
        )
        yield Condition(
            "key_file", path, "critical" if critical else "warning", sentence, remedy, 1.0
        )


def standby_took_over(context: RuleContext) -> Iterator[Condition]:
    """This daemon took over from one that ended without a stop. Reported once, for an hour."""
    for source in context.now.sources:
        if not source.collecting:
            continue
        at = _took_over_at(context, source.id)
        if at is not None and _collector_died(context, at):
            text = (
                f"{context.now.host} took over source {source.name} from another daemon at"
                f" {clock(at, context.now.at)}."
            )
            remedy = "Find out why the other daemon ended, and start it again as the standby."
            yield Condition("standby_took_over", source.name, "notice", text, remedy, 1.0, 0, at)


def _collector_died(context: RuleContext, taken_over: float) -> bool:
    """Whether a collector was last seen shortly before: an orderly stop needs no alert."""
    died = context.facts.collectors_died if context.facts else ()
    return any(taken_over - TAKEOVER_WITHIN <= at <= taken_over for at in died)


def _took_over_at(context: RuleContext, source_id: int) -> float | None:
    """When this daemon took the source over last; None: not in the time that is remembered."""
    standby_count, found = 0, None
    for snapshot in context.snapshots[:: len(context.snapshots) // SAMPLES_MAX + 1]:
        source = context.source(snapshot, source_id)
        if source is not None and source.collecting:
            if standby_count >= STANDBY_MIN:
                found = snapshot.at
            standby_count = 0
        elif source is not None and source.standing_by:
            standby_count += 1
    return found


def restart_loop(context: RuleContext) -> Iterator[Condition]:
    """A daemon crashes again and again; those of each role count for themselves."""
    for name, crashes in context.facts.crashes.items() if context.facts else ():
        if crashes >= CRASHES_MIN:
            text = f"The daemon on {name} has crashed {crashes} times in the last hour."
            remedy = "Check the end of its log (`journalctl -u 'twitterstream*'`) for the cause."
            yield Condition("restart_loop", name, "critical", text, remedy, float(crashes))
