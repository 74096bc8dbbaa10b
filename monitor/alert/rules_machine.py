"""Rules about the machine: disks, processor, memory, and how the program gets along on it."""

from collections.abc import Iterator, Sequence

from monitor.alert.condition import Condition, Severity, View
from monitor.alert.words import clock, lasting, listed, size
from monitor.reading import Volume
from stream.config import Settings

MEAN_OF = 60.0  # seconds; a shorter peak is no load
LAG_WITHIN = 60.0  # seconds; held up again and again, at least this often …
LAG_HOLD = 120.0  # … for so long
LOW_HOLD = 20.0  # seconds
BACK = 1.0  # percent by which free space must be more again
SOON_HOLD = 600.0  # seconds


def disk_low(view: View) -> Iterator[Condition]:
    """Each file system once, however many names it has."""
    settings = view.settings.alerts
    for volumes in _disks(view.now.machine.volumes):
        first = volumes[0]
        open_ = ("disk_low", first.name) in view.opened
        percent = first.free_percent - (BACK if open_ else 0.0)
        if percent < settings.disk_warn_percent:
            severity, effect, remedy = _level(volumes, view.settings)
            names = listed([volume.name for volume in volumes])
            text = (
                f"The disk of {names} ({first.path}) has {size(first.free)} free,"
                f" {first.free_percent:.1f} % of it{effect}."
            )
            yield Condition(
                "disk_low", first.name, severity, text, remedy, first.free_percent, LOW_HOLD
            )


def _disks(volumes: Sequence[Volume]) -> list[list[Volume]]:
    by_device: dict[int, list[Volume]] = {}
    for volume in volumes:
        by_device.setdefault(volume.device, []).append(volume)
    return list(by_device.values())


def _level(volumes: Sequence[Volume], settings: Settings) -> tuple[Severity, str, str]:
    """How bad it is, what the program does about it, and what a person can do."""
    limits, percent = settings.alerts, volumes[0].free_percent
    remedy = "Make room on it, or move data_dir to a larger disk; all of it resumes by itself."
    if [volume.name for volume in volumes] == ["archive"]:
        return "warning", ", and archiving stops when it is full", "Make room on it."
    if percent < limits.disk_pause_all_percent:
        return "critical", ", so collecting has paused", remedy
    if percent < limits.disk_pause_low_percent:
        return "critical", ", so the tracks of lowest priority pause", remedy
    if percent < limits.disk_archive_percent:
        if settings.archive.url:
            return "warning", ", so archived days are dropped before their time", remedy
        more = f"{remedy} With archive.url set, old days would move to the archive."
        return "warning", f"; below {limits.disk_pause_low_percent:g} % tracks pause", more
    return "warning", "", remedy


def disk_full_soon(view: View) -> Iterator[Condition]:
    """By the slope of the last seven days."""
    days = view.settings.alerts.disk_full_days
    for each in view.facts.forecasts if view.facts else ():
        if each.days <= days:
            # Hysteresis is in the rule's hour: a slope of seven days does not jump.
            text = (
                f"The disk of {each.volume} will be full in {lasting(each.days * 86_400)}:"
                f" it has {size(each.free)} free and loses {size(each.bytes_per_day)} a day."
            )
            remedy = (
                "Make room, move data_dir to a larger disk, keep tweets for a shorter time"
                " (retention.tweets_days), or follow less."
            )
            yield Condition(
                "disk_full_soon", each.volume, "warning", text, remedy, each.days, SOON_HOLD
            )


def cpu_high(view: View) -> Iterator[Condition]:
    settings = view.settings.alerts
    recent = view.last(MEAN_OF)
    percent = sum(each.machine.cpu_percent for each in recent) / len(recent)
    if percent >= settings.cpu_percent:
        text = f"The processor of {view.now.host} is {percent:.0f} % busy."
        remedy = "See with `top` what runs there; tweets may be stored late, but none is lost."
        yield Condition("cpu_high", "", "warning", text, remedy, percent, settings.busy_for)


def memory_high(view: View) -> Iterator[Condition]:
    settings = view.settings.alerts
    recent = view.last(MEAN_OF)
    percent = sum(each.machine.memory_percent for each in recent) / len(recent)
    if percent >= settings.memory_percent:
        text = (
            f"The memory of {view.now.host} is {percent:.0f} % in use; this daemon has"
            f" {size(view.now.process.memory)} of it."
        )
        remedy = "See with `top` what takes it; Linux ends a process when there is none left."
        yield Condition("memory_high", "", "warning", text, remedy, percent, settings.busy_for)


def loop_lag(view: View) -> Iterator[Condition]:
    worst = max(each.process.loop_lag for each in view.last(LAG_WITHIN))
    if worst >= view.settings.alerts.loop_lag:
        text = f"The daemon on {view.now.host} is held up again and again, by up to {worst:.1f} s."
        remedy = (
            "See with `top` whether the machine is too busy or swaps; a network may close a"
            " connection that is read too slowly."
        )
        yield Condition("loop_lag", "", "warning", text, remedy, worst, LAG_HOLD)


def database_away(view: View) -> Iterator[Condition]:
    database = view.now.database
    if not database.up:
        why = f": {database.error}" if database.error else ""
        text = (
            f"The database has not answered {view.now.host} since"
            f" {clock(database.since, view.now.at)}{why}."
        )
        remedy = (
            "Start it, or mend `database` in the settings. Tweets wait in the journal meanwhile;"
            " none is lost while that has room."
        )
        yield Condition(
            "database_away",
            "",
            "critical",
            text,
            remedy,
            view.now.at - database.since,
            view.settings.alerts.database_away,
            database.since,
        )
