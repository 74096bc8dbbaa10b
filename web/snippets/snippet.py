"""The box Use this data: for each tool, lines that read the tweets that a page shows."""

from collections.abc import Sequence

import msgspec

from web.queries.tweet_filter import TweetQuery
from web.snippets import api_lines, sql_lines

_SHELL = "Paste it into a terminal of Linux or macOS."
_EXCEL = (
    "Data → Get Data → From Other Sources → Blank Query, then Advanced Editor: replace what is"
    " there by these lines. Home → Manage Parameters → New Parameter: the name Token, the type"
    " Text, and your token as its current value. When Excel asks for access, choose Anonymous."
    " Refresh reads the tweets again. In Power BI it is the same."
)
_GRAFANA = (
    "Add a data source PostgreSQL with the host, database, user and password of your SQL access."
    " In a panel choose it, then Code instead of Builder, and paste this."
)


class Snippet(msgspec.Struct, frozen=True):
    """Lines for one tool; `use`: what it makes of the tweets, `note`: where to put the lines."""

    name: str
    title: str
    use: str
    note: str
    text: str


def snippets(query: TweetQuery, address: str) -> Sequence[Snippet]:
    """Lines for all tools that can read this selection; `address`: where our pages are."""
    selection = api_lines.parameters(query)
    found = [
        Snippet("excel", "Excel (Power Query)", "a sheet that can be refreshed", _EXCEL,
                api_lines.power_query(address, selection)),
        Snippet("pandas", "pandas", "a table in Python",
                "Paste it into Python or a notebook; needs the package pandas.",
                api_lines.pandas(address, selection)),
        Snippet("r", "R", "a data frame", "Paste it into R or RStudio; needs no package.",
                api_lines.r(address, selection)),
        Snippet("curl", "curl", "a file with one JSON object per line", _SHELL,
                api_lines.curl(address, selection, "ndjson")),
        Snippet("duckdb", "DuckDB", "a CSV file, and SQL on it",
                f"{_SHELL} The example counts tweets by author.",
                api_lines.duckdb(address, selection)),
    ]  # fmt: skip
    if query.query is None:
        found += [
            Snippet("psql", "psql", "a CSV file, read by SQL", _SHELL, sql_lines.psql(query)),
            Snippet("grafana", "Grafana", "a chart of tweets over time", _GRAFANA,
                    sql_lines.grafana(query)),
        ]  # fmt: skip
    if {name for name, _ in selection} <= {"track", "query", "query_kind"}:
        use = "each tweet when it is stored, without end"
        note = f"{_SHELL} They are server-sent events."
        lines = api_lines.stream(address, selection)
        found.append(Snippet("stream", "Live stream", use, note, lines))
    return found


def file_of_export(export_id: int, address: str) -> Snippet:
    """Lines that fetch the file of an export."""
    lines = api_lines.export_file(address, export_id)
    return Snippet("file", "The file", f"export {export_id} as it was written", _SHELL, lines)
