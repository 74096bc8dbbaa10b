"""`import FILE…`: recorded messages, by the same path as live ones."""

import asyncio
import contextlib
import gzip
import io
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

import click
import msgspec
import zstandard
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from stream import batch, commit, sources, tracks
from stream.collector import journal_folder
from stream.commands.context import Context, command
from stream.commands.source import NETWORK
from stream.config import Settings
from stream.control import due, follow
from stream.db import Database
from stream.errors import Broken, TwitterstreamError
from stream.journal import Journal, segments
from stream.journal.journal import JournalTaken
from stream.matcher import Matcher
from stream.networks.table import NETWORKS
from stream.tweet import NetworkName, Source, SourceId, StateNote
from stream.writer import Writer

CHUNK = 1 << 20  # bytes of lines that go into the journal at once
AHEAD = 32 << 20  # bytes that the reading may be ahead of Postgres


@click.command("import")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@click.option("--network", type=NETWORK, required=True, help="Whose messages these are.")
@command
async def import_files(context: Context, files: tuple[Path, ...], network: NetworkName) -> None:
    """Store recorded messages: one JSON object a line, also .gz and .zst.

    Segments of a journal (.journal, .journal.zst), such as the raw backup holds, are taken, too.
    It goes the way of live tweets: matched against the tracks, stored once, rejects kept. So it can
    be repeated, and goes on where it was interrupted.
    """
    async with context.database() as database:
        source = await _source(database, network)
        folder = journal_folder(context.settings, source)
        # The files are the backup: what is stored need not be kept.
        settings = msgspec.structs.replace(context.settings.journal, keep=0)
        try:
            with Journal.open(folder, settings) as journal:
                writer = await _writer(context.settings, database, source, journal)
                await _import(context, files, journal, writer)
        except JournalTaken:
            raise TwitterstreamError(
                f"Another import from {network} is running; wait until it ends."
            ) from None
    context.out.print(_summary(writer.stored))


async def _source(database: Database, network: NetworkName) -> Source:
    """Imports have a source of their own, so that a live one never waits for them."""
    name = f"import-{network}"
    async with database.acquire() as connection:
        row = await sources.named(connection, name)
        source_id = row.id if row else await sources.add(connection, name, network, enabled=False)
        note = StateNote("importing", "Holds what was imported from files.", time.time())
        await sources.write_state(connection, SourceId(source_id), note)
    return Source(source_id, name, network, None, None, {}, enabled=False)


async def _writer(
    settings: Settings, database: Database, source: Source, journal: Journal
) -> Writer:
    matcher = await _matcher(settings, database)
    return Writer(
        database,
        source,
        journal,
        NETWORKS[source.network].decode,
        # Recorded rules are not ours: only our own matcher is asked.
        lambda tweet: batch.attribute(tweet, matcher.match, lambda _: ()),
        save_every=settings.save_every,
        longest=settings.max_frame_bytes,
        terms=commit.Terms(
            network=source.network,
            keep_unmatched=settings.keep_unmatched,
            erase=settings.deletions == "erase",
        ),
    )


async def _matcher(settings: Settings, database: Database) -> Matcher:
    async with database.acquire() as connection:
        every = await tracks.everything(connection)
    current = [track for track in every if due(track) is None]
    return follow(current, (), settings, {}).matcher


async def _import(
    context: Context, files: tuple[Path, ...], journal: Journal, writer: Writer
) -> None:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=context.out,
    ) as progress:
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(journal.run(), name="journal")
            storing = group.create_task(writer.run(), name="writer")
            await writer.started.wait()
            for path in files:
                await _read(path, journal, progress, context.settings.max_frame_bytes)
            writer.drain()
            await storing
            keeping.cancel()
    journal.rotate()
    await journal.trim()


async def _read(path: Path, journal: Journal, progress: Progress, longest: int) -> None:
    task = progress.add_task(path.name, total=path.stat().st_size)
    with path.open("rb") as raw, _opened(path, raw) as lines:
        while True:
            try:
                chunk = await asyncio.to_thread(lines.readlines, CHUNK)
            except (EOFError, OSError, zstandard.ZstdError, Broken) as error:
                raise TwitterstreamError(
                    f"{path} is damaged or not compressed as its name says ({error}). "
                    "What came before is stored; mend the file and import it again."
                ) from error
            if not chunk:
                return
            while journal.end - journal.stored > AHEAD:
                await journal.changed()
            while (why := journal.room()) is not None:
                progress.update(task, description=f"{path.name}: waiting, {why}")
                await asyncio.sleep(1)
            progress.update(task, description=path.name)
            journal.append([body[:longest] for line in chunk if (body := line.strip())])
            progress.update(task, completed=raw.tell())


class _Lines(Protocol):
    def readlines(self, hint: int, /) -> list[bytes]:
        """The next messages, about so many bytes; none at the end."""


class _Records:
    """The frames of a journal's segment; what the daemon itself noted there stays out."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._records = segments.records(file, path)

    def readlines(self, hint: int, /) -> list[bytes]:
        taken: list[bytes] = []
        for kind, _, body in self._records:
            if kind == segments.FRAME:
                taken.append(body)
                hint -= len(body)
            if hint <= 0:
                break
        return taken


@contextlib.contextmanager
def _opened(path: Path, raw: BinaryIO) -> Iterator[_Lines]:
    """The messages of a file, whether it is compressed or not."""
    with _unpacked(path, raw) as file:
        is_segment = path.name.endswith((segments.RAW, segments.PACKED))
        yield _Records(cast("BinaryIO", file), path) if is_segment else file


@contextlib.contextmanager
def _unpacked(path: Path, raw: BinaryIO) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.open(raw, "rb") as lines:
            yield cast("IO[bytes]", lines)
    elif path.suffix == ".zst":
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        with io.BufferedReader(reader, CHUNK) as unpacked:
            yield unpacked
    else:
        yield raw


def _summary(outcomes: Counter[str]) -> str:
    """What became of every line."""
    frames = sum(n for outcome, n in outcomes.items() if outcome not in ("repaired", "withheld"))
    said = {
        "stored": "new and credited to tracks",
        "unmatched": "new, matching no track",
        "dropped": "matching no track and not kept",
        "duplicate": "stored before",
        "deleted": "deleted before",
        "control": "control messages",
        "rejected": "rejected (table rejects)",
    }
    parts = [f"{outcomes[name]:,} {text}" for name, text in said.items() if outcomes[name]]
    return f"{frames:,} messages: " + (", ".join(parts) or "nothing in them") + "."
