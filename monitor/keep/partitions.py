"""Partitions made ahead, and mended where somebody took one away."""

from datetime import UTC, datetime, timedelta

from stream import tweets
from stream.db import Database
from stream.errors import TwitterstreamError

DAYS_AHEAD = 7  # after today
EVERY = 600.0  # seconds
# A partition that was detached with its rows is read as a whole before it is attached again. The
# writer of that day waits for us meanwhile.
LIMIT = 3600.0  # seconds


async def ensure(database: Database) -> None:
    """See to it that today and the next days have their partitions.

    Writers make sure of theirs themselves: this only spares them the work, and mends early.
    """
    today = datetime.now(UTC).date()
    failed: TwitterstreamError | None = None
    for ahead in range(DAYS_AHEAD + 1):
        try:
            async with database.transaction() as connection:
                await tweets.ensure_days(connection, [today + timedelta(days=ahead)], timeout=LIMIT)
        except TwitterstreamError as error:  # one day that cannot be mended hides no other
            failed = failed or error
    if failed is not None:
        raise failed
