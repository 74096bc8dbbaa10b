"""Keys that are shown once, and what is kept of them."""

import hashlib
import hmac
import secrets

KEY_BYTES = 32


def new_key() -> str:
    """256 random bits, for a cookie or a link."""
    return secrets.token_urlsafe(KEY_BYTES)


def hashed(key: str) -> bytes:
    """What is stored instead of the key: nobody can guess 256 bits, so no slow hash is needed."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def csrf_of(key: str) -> str:
    """What the forms of a session carry: made of its key, which no other site knows."""
    return hmac.new(key.encode(errors="surrogatepass"), b"csrf", "sha256").hexdigest()


def same(one: str, other: str) -> bool:
    """Compare without telling by the time it takes how much was right."""
    return hmac.compare_digest(
        one.encode(errors="surrogatepass"), other.encode(errors="surrogatepass")
    )
