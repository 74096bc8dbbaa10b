"""Settings of a simulator."""

from typing import Literal

import msgspec

NetworkName = Literal["x_v2", "x_v1", "bluesky", "mastodon"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the real services; tests make them small."""

    connects: int = 50  # v2: stream requests in a window
    rule_reads: int = 450  # v2: GET rules in a window
    rule_changes: int = 100  # v2: POST rules in a window
    kills: int = 25  # v2: DELETE connections in a window
    window: float = 900  # seconds
    connections: int = 1  # v2: streams open at once
    rules: int = 1000  # v2
    rule_length: int = 1024  # v2: characters
    rule_delay: float = 0  # v2: seconds until a rule change takes effect; X takes about 20
    phrases: int = 400  # v1
    phrase_bytes: int = 60  # v1: UTF-8 bytes
    follow: int = 5000  # v1
    boxes: int = 25  # v1
    v1_connects: int = 5  # v1: attempts in v1_window
    v1_window: float = 300  # seconds
    reader_bytes: int = 8 << 20  # a reader with more bytes queued is disconnected
    resend: int = 5000  # posts, with the fault "resend"
    resend_bytes: int = 16 << 20  # and at least so many bytes: more than sockets buffer


class Jetstream(msgspec.Struct, frozen=True, kw_only=True):
    """How a simulated Bluesky behaves beside its posts.

    Its events stay in a log that clients replay from a cursor: at most `lookback` seconds and
    `log_bytes` of them. `history` posts are made before the start, spread over `history_seconds`.
    Each of the `hosts` listens on a port of its own: same events, other sequence numbers and
    slightly other times.
    """

    hosts: int = 1
    lookback: float = 36 * 3600  # seconds
    log_bytes: int = 512 << 20
    history: int = 0
    history_seconds: float = 3600
    first_seq: int | None = None  # of the first host; None: from the clock
    write_timeout: float = 5  # seconds that a client may accept nothing
    slow_lag: int = 100_000  # a client that is more events late than this ...
    slow_rate: float = 5  # ... and reads fewer events per second than this ...
    slow_window: float = 60  # ... for so many seconds, is disconnected
    pds_requests: int = 3000  # requests per pds_window that the PDS answers
    pds_window: float = 300  # seconds
    records: int = 1000  # newest posts per account that the PDS keeps


class OAuth(msgspec.Struct, frozen=True, kw_only=True):
    """The four OAuth 1.0a values that a v1.1 client must sign with."""

    consumer_key: str
    consumer_secret: str
    token: str
    token_secret: str

    def __repr__(self) -> str:
        # Keep secrets out of logged tracebacks.
        return "OAuth(…)"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One simulated network on one port.

    `rate` is in posts per second; 0 means as fast as readers accept them. Nothing is sent while no
    client is connected. After `posts` posts only keep-alives are sent. `replay` sends the lines of
    a file (plain or .gz) unchanged instead of generated posts, to all connections; `loop`: again
    and again. `time_scale` multiplies all protocol times (keep-alives, windows, delays). Secrets of
    None accept any credentials.

    Bluesky filters no text: there `words` are what tracks look for. A word is text, `#tag`, or
    `@handle` or DID of an author; posts without one hold none of them. Bluesky goes on while no
    client is connected, from the first client on. So does Mastodon; its authors are
    written `@name@host`.
    """

    network: NetworkName = "x_v2"
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    rate: float = 20
    seed: int = 1
    posts: int | None = None
    replay: str | None = None
    loop: bool = False
    words: tuple[str, ...] = ()  # put into every `words_every`th post where no filter asks for it
    words_every: int = 10
    faults: tuple[str, ...] = ()  # NAME, NAME:TIMES, NAME@SECONDS; see faults.py
    bearer_token: str | None = None
    oauth: OAuth | None = None
    time_scale: float = 1.0
    limits: Limits = Limits()
    jetstream: Jetstream = Jetstream()

    def __repr__(self) -> str:
        # Keep secrets out of logged tracebacks.
        return f"Settings(network={self.network!r}, host={self.host!r}, port={self.port})"
