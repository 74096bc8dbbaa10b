"""Calls of the client of NATS: their limits of time, and their errors as ours."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import nats.errors
import nats.js.errors

from stream.errors import BusAway

CALL_TIMEOUT = 5.0  # seconds; longer than the election of a new leader takes


@contextlib.asynccontextmanager
async def call(seconds: float = CALL_TIMEOUT) -> AsyncIterator[None]:
    """Use the client for so many seconds at most: while a server is frozen, its own limits fail."""
    with _translated_errors():
        async with asyncio.timeout(seconds):
            yield


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    task = asyncio.current_task()
    assert task is not None
    cancelled = task.cancelling()
    try:
        yield
    except nats.js.errors.NotFoundError as error:
        raise BusAway("it has no such stream") from error
    except nats.js.errors.ServiceUnavailableError as error:
        why = error.description or "no server with JetStream answers"
        raise BusAway(why) from error
    except nats.js.errors.NoStreamResponseError as error:
        raise BusAway("no server has the stream; there may be no quorum") from error
    except nats.js.errors.APIError as error:
        raise BusAway(f"it refuses: {error.description}") from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise BusAway(str(error) or "it does not answer") from error
    finally:
        # The client waits by asyncio.wait_for, which in Python 3.11 forgets that its task was
        # cancelled when the answer comes at the same moment: the task would never end.
        if task.cancelling() > cancelled:
            raise asyncio.CancelledError
