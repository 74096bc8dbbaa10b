"""Types of options that several commands have."""

from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import click

from stream.config.fields import quantity


class Duration(click.ParamType[timedelta]):
    """90 min, 2d, 12 h."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        seconds = quantity(str(value), "seconds")
        if not seconds:
            words = "is not a duration: write a number with s, min, h or d, such as 90min or 12h."
            self.fail(f"{value!r} {words}", param, ctx)
        try:
            found = timedelta(seconds=seconds)
            datetime.now(UTC) + found
            datetime.now(UTC) - found
        except OverflowError:
            self.fail(f"{value!r} is too long; omit it for no limit.", param, ctx)
        return found


class UtcTime(click.ParamType[datetime]):
    """A day, or a time as in RFC 3339; without an offset it is UTC."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            found = datetime.fromisoformat(str(value).upper())
            return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            words = "is not a time: write 2026-01-31 or 2026-01-31T12:00, which are UTC"
            self.fail(f"{value!r} {words}, or 2026-01-31T12:00:00+02:00.", param, ctx)


class RowId(click.IntRange):
    """The id of a row, as the command `list` of its kind shows it."""

    def __init__(self, kind: str) -> None:
        super().__init__(1, 2**63 - 1)
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is not an id; `{self.kind} list` shows them.", param, ctx)


class NetworkChoice(click.Choice[str]):
    """Option type: the name of a network; the error for a wrong one suggests the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = [name for name in self.choices if name.startswith(value.lower())]
            near += get_close_matches(value.lower(), self.choices, 1)
            if not near:
                raise
            self.fail(f"{error.message} Did you mean {near[0]}?", param, ctx)
