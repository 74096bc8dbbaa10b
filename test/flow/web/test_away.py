"""What a user wrote is not lost when the database is unreachable at that moment."""

from web_app import Client, database_away


async def test_a_form_can_be_sent_again_as_it_was_written(
    ana: Client, server: str, database: str
) -> None:
    with database_away(server, database):
        written = {"kind": "keyword", "value": 'snow "<b>', "csrf": "mine"}
        status, text = await ana.post("/tracks/new", written)
        assert status == 503
        assert '<form method="post" action="/tracks/new">' in text
        assert '<input type="hidden" name="value" value="snow &#34;&lt;b&gt;">' in text
        assert '<input type="hidden" name="csrf" value="mine">' in text
        # A password is not shown again.
        status, text = await ana.post("/tracks/new", {"name": "ann", "password": "s3cret word"})
        assert status == 503
        assert "s3cret" not in text
        assert "<form" not in text
