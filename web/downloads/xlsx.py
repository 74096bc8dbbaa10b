"""An Excel workbook (XLSX) of tweets, written row by row into temporary files.

Imported only when a workbook is requested: xlsxwriter is large.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from stream.files import disk
from stream.spreadsheets import ROWS_MAX, YEAR_MIN, xlsx_cell
from stream.tweet_view import TweetView
from stream.workbooks import PlainSheet, new_workbook
from web.downloads.text_formats import Columns
from web.problem import Problem

logger = logging.getLogger(__name__)

PEAK_FACTOR = 2.5  # disk space over that of the rows: the finished file holds them again
DISK_RESERVE = 200_000_000  # bytes of the disk that stay free
PREFIX = "twitterstream-xlsx-"
ABANDONED_AFTER = 86_400  # seconds; then the folder of a killed process is removed
WIDTHS = {"text": 80, "url": 40, "terms": 24}  # characters; of every other column:
WIDTH = 20


class Workbook:
    """A workbook in a temporary folder. Its methods block: one at a time, in a thread."""

    def __init__(self, columns: Columns, bytes_max: int, rows_max: int = ROWS_MAX) -> None:
        self.columns = columns
        self._bytes_max = bytes_max
        self._rows_max = rows_max
        self._busy = threading.Lock()
        _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_root()))
        self.path = self.folder / "tweets.xlsx"
        self._book = new_workbook(self.path)
        self._heading = self._book.add_format({"bold": True, "text_wrap": True, "valign": "top"})
        self._date = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._sheets = 0
        self._next_sheet()

    def _next_sheet(self) -> None:
        self._sheets += 1
        name = "Tweets" if self._sheets == 1 else f"Tweets {self._sheets}"
        self._sheet = self._book.add_worksheet(name, PlainSheet)
        self._sheet.freeze_panes(1, 0)
        for place, column in enumerate(self.columns.headings):
            self._sheet.set_column(place, place, WIDTHS.get(column, WIDTH))
            self._sheet.write_string(0, place, column, self._heading)
        self._row = 1

    def add(self, tweets: Sequence[TweetView]) -> None:
        """Append a row for each tweet. Problem when the workbook becomes too large."""
        with self._busy:
            for tweet in tweets:
                if self._row >= self._rows_max:
                    self._next_sheet()
                for place, value in enumerate(self.columns.values(tweet)):
                    self._write(place, value)
                self._row += 1
            self._check_size()

    def _write(self, place: int, value: str | datetime | None) -> None:
        if isinstance(value, datetime):
            if value.year >= YEAR_MIN:
                self._sheet.write_datetime(self._row, place, value, self._date)
                return
            value = value.isoformat(" ", timespec="seconds")
        if value:
            self._sheet.write_string(self._row, place, xlsx_cell(value))

    def _check_size(self) -> None:
        written = sum(each.stat().st_size for each in os.scandir(self.folder))
        free = disk(self.folder).free
        if (
            written * PEAK_FACTOR > self._bytes_max
            or written * (PEAK_FACTOR - 1) > free - DISK_RESERVE
        ):
            raise Problem(
                "too_large",
                "Too many tweets for one Excel workbook on this server: choose a shorter"
                " time, or download them as CSV.",
            )

    def close(self, about: Sequence[tuple[str, str]] = ()) -> None:
        """Write the finished file; `about`: rows of a last sheet that describes the others."""
        with self._busy:
            if about:
                self._add_about(about)
            self._book.close()

    def _add_about(self, about: Sequence[tuple[str, str]]) -> None:
        sheet = self._book.add_worksheet("About", PlainSheet)
        sheet.set_column(0, 0, WIDTHS["terms"])
        sheet.set_column(1, 1, WIDTHS["text"])
        for row, pair in enumerate(about):
            for place, text in enumerate(pair):
                sheet.write_string(row, place, xlsx_cell(text))

    def discard(self) -> None:
        """Remove all files; waits while something writes to them."""
        with self._busy:
            for sheet in self._book.worksheets():
                if sheet.row_data_fh is not None:  # not closed
                    sheet.row_data_fh.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def _root() -> str:
    """The folder for temporary files: on disk, unless TMPDIR is set, as /tmp is often memory."""
    on_disk = "/var/tmp"  # noqa: S108 - only as the place of a folder that mkdtemp makes
    if "TMPDIR" in os.environ or not os.access(on_disk, os.W_OK):
        return tempfile.gettempdir()
    return on_disk


def _sweep() -> None:
    """Remove the folders that killed processes left."""
    for folder in _abandoned(Path(_root())):
        logger.info("removing an abandoned workbook", extra={"folder": str(folder)})
        shutil.rmtree(folder, ignore_errors=True)


def _abandoned(root: Path) -> Iterator[Path]:
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER:
                yield folder
