"""Excel workbooks, read back by what is no writer of them: zip and XML alone."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import msgspec
import pytest

from stream.spreadsheets import CELL_MAX, TRUNCATION_MARK
from stream.tweet_view import MatchView, TweetView
from web.downloads.text_formats import COLUMNS, Columns
from web.downloads.xlsx import PREFIX, Workbook
from web.local_time import UTC_ZONE
from web.problem import Problem

NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - cells have no zone
AT = datetime(2026, 10, 25, 1, 30, 12, tzinfo=UTC)
TWEET = TweetView(
    "890623895936610305", "x_v2", "1234567890123456789", "https://x.com/m/status/1", "original",
    "en", "mary", "7", "snow", None, AT, [MatchView("3", "snow", "text", "own")],
)  # fmt: skip
GIGA = 10**9


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are made."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def write(*tweets: TweetView, zone: ZoneInfo = UTC_ZONE, rows_max: int = 1000) -> Workbook:
    book = Workbook(Columns(zone), GIGA, rows_max)
    book.add(tweets)
    book.close()
    return book


Cell = tuple[str, str | float]  # its type, and what it says


def sheets(path: Path) -> Iterator[list[list[Cell]]]:
    """Rows of each sheet."""
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        names = [name for name in file.namelist() if name.startswith("xl/worksheets/sheet")]
        assert not any("Link" in name or "calcChain" in name for name in file.namelist())
        for name in sorted(names):
            root = ET.fromstring(file.read(name))
            assert root.find(f".//{NAMESPACE}f") is None, "a formula"
            assert root.find(f".//{NAMESPACE}hyperlink") is None
            yield [[_cell(each) for each in row] for row in root.iter(f"{NAMESPACE}row")]


def _cell(cell: ET.Element) -> Cell:
    if cell.get("t") == "inlineStr":
        return "text", "".join(each.text or "" for each in cell.iter(f"{NAMESPACE}t"))
    return "number", float(cell.findtext(f"{NAMESPACE}v") or "nan")


def column(rows: Sequence[Sequence[Cell]], name: str) -> list[Cell]:
    """Of rows of which no cell is empty to the left of it."""
    return [row[COLUMNS.index(name)] for row in rows[1:]]


FULL = msgspec.structs.replace(TWEET, created_at=AT - timedelta(seconds=2))


def test_ids_are_texts_and_times_are_dates_in_the_zone_of_the_head() -> None:
    [rows] = sheets(write(FULL, zone=ZoneInfo("Europe/Berlin")).path)
    heads = [said for _, said in rows[0]]
    assert heads[:9] == list(COLUMNS[:9])
    assert heads[9:11] == ["created_at (Europe/Berlin)", "received_at (Europe/Berlin)"]
    for name in ("id", "native_id", "author_id", "tracks"):
        assert column(rows, name)[0][0] == "text"
    assert column(rows, "id") == [("text", TWEET.id)]
    [(kind, days)] = column(rows, "received_at")
    assert kind == "number"
    assert EPOCH + timedelta(days=float(days)) == pytest.approx(
        AT.replace(tzinfo=None) + timedelta(hours=1), abs=timedelta(seconds=1)
    )


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "{=1}", "https://x.com/a", "mailto:a@b.c", "internal:A1",
        "external:c:\\a", "1e5", "007", "TRUE", "<r><t>bold</t></r>", "<r>not</even> xml</r>",
        " lead and trail ", "a\nb\tc", "&amp;<b>\"'", "\U0001f1fa\U0001f1f8", "_x", "x" * CELL_MAX,
    ],
)  # fmt: skip
def test_a_text_is_written_unchanged_and_never_as_a_formula(text: str) -> None:
    [rows] = sheets(write(msgspec.structs.replace(FULL, text=text, author=text)).path)
    assert column(rows, "text") == column(rows, "author") == [("text", text)]


def test_characters_that_xml_lacks_are_escaped_as_excel_reads_them() -> None:
    """_xHHHH_ is a character to Excel; what looks so in a text is escaped itself."""
    said = {
        "a\0b\x1f\ufffe": "a_x0000_b_x001F__xFFFE_",
        "_x0041_": "_x005F_x0041_",
        "\ud800half": "\ufffdhalf",
        "a\rb": "a_x000D_b",
    }
    [rows] = sheets(write(*(msgspec.structs.replace(FULL, text=each) for each in said)).path)
    assert [text for _, text in column(rows, "text")] == list(said.values())


@pytest.mark.parametrize("character", ["x", "\U0001f600"])
def test_a_long_text_is_cut_with_a_sign(character: str) -> None:
    long = character * (CELL_MAX + 1)
    [rows] = sheets(write(msgspec.structs.replace(FULL, text=long)).path)
    [(_, text)] = column(rows, "text")
    assert isinstance(text, str)
    assert text.endswith(TRUNCATION_MARK)
    units = len(text.encode("utf-16-le")) // 2
    assert CELL_MAX - 1 <= units <= CELL_MAX
    assert set(text.removesuffix(TRUNCATION_MARK)) == {character}


def test_further_sheets_begin_where_one_is_full_each_with_its_head() -> None:
    some = [msgspec.structs.replace(FULL, id=str(number)) for number in range(25)]
    found = list(sheets(write(*some, rows_max=11).path))
    assert [len(rows) for rows in found] == [11, 11, 6]
    assert [rows[0] for rows in found] == [found[0][0]] * 3
    ids = [said for rows in found for _, said in column(rows, "id")]
    assert ids == [str(number) for number in range(25)]


def test_dates_before_1900_are_texts() -> None:
    early = datetime(1850, 1, 2, tzinfo=UTC)
    [rows] = sheets(write(msgspec.structs.replace(FULL, created_at=early)).path)
    assert column(rows, "created_at") == [("text", "1850-01-02 00:00:00")]


def test_a_too_large_workbook_is_refused_and_its_files_are_removed(folder: Path) -> None:
    book = Workbook(Columns(), 50_000)
    with pytest.raises(Problem, match="CSV"):
        book.add([FULL] * 1000)
    book.discard()
    assert list(folder.iterdir()) == []


def test_files_of_a_killed_program_are_removed(folder: Path) -> None:

    old, young = folder / f"{PREFIX}old", folder / f"{PREFIX}young"
    for each in (old, young):
        each.mkdir()
    os.utime(old, (0, 0))
    write(FULL).discard()
    assert list(folder.iterdir()) == [young]
