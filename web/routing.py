"""Routes: each names its method, path, handler, and who may call it."""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import msgspec
from aiohttp import web

from stream.store.sessions import Scope
from web.person import Access

ROW_ID_MAX = 2**63 - 1  # a bigint of Postgres
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Route(msgspec.Struct, frozen=True):
    """One address.

    `scope`: what a token must allow; None: tokens are not accepted, only sessions.
    `in_query`: the token may be in the address (`?token=`), as in calls of older services.
    """

    method: Method
    path: str
    handler: Handler
    access: Access
    scope: Scope | None = None
    in_query: bool = False


def row_id(written: str, largest: int = ROW_ID_MAX) -> int:
    """The id of a row from an address or a form; 0, which is never used, for anything else.

    The length comes first: Python refuses to read a number of 5,000 digits.
    """
    number = int(written) if written.isascii() and written.isdigit() and len(written) < 20 else 0
    return number if number <= largest else 0
