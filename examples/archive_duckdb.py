"""Answer questions about years of archived tweets with DuckDB, on one machine.

    python examples/archive_duckdb.py /srv/archive answers --track 1
    python examples/archive_duckdb.py s3://bucket/folder answers --track 1 --since 2026-01-01

Writes days.csv (tweets by day and track), hashtags.csv and authors.csv (of one track) into the
folder `answers`. Reads only the columns and days it needs, and spills to disk above --memory.
Needs duckdb, fsspec and obstore; credentials of a bucket are in the environment.
"""

import argparse
from pathlib import Path

import duckdb
import fsspec
from obstore.fsspec import register

# A manifest names the files of a day. Others in its folder may be of an older generation.
MANIFESTS = """
SELECT '{0}/tweets/day=' || day || '/part=' || part || '/' AS folder, files
FROM read_json('{0}/tweets/*/*/manifest.json', columns = {{day: 'DATE', part: 'INTEGER', files:
    'STRUCT(tweets STRUCT(name TEXT), matches STRUCT(name TEXT), tracks STRUCT(name TEXT))'}})
WHERE day BETWEEN ? AND ?
ORDER BY day, part
"""
# Deleted tweets have left the files, or are marked in them (setting `deletions`).
VIEWS = """
CREATE VIEW tweets AS SELECT * FROM tweets_files WHERE deleted_at IS NULL;
CREATE VIEW matches AS SELECT * FROM matches_files
    WHERE tweet_id NOT IN (SELECT id FROM tweets_files WHERE deleted_at IS NOT NULL);
CREATE VIEW tracks AS
    SELECT id, arg_max(value, filename) AS value FROM tracks_files GROUP BY id;
CREATE VIEW track_tweets AS SELECT * FROM tweets
    WHERE id IN (SELECT tweet_id FROM matches WHERE track_id = getvariable('track'));
"""
QUESTIONS = {
    "days": """
        SELECT received_at::date AS day, track_id, value AS track, count(*) AS tweets
        FROM matches LEFT JOIN tracks ON id = track_id
        GROUP BY ALL ORDER BY day, track_id
    """,
    "hashtags": r"""
        SELECT hashtag, count(*) AS tweets
        FROM (SELECT unnest(list_distinct(
            regexp_extract_all(lower(text), '[#＃]([\p{L}\p{M}\p{N}_]+)', 1))) AS hashtag
            FROM track_tweets)
        GROUP BY hashtag ORDER BY tweets DESC, hashtag LIMIT getvariable('top')
    """,
    "authors": """
        SELECT network, author_id, arg_max(author, received_at) AS author, count(*) AS tweets,
            count(DISTINCT received_at::date) AS active_days,
            min(received_at)::date AS first_day, max(received_at)::date AS last_day
        FROM track_tweets WHERE author_id IS NOT NULL
        GROUP BY network, author_id ORDER BY tweets DESC, network, author_id
        LIMIT getvariable('top')
    """,
}


def opened(archive: str, since: str, until: str, memory: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB with the archived days as views."""
    connection = duckdb.connect()
    if "://" in archive:
        register(scheme := archive.partition(":")[0])
        connection.register_filesystem(fsspec.filesystem(scheme))
    connection.execute(f"SET memory_limit = '{memory}'; SET TimeZone = 'UTC'")
    manifests = connection.execute(MANIFESTS.format(archive), [since, until]).fetchall()
    if not manifests:
        raise SystemExit(f"{archive} has no archived day from {since} to {until}")
    for table in ("tweets", "matches", "tracks"):
        names = [folder + files[table]["name"] for folder, files in manifests]
        # The folders part=… would hide the column `part` of matches.
        files = connection.read_parquet(
            names, filename=True, hive_partitioning=False, union_by_name=True
        )
        files.create_view(f"{table}_files")
    connection.execute(VIEWS)
    return connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "archive", help="the setting archive.url: a folder, s3://…, gs://… or az://…"
    )
    parser.add_argument("answers", type=Path, help="the folder to write to")
    parser.add_argument("--track", type=int, required=True, help="its id")
    parser.add_argument("--since", default="0001-01-01", help="the first day")
    parser.add_argument("--until", default="9999-12-31", help="the last day")
    parser.add_argument("--top", type=int, default=100, help="how many hashtags and authors")
    parser.add_argument("--memory", default="2GB", help="memory for DuckDB (default: 2GB)")
    given = parser.parse_args()
    connection = opened(given.archive.rstrip("/"), given.since, given.until, given.memory)
    connection.execute(f"SET VARIABLE track = {given.track}; SET VARIABLE top = {given.top}")
    given.answers.mkdir(parents=True, exist_ok=True)
    for name, question in QUESTIONS.items():
        connection.sql(question).write_csv(str(given.answers / f"{name}.csv"), header=True)


if __name__ == "__main__":
    main()
