"""The box Use this data: for each tool, lines that read the tweets that a page shows."""

from collections.abc import Sequence

import msgspec

from web.queries.tweet_filter import TweetQuery
from web.snippets import api_lines, sql_lines
from web.snippets.sql_lines import DATABASE

_BY_SQL = f"Reads by SQL: {DATABASE} is the address of your SQL access."


class Snippet(msgspec.Struct, frozen=True):
    """Lines for one tool; `note`: what they need, and where to put them."""

    name: str
    title: str
    note: str
    text: str


def snippets(query: TweetQuery, address: str) -> Sequence[Snippet]:
    """Lines for all tools that can read this selection; `address`: where our pages are."""
    selection = api_lines.parameters(query)
    found = [
        Snippet("curl", "curl", "For a shell.", api_lines.curl(address, selection, "ndjson")),
        Snippet("pandas", "pandas", "For Python.", api_lines.pandas(address, selection)),
        Snippet("r", "R", "Needs no package.", api_lines.r(address, selection)),
        Snippet("duckdb", "DuckDB", "For a shell.", api_lines.duckdb(address, selection)),
        Snippet(
            "excel",
            "Excel (Power Query)",
            "Data → Get Data → Blank Query → Advanced Editor. Add a parameter Token of the type "
            "Text with your token (Manage Parameters), and choose anonymous access.",
            api_lines.power_query(address, selection),
        ),
    ]
    if query.query is None:
        found += [
            Snippet("psql", "psql", _BY_SQL, sql_lines.psql(query)),
            Snippet(
                "grafana",
                "Grafana",
                "A panel of a PostgreSQL data source, with the parts of the address of your SQL "
                "access; tweets over time.",
                sql_lines.grafana(query),
            ),
        ]
    if {name for name, _ in selection} <= {"track", "query", "query_kind"}:
        lines = api_lines.stream(address, selection)
        note = "Each tweet when it is stored, without end (server-sent events)."
        found.append(Snippet("stream", "Live stream", note, lines))
    return found
