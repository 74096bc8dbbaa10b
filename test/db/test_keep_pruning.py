"""Our own books are pruned by age, in batches, and nothing else goes."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from monitor.keep import pruning
from stream import db
from stream.config import RetentionSettings, Settings
from stream.db import Database

FILL = """
INSERT INTO track_minutes SELECT track, now() - day * interval '1 day', 1
    FROM generate_series(1, 40) AS track, generate_series(1, 200) AS day;
INSERT INTO track_hours SELECT track_id, minute, 1, 1 FROM track_minutes;
INSERT INTO source_minutes SELECT source, now() - day * interval '1 day', outcome, 1
    FROM generate_series(1, 3) AS source, generate_series(1, 200) AS day,
         unnest(ARRAY['stored', 'duplicate']) AS outcome;
INSERT INTO events (at, kind, text) SELECT now() - day * interval '1 day', 'daemon', ''
    FROM generate_series(800, 1, -1) AS day;
INSERT INTO rejects SELECT tweet_key(now() - day * interval '1 day', 1), 1,
        now() - day * interval '1 day', 'not_json', '', ''
    FROM generate_series(1, 800) AS day;
INSERT INTO alerts (rule, severity, text, remedy, opened_at, closed_at)
    SELECT 'r' || day, 'notice', '', '', now() - day * interval '1 day',
           CASE WHEN day % 2 = 0 THEN now() - day * interval '1 day' END
    FROM generate_series(1, 800) AS day;
INSERT INTO alert_mutes (rule, until) VALUES ('old', now() - interval '2 years'),
    ('new', now() - interval '2 days'), ('for ever', NULL);
INSERT INTO daemons (id, host, pid, role, seen_at) SELECT gen_random_uuid(), 'h', hours,
    'standby', now() - hours * interval '1 hour' FROM generate_series(1, 50) AS hours;
"""
COUNTS = """
SELECT (SELECT count(*) FROM track_minutes) AS track_minutes,
       (SELECT count(*) FROM track_hours) AS track_hours,
       (SELECT count(*) FROM source_minutes) AS source_minutes,
       (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM rejects) AS rejects,
       (SELECT count(*) FROM alerts) AS alerts, (SELECT count(*) FROM alert_mutes) AS mutes,
       (SELECT count(*) FROM daemons) AS daemons
"""


@pytest.fixture
async def filled(database: str) -> AsyncIterator[Database]:
    async with db.connect(database) as connected:
        await connected.execute(FILL)
        yield connected


async def counts(database: Database) -> dict[str, int]:
    [row] = await database.fetch(COUNTS)
    return dict(row)


@pytest.mark.parametrize("batch", [pruning.BATCH, 97])
async def test_what_is_older_than_the_settings_goes_and_nothing_younger(
    filled: Database, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", batch)
    monkeypatch.setattr(pruning, "BREATH", 0)
    keep = RetentionSettings(minutes_days=90, events_days=365, rejects_days=30)
    for _ in range(2):  # and once more changes nothing
        await pruning.prune(filled, msgspec.structs.replace(Settings(), retention=keep))
        assert await counts(filled) == {
            "track_minutes": 40 * 89,
            "track_hours": 40 * 200,
            "source_minutes": 3 * 2 * 89,
            "events": 364,
            "rejects": 29,
            "alerts": 364 + 436 // 2,  # the open ones stay, however old
            "mutes": 2,
            "daemons": 23,
        }


async def test_zero_days_are_for_ever(filled: Database) -> None:
    before = await counts(filled)
    keep = RetentionSettings(minutes_days=0, events_days=0, rejects_days=0)
    await pruning.prune(filled, msgspec.structs.replace(Settings(), retention=keep))
    after = await counts(filled)
    for name in ("track_minutes", "source_minutes", "events", "rejects"):
        assert after[name] == before[name]


async def test_minutes_are_found_by_the_key_and_not_by_reading_them_all(filled: Database) -> None:
    """The table of minutes is the largest of our own books."""
    for statement in (pruning._TRACK_MINUTES, pruning._SOURCE_MINUTES):
        async with filled.transaction() as connection:
            await connection.execute("ANALYZE; SET LOCAL enable_seqscan = off")
            plan = await connection.fetch(
                "EXPLAIN " + statement.replace("$1", "now()").replace("$2", "10")
            )
        assert "Seq Scan" not in "\n".join(row[0] for row in plan)
