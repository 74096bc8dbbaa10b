"""What a person has to do when the bus cannot be used. Pure, no I/O."""

from stream.bus.collected_stream import ELSEWHERE
from stream.config import Settings

# A server shuts JetStream down when it cannot write, and does not start it again by itself.
JETSTREAM_OFF = (
    "See the server's log: its disk may be full. Free some space and restart the server."
)


def remedy(why: str, settings: Settings) -> str:
    """What helps against `why`, the reason that the bus or its client gives."""
    text = why.lower()
    known = (advice for sign, advice in _remedies(settings) if sign in text)
    return next(known, _address(settings))


def needs_person(why: str, settings: Settings) -> bool:
    """Whether it will not pass by itself."""
    return remedy(why, settings) not in (_address(settings), _QUORUM, _NO_STREAM)


_QUORUM = (
    "Start the servers of the bus that are down: most of them have to run. Tweets wait in the"
    " journals meanwhile."
)
_NO_STREAM = "Start a machine with the role collect or write: it creates the stream."
_CERTIFICATE = (
    "Set `bus_ca` to the certificate that signed those of the servers, and renew what has expired"
    " (deploy/cluster/README.md)."
)


def _address(settings: Settings) -> str:
    text = (
        f"Check that its servers run, that `bus` ({settings.bus}) names them, and that no firewall"
        " is in between."
    )
    if settings.bus_ca or "tls://" in settings.bus:
        return text
    return f"{text} Servers that begin with TLS need `bus_ca` (deploy/cluster/README.md)."


def _remedies(settings: Settings) -> tuple[tuple[str, str], ...]:
    replicas = settings.bus_replicas
    login = (
        f"Correct user and password in {settings.bus_credentials}."
        if settings.bus_credentials
        else "It needs a login: set `bus_credentials` (deploy/cluster/README.md)."
    )
    return (
        (
            ELSEWHERE,
            f"Let `bus_stream` ({settings.bus_stream}) and `bus` ({settings.bus}) be as on the"
            " machines that collect, and restart it.",
        ),
        ("authorization", login),
        ("authentication", login),
        ("permissions violation", "Allow this user all subjects of its account on the servers."),
        ("connections exceeded", "Raise the limits of connections in the servers' configuration."),
        ("subscriptions exceeded", "Raise `max_subscriptions` in the servers' configuration."),
        (
            "not valid for",  # IP address or hostname mismatch
            "Name the servers in `bus` as their certificates do, or renew these with that name.",
        ),
        (
            "wrong_version_number",
            "The server does not begin with TLS: set `handshake_first: true` in the block `tls` of"
            " its configuration (deploy/cluster/nats-server.conf).",
        ),
        ("certificate", _CERTIFICATE),
        ("ssl", _CERTIFICATE),
        (
            "non-clustered",
            f"`bus_replicas` is {replicas}, but the bus is a single server: set `bus_replicas: 1`,"
            " or run three servers as a cluster.",
        ),
        (
            "insufficient",  # before "no suitable peers", which may be for this reason
            "Raise `max_file_store` of the servers (they need the disk for it), or lower"
            f" `bus_max_bytes` ({settings.bus_max_bytes / 1e9:g} GB).",
        ),
        (
            "no suitable peers",
            f"`bus_replicas` is {replicas}: so many servers with JetStream have to run, or lower"
            " it.",
        ),
        ("temporarily unavailable", _QUORUM),
        ("has no stream", _NO_STREAM),
        (
            "jetstream",
            "Switch JetStream on: `jetstream { … }` in the servers' settings, and"
            " `jetstream: enabled` in the account.",
        ),
        (
            "overlap",
            f"Another stream has the subjects of `bus_stream` ({settings.bus_stream}): delete that"
            " stream, or choose another name.",
        ),
        ("quorum", _QUORUM),
    )
