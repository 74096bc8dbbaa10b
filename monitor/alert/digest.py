"""The daily digest: tweets, gaps, rejects, alerts, disks and archives of the day before."""

import logging
import time as clocks
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta

from monitor.alert.messages import Message
from monitor.alert.notifier import Notifier
from monitor.alert.text import lasting, short, size
from monitor.jobs import PeriodicJob
from stream.config import Settings
from stream.db import Database
from stream.store import digest as digest_table
from stream.store import jobs
from stream.store.digest import DigestData, TrackDay, VolumeDay

logger = logging.getLogger(__name__)

JOB_NAME = "digest"
CHECK_INTERVAL = 60.0  # seconds
RETRY_INTERVAL = 600.0  # seconds after no channel worked
TIME_LIMIT = 180.0  # seconds
TRACKS_LISTED = 20  # tracks with a line of their own
LISTED = 10  # of other things


class Digest:
    """Sends the daily digest, on the leader; the table `jobs` records when it was last sent."""

    def __init__(
        self, database: Database, settings: Settings, notifier: Notifier, leads: Callable[[], bool]
    ) -> None:
        self.database = database
        self.settings = settings
        self.notifier = notifier
        self.leads = leads
        self._not_before = float("-inf")  # monotonic

    def jobs(self) -> list[PeriodicJob]:
        """Empty when alerts.digest_at is empty."""
        if not self.settings.alerts.digest_at:
            return []
        return [PeriodicJob(JOB_NAME, CHECK_INTERVAL, self.send_if_due, limit=TIME_LIMIT)]

    async def send_if_due(self) -> None:
        """Send the digest when it is due."""
        if not self.leads() or clocks.monotonic() < self._not_before:
            return
        now, began = datetime.now(UTC), clocks.monotonic()
        async with self.database.acquire() as connection:
            done = await jobs.last_success(connection, JOB_NAME)
            if done is None:  # a new database: its first day is still to come
                await jobs.record_run(connection, JOB_NAME, 0.0)
                return
            if not due(now, self.settings.alerts.digest_at, done):
                return
            found = await digest_table.read(connection, now.date() - timedelta(days=1))
        message = compose(found, has_archive=bool(self.settings.archive.url))
        sent = await self._send(message)
        failed = None if sent else "no channel worked"
        if not sent:
            self._not_before = clocks.monotonic() + RETRY_INTERVAL
        async with self.database.acquire() as connection:
            await jobs.record_run(connection, JOB_NAME, clocks.monotonic() - began, failed)

    async def _send(self, message: Message) -> bool:
        if self.notifier.channels:
            return await self.notifier.send(message)
        logger.info("%s", self.notifier.safe(message.title))  # without channels a line is enough
        return True


def due(now: datetime, digest_at: str, done: datetime) -> bool:
    """Whether the digest is due: its time of day has passed since it was last sent."""
    hour, minute = map(int, digest_at.split(":"))
    moment = datetime.combine(now.date(), time(hour, minute), UTC)
    if moment > now:
        moment -= timedelta(days=1)
    return done < moment


def compose(found: DigestData, *, has_archive: bool) -> Message:
    """Write the text of the daily digest. Pure."""
    title = f"[twitterstream] {found.day}: {_compared(found.tweets, found.before, 'tweets')}"
    parts = [
        f"{found.day:%A, %d %B %Y} (UTC), compared with the day before.",
        _head(found),
        "\n".join(_tracks(found.tracks)),
        "\n".join(_problems(found)),
        "\n".join(_storage(found, has_archive=has_archive)),
    ]
    return Message(title, "\n\n".join(part for part in parts if part))


def _compared(now: int, before: int, what: str = "") -> str:
    """1,234 tweets (before: 1,000, +23 %)."""
    change = f", {100 * (now - before) / before:+.0f} %" if before else ""
    return f"{now:,}{' ' + what if what else ''} (before: {before:,}{change})"


def _head(found: DigestData) -> str:
    if not found.tweets:
        return f"No tweet was stored (before: {found.before:,})."
    return f"Stored: {_compared(found.tweets, found.before, 'tweets')}."


def _tracks(tracks: Sequence[TrackDay]) -> Iterator[str]:
    some = [track for track in tracks if track.tweets]
    if some:
        yield "Tweets by track:"
    for track in some[:TRACKS_LISTED]:
        yield f"  {_name(track)}: {_compared(track.tweets, track.before)}"
    rest = some[TRACKS_LISTED:]
    if rest:
        tweets, before = sum(each.tweets for each in rest), sum(each.before for each in rest)
        yield f"  {len(rest):,} others: {_compared(tweets, before)}"
    yield from _named("New", [track for track in tracks if track.is_new])
    silent = [track for track in tracks if not track.tweets and track.before]
    yield from _named("Silent, but not the day before", silent)


def _name(track: TrackDay) -> str:
    if track.id is None:
        return "deleted tracks"
    return f"{track.id} ({short(track.value or '')})"


def _named(what: str, tracks: Sequence[TrackDay]) -> Iterator[str]:
    if tracks:
        names = [_name(track) for track in tracks[:LISTED]]
        if len(tracks) > LISTED:
            names.append(f"{len(tracks) - LISTED:,} more")
        yield f"{what}: {', '.join(names)}."


def _problems(found: DigestData) -> Iterator[str]:
    if not found.gaps:
        yield "Gaps: none."
    for gap in found.gaps[:LISTED]:
        yield (
            f"Gaps of {gap.source}: {gap.number:,}, together {lasting(gap.seconds)} ({gap.causes})."
        )
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in found.rejects)
    yield f"Rejected: {reasons or 'none'}."
    opened = sum(alert.opened for alert in found.alerts)
    closed = sum(alert.closed for alert in found.alerts)
    yield f"Alerts: {opened:,} opened, {closed:,} closed."
    for alert in [alert for alert in found.alerts if alert.is_open][:LISTED]:
        yield f"  still open, {alert.severity}: {alert.text}"


def _when_full(volume: VolumeDay) -> str:
    if not volume.known:
        return "no trend yet"
    return "not growing" if volume.days is None else f"full in {volume.days:,.0f} days"


def _storage(found: DigestData, *, has_archive: bool) -> Iterator[str]:
    for each in found.volumes[:LISTED]:
        when = _when_full(each)
        yield f"Disk of {each.volume} on {each.host}: {size(each.free)} free, {when}."
    if has_archive:
        archives = found.archives
        newest = f", the newest {archives.newest}" if archives.newest else ""
        bad = f"; {archives.problems:,} with problems" if archives.problems else ""
        yield f"Archive: {archives.done:,} days{newest}{bad}."
    else:
        yield "Archive: none (archive.url is not set)."
