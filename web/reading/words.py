"""Figures as people say them."""

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def lasting(seconds: float) -> str:
    """5400 → 1 hour 30 minutes: the two largest units, rounded down."""
    parts = []
    left = int(seconds)
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts) or "less than a second"
