"""Requests to the REST API of a Mastodon server that wait for its limits, and for our own."""

import re

from stream.backoff import Backoff, SlidingWindowLimiter, backoff_for, wait_turn
from stream.errors import ConnectError
from stream.networks.mastodon.server import ServerApi, reset_at
from stream.networks.response import Response

SPARE_REQUESTS = 20  # of the server's limit that are left for everything else
TRIES = 4  # of one request
_DIGITS = re.compile(r"[0-9]{1,19}")


class LimitedRequests:
    """At most `limit` requests in any `window` seconds, fewer where the server asks for it."""

    def __init__(self, api: ServerApi, limit: int, window: float) -> None:
        self.api = api
        self.clock = api.clock
        self.made = 0
        self._budget = SlidingWindowLimiter(limit, window)
        self._backoff = Backoff()
        self._not_before = 0.0  # seconds since 1970: the server asks to wait

    async def get(self, path: str) -> Response:
        """The response, if it is one of success; what can pass is retried. ConnectError."""
        failures = 0
        while True:
            await self._wait()
            try:
                response = await self.api.get(path)
            except ConnectError as error:
                failures += 1
                retry = backoff_for(error.retry)
                if retry is None or failures == TRIES:
                    raise
                self._not_before = error.retry_at or 0.0
                if error.retry_at is None:
                    await self.clock.sleep(self._backoff.delay(retry))
                continue
            self._backoff.reset()
            self._note_limit(response)
            return response

    async def _wait(self) -> None:
        """Wait until our own budget and the server allow another request."""
        if (wait := self._not_before - self.clock.time()) > 0:
            await self.clock.sleep(wait)
        await wait_turn(self._budget, self.clock)
        self.made += 1

    def _note_limit(self, response: Response) -> None:
        left = response.headers.get("x-ratelimit-remaining", "")
        if _DIGITS.fullmatch(left) and int(left) <= SPARE_REQUESTS:
            now = self.clock.time()
            self._not_before = reset_at(response, now) or now
