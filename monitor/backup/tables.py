"""What is in a backup, and every statement that reads it out of tables or puts it back."""

import msgspec


class Kept(msgspec.Struct, frozen=True):
    """A table of the backup. Those that are merged keep what they have."""

    name: str
    numbered: bool = False  # `id` counts up: numbers are never given twice, also not elsewhere
    merged: bool = False
    where: str = "true"

    @property
    def rows(self) -> str:
        """Each row as a line of JSON."""
        return f"SELECT row_to_json(kept)::text AS line FROM {self.name} AS kept WHERE {self.where}"  # noqa: S608 - all of it is in this file

    @property
    def insert(self) -> str:
        """$1: a JSON array of rows."""
        return (
            f"INSERT INTO {self.name} OVERRIDING SYSTEM VALUE"  # noqa: S608 - as above
            f" SELECT * FROM jsonb_populate_recordset(NULL::{self.name}, $1)"
            + (" ON CONFLICT DO NOTHING" if self.merged else "")
        )

    @property
    def clear(self) -> str:
        return f"DELETE FROM {self.name}"  # noqa: S608 - as above


# In this order they go in and come back. A new table joins by one line.
TABLES = (
    Kept("sources", numbered=True),
    Kept("tracks", numbered=True),
    Kept("users", numbered=True),
    Kept("tokens", numbered=True),
    Kept("track_shares"),
    Kept("track_history", numbered=True),
    Kept("author_tombstones", merged=True),
    Kept("identities", merged=True, where="deleted_at IS NOT NULL"),
    Kept("track_hours"),
    Kept("track_days"),
    Kept("source_hours"),
    Kept("gaps", numbered=True),
    Kept("events", numbered=True),
    Kept("alerts", numbered=True),
    Kept("alert_mutes", numbered=True),
    Kept("archives"),
    Kept("raw_archives"),
)

LAST = "SELECT pg_sequence_last_value(pg_get_serial_sequence($1, 'id')) AS last"
GO_ON = "SELECT setval(pg_get_serial_sequence($1, 'id'), $2)"
MIGRATION = "SELECT name FROM schema_migrations ORDER BY number DESC LIMIT 1"
IN_USE = """
SELECT EXISTS (SELECT FROM sources) AS sources, EXISTS (SELECT FROM tracks) AS tracks,
    EXISTS (SELECT FROM users) AS users
"""
# What comes back was written down when people did it: the triggers write nothing more about it.
RESTORING = "SELECT set_config('twitterstream.restoring', 'on', true)"
# An alert about a machine ends with it: nobody there could close it any more.
CLOSE_ALERTS = """
UPDATE alerts SET closed_at = greatest(now(), opened_at), all_clear_at = now()
WHERE closed_at IS NULL AND host <> ''
"""
