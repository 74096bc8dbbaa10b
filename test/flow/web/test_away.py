"""What somebody wrote is not lost when the database is away just then."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import Pages

NOBODY = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false")
OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


async def sent(pages: "Pages", server: str, database: str, form: dict[str, str]) -> tuple[int, str]:
    mary = await pages.enter("mary")
    name = urlsplit(database).path.removeprefix("/")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(NOBODY.format(sql.Identifier(name)))
        admin.execute(OUT, (name,))
    return await mary.post("/tracks/new", form)


async def test_a_form_can_be_sent_again_as_it_was_written(
    pages: "Pages", server: str, database: str
) -> None:
    written = {"kind": "keyword", "value": 'snow "<b>', "csrf": "mine"}
    status, text = await sent(pages, server, database, written)
    assert status == 503
    assert '<form method="post" action="/tracks/new">' in text
    assert '<input type="hidden" name="value" value="snow &#34;&lt;b&gt;">' in text
    assert '<input type="hidden" name="csrf" value="mine">' in text


async def test_a_password_is_not_shown_again(pages: "Pages", server: str, database: str) -> None:
    status, text = await sent(pages, server, database, {"name": "ann", "password": "s3cret word"})
    assert status == 503
    assert "s3cret" not in text
    assert "<form" not in text
