"""The secrets with which messages to webhooks are signed: made, encrypted, renewed."""

import base64
import secrets as random_bytes
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from stream.errors import TwitterstreamError
from stream.store.webhooks import Webhook
from stream.vault import Vault

SECRET_BYTES = 32
OLD_SECRET_HOURS = (
    24  # after a change the former secret signs as well, so that receivers can follow
)
LOST = "It has no secret since a backup was restored: make a new one."
_NEW, _OLD = "secret", "old_secret"


def new_secret() -> str:
    """A secret in the form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(random_bytes.token_bytes(SECRET_BYTES)).decode()


def seal(vault: Vault, secret: str) -> bytes:
    return vault.seal({_NEW: secret})


def rotate(vault: Vault, hook: Webhook, secret: str) -> tuple[bytes, datetime | None]:
    """A new secret, encrypted with the former one; and until when that one signs as well."""
    try:
        former = open_secrets(vault, hook)[0]
    except TwitterstreamError:  # it cannot be read: there is nothing to keep
        return seal(vault, secret), None
    until = datetime.now(UTC) + timedelta(hours=OLD_SECRET_HOURS)
    return vault.seal({_NEW: secret, _OLD: former}), until


def open_secrets(vault: Vault, hook: Webhook) -> Sequence[str]:
    """The secrets that sign now, the newest first; TwitterstreamError when they are unreadable."""
    if hook.secrets is None:
        raise TwitterstreamError(LOST)
    found = vault.open(hook.secrets)
    until = hook.old_secret_until
    if _OLD in found and until is not None and until > datetime.now(UTC):
        return [found[_NEW], found[_OLD]]
    return [found[_NEW]]
