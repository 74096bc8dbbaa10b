"""Data files of exports: compressed while they are read, and taken over by packages as they are."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import io
import threading
import zipfile
from typing import TYPE_CHECKING

import pytest

from monitor.export import data_file
from monitor.export.data_file import BATCH_BYTES, DataFile
from monitor.export.hashed_file import HashedFile

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 60.0  # seconds
LINES = [b"%d tweets of snow\n" % n for n in range(1000)]


@pytest.fixture
def let_write(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before this is set."""
    free = threading.Event()
    write = DataFile.write

    def later(own: DataFile, data: bytes) -> int:
        assert free.wait(WAIT)
        return write(own, data)

    monkeypatch.setattr(DataFile, "write", later)
    return free


def write_lines(path: Path) -> str:
    """Write a file; returns its checksum."""
    with DataFile(path) as file:
        for line in LINES:
            file.write(line)
        return file.finish().sha256


async def test_what_is_sent_in_pieces_comes_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_file, "BATCH_BYTES", 100)
    with DataFile(tmp_path / "it.gz") as file:
        file.write(b"heading\n")
        for line in LINES:
            await file.output(line)
        await file.settle()
        written = file.finish()
    expected = b"heading\n" + b"".join(LINES)
    assert gzip.decompress((tmp_path / "it.gz").read_bytes()) == expected
    assert (written.bytes, written.sha256) == (len(expected), hashlib.sha256(expected).hexdigest())


async def test_one_batch_is_taken_while_another_is_compressed_and_no_more(
    tmp_path: Path, let_write: threading.Event
) -> None:
    with DataFile(tmp_path / "it.gz") as file:
        await file.output(bytes(BATCH_BYTES))
        await file.output(bytes(BATCH_BYTES - 1))
        full = asyncio.ensure_future(file.output(b"\n"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not full.done()
        let_write.set()
        await full
        await file.settle()
        assert file.finish().bytes == 2 * BATCH_BYTES


async def test_a_file_that_is_given_up_while_it_is_compressed_is_removed(
    tmp_path: Path, let_write: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyError), DataFile(tmp_path / "it.gz") as file:  # noqa: PT012 - a thread
        await file.output(bytes(BATCH_BYTES))
        for _ in range(10):
            await asyncio.sleep(0)  # the thread has begun
        raise KeyError
    let_write.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    for _ in range(10):
        await asyncio.sleep(0)  # the loop hears what became of it
    del file
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []


@pytest.mark.parametrize("large", [False, True])
def test_a_package_has_the_data_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    if large:  # as files of more than 4 GB
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    sha256, data = write_lines(tmp_path / "it.gz"), b"".join(LINES)
    package = tmp_path / "it.zip"
    with HashedFile(package) as output:
        with zipfile.ZipFile(output, "w") as entries:
            entries.writestr("before", b"1")
            for name in ("first", "second"):
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                data_file.add_entry(entries, output, info, tmp_path / "it.gz", len(data))
            entries.writestr("after", b"2")
        output.finish()
    with zipfile.ZipFile(package) as found:
        assert found.testzip() is None
        assert found.namelist() == ["before", "first", "second", "after"]
        assert [found.read(name) for name in found.namelist()] == [b"1", data, data, b"2"]
    data_file.take_entry(package, "second", tmp_path / "again.gz")
    assert data_file.has(tmp_path / "again.gz", sha256)


def test_an_entry_with_its_sizes_after_it_is_given_back(tmp_path: Path) -> None:
    """As in packages of earlier versions."""
    sha256 = write_lines(tmp_path / "it.gz")
    stream = io.BytesIO()
    stream.seekable = lambda: False  # type: ignore[method-assign]
    stream.seek = lambda *_: (_ for _ in ()).throw(OSError())  # type: ignore[method-assign]
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as entries:
        with entries.open("tweets", "w") as entry:
            entry.write(b"".join(LINES))
        assert entries.getinfo("tweets").flag_bits & 0x08
    (tmp_path / "it.zip").write_bytes(stream.getvalue())
    data_file.take_entry(tmp_path / "it.zip", "tweets", tmp_path / "again.gz")
    assert data_file.has(tmp_path / "again.gz", sha256)


def test_a_damaged_file_does_not_have_its_data(tmp_path: Path) -> None:
    path = tmp_path / "it.gz"
    sha256 = write_lines(path)
    data = path.read_bytes()
    for damaged in (data[:-1], data[:50], b"", data[:99] + b"\0\0\0" + data[102:], data[5:]):
        path.write_bytes(damaged)
        assert not data_file.has(path, sha256)
    path.unlink()
    assert not data_file.has(path, sha256)
    path.write_bytes(data)
    assert data_file.has(path, sha256)
    assert not data_file.has(path, "0" * 64)
