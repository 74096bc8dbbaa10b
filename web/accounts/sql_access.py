"""Logins to Postgres for users: made with a password that is shown once."""

import base64
import hashlib
import hmac
import logging
import secrets
from typing import NamedTuple

from stream import database_url
from stream.db import Executor
from stream.store import sql_roles
from stream.tweet import UserId

logger = logging.getLogger(__name__)

PASSWORD_BYTES = 24
SALT_BYTES = 16
ITERATIONS = 4096  # as Postgres itself: the password is random, so more would protect nothing


class SqlLogin(NamedTuple):
    """A role with its new password, and the database that it is for."""

    role: str
    password: str
    database: str


async def new_login(connection: Executor, user_id: UserId) -> SqlLogin:
    """Give a user a role, or the one they have a new password. Inside a transaction."""
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    verifier = scram_verifier(password, secrets.token_bytes(SALT_BYTES))
    role = await sql_roles.set_password(connection, user_id, verifier)
    if not await sql_roles.restrict(connection):
        logger.warning(
            "this login can stop the program and fill the disk; a superuser can prevent that",
            extra={"database": role.database, "statement": sql_roles.RESTRICT},
        )
    return SqlLogin(role.name, password, role.database)


class ServerParts(NamedTuple):
    """Where Postgres is, for programs that ask for it field by field."""

    host: str
    port: str
    is_socket: bool  # only programs on the same machine can connect


def server_parts(address: str) -> ServerParts:
    """The first host of an address, and its port."""
    url = database_url.parse(address)
    host = url.hosts[0] or url.parameters.get("host", "localhost")
    return ServerParts(host, url.ports[0] or url.parameters.get("port", "5432"), host[:1] == "/")


def scram_verifier(password: str, salt: bytes) -> str:
    """What Postgres stores for a password in ASCII (RFC 5802), so that no log sees the password."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored, server = (
        base64.b64encode(each).decode() for each in (salt, stored_key, server_key)
    )
    return f"SCRAM-SHA-256${ITERATIONS}:{salt_text}${stored}:{server}"
