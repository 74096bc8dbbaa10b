"""How the program proves to the bus who it is, and the bus to the program: settings `bus_…`."""

import ssl
from pathlib import Path

from stream.config import Settings
from stream.errors import ConfigError
from stream.vault import parse_secrets


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What certificates of the servers are compared with; None: no TLS unless they ask for it."""
    if not settings.bus_ca and "tls://" not in settings.bus:
        return None
    try:
        return ssl.create_default_context(cafile=settings.bus_ca or None)
    except OSError as error:
        raise ConfigError(f"`bus_ca` {settings.bus_ca} cannot be read: {error}.") from error


def login(path: str) -> tuple[str | None, str | None]:
    """User and password from a file in the form of credentials of sources."""
    if not path:
        return None, None
    try:
        found = parse_secrets(Path(path).read_text(encoding="utf-8"))
        return found["user"], found["password"]
    except KeyError as error:
        why = f"it has no line `{error.args[0]}: …`"
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        why = str(error)
    raise ConfigError(
        f"`bus_credentials` {path} cannot be used ({why.rstrip('.')}): it needs two lines,"
        " `user: …` and `password: …`."
    )
