"""What each simulated network offers to the parts that they share."""

import random
from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from simulator.connection import Connection, Json
from simulator.faults import Armed
from simulator.posts import Post, Wish


class Network(Protocol):
    """One protocol: its routes, its JSON, its odd messages."""

    keep_alive: float  # seconds of quiet between two blank lines
    stall: float  # seconds of silence with which a client must give up

    def routes(self) -> Sequence[web.RouteDef]:
        """The HTTP requests that it answers."""
        ...

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add this network's headers to an answer."""
        ...

    def payload(self, post: Post) -> Json:
        """A post as this network's JSON, with everything there is."""
        ...

    def wish(self, rng: random.Random) -> Wish | None:
        """Something that matches what is followed now; None when nothing is."""
        ...

    def oddity(self, armed: Armed) -> list[bytes]:
        """The messages with which a fault shows itself."""
        ...

    def around(self, post: Post, count: int) -> tuple[list[bytes], list[Post], list[bytes]]:
        """What modes put before the `count`th post, which posts follow it, and messages after."""
        ...

    def tally(self, connection: Connection) -> list[bytes]:
        """What a connection is told after a post about how many it got."""
        ...

    def spent(self) -> list[bytes] | None:
        """Count one more post; the last words to a connection that may have no more."""
        ...

    def too_slow(self) -> list[bytes]:
        """The last words to a reader that is too far behind."""
        ...
