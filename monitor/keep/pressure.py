"""What is done while a disk fills: archive early, pause the least important tracks, then all.

All of it ends by itself when there is room again. Below it stands the journal's own floor
(journal.min_free_*), which needs nobody to look. Whether the archive's own folder has room is for
the archive to say: to pause collecting would not help it.
"""

import asyncio
import enum
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import date

from monitor.chores import Chore
from monitor.reading import Reading, Volume, VolumeName
from stream.config import AlertSettings, Settings
from stream.control import due
from stream.daemon import Daemon
from stream.tracks import Track
from stream.tweet import TrackId

logger = logging.getLogger(__name__)

OURS: tuple[VolumeName, ...] = ("data", "journal", "postgres")
BACK = 1.0  # percent more than where a level begins: there it ends
EVERY = 30.0  # seconds
LIMIT = 1800.0  # seconds
STALE = 300.0  # seconds; what nobody has looked at for so long holds nothing back any more


class Level(enum.IntEnum):
    """How little room there is; each level does what those before it do, too."""

    FINE = 0
    WARN = 1  # alerts say so
    ARCHIVE = 2
    PAUSE_LOW = 3
    PAUSE_ALL = 4


def begins(settings: AlertSettings) -> Mapping[Level, float]:
    """The percentages of free room below which the levels begin."""
    return {
        Level.WARN: settings.disk_warn_percent,
        Level.ARCHIVE: settings.disk_archive_percent,
        Level.PAUSE_LOW: settings.disk_pause_low_percent,
        Level.PAUSE_ALL: settings.disk_pause_all_percent,
    }


def level_of(free: float, before: Level, settings: AlertSettings) -> Level:
    """The level with so many percent free; one that has begun ends a little higher."""
    return max(
        (
            level
            for level, begin in begins(settings).items()
            if free < (begin + BACK if level <= before else begin)
        ),
        default=Level.FINE,
    )


def least_important(tracks: Iterable[Track]) -> frozenset[TrackId]:
    """The followed tracks of the lowest priority; none where all have the same."""
    followed = [track for track in tracks if track.state != "refused" and due(track) is None]
    lowest = min((track.priority for track in followed), default=0)
    low = frozenset(track.id for track in followed if track.priority == lowest)
    return low if len(low) < len(followed) else frozenset()


class Pressure:
    """Hears every reading, and acts on this daemon.

    `drop_early` takes the oldest archived day out of Postgres and says which; nothing: there is
    none. `archive` has closed days archived soon.
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
        self._held: tuple[frozenset[TrackId], str] = (frozenset(), "")
        self._chore = Chore("disk pressure", EVERY, self.relieve, limit=LIMIT)

    def chores(self) -> list[Chore]:
        """What has to be run for this."""
        return [self._chore]

    def hear(self, reading: Reading) -> None:
        """Act on how much room there is now."""
        for volume in reading.machine.volumes:
            if volume.name in OURS:
                before = self._at(volume.name)
                level = level_of(volume.free_percent, before, self.settings.alerts)
                if level != before:
                    _say(level, before, volume)
                self._levels[volume.name] = level, volume
                self._seen[volume.name] = time.monotonic()
        self._act()

    async def relieve(self) -> None:
        """Make room in Postgres out of turn, as far as the archive allows; let go what is stale."""
        self._act()
        while (found := self._levels.get("postgres")) and found[0] >= Level.ARCHIVE:
            volume = found[1]
            if await asyncio.to_thread(_free_percent, volume.path) >= self._enough():
                return
            if not (days := await self.drop_early()):
                self.archive()
                return
            logger.warning(
                "a day went out of Postgres early: the disk is nearly full, and it is archived",
                extra={"days": ", ".join(map(str, days)), "disk": volume.path},
            )

    # -- acting -----------------------------------------------------------------------------------

    def _at(self, name: VolumeName) -> Level:
        return self._levels[name][0] if name in self._levels else Level.FINE

    def _enough(self) -> float:
        return self.settings.alerts.disk_archive_percent + BACK

    def _act(self) -> None:
        self._forget_stale()
        before, self.level = self.level, max(map(self._at, OURS))
        why = self._why(Level.PAUSE_ALL)
        for collector in self.daemon.collectors.values():
            if collector.journal is not None:
                collector.journal.held = why
                # What is stored already makes room before anything new has to wait.
                collector.journal.keep_stored = self._at("journal") < Level.PAUSE_LOW
        why = self._why(Level.PAUSE_LOW)
        low = least_important(self.daemon.control.tracks) if why else frozenset()
        held = (low, why or "")
        if held != self._held:
            self._held = held
            self.daemon.control.hold(*held)
        if before < Level.ARCHIVE <= self.level:
            self._chore.hurry()

    def _forget_stale(self) -> None:
        for name, seen in list(self._seen.items()):
            if time.monotonic() - seen > STALE:
                del self._seen[name], self._levels[name]

    def _why(self, level: Level) -> str | None:
        """Why this is done; the same words as long as it lasts. None: it is not."""
        full = [volume for reached, volume in self._levels.values() if reached >= level]
        if not full:
            return None
        begin = begins(self.settings.alerts)[level]
        setting = "disk_pause_all_percent" if level == Level.PAUSE_ALL else "disk_pause_low_percent"
        return (
            f"The disk of {full[0].path} has less than {begin:g} % free (alerts.{setting}); "
            "free some space, and it goes on by itself."
        )


def _say(level: Level, before: Level, volume: Volume) -> None:
    text = "room on a disk is short" if level > before else "there is more room on a disk again"
    logger.warning(
        text,
        extra={
            "disk": volume.path,
            "free": f"{volume.free_percent:.1f} %",
            "level": level.name.lower(),
            "before": before.name.lower(),
        },
    )


def _free_percent(path: str) -> float:
    disk = os.statvfs(path)
    usable = disk.f_blocks - disk.f_bfree + disk.f_bavail
    return 100.0 * disk.f_bavail / usable if usable else 0.0
