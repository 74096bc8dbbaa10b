"""Facts for the alert rules that snapshots do not have: from Postgres, and from files."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec

from monitor.alert.condition import Facts, FileProblems
from stream.config import Settings
from stream.db import Database, Executor
from stream.store import alert_facts, daemons, sources
from stream.store.alert_facts import Forecast, Profile

HOUR = 3600.0  # seconds
SLOW_INTERVAL = 1800.0  # seconds between two reads of what changes slowly
KEY_FILE = "secret.key"  # in data_dir; see stream/vault.py
EXPIRES_SOON = timedelta(days=14)
OTHERS_MASK = 0o077  # the permission bits of everyone but the owner
CERTIFICATE_MAX = 1 << 20  # bytes of a certificate file


class FactReader:
    """Reads facts from Postgres: some each time, some rarely."""

    def __init__(self, database: Database, host: str) -> None:
        self.database = database
        self.host = host
        self._slow_at = float("-inf")  # monotonic
        self._led = False
        self._forecasts: tuple[Forecast, ...] = ()
        self._profiles: Mapping[int, Profile] = {}
        self._history_days = 0.0

    async def read(self, *, leads: bool) -> Facts:
        """Read the facts for alert rules; the leader reads more of them. Raises DatabaseAway."""
        async with self.database.acquire() as connection:
            if time.monotonic() - self._slow_at >= SLOW_INTERVAL or (leads and not self._led):
                await self._read_slow(connection, leads=leads)
            facts = Facts(
                at=time.time(),
                forecasts=self._forecasts,
                outcomes=await alert_facts.frames_of_last_hour(connection),
                collected=await sources.collected_ids(connection),
                collectors_died=await daemons.collectors_died(connection, HOUR),
                has_credentials=await alert_facts.any_credentials(connection),
            )
            if not leads:
                return facts
            return msgspec.structs.replace(
                facts,
                complete=True,
                tracks=await alert_facts.tracks(connection, self._profiles),
                delivering=await alert_facts.delivering_since(connection),
                history_days=self._history_days,
                archive_problems=await alert_facts.archive_problems(connection),
                disabled_webhooks=await alert_facts.disabled_webhooks(connection),
                crashes=await daemons.count_crashed(connection, HOUR),
            )

    async def _read_slow(self, connection: Executor, *, leads: bool) -> None:
        self._forecasts = await alert_facts.forecasts(connection, self.host)
        if leads:
            self._history_days = await alert_facts.collected_days(connection)
            self._profiles = await alert_facts.profiles(connection)
        self._slow_at, self._led = time.monotonic(), leads


# -- files ----------------------------------------------------------------------------------------


def file_problems(settings: Settings, *, has_credentials: bool, now: datetime) -> FileProblems:
    """What is wrong with the key and the certificates; may block.

    Without credentials no key is needed.
    """
    key = Path(settings.data_dir) / KEY_FILE
    problems: dict[str, str] = {}
    critical = set()
    what = f"The key of the credentials, {key},"
    try:
        if key.stat().st_mode & OTHERS_MASK:
            problems[str(key)] = f"{what} is readable by other users."
    except FileNotFoundError:
        if has_credentials:
            problems[str(key)] = f"{what} is missing."
            critical.add(str(key))
    except OSError as error:
        problems[str(key)] = f"{what} cannot be read: {error.strerror}."
        critical.add(str(key))
    for path, sentence in _certificates(settings.database, now):
        problems[str(path)] = sentence
    return FileProblems(problems, critical)


def _certificates(url: str, now: datetime) -> Iterator[tuple[Path, str]]:
    parameters = parse_qs(urlsplit(url).query)
    for name in ("sslrootcert", "sslcert", "sslkey"):
        for value in parameters.get(name, ()):
            path = Path(value)
            if value and value != "system":
                sentence = _problem(name, path, now)
                if sentence is not None:
                    yield path, sentence


def _problem(name: str, path: Path, now: datetime) -> str | None:
    what = f"The file {path}, which `database` names as {name},"
    try:
        with path.open("rb") as file:
            text = file.read(CERTIFICATE_MAX)
        mode = path.stat().st_mode
    except OSError as error:
        return f"{what} cannot be read: {error.strerror}."
    if name == "sslkey":
        return f"{what} is readable by other users." if mode & OTHERS_MASK else None
    from cryptography import x509  # noqa: PLC0415 - 0.03 s, where `database` names certificates

    try:
        certificates = x509.load_pem_x509_certificates(text)
    except ValueError:
        return f"{what} contains no certificate."
    # Of several root certificates any may be the one in use: so the last to expire counts.
    ends = [each.not_valid_after_utc for each in certificates]
    end = max(ends) if name == "sslrootcert" else min(ends)
    if end <= now:
        return f"{what} expired on {end.astimezone(UTC):%F}."
    if end - now <= EXPIRES_SOON:
        return f"{what} expires on {end.astimezone(UTC):%F}."
    return None
