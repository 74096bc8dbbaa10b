"""Settings: names, types, defaults and limits of config.yaml."""

import ipaddress
from typing import Annotated, Literal

import msgspec

from stream.config import redis_url

YEAR = 365 * 24 * 3600  # seconds

# `unit` allows `10 GB` or `2 h`; see fields.py.
Seconds = Annotated[float, msgspec.Meta(gt=0, le=YEAR, extra={"unit": "seconds"})]
Silence = Annotated[float, msgspec.Meta(gt=0, le=30, extra={"unit": "seconds"})]
Hours = Annotated[float, msgspec.Meta(ge=0, le=10 * YEAR / 3600, extra={"unit": "hours"})]
SomeHours = Annotated[float, msgspec.Meta(gt=0, le=10 * YEAR / 3600, extra={"unit": "hours"})]
Bytes = Annotated[int, msgspec.Meta(extra={"unit": "bytes"})]
Count = Annotated[int, msgspec.Meta(ge=1)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
# Only a URL: the other form, "host=…", cannot be printed without its password.
DatabaseURL = Annotated[str, msgspec.Meta(pattern=r"^($|postgres(ql)?://)")]
# As the constraint lanes_cell_plain
_CELL = r"[a-z0-9][a-z0-9_-]{0,30}"
Cell = Annotated[str, msgspec.Meta(pattern=rf"^({_CELL})?\Z")]
CellURLs = dict[
    Annotated[str, msgspec.Meta(pattern=rf"^{_CELL}\Z")],
    Annotated[str, msgspec.Meta(pattern=r"^postgres(ql)?://")],
]
# Servers of NATS; without `@`, as passwords belong into bus_credentials
_BUS_SERVER = r"(nats|tls)://[^@,/\s]+/?"
BusServers = Annotated[str, msgspec.Meta(pattern=rf"^({_BUS_SERVER}(,{_BUS_SERVER})*)?\Z")]
BusStream = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z")]
Folder = Annotated[str, msgspec.Meta(min_length=1)]
Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]  # 0: for ever
# host:port, or nothing
_PORT = r"(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
Address = Annotated[str, msgspec.Meta(pattern=rf"^($|(\[[^\]]+\]|[^:\s]+):{_PORT}$)")]
# Segments of ASCII, as cookies need, but not . and .., which browsers resolve
_BASE_PATH = r"^((/(?!\.{1,2}(/|\Z))[A-Za-z0-9_.~-]+)+)?\Z"
# A scheme and a host; the path is web.base_path
_PUBLIC_URL = r"^(https?://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?/?)?\Z"
HttpAddress = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#@\s]+/?\Z")]
Addresses = list[Annotated[str, msgspec.Meta(pattern=r"^\w[\w+.-]*://")]]
Networks = list[Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F.:]+(/\d{1,3})?$")]]
StreamHosts = list[Annotated[str, msgspec.Meta(pattern=r"^(ws|http)s?://[^/?#@\s]+/?\Z")]]


class SettingError(ValueError):
    """Settings of a section that are wrong, alone or together; the text begins with a name."""

    def __init__(self, names: tuple[str, ...], text: str) -> None:
        super().__init__(text)
        self.names = names


def _parse_network(name: str, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise SettingError(
            (name,), f"{name} takes addresses or networks such as 10.0.0.0/8, not {text!r}"
        ) from None


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of config.yaml; unknown keys are errors."""


class JournalSettings(_Section, frozen=True, kw_only=True):
    """Disk budget of the journal, and how long it keeps stored frames."""

    max_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 20)] = 10 << 30
    keep_hours: Hours = 48
    segment_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 16)] = 64 << 20
    min_free_bytes: Annotated[Bytes, msgspec.Meta(ge=0)] = 2_000_000_000
    min_free_percent: Percent = 5


class RedisSettings(_Section, frozen=True, kw_only=True):
    """Redis or Valkey as a sink: its address, and how much it keeps."""

    url: Annotated[str, msgspec.Meta(pattern=r"^($|(rediss?|unix)://)")] = ""
    streams: bool = False
    stream_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 20)] = 256 << 20
    track_stream_bytes: Annotated[Bytes, msgspec.Meta(ge=0)] = 16 << 20  # 0: no streams of tracks

    def __post_init__(self) -> None:
        if problem := redis_url.problem(self.url):
            raise SettingError(("url",), f"url {problem}")


class WebhookSettings(_Section, frozen=True, kw_only=True):
    """Webhooks of users: how many, and which private addresses they may use."""

    max_per_user: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10  # 0: none
    allowed_networks: Networks = []

    def __post_init__(self) -> None:
        for each in self.allowed_networks:
            if _parse_network("allowed_networks", each).is_link_local:
                raise SettingError(
                    ("allowed_networks",),
                    f"allowed_networks cannot allow {each!r}: webhooks never use link-local"
                    " addresses, where clouds hand out credentials",
                )


class SinkSettings(_Section, frozen=True, kw_only=True):
    """Where tweets are passed on to."""

    redis: RedisSettings = RedisSettings()
    webhooks: WebhookSettings = WebhookSettings()


class XV2Settings(_Section, frozen=True, kw_only=True):
    """Limits of X API v2 (reference: Filtered Stream, tiers) and our margins below them."""

    max_rules: Count = 1000
    max_rule_length: Count = 1024  # characters
    max_box_parts: Count = 64  # a place is split into at most this many boxes
    connect_attempts: Count = 45  # connections per 900 s; X allows 50
    max_rule_changes: Count = 90  # requests per 900 s; X allows 100
    silence_timeout: Seconds = 27  # X sends keep-alives every 20 s


class XV1Settings(_Section, frozen=True, kw_only=True):
    """Limits of X API v1.1 statuses/filter and our margins below them."""

    max_phrases: Count = 400
    max_phrase_bytes: Count = 60  # UTF-8 bytes
    max_follow: Count = 5000
    max_boxes: Count = 25
    connect_attempts: Count = 5  # connections per 300 s, filter changes included
    silence_timeout: Seconds = 90
    debounce: Seconds = 30  # after the last edit
    debounce_max: Seconds = 300  # after the first edit
    delimited: bool = True


BLUESKY_HOSTS = (
    "wss://jetstream.us-east.bsky.network",
    "wss://jetstream.us-west.bsky.network",
)
BLUESKY_OLD_HOSTS = (
    "wss://jetstream1.us-east.bsky.network",
    "wss://jetstream2.us-east.bsky.network",
    "wss://jetstream1.us-west.bsky.network",
    "wss://jetstream2.us-west.bsky.network",
)


class BlueskySettings(_Section, frozen=True, kw_only=True):
    """Bluesky's Jetstream: hosts, and when a connection is dead (Jetstream reference §1, §6)."""

    hosts: StreamHosts = msgspec.field(default_factory=lambda: [*BLUESKY_HOSTS])
    old_hosts: StreamHosts = msgspec.field(default_factory=lambda: [*BLUESKY_OLD_HOSTS])
    compression: bool = True
    silence_timeout: Silence = 20
    late_by_max: Seconds = 300  # events of a connection that is not catching up
    plc: HttpAddress = "https://plc.directory"
    appview: HttpAddress = "https://public.api.bsky.app"
    did_web: HttpAddress = "https://{host}"
    private_hosts: bool = False
    lookups_per_minute: Count = 240  # of accounts; each takes two requests

    def __post_init__(self) -> None:
        if not self.hosts and not self.old_hosts:
            raise SettingError(
                ("hosts", "old_hosts"),
                "hosts and old_hosts are both empty; leave one out for its default",
            )


class MastodonSettings(_Section, frozen=True, kw_only=True):
    """Mastodon: limits of a server's API and our margins below them."""

    max_hashtags: Count = 200  # channels of one connection
    connect_attempts: Count = 30  # connections per 300 s; a token allows 300 requests
    silence_timeout: Seconds = 60  # servers ping every 30 s
    max_refill_pages: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = (
        280  # per 900 s; servers allow 300, unless their administrators change that
    )
    # Per 300 s, for 20 posts each; servers allow 300 requests.
    max_deletion_lookups: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 60
    respect_opt_out: bool = True


class MonitorSettings(_Section, frozen=True, kw_only=True):
    """Metrics: sampling, address, retention."""

    listen: Address = "127.0.0.1:9273"
    sample_interval: Seconds = 10
    machine_minutes_days: Count = 30
    machine_hours_days: Count = 365


class AlertSettings(_Section, frozen=True, kw_only=True):
    """Alerts: channels and thresholds."""

    channels: Addresses = []
    fallback: Addresses = []
    repeat_interval: SomeHours = 24  # hours
    digest_at: Annotated[str, msgspec.Meta(pattern=r"^($|([01]\d|2[0-3]):[0-5]\d$)")] = "07:00"
    heartbeat_url: Annotated[str, msgspec.Meta(pattern=r"^($|https?://)")] = ""
    heartbeat_interval: Seconds = 60
    disk_full_days: Count = 7
    disk_warn_percent: Percent = 15  # free
    disk_archive_percent: Percent = 10
    disk_pause_low_percent: Percent = 7.5
    disk_pause_all_percent: Percent = 5
    cpu_percent: Percent = 95
    memory_percent: Percent = 92
    busy_for: Seconds = 900  # above cpu_percent or memory_percent for this long
    loop_lag: Seconds = 1
    journal_lag: Seconds = 120
    writer_stalled: Seconds = 90
    database_away: Seconds = 30
    source_silent: Seconds = 300
    sink_late: Seconds = 120
    reject_percent: Percent = 1
    unmatched_percent: Percent = 50
    track_silent_factor: Annotated[float, msgspec.Meta(ge=1)] = 20
    runaway_percent: Percent = 50  # of all tweets in the hour
    runaway_factor: Annotated[float, msgspec.Meta(ge=1)] = 10  # times its average

    def __post_init__(self) -> None:
        names = (
            "disk_warn_percent",
            "disk_archive_percent",
            "disk_pause_low_percent",
            "disk_pause_all_percent",
        )
        levels = [getattr(self, name) for name in names]
        if levels != sorted(levels, reverse=True):
            raise SettingError(
                names,
                "disk_warn_percent, disk_archive_percent, disk_pause_low_percent and"
                " disk_pause_all_percent must be in descending order",
            )


class ArchiveSettings(_Section, frozen=True, kw_only=True):
    """Archives: address and retention. Credentials of S3 and the like are environment variables."""

    url: Annotated[
        str, msgspec.Meta(pattern=r"^($|/|(s3|gs|az|azure)://[^@]+$|(file|abfss?)://)")
    ] = ""
    ndjson: bool = False
    raw: bool = True
    raw_days: Days = 30
    keep_days: Days = 0


class RetentionSettings(_Section, frozen=True, kw_only=True):
    """How many days rows stay in Postgres. 0: for ever."""

    tweets_days: Days = 0
    unmatched_days: Days = 0
    track_minutes_days: Days = 90
    counts_days: Days = 3650
    events_days: Days = 365
    rejects_days: Days = 365
    gaps_days: Days = 1825
    history_days: Days = 1825
    ids_days: Days = 90
    deletions_days: Days = 1825
    accounts_days: Days = 0
    hidden_days: Days = 30
    unseen_deletions_hours: SomeHours = 48


class WebSettings(_Section, frozen=True, kw_only=True):
    """The web UI and the API: address and limits."""

    listen: Address = "127.0.0.1:8080"
    public_url: Annotated[str, msgspec.Meta(pattern=_PUBLIC_URL)] = ""
    base_path: Annotated[str, msgspec.Meta(pattern=_BASE_PATH)] = ""
    trusted_proxies: Networks = []
    replica: DatabaseURL = ""
    replica_max_lag: Seconds = 30
    session_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30
    requests_per_minute: Count = 600
    max_live_connections: Count = 2000
    max_live_per_user: Count = 10
    max_body_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 14)] = 1 << 20
    max_excel_temp_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 20)] = 4_000_000_000

    def __post_init__(self) -> None:
        for each in self.trusted_proxies:
            _parse_network("trusted_proxies", each)


class ExportSettings(_Section, frozen=True, kw_only=True):
    """Exports: how large their files are, how many there are, and how long they stay."""

    part_rows: Annotated[int, msgspec.Meta(ge=1000, le=1_000_000)] = 250_000
    max_disk_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 20)] = 20_000_000_000
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 7
    max_unfinished_per_user: Count = 3
    max_files_per_user: Count = 20


class Settings(_Section, frozen=True, kw_only=True):
    """The whole of config.yaml."""

    database: DatabaseURL = ""
    data_dir: Folder = "data"
    flush_interval: Seconds = 1
    poll_interval: Seconds = 10
    bus: BusServers = ""
    bus_credentials: str = ""
    bus_ca: str = ""
    bus_stream: BusStream = "twitterstream"
    bus_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3
    bus_max_bytes: Annotated[Bytes, msgspec.Meta(ge=1 << 20)] = 20_000_000_000
    cells: CellURLs = {}
    cell: Cell = ""
    status_interval: Seconds = 60
    retry_failed_interval: Seconds = 900
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
    sinks: SinkSettings = SinkSettings()
    exports: ExportSettings = ExportSettings()
    x_v2: XV2Settings = XV2Settings()
    x_v1: XV1Settings = XV1Settings()
    bluesky: BlueskySettings = BlueskySettings()
    mastodon: MastodonSettings = MastodonSettings()

    def __post_init__(self) -> None:
        if self.cells and self.cell:
            raise SettingError(
                ("cells", "cell"),
                "cells and cell exclude each other: only processes of home have cells",
            )
        if "home" in (self.cell, *self.cells):
            raise SettingError(
                ("cell",) if self.cell else ("cells", "home"),
                "no cell can be called home: that is what the database of `database` is called",
            )
        if (self.cells or self.cell) and not self.bus:
            name = "cells" if self.cells else "cell"
            raise SettingError((name,), f"{name} needs bus: tweets reach the cells by it")
        if self.cell and not self.database:
            raise SettingError(("cell",), "cell needs database: the address of the cell's Postgres")
        if (self.cells or self.cell) and self.sinks.redis.url:
            name = "cells" if self.cells else "cell"
            raise SettingError(
                (name,), f"{name} excludes sinks.redis.url: Redis would get a part of the tweets"
            )
