"""When somebody last looked at a track or took its tweets: what nobody looks at is forgotten."""

from stream.db import Executor
from stream.tweet import TrackId

# At most once an hour: a page that is looked at all day is no reason to write.
_LOOKED = """
UPDATE tracks SET looked_at = now()
WHERE id = $1 AND (looked_at IS NULL OR looked_at < now() - interval '1 hour')
"""


async def note(connection: Executor, track_id: TrackId) -> None:
    """Somebody looks at it now."""
    await connection.execute(_LOOKED, track_id)
