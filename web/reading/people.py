"""Who uses the pages, for the page that shows them."""

from datetime import datetime

import msgspec

from stream.db import Executor
from web.person import Role, UserId

_LINES = """
SELECT id, name, role, enabled, password IS NOT NULL AS ready, created_at, seen_at,
    (SELECT count(*) FROM tracks WHERE owner = users.name) AS tracks,
    (SELECT count(*) FROM sessions WHERE user_id = users.id AND expires_at > now()) AS sessions,
    (SELECT count(*) FROM tokens WHERE user_id = users.id
        AND (expires_at IS NULL OR expires_at > now())) AS tokens
FROM users WHERE $1::bigint IS NULL OR id = $1 ORDER BY name
"""


class UserLine(msgspec.Struct, frozen=True):
    """A user, and what is his; `ready`: he has chosen a password."""

    id: UserId
    name: str
    role: Role
    enabled: bool
    ready: bool
    created_at: datetime
    seen_at: datetime | None
    tracks: int
    sessions: int
    tokens: int


async def lines(connection: Executor, user_id: int | None = None) -> list[UserLine]:
    """Everybody, or this one if there is such a user."""
    return [UserLine(**row) for row in await connection.fetch(_LINES, user_id)]
