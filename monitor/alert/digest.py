"""The digest: once a day what came in, what did not, and how things stand. Also of an empty day."""

import logging
import time as clocks
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta

from monitor import chores_table
from monitor.alert import yesterday
from monitor.alert.messages import Message
from monitor.alert.teller import Teller
from monitor.alert.words import lasting, short, size
from monitor.alert.yesterday import TrackDay, VolumeDay, Yesterday
from monitor.chores import Chore
from stream.config import Settings
from stream.db import Database

logger = logging.getLogger(__name__)

NAME = "digest"  # in the table chores
LOOK_EVERY = 60.0  # seconds
TRY_AGAIN = 600.0  # seconds after nobody took it
LIMIT = 180.0  # seconds
TOP = 20  # tracks with a line of their own
LISTED = 10  # of other things


class Digest:
    """Sent by the leader; the table remembers when, also for one who leads after it."""

    def __init__(
        self, database: Database, settings: Settings, teller: Teller, leads: Callable[[], bool]
    ) -> None:
        self.database = database
        self.settings = settings
        self.teller = teller
        self.leads = leads
        self._not_before = float("-inf")  # monotonic

    def chores(self) -> list[Chore]:
        """None when nobody wants it."""
        if not self.settings.alerts.digest_at:
            return []
        return [Chore("digest", LOOK_EVERY, self.look, limit=LIMIT)]

    async def look(self) -> None:
        """Send it if it is time."""
        if not self.leads() or clocks.monotonic() < self._not_before:
            return
        now, began = datetime.now(UTC), clocks.monotonic()
        async with self.database.acquire() as connection:
            done = await chores_table.done_at(connection, NAME)
            if done is None:  # a new database: its first day is still to come
                await chores_table.ran(connection, NAME, 0.0)
                return
            if not due(now, self.settings.alerts.digest_at, done):
                return
            found = await yesterday.read(connection, now.date() - timedelta(days=1))
        message = compose(found, has_archive=bool(self.settings.archive.url))
        sent = await self._send(message)
        failed = None if sent else "no channel took it"
        if not sent:
            self._not_before = clocks.monotonic() + TRY_AGAIN
        async with self.database.acquire() as connection:
            await chores_table.ran(connection, NAME, clocks.monotonic() - began, failed)

    async def _send(self, message: Message) -> bool:
        if self.teller.channels:
            return await self.teller.send(message)
        logger.info("%s", self.teller.safe(message.title))  # nobody has asked for more
        return True


def due(now: datetime, digest_at: str, done: datetime) -> bool:
    """Whether its time has come since it was sent, today or before."""
    hour, minute = map(int, digest_at.split(":"))
    moment = datetime.combine(now.date(), time(hour, minute), UTC)
    if moment > now:
        moment -= timedelta(days=1)
    return done < moment


def compose(found: Yesterday, *, has_archive: bool) -> Message:
    """The whole digest. Pure."""
    title = f"[twitterstream] {found.day}: {_against(found.tweets, found.before, 'tweets')}"
    parts = [
        f"{found.day:%A, %d %B %Y} (UTC), against the day before.",
        _head(found),
        "\n".join(_tracks(found.tracks)),
        "\n".join(_troubles(found)),
        "\n".join(_stock(found, has_archive=has_archive)),
    ]
    return Message(title, "\n\n".join(part for part in parts if part))


def _against(now: int, before: int, what: str = "") -> str:
    """1,234 tweets (before: 1,000, +23 %)."""
    change = f", {100 * (now - before) / before:+.0f} %" if before else ""
    return f"{now:,}{' ' + what if what else ''} (before: {before:,}{change})"


def _head(found: Yesterday) -> str:
    if not found.tweets:
        return f"No tweet was stored (before: {found.before:,})."
    return f"Stored: {_against(found.tweets, found.before, 'tweets')}."


def _tracks(tracks: Sequence[TrackDay]) -> Iterator[str]:
    some = [track for track in tracks if track.tweets]
    if some:
        yield "Tweets by track:"
    for track in some[:TOP]:
        yield f"  {_name(track)}: {_against(track.tweets, track.before)}"
    rest = some[TOP:]
    if rest:
        tweets, before = sum(each.tweets for each in rest), sum(each.before for each in rest)
        yield f"  {len(rest):,} others: {_against(tweets, before)}"
    yield from _named("New", [track for track in tracks if track.is_new])
    silent = [track for track in tracks if not track.tweets and track.before]
    yield from _named("Silent, with tweets the day before", silent)


def _name(track: TrackDay) -> str:
    if track.id is None:
        return "tracks that are removed"
    return f"{track.id} ({short(track.value or '')})"


def _named(what: str, tracks: Sequence[TrackDay]) -> Iterator[str]:
    if tracks:
        names = [_name(track) for track in tracks[:LISTED]]
        if len(tracks) > LISTED:
            names.append(f"{len(tracks) - LISTED:,} more")
        yield f"{what}: {', '.join(names)}."


def _troubles(found: Yesterday) -> Iterator[str]:
    if not found.gaps:
        yield "Gaps: none."
    for gap in found.gaps[:LISTED]:
        times = "once" if gap.number == 1 else f"{gap.number:,} times"
        yield f"Gaps: {gap.source} {times}, {lasting(gap.seconds)} together ({gap.causes})."
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in found.rejects)
    yield f"Rejects: {reasons or 'none'}."
    opened = sum(alert.opened for alert in found.alerts)
    closed = sum(alert.closed for alert in found.alerts)
    yield f"Alerts: {opened:,} opened, {closed:,} closed."
    for alert in [alert for alert in found.alerts if alert.is_open][:LISTED]:
        yield f"  still open, {alert.severity}: {alert.text}"


def _when_full(volume: VolumeDay) -> str:
    if not volume.known:
        return "how fast it fills is not known yet"
    return "it does not fill" if volume.days is None else f"full in {volume.days:,.0f} days"


def _stock(found: Yesterday, *, has_archive: bool) -> Iterator[str]:
    for each in found.volumes[:LISTED]:
        when = _when_full(each)
        yield f"Disk of {each.volume} on {each.host}: {size(each.free)} free, {when}."
    if has_archive:
        archives = found.archives
        newest = f", the newest {archives.newest}" if archives.newest else ""
        bad = f"; {archives.problems:,} not in order" if archives.problems else ""
        yield f"Archive: {archives.done:,} days{newest}{bad}."
    else:
        yield "Archive: none (archive.url is not set)."
