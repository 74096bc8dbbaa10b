"""kind=user: accounts between commas, by handle, id or address."""

import re
from typing import Literal

from stream.errors import InvalidQuery
from stream.query.keywords import shown
from stream.query.terms import alternative
from stream.query.tree import Alternative, User

Relation = Literal["any", "from", "to", "retweets_of"]

_DOMAIN = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
# X: up to 15 letters, digits and _, some old ones 20. Elsewhere a name is a domain of its own
# (name.bsky.social), or stands before one (name@server).
_HANDLE = re.compile(rf"[a-z0-9_]{{1,20}}|{_DOMAIN}|[a-z0-9_]+(?:[a-z0-9_.-]*[a-z0-9_])?@{_DOMAIN}")
_HANDLE_LENGTH = 253  # characters; the longest domain
_ID = re.compile("[0-9]{1,20}")
_DID = re.compile("did:[a-z]{1,20}:[A-Za-z0-9._:%-]{1,200}")
_PROFILE = re.compile(
    r"(?:https?://)?(?:www\.|mobile\.)?(?:twitter\.com|x\.com|bsky\.app/profile)/@?([^/?#]+)/?",
    re.IGNORECASE,
)


def users(value: str) -> list[Alternative]:
    """Every account between commas; each by whatever belongs to it, as v1 `follow` delivers."""
    written = [account.strip() for account in value.split(",") if account.strip()]
    if not written:
        raise InvalidQuery("The value is empty: write an account, such as @nasa, or its id.")
    return [alternative(account(each)) for each in written]


def account(written: str, relation: Relation = "any") -> User:
    """One account. Digits alone are an id; with an @ before them they are a handle."""
    name = profile[1] if (profile := _PROFILE.fullmatch(written)) else written
    if name[:1] != "@" and (_ID.fullmatch(name) or _DID.fullmatch(name)):
        user_id = name if name.startswith("did:") else str(int(name))
        return User(relation, id=user_id)
    handle = name.removeprefix("@").lower()
    if len(handle) <= _HANDLE_LENGTH and _HANDLE.fullmatch(handle):
        return User(relation, handle=handle)
    if len(written.split()) > 1:
        raise InvalidQuery(
            f"{shown(written)} is no account: write its handle, as @nasa, not the name shown "
            "beside it, and separate several accounts by commas."
        )
    raise InvalidQuery(
        f"{shown(written)} is no account: write a handle of letters, digits and _ (up to 20), "
        "such as @nasa, name.bsky.social or @name@server, or an id in digits."
    )
