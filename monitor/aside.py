"""Calls that may take long or never come back, made by a daemon that must not wait for them.

Such as a look at a network disk that has gone, or a message to a server that says nothing to it.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from stream.errors import TwitterstreamError

T = TypeVar("T")


class StillBusy(TwitterstreamError):
    """The call, or the one before it, has not come back yet."""


class Aside:
    """One thread at a time, that neither the event loop nor the program's end waits for.

    The loop's own threads are few, and the journal syncs its files in them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._last: Future[object] | None = None

    async def do(self, call: Callable[[], T], patience: float | None = None) -> T:
        """What the call returns or raises; StillBusy when it does not within so many seconds.

        Cancelling gives up waiting; the call goes on.
        """
        if self._last is not None and not self._last.done():
            raise StillBusy(f"{self.name}: the call of before has not come back yet")
        result: Future[T] = Future()
        result.set_running_or_notify_cancel()
        self._last = result  # type: ignore[assignment]  # only asked whether it is done
        threading.Thread(target=_work, args=(result, call), name=self.name, daemon=True).start()
        try:
            async with asyncio.timeout(patience):
                return await asyncio.wrap_future(result)
        except TimeoutError:
            if result.done():
                raise  # the call's own
            raise StillBusy(f"{self.name}: no answer within {patience:g} s") from None


def _work(result: Future[T], call: Callable[[], T]) -> None:
    try:
        found = call()
    except BaseException as error:  # noqa: BLE001 - raised where somebody waits
        result.set_exception(error)
    else:
        result.set_result(found)
