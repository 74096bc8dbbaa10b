"""Logging: one line per event, as text or JSON, without credentials; never waits for a reader."""

import atexit
import contextlib
import fcntl
import io
import json
import logging
import logging.handlers
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, TextIO

import msgspec

from stream.errors import ConfigError

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# Anything that looks like a credential, whatever its source: a header in a traceback, a URL, the
# repr of a dict. Applied to the finished line, so that nothing bypasses it.
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

ROTATION_RETRY_INTERVAL = 60.0  # seconds after a failed rotation
LINES_MAX = 10_000  # that wait to be written; further ones are counted and left out
FLUSH_TIMEOUT = 2.0  # seconds to write what is left, at the end of the program


class LogSettings(Protocol):
    """The settings of logging."""

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

    Only the daemon does so: commands print to the terminal. Raises ConfigError when the file cannot
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
        handler = _StandardError(LineWriter(sys.stderr))
    handler.setFormatter(JSONLines() if settings.logformat == "json" else TextLines())
    logging.basicConfig(level=settings.loglevel.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class LineWriter:
    """Writes lines to a terminal or a pipe from a thread of its own, in order.

    A terminal that is stopped with Ctrl-S, or a reader that hangs, would stop the event loop at the
    next line, and with it all collecting.
    """

    def __init__(self, stream: TextIO) -> None:
        # Not the stream itself: at the end the interpreter would wait for the lock of its buffer.
        self._descriptor = stream.fileno()
        self._encoding = stream.encoding
        self._lines: queue.Queue[str] = queue.Queue(LINES_MAX)
        self._left_out = 0
        threading.Thread(target=self._run, name="lines", daemon=True).start()
        atexit.register(self.flush)

    def write(self, line: str) -> None:
        """Queue a line; dropped when the reader does not read."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._left_out += 1

    def flush(self, within: float = FLUSH_TIMEOUT) -> None:
        """Wait until all lines are written, but no longer than `within` seconds."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, within)

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            if self._left_out:
                line += f"\n({self._left_out} more lines were dropped: standard error was not read)"
                self._left_out = 0
            data = f"{line}\n".encode(self._encoding, "backslashreplace")
            with contextlib.suppress(OSError):  # it is closed, or its reader has gone
                while data:
                    data = data[os.write(self._descriptor, data) :]
            self._lines.task_done()


class _StandardError(logging.Handler):
    """Standard error, which may be a terminal or pipe without a reader."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record))
        except Exception:  # noqa: BLE001 - as in every handler
            self.handleError(record)


class LogFile(logging.handlers.RotatingFileHandler):
    """A file that is rotated at `max_bytes` to `name.1`, `name.2`, …, of which `keep` stay.

    Others may rename it as well, such as logrotate, or a second daemon with the same settings:
    the next line then starts a new file. A file that cannot be rotated is written on; lines that it
    does not take go to standard error.
    """

    def __init__(self, name: str, *, max_bytes: int, keep: int) -> None:
        self._retry_at = 0.0  # monotonic
        self._fallback: LineWriter | None = None
        super().__init__(
            name, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", errors="backslashreplace"
        )

    def _open(self) -> io.TextIOWrapper:
        # In append mode the lines of two processes never overlap.
        return open(
            self.baseFilename,
            "a",
            encoding=self.encoding,
            errors=self.errors,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - of the base class
        if self.stream is not None and not _is_same(self.stream.fileno(), self.baseFilename):
            self.stream.close()
            self.stream = None  # opened again by the base class
        if time.monotonic() < self._retry_at:
            return False
        return bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802 - of the base class
        # The lock outlasts the file, which the base class closes before it renames anything.
        assert self.stream is not None
        lock = os.dup(self.stream.fileno())
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(lock, self.baseFilename):
                super().doRollover()
        except BlockingIOError:
            pass  # another process is rotating it
        except OSError:  # the line itself matters more than this error
            self._retry_at = time.monotonic() + ROTATION_RETRY_INTERVAL
        finally:
            os.close(lock)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of the base class
        """Write the line to standard error when the file cannot be written, as on a full disk.

        The base class would print a traceback for each line, with what is not redacted.
        """
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        if self._fallback is None:
            self._fallback = LineWriter(sys.stderr)
            self._fallback.write(
                f"{self.baseFilename} cannot be written: {error.strerror}. Lines go to standard"
                " error until it can."
            )
        self._fallback.write(self.format(record))


def _is_same(descriptor: int, path: str) -> bool:
    """Whether the path still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), Path(path).stat())
    except FileNotFoundError:
        return False


def redact(text: str) -> str:
    """The text, with everything that looks like a credential replaced by ***."""
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


class _Lines(logging.Formatter):
    """Base of both log formats: the time, the fields given with `extra`, and tracebacks."""

    def when(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"

    def fields(self, record: logging.LogRecord) -> Mapping[str, object]:
        return {name: value for name, value in vars(record).items() if name not in _STANDARD}

    def trace(self, record: logging.LogRecord) -> str:
        parts = [self.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return "\n".join(parts)


class TextLines(_Lines):
    """2026-05-01T12:00:00.000Z info stream.writer: batch stored tweets=200 ms=31."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{self.when(record)} {record.levelname.lower()} {record.name}: "
        fields = [f"{name}={_plain(value)}" for name, value in self.fields(record).items()]
        # A line break in a message would let outside text forge a log line, and
        # an escape sequence the whole terminal.
        message = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], record.getMessage())
        line = " ".join([head + message, *fields])
        trace = self.trace(record)
        return redact(f"{line}\n{trace}" if trace else line)


class JSONLines(_Lines):
    """JSON log format: an object per line with time, level, logger, message, fields, exception."""

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
