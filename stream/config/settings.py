"""Settings: what may stand in config.yaml, with units, defaults and limits."""

from typing import Annotated, Literal

import msgspec

YEAR = 365 * 24 * 3600  # seconds

# `unit` lets the file say `10 GB` or `2 h`; see units.py.
Seconds = Annotated[float, msgspec.Meta(gt=0, le=YEAR, extra={"unit": "seconds"})]
Hours = Annotated[float, msgspec.Meta(ge=0, le=10 * YEAR / 3600, extra={"unit": "hours"})]
SomeHours = Annotated[float, msgspec.Meta(gt=0, le=10 * YEAR / 3600, extra={"unit": "hours"})]
Bytes = Annotated[int, msgspec.Meta(extra={"unit": "bytes"})]
Count = Annotated[int, msgspec.Meta(ge=1)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
# Only a URL: of the other form, "host=…", we could not print all but the password.
DatabaseURL = Annotated[str, msgspec.Meta(pattern=r"^($|postgres(ql)?://)")]
Folder = Annotated[str, msgspec.Meta(min_length=1)]
Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]  # 0: for ever
# host:port, or nothing
_PORT = r"(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
Address = Annotated[str, msgspec.Meta(pattern=rf"^($|.+:{_PORT}$)")]
# Segments, but not . and .., which browsers take for something else
_BASE_PATH = r"^((/(?!\.{1,2}(/|\Z))[\w.~-]+)+)?\Z"
Addresses = list[Annotated[str, msgspec.Meta(pattern=r"^\w[\w+.-]*://")]]


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


class MonitorSettings(_Section, frozen=True, kw_only=True):
    """What is measured, where it can be read, and how long it is kept."""

    listen: Address = "127.0.0.1:9273"
    probe_every: Seconds = 10
    minutes_days: Count = 30
    hours_days: Count = 365


class AlertSettings(_Section, frozen=True, kw_only=True):
    """Whom to tell, and from when on something is worth telling."""

    channels: Addresses = []
    fallback: Addresses = []
    repeat_every: SomeHours = 24  # hours
    digest_at: Annotated[str, msgspec.Meta(pattern=r"^($|([01]\d|2[0-3]):[0-5]\d$)")] = "07:00"
    heartbeat_url: Annotated[str, msgspec.Meta(pattern=r"^($|https?://)")] = ""
    heartbeat_every: Seconds = 60
    disk_full_days: Count = 7
    disk_warn_percent: Percent = 15  # free
    disk_archive_percent: Percent = 10
    disk_pause_low_percent: Percent = 7.5
    disk_pause_all_percent: Percent = 5
    cpu_percent: Percent = 95
    memory_percent: Percent = 92
    busy_for: Seconds = 900  # so long over cpu_percent or memory_percent
    loop_lag: Seconds = 1
    journal_lag: Seconds = 120
    database_away: Seconds = 30
    source_silent: Seconds = 300
    reject_percent: Percent = 1
    unmatched_percent: Percent = 50
    track_silent_factor: Annotated[float, msgspec.Meta(ge=1)] = 20
    runaway_percent: Percent = 50  # of all tweets of the hour
    runaway_factor: Annotated[float, msgspec.Meta(ge=1)] = 10  # times its usual

    def __post_init__(self) -> None:
        levels = (
            self.disk_warn_percent,
            self.disk_archive_percent,
            self.disk_pause_low_percent,
            self.disk_pause_all_percent,
        )
        if list(levels) != sorted(levels, reverse=True):
            raise ValueError(
                "disk_warn_percent, disk_archive_percent, disk_pause_low_percent and"
                " disk_pause_all_percent must not rise in this order"
            )


class ArchiveSettings(_Section, frozen=True, kw_only=True):
    """Where closed days go. Credentials of S3 and its like come from the environment."""

    url: Annotated[
        str, msgspec.Meta(pattern=r"^($|/|(s3|gs|az|azure)://[^@]+$|(file|abfss?)://)")
    ] = ""
    ndjson: bool = False
    raw: bool = True
    raw_days: Days = 30
    keep_days: Days = 0


class RetentionSettings(_Section, frozen=True, kw_only=True):
    """How long things stay in Postgres. 0: for ever."""

    tweets_days: Days = 0
    unmatched_days: Days = 0
    minutes_days: Days = 90
    events_days: Days = 365
    rejects_days: Days = 365


class WebSettings(_Section, frozen=True, kw_only=True):
    """Where the pages and the API are served, and to how many."""

    listen: Address = "127.0.0.1:8080"
    base_path: Annotated[str, msgspec.Meta(pattern=_BASE_PATH)] = ""
    trusted_proxies: list[Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F.:]+(/\d{1,3})?$")]] = []
    session_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30
    calls_per_minute: Count = 600
    viewers: Count = 2000
    body_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 14)] = 1 << 20


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
    logfile_max_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 16)] = 50_000_000
    logfile_keep: Count = 5
    logformat: Literal["text", "json"] = "text"
    journal: JournalSettings = JournalSettings()
    monitor: MonitorSettings = MonitorSettings()
    alerts: AlertSettings = AlertSettings()
    archive: ArchiveSettings = ArchiveSettings()
    retention: RetentionSettings = RetentionSettings()
    web: WebSettings = WebSettings()
    x_v2: XV2Settings = XV2Settings()
    x_v1: XV1Settings = XV1Settings()
