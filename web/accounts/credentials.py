"""Credentials of users: passwords, and the keys of sessions, links and API tokens."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from stream.db import Executor
from stream.store import sessions
from stream.store.sessions import Rights, Scope
from stream.tweet import UserId
from web.limiters import AdmissionLimiter
from web.person import Person
from web.problem import Problem

PASSWORD_MIN, PASSWORD_MAX = 10, 1000  # characters
HASHES_RUNNING_MAX = 2  # each takes 64 MiB and some 50 ms of a core
HASHES_WAITING_MAX = 100

_hasher = PasswordHasher()
# Of no password: to check one against it takes as long as against any other. It is not made by
# hashing, which would cost every command 64 MB and a twentieth of a second.
_UNKNOWN_USER = "$argon2id$v=19$m={},t={},p={}${}${}".format(
    _hasher.memory_cost,
    _hasher.time_cost,
    _hasher.parallelism,
    base64.b64encode(bytes(_hasher.salt_len)).decode().rstrip("="),
    base64.b64encode(bytes(_hasher.hash_len)).decode().rstrip("="),
)


class Passwords:
    """Hashes and verifies passwords with argon2id: in threads, a few at once.

    So a flood of logins does not slow others down.
    """

    def __init__(self) -> None:
        self._limiter = AdmissionLimiter(HASHES_RUNNING_MAX, HASHES_WAITING_MAX)

    async def hash(self, password: str) -> str:
        """Problem when it is too short."""
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise Problem(
                "invalid",
                f"A password needs at least {PASSWORD_MIN} characters; several words are easiest.",
                field="password",
            )
        async with self._limiter.admit(_too_many()):
            return await asyncio.to_thread(_hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right; takes as long for unknown users, to hide who exists."""
        async with self._limiter.admit(_too_many()):
            right = await asyncio.to_thread(
                _verify, stored or _UNKNOWN_USER, password[:PASSWORD_MAX]
            )
        return right and stored is not None


def _too_many() -> Problem:
    message = "Too many logins at once. Try again in a few seconds."
    return Problem("too_many", message, retry_after=5)


def _verify(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


KEY_BYTES = 32


def new_key() -> str:
    """256 random bits, for a cookie or a link."""
    return secrets.token_urlsafe(KEY_BYTES)


def hashed(key: str) -> bytes:
    """Hash of a key, to store instead of it. For 256 random bits a slow hash is not needed."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def csrf_of(key: str) -> str:
    """The CSRF key of a session's forms, derived from its key, which no other site knows."""
    return hmac.new(key.encode(errors="surrogatepass"), b"csrf", "sha256").hexdigest()


def same(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(
        one.encode(errors="surrogatepass"), other.encode(errors="surrogatepass")
    )


TOKEN_PREFIX = "ts_"  # so that a token is recognised wherever it turns up  # noqa: S105
TOKENS_MAX = 50  # of one user
_AGENT_MAX = 300  # characters

LOGGED_OUT = "You are logged out, or this token is no longer valid."
ACCESS_CHANGED = "Your access has changed: connect again."
_TOO_MANY_TOKENS = f"You have {TOKENS_MAX} tokens, the limit: revoke one that is not used."


async def begin_session(
    connection: Executor, user_id: UserId, address: str, agent: str, days: int
) -> str:
    """The key for the cookie; only its hash is stored."""
    key = new_key()
    agent = "".join(each for each in agent[:_AGENT_MAX] if each.isprintable())
    await sessions.add_session(connection, user_id, hashed(key), address, agent, days)
    return key


async def person_of_session(connection: Executor, key: str, days: int) -> Person | None:
    """Whose session it is, if it is valid; each use extends it to `days` from now."""
    owner = await sessions.session_owner(connection, hashed(key), days)
    return None if owner is None else Person.of_session(owner, hashed(key), csrf_of(key))


async def new_token(
    connection: Executor,
    user_id: UserId,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None = None,
) -> tuple[int, str]:
    """Id and token, of which only the hash is stored. Problem when the user has too many."""
    if await sessions.count_tokens(connection, user_id) >= TOKENS_MAX:
        raise Problem("conflict", _TOO_MANY_TOKENS)
    token = TOKEN_PREFIX + new_key()
    values = user_id, hashed(token), name, scopes, expires_at
    return await sessions.add_token(connection, *values), token


async def person_of_token(connection: Executor, token: str) -> Person | None:
    """Whose token it is, if it is valid."""
    owner = await sessions.token_owner(connection, hashed(token))
    return None if owner is None else Person.of_token(owner, hashed(token))


async def current_rights(connection: Executor, people: Iterable[Person]) -> dict[bytes, Rights]:
    """Current rights of sessions and tokens by their hash; none where they have ended."""
    by_session, by_token = set[bytes](), set[bytes]()
    for person in people:
        (by_token if person.session is None else by_session).add(person.key)
    found = await sessions.session_rights(connection, by_session)
    return found | await sessions.token_rights(connection, by_token)


async def require_unchanged(connection: Executor, person: Person) -> None:
    """Problem when the session or token has ended, or allows something else by now.

    For what takes long: asked again while it runs.
    """
    rights = (await current_rights(connection, [person])).get(person.key)
    if rights is None:
        raise Problem("login_needed", LOGGED_OUT)
    if rights != person.rights:
        raise Problem("forbidden", ACCESS_CHANGED)
