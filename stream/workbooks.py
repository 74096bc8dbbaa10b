"""Excel workbooks in constant memory, in which every text stays a text.

Imported only where a workbook is written: xlsxwriter is large.
"""

from pathlib import Path

import xlsxwriter
from xlsxwriter.worksheet import Worksheet


class PlainSheet(Worksheet):  # type: ignore[misc]  # xlsxwriter has no types
    """A sheet that writes every text as plain text."""

    def _xml_rich_inline_string(self, string: str, attributes: object = ()) -> None:
        # A text that begins with <r> and ends with </r> would be written as XML, unescaped.
        self._xml_inline_string(string, True, attributes)


def new_workbook(path: Path) -> xlsxwriter.Workbook:
    """A workbook whose rows go into temporary files beside it; nothing in it is calculated."""
    return xlsxwriter.Workbook(
        str(path),
        {
            "constant_memory": True,
            "tmpdir": str(path.parent),
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
            "use_zip64": True,
        },
    )
