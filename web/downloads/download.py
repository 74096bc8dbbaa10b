"""Answer with all tweets of a query as a file, written while it is read; limits how many run.

Opening many downloads and reading none must not cost other users anything.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from zoneinfo import ZoneInfo

from aiohttp import web

from stream.errors import TwitterstreamError
from stream.tweet_view import TweetView
from web.context import allow, app_context
from web.downloads import about, text_formats
from web.downloads.text_formats import Columns, TextFormat
from web.limiters import AdmissionLimiter
from web.local_time import UTC_ZONE
from web.problem import Problem
from web.queries import tweets
from web.queries.cursors import Order
from web.queries.tweets import TweetQuery

if TYPE_CHECKING:
    from web.downloads.xlsx import Workbook

logger = logging.getLogger(__name__)

Format = TextFormat | Literal["xlsx"]
CONTENT_TYPES: dict[Format, str] = {
    "csv": "text/csv",
    "excel": "text/csv",
    "ndjson": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
SUFFIXES: dict[Format, str] = {"csv": "csv", "excel": "csv", "ndjson": "ndjson", "xlsx": "xlsx"}
DOWNLOADS_MAX = 16  # at once
DOWNLOADS_PER_USER = 4
READING_MAX = 2  # of them that read from the database; the pages need its connections, too
WORKBOOKS_MAX = 2  # workbooks that are written at the same time; others wait
BUILD_TIMEOUT = 1800.0  # seconds until a workbook must be written
RETRY_AFTER = 10  # seconds after which there may be room
CHUNK = 256 * 1024  # bytes of a workbook sent at a time
_FULL = "Too many downloads are running: try again in a moment."
_INCOMPLETE = "{cells} cannot be used, so tweets would be missing: try again later."
_YOURS = "You have {max} downloads running already: wait until one of them ends, or cancel one."

Batches = AsyncGenerator[Sequence[TweetView], None]
T = TypeVar("T")


class Downloads:
    """Limits the downloads of one running application."""

    def __init__(self) -> None:
        self.all = AdmissionLimiter(DOWNLOADS_MAX)
        self.by_user = AdmissionLimiter(DOWNLOADS_PER_USER)
        self.reading = AdmissionLimiter(READING_MAX, waiting=None)
        self.workbooks = AdmissionLimiter(WORKBOOKS_MAX, waiting=None)


DOWNLOADS: web.AppKey[Downloads] = web.AppKey("downloads", Downloads)


def install(app: web.Application) -> None:
    """Limit the downloads from this application."""
    app[DOWNLOADS] = Downloads()


async def send(
    request: web.Request,
    query: TweetQuery,
    form: Format,
    *,
    order: Order = "newest",
    name: str | None = None,
    limit: int | None = None,
    zone: ZoneInfo = UTC_ZONE,
) -> web.StreamResponse:
    """Answer with all tweets, at most `limit`; `name`: of the file to save.

    Problem when too many downloads are running already. A HEAD request reads no tweets.
    """
    response = web.StreamResponse()
    response.content_type = CONTENT_TYPES[form]
    if name is not None:
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.{SUFFIXES[form]}"'
    if form != "xlsx":
        response.charset = "utf-8"
    if link := about.link_header(query.tracks, app_context(request).base):
        response.headers["Link"] = link
    if request.method == "HEAD":
        await response.prepare(request)
        await response.write_eof()
        return response
    await _require_all_cells(request)
    downloads, user = request.config_dict[DOWNLOADS], query.person.id
    yours = Problem("too_many", _YOURS.format(max=DOWNLOADS_PER_USER), retry_after=RETRY_AFTER)
    full = Problem("too_many", _FULL, retry_after=RETRY_AFTER)
    async with downloads.by_user.admit(yours, user), downloads.all.admit(full):
        found = tweets.every(app_context(request).cells, query, downloads.reading, order)
        async with contextlib.aclosing(found), contextlib.aclosing(_limited(found, limit)) as some:
            if form != "xlsx":
                await _send_text(request, response, some, form, zone)
            else:
                allow(request, BUILD_TIMEOUT)
                async with downloads.workbooks.admit():
                    await _send_workbook(request, response, some, query, zone)
    return response


async def _require_all_cells(request: web.Request) -> None:
    """Problem when a cell cannot be used: a file cannot say that it lacks something."""
    cells = app_context(request).cells
    if cells.others:
        async with cells.home.acquire() as connection:
            missing = await cells.missing(connection)
        if missing:
            cells_missing = ("Cell " if len(missing) == 1 else "Cells ") + ", ".join(missing)
            words = _INCOMPLETE.format(cells=cells_missing)
            raise Problem("unavailable", words, retry_after=RETRY_AFTER)


async def _limited(batches: Batches, limit: int | None) -> Batches:
    left = limit
    async for batch in batches:
        if left is None:
            yield batch
        else:
            yield batch[:left]
            left -= len(batch)
            if left <= 0:
                return


async def _send_text(
    request: web.Request,
    response: web.StreamResponse,
    batches: Batches,
    form: TextFormat,
    zone: ZoneInfo,
) -> None:
    """Write the lines as fast as the reader takes them."""
    if request.version >= (1, 1):
        response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        await response.write(text_formats.header(form, zone))
        async for batch in batches:
            await response.write(text_formats.lines(batch, form, zone))
    except TwitterstreamError as error:
        # The status was sent as a success: only breaking the connection off shows the failure.
        logger.warning("a download failed and was cut off", extra={"why": str(error)})
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from error
    await response.write_eof()


async def _send_workbook(
    request: web.Request,
    response: web.StreamResponse,
    batches: Batches,
    query: TweetQuery,
    zone: ZoneInfo,
) -> None:
    """Write the workbook, then send the file: so an error on the way is an error response."""
    bytes_max = app_context(request).settings.web.max_excel_temp_bytes
    book = await in_daemon_thread(lambda: _open(zone, bytes_max))
    try:
        async for batch in batches:
            await in_daemon_thread(lambda some=batch: book.add(some))  # type: ignore[misc]  # a batch
            if request.transport is None:
                raise ConnectionResetError
        async with app_context(request).database.acquire() as connection:
            pairs = await about.rows(connection, query, zone)
        await in_daemon_thread(lambda: book.close(pairs))
        await _send_file(request, response, book.path)
    finally:
        # Not awaited: it may have to wait for the thread, and the end of the program must not.
        threading.Thread(target=book.discard, name="workbook", daemon=True).start()


def _open(zone: ZoneInfo, bytes_max: int) -> "Workbook":
    from web.downloads.xlsx import Workbook  # noqa: PLC0415 - large, and seldom needed

    return Workbook(Columns(zone), bytes_max)


async def _send_file(request: web.Request, response: web.StreamResponse, path: Path) -> None:
    with path.open("rb") as file:
        response.content_length = os.fstat(file.fileno()).st_size
        await response.prepare(request)
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            await response.write(chunk)
    await response.write_eof()


async def in_daemon_thread(call: Callable[[], T]) -> T:
    """What the call returns or raises, from a thread that the program's end does not wait for."""
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()

    def work() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            result.set_exception(error)

    threading.Thread(target=work, name="workbook", daemon=True).start()
    return await asyncio.wrap_future(result)
