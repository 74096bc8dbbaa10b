"""A small file is replaced completely or not at all; free space on a disk."""

import os
import subprocess
from pathlib import Path

import pytest

from stream import files
from stream.files import Disk, disk


def test_a_file_is_replaced_atomically_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state"
    files.write(path, b"first")
    with pytest.raises(TypeError), files.replacing(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]  # the error is wanted
    assert path.read_bytes() == b"first"
    files.write(path, b"second")
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [path]


def test_data_file_and_folder_are_synced_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power at any moment leaves the one or the other file."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        fsync(descriptor)

    def move(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", move)
    files.write(tmp_path / "state", b"data")
    assert done == ["file", "rename", "folder"]


def test_an_exclusive_write_fails_when_the_file_exists(tmp_path: Path) -> None:
    path = tmp_path / "key"
    files.write(path, b"first")
    with pytest.raises(FileExistsError), files.replacing(path, exclusive=True) as file:
        file.write(b"second")
    assert path.read_bytes() == b"first"
    assert [*tmp_path.iterdir()] == [path]


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """Root writes into folders of other accounts."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"whole")
    (tmp_path / "state.partial").symlink_to(victim)
    (tmp_path / "state").symlink_to(victim)
    files.write(tmp_path / "state", b"data")
    assert victim.read_bytes() == b"whole"
    assert (tmp_path / "state").read_bytes() == b"data"


def test_total_and_used_space_are_those_of_df(tmp_path: Path) -> None:
    said = subprocess.run(
        ["df", "--block-size=1", "--output=size,used", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    total, used = map(int, said.stdout.split("\n")[1].split())
    found = disk(tmp_path)
    assert found.total == total
    assert found.used == pytest.approx(used, abs=100e6)  # others write at the same time
    assert found.used + found.free <= found.total


@pytest.mark.parametrize(
    ("least", "percent", "floor"), [(0, 10, 90), (50, 10, 90), (100, 10, 100), (0, 0, 0)]
)
def test_space_reserved_for_root_is_not_counted(least: int, percent: float, floor: int) -> None:
    found = Disk(total=1000, used=450, free=450)
    assert found.free_percent == 50
    assert found.floor(least, percent) == floor


def test_what_is_not_a_file_is_not_replaced(tmp_path: Path) -> None:
    """As root, it would take the place of a device."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match="it is not a file"), files.replacing(path):
        pass
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]
