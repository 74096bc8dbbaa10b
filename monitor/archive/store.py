"""The store of archives: a folder, S3, GCS or Azure, given by one address.

Every call may wait for a disk or a network: from the event loop, use asyncio.to_thread. The library
is imported when a store is opened: a daemon without an archive does not need its 5 MB.
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

from stream.errors import ConfigError, TwitterstreamError
from stream.logs import redact

PART_BYTES = 8 << 20  # sent at once; S3 accepts 10,000 parts, so a file may have 80 GB
CONCURRENT_PARTS = 2  # being sent, each in memory
FETCH_BYTES = 4 << 20  # at once
REQUEST_TIMEOUT = "120s"
FOLDER_MODE, FILE_MODE = 0o700, 0o600

_USER = re.compile(r"(://)[^/\s@\"']*@")
_ARGUMENTS = re.compile(r"(://[^\s?\"']*)\?[^\s\"']*")


class StoreError(TwitterstreamError):
    """The store does not answer, or refuses a request."""


class Missing(StoreError):
    """There is no such object."""


class Stored(msgspec.Struct, frozen=True):
    """Size and checksum of what was written, or read."""

    bytes: int
    sha256: str  # hexadecimal


class StoredObject(msgspec.Struct, frozen=True):
    """One object, with its path below the store's address."""

    path: str
    bytes: int
    modified: datetime


@contextlib.contextmanager
def _store_errors(what: str) -> Iterator[None]:
    """Turn the library's errors into a StoreError of one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"{what}: there is no such object.") from error
    except (_library_error(), OSError, ValueError) as error:
        raise StoreError(f"{what}: {_first_line(error)}.") from error


def _library_error() -> type[Exception]:
    from obstore.exceptions import BaseError  # noqa: PLC0415 - when a store is opened

    return BaseError


def _first_line(error: Exception) -> str:
    """The first line of an error without credentials, which addresses of requests may hold."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    first = _USER.sub(r"\1***@", _ARGUMENTS.sub(r"\1?***", first))
    return redact(first).rstrip(".")


class Upload:
    """A file that is being written into the store, in parts; it exists once it is closed.

    It has the methods that pyarrow needs, and holds at most a few parts in memory.
    """

    def __init__(self, store: "Store", path: str) -> None:
        self._store = store
        self._path = path
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.closed = False
        from obstore import open_writer  # noqa: PLC0415 - when a store is opened

        with _store_errors(f"{path} cannot be written"):
            store.make_folder(path)
            self._writer = open_writer(
                store.objects, path, buffer_size=PART_BYTES, max_concurrency=CONCURRENT_PARTS
            )

    def write(self, data: Any) -> int:
        """Write anything with a buffer: bytes, or pyarrow's own."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        with _store_errors(f"{self._path} cannot be written"):
            self._writer.write(bytes(view))
        self.bytes += len(view)
        return len(view)

    def flush(self) -> None:
        """Does nothing: parts are sent when they are full."""

    def tell(self) -> int:
        return self.bytes

    def close(self) -> None:
        """Complete the object in the store, durably."""
        if not self.closed:
            with _store_errors(f"{self._path} cannot be written"):
                self._writer.close()
                self._store.make_durable(self._path)
            self.closed = True

    @property
    def stored(self) -> Stored:
        """Size and checksum of what was written so far."""
        return Stored(self.bytes, self._hash.hexdigest())


class Download:
    """An object that can be read at any offset, with the methods that pyarrow needs."""

    closed = False

    def __init__(self, store: "Store", path: str) -> None:
        self._store = store
        self._path = path
        self._at = 0
        self._prefetched_at, self._prefetched = 0, b""
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
        offset = start - self._prefetched_at
        if offset >= 0 and offset + length <= len(self._prefetched):
            return self._prefetched[offset : offset + length]
        return self._fetch(start, length)

    def prefetch(self, start: int, length: int) -> None:
        """Fetch a range at once and keep it instead of the last one.

        A distant store answers one request faster than many.
        """
        self._prefetched_at, self._prefetched = start, self._fetch(start, length)

    def _fetch(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        with _store_errors(f"{self._path} cannot be read"):
            found = self._store.objects.get_range(self._path, start=start, length=length)
        return bytes(found)

    def close(self) -> None:
        """Does nothing: no connection is kept."""


class Store:
    """All objects below one address; `folder` is set when that is a folder of this machine."""

    def __init__(self, url: str) -> None:
        from obstore.store import LocalStore, from_url  # noqa: PLC0415 - when a store is opened

        self.name = display_url(url)
        self.folder = local_folder(url)
        if self.folder is None and urlsplit(url).query:
            raise ConfigError(
                "`archive.url` must not have a part after `?`. Set credentials and options of the"
                " store in the environment."
            )
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
                self.objects: Any = LocalStore(prefix=self.folder)
            else:
                self.objects = from_url(url, client_options=_client_options())
        except OSError as error:
            raise StoreError(f"The folder of `archive.url` cannot be created: {error}.") from error
        except (_library_error(), ValueError) as error:
            raise ConfigError(f"`archive.url` cannot be used: {_first_line(error)}.") from error

    # -- writing ----------------------------------------------------------------------------------

    def upload(self, path: str) -> Upload:
        """Start a file; it replaces an older one when it is closed, and not before."""
        return Upload(self, path)

    def put(self, path: str, data: bytes) -> Stored:
        """Write a small object."""
        with _store_errors(f"{path} cannot be written"):
            self.make_folder(path)
            self.objects.put(path, data, use_multipart=False)
            self.make_durable(path)
        return Stored(len(data), hashlib.sha256(data).hexdigest())

    def copy_in(self, path: str, file: BinaryIO) -> Stored:
        """Write the rest of an open file."""
        upload = self.upload(path)
        while block := file.read(FETCH_BYTES):
            upload.write(block)
        upload.close()
        return upload.stored

    def delete(self, path: str) -> None:
        """Delete an object; one that does not exist is not an error."""
        with contextlib.suppress(Missing), _store_errors(f"{path} cannot be removed"):
            self.objects.delete(path)

    # -- reading ----------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        """Read a small object."""
        with _store_errors(f"{path} cannot be read"):
            return bytes(self.objects.get(path).bytes())

    def open(self, path: str) -> Download:
        """Open an object for reading at any offset."""
        return Download(self, path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Read an object from its start, a few megabytes at a time."""
        with _store_errors(f"{path} cannot be read"):
            for chunk in self.objects.get(path).stream(min_chunk_size=FETCH_BYTES):
                yield bytes(chunk)

    def hashed(self, path: str) -> Stored:
        """Read an object; its size and checksum."""
        found, size = hashlib.sha256(), 0
        for chunk in self.chunks(path):
            found.update(chunk)
            size += len(chunk)
        return Stored(size, found.hexdigest())

    def size(self, path: str) -> int | None:
        """The size of an object; None when it does not exist."""
        try:
            with _store_errors(f"{path} cannot be read"):
                return int(self.objects.head(path)["size"])
        except Missing:
            return None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects below a folder of the store, in no particular order."""
        with _store_errors(f"{self.name} cannot be listed"):
            for batch in self.objects.list(prefix=prefix or None):
                for each in batch:
                    yield StoredObject(each["path"], each["size"], each["last_modified"])

    # -- folders of this machine ------------------------------------------------------------------

    def make_folder(self, path: str) -> None:
        """Create the folder of an object as a private one; the library would not."""
        if self.folder is None:
            return
        folder = self.folder
        for name in Path(path).parent.parts:
            folder /= name
            if not folder.exists():
                folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
                _sync(folder.parent)

    def make_durable(self, path: str) -> None:
        """Make a file private, and make it survive a loss of power."""
        if self.folder is not None:
            file = self.folder / path
            file.chmod(FILE_MODE)
            _sync(file)
            _sync(file.parent)

    def remove_unfinished(self, folder: str, name: str = "*") -> None:
        """Remove the unfinished files that killed uploads left: of one object, or of all."""
        if self.folder is not None:
            for left in (self.folder / folder).glob(f"{name}#*"):
                left.unlink(missing_ok=True)


def display_url(url: str) -> str:
    """An address for messages: without user, password and arguments."""
    parts = urlsplit(url)
    if url.startswith("/") or parts.scheme == "file":
        return url
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def local_folder(url: str) -> Path | None:
    """The folder that an address names; None when it is not on this machine."""
    if url.startswith("/"):
        return Path(url)
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _client_options() -> Any:
    """Plain HTTP is allowed when the endpoint says so, as for a MinIO server of your own."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT")
    plain = any(os.environ.get(name, "").startswith("http://") for name in names)
    return {"timeout": REQUEST_TIMEOUT, "allow_http": plain}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
