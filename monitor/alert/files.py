"""The key to the credentials, and the certificates that the database's address names."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509

from monitor.alert.condition import Files
from stream.config import Settings

KEY = "secret.key"  # in data_dir; see stream/vault.py
EXPIRES_SOON = timedelta(days=14)
OTHERS = 0o077  # the bits of all but the owner
LONGEST = 1 << 20  # bytes of a certificate file


def look(settings: Settings, *, has_secrets: bool, now: datetime) -> Files:
    """What is wrong with them; may block. Without secrets no key is needed."""
    key = Path(settings.data_dir) / KEY
    problems: dict[str, str] = {}
    critical = set()
    what = f"The key to the credentials, {key},"
    try:
        if key.stat().st_mode & OTHERS:
            problems[str(key)] = f"{what} is open to other users."
    except FileNotFoundError:
        if has_secrets:
            problems[str(key)] = f"{what} is missing."
            critical.add(str(key))
    except OSError as error:
        problems[str(key)] = f"{what} cannot be read: {error.strerror}."
        critical.add(str(key))
    for path, sentence in _certificates(settings.database, now):
        problems[str(path)] = sentence
    return Files(problems, critical)


def _certificates(url: str, now: datetime) -> Iterator[tuple[Path, str]]:
    parameters = parse_qs(urlsplit(url).query)
    for name in ("sslrootcert", "sslcert", "sslkey"):
        for value in parameters.get(name, ()):
            path = Path(value)
            if value and value != "system":
                sentence = _problem(name, path, now)
                if sentence is not None:
                    yield path, sentence


def _problem(name: str, path: Path, now: datetime) -> str | None:
    what = f"The file {path}, which `database` names as {name},"
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST)
        mode = path.stat().st_mode
    except OSError as error:
        return f"{what} cannot be read: {error.strerror}."
    if name == "sslkey":
        return f"{what} is open to other users." if mode & OTHERS else None
    try:
        certificates = x509.load_pem_x509_certificates(text)
    except ValueError:
        return f"{what} holds no certificate."
    # Of several roots any may be the one that counts: only when all end is that certain.
    ends = [each.not_valid_after_utc for each in certificates]
    end = max(ends) if name == "sslrootcert" else min(ends)
    if end <= now:
        return f"{what} has been out of date since {end.astimezone(UTC):%F}."
    if end - now <= EXPIRES_SOON:
        return f"{what} is valid only until {end.astimezone(UTC):%F}."
    return None
