"""What programs ask the catalog before they show a table: the views answer it to a user's login.

Metabase, Superset, Grafana and dbt are not run. Superset and dbt ask through SQLAlchemy or the same
catalog; the statements of Grafana's and Metabase's here are written after what they ask.
"""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.dialects.postgresql import ARRAY

from sql_login import sql_login
from stream.postgres.unprivileged import installed_programs
from web_app import WebApp

VIEWS = ["hashtags", "links", "mentions", "tracks", "tweet_tracks", "tweets_flat"]
TWEET = {
    "text": "snow #snow @bob https://example.com/",
    "entities": {
        "hashtags": [{"text": "snow"}],
        "urls": [{"expanded_url": "https://example.com/"}],
        "user_mentions": [{"screen_name": "bob", "id": 7}],
        "symbols": [],
    },
}


@pytest.fixture
async def address(app: WebApp) -> AsyncIterator[str]:
    """The login of a user who has a track with a tweet."""
    await app.user("ana")
    await app.add_track("snow", "ana")
    await app.store_tweets(TWEET)
    async with sql_login(app, "ana") as found:
        yield found


@pytest.fixture
def engine(address: str) -> Iterator[sqlalchemy.Engine]:
    made = sqlalchemy.create_engine(address.replace("postgresql://", "postgresql+psycopg://"))
    yield made
    made.dispose()


def psql(address: str, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        [installed_programs() / "psql", "-X", "-At", address, *words],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_sqlalchemy_finds_the_views_and_their_columns(engine: sqlalchemy.Engine) -> None:
    """As Superset does; it also reads some rows of each."""
    inspector = sqlalchemy.inspect(engine)
    assert "sql_access" in inspector.get_schema_names()
    assert inspector.default_schema_name == "sql_access"
    for schema in ("sql_access", None):
        assert sorted(inspector.get_view_names(schema)) == VIEWS
        assert inspector.get_table_names(schema) == []
    for name in VIEWS:
        table = sqlalchemy.Table(
            name, sqlalchemy.MetaData(schema="sql_access"), autoload_with=engine
        )
        assert len(table.columns) > 4
        assert not any(
            isinstance(column.type, sqlalchemy.types.NullType) for column in table.columns
        ), "a type that the program does not know"
        assert inspector.get_pk_constraint(name)["constrained_columns"] == []
        assert inspector.get_foreign_keys(name) == []
        assert inspector.get_indexes(name) == []
        assert (inspector.get_view_definition(name) or "").strip().startswith(("SELECT", "WITH"))
        with engine.connect() as connection:
            assert len(connection.execute(sqlalchemy.select(table).limit(10)).all()) == 1, name


def test_the_types_are_those_that_programs_draw_by(engine: sqlalchemy.Engine) -> None:
    types = {
        column["name"]: column["type"]
        for column in sqlalchemy.inspect(engine).get_columns("tweets_flat")
    }
    assert isinstance(types["id"], sqlalchemy.BigInteger)
    for name in ("received_at", "created_at"):
        found = types[name]
        assert isinstance(found, sqlalchemy.DateTime)
        assert found.timezone, "Grafana needs a time with its zone"
    for name in ("likes", "reposts", "replies", "quotes"):
        assert isinstance(types[name], sqlalchemy.Integer), name
    for name in ("longitude", "latitude"):
        assert isinstance(types[name], sqlalchemy.Double | sqlalchemy.Float), name
    for name in ("hashtags", "links", "mentions", "media"):
        found = types[name]
        assert isinstance(found, ARRAY)
        assert isinstance(found.item_type, sqlalchemy.Text), name


def test_psql_describes_the_views(address: str) -> None:
    listed = psql(address, r"\dv").splitlines()
    assert [line.split("|")[:3] for line in listed] == [["sql_access", v, "view"] for v in VIEWS]
    for name in VIEWS:
        assert "received_at|timestamp with time zone" in psql(address, rf"\d {name}") or (
            name == "tracks"
        )
    assert psql(address, r"\d+ sql_access.tweets_flat")
    assert psql(address, "SELECT hashtag FROM hashtags", r"\echo done") == "snow\ndone\n"


GRAFANA = """
SELECT quote_ident(table_name) FROM information_schema.tables
WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog')
ORDER BY table_name
"""
GRAFANA_COLUMNS = """
SELECT quote_ident(column_name), data_type FROM information_schema.columns
WHERE quote_ident(table_name) = 'tweets_flat'
"""
METABASE = """
SELECT n.nspname, c.relname, has_any_column_privilege(c.oid, 'SELECT') FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^(pg_|information_schema$)'
    AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'))
ORDER BY c.relname
"""
DBT = """
SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables
WHERE table_schema ILIKE 'sql_access'
"""


def test_the_catalog_offers_these_views_and_no_table(address: str) -> None:
    """As Grafana, Metabase and dbt ask: they show all that a login may read."""
    with psycopg.connect(address) as connection:
        assert [name for (name,) in connection.execute(GRAFANA).fetchall()] == VIEWS
        columns: dict[str, str] = dict(connection.execute(GRAFANA_COLUMNS).fetchall())
        assert columns["received_at"] == "timestamp with time zone"
        assert columns["hashtags"] == "ARRAY"
        offered = connection.execute(METABASE).fetchall()
        assert offered == [("sql_access", name, True) for name in VIEWS]
        assert {row[3] for row in connection.execute(DBT).fetchall()} == {"VIEW"}
