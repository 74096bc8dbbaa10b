"""The file systems that are used, and their room."""

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from monitor.aside import Aside, StillBusy
from monitor.reading import Volume, VolumeName
from stream.config import Settings

PATIENCE = 5.0  # seconds, for the kernel and for each volume


def archive_folder(url: str) -> Path | None:
    """The folder of `archive.url`, where it is one of this machine."""
    if url.startswith("/"):
        return Path(url)
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    return None


class Volumes:
    """Looks at each volume by itself: one that hangs is left out, and hides no other."""

    def __init__(self, settings: Settings) -> None:
        data = Path(settings.data_dir).expanduser().resolve()
        self.embedded = data / "postgres" / "cluster"
        self._looks: dict[VolumeName, tuple[Path, Aside]] = {}
        self.use("data", data)
        self.use("journal", data / "journal")
        if not settings.database:
            self.use("postgres", self.embedded)
        if (folder := archive_folder(settings.archive.url)) is not None:
            self.use("archive", folder)

    def use(self, name: VolumeName, path: Path) -> None:
        """Look there, too, from now on."""
        if name not in self._looks or self._looks[name][0] != path:
            self._looks[name] = path, Aside(f"volume {name}")

    async def look(self) -> tuple[Volume, ...]:
        found = await asyncio.gather(*(_look(aside, n, p) for n, (p, aside) in self._looks.items()))
        return tuple(volume for volume in found if volume is not None)


async def _look(aside: Aside, name: VolumeName, path: Path) -> Volume | None:
    try:
        return await aside.do(lambda: volume(name, path), PATIENCE)
    except (OSError, StillBusy):
        return None


def volume(name: VolumeName, path: Path) -> Volume:
    """The file system that holds this path. OSError when nobody may look."""
    there = path
    # Our own folders are made when they are needed; another's has to be there.
    while name != "postgres" and not there.exists() and there != there.parent:
        there = there.parent
    disk = os.statvfs(there)
    return Volume(
        name=name,
        path=str(path),
        device=there.stat().st_dev,
        total=disk.f_blocks * disk.f_frsize,
        used=(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        free=disk.f_bavail * disk.f_frsize,
    )
