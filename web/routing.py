"""What each address is for, and who may come: nothing is served that has not said so here."""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import msgspec
from aiohttp import web

from web.person import Access, Scope

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Route(msgspec.Struct, frozen=True):
    """One address.

    `scope`: what a token must allow; None: tokens are not taken here, only sessions.
    `in_query`: the token may stand in the address (`?token=`), as in calls of older services.
    """

    method: Method
    path: str
    handler: Handler
    access: Access
    scope: Scope | None = None
    in_query: bool = False
