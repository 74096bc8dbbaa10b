"""What a simulator is told when it starts."""

from typing import Literal

import msgspec

NetworkName = Literal["x_v2", "x_v1"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of the references; tests make them small."""

    connects: int = 50  # v2: stream requests in a window
    rule_reads: int = 450  # v2: GET rules in a window
    rule_changes: int = 100  # v2: POST rules in a window
    kills: int = 25  # v2: DELETE connections in a window
    window: float = 900  # seconds
    connections: int = 1  # v2: streams open at once
    rules: int = 1000  # v2
    rule_length: int = 1024  # v2: characters
    rule_delay: float = 0  # v2: seconds until a changed rule acts; X takes about 20
    phrases: int = 400  # v1
    phrase_bytes: int = 60  # v1: UTF-8 bytes
    follow: int = 5000  # v1
    boxes: int = 25  # v1
    v1_connects: int = 5  # v1: attempts in v1_window
    v1_window: float = 300  # seconds
    reader_bytes: int = 8 << 20  # a reader that is this far behind is disconnected
    resend: int = 5000  # posts, with the fault "resend"
    resend_bytes: int = 16 << 20  # and at least so many: more than sockets hold on their way


class OAuth(msgspec.Struct, frozen=True, kw_only=True):
    """The four OAuth 1.0a values that a v1.1 client must sign with."""

    consumer_key: str
    consumer_secret: str
    token: str
    token_secret: str

    def __repr__(self) -> str:
        # Secrets must not reach a log by way of a traceback.
        return "OAuth(…)"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One simulated network on one port.

    `rate` is in posts a second, 0 means as fast as the reader takes them; nothing is sent, and
    no time passes for the posts, while nobody is connected. `posts` ends the supply; keep-alives go
    on. `replay` sends the lines of a file (plain or .gz) byte for byte instead of generated posts,
    to everybody who is connected, or with `replay_filtered` only those that match. `time_scale`
    multiplies every protocol time (keep-alives, windows, delays). Secrets of None accept anything.
    """

    network: NetworkName = "x_v2"
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    rate: float = 20
    seed: int = 1
    posts: int | None = None
    replay: str | None = None
    replay_filtered: bool = False
    loop: bool = False
    faults: tuple[str, ...] = ()  # NAME, NAME:TIMES, NAME@SECONDS; see faults.py
    bearer_token: str | None = None
    oauth: OAuth | None = None
    time_scale: float = 1.0
    limits: Limits = Limits()

    def __repr__(self) -> str:
        # Secrets must not reach a log by way of a traceback.
        return f"Settings(network={self.network!r}, host={self.host!r}, port={self.port})"
