"""Which files of an export have tweets that were deleted since they were written."""

from datetime import timedelta

from stream.db import Executor

# A writer's transaction may have begun so long before its time is read.
AUTHORS_MARGIN = timedelta(minutes=1)

# Deletions by the log, which are none of the export's if they were of other tracks. Of authors:
# what is not applied to stored tweets yet, places that are removed, and what concerns archived
# tweets.
_CONCERNED = """
SELECT DISTINCT part.number FROM exports JOIN export_parts AS part ON part.export_id = exports.id
WHERE exports.id = $1 AND (
    EXISTS (
        SELECT FROM deletion_log AS gone
        WHERE gone.tweet_id > part.after_id AND gone.tweet_id <= part.last_id
          AND coalesce(gone.number > exports.deletions, true)
          AND (gone.tracks && exports.tracks
               OR part.archived AND gone.tracks = '{}'))
    OR $3::boolean AND part.archived AND EXISTS (
        SELECT FROM author_tombstones
        WHERE held AND changed_at > exports.valid_until - $2::interval)
    OR EXISTS (
        SELECT FROM author_tombstones AS author
        JOIN tweets ON tweets.author_id = author.author_id AND tweets.network = author.network
        JOIN matches ON matches.tweet_id = tweets.id AND matches.received_at = tweets.received_at
        WHERE author.changed_at > exports.valid_until - $2::interval
          AND (author.pending <> '{}' OR author.scrubbed_to IS NOT NULL)
          AND tweets.id > part.after_id AND tweets.id <= part.last_id
          AND tweets.received_at BETWEEN tweet_received_at(part.after_id)
              AND tweet_received_at(part.last_id)
          AND matches.track_id = ANY (exports.tracks)))
ORDER BY part.number
"""


async def concerned(connection: Executor, export_id: int, *, archived: bool) -> list[int]:
    """The numbers of these parts.

    `archived`: also all that have archived tweets, if a deletion of any author may concern these.
    """
    rows = await connection.fetch(_CONCERNED, export_id, AUTHORS_MARGIN, archived)
    return [row["number"] for row in rows]
