"""`archive run`: archive, verify, drop and delete days until each has the state it should have."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from monitor.archive import catalog, file_lists, refresh_catalog, write
from monitor.archive.apply_deletions import apply_deletions
from monitor.archive.catalog import Archive
from monitor.archive.drop import drop_day, drop_due
from monitor.archive.due_days import closed_days
from monitor.archive.manifest import NAME, ArchiveError, display_name, names_of, quantity
from monitor.archive.refresh_catalog import DayPart
from monitor.archive.store import Store
from monitor.archive.verify import problems
from stream.config import Settings
from stream.db import Database, Executor, translated_errors
from stream.errors import DatabaseAway, TwitterstreamError
from stream.store import archives, partitions
from stream.store.partitions import day_bounds

logger = logging.getLogger(__name__)

REFRESH_INTERVAL = timedelta(hours=20)  # late tweets and deletions reach an archive once a day


class ArchiveRun:
    """A run of `archive run` over all days, or over one."""

    def __init__(
        self, database: Database, settings: Settings, store: Store, report: Callable[[str], None]
    ) -> None:
        self.database = database
        self.settings = settings
        self.store = store
        self._report = report
        self.lines = 0  # reported
        self.names: dict[DayPart, set[str]] = {}  # all files in the store
        self.manifests: set[DayPart] = set()  # what has a manifest in the store
        self.listed: set[DayPart] = set()  # what has lists of its files in the store
        self.problem: TwitterstreamError | None = None

    def _print(self, line: str) -> None:
        self.lines += 1
        self._report(line)

    async def run(self, only: date | None = None, *, drop: bool = False) -> None:
        """Archive, rewrite, drop and delete what is due; raises the last problem at the end."""
        await self._list_store()
        for day in await self._days_to_check(only):
            await self._process_guarded(day, forced=only is not None, drop=drop)
        if only is None:
            for day in await drop_due(self.database, self.settings):
                self._print(f"{day}: dropped from Postgres")
            await self._delete_expired()
        if self.problem is not None:
            raise self.problem

    async def refresh_catalog(self, connection: Executor, day: date) -> None:
        """Note what the store has of a day."""
        await self._list_store()
        await refresh_catalog.refresh_day(connection, self.store, day, self.names)

    async def _list_store(self) -> None:
        self.names = await asyncio.to_thread(refresh_catalog.file_names, self.store)
        self.manifests = {place for place, names in self.names.items() if NAME in names}
        self.listed = await asyncio.to_thread(file_lists.listed, self.store)

    async def _days_to_check(self, only: date | None) -> list[date]:
        """The days that may need something, oldest first."""
        async with self.database.acquire() as connection:
            present = await partitions.days(connection)
            known = await catalog.rows(connection)
            closed = await closed_days(
                connection, present, Path(self.settings.data_dir), datetime.now(UTC)
            )
            awaiting = {day for day, _ in await archives.awaiting_deletions(connection)}
        if only is not None:
            if only in present and only not in closed:
                raise ArchiveError(f"{only} is not over yet; it is archived an hour after its end.")
            if only not in closed and all(each.day != only for each in known):
                raise ArchiveError(f"Neither Postgres nor the archive has data of {only}.")
            return [only]
        to_repair = {
            each.day for each in known if self._is_lost(each, present) or self._is_untidy(each)
        }
        unknown = {day for day, part in self.manifests} - {each.day for each in known}
        return sorted({*closed, *awaiting, *to_repair, *unknown})

    def _is_lost(self, archive: Archive, present: list[date]) -> bool:
        """Whether the partitions or the manifest of an archive are missing."""
        if archive.in_database:
            return archive.day not in present
        return (archive.day, archive.part) not in self.manifests

    def _is_untidy(self, archive: Archive) -> bool:
        """Whether the folder of an archive has other files, or no lists: a kill leaves it so."""
        place = archive.day, archive.part
        others = self.names.get(place, set()) - names_of(archive.manifest)
        return archive.state != "writing" and (bool(others) or place not in self.listed)

    async def _process_guarded(self, day: date, *, forced: bool, drop: bool) -> None:
        """Process one day; a problem with it does not stop the others."""
        async with archives.day_lock(self.database, day) as connection:
            if connection is None:
                if forced:
                    raise ArchiveError(f"Another process is archiving {day}; try again later.")
                self._print(f"{day}: skipped, another process is archiving it")
                return
            try:
                with translated_errors():
                    await self._process(connection, day, forced=forced)
                    if drop:
                        await self._drop(connection, day)
            except DatabaseAway:
                raise
            except TwitterstreamError as error:
                await self._note_problem(day, error)
            except Exception as error:  # of one day: the others are still to do
                logger.debug("a day failed", exc_info=True)
                first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
                await self._note_problem(day, ArchiveError(f"{day} cannot be archived: {first}."))

    async def _note_problem(self, day: date, problem: TwitterstreamError) -> None:
        self.problem = problem
        self._print(f"{day}: {problem}")
        async with self.database.acquire() as connection:  # the day's own may be in any state
            await archives.note_problem(connection, day, str(problem))

    async def _process(self, connection: Executor, day: date, *, forced: bool) -> None:
        await refresh_catalog.refresh_day(connection, self.store, day, self.names)
        known = await catalog.rows(connection, day)
        lines = self.lines
        damaged = await self._is_damaged(connection, known, forced=forced)
        if damaged or await self._is_due(connection, day, known, forced=forced):
            await self._archive(connection, day, known)
        for archive in await catalog.rows(connection, day):
            if archive.is_authoritative:
                await self._apply_deletions(connection, archive, forced=forced)
        found = await catalog.rows(connection, day)
        if any(self._is_untidy(archive) for archive in found):
            await asyncio.to_thread(write.remove_leftovers, self.store, day, found)
        if forced and self.lines == lines:
            self._print(f"{day}: nothing to do")

    async def _archive(self, connection: Executor, day: date, known: list[Archive]) -> None:
        part = self._part(known, day)
        made = await write.archive_day(
            connection, self.store, day, part, ndjson=self.settings.archive.ndjson
        )
        self.manifests.add((day, part))
        self.listed.add((day, part))
        for old in known:
            if old.in_database and old.part != part:
                await asyncio.to_thread(write.remove_archive, self.store, day, old.part)
        self._print(
            f"{display_name(day, part)}: archived {quantity(made.tweets, 'tweet')},"
            f" {made.bytes / 1e6:,.1f} MB"
        )

    async def _is_damaged(
        self, connection: Executor, known: Iterable[Archive], *, forced: bool
    ) -> bool:
        """Whether files of a day that is in Postgres are damaged or missing.

        Checked on request, and where a problem was found before. ArchiveError when only a copy of
        the files can help.
        """
        damaged = False
        for each in known:
            check = forced or (each.problem is not None and not each.is_authoritative)
            if each.manifest is None or each.state == "writing" or not check:
                continue
            found = await asyncio.to_thread(problems, self.store, each.manifest)
            await catalog.mark_checked(connection, each, " ".join(found) or None)
            if found and each.is_authoritative:
                raise ArchiveError(" ".join(found))
            damaged = damaged or bool(found)
        return damaged

    async def _is_due(
        self, connection: Executor, day: date, known: list[Archive], *, forced: bool
    ) -> bool:
        """Whether the day must be archived now."""
        if day not in await partitions.days(connection):
            return False
        live = [each for each in known if each.in_database]
        if not live:
            return not known or await partitions.has_tweets(connection, day)
        if any(each.partially_expired_at for each in live):
            return False  # the archive has more than Postgres
        # Not finished, or removed from the store by a person.
        if any(each.state == "writing" or (day, each.part) not in self.manifests for each in live):
            return True
        if not await archives.changed(connection, day):
            return False
        latest = max(each.verified_at or each.started_at for each in live)
        return forced or self._expires_now(day) or datetime.now(UTC) - latest > REFRESH_INTERVAL

    def _expires_now(self, day: date) -> bool:
        after = self.settings.retention.tweets_days
        age = datetime.now(UTC) - day_bounds(day)[1]
        return bool(after) and age > timedelta(days=after)

    def _part(self, known: Iterable[Archive], day: date) -> int:
        """The part for what is in Postgres: the one that held it before, or a new one."""
        live = [each.part for each in known if each.in_database]
        if live:
            return min(live)
        taken = {each.part for each in known} | {part for at, part in self.manifests if at == day}
        return max(taken, default=-1) + 1

    async def _apply_deletions(
        self, connection: Executor, archive: Archive, *, forced: bool
    ) -> None:
        """Remove deleted tweets from files whose rows are not in Postgres, once a day."""
        if (archive.day, archive.part) not in self.manifests:
            raise ArchiveError(
                f"{archive.verified_manifest.folder} has no manifest in {self.store.name}: it was"
                " lost there, or `archive.url` was changed. Restore it from a copy, or set"
                " `archive.url` to its old value."
            )
        awaiting = await archives.awaiting_deletions(connection, archive.day)
        if (archive.day, archive.part) not in awaiting:
            return
        since = datetime.now(UTC) - (archive.verified_at or archive.started_at)
        if since < REFRESH_INTERVAL and not forced:
            return
        removal = await apply_deletions(
            connection, self.store, archive, erase=self.settings.deletions == "erase"
        )
        if removal is not None:
            self._print(
                f"{display_name(archive.day, archive.part)}: deletions applied:"
                f" {quantity(removal.erased, 'tweet')} erased,"
                f" {removal.flagged:,} flagged, {removal.scrubbed:,} without their places"
            )

    async def _drop(self, connection: Executor, day: date) -> None:
        if await drop_day(connection, self.store, day):
            self._print(f"{day}: dropped from Postgres")
        elif await partitions.exists(connection, day):
            raise ArchiveError(
                f"{day} stays in Postgres: it has changed since it was archived. Run this again."
            )

    async def _delete_expired(self) -> None:
        """Delete archives older than archive.keep_days that are not in Postgres any more."""
        keep = self.settings.archive.keep_days
        if not keep:
            return
        before = datetime.now(UTC) - timedelta(days=keep)
        async with self.database.acquire() as connection:
            expired = [
                each
                for each in await catalog.rows(connection)
                if each.state == "dropped" and day_bounds(each.day)[1] <= before
            ]
        for archive in expired:
            day, part = archive.day, archive.part
            async with archives.day_lock(self.database, day) as own:
                if own is None:
                    continue
                await asyncio.to_thread(write.remove_archive, self.store, day, part)
                await archives.delete_row(own, day, part)
                self._print(f"{display_name(day, part)}: deleted, it is past archive.keep_days")
