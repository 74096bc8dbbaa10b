"""Credentials at rest: sealed with a key that lies in data_dir, outside the database.

A dump of the database without data_dir reveals no credentials.
"""

import contextlib
import re
from hashlib import blake2b
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from stream import files
from stream.errors import ConfigError, TwitterstreamError

_LINE = re.compile(r"([a-z][a-z0-9_]{0,63})\s*:(?:\s+(.*))?")
_QUOTED = re.compile(r"""(["'])(.*)\1\s*(?:#.*)?""")
_REMEDY = "restore that file from a backup, or enter the credentials of each source again"
_DAMAGED = (
    "restore that file from a backup; or delete it, and enter the credentials of each source again"
)


class Destination(msgspec.Struct, frozen=True):
    """Where credentials may be sent: an address, through a proxy or (empty) directly."""

    address: str
    proxy: str = ""


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Credentials before they are sealed. `destination`: None when an older version sealed them."""

    secrets: dict[str, str]
    destination: Destination | None

    def __repr__(self) -> str:
        return f"Credentials(destination={self.destination!r})"

    @classmethod
    def decode(cls, text: bytes) -> "Credentials":
        """Decode credentials of this version or an older one. Raises MsgspecError."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.ValidationError:
            return cls(msgspec.json.decode(text, type=dict[str, str]), None)


class Vault:
    """Seals and opens credentials; the key is made on first use, mode 0600."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "secret.key"

    def seal(self, secrets: dict[str, str], destination: Destination | None = None) -> bytes:
        """Encrypt credentials for the database. The daemon adds a missing destination."""
        content = Credentials(secrets, destination) if destination else secrets
        return self._fernet(make=True).encrypt(msgspec.json.encode(content))

    def open(self, sealed: bytes) -> dict[str, str]:
        """The credentials alone, to compare; `stream.credentials` opens those that are sent."""
        return self.unseal(sealed).secrets

    def unseal(self, sealed: bytes) -> Credentials:
        """Decrypt credentials. Raises TwitterstreamError when the key is missing or another."""
        try:
            text = self._fernet(make=False).decrypt(sealed)
        except InvalidToken:
            raise TwitterstreamError(
                f"The credentials were sealed with another key than the one in {self._path}:"
                f" {_REMEDY}"
            ) from None
        return Credentials.decode(text)

    def has_key(self) -> bool:
        """Whether the key exists."""
        return self._path.exists()

    def fingerprint(self) -> str:
        """What tells two keys apart without revealing either; empty when there is no key."""
        try:
            key = self._path.read_bytes()
        except OSError:
            return ""
        return blake2b(key.strip(), digest_size=8, person=b"secret.key").hexdigest()

    def key(self) -> bytes:
        """The key itself, for a backup; made when there is none yet. It is a secret."""
        self._fernet(make=True)
        return self._path.read_bytes()

    def _fernet(self, *, make: bool) -> Fernet:
        try:
            if make and not self._path.exists():
                self._make()
            if self._path.stat().st_mode & 0o077:
                raise TwitterstreamError(
                    f"The key in {self._path} is readable by other users: chmod 600 {self._path}"
                )
            return Fernet(self._path.read_bytes())
        except FileNotFoundError:
            raise TwitterstreamError(
                f"The key to the credentials, {self._path}, is missing: {_REMEDY}"
            ) from None
        except OSError as error:
            raise TwitterstreamError(
                f"The key to the credentials, {self._path}, cannot be used: {error.strerror}"
            ) from error
        except ValueError:
            raise TwitterstreamError(
                f"The key to the credentials, {self._path}, is damaged: {_DAMAGED}"
            ) from None

    def _make(self) -> None:
        """Create the key atomically, and once, even if two processes create it at the same time."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with (
            contextlib.suppress(FileExistsError),
            files.replacing(self._path, exclusive=True) as file,
        ):
            file.write(Fernet.generate_key())


def parse_secrets(text: str) -> dict[str, str]:
    """Credentials as a person gives them: lines `name: value`, or one JSON object of strings.

    Empty lines and comments are skipped; quotes around a value are dropped. Every value is text:
    a token such as 0123 or 1e5 stays what it is. Raises ConfigError, which never shows what was
    given, not even a name: a line that is wrong may be a token.
    """
    text = text.removeprefix("\ufeff")
    found = _json(text) if text.lstrip().startswith("{") else _lines(text)
    if not found:
        raise ConfigError("The credentials are empty: give lines `name: value`")
    for name, value in found.items():
        if not value or not value.isprintable() or not _LINE.fullmatch(f"{name}:"):
            raise ConfigError(
                "The credentials have a value that is empty, or has a line break or another"
                " character that cannot be typed, or a name that is not a lower-case word"
            )
    return found


def _json(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:
        raise ConfigError("The credentials are not a JSON object of strings") from None


def _lines(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise ConfigError(f"The credentials' line {number} is not `name: value`")
        if parts[1] in found:
            raise ConfigError(f"The credentials' line {number} gives a name for the second time")
        value = parts[2] or ""
        quoted = _QUOTED.fullmatch(value)
        found[parts[1]] = quoted[2] if quoted else f" {value}".split(" #")[0].strip()
        if not found[parts[1]]:
            raise ConfigError(f"The credentials' line {number} has no value")
    return found
