"""`archive run`: whatever state it finds, everything is in the right one at its end."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from monitor.archive import book, days, dropping, writing
from monitor.archive.adopting import Place, adopt, names_in
from monitor.archive.book import Archive
from monitor.archive.checking import counted, describe
from monitor.archive.closed import closed
from monitor.archive.inspecting import problems
from monitor.archive.manifest import NAME, ArchiveError, day_bounds, names_of
from monitor.archive.rewriting import rewrite
from monitor.archive.store import Store
from stream.config import Settings
from stream.db import Database, Executor, meaning
from stream.errors import DatabaseAway, TwitterstreamError

logger = logging.getLogger(__name__)

RENEW_AFTER = timedelta(hours=20)  # late tweets and deletions reach an archive once a day


class Archivist:
    """One run over all days, or over one."""

    def __init__(
        self, database: Database, settings: Settings, store: Store, report: Callable[[str], None]
    ) -> None:
        self.database = database
        self.settings = settings
        self.store = store
        self._report = report
        self.said = 0  # lines
        self.names: dict[Place, set[str]] = {}  # what the store has
        self.places: set[Place] = set()  # where it has manifests
        self.problem: TwitterstreamError | None = None

    def _say(self, what: str) -> None:
        self.said += 1
        self._report(what)

    async def run(self, only: date | None = None, *, drop: bool = False) -> None:
        """Archive, rewrite, drop and expire what is due; the last problem is raised at the end."""
        await self._look()
        for day in await self._work(only):
            await self._guarded(day, forced=only is not None, drop=drop)
        if only is None:
            for day in await dropping.drop_due(self.database, self.settings):
                self._say(f"{day}: dropped from Postgres")
            await self._expire()
        if self.problem is not None:
            raise self.problem

    async def take_up(self, connection: Executor, day: date) -> None:
        """Make this database know what the store has of a day."""
        await self._look()
        await adopt(connection, self.store, day, self.names)

    async def _look(self) -> None:
        self.names = await asyncio.to_thread(names_in, self.store)
        self.places = {place for place, names in self.names.items() if NAME in names}

    async def _work(self, only: date | None) -> list[date]:
        """The days that need a look, oldest first."""
        async with self.database.acquire() as connection:
            present = await days.present(connection)
            known = await book.rows(connection)
            over = await closed(
                connection, present, Path(self.settings.data_dir), datetime.now(UTC)
            )
            pending = {day for day, _ in await book.pending(connection)}
        if only is not None:
            if only in present and only not in over:
                raise ArchiveError(f"{only} is not over yet; it is archived an hour after its end.")
            if only not in over and all(each.day != only for each in known):
                raise ArchiveError(f"Neither Postgres nor the archive has anything of {only}.")
            return [only]
        lost = {each.day for each in known if self._lost(each, present) or self._left(each)}
        strange = {day for day, part in self.places} - {each.day for each in known}
        return sorted({*over, *pending, *lost, *strange})

    def _lost(self, archive: Archive, present: list[date]) -> bool:
        """Whether something is not where it should be: the partition, or the manifest."""
        if archive.in_database:
            return archive.day not in present
        return (archive.day, archive.part) not in self.places

    def _left(self, archive: Archive) -> bool:
        """Whether files lie beside an archive that are none of it: a kill left them."""
        names = self.names.get((archive.day, archive.part), set())
        return archive.state != "writing" and not names <= names_of(archive.manifest)

    async def _guarded(self, day: date, *, forced: bool, drop: bool) -> None:
        """One day; what is wrong with it does not keep the others waiting."""
        async with book.locked(self.database, day) as connection:
            if connection is None:
                if forced:
                    raise ArchiveError(f"Another archiver is at {day} at this moment; try again.")
                self._say(f"{day}: another archiver is at it")
                return
            try:
                with meaning():
                    await self._day(connection, day, forced=forced)
                    if drop:
                        await self._drop(connection, day)
            except DatabaseAway:
                raise
            except TwitterstreamError as error:
                await self._note(day, error)
            except Exception as error:  # of one day: others wait behind it
                logger.debug("a day failed", exc_info=True)
                said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
                await self._note(day, ArchiveError(f"{day} cannot be archived: {said}."))

    async def _note(self, day: date, problem: TwitterstreamError) -> None:
        self.problem = problem
        self._say(f"{day}: {problem}")
        async with self.database.acquire() as connection:  # the day's own may be in any state
            await book.note_problem(connection, day, str(problem))

    async def _day(self, connection: Executor, day: date, *, forced: bool) -> None:
        await adopt(connection, self.store, day, self.names)
        known = await book.rows(connection, day)
        said, broken = self.said, await self._broken(connection, known, forced=forced)
        if broken or await self._due(connection, day, known, forced=forced):
            part = self._part(known, day)
            made = await writing.archive_day(
                connection, self.store, day, part, ndjson=self.settings.archive.ndjson
            )
            self.places.add((day, part))
            for old in known:
                if old.in_database and old.part != part:
                    await asyncio.to_thread(writing.remove, self.store, day, old.part)
            self._say(
                f"{describe(day, part)}: archived {counted(made.tweets, 'tweet')},"
                f" {made.bytes / 1e6:,.1f} MB"
            )
        for archive in await book.rows(connection, day):
            if archive.is_truth:
                await self._rewrite(connection, archive, forced=forced)
        found = await book.rows(connection, day)
        if any(self._left(archive) for archive in found):
            await asyncio.to_thread(writing.clean, self.store, day, found)
        if forced and self.said == said:
            self._say(f"{day}: in order, nothing was to be done")

    async def _broken(
        self, connection: Executor, known: Iterable[Archive], *, forced: bool
    ) -> bool:
        """Whether files of a day that is in Postgres are not what they should be.

        Looked at where somebody found something, or asks for it. ArchiveError when only a copy can
        help.
        """
        broken = False
        for each in known:
            looked_at = forced or (each.problem is not None and not each.is_truth)
            if each.manifest is None or each.state == "writing" or not looked_at:
                continue
            found = await asyncio.to_thread(problems, self.store, each.manifest)
            await book.inspected(connection, each, " ".join(found) or None)
            if found and each.is_truth:
                raise ArchiveError(" ".join(found))
            broken = broken or bool(found)
        return broken

    async def _due(
        self, connection: Executor, day: date, known: list[Archive], *, forced: bool
    ) -> bool:
        """Whether the day must be archived out of Postgres, now."""
        if day not in await days.present(connection):
            return False
        live = [each for each in known if each.in_database]
        if not live:
            return not known or await days.some(connection, day)
        if any(each.thinned_at for each in live):
            return False  # the files are the truth
        # Unfinished, or somebody removed it from the store.
        if any(each.state == "writing" or (day, each.part) not in self.places for each in live):
            return True
        if not await book.touched(connection, day):
            return False
        latest = max(each.verified_at or each.started_at for each in live)
        return forced or self._about_to_go(day) or datetime.now(UTC) - latest > RENEW_AFTER

    def _about_to_go(self, day: date) -> bool:
        after = self.settings.retention.tweets_days
        age = datetime.now(UTC) - day_bounds(day)[1]
        return bool(after) and age > timedelta(days=after)

    def _part(self, known: Iterable[Archive], day: date) -> int:
        """The part that holds what is in Postgres: the one that did so before, or a new one."""
        live = [each.part for each in known if each.in_database]
        if live:
            return min(live)
        taken = {each.part for each in known} | {part for at, part in self.places if at == day}
        return max(taken, default=-1) + 1

    async def _rewrite(self, connection: Executor, archive: Archive, *, forced: bool) -> None:
        """Let deletions reach files that Postgres does not have the rows of, once a day."""
        if (archive.day, archive.part) not in self.places:
            raise ArchiveError(
                f"{archive.known.folder} has no manifest in {self.store.name}: it is lost there, or"
                " `archive.url` is another one than before."
            )
        if (archive.day, archive.part) not in await book.pending(connection):
            return
        recent = datetime.now(UTC) - (archive.verified_at or archive.started_at) < RENEW_AFTER
        if recent and not forced:
            return
        removal = await rewrite(
            connection, self.store, archive, erase=self.settings.deletions == "erase"
        )
        if removal is not None:
            self._say(
                f"{describe(archive.day, archive.part)}: {counted(removal.erased, 'tweet')} erased,"
                f" {removal.flagged:,} flagged, {removal.scrubbed:,} without their place now"
            )

    async def _drop(self, connection: Executor, day: date) -> None:
        if await dropping.drop_day(connection, self.store, day):
            self._say(f"{day}: dropped from Postgres")
        elif await days.exist(connection, day):
            raise ArchiveError(
                f"{day} stays in Postgres: it has changed since it was archived; run it again."
            )

    async def _expire(self) -> None:
        """Remove archives that are older than archive.keep_days and not in Postgres any more."""
        keep = self.settings.archive.keep_days
        if not keep:
            return
        before = datetime.now(UTC) - timedelta(days=keep)
        async with self.database.acquire() as connection:
            old = [
                each
                for each in await book.rows(connection)
                if each.state == "dropped" and day_bounds(each.day)[1] <= before
            ]
        for archive in old:
            async with book.locked(self.database, archive.day) as own:
                if own is None:
                    continue
                await asyncio.to_thread(writing.remove, self.store, archive.day, archive.part)
                await book.gone(own, archive.day, archive.part)
                self._say(f"{describe(archive.day, archive.part)}: removed, its time is over")
