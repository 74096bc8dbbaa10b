"""SQL for users: a role of Postgres that sees what its user sees, and nothing else."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from sql_readers import ENTITIES, People, Reader, opened_people, store_five_tracks
from stream.errors import TwitterstreamError
from waiting import Eventually
from web.accounts.sql_access import new_login
from web_app import WebApp

PAGE = (Path(__file__).resolve().parents[3] / "docs/sql.md").read_text(encoding="utf-8")
VIEWS = ("tweets_flat", "tweet_tracks", "hashtags", "links", "mentions")


@pytest.fixture
async def people(app: WebApp, eventually: Eventually) -> AsyncIterator[People]:
    async with opened_people(app, eventually) as made:
        yield made


@pytest.fixture
async def filled(app: WebApp) -> WebApp:
    await store_five_tracks(app)
    return app


async def allow_temporary_tables(app: WebApp) -> None:
    """As on a server whose database is another role's: the program cannot forbid them there."""
    database = await app.value("SELECT current_database()")
    await app.execute(f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC")


@pytest.mark.parametrize(("name", "number"), [("ana", 4), ("bob", 3), ("cleo", 2), ("dora", 6)])
async def test_a_role_sees_what_its_user_sees(
    filled: WebApp, people: People, name: str, number: int
) -> None:
    """As the API, of the tracks that it lists: an admin's tweets of no track are not among them."""
    api, reader = await filled.api_client(name), await people.reader(name)
    _, listed = await api.json("GET", "/api/v1/tracks")
    tracks = [str(track["id"]) for track in listed["tracks"]]
    query = "&".join(f"track={track}" for track in tracks)
    _, page = await api.json("GET", f"/api/v1/tweets?limit=100&{query}")
    tweets = sorted(page["tweets"], key=lambda tweet: int(tweet["id"]))
    assert len(tweets) == number
    assert sorted(str(row[0]) for row in reader.rows("SELECT id FROM tracks")) == sorted(tracks)
    columns = ("network", "native_id", "url", "kind", "lang", "author", "author_id", "text")
    found = reader.rows(f"SELECT {', '.join(columns)} FROM tweets_flat ORDER BY id")
    assert found == [tuple(tweet[column] for column in columns) for tweet in tweets]
    for view in VIEWS:
        assert reader.ids(view) == [tweet["id"] for tweet in tweets], view
    credited = {(tweet["id"], match["track"]) for tweet in tweets for match in tweet["matches"]}
    found = reader.rows("SELECT tweet_id::text, track_id::text FROM tweet_tracks")
    assert set(found) == credited
    assert len(found) == len(credited)


async def test_the_queries_of_the_documents_run(filled: WebApp, people: People) -> None:
    """For users, and for administrators."""
    reader = await people.reader("ana")
    queries = re.findall(
        r"^(?:SELECT)[^;]*;",
        "\n".join(re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)),
        re.MULTILINE,
    )
    assert len(queries) == 5
    for query in queries:
        await filled.execute(query)
        if "host = 'example.com'" not in query:
            assert reader.rows(query), query


async def test_every_table_and_every_other_view_is_refused(filled: WebApp, people: People) -> None:
    reader = await people.reader("ana")
    reader.connection.execute("SET search_path = public")  # so that nothing else is missing
    everything = await filled.rows(
        """
        SELECT oid::regclass::text, relkind::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        """
    )
    assert len(everything) > 50
    for name, kind in everything:
        for statement in (
            f"SELECT * FROM public.{name}",
            f"SELECT count(*) FROM public.{name}",
            *([f"COPY public.{name} TO STDOUT"] if kind == "r" else []),
        ):
            assert reader.refused(statement) == "42501", statement
    assert reader.refused("SELECT passwd FROM pg_shadow") == "42501"
    assert reader.refused("SELECT pg_read_file('PG_VERSION')") == "42501"
    assert reader.refused("COPY (SELECT 1) TO PROGRAM 'true'") == "42501"


async def test_nothing_can_be_changed(filled: WebApp, people: People) -> None:
    reader = await people.reader("ana")
    assert reader.refused("CREATE TEMP TABLE x (a integer)") == "25006"  # the session only reads
    reader.rows("SELECT set_config('default_transaction_read_only', 'off', false)")
    for statement in (
        "DELETE FROM sql_access.tracks",
        "UPDATE sql_access.tracks SET value = 'x'",
        "INSERT INTO sql_access.tweet_tracks (tweet_id, track_id) VALUES (1, 1)",
        "DELETE FROM public.users",
        "INSERT INTO public.sql_roles VALUES (2, current_user, current_user::regrole::oid)",
        "CREATE TABLE public.x (a integer)",
        "CREATE TABLE sql_access.x (a integer)",
        "CREATE FUNCTION public.x() RETURNS integer LANGUAGE sql RETURN 1",
        "CREATE ROLE x",
        f"SET ROLE {await filled.value('SELECT current_user')}",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "SELECT public.archive_drop(current_date)",
        "CREATE TEMP TABLE x (a integer)",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_creat(-1)",
    ):
        assert reader.refused(statement) in {"42501", "42P01", "55000"}, statement
    assert await filled.value("SELECT count(*) FROM tracks") == 5


async def test_tables_of_ones_own_do_not_decide_what_one_sees(
    filled: WebApp, people: People
) -> None:
    """A temporary table stands before those of the program, for statements without a schema."""
    reader = await people.reader("cleo")
    await allow_temporary_tables(filled)
    before = reader.ids()
    reader.rows("SELECT set_config('default_transaction_read_only', 'off', false)")
    for statement in (
        "CREATE TEMP TABLE users AS SELECT 3::bigint AS id, 'bob' AS name, 'admin' AS role, true"
        " AS enabled",
        "CREATE TEMP TABLE sql_roles AS SELECT id AS user_id, session_user AS role, oid AS role_oid"
        " FROM generate_series(1, 9) AS id, pg_roles WHERE rolname = session_user",
        "CREATE TEMP TABLE track_shares AS SELECT id AS track_id, 3::bigint AS user_id"
        " FROM generate_series(1, 9) AS id",
        "CREATE TEMP TABLE tracks AS SELECT id, 'cleo' AS owner FROM generate_series(1, 9) AS id",
    ):
        reader.connection.execute(statement.encode())
    for path in ("sql_access", "pg_temp, sql_access", "pg_temp, public, sql_access, pg_catalog"):
        reader.connection.execute(f"SET search_path = {path}".encode())
        assert [
            str(row[0]) for row in reader.rows("SELECT id FROM sql_access.tweets_flat ORDER BY 1")
        ] == before
    [[setting]] = reader.rows("SHOW search_path")
    assert setting == path


async def test_a_function_of_ones_own_sees_no_other_rows(filled: WebApp, people: People) -> None:
    """A cheap one would be asked first, if nothing kept it from that."""
    reader = await people.reader("cleo")
    await allow_temporary_tables(filled)
    reader.rows("SELECT set_config('default_transaction_read_only', 'off', false)")
    reader.connection.execute(
        """
        CREATE FUNCTION pg_temp.spy(text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS $$
        BEGIN RAISE NOTICE '%', $1; RETURN true; END $$
        """
    )
    for way in ("indexscan", "indexonlyscan", "bitmapscan"):
        reader.connection.execute(f"SET enable_{way} = off".encode())
    seen: list[str] = []
    reader.connection.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
    found = reader.rows("SELECT text FROM tweets_flat WHERE pg_temp.spy(text)")
    assert sorted(seen) == sorted(row[0] for row in found) == ["fog hail", "hail"]
    seen.clear()
    reader.rows("SELECT 1 FROM tweet_tracks WHERE pg_temp.spy(track_id::text)")
    assert set(seen) == {"3"}
    seen.clear()
    reader.rows("SELECT 1 FROM tracks WHERE pg_temp.spy(value)")
    assert seen == ["hail"]


async def test_what_is_no_longer_shared_is_no_longer_seen(filled: WebApp, people: People) -> None:
    reader = await people.reader("cleo")
    assert len(reader.ids()) == 2
    await filled.execute("DELETE FROM track_shares WHERE track_id = 3")
    assert reader.ids() == []
    await filled.share(4, "cleo")
    assert len(reader.ids()) == 2
    await filled.execute("UPDATE users SET enabled = false WHERE name = 'cleo'")
    for view in ("tracks", *VIEWS):
        assert reader.rows(f"SELECT * FROM {view}") == []


async def test_the_role_goes_with_the_user(
    filled: WebApp, people: People, eventually: Eventually
) -> None:
    reader, busy = await people.reader("cleo"), await people.reader("bob")
    roles = [reader.connection.info.user, busy.connection.info.user]
    await allow_temporary_tables(filled)
    busy.rows("SELECT set_config('default_transaction_read_only', 'off', false)")
    busy.connection.execute("CREATE TEMP TABLE mine (a integer)")
    await filled.execute("DELETE FROM users WHERE name IN ('cleo', 'bob')")
    rows = await filled.rows(
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = ANY ($1)", roles
    )
    assert rows == [(roles[1], False)]  # it owns a table, as long as the session lasts
    assert reader.refused("SELECT * FROM tweets_flat") == "42704"  # there is no such role
    assert busy.ids() == []
    for each in (reader, busy):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(each.url)
    busy.connection.close()
    left = f"SELECT 1 FROM pg_shdepend WHERE refobjid = '{roles[1]}'::regrole"

    async def owns_nothing() -> bool:
        return not await filled.rows(left)

    await eventually(owns_nothing)
    await filled.execute(f"DROP ROLE {roles[1]}")


async def test_a_role_of_another_database_sees_nothing(filled: WebApp, people: People) -> None:
    """Also under the name that a user's role has here."""
    reader = await people.reader("ana")
    role = reader.connection.info.user
    assert reader.ids()
    reader.connection.close()
    await filled.execute(f'DROP ROLE "{role}"; CREATE ROLE "{role}" LOGIN PASSWORD $$secret$$')
    url = filled.database.address_for(role, "secret", urlsplit(reader.url).path[1:])
    other = Reader(url)
    assert other.rows("SELECT * FROM sql_access.tweets_flat") == []
    other.connection.close()
    user_id = await filled.user("ana")
    async with filled.database.transaction() as connection:
        with pytest.raises(TwitterstreamError, match=f'DROP ROLE "{role}"'):
            await new_login(connection, user_id)
    await filled.execute(f'DROP ROLE "{role}"')


@pytest.mark.parametrize("view", VIEWS)
async def test_a_time_limits_the_days_that_are_read(app: WebApp, people: People, view: str) -> None:
    await app.add_track("snow")
    reader = await people.reader("ana")
    for day in range(14, 19):
        at = datetime(2026, 3, day, 12, tzinfo=UTC)
        await app.store_tweets(*[{"entities": ENTITIES}] * 3, at=at, first=day * 10)
    time = "received_at >= now() - (now() - '2026-03-15') AND received_at < '2026-03-17'"
    for query in (
        f"SELECT * FROM {view} WHERE {time}",
        f"SELECT count(*) FROM {view} WHERE {time}",
    ):
        plan = [row[0] for row in reader.rows(f"EXPLAIN (ANALYZE, TIMING OFF) {query}")]
        read = "\n".join(line for line in plan if "never executed" not in line)
        assert set(re.findall(r" on tweets_(\d{8})", read)) == {"20260315", "20260316"}, plan
        assert set(re.findall(r" on matches_(\d{8})", read)) == {"20260315", "20260316"}, plan


async def test_the_newest_tweets_are_found_without_reading_all(app: WebApp, people: People) -> None:
    await app.add_track("snow")
    await app.store_tweets(*[{}] * 300)
    reader = await people.reader("ana")
    query = "SELECT * FROM tweets_flat ORDER BY received_at DESC LIMIT 5"
    plan = [row[0] for row in reader.rows(f"EXPLAIN (ANALYZE, TIMING OFF) {query}")]
    [loops] = [
        re.findall(r"loops=(\d+)", line)[0]
        for line in plan
        if " on tweets_2" in line and "never" not in line
    ]
    assert int(loops) == 5, plan
    found = reader.rows(query)
    assert [row[0] for row in found] == [int(each) for each in reader.ids()[:-6:-1]]
