"""Reads the rows of an export in the order of their keys: from live tables, and from an archive.

Rows of an archive go through temporary tables of the connection, `exported_tweets` and
`exported_matches`. From there the same SQL reads them, beside what is stored of the same day.
"""

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

import msgspec

from stream.db import Executor, Row, copy, copy_out
from stream.keys import received_at
from stream.store import day_snapshot
from stream.store.day_snapshot import finite_times
from stream.store.deletions import author_deleted, author_scrubbed, doc_without_places, withheld_in
from stream.store.export_columns import ExportColumn, ExportTable
from stream.store.feed import SHOWN, StoredMatch, StoredTweet
from stream.text import has_words
from stream.tweet import TrackId, TweetId

# JSON has neither, so nothing of it is quoted.
DELIMITER, QUOTE = "\x1f", "\x01"

# Rows must come in the order of the key without a sort of whole messages.
SESSION = {
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "enable_hashjoin": "off",
    "enable_hashagg": "off",
    "work_mem": "32MB",
    "client_connection_check_interval": "1s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_TIMES = "received_at BETWEEN $2 AND $3"
_KEYS = "tweet_id > $4 AND tweet_id <= $5"
# A few index entries of each track.
_PAGE = """
SELECT max(tweet_id) AS last, count(*) AS number FROM (
    SELECT DISTINCT received_at, tweet_id FROM unnest($1::bigint[]) AS track (id)
    CROSS JOIN LATERAL (
        SELECT received_at, tweet_id FROM {matches} AS matches
        WHERE track_id = track.id AND {times} AND {keys}
        ORDER BY received_at, tweet_id LIMIT $6) AS first
    ORDER BY received_at, tweet_id LIMIT $6) AS page
"""
_ROWS = """
SELECT {columns} FROM (
    SELECT tweet_id, received_at, array_agg(track_id ORDER BY track_id) AS tracks,
        array_agg(term ORDER BY track_id) AS terms,
        coalesce(array_agg(track_id ORDER BY track_id) FILTER (WHERE look_back), '{{}}')
            AS look_back
    FROM {matches} AS matches
    WHERE track_id = ANY ($1::bigint[]) AND {times} AND {keys}
    GROUP BY tweet_id, received_at) AS own
CROSS JOIN (SELECT $7::bytea AS key, $8::text AS zone) AS export
JOIN {tweets} AS tweets ON tweets.id = own.tweet_id AND tweets.received_at = own.received_at
CROSS JOIN LATERAL message_columns(tweets.network, tweets.doc) AS message
{items}
WHERE tweets.received_at BETWEEN $2 AND $3 AND tweets.id > $4 AND tweets.id <= $5 AND {shown}
  AND ($6::bigint[] IS NULL OR tweets.id = ANY ($6))
ORDER BY own.tweet_id {order}
"""
_STORED = """tweets.id, tweets.received_at, tweets.created_at, tweets.network, tweets.native_id,
    tweets.kind, tweets.lang, tweets.author_id, tweets.author, tweets.url, tweets.text,
    ''::bytea AS doc"""
_MATCHES = """
SELECT tweet_id, track_id, term, field, part, look_back FROM {matches} AS matches
WHERE track_id = ANY ($1::bigint[]) AND {times} AND {keys} AND tweet_id = ANY ($6)
ORDER BY tweet_id, track_id
"""
_LIVE = {"tweets": "tweets", "matches": "matches"}
_TWEET_NAMES = ", ".join(
    (*day_snapshot.TWEETS.column_names, "edited_at")  # `run` is about reading in another order
)
_MATCH_NAMES = ", ".join(day_snapshot.MATCHES.column_names)
_BOTH = {
    "tweets": f"""(
    SELECT {_TWEET_NAMES} FROM exported_tweets
    UNION ALL SELECT {_TWEET_NAMES} FROM tweets
    WHERE received_at BETWEEN $2 AND $3
      AND NOT EXISTS (SELECT FROM exported_tweets WHERE exported_tweets.id = tweets.id))""",  # noqa: S608 - constants
    "matches": f"""(
    SELECT {_MATCH_NAMES} FROM exported_matches
    UNION SELECT {_MATCH_NAMES} FROM matches WHERE received_at BETWEEN $2 AND $3)""",  # noqa: S608 - constants
}
_EMPTY = "TRUNCATE exported_tweets, exported_matches"
_CREATE = (
    "CREATE TEMP TABLE IF NOT EXISTS exported_tweets (LIKE tweets, PRIMARY KEY (id))",
    "CREATE TEMP TABLE IF NOT EXISTS exported_matches"
    " (LIKE matches INCLUDING DEFAULTS, PRIMARY KEY (tweet_id, track_id))",
    _EMPTY,
)
# Deletions that have not reached the archive yet, as for tweets that are restored from it.
_APPLY = (
    finite_times("exported_tweets"),
    """
    DELETE FROM exported_tweets USING tweet_ids
    WHERE tweet_ids.network = exported_tweets.network
      AND tweet_ids.native_id = exported_tweets.native_id AND tweet_ids.deleted_at IS NOT NULL
    """,
    f"""
    DELETE FROM exported_tweets USING author_tombstones AS author
    WHERE author.network = exported_tweets.network
      AND author.author_id = exported_tweets.author_id
      AND {author_deleted("exported_tweets", "author")}
    """,  # noqa: S608 - constants
    f"""
    UPDATE exported_tweets SET doc = {doc_without_places("exported_tweets")}
    FROM author_tombstones AS author
    WHERE author.network = exported_tweets.network
      AND author.author_id = exported_tweets.author_id
      AND {author_scrubbed("exported_tweets", "author")}
    """,  # noqa: S608 - constants
    f"""
    WITH marks AS (
        SELECT tweet.id, {withheld_in("own", "author")} AS withheld
        FROM exported_tweets AS tweet
        LEFT JOIN tweet_ids AS own
            ON own.network = tweet.network AND own.native_id = tweet.native_id
        LEFT JOIN author_tombstones AS author
            ON author.network = tweet.network AND author.author_id = tweet.author_id
    )
    UPDATE exported_tweets SET withheld = marks.withheld FROM marks
    WHERE marks.id = exported_tweets.id AND marks.withheld IS NOT NULL
    """,  # noqa: S608 - constants
)

Output = Callable[[bytes], Coroutine[Any, Any, None]]


class Selection(msgspec.Struct, frozen=True):
    """Which tweets: those of these tracks, with all of these words, folded, in their text."""

    tracks: Sequence[TrackId]
    words: Sequence[str] = ()
    pseudonym_key: bytes | None = None
    time_zone: str = "UTC"

    def arguments(self, keys: "Range") -> tuple[object, ...]:
        """The parameters of _ROWS."""
        return (self.tracks, *keys.arguments, keys.chosen, self.pseudonym_key, self.time_zone)


class Range(msgspec.Struct, frozen=True):
    """Keys above `after`, up to `last`, all of one day.

    `staged`: those of an archive are in the temporary tables. `chosen`: only these of them.
    """

    after: TweetId
    last: TweetId
    bounds: tuple[datetime, datetime]
    staged: bool = False
    chosen: Sequence[TweetId] | None = None

    @property
    def arguments(self) -> tuple[object, ...]:
        begin = max(self.bounds[0], received_at(self.after))
        return begin, min(self.bounds[1], received_at(self.last)), self.after, self.last


class KeysEnd(msgspec.Struct, frozen=True):
    """Where the next keys of a range end: the last of them, and how many they are."""

    last: TweetId | None
    number: int


async def next_keys(connection: Executor, selection: Selection, keys: Range, limit: int) -> KeysEnd:
    """The next keys of a range, at most `limit`: where to stop reading."""
    statement = _PAGE.format(times=_TIMES, keys=_KEYS, **(_BOTH if keys.staged else _LIVE))
    [row] = await connection.fetch(statement, selection.tracks, *keys.arguments, limit)
    return KeysEnd(row["last"], row["number"])


async def with_words(connection: Executor, selection: Selection, keys: Range) -> Range:
    """Those of a range that have the words: as pages compare them, which SQL cannot."""
    statement = _statement("tweets.id, tweets.text", keys)
    rows = await connection.fetch(statement, *selection.arguments(keys))
    chosen = [row["id"] for row in rows if has_words(row["text"], selection.words)]
    return msgspec.structs.replace(keys, chosen=chosen)


def _statement(columns: str, keys: Range, items: str = "") -> str:
    """`items`: SQL for the items of a tweet, if these have a row each."""
    values = {
        "columns": columns,
        "items": f"CROSS JOIN LATERAL ({items}) AS item" if items else "",
        "order": ", item.position" if items else "",
    }
    tables = _BOTH if keys.staged else _LIVE
    return _ROWS.format(times=_TIMES, keys=_KEYS, shown=SHOWN, **values, **tables)


async def copy_csv(
    connection: Executor,
    selection: Selection,
    keys: Range,
    table: ExportTable,
    output: Output,
) -> int:
    """Pass the rows to `output` as lines of CSV; returns how many."""
    text = ", ".join(_for_csv(column) for column in table.columns)
    statement = _statement(text, keys, table.items)
    arguments = selection.arguments(keys)
    return await copy_out(
        connection, statement, *arguments, output=output, delimiter=",", quote='"'
    )


async def copy_json(
    connection: Executor,
    selection: Selection,
    keys: Range,
    columns: Sequence[ExportColumn],
    output: Output,
) -> int:
    """Pass the rows to `output` as one JSON object a line; returns how many."""
    pairs = ", ".join(f"'{column.name}', {_for_json(column)}" for column in columns)
    arguments = selection.arguments(keys)
    return await copy_out(
        connection,
        _statement(f"json_build_object({pairs})", keys),
        *arguments,
        output=output,
        delimiter=DELIMITER,
        quote=QUOTE,
    )


async def copy_lines(
    connection: Executor, selection: Selection, keys: Range, column: ExportColumn, output: Output
) -> int:
    """Pass one column to `output`, a line for each row; returns how many. For JSON and ids."""
    return await copy_out(
        connection,
        _statement(column.value, keys),
        *selection.arguments(keys),
        output=output,
        delimiter=DELIMITER,
        quote=QUOTE,
    )


async def fetch(
    connection: Executor, selection: Selection, keys: Range, columns: Sequence[ExportColumn]
) -> list[Row]:
    """The rows with the driver's types."""
    text = ", ".join(f'{column.value} AS "{column.name}"' for column in columns)
    arguments = selection.arguments(keys)
    return await connection.fetch(_statement(text, keys), *arguments)


async def stored(
    connection: Executor, selection: Selection, keys: Range
) -> list[tuple[StoredTweet, list[StoredMatch]]]:
    """The chosen tweets of a range, without `doc`, each with its matches."""
    rows = await connection.fetch(_statement(_STORED, keys), *selection.arguments(keys))
    tables = _BOTH if keys.staged else _LIVE
    statement = _MATCHES.format(times=_TIMES, keys=_KEYS, **tables)
    matches: dict[TweetId, list[StoredMatch]] = {}
    arguments = selection.tracks, *keys.arguments, keys.chosen
    for row in await connection.fetch(statement, *arguments):
        matches.setdefault(TweetId(row["tweet_id"]), []).append(StoredMatch(**row))
    return [(StoredTweet(**row), matches.get(TweetId(row["id"]), [])) for row in rows]


def _utc(value: str) -> str:
    return f"""to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def _for_csv(column: ExportColumn) -> str:
    """SQL for a cell: times in UTC, and lists as JSON."""
    match column.kind:
        case "time":
            return _utc(column.value)
        case "texts" | "integers":
            return f"to_json({column.value})"
    return column.value


def _for_json(column: ExportColumn) -> str:
    """SQL for a value: keys as text, since many programs would round the numbers."""
    match column.kind, column.name:
        case "time", _:
            return _utc(column.value)
        case _, "id":
            return f"{column.value}::text"
    return column.value


# -- rows of an archive ---------------------------------------------------------------------------


async def prepare(connection: Executor) -> None:
    """Create the temporary tables, empty."""
    for statement in _CREATE:
        await connection.execute(statement)


async def stage(
    connection: Executor,
    tweets: Sequence[tuple[object, ...]],
    matches: Sequence[tuple[object, ...]],
) -> None:
    """Replace what is staged by these rows of an archive, without what was deleted since."""
    await connection.execute(_EMPTY)
    await copy(connection, "exported_tweets", day_snapshot.TWEETS.column_names, tweets)
    await copy(connection, "exported_matches", day_snapshot.MATCHES.column_names, matches)
    for statement in _APPLY:
        await connection.execute(statement)
