"""Times as people write them: in a time zone, where an hour can be missing or occur twice."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

UTC_ZONE = ZoneInfo("UTC")
_NAME = re.compile(r"[A-Za-z0-9_+/-]{1,64}")


class MissingTime(ValueError):
    """The clocks of the zone leave this time out."""


class RepeatedTime(ValueError):
    """The clocks of the zone show this time twice."""


@lru_cache(maxsize=100)
def find_zone(name: str) -> ZoneInfo | None:
    """The zone of the time zone database with this name; None when there is none."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@lru_cache(maxsize=1)
def zone_names() -> list[str]:
    """All zones that can be chosen. Reads the files of the time zone database once."""
    return sorted(available_timezones())


def local_text(moment: datetime | None, zone: ZoneInfo) -> str:
    """Format a time for a field `datetime-local`, to the minute or the second."""
    if moment is None:
        return ""
    local = _in_zone(moment, zone).replace(tzinfo=None, microsecond=0)
    return local.isoformat(timespec="seconds" if local.second else "minutes")


def fold_of(moment: datetime | None, zone: ZoneInfo) -> str:
    """Which one of a time that occurs twice: "0" the first, "1" the second; "" of every other."""
    if moment is None:
        return ""
    local = _in_zone(moment, zone)
    return str(local.fold) if is_repeated(local.replace(tzinfo=None), zone) else ""


def is_repeated(local: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks of the zone show this time twice."""
    return len(_moments(local, zone)) > 1


def read_local(text: str, zone: ZoneInfo, fold: str = "") -> datetime:
    """The moment in UTC of a written time, in the zone unless the text names an offset itself.

    ValueError for an invalid time; MissingTime and RepeatedTime (without a `fold`) where the clocks
    of the zone are changed.
    """
    written = datetime.fromisoformat(text)
    try:
        if written.tzinfo is not None:
            return written.astimezone(UTC)
        found = _moments(written, zone)
    except OverflowError as error:
        raise ValueError("out of range") from error
    if not found:
        raise MissingTime
    if len(found) > 1 and fold not in ("0", "1"):
        raise RepeatedTime
    return found[int(fold)] if len(found) > 1 else found[0]


def midnight(now: datetime, zone: ZoneInfo, days_ago: int = 0) -> datetime:
    """Midnight in a zone of the day of `now`, or `days_ago` days before; in UTC."""
    local = now.astimezone(zone).replace(
        hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0
    )
    local -= timedelta(days=days_ago)
    # Where the clocks leave midnight out the day begins with the first moment after it.
    return local.replace(tzinfo=zone).astimezone(UTC)


def offset_text(moment: datetime, zone: ZoneInfo) -> str:
    """The zone's abbreviation and offset at this moment: CEST (UTC+02:00)."""
    local = moment.astimezone(zone)
    name, offset = local.tzname() or "", f"{local:%z}"
    written = f"UTC{offset[:3]}:{offset[3:]}"
    return written if name[:1] in "+-" else f"{name} ({written})"


def _moments(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """The moments, in UTC, at which the clocks of the zone show this time: none, one or two."""
    both = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return sorted({at for at in both if at.astimezone(zone).replace(tzinfo=None, fold=0) == local})


def _in_zone(moment: datetime, zone: ZoneInfo) -> datetime:
    """At the ends of the calendar, where the zone has no such year, as it is in UTC."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)
