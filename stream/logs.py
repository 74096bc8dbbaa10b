"""How the program says what it does: one line an event, for people or for programs."""

import contextlib
import fcntl
import io
import json
import logging
import logging.handlers
import os
import re
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from stream.errors import ConfigError

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# Anything that looks like a credential, wherever it came from: a header in a traceback, a URL, the
# repr of a dict. Applied to the finished line, so that no way around it exists.
_REDACTIONS = (
    (re.compile(r"\b(Bearer(?:\s+|%20))[^\s\"'\\,;]{16,}", re.IGNORECASE), r"\1***"),
    (
        re.compile(
            r"(authorization\\?[\"']?\s*[=:]\s*\\?[\"']?(?:\w+\s+)?)[^\s\"'\\,;]+", re.IGNORECASE
        ),
        r"\1***",
    ),
    (
        re.compile(
            r"((?:token|secret|password|passwd|api_?key|consumer_key|signature)"
            r"\\?[\"']?\s*[=:]\s*\\?[\"']?)[^\s\"'\\,;&}]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    (re.compile(r"(://[^/:@\s]{0,200}:)[^@/\s]{1,200}@"), r"\1***@"),
    (re.compile(r"A{16,}[A-Za-z0-9%_-]{20,}"), "***"),  # how the bearer tokens of X begin
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

TRY_AGAIN = 60.0  # seconds between two attempts to set a file aside that failed


class LogSettings(Protocol):
    """The settings that matter here."""

    @property
    def loglevel(self) -> str: ...
    @property
    def logfile(self) -> str: ...
    @property
    def logfile_max_bytes(self) -> int: ...
    @property
    def logfile_keep(self) -> int: ...
    @property
    def logformat(self) -> Literal["text", "json"]: ...


def set_up(settings: LogSettings) -> None:
    """Send all logging to `logfile`, or to standard error where that is empty.

    Only the daemon does so: commands speak to the terminal. Raises ConfigError when the file cannot
    be opened.
    """
    handler: logging.Handler
    if settings.logfile:
        try:
            handler = LogFile(
                settings.logfile, max_bytes=settings.logfile_max_bytes, keep=settings.logfile_keep
            )
        except OSError as error:
            raise ConfigError(
                f"logfile: {Path(settings.logfile).resolve()} cannot be written: {error.strerror}"
            ) from error
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines() if settings.logformat == "json" else TextLines())
    logging.basicConfig(level=settings.loglevel.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class LogFile(logging.handlers.WatchedFileHandler):
    """A file that at `max_bytes` is set aside as `name.1`, `name.2`, …, of which `keep` stay.

    It may also be renamed under us, by an administrator or by another daemon with these settings:
    then the next line begins a new one. A file that cannot be set aside is written on.
    """

    def __init__(self, name: str, *, max_bytes: int, keep: int) -> None:
        self.max_bytes = max_bytes
        self.keep = keep
        self._again_at = 0.0  # seconds, monotonic: after a failure not with every line
        super().__init__(name, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> io.TextIOWrapper:
        # Appending, the lines of two processes lie behind each other and not in each other.
        return open(
            self.baseFilename,
            "a",
            encoding=self.encoding,
            errors=self.errors,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._set_aside_when_full()
        except OSError:  # the line itself says more than this would
            self._again_at = time.monotonic() + TRY_AGAIN
        super().emit(record)

    def _set_aside_when_full(self) -> None:
        if self.stream is None or time.monotonic() < self._again_at:
            return
        descriptor = self.stream.fileno()
        if os.fstat(descriptor).st_size < self.max_bytes:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process is at it
        try:
            if _same(descriptor, Path(self.baseFilename)):
                self._shift(Path(self.baseFilename))
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        self.reopenIfNeeded()

    def _shift(self, path: Path) -> None:
        older = [path.with_name(f"{path.name}.{number}") for number in range(1, self.keep + 1)]
        for aside, next_aside in reversed(list(pairwise([path, *older]))):
            with contextlib.suppress(FileNotFoundError):
                aside.replace(next_aside)


def _same(descriptor: int, path: Path) -> bool:
    """Whether the path still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def redact(text: str) -> str:
    """The text without anything that looks like a credential."""
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


class _Lines(logging.Formatter):
    """What both formats share: the time, and the fields that were given with `extra`."""

    def when(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"

    def fields(self, record: logging.LogRecord) -> Mapping[str, object]:
        return {name: value for name, value in vars(record).items() if name not in _STANDARD}

    def trace(self, record: logging.LogRecord) -> str:
        said = [self.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            said.append(self.formatStack(record.stack_info))
        return "\n".join(said)


class TextLines(_Lines):
    """2026-05-01T12:00:00.000Z info stream.writer: batch stored tweets=200 ms=31."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{self.when(record)} {record.levelname.lower()} {record.name}: "
        fields = [f"{name}={_plain(value)}" for name, value in self.fields(record).items()]
        # A line break in a message would let what came from outside forge a line of its own, and
        # an escape sequence the whole terminal.
        message = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], record.getMessage())
        line = " ".join([head + message, *fields])
        trace = self.trace(record)
        return redact(f"{line}\n{trace}" if trace else line)


class JSONLines(_Lines):
    """One object a line: time, level, logger, message, the fields, and exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in self.fields(record).items():
            line[f"{name}_" if name in line else name] = value
        if trace := self.trace(record):
            line["exception"] = trace
        return redact(_json(line))


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    simple = text.isprintable() and text and not set(text) & set(" \"'=")
    return text if simple else _json(text)


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except UnicodeEncodeError:  # a lone surrogate, as in the name of a file; json escapes it
        return json.dumps(value, default=str, skipkeys=True)
