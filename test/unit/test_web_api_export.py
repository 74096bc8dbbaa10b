"""Files of tweets: every reader finds in them what was said, and no spreadsheet calculates."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from web.reading.export import BOM, COLUMNS, head, lines
from web.shown import ShownMatch, ShownTweet

AT = datetime(2026, 3, 14, 15, 9, 26, 535_897, tzinfo=timezone(timedelta(hours=2)))


def tweet(text: str = "snow", author: str | None = "mary", term: str = "snow") -> ShownTweet:
    return ShownTweet(
        "890623895936610305",
        "x_v2",
        "12345",
        "https://x.com/mary/status/12345",
        "original",
        "en",
        author,
        "7",
        text,
        None,
        AT,
        [ShownMatch("", term, "text", "own"), ShownMatch("3", term, "hashtag", "own")],
    )


def row(written: bytes) -> dict[str, str]:
    [found] = csv.DictReader(io.StringIO(written.decode()), COLUMNS, strict=True)
    return found


def test_csv_begins_so_that_spreadsheets_know_what_it_is() -> None:
    assert head("csv").decode() == BOM + ",".join(COLUMNS) + "\r\n"
    assert head("csv").startswith(b"\xef\xbb\xbf")
    assert head("ndjson") == b""


def test_numbers_that_would_be_rounded_are_texts_and_times_are_those_of_utc() -> None:
    found = row(lines([tweet()], "csv"))
    assert found["id"] == "'890623895936610305"
    assert (found["native_id"], found["author_id"]) == ("12345", "7")
    assert (found["received_at"], found["created_at"]) == ("2026-03-14 13:09:26", "")
    assert (found["tracks"], found["terms"]) == ("3", "snow")


def test_what_would_be_a_formula_is_a_text() -> None:
    plain = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1")
    wide = ("\uff1d1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)")
    hidden = (" =1", "   @x", "\u00a0=1", "\u3000-1", " \uff1d1", "\ufeff=1", " \u200b+1", " \n=1")
    for text in (*plain, *wide, *hidden):
        found = row(lines([tweet(text, text, text)], "csv"))
        assert found["text"] == found["author"] == f"'{text}"
        assert found["terms"].startswith("'")


def test_what_is_no_formula_stays_as_it_is() -> None:
    for text in ("snow", " snow", "a=1", "1-1", "#snow", " \u3000", "\uff03x", ""):
        assert row(lines([tweet(text)], "csv"))["text"] == text


# Half characters are replaced, since UTF-8 has none, and NUL, since spreadsheets have none.
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_every_text_comes_back(text: str) -> None:
    assert row(lines([tweet(text)], "csv"))["text"].removeprefix("'") == text.removeprefix("'")
    [line] = lines([tweet(text)], "ndjson").split(b"\n")[:-1]
    assert msgspec.json.decode(line)["text"] == text


def test_there_is_one_row_for_each_tweet() -> None:
    written = lines([tweet("a\r\nb\n"), tweet('"'), tweet("x,y"), tweet("\0")], "csv")
    rows = list(csv.reader(io.StringIO(written.decode(), newline="")))
    assert [each[8] for each in rows] == ["a\r\nb\n", '"', "x,y", "\ufffd"]
    assert lines([], "csv") == lines([], "ndjson") == b""


def test_times_do_not_depend_on_the_zone_in_which_they_were_said() -> None:
    same = msgspec.structs.replace(tweet(), received_at=AT.astimezone(UTC))
    assert lines([same], "csv") == lines([tweet()], "csv")
