"""The key of the credentials on its way to another server: as it is, or under a passphrase."""

import hashlib
import os
from base64 import urlsafe_b64encode

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from stream.errors import TwitterstreamError

# Costs about 0.1 s and 64 MiB a try (RFC 7914).
N, R, P = 1 << 16, 8, 1
MEMORY = 128 << 20  # bytes at most


class Box(msgspec.Struct, frozen=True):
    """What stands in the file: the key, or the key sealed by what the passphrase gives."""

    key: str
    salt: str = ""  # hexadecimal; none: the key is not sealed


def pack(key: bytes, passphrase: str | None) -> Box:
    """Put a key into a file."""
    if passphrase is None:
        return Box(key.decode())
    salt = os.urandom(16)
    return Box(_stretched(passphrase, salt).encrypt(key).decode(), salt.hex())


def unpack(box: Box, passphrase: str | None) -> bytes:
    """The key again. TwitterstreamError when the passphrase is missing or another."""
    if not box.salt:
        return box.key.encode()
    if passphrase is None:
        raise TwitterstreamError("This backup is under a passphrase: give --passphrase-file.")
    try:
        return _stretched(passphrase, bytes.fromhex(box.salt)).decrypt(box.key)
    except InvalidToken:
        raise TwitterstreamError("The passphrase is not the one of this backup.") from None


def open_secrets(key: bytes, sealed: bytes) -> dict[str, str]:
    """A source's credentials, by the key of the backup."""
    try:
        return msgspec.json.decode(Fernet(key).decrypt(sealed), type=dict[str, str])
    except (InvalidToken, ValueError, msgspec.MsgspecError):
        raise TwitterstreamError("The credentials in this backup are damaged.") from None


def _stretched(passphrase: str, salt: bytes) -> Fernet:
    found = hashlib.scrypt(passphrase.encode(), salt=salt, n=N, r=R, p=P, maxmem=MEMORY, dklen=32)
    return Fernet(urlsafe_b64encode(found))
