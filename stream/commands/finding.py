"""The result of one check of `doctor`."""

from typing import Literal

import msgspec

Result = Literal["ok", "warning", "error"]


class Finding(msgspec.Struct, frozen=True):
    """A sentence about something that was checked, with a remedy when it is wrong."""

    result: Result
    text: str
