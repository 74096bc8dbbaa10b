"""Reacts to a disk that is nearly full: drop archived days early, pause some tracks, then all.

All of it ends by itself when there is space again. Independently of it, the journal keeps its own
minimum (journal.min_free_*). The disk of the archive does not count: pausing would not help it.
"""

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import date

from monitor.jobs import PeriodicJob
from monitor.snapshot import Snapshot, Volume, VolumeName
from stream.config import AlertSettings, Settings
from stream.daemon import Daemon
from stream.files import disk
from stream.store.tracks import Track
from stream.tracking_plan import inactive_reason
from stream.tweet import TrackId

logger = logging.getLogger(__name__)

WATCHED_VOLUMES: tuple[VolumeName, ...] = ("data", "journal", "postgres")
HYSTERESIS = 1.0  # percent: a level ends that much above where it begins
INTERVAL = 30.0  # seconds
RUN_TIMEOUT = 1800.0  # seconds
STALE_AFTER = 300.0  # seconds; an older reading pauses nothing any more


class Level(enum.IntEnum):
    """How little space there is; each level includes what those before it do."""

    FINE = 0
    WARN = 1  # alerts only
    ARCHIVE = 2  # archive closed days, drop archived ones
    PAUSE_LOW = 3  # pause the tracks of the lowest priority
    PAUSE_ALL = 4


def thresholds(settings: AlertSettings) -> Mapping[Level, float]:
    """The percentages of free space below which the levels begin."""
    return {
        Level.WARN: settings.disk_warn_percent,
        Level.ARCHIVE: settings.disk_archive_percent,
        Level.PAUSE_LOW: settings.disk_pause_low_percent,
        Level.PAUSE_ALL: settings.disk_pause_all_percent,
    }


def level_of(free: float, before: Level, settings: AlertSettings) -> Level:
    """The level for a percentage of free space; a level ends a little above where it began."""
    return max(
        (
            level
            for level, threshold in thresholds(settings).items()
            if free < (threshold + HYSTERESIS if level <= before else threshold)
        ),
        default=Level.FINE,
    )


def lowest_priority(tracks: Iterable[Track]) -> frozenset[TrackId]:
    """The active tracks of the lowest priority; none when all have the same."""
    active = [
        track for track in tracks if track.state != "refused" and inactive_reason(track) is None
    ]
    lowest = min((track.priority for track in active), default=0)
    low = frozenset(track.id for track in active if track.priority == lowest)
    return low if len(low) < len(active) else frozenset()


class DiskPressure:
    """Pauses and resumes this daemon by the free space in each snapshot.

    `drop_early` drops the oldest archived day and returns it, or nothing when there is none;
    `archive` starts an archive run soon.
    """

    def __init__(
        self,
        daemon: Daemon,
        settings: Settings,
        drop_early: Callable[[], Awaitable[Sequence[date]]],
        archive: Callable[[], None],
    ) -> None:
        self.daemon = daemon
        self.settings = settings
        self.drop_early = drop_early
        self.archive = archive
        self.level = Level.FINE
        self._levels: dict[VolumeName, tuple[Level, Volume]] = {}
        self._seen: dict[VolumeName, float] = {}  # seconds, monotonic
        self._paused: tuple[frozenset[TrackId], str] = (frozenset(), "")
        self.job = PeriodicJob("disk pressure", INTERVAL, self.free_space, limit=RUN_TIMEOUT)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Act on the free space there is now."""
        for volume in snapshot.machine.volumes:
            if volume.name in WATCHED_VOLUMES:
                before = self._level_of(volume.name)
                level = level_of(volume.free_percent, before, self.settings.alerts)
                if level != before:
                    _log_change(level, before, volume)
                self._levels[volume.name] = level, volume
                self._seen[volume.name] = time.monotonic()
        self._apply()

    async def free_space(self) -> None:
        """Drop archived days early, and resume what a stale reading has paused."""
        self._apply()
        while (found := self._levels.get("postgres")) and found[0] >= Level.ARCHIVE:
            volume = found[1]
            if (await asyncio.to_thread(disk, volume.path)).free_percent >= self._target_percent():
                return
            if not (days := await self.drop_early()):
                self.archive()
                return
            logger.warning(
                "dropped archived days early: the disk is nearly full",
                extra={"days": ", ".join(map(str, days)), "disk": volume.path},
            )

    # -- pausing ----------------------------------------------------------------------------------

    def _level_of(self, name: VolumeName) -> Level:
        return self._levels[name][0] if name in self._levels else Level.FINE

    def _target_percent(self) -> float:
        return self.settings.alerts.disk_archive_percent + HYSTERESIS

    def _apply(self) -> None:
        self._forget_stale()
        before, self.level = self.level, max(map(self._level_of, WATCHED_VOLUMES))
        reason = self._reason(Level.PAUSE_ALL)
        for collector in self.daemon.collectors.values():
            if collector.journal is not None:
                collector.journal.paused_because = reason
                # Stored segments are deleted before anything new has to wait.
                collector.journal.keep_stored = self._level_of("journal") < Level.PAUSE_LOW
        reason = self._reason(Level.PAUSE_LOW)
        low = lowest_priority(self.daemon.reconciler.tracks) if reason else frozenset()
        paused = (low, reason or "")
        if paused != self._paused:
            self._paused = paused
            self.daemon.reconciler.pause_tracks(*paused)
        if before < Level.ARCHIVE <= self.level:
            self.job.run_soon()

    def _forget_stale(self) -> None:
        for name, seen in list(self._seen.items()):
            if time.monotonic() - seen > STALE_AFTER:
                del self._seen[name], self._levels[name]

    def _reason(self, level: Level) -> str | None:
        """Why a level is reached, in the same words as long as it lasts; None when it is not."""
        full = [volume for reached, volume in self._levels.values() if reached >= level]
        if not full:
            return None
        threshold = thresholds(self.settings.alerts)[level]
        setting = "disk_pause_all_percent" if level == Level.PAUSE_ALL else "disk_pause_low_percent"
        return (
            f"The disk of {full[0].path} has less than {threshold:g} % free (alerts.{setting}). "
            "Free some space: collecting resumes by itself."
        )


def _log_change(level: Level, before: Level, volume: Volume) -> None:
    text = "a disk is getting full" if level > before else "a disk has more free space again"
    logger.warning(
        text,
        extra={
            "disk": volume.path,
            "free": f"{volume.free_percent:.1f} %",
            "level": level.name.lower(),
            "before": before.name.lower(),
        },
    )
