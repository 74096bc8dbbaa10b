"""Verifies OAuth 1.0a signatures (X v1.1 reference §3)."""

import base64
import hashlib
import hmac
import re
from collections import deque
from collections.abc import Sequence
from urllib.parse import quote, unquote

from simulator.settings import OAuth

MAX_SKEW = 300  # seconds between the two clocks
NONCES_KEPT = 10_000

_FIELD = re.compile(r'\s*(?P<key>[^=,\s]+)="(?P<value>[^"]*)"\s*')
_NEEDED = (
    "oauth_consumer_key", "oauth_nonce", "oauth_signature", "oauth_signature_method",
    "oauth_timestamp", "oauth_token",
)  # fmt: skip


class InvalidSignature(Exception):
    """The request is not signed correctly; the text gives the reason."""


def fields(header: str) -> dict[str, str]:
    """The decoded fields of an `Authorization: OAuth …` header; InvalidSignature if incomplete."""
    if not header.startswith("OAuth "):
        raise InvalidSignature("No OAuth header.")
    found = {}
    for part in header[6:].split(","):
        field = _FIELD.fullmatch(part)
        if field is None:
            raise InvalidSignature("The OAuth header cannot be read.")
        found[unquote(field["key"])] = unquote(field["value"])
    if missing := [name for name in _NEEDED if name not in found]:
        raise InvalidSignature(f"The OAuth header lacks {', '.join(missing)}.")
    return found


def signature(
    method: str, url: str, parameters: Sequence[tuple[str, str]], secrets: tuple[str, str]
) -> str:
    """HMAC-SHA1 over method, address without query, and all parameters but the signature."""
    pairs = sorted((_enc(key), _enc(value)) for key, value in parameters)
    joined = "&".join(f"{key}={value}" for key, value in pairs)
    base = "&".join((method.upper(), _enc(url), _enc(joined)))
    key = "&".join(map(_enc, secrets))
    digest = hmac.new(key.encode(), base.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


class Verifier:
    """Checks signatures of one account, and that no nonce is used twice."""

    def __init__(self, account: OAuth | None) -> None:
        self.account = account
        self.nonces: deque[str] = deque(maxlen=NONCES_KEPT)

    def verify(
        self,
        header: str,
        method: str,
        urls: Sequence[str],
        parameters: Sequence[tuple[str, str]],
        now: float,
    ) -> str:
        """The token of a valid signature, else InvalidSignature. One of `urls` was signed."""
        found = fields(header)
        token = found["oauth_token"]
        if self.account is None:
            return token
        stamp = found["oauth_timestamp"]
        if not stamp.isdigit() or abs(int(stamp) - now) > MAX_SKEW:
            raise InvalidSignature("Timestamp out of bounds.")
        if found["oauth_nonce"] in self.nonces:
            raise InvalidSignature("This nonce was used before.")
        if (found["oauth_consumer_key"], token) != (self.account.consumer_key, self.account.token):
            raise InvalidSignature("Could not authenticate you.")
        given = found.pop("oauth_signature")
        found.pop("realm", None)
        secrets = (self.account.consumer_secret, self.account.token_secret)
        signed = (*parameters, *found.items())
        if not any(
            hmac.compare_digest(given, signature(method, url, signed, secrets)) for url in urls
        ):
            raise InvalidSignature("Could not authenticate you.")
        self.nonces.append(found["oauth_nonce"])
        return token


def _enc(text: str) -> str:
    return quote(text, safe="-._~")
