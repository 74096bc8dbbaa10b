"""Books of our own that are not needed any more: every statement that deletes rows by their age."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from stream.config import Settings
from stream.db import Database

BATCH = 10_000  # rows a statement: no lock is held for long
BREATH = 0.05  # seconds between two statements
EVERY = 3600.0  # seconds
LIMIT = 1800.0  # seconds
ALERT_DAYS = 365
DAEMON_DAYS = 1  # as stream/sources.py, which only looks when a daemon ends in good order

# The keys begin with the track or the source: each has its own short range at the start of the
# index, and jumping from one to the next reads a few pages, however many rows there are.
_TRACK_MINUTES = """
WITH RECURSIVE each AS (
    (SELECT track_id FROM track_minutes ORDER BY track_id LIMIT 1)
    UNION ALL
    SELECT (SELECT track_id FROM track_minutes WHERE track_id > each.track_id
            ORDER BY track_id LIMIT 1)
    FROM each WHERE each.track_id IS NOT NULL
)
DELETE FROM track_minutes WHERE ctid = ANY (ARRAY(
    SELECT old.row FROM each CROSS JOIN LATERAL (
        SELECT ctid AS row FROM track_minutes
        WHERE track_id = each.track_id AND minute < $1 ORDER BY minute LIMIT $2) AS old
    LIMIT $2))
"""
_SOURCE_MINUTES = """
WITH RECURSIVE each AS (
    (SELECT source_id FROM source_minutes ORDER BY source_id LIMIT 1)
    UNION ALL
    SELECT (SELECT source_id FROM source_minutes WHERE source_id > each.source_id
            ORDER BY source_id LIMIT 1)
    FROM each WHERE each.source_id IS NOT NULL
)
DELETE FROM source_minutes WHERE ctid = ANY (ARRAY(
    SELECT old.row FROM each CROSS JOIN LATERAL (
        SELECT ctid AS row FROM source_minutes
        WHERE source_id = each.source_id AND minute < $1 ORDER BY minute LIMIT $2) AS old
    LIMIT $2))
"""
# Ids are given in order of time, nearly: only the oldest rows are looked at.
_EVENTS = """
WITH oldest AS (SELECT id, at FROM events ORDER BY id LIMIT $2)
DELETE FROM events USING oldest WHERE events.id = oldest.id AND oldest.at < $1
"""
# The key is the time.
_REJECTS = """
DELETE FROM rejects WHERE id IN (
    SELECT id FROM rejects WHERE id < tweet_key($1, 0) ORDER BY id LIMIT $2)
"""
_ALERTS = """
DELETE FROM alerts WHERE id IN (
    SELECT id FROM alerts WHERE opened_at < $1 AND closed_at < $1 ORDER BY opened_at LIMIT $2)
"""
_MUTES = """
DELETE FROM alert_mutes WHERE id IN (SELECT id FROM alert_mutes WHERE until < $1 LIMIT $2)
"""
_DAEMONS = """
DELETE FROM daemons WHERE id IN (SELECT id FROM daemons WHERE seen_at < $1 LIMIT $2)
"""


class Rule(msgspec.Struct, frozen=True):
    """What goes after so many days; 0: nothing."""

    statement: str  # $1: older than this; $2: so many rows at most
    days: int


def rules(settings: Settings) -> Sequence[Rule]:
    """Every table that is pruned."""
    keep = settings.retention
    return (
        Rule(_TRACK_MINUTES, keep.minutes_days),
        Rule(_SOURCE_MINUTES, keep.minutes_days),
        Rule(_EVENTS, keep.events_days),
        Rule(_REJECTS, keep.rejects_days),
        Rule(_ALERTS, ALERT_DAYS),
        Rule(_MUTES, ALERT_DAYS),
        Rule(_DAEMONS, DAEMON_DAYS),
    )


async def prune(database: Database, settings: Settings) -> None:
    """Delete what is older than the settings say, a batch at a time."""
    now = datetime.now(UTC)
    for rule in rules(settings):
        if rule.days:
            await _prune(database, rule.statement, now - timedelta(rule.days))


async def _prune(database: Database, statement: str, before: datetime) -> None:
    while True:
        if await database.execute(statement, before, BATCH) == "DELETE 0":
            return
        await asyncio.sleep(BREATH)
