"""Where archives lie: a folder, S3, GCS or Azure, by one address.

Every call may wait for a disk or a network: on the event loop, call it through asyncio.to_thread.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from stream.errors import ConfigError, TwitterstreamError
from stream.logs import redact

PART_BYTES = 8 << 20  # sent at once; S3 takes 10,000 parts, so a file may have 80 GB
PARTS_AT_ONCE = 2  # on their way, each in memory
READ_BYTES = 4 << 20  # fetched at once
WAIT = "120s"  # for one request
FOLDER_MODE, FILE_MODE = 0o700, 0o600

_USER = re.compile(r"(://)[^/\s@\"']*@")
_ARGUMENTS = re.compile(r"(://[^\s?\"']*)\?[^\s\"']*")


class StoreError(TwitterstreamError):
    """The store cannot do it now, or does not let us."""


class Missing(StoreError):
    """There is nothing under this name."""


class Stored(msgspec.Struct, frozen=True):
    """What was written, or read."""

    bytes: int
    sha256: str  # hexadecimal


class Entry(msgspec.Struct, frozen=True):
    """One object; its path is below the store's address."""

    path: str
    bytes: int
    modified: datetime


@contextlib.contextmanager
def _meaning(what: str) -> Iterator[None]:
    """Turn the errors of the library into ours: one line, without its inner workings."""
    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"{what}: there is no such object.") from error
    except (BaseError, OSError, ValueError) as error:
        raise StoreError(f"{what}: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    """What went wrong, without credentials: also addresses of requests may hold some."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    first = _USER.sub(r"\1***@", _ARGUMENTS.sub(r"\1?***", first))
    return redact(first).rstrip(".")


class Upload:
    """A file on its way into the store: written in parts, hashed on the way, there when closed.

    It has what pyarrow wants of a file, and holds at most a few parts in memory.
    """

    def __init__(self, store: "Store", path: str) -> None:
        self._store = store
        self._path = path
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.closed = False
        with _meaning(f"{path} cannot be written"):
            store.make_folder(path)
            self._writer = obstore.open_writer(
                store.objects, path, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )

    def write(self, data: Any) -> int:
        """Take whatever has a buffer: bytes, or pyarrow's own."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        with _meaning(f"{self._path} cannot be written"):
            self._writer.write(bytes(view))
        self.bytes += len(view)
        return len(view)

    def flush(self) -> None:
        """Parts go when they are full."""

    def tell(self) -> int:
        return self.bytes

    def close(self) -> None:
        """Make it a whole object, durably."""
        if not self.closed:
            with _meaning(f"{self._path} cannot be written"):
                self._writer.close()
                self._store.settle(self._path)
            self.closed = True

    @property
    def stored(self) -> Stored:
        """What was written so far."""
        return Stored(self.bytes, self._hash.hexdigest())


class Download:
    """An object that can be read at any place, as pyarrow wants it."""

    closed = False

    def __init__(self, store: "Store", path: str) -> None:
        self._store = store
        self._path = path
        self._at = 0
        self._held_at, self._held = 0, b""
        found = store.size(path)
        if found is None:
            raise Missing(f"{path} cannot be read: there is no such object.")
        self._size = found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._at, 0)
        length = left if size < 0 else min(size, left)
        start, self._at = self._at, self._at + length
        if self._held_at <= start and start + length <= self._held_at + len(self._held):
            offset = start - self._held_at
            return self._held[offset : offset + length]
        return self._fetch(start, length)

    def hold(self, start: int, length: int) -> None:
        """Fetch so much at once and keep it, instead of what was kept before: a store that is far
        away answers one request quicker than many."""
        self._held_at, self._held = start, self._fetch(start, length)

    def _fetch(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        with _meaning(f"{self._path} cannot be read"):
            found = obstore.get_range(self._store.objects, self._path, start=start, length=length)
        return bytes(found)

    def close(self) -> None:
        """Nothing is held open."""


class Store:
    """What lies below one address. `folder` is set where that is a folder of this machine."""

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        self.folder = local_folder(url)
        if self.folder is None and urlsplit(url).query:
            raise ConfigError(
                "`archive.url` may not have a part behind `?`: credentials and options of the store"
                " come from the environment."
            )
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
                self.objects: Any = LocalStore(prefix=self.folder)
            else:
                self.objects = from_url(url, client_options=_client())
        except OSError as error:
            raise StoreError(f"The folder of `archive.url` cannot be made: {error}.") from error
        except (BaseError, ValueError) as error:
            raise ConfigError(f"`archive.url` cannot be used: {_first_line(error)}.") from error

    # -- writing ----------------------------------------------------------------------------------

    def upload(self, path: str) -> Upload:
        """Begin a file; it takes the place of an older one when it is closed, and not before."""
        return Upload(self, path)

    def put(self, path: str, data: bytes) -> Stored:
        """Write a small object as a whole."""
        with _meaning(f"{path} cannot be written"):
            self.make_folder(path)
            obstore.put(self.objects, path, data, use_multipart=False)
            self.settle(path)
        return Stored(len(data), hashlib.sha256(data).hexdigest())

    def copy_in(self, path: str, file: BinaryIO) -> Stored:
        """Write what a file holds, from where it stands."""
        upload = self.upload(path)
        while block := file.read(READ_BYTES):
            upload.write(block)
        upload.close()
        return upload.stored

    def delete(self, path: str) -> None:
        """Remove an object; one that is gone already is no error."""
        with contextlib.suppress(Missing), _meaning(f"{path} cannot be removed"):
            obstore.delete(self.objects, path)

    # -- reading ----------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        """A small object as a whole."""
        with _meaning(f"{path} cannot be read"):
            return bytes(obstore.get(self.objects, path).bytes())

    def open(self, path: str) -> Download:
        """An object to be read here and there."""
        return Download(self, path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """An object from its start, in pieces of a few megabytes."""
        with _meaning(f"{path} cannot be read"):
            for chunk in obstore.get(self.objects, path).stream(min_chunk_size=READ_BYTES):
                yield bytes(chunk)

    def hashed(self, path: str) -> Stored:
        """Read an object and say what it is."""
        found, size = hashlib.sha256(), 0
        for chunk in self.chunks(path):
            found.update(chunk)
            size += len(chunk)
        return Stored(size, found.hexdigest())

    def size(self, path: str) -> int | None:
        """Bytes of an object; None when there is none."""
        try:
            with _meaning(f"{path} cannot be read"):
                return int(obstore.head(self.objects, path)["size"])
        except Missing:
            return None

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """All objects below a folder of the store, in no order."""
        with _meaning(f"{self.name} cannot be listed"):
            for batch in obstore.list(self.objects, prefix=prefix or None):
                for each in batch:
                    yield Entry(each["path"], each["size"], each["last_modified"])

    # -- folders of this machine ------------------------------------------------------------------

    def make_folder(self, path: str) -> None:
        """What holds an object: private, before the library would make it for everybody."""
        if self.folder is None:
            return
        folder = self.folder
        for name in Path(path).parent.parts:
            folder /= name
            if not folder.exists():
                folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
                _sync(folder.parent)

    def settle(self, path: str) -> None:
        """See to it that a file is ours alone, and that a loss of power does not undo it."""
        if self.folder is not None:
            file = self.folder / path
            file.chmod(FILE_MODE)
            _sync(file)
            _sync(file.parent)

    def sweep(self, folder: str) -> None:
        """Remove what an upload left that was killed: the library's unfinished files."""
        if self.folder is not None:
            for left in (self.folder / folder).glob("*#*"):
                left.unlink(missing_ok=True)


def shown(url: str) -> str:
    """An address as people may see it: without user and arguments."""
    parts = urlsplit(url)
    if url.startswith("/") or parts.scheme == "file":
        return url
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def local_folder(url: str) -> Path | None:
    """The folder that an address names, if it names one of this machine."""
    if url.startswith("/"):
        return Path(url)
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _client() -> Any:
    """A server of one's own, such as MinIO, may speak plain HTTP: its address says so."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT")
    plain = any(os.environ.get(name, "").startswith("http://") for name in names)
    return {"timeout": WAIT, "allow_http": plain}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
