"""Answer questions about years of archived tweets with Spark, on one machine or a cluster.

    python examples/archive_spark.py /srv/archive answers --track 1
    spark-submit --master spark://… --packages org.apache.hadoop:hadoop-aws:3.5.0 \\
        examples/archive_spark.py s3a://bucket/folder answers --track 1 --since 2026-01-01

Writes days.csv (tweets by day and track), hashtags.csv and authors.csv (of one track) into the
folder `answers`, as examples/archive_duckdb.py does. Needs pyspark and Java 17 or newer;
hadoop-aws in the version of Spark's own Hadoop (pyspark/jars).
"""

import argparse
import csv
from pathlib import Path

from pyspark.sql import SparkSession

FILE = "STRUCT<name: STRING>"
MANIFEST = f"day DATE, part INT, files STRUCT<tweets: {FILE}, matches: {FILE}, tracks: {FILE}>"
# Deleted tweets have left the files, or are marked in them (setting `deletions`).
VIEWS = {
    "tweets": "SELECT * FROM tweets_files WHERE deleted_at IS NULL",
    "matches": """
        SELECT * FROM matches_files LEFT ANTI JOIN
            (SELECT id FROM tweets_files WHERE deleted_at IS NOT NULL) AS deleted ON id = tweet_id
    """,
    "tracks": """
        SELECT id, max_by(value, filename) AS value FROM tracks_files GROUP BY id
    """,
    "track_tweets": """
        SELECT * FROM tweets LEFT SEMI JOIN
            (SELECT tweet_id FROM matches WHERE track_id = :track) AS matched ON id = tweet_id
    """,
}
QUESTIONS = {
    "days": """
        SELECT date(received_at) AS day, track_id, value AS track, count(*) AS tweets
        FROM matches LEFT JOIN tracks ON id = track_id
        GROUP BY ALL ORDER BY day, track_id
    """,
    "hashtags": """
        SELECT hashtag, count(*) AS tweets
        FROM (SELECT explode(array_distinct(
            regexp_extract_all(lower(text), :hashtag, 1))) AS hashtag FROM track_tweets)
        GROUP BY hashtag ORDER BY tweets DESC, hashtag LIMIT :top
    """,
    "authors": """
        SELECT network, author_id, max_by(author, received_at) AS author, count(*) AS tweets,
            count(DISTINCT date(received_at)) AS active_days,
            date(min(received_at)) AS first_day, date(max(received_at)) AS last_day
        FROM track_tweets WHERE author_id IS NOT NULL
        GROUP BY network, author_id ORDER BY tweets DESC, network, author_id LIMIT :top
    """,
}
HASHTAG = r"[#＃]([\p{L}\p{M}\p{N}_]+)"


def create_views(spark: SparkSession, archive: str, since: str, until: str) -> None:
    """The archived days as views, of the files that manifests name.

    Others in their folders may be of an older generation. Read as folders, part=… would hide the
    column `part` of matches.
    """
    manifests = spark.read.json(
        f"{archive}/tweets/*/*/manifest.json", schema=MANIFEST, multiLine=True
    )
    days = manifests.where(manifests.day.between(since, until)).collect()
    if not days:
        raise SystemExit(f"{archive} has no archived day from {since} to {until}")
    for table in ("tweets", "matches", "tracks"):
        names = [
            f"{archive}/tweets/day={day.day}/part={day.part}/{day.files[table].name}"
            for day in days
        ]
        files = spark.read.option("mergeSchema", "true").parquet(*names)
        with_names = files.selectExpr("*", "_metadata.file_path AS filename")
        with_names.createOrReplaceTempView(f"{table}_files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archive", help="the setting archive.url; s3a://… for a bucket of S3")
    parser.add_argument("answers", type=Path, help="the folder to write to")
    parser.add_argument("--track", type=int, required=True, help="its id")
    parser.add_argument("--since", default="0001-01-01", help="the first day")
    parser.add_argument("--until", default="9999-12-31", help="the last day")
    parser.add_argument("--top", type=int, default=100, help="how many hashtags and authors")
    given = parser.parse_args()
    spark = (
        SparkSession.builder.appName("archive")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    create_views(spark, given.archive.rstrip("/"), given.since, given.until)
    given.answers.mkdir(parents=True, exist_ok=True)
    for name, view in VIEWS.items():
        spark.sql(view, args={"track": given.track}).createOrReplaceTempView(name)
    arguments = {"hashtag": HASHTAG, "top": given.top}
    for name, question in QUESTIONS.items():
        rows = spark.sql(question, args=arguments)
        with (given.answers / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(rows.columns)
            writer.writerows(rows.toLocalIterator())
    spark.stop()


if __name__ == "__main__":
    main()
