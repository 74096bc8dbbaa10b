"""Fills a database with a month of data: millions of tweets, hundreds of tracks, all roll-ups.

Postgres itself multiplies some thousand different posts, each with its own id and time. That takes
minutes, where the program would need half an hour.
"""

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from pgbench import corpus, rows
from stream.networks.x_v2.decode import decode
from stream.tweet import Tweet

DAYS = 30
TRACKS = 500
POSTS = 8_000  # different ones
DAYS_IN_PARALLEL = 2  # days
OWNERS = ("admin", "mary", "noor")

_TABLES = """
CREATE UNLOGGED TABLE bench_posts (n integer PRIMARY KEY, kind text, lang text, author_id text,
    author text, text text, doc jsonb);
CREATE UNLOGGED TABLE bench_matches (n integer, track_id bigint, term text, field text, part text);
CREATE UNLOGGED TABLE bench_items (n integer, aspect text, item text);
"""
_PEOPLE = """
INSERT INTO users (name, role) SELECT name, CASE name WHEN 'admin' THEN 'admin' ELSE 'user' END
FROM unnest($1::text[]) AS name
"""
_SOURCE = """
INSERT INTO sources (name, network, enabled, state, state_at, last_at)
VALUES ('main', 'x_v2', true, 'streaming', now() - interval '30 days', now())
"""
# Every fourth track is shared.
_FOLLOWED = """
INSERT INTO tracks (owner, value, created_at)
SELECT ($2::text[])[1 + n % cardinality($2)], value, now() - make_interval(days => $3)
FROM unnest($1::text[]) WITH ORDINALITY AS given (value, n)
ORDER BY n
"""
_ACTIVE = "UPDATE tracks SET state = 'active', state_at = created_at"
_SHARED = """
INSERT INTO track_shares (track_id, user_id)
SELECT tracks.id, users.id FROM tracks JOIN users ON users.name <> tracks.owner
WHERE tracks.id % 4 = 0 AND users.role = 'user'
"""
_MADE = """
CREATE TEMP TABLE made ON COMMIT DROP AS
SELECT at, tweet_key(at, 1) AS id, (1800000000000000000 + i)::text AS native,
    (hashint8(i) & 2147483647) % $3::integer AS n
FROM generate_series($1::bigint, $2::bigint - 1) AS i
CROSS JOIN LATERAL (
    SELECT $4::timestamptz + i * $5::double precision * interval '1 second') AS t (at)
"""
_TWEETS = """
INSERT INTO tweets (id, received_at, created_at, network, native_id, kind, lang, author_id, author,
    url, text, doc)
SELECT id, at, at - interval '1.5 seconds', 'x_v2', native, kind, lang, author_id, author,
    'https://x.com/' || author || '/status/' || native, text,
    jsonb_set(doc, '{data,id}', to_jsonb(native))
FROM made JOIN bench_posts USING (n) ORDER BY id
"""
_IDENTITIES = """
INSERT INTO tweet_ids (network, native_id, tweet_id)
SELECT 'x_v2', native, id FROM made ORDER BY id
"""
_MATCHES = """
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT id, track_id, at, term, field, part FROM made JOIN bench_matches USING (n) ORDER BY id
"""
_MINUTES = """
INSERT INTO track_minutes (track_id, minute, tweets)
SELECT track_id, date_trunc('minute', received_at, 'UTC'), count(*) FROM matches GROUP BY 1, 2
"""
_HOURS = """
INSERT INTO track_hours (track_id, hour, tweets, bytes)
SELECT track_id, date_trunc('hour', minute, 'UTC'), sum(tweets), sum(tweets) * $1::bigint
FROM track_minutes GROUP BY 1, 2
"""
_DAYS = """
INSERT INTO track_days (track_id, day, tweets, bytes)
SELECT track_id, (hour AT TIME ZONE 'UTC')::date, sum(tweets), sum(bytes)
FROM track_hours GROUP BY 1, 2
"""
_SOURCE_MINUTES = """
INSERT INTO source_minutes (source_id, minute, outcome, frames)
SELECT 1, date_trunc('minute', received_at, 'UTC'), 'stored', count(*) FROM tweets GROUP BY 2
"""
_SOURCE_HOURS = """
INSERT INTO source_hours (source_id, hour, outcome, frames)
SELECT 1, date_trunc('hour', minute, 'UTC'), 'stored', sum(frames) FROM source_minutes GROUP BY 2
"""
_RUNS = "INSERT INTO ingest_runs SELECT 1, 1, min(id), max(id) FROM tweets"
# Counts of each post by track, then its items: 5 million tweets in one statement.
_TOPS = """
INSERT INTO track_top_items (track_id, hour, aspect, item, tweets)
SELECT track_id, hour, aspect, item, tweets FROM (
    SELECT *, row_number() OVER (PARTITION BY track_id, hour, aspect ORDER BY tweets DESC) AS place
    FROM (
        SELECT track_id, hour, aspect, item, sum(came) AS tweets FROM (
            SELECT m.track_id, n, count(*) AS came,
                CASE WHEN m.received_at < date_trunc('hour', now(), 'UTC') - interval '24 hours'
                    THEN '-infinity' ELSE date_trunc('hour', m.received_at, 'UTC') END AS hour
            FROM matches AS m CROSS JOIN LATERAL (
                SELECT (hashint8(round(extract(epoch FROM m.received_at - $1) / $2)::bigint)
                        & 2147483647) % $3::integer) AS post (n)
            GROUP BY 1, 2, 4
        ) AS counted JOIN bench_items USING (n)
        GROUP BY 1, 2, 3, 4
    ) AS summed
) AS placed WHERE place <= CASE hour WHEN '-infinity' THEN 1000 ELSE 300 END
"""
_MACHINE = """
INSERT INTO machine_minutes (host, at, cpu_percent, cpu_percent_max, load, memory_used,
    memory_total, network_received, network_sent, process_memory, process_files, loop_lag_max,
    journal_lag_bytes, journal_lag_seconds, commit_p50, commit_p99, batch_frames, database_up,
    database_size, database_connections, oldest_transaction, partitions, volumes, sources, tables)
SELECT 'bench', at, 20 + random() * 10, 60, 0.7, 2e9, 8e9, 1e7, 1e6, 1.2e8, 60, 0.01, 4096, 0.1,
    0.02, 0.2, 12, 1, 11e9 + n * 1e5, 8, 0.1, 2 * $1,
    jsonb_build_object('data', jsonb_build_object('path', '/data', 'total', 250000000000,
        'used', 100000000000 + n * 400000, 'free', 150000000000 - n * 400000)),
    '{"main": {"frames": 116, "tweets": 116, "bytes": 250000}}', '{"tweets": 11000000000}'
FROM generate_series(date_trunc('minute', now()) - make_interval(days => $1),
    date_trunc('minute', now()), interval '1 minute') WITH ORDINALITY AS minute (at, n)
"""
_GAPS = """
INSERT INTO gaps (source_id, began_at, ended_at, cause, detail)
SELECT 1, at, at + interval '90 seconds', 'network', 'Connection reset by peer'
FROM generate_series(now() - make_interval(days => $1), now() - interval '1 hour',
    interval '7 hours') AS at
"""
_EVENTS = """
INSERT INTO events (at, source_id, kind, text)
SELECT at, 1, 'state', 'streaming: connected again'
FROM generate_series(now() - make_interval(days => $1), now(), interval '10 minutes') AS at
"""
_DROP = "DROP TABLE bench_posts, bench_matches, bench_items"


class _Made(msgspec.Struct, frozen=True):
    """How the tweets are spread over time."""

    count: int
    begin: datetime
    apart: float  # seconds

    def first(self, at: datetime) -> int:
        """The number of the first tweet at or after this time."""
        return max(0, min(self.count, -int((self.begin - at).total_seconds() // self.apart)))


async def fill(url: str, count: int) -> None:
    """Fill a database that is migrated and empty."""
    posts = corpus.make(POSTS, TRACKS)
    made = _Made(count, datetime.now(UTC) - timedelta(days=DAYS), DAYS * 86400 / count)
    async with asyncpg.create_pool(url, min_size=1, max_size=DAYS_IN_PARALLEL) as pool:
        await pool.execute(_TABLES)
        await pool.execute(_PEOPLE, list(OWNERS))
        await pool.execute(_SOURCE)
        await pool.execute(_FOLLOWED, posts.tracks, list(OWNERS), DAYS)
        await pool.execute(_ACTIVE)
        await pool.execute(_SHARED)
        await _load(pool, posts)
        turns = asyncio.Semaphore(DAYS_IN_PARALLEL)
        days = [made.begin.date() + timedelta(days=n) for n in range(DAYS + 2)]
        async with asyncio.TaskGroup() as group:
            for day in days:
                midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
                group.create_task(_day(pool, turns, made, midnight))
        await _roll_up(pool, made, round(posts.mean_bytes))


async def _load(pool: "asyncpg.Pool[asyncpg.Record]", posts: corpus.Corpus) -> None:
    """Load the different posts, their matches and their items."""
    prepared = rows.prepare(posts)
    of_id = {row[0]: n for n, row in enumerate(prepared.tweets)}
    names = {name: place for place, name in enumerate(rows.TWEETS)}
    picked = [names[name] for name in ("kind", "lang", "author_id", "author", "text", "doc")]
    async with pool.acquire() as connection:
        await connection.executemany(
            "INSERT INTO bench_posts VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb)",
            [(n, *(_plain(row[i]) for i in picked)) for n, row in enumerate(prepared.tweets)],
        )
        await connection.copy_records_to_table(
            "bench_matches",
            records=[(of_id[m[0]], m[1], *m[3:]) for m in prepared.matches],
        )
        items = [(n, *item) for n, body in enumerate(posts.bodies) for item in _items(body)]
        await connection.copy_records_to_table("bench_items", records=items)


def _plain(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def _items(body: bytes) -> set[tuple[str, str]]:
    tweet = decode(body)
    assert isinstance(tweet, Tweet)
    own = tweet.own
    found = {("kind", tweet.kind), ("lang", tweet.lang or "und")}
    found |= {("hashtag", tag.lower()) for tag in own.hashtags}
    found |= {("mention", name.lower()) for name in own.mentions}
    found |= {("link", link[:500]) for link in own.links}
    return found | ({("author", own.author)} if own.author else set())


async def _day(
    pool: "asyncpg.Pool[asyncpg.Record]", turns: asyncio.Semaphore, made: _Made, midnight: datetime
) -> None:
    """Fill one day in one transaction, so that new partitions need no WAL."""
    first, last = made.first(midnight), made.first(midnight + timedelta(days=1))
    async with turns, pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT ensure_day($1)", midnight.date())
        if first == last:
            return
        await connection.execute("SET LOCAL work_mem = '256MB'")
        await connection.execute(_MADE, first, last, POSTS, made.begin, made.apart)
        await connection.execute("ANALYZE made")
        for statement in (_TWEETS, _IDENTITIES, _MATCHES):
            await connection.execute(statement)
        print(f"{midnight:%Y-%m-%d}: {last - first:,} tweets", file=sys.stderr, flush=True)


async def _roll_up(pool: "asyncpg.Pool[asyncpg.Record]", made: _Made, mean_bytes: int) -> None:
    """Write everything that the writer and the jobs would have aggregated."""
    steps: Counter[str] = Counter()
    async with pool.acquire() as connection:
        await connection.execute("SET work_mem = '512MB'")
        for statement, *arguments in (
            (_MINUTES,),
            (_HOURS, mean_bytes),
            (_DAYS,),
            (_SOURCE_MINUTES,),
            (_SOURCE_HOURS,),
            (_RUNS,),
            (_TOPS, made.begin, made.apart, POSTS),
            (_MACHINE, DAYS),
            (_GAPS, DAYS),
            (_EVENTS, DAYS),
            (_DROP,),
            ("VACUUM (ANALYZE)",),
        ):
            await connection.execute(statement, *arguments, timeout=3600)
            steps["done"] += 1
            print(f"rolled up: {steps['done']}", file=sys.stderr, flush=True)
