"""Lines that read a selection of tweets by SQL, with a user's login to Postgres: psql, Grafana."""

from collections.abc import Callable, Sequence

from web.queries.tweet_filter import TweetQuery
from web.snippets import quoting
from web.snippets.api_lines import written

DATABASE = "TWEETS_DATABASE"  # the environment variable that has the address
Quote = Callable[[str], str]


def psql(query: TweetQuery) -> str:
    """A CSV file of all tweets, by psql."""
    conditions = _conditions(query, quoting.sql)
    return f"""\
psql "${DATABASE}" --csv --output tweets.csv <<'SQL'
SELECT id, network, author, display_name, text, lang, kind, created_at, received_at, url,
  likes, reposts, replies, quotes
FROM tweets_flat{_where(conditions)}
ORDER BY received_at;
SQL"""  # noqa: S608 - shown, not run


def grafana(query: TweetQuery) -> str:
    """A panel of Grafana, of its data source PostgreSQL: tweets over time."""
    conditions = ["$__timeFilter(received_at)", *_conditions(query, quoting.grafana_sql)]
    return f"""\
SELECT $__timeGroupAlias(received_at, $__interval), count(*) AS tweets
FROM tweets_flat{_where(conditions)}
GROUP BY 1 ORDER BY 1"""  # noqa: S608 - shown, not run


def _where(conditions: Sequence[str]) -> str:
    return "\nWHERE " + "\n  AND ".join(conditions) if conditions else ""


def _conditions(query: TweetQuery, quote: Quote) -> list[str]:
    within = []
    if query.begin is not None:
        within.append(f"received_at >= {quote(written(query.begin))}")
    if query.end is not None:
        within.append(f"received_at < {quote(written(query.end))}")
    found = list(within)
    if query.tracks is not None:
        numbers = ", ".join(map(str, query.tracks))
        of_tracks = "\n    AND ".join([f"track_id IN ({numbers})", *within])
        chosen = "SELECT tweet_id, received_at FROM tweet_tracks"
        found.append(f"(id, received_at) IN (\n    {chosen}\n    WHERE {of_tracks}\n  )")
    if query.lang:
        found.append(f"lang = {quote(query.lang)}")
    if query.kind:
        found.append(f"kind = {quote(query.kind)}")
    return found + [
        f"strpos(lower(text), lower({quote(word)})) > 0" for word in query.words.split()
    ]
