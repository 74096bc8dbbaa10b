"""`import FILE…`: store recorded messages, by the same path as live ones."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import msgspec
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from stream import batch
from stream.collector import journal_folder
from stream.commands.context import Context, command
from stream.commands.parameters import NetworkChoice
from stream.config import Settings
from stream.db import Database
from stream.errors import TwitterstreamError
from stream.frame_readers import DirectReader
from stream.importing.recording import STDIN, Recording
from stream.importing.unfold import Unfolder
from stream.importing.unpack import Damaged, NotRead
from stream.incoming_tweets import StorePolicy
from stream.journal import Journal, maintenance
from stream.journal.journal import JournalTaken
from stream.matcher import Matcher
from stream.networks.registry import NETWORKS
from stream.notes import StateNote
from stream.store import deletions, sources, tracks
from stream.tracking_plan import build_plan, inactive_reason
from stream.tweet import NETWORK_NAMES, NetworkName, Source, SourceId
from stream.writer import Writer

AHEAD_BYTES_MAX = 32 << 20  # how far reading may be ahead of Postgres


@click.command("import")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path),
)
@click.option(
    "--network",
    type=NetworkChoice(NETWORK_NAMES),
    required=True,
    help="The network that the messages come from.",
)
@command
async def import_files(context: Context, files: tuple[Path, ...], network: NetworkName) -> None:
    """Import recorded messages from FILES; - is standard input.

    Accepts JSON, one message per line or otherwise: arrays, pages of searches, account archives,
    MongoDB exports; also compressed (gzip, bzip2, xz, zstd, a zip of one file). Journal segments
    (.journal, .journal.zst), such as those of the raw backup, work as well.

    Messages are processed like live ones: matched against the tracks, stored once, rejects kept. Of
    Bluesky and Mastodon only those that match a track are kept.
    An import can be repeated, and continues where it was interrupted.
    """
    if STDIN in files and sys.stdin is None:  # its descriptor may be another file by now
        raise TwitterstreamError("Standard input is closed: pipe messages into it, or name a file.")
    if context.settings.cells or context.settings.cell:
        raise TwitterstreamError(
            "Where several databases share the tweets, nothing can be imported: tweets that another"
            " one has would be stored twice."
        )
    async with context.database() as database:
        source = await _source(database, network)
        folder = journal_folder(context.settings, source)
        # The files are the backup: the journal need not keep what is stored.
        settings = msgspec.structs.replace(context.settings.journal, keep_hours=0)
        try:
            with Journal.open(folder, settings) as journal:
                troubles = await _import(context, files, database, source, journal)
                # Otherwise only a running daemon would do it.
                erase = context.settings.deletions == "erase"
                await deletions.apply_to_authors(database, erase=erase)
        except JournalTaken:
            raise TwitterstreamError(
                f"Another import from {network} is running; wait until it ends."
            ) from None
    if troubles:
        raise TwitterstreamError("\n".join(troubles))


async def _source(database: Database, network: NetworkName) -> Source:
    """The source of imports: a separate one, so that live ones never wait for them."""
    name = f"import-{network}"
    async with database.acquire() as connection:
        row = await sources.by_name(connection, name)
        source_id = row.id if row else await sources.add(connection, name, network, enabled=False)
        note = StateNote("importing", "Contains imported tweets.", time.time())
        await sources.write_state(connection, SourceId(source_id), note)
    return Source(source_id, name, network, None, None, {}, enabled=False)


def _writer(
    settings: Settings, database: Database, source: Source, journal: Journal, matcher: Matcher
) -> Writer:
    return Writer(
        database,
        source,
        DirectReader(journal, source),
        Unfolder(source.network).decode,
        # Recorded rules are not ours: only the matcher credits tracks.
        lambda tweet: batch.credit_tracks(tweet, matcher.match, lambda _: ()),
        flush_interval=settings.flush_interval,
        max_frame_bytes=settings.max_frame_bytes,
        policy=StorePolicy(
            network=source.network,
            keep_unmatched=NETWORKS[source.network].keeps_unmatched(settings),
            erase=settings.deletions == "erase",
            respect_opt_out=settings.mastodon.respect_opt_out,
            names_authors=NETWORKS[source.network].looks_up_handle is not None,
        ),
    )


async def _matcher(settings: Settings, database: Database) -> Matcher:
    async with database.acquire() as connection:
        every = await tracks.get_all(connection)
    current = [track for track in every if inactive_reason(track) is None]
    return build_plan(current, (), settings).matcher


async def _import(
    context: Context,
    files: tuple[Path, ...],
    database: Database,
    source: Source,
    journal: Journal,
) -> list[str]:
    """Store what can be read; returns a sentence for each file with an error."""
    matcher = await _matcher(context.settings, database)
    unfinished = _writer(context.settings, database, source, journal, matcher)
    async with _storing(journal, unfinished):
        pass
    if unfinished.stored:
        context.out.print(f"From an interrupted import: {_summary(unfinished.stored)}")
    writer = _writer(context.settings, database, source, journal, matcher)
    troubles: list[str] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=context.out,
    ) as progress:
        async with _storing(journal, writer):
            for path in files:
                recording = Recording(path, source.network, context.settings.max_frame_bytes)
                if trouble := await _read(recording, journal, progress):
                    troubles.append(trouble)
    context.out.print(_summary(writer.stored))
    return troubles


@asynccontextmanager
async def _storing(journal: Journal, writer: Writer) -> AsyncIterator[None]:
    """Store what is appended inside the block; at its end everything is stored."""
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(maintenance.run(journal), name="journal")
        storing = group.create_task(writer.run(), name="writer")
        await writer.started.wait()
        yield
        writer.drain()
        await storing
        keeping.cancel()
    journal.rotate()
    await maintenance.trim(journal)


async def _read(recording: Recording, journal: Journal, progress: Progress) -> str | None:
    """Append the frames of a file; returns a sentence when there is an error."""
    task = progress.add_task(recording.name, total=None)
    batches = recording.frames()
    try:
        while (frames := await asyncio.to_thread(next, batches, None)) is not None:
            while journal.end - journal.stored > AHEAD_BYTES_MAX:
                await journal.wait_changed()
            while (why := journal.why_full()) is not None:
                progress.update(task, description=f"{recording.name}: waiting, {why}")
                await asyncio.sleep(1)
            journal.append(frames)
            progress.update(
                task,
                description=recording.name,
                total=recording.total,
                completed=recording.done,
            )
    except NotRead as error:
        return f"{recording.name} was not imported: {error}."
    except Damaged as error:
        return (
            f"{recording.name} is damaged: {error}. "
            "Everything before is stored; repair the file and import it again."
        )
    except OSError as error:
        return f"{recording.name} cannot be read: {error.strerror}."
    finally:
        recording.stop.set()
    return recording.trouble()


def _summary(outcomes: Counter[str]) -> str:
    """How many messages had which outcome."""
    frames = sum(n for outcome, n in outcomes.items() if outcome not in ("repaired", "undelivered"))
    labels = {
        "stored": "new, matching tracks",
        "unmatched": "new, matching no track",
        "dropped": "matching no track and not kept",
        "opted_out": "not kept, as the authors ask not to be collected",
        "duplicate": "stored before",
        "deleted": "deleted before",
        "control": "control messages",
        "rejected": "rejected (table rejects)",
    }
    parts = [f"{outcomes[name]:,} {text}" for name, text in labels.items() if outcomes[name]]
    return f"{frames:,} messages: " + (", ".join(parts) or "no content") + "."
