"""Exports of pages and the API: who may request, see, cancel and download which."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from stream import export_requests
from stream.db import Executor
from stream.errors import InvalidField, TwitterstreamError
from stream.export_requests import PACKAGE, ExportRequest, folder_of
from stream.store import export_deletions, exports, sharing
from stream.store.exports import Export
from web.context import AppContext
from web.person import Person
from web.problem import Problem

LINK_LIFETIME = timedelta(days=1)
RETRY_AFTER = 10  # seconds
_NONE = "This export does not exist."
_RENEWED = (
    "Tweets of this export were deleted since it was written. It is being written again without"
    " them: try again in a moment."
)


class _Link(msgspec.Struct, frozen=True):
    """What a signed link says: which export, and until when (seconds since 1970)."""

    export: int
    until: int


async def require(connection: Executor, person: Person, export_id: int) -> Export:
    """The export, if it is the person's own, or for admins; else Problem."""
    found = await exports.by_id(connection, export_id)
    if found is None or not (person.is_admin or found.user_id == person.id):
        raise Problem("not_found", _NONE)
    return found


async def listed(connection: Executor, person: Person) -> list[Export]:
    """A person's newest exports; for admins those of all users."""
    return await exports.newest(connection, None if person.is_admin else person.id)


async def add(here: AppContext, person: Person, wanted: ExportRequest) -> Export:
    """Request an export."""
    most = here.settings.exports.max_unfinished_per_user
    async with here.database.transaction() as connection:
        if await exports.count_unfinished(connection, person.id) >= most:
            words = f"You have {most} exports that have not finished: wait, or cancel one."
            raise Problem("too_many", words, retry_after=RETRY_AFTER)
        try:
            number = await export_requests.add(connection, here.settings, person.id, wanted)
        except InvalidField as error:
            raise Problem("invalid", str(error), field=error.field) from error
        return await require(connection, person, number)


async def cancel(here: AppContext, person: Person, export_id: int) -> None:
    """Cancel an export, or delete the file of a finished one."""
    async with here.database.transaction() as connection:
        await require(connection, person, export_id)
        if not await exports.cancel(connection, export_id):
            await exports.expire(connection, export_id)


def link_to(here: AppContext, export: Export) -> str:
    """The path of a signed link to the file, which needs no login; it expires."""
    until = datetime.now(UTC) + LINK_LIFETIME
    if export.expires_at is not None:
        until = min(until, export.expires_at)
    content = {"export": str(export.id), "until": str(int(until.timestamp()))}
    return f"/exports/files/{here.vault.seal(content).decode()}"


async def by_link(here: AppContext, written: str) -> web.StreamResponse:
    """The file of a signed link. Problem when the link is not ours, or has expired."""
    try:
        link = msgspec.convert(here.vault.open(written.encode()), _Link, strict=False)
    except (TwitterstreamError, msgspec.ValidationError, UnicodeError) as error:
        raise Problem("not_found", "This link is not valid.") from error
    if link.until < datetime.now(UTC).timestamp():
        raise Problem("not_found", "This link has expired: make a new one on the page Exports.")
    async with here.database.acquire() as connection:
        found = await exports.by_id(connection, link.export)
        if found is None:
            raise Problem("not_found", _NONE)
        await _check(connection, found)
    return await _send(here, found)


async def download(here: AppContext, person: Person, export_id: int) -> web.StreamResponse:
    """The file of a finished export, or a part of it (Range)."""
    async with here.database.acquire() as connection:
        found = await require(connection, person, export_id)
        await _check(connection, found)
    return await _send(here, found)


async def _check(connection: Executor, export: Export) -> None:
    """Problem unless its user still sees the tracks, and no tweet of it was deleted since."""
    if export.unfinished and export.finished_at is not None:
        raise Problem("unavailable", _RENEWED, retry_after=RETRY_AFTER)
    if export.state != "done":
        raise Problem("not_found", f"This export has no file: it is {export.state}.")
    if export.user_id is not None:
        seen = await sharing.visible_among(connection, export.user_id, export.tracks)
        if lost := set(export.tracks) - seen.keys():
            words = f"Track {min(lost)} was deleted, or its owner does not share it any more."
            raise Problem("forbidden", words)
    if await export_deletions.concerned(connection, export.id, archived=False):
        await exports.renew(connection, export.id)
        raise Problem("unavailable", _RENEWED, retry_after=RETRY_AFTER)


class _File(web.FileResponse):
    """Obeys an entity tag in `If-Range`, which aiohttp does not (RFC 9110, section 13.1.5).

    The file of an export is written again when a tweet of it was deleted: a download that goes on
    with the rest of another file would be damaged.
    """

    def __init__(self, path: Path, headers: Mapping[str, str]) -> None:
        super().__init__(path, headers=headers)
        self._file = path

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        wanted = request.headers.get(hdrs.IF_RANGE, "")
        is_date = request.if_range is not None
        if wanted and not is_date and wanted != await asyncio.to_thread(self._tag):
            headers = CIMultiDict(request.headers)
            headers.popall(hdrs.RANGE, None)
            request = request.clone(headers=headers)
        return await super().prepare(request)

    def _tag(self) -> str:
        """The entity tag that aiohttp gives the file."""
        found = self._file.stat()
        return f'"{found.st_mtime_ns:x}-{found.st_size:x}"'


async def _send(here: AppContext, export: Export) -> web.StreamResponse:
    path = folder_of(Path(here.settings.data_dir), export.id) / PACKAGE
    if not await asyncio.to_thread(path.is_file):
        words = "The file is not on this machine"
        raise Problem("not_found", f"{words}; it was written on {export.host}.")
    name = f'attachment; filename="export-{export.id}.zip"'
    headers = {"Content-Disposition": name, "Content-Type": "application/zip"}
    return _File(path, headers)
