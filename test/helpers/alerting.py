"""Alerts as people get them: a real mail server, a real webhook, and snapshots that cause them."""

import asyncio
import email
import time
from email.message import Message as Mail
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from monitor.alert.alerts import Alerts
from monitor.alert.registry import RULES
from monitor.snapshot import Snapshot
from snapshots import make_snapshot, make_source
from stream.config import AlertSettings, Settings
from stream.db import Database

PASSWORD = "hunter2-hunter2"
TOKEN = "Zm9vYmFyYmF6cXV4"
GONE = RULES["source_refused"].keep_firing_for


class MailServer(Controller):
    """Listens on any free port; `port` is known once it runs."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # it has no types


class Mailbox:
    """Takes mail from everyone with the password."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.controller = MailServer(
            self,
            hostname="127.0.0.1",
            port=0,
            ready_timeout=60,
            authenticator=self.login,
            auth_require_tls=False,
        )

    @staticmethod
    def login(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        good = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
        return AuthResult(success=good)

    async def handle_DATA(  # noqa: N802 - the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(email.message_from_bytes(envelope.content))
        return "250 OK"

    @property
    def url(self) -> str:
        return (
            f"mailto://me:{PASSWORD}@127.0.0.1:{self.controller.port}"
            "?from=ts@example.org&to=you@example.org&mode=insecure"
        )

    @property
    def subjects(self) -> list[str]:
        found = []
        for mail in self.mails:
            decoded = email.header.make_header(email.header.decode_header(mail["Subject"]))
            found.append(" ".join(str(decoded).split()))
        return found

    @property
    def texts(self) -> list[str]:
        found = []
        for mail in self.mails:
            part = next(part for part in mail.walk() if part.get_content_type() == "text/plain")
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append(payload.decode())
        return found


class Hook:
    """A webhook; what it got, and what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.hang = False
        self.got: list[dict[str, Any]] = []
        self.calls = 0
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        self.calls += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.status == 200 and request.method == "POST":
            self.got.append(await request.json())
        return web.Response(status=self.status)

    @property
    def url(self) -> str:
        return f"json://me:{PASSWORD}@127.0.0.1:{self.port}/{TOKEN}?+X-Key={TOKEN}2"

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.got]

    def titled(self, word: str) -> list[str]:
        return [title for title in self.titles if word in title]


def snapshot(at: float | None = None, **changed: Any) -> Snapshot:
    """All is well."""
    now = time.time() if at is None else at
    return make_snapshot(now, sources=(make_source(now, **changed),))


def refused(at: float | None = None) -> Snapshot:
    """The credentials of the source are not accepted, and the words are not careful."""
    said = f"X does not accept the bearer_token (401: password={PASSWORD} {TOKEN})"
    return snapshot(at, state="failed", code="credentials", reason=said)


class AlertDesk:
    """Alerts on a database, with a clock that is moved by snapshots."""

    def __init__(self, database: Database, folder: Path, **settings: Any) -> None:
        self.database = database
        self.settings = Settings(data_dir=str(folder), alerts=AlertSettings(**settings))
        self.alerts = Alerts(database, self.settings, "web1")
        self.start = time.time()

    def restart(self) -> None:
        """Another process."""
        self.alerts = Alerts(self.database, self.settings, "web1")

    async def on_snapshot(self, *snapshots: Snapshot) -> None:
        """Hear these, and do the job after each."""
        for each in snapshots:
            self.alerts.on_snapshot(each)
            await self.alerts.store_and_notify()

    async def end(self) -> None:
        """All is well, for long enough."""
        now = self.start
        await self.on_snapshot(*(snapshot(now + at) for at in (10, 20, 20 + GONE, 30 + GONE)))

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query)]
