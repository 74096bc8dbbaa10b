"""Texts as cells of spreadsheets: what they would calculate, round or refuse is written as text."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"  # tells Excel that the file is UTF-8
ROWS_MAX = 1_048_576  # of a sheet, with its heading: Excel opens no more
CELL_MAX = 32_767  # UTF-16 units of a cell
TRUNCATION_MARK = " […]"  # at the end of a text that was cut
YEAR_MIN = 1900  # of a date in Excel
EXACT_DIGITS = 15  # that a spreadsheet's number keeps
# A spreadsheet takes what begins with these for a formula; an apostrophe before it makes it text.
# Some take full-width signs for narrow ones, and skip spaces, quotes and invisible characters.
# Where `;` separates, quotes do not hold a cell together: a new one begins after each semicolon,
# tab and line break of a text.
_SIGNS = "=+@\uff1d\uff0b\uff0d\uff20-"
_SKIPPED = '\\s"\u200b-\u200f\u2060\ufeff'
_FORMULA = re.compile(rf"(?:^|(?<=[;\t\r\n]))(?=[{_SKIPPED}]*[{_SIGNS}])|^(?=[\t\r\n])")
# What a spreadsheet takes for a number, date or time in some language, and shows as another text:
# 007, 1e5, 1.50, 5 €, 9/11, 10:30 pm, Oct7. Digits alone, and ISO dates, mean the same everywhere.
_DIGITS = r"[\d\s.,:/'’%$€£¥()–-]*"
_MONTH = (
    "(?:jan|ene|gen|feb|fév|mar|mär|mrz|mrt|apr|avr|abr|mai|may|mei|mag|jui|jun|giu|jul|lug|aug|ago|aoû"
    r"|sep|set|oct|okt|out|ott|nov|dec|dez|déc|dic)[^\W\d_]*"
)
_REWRITTEN = re.compile(
    r"(?![1-9]\d*$|0$|\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?$)"
    rf"(?=.*\d)(?:{_DIGITS}(?:{_MONTH})?{_DIGITS}|\s*\d[\d:.,\s]*(?:[ap]m?|e[+-]?\d+)\s*)|true|false",
    re.IGNORECASE,
)
_REWRITTEN_MAX = 40  # characters of such a text
_SURROGATES = re.compile("[\ud800-\udfff]")  # halves of characters, not encodable in UTF-8


def csv_lines(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as CSV in UTF-8; a text with line breaks spans several lines."""
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    return written.getvalue().encode("utf-8", "replace")


def csv_cell(text: str) -> str:
    """A text for CSV that a spreadsheet opens."""
    if text.isdecimal() and len(text) > EXACT_DIGITS:
        return f"'{text}"  # a spreadsheet would round a number with so many digits
    if len(text) <= _REWRITTEN_MAX and _REWRITTEN.fullmatch(text):
        return f"'{text}"
    # Spreadsheets do not accept NUL, and put what does not fit into a cell into the next row.
    return _truncated(_FORMULA.sub("'", text.replace("\0", "\ufffd")))


def xlsx_cell(text: str) -> str:
    """A text as a cell can hold it: half characters replaced, too long ones truncated with a mark.

    Characters that XML does not allow are escaped by xlsxwriter.
    """
    return _truncated(_SURROGATES.sub("\ufffd", text))


def _truncated(text: str) -> str:
    if len(text) <= CELL_MAX // 2:
        return text
    encoded = text.encode("utf-16-le", "surrogatepass")
    if len(encoded) <= 2 * CELL_MAX:
        return text
    kept = encoded[: 2 * (CELL_MAX - len(TRUNCATION_MARK))].decode("utf-16-le", "ignore")
    return kept + TRUNCATION_MARK
