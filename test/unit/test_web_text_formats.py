"""Text files of tweets: every reader finds the texts unchanged, and no spreadsheet calculates."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.spreadsheets import BYTE_ORDER_MARK, CELL_MAX, TRUNCATION_MARK
from stream.tweet_view import MatchView, TweetView
from web.downloads.text_formats import COLUMNS, header, lines

AT = datetime(2026, 3, 14, 15, 9, 26, 535_897, tzinfo=timezone(timedelta(hours=2)))


def tweet(text: str = "snow", author: str | None = "mary", term: str = "snow") -> TweetView:
    return TweetView(
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
        [MatchView("", term, "text", "own"), MatchView("3", term, "hashtag", "own")],
    )


def row(written: bytes) -> dict[str, str]:
    [found] = csv.DictReader(io.StringIO(written.decode()), COLUMNS, strict=True)
    return found


def test_csv_has_a_header_and_for_excel_a_byte_order_mark() -> None:
    assert header("csv").decode() == ",".join(COLUMNS) + "\r\n"
    heads = ",".join(COLUMNS).replace("_at", "_at (Asia/Kolkata)")
    assert header("excel", ZoneInfo("Asia/Kolkata")).decode() == BYTE_ORDER_MARK + heads + "\r\n"
    assert header("excel").startswith(b"\xef\xbb\xbf")
    assert header("ndjson") == b""


def test_csv_for_programs_changes_nothing() -> None:
    for text in ("=1+1", "@x", "'a", "\n=1", 'a;"=1', "a\r\nb", "\0", " \ufeff"):
        assert row(lines([tweet(text)], "csv"))["text"] == text
    found = row(lines([tweet()], "csv"))
    assert found["id"] == "890623895936610305"
    assert (found["received_at"], found["created_at"]) == ("2026-03-14T13:09:26.535897Z", "")


def test_numbers_that_would_be_rounded_are_texts_and_times_are_those_of_the_zone() -> None:
    found = row(lines([tweet()], "excel"))
    assert found["id"] == "'890623895936610305"
    assert (found["native_id"], found["author_id"]) == ("12345", "7")
    assert (found["received_at"], found["created_at"]) == ("2026-03-14 13:09:26", "")
    found = row(lines([tweet()], "excel", ZoneInfo("Asia/Kolkata")))
    assert found["received_at"] == "2026-03-14 18:39:26"
    assert (found["tracks"], found["terms"]) == ("3", "snow")


def test_a_formula_is_written_as_text() -> None:
    plain = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1")
    wide = ("\uff1d1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)")
    hidden = (" =1", "   @x", "\u00a0=1", "\u3000-1", " \uff1d1", "\ufeff=1", " \u200b+1", " \n=1")
    for text in (*plain, *wide, *hidden):
        found = row(lines([tweet(text, text, text)], "excel"))
        assert found["text"] == found["author"]
        assert found["text"].startswith("'")
        assert found["text"].replace("'", "") == text
        assert found["terms"].startswith("'")


def test_what_spreadsheets_would_rewrite_is_written_as_text() -> None:
    """As a number, date or time of some language, which they would show in another way."""
    numbers = (
        "007",
        "1e5",
        " 1.5E+10",
        "7.10",
        "1,234.5",
        "1 000",
        " 5 ",
        "5 €",
        "$5",
        "(5)",
        "50%",
    )
    dates = ("9/11", "1-1", "7.10.", "Oct7", "7 oct 2026", "12. März", "May-5", "10:30 pm", "10am")
    for text in (*numbers, *dates, "true", "FALSE"):
        assert row(lines([tweet(text)], "excel"))["text"] == f"'{text}"
    for text in (
        "0",
        "187",
        "2026-01-02",
        "2026-01-02 12:30:00",
        "covid19",
        "G20",
        "ann23",
        "may be 5",
    ):
        assert row(lines([tweet(text)], "excel"))["text"] == text


def test_other_text_is_written_unchanged() -> None:
    for text in ("snow", " snow", "a=1", "a-1", "#snow", " \u3000", "\uff03x", ""):
        assert row(lines([tweet(text)], "excel"))["text"] == text


def test_a_text_that_no_cell_holds_is_cut_for_spreadsheets_only() -> None:
    """Excel continues it in the next row, which then has the wrong columns."""
    longest = "\U0001f600" * (CELL_MAX // 2)  # two units each
    assert row(lines([tweet(longest)], "excel"))["text"] == longest
    cut = row(lines([tweet(longest * 2)], "excel"))["text"]
    assert cut.endswith(TRUNCATION_MARK)
    assert len(cut.encode("utf-16-le")) // 2 <= CELL_MAX
    assert row(lines([tweet(longest * 2)], "csv"))["text"] == longest * 2


BEGINS = "=+-@\uff1d\uff0b\uff0d\uff20"


@given(st.text(st.sampled_from([*BEGINS, *";\t\r\n\"', ax1", "\u200b"]), max_size=12))
def test_nothing_is_calculated_whatever_separates(text: str) -> None:
    """Where `;` or a tab separates, a comma does not, and quotes hold nothing together."""
    written = lines([tweet(text, text, text)], "excel").decode()
    found = row(written.encode())
    for cell in (*re.split(r"[;\t\r\n]", written), found["text"], found["author"]):
        assert cell.lstrip(' \t\r\n"\u200b')[:1] not in tuple(BEGINS), cell


# Half characters are replaced, since UTF-8 has none, and NUL, since spreadsheets have none.
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_every_text_round_trips(text: str) -> None:
    assert row(lines([tweet(text)], "csv"))["text"] == text
    [line] = lines([tweet(text)], "ndjson").split(b"\n")[:-1]
    assert msgspec.json.decode(line)["text"] == text


def test_there_is_one_row_for_each_tweet() -> None:
    written = lines([tweet("a\r\nb\n"), tweet('"'), tweet("x,y"), tweet("\0")], "csv")
    rows = list(csv.reader(io.StringIO(written.decode(), newline="")))
    assert [each[8] for each in rows] == ["a\r\nb\n", '"', "x,y", "\0"]
    assert lines([], "csv") == lines([], "ndjson") == b""


def test_times_are_written_in_utc_whatever_their_zone() -> None:
    same = msgspec.structs.replace(tweet(), received_at=AT.astimezone(UTC))
    assert lines([same], "csv") == lines([tweet()], "csv")
