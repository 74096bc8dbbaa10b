"""Settings: what may stand in config.yaml, with units, defaults and limits."""

from typing import Annotated, Literal

import msgspec

YEAR = 365 * 24 * 3600  # seconds

# `unit` lets the file say `10 GB` or `2 h`; see units.py.
Seconds = Annotated[float, msgspec.Meta(gt=0, le=YEAR, extra={"unit": "seconds"})]
Hours = Annotated[float, msgspec.Meta(ge=0, le=10 * YEAR / 3600, extra={"unit": "hours"})]
Bytes = Annotated[int, msgspec.Meta(extra={"unit": "bytes"})]
Count = Annotated[int, msgspec.Meta(ge=1)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
# Only a URL: of the other form, "host=…", we could not print all but the password.
DatabaseURL = Annotated[str, msgspec.Meta(pattern=r"^($|postgres(ql)?://)")]
Folder = Annotated[str, msgspec.Meta(min_length=1)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are errors, everywhere."""


class JournalSettings(_Section, frozen=True, kw_only=True):
    """How much disk the journal may use, and how long it keeps what is stored already."""

    max_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 20)] = 10 << 30
    keep: Hours = 48  # hours
    segment_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 16)] = 64 << 20
    min_free_bytes: Annotated[Bytes, msgspec.Meta(ge=0)] = 2_000_000_000
    min_free_percent: Percent = 5


class XV2Settings(_Section, frozen=True, kw_only=True):
    """Limits of X API v2 (reference: Filtered Stream, tiers) and our margins below them."""

    max_rules: Count = 1000
    rule_length: Count = 1024  # characters
    box_parts: Count = 64  # into so many boxes of 25 miles a place is split at most
    attempts: Count = 45  # connections per 900 s; X allows 50
    rule_changes: Count = 90  # requests per 900 s; X allows 100
    silence: Seconds = 27  # keep-alives come every 20 s


class XV1Settings(_Section, frozen=True, kw_only=True):
    """Limits of X API v1.1 statuses/filter and our margins below them."""

    max_phrases: Count = 400
    phrase_bytes: Count = 60  # UTF-8 bytes
    max_follow: Count = 5000
    max_boxes: Count = 25
    attempts: Count = 5  # connections per 300 s, filter changes included
    silence: Seconds = 90
    settle: Seconds = 30  # so long after the last edit the filter changes
    settle_max: Seconds = 300  # and never later than this
    delimited: bool = True


class Settings(_Section, frozen=True, kw_only=True):
    """The whole of config.yaml."""

    database: DatabaseURL = ""
    data_dir: Folder = "data"
    save_every: Seconds = 1
    reload_every: Seconds = 10
    count_every: Seconds = 60
    keep_unmatched: bool = True
    deletions: Literal["erase", "flag"] = "erase"
    max_frame_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 16)] = 8 << 20
    loglevel: Literal["debug", "info", "warning", "error"] = "info"
    logfile: str = ""
    logformat: Literal["text", "json"] = "text"
    journal: JournalSettings = JournalSettings()
    x_v2: XV2Settings = XV2Settings()
    x_v1: XV1Settings = XV1Settings()
