"""Identifiers of the AT protocol: DIDs, TIDs, CIDs, and what counts as well-formed."""

import base64
import hashlib
import random
import re

POSTS = "app.bsky.feed.post"

_SORTABLE = "234567abcdefghijklmnopqrstuvwxyz"
_DID = re.compile(r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]")
_NSID = re.compile(
    r"[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    r"(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)+"
    r"\.[a-zA-Z][a-zA-Z0-9]{0,62}"
)


def tid(micros: int, clock: int) -> str:
    """A TID: 13 characters that sort by time."""
    number = (micros << 10 | clock & 0x3FF) & (1 << 63) - 1
    return "".join(_SORTABLE[number >> shift & 31] for shift in range(60, -1, -5))


def cid(content: bytes, codec: int = 0x71) -> str:
    """A well-formed CID of this content (the digest is of the JSON, not of DAG-CBOR)."""
    digest = hashlib.sha256(content).digest()
    encoded = base64.b32encode(bytes((1, codec, 0x12, 32)) + digest)
    return "b" + encoded.decode().rstrip("=").lower()


def plc_did(rng: random.Random) -> str:
    """An invented did:plc."""
    return "did:plc:" + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz234567", k=24))


def is_did(text: str) -> bool:
    """Is this a well-formed DID of at most 2048 characters?"""
    return len(text) <= 2048 and _DID.fullmatch(text) is not None


def is_nsid(text: str) -> bool:
    """Is this a well-formed NSID of at most 317 characters?"""
    return len(text) <= 317 and _NSID.fullmatch(text) is not None
