"""The file that an export is in the end: a zip of its parts, and of what describes them."""

import asyncio
import contextlib
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

import msgspec

from monitor.export import data_file
from monitor.export.description import data_package, read_facts, readme
from monitor.export.files import SUFFIXES, part_name, part_path
from monitor.export.graph import GRAPH_FILE, WrittenGraph, write_graph
from monitor.export.hashed_file import HashedFile, Written
from stream.db import Database
from stream.export_requests import PACKAGE
from stream.files import PARTIAL
from stream.store.exports import COUNTED, Export, Package, Part

GRAPH_SPACE = 4  # times the rows: their sums, and what is sorted

_Entry = tuple[str, Path, Part]  # its name in the package, and its file


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
    names = [entry_name(export, parts, part) for part in parts]
    paths = await asyncio.to_thread(_complete, folder, export, parts, names)
    entries = list(zip(names, paths, parts, strict=True))
    graph = None
    if export.format == "gexf":
        graph = await asyncio.to_thread(_draw, folder, export, entries)
        export = msgspec.structs.replace(export, nodes=graph.nodes, edges=graph.edges)
    async with database.acquire() as connection:
        about = readme(export, await read_facts(connection, export))
    described = {"README.md": about, "datapackage.json": data_package(export, parts, names, graph)}
    written = await asyncio.to_thread(_write, folder, export, described, entries)
    return Package(written.bytes, written.sha256, export.nodes, export.edges)


def space_needed(folder: Path, export: Export, parts: Sequence[Part]) -> int:
    """The bytes on the disk that the package takes while it is written, about."""
    files = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    rows = sum(part.size for part in parts)
    return files + (GRAPH_SPACE * rows if export.format == "gexf" else 0)


def _complete(
    folder: Path, export: Export, parts: Sequence[Part], names: Sequence[str]
) -> list[Path]:
    """The files of all parts, those of an older package too; DamagedPart."""
    package = folder / PACKAGE
    paths = []
    for part, name in zip(parts, names, strict=True):
        path = part_path(folder, export, part.name, part.number)
        if not path.exists() and package.exists():
            with contextlib.suppress(KeyError, zipfile.BadZipFile):
                data_file.take_entry(package, name, path)
        if not data_file.has(path, part.sha256):
            raise DamagedPart(part.number)
        paths.append(path)
    return paths


def _draw(folder: Path, export: Export, entries: Sequence[_Entry]) -> WrittenGraph:
    """Write the graph that all parts make together."""
    nodes, edges = (
        [path for _, path, part in entries if part.name == name] for name in ("nodes", "edges")
    )
    return write_graph(folder, export, nodes, edges)


def _write(
    folder: Path,
    export: Export,
    described: Mapping[str, bytes],
    entries: Sequence[_Entry],
) -> Written:
    at = (export.valid_until or datetime.now(UTC)).astimezone(UTC)
    with HashedFile(folder / PACKAGE) as file:
        # It is written in one go: zipfile then needs no `seek`.
        with zipfile.ZipFile(cast("IO[bytes]", file), "w") as package:
            for name, text in described.items():
                package.writestr(_info(name, at), text)
            for name, path, part in entries:
                data_file.add_entry(package, file, _info(name, at), path, part.size)
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
