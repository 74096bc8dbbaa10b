"""Lines that read a selection of tweets from the API: curl, pandas, R, DuckDB, Power Query."""

from collections.abc import Sequence
from datetime import datetime

from web.queries.tweet_filter import TweetQuery
from web.snippets import quoting

TOKEN = "TWEETS_TOKEN"  # noqa: S105 - the environment variable that has it
CALL = "/api/v1/tweets"
Parameters = Sequence[tuple[str, str]]
_ON_THE_FILE = """\
duckdb -c "
  SELECT author, count(*) AS tweets
  FROM read_csv('tweets.csv', header = true, all_varchar = true,
    delim = ',', quote = '\\"', escape = '\\"')
  GROUP BY author ORDER BY tweets DESC, author LIMIT 20\""""


def parameters(query: TweetQuery) -> list[tuple[str, str]]:
    """The selection as parameters of `GET /api/v1/tweets`."""
    asked = query.query
    given = {
        "query": asked.value if asked else "",
        "query_kind": asked.kind if asked else "",
        "begin": written(query.begin),
        "end": written(query.end),
        "lang": query.lang or "",
        "kind": query.kind or "",
        "words": query.words,
    }
    tracks = [("track", str(track)) for track in query.tracks or ()]
    return tracks + [(name, value) for name, value in given.items() if value]


def written(time: datetime | None) -> str:
    """A time as the API takes it."""
    return "" if time is None else time.isoformat().replace("+00:00", "Z")


def curl(address: str, selection: Parameters, form: str) -> str:
    """A file of all tweets, by curl."""
    lines = [
        f"curl --fail --get {quoting.shell(address + CALL)}",
        f'--header "Authorization: Bearer ${TOKEN}"',
        *_fields([*selection, ("format", form)]),
        f"--output tweets.{form}",
    ]
    return " \\\n  ".join(lines)


def export_file(address: str, export_id: int) -> str:
    """The file of an export, by curl."""
    lines = [
        f"curl --fail {quoting.shell(f'{address}/api/v1/exports/{export_id}/file')}",
        f'--header "Authorization: Bearer ${TOKEN}"',
        f"--output export-{export_id}.zip",
    ]
    return " \\\n  ".join(lines)


def stream(address: str, selection: Parameters) -> str:
    """Tweets as they are stored, by curl."""
    lines = [
        f"curl --fail --no-buffer --get {quoting.shell(address + '/api/v1/stream')}",
        f'--header "Authorization: Bearer ${TOKEN}"',
        '--header "Accept: text/event-stream"',
        *_fields(selection),
    ]
    return " \\\n  ".join(lines)


def _fields(selection: Parameters) -> list[str]:
    return [f"--data-urlencode {quoting.shell(f'{name}={text}')}" for name, text in selection]


def duckdb(address: str, selection: Parameters) -> str:
    """SQL on that file, by the command line of DuckDB."""
    return f"{curl(address, selection, 'csv')}\n{_ON_THE_FILE}"


def pandas(address: str, selection: Parameters) -> str:
    """A table of pandas."""
    rows = "".join(
        f"    ({quoting.python(name)}, {quoting.python(text)}),\n"
        for name, text in [*selection, ("format", "csv")]
    )
    return f"""\
import os
from urllib.parse import urlencode

import pandas as pd

selection = [
{rows}]
tweets = pd.read_csv(
    {quoting.python(address + CALL + "?")} + urlencode(selection),
    storage_options={{"Authorization": "Bearer " + os.environ["{TOKEN}"]}},
    dtype=str,  # ids have more digits than a number keeps
    keep_default_na=False,  # a tweet "NA" is a text
)
for name in ["created_at", "received_at"]:
    tweets[name] = pd.to_datetime(tweets[name], format="ISO8601", utc=True)
print(tweets)"""


def r(address: str, selection: Parameters) -> str:
    """A data frame of R, without packages."""
    rows = ",\n".join(
        f"  {name} = {quoting.r(text)}" for name, text in [*selection, ("format", "csv")]
    )
    return f"""\
selection <- list(
{rows}
)
fields <- paste0(names(selection), "=", sapply(selection, URLencode, reserved = TRUE))
tweets <- read.csv(
  url(
    paste0({quoting.r(address + CALL + "?")}, paste(fields, collapse = "&")),
    headers = c(Authorization = paste("Bearer", Sys.getenv("{TOKEN}")))
  ),
  colClasses = "character", na.strings = character(), encoding = "UTF-8"
)
tweets$received_at <- as.POSIXct(tweets$received_at, tz = "UTC", format = "%Y-%m-%dT%H:%M:%OSZ")
str(tweets)"""


def power_query(address: str, selection: Parameters) -> str:
    """A query of Excel and Power BI; the token is a parameter of the workbook."""
    tracks = ", ".join(quoting.power_query(text) for name, text in selection if name == "track")
    fields = [f"track = {{{tracks}}}"] if tracks else []
    fields += [
        f"{name} = {quoting.power_query(text)}"
        for name, text in [*selection, ("format", "csv")]
        if name != "track"
    ]
    return f"""\
let
  Answer = Web.Contents({quoting.power_query(address)}, [
    RelativePath = "{CALL[1:]}",
    Query = [
      {f",{chr(10)}      ".join(fields)}
    ],
    Headers = [Authorization = "Bearer " & Token]
  ]),
  Rows = Csv.Document(Answer, [Delimiter = ",", Encoding = 65001, QuoteStyle = QuoteStyle.Csv]),
  Texts = Table.PromoteHeaders(Rows, [PromoteAllScalars = true]),
  Times = {{{{"created_at", type datetimezone}}, {{"received_at", type datetimezone}}}},
  Tweets = Table.TransformColumnTypes(Texts, Times, "en-US")
in
  Tweets"""
