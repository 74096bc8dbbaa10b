"""Times, durations and sizes as they stand in a sentence."""

import time

EXACT = 10  # minutes; of less, the seconds are said, too
LONGEST_NAME = 60  # characters of a track's value in a sentence


def clock(at: float, now: float) -> str:
    """A moment in UTC; with its date, unless that is today. Both in seconds since 1970."""
    today = time.strftime("%F", time.gmtime(now))
    day, minute = time.strftime("%F %H:%M", time.gmtime(at)).split()
    return f"{minute} UTC" if day == today else f"{day} {minute} UTC"


def lasting(seconds: float) -> str:
    """A duration in its two greatest units."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60 % 60, whole // 3600 % 24, whole // 86_400
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes < EXACT and whole % 60:
        return f"{minutes} min {whole % 60} s"
    return f"{minutes} min"


def size(number: float) -> str:
    """Bytes, in the unit that suits them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def usual(per_hour: float) -> str:
    """A rate by the hour, or by the day where that says more."""
    if per_hour >= 1:
        return f"{per_hour:,.0f} an hour"
    return f"{per_hour * 24:,.1f} a day".replace(".0 ", " ")


def short(text: str) -> str:
    """What somebody typed, as part of a sentence: one line, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_NAME else line[: LONGEST_NAME - 1] + "…"


def listed(names: list[str]) -> str:
    """a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
