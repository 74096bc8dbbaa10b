"""The file that an export is in the end: a zip of its parts, and of what describes them."""

import asyncio
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

import msgspec

from monitor.export.description import data_package, read_facts, readme
from monitor.export.files import SUFFIXES, HashedFile, Written, part_name
from monitor.export.graph import GRAPH_FILE, WrittenGraph, write_graph
from stream.db import Database
from stream.export_requests import PACKAGE
from stream.files import PARTIAL
from stream.store.exports import COUNTED, Export, Package, Part

COPY_BYTES = 1 << 20  # at a time
COMPRESSION = 1  # of zlib: more takes much longer for little
ZIP64_FROM = 1 << 30  # bytes of a part, which compression might not make smaller
GRAPH_SPACE = 4  # times the parts: the sums of their rows, what is sorted, and the package


class DamagedPart(Exception):
    """The file of a part is missing, or differs from what was noted: it must be written again."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


async def write_package(
    database: Database, folder: Path, export: Export, parts: Sequence[Part]
) -> Package:
    """Put the parts into one file, which replaces an older one; DamagedPart."""
    rows = sum(part.rows for part in parts if part.name in COUNTED)
    export = msgspec.structs.replace(export, rows=rows, nodes=None, edges=None)
    graph = None
    if export.format == "gexf":
        graph = await asyncio.to_thread(_draw, folder, export, parts)
        export = msgspec.structs.replace(export, nodes=graph.nodes, edges=graph.edges)
    async with database.acquire() as connection:
        about = readme(export, await read_facts(connection, export))
    names = [entry_name(export, parts, part) for part in parts]
    data = data_package(export, parts, names, graph)
    described = {"README.md": about, "datapackage.json": data}
    written = await asyncio.to_thread(_write, folder, export, parts, described)
    return Package(written.bytes, written.sha256, export.nodes, export.edges)


def space_needed(export: Export, parts: Sequence[Part]) -> int:
    """The bytes on the disk that the package takes while it is written, about."""
    return sum(part.size for part in parts) * (GRAPH_SPACE if export.format == "gexf" else 1)


def _draw(folder: Path, export: Export, parts: Sequence[Part]) -> WrittenGraph:
    """Write the graph that all parts make together; DamagedPart."""
    files: dict[str, list[Path]] = {}
    for part in parts:
        path = folder / part_name(export, part.name, part.number)
        files.setdefault(part.name, []).append(path)
        with _part_file(folder, export, parts, part) as data:
            if path.exists():
                _copy(data, lambda _: None, part)
                continue
            with HashedFile(path) as file:
                _copy(data, file.write, part)
                file.finish()
    return write_graph(folder, export, files["nodes"], files["edges"])


def _write(
    folder: Path, export: Export, parts: Sequence[Part], described: Mapping[str, bytes]
) -> Written:
    at = (export.valid_until or datetime.now(UTC)).astimezone(UTC)
    with HashedFile(folder / PACKAGE) as file:
        # It is written in one go: zipfile then needs no `seek`.
        with zipfile.ZipFile(
            cast("IO[bytes]", file), "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION
        ) as package:
            for name, text in described.items():
                package.writestr(_info(name, at), text)
            for part in parts:
                info = _info(entry_name(export, parts, part), at)
                with (
                    _part_file(folder, export, parts, part) as data,
                    package.open(info, "w", force_zip64=part.size > ZIP64_FROM) as entry,
                ):
                    _copy(data, entry.write, part)
            if export.format == "gexf":
                with (
                    (folder / GRAPH_FILE).open("rb") as graph,
                    package.open(_info(GRAPH_FILE, at), "w", force_zip64=True) as entry,
                ):
                    shutil.copyfileobj(graph, entry)
        return file.finish()


def _info(name: str, at: datetime) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (at.year, at.month, at.day, at.hour, at.minute, at.second))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def entry_name(export: Export, parts: Sequence[Part], part: Part) -> str:
    """The name of a part in the package: without its number if it is the only one."""
    if parts[-1].number == 1:
        return f"{part.name}.{SUFFIXES[export.format]}"
    return part_name(export, part.name, part.number)


@contextmanager
def _part_file(
    folder: Path, export: Export, parts: Sequence[Part], part: Part
) -> Iterator[IO[bytes]]:
    """The data of a part: its file, or what an older package has of it."""
    path, package = folder / part_name(export, part.name, part.number), folder / PACKAGE
    try:
        if path.exists() or not package.exists():
            with path.open("rb") as file:
                yield file
        else:
            with (
                zipfile.ZipFile(package) as older,
                older.open(entry_name(export, parts, part)) as entry,
            ):
                yield entry
    except (FileNotFoundError, KeyError, zipfile.BadZipFile) as error:
        raise DamagedPart(part.number) from error


def _copy(data: IO[bytes], write: Callable[[bytes], object], part: Part) -> None:
    found = hashlib.sha256()
    while chunk := data.read(COPY_BYTES):
        found.update(chunk)
        write(chunk)
    if found.hexdigest() != part.sha256:
        raise DamagedPart(part.number)


def remove_parts(folder: Path) -> None:
    """Remove everything but the package, which has it all."""
    for path in folder.iterdir():
        if path.is_dir():  # of a workbook or a graph
            remove(path)
        elif path.name != PACKAGE:
            path.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the unfinished files that a killed process left."""
    for path in folder.glob(f"*{PARTIAL}"):
        path.unlink(missing_ok=True)
    for pattern in ("xlsx-*", "graph-*"):
        for path in folder.glob(pattern):
            remove(path)


def remove(folder: Path) -> None:
    """Remove all files of an export."""
    shutil.rmtree(folder, ignore_errors=True)
