"""`look-back run`: does what the table `look_backs` asks for, one at a time; users take turns.

What is found and how far a look-back has come commit in one transaction: it may be killed at any
moment, and continues there.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from monitor.look_back.places import (
    look_through_author,
    look_through_network,
    look_through_recordings,
    replayed_sources,
    sources_of,
)
from monitor.look_back.recordings import journal_ends
from monitor.look_back.stored import look_through_stored
from monitor.look_back.task import Edited, Ended, SourceDisabled, Task
from monitor.look_back.track_matcher import networks_of, query_of
from stream.config import Settings
from stream.db import Database
from stream.errors import (
    Broken,
    ConnectError,
    DatabaseAway,
    InvalidPosition,
    TwitterstreamError,
    unexpected,
)
from stream.matcher import Matcher
from stream.store import look_back_queue, look_back_rows, look_backs
from stream.store.look_backs import LookBack
from stream.text import sentence

logger = logging.getLogger(__name__)

POLL = 0.2  # seconds
POSTPONED_POLL = 2.0  # seconds, while only postponed ones wait
RETRY_INTERVAL = 60.0  # seconds until a look-back that a network has kept from being done goes on
GIVE_UP_AFTER = timedelta(days=1)  # since it was requested
MATCHED_WAIT = 30.0  # seconds until the daemon has taken up a new track, and found its accounts
TURN = 120.0  # seconds after which a look-back lets that of another user go on
STORED_WAIT = 60.0  # seconds until what was received before that is stored


class LookBackRun:
    """Does all look-backs that wait."""

    def __init__(
        self, database: Database, settings: Settings, report: Callable[[str], None]
    ) -> None:
        self.database = database
        self.settings = settings
        self._report = report
        self._postponed: dict[int, float] = {}  # until then, monotonic
        self._disabled: set[int] = set()  # wait for a source

    async def run(self) -> None:
        """Do one after the other, until none waits."""
        while True:
            now = time.monotonic()
            self._postponed = {key: due for key, due in self._postponed.items() if due > now}
            self._disabled = {key for key in self._disabled if await self._lacks_source(key)}
            waiting = self._waiting
            async with self.database.acquire() as connection:
                row = await look_back_queue.claim(connection, waiting)
            if row is not None:
                await self._guarded(row)
            elif waiting:
                await asyncio.sleep(POSTPONED_POLL)
            else:
                return

    @property
    def _waiting(self) -> set[int]:
        """Those that cannot go on at the moment."""
        return self._postponed.keys() | self._disabled

    async def _guarded(self, row: LookBack) -> None:
        """Do one; its error does not stop the others."""
        try:
            reason = await self._do(row)
        except (Ended, Edited):
            return  # an edited one is claimed again, and begins with the new value
        except InvalidPosition as error:  # by psql
            self._report(f"{row.place} for track {row.track_id}: {error}; it begins again")
            async with self.database.acquire() as connection:
                await look_back_queue.forget_position(connection, row.id)
        except SourceDisabled as error:
            self._disabled.add(row.id)
            await self._postpone(row, str(error))
        except (Broken, DatabaseAway):
            raise
        except ConnectError as error:
            old = datetime.now(UTC) - row.requested_at > GIVE_UP_AFTER
            if error.retry == "final" or old:
                await self._fail(row, sentence(error.reason))
            else:
                self._postponed[row.id] = time.monotonic() + RETRY_INTERVAL
                await self._postpone(row, f"{sentence(error.reason)} Retried every minute.")
        except TwitterstreamError as error:
            await self._fail(row, str(error))
        except Exception as error:  # of one look-back: the others are still to do
            logger.exception("a look-back failed", extra={"track": row.track_id})
            await self._fail(row, f"{unexpected(error)}.")
        else:
            self._report(f"{row.place} for track {row.track_id}: done")
            async with self.database.acquire() as connection:
                await look_back_queue.finish(connection, row.id, "done", reason)

    async def _postpone(self, row: LookBack, why: str) -> None:
        """Let it continue later."""
        self._report(f"{row.place} for track {row.track_id}: {why}")
        async with self.database.acquire() as connection:
            await look_back_queue.postpone(connection, row.id, why)

    async def _lacks_source(self, look_back_id: int) -> bool:
        """Whether a look-back still waits for its source to be enabled."""
        async with self.database.acquire() as connection:
            row = await look_backs.by_id(connection, look_back_id)
            track = (
                None if row is None else await look_back_queue.lock_track(connection, row.track_id)
            )
        if row is None or track is None or not row.unfinished:
            return False
        found = await replayed_sources(self.database, networks_of(track))
        return bool(found) and not found[0].enabled

    async def _fail(self, row: LookBack, why: str) -> None:
        self._report(f"{row.place} for track {row.track_id}: {why}")
        async with self.database.acquire() as connection:
            await look_back_queue.finish(connection, row.id, "failed", why)

    async def _do(self, row: LookBack) -> str:
        """Do it; returns what could not be looked through, in sentences."""
        look_backs.check_since(row.since)  # psql accepts any
        async with self.database.transaction() as connection:
            track = await look_back_queue.lock_track(connection, row.track_id)
        if track is None:
            raise Ended
        task = Task(self.database, self.settings, row, track)
        task.turn_over = partial(self._turn_over, row, time.monotonic() + TURN)
        await task.begin()
        await self._wait_matched(task)
        match row.place:
            case "stored":
                await self._wait_stored(task)
                await look_through_stored(task)
            case "recorded":
                await look_through_recordings(task, await self._wait_stored(task))
            case "network":
                await look_through_network(task)
            case "author":
                await look_through_author(task)
        return task.reason

    async def _turn_over(self, row: LookBack, ends: float) -> bool:
        """Whether another user is next; then it waits. `ends`: not before then, monotonic."""
        if time.monotonic() < ends:
            return False
        async with self.database.acquire() as connection:
            if not await look_back_queue.others_wait(connection, row.id, self._waiting):
                return False
            await look_back_queue.postpone(connection, row.id, "")
        return True

    async def _wait_matched(self, task: Task) -> None:
        """Wait until the daemon matches the track: what it receives from then on is not our task.

        InvalidQuery when the track cannot be parsed.
        """
        deadline = time.monotonic() + MATCHED_WAIT
        while True:
            async with self.database.acquire() as connection:
                matched = await look_back_rows.is_matched(connection, task.row.track_id)
                found = await query_of(connection, task.track.kind, task.track.value, task.networks)
            if (matched and found.complete) or time.monotonic() >= deadline:
                task.matcher = Matcher([(task.row.track_id, found.query)])
                return
            await self._pause(task)

    async def _wait_stored(self, task: Task) -> Mapping[uuid.UUID, int]:
        """Wait until the writer has stored what was received before; returns the journals' ends."""
        rows = await sources_of(self.database, task.networks)
        ids = [row.id for row in rows]
        ends = await asyncio.to_thread(journal_ends, Path(self.settings.data_dir), ids)
        deadline = time.monotonic() + STORED_WAIT
        while time.monotonic() < deadline:
            async with self.database.acquire() as connection:
                positions = await look_back_rows.positions(connection, ids)
            if all(positions.get(journal, end) >= end for journal, end in ends.items()):
                break
            await self._pause(task)
        return ends

    async def _pause(self, task: Task) -> None:
        await task.check()
        await asyncio.sleep(POLL)
        task.note_pause()
