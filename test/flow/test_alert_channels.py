"""Alerts reach people: a real mail server, a real webhook, and what is told when."""

import asyncio
import email
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from email.message import Message as Mail
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from monitor.alert.alerts import Alerts
from monitor.alert.catalogue import RULES
from monitor.alert.channels import Channels
from monitor.alert.heartbeat import Heartbeat
from monitor.alert.messages import Message
from monitor.reading import (
    Commits,
    DatabaseReading,
    Machine,
    Process,
    Reading,
    SourceReading,
)
from stream import db
from stream.config import AlertSettings, Settings
from stream.db import Database
from stream.errors import DatabaseAway

# apprise imports it for Python before 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

replace = msgspec.structs.replace
Eventually = Callable[..., Awaitable[None]]

PASSWORD = "hunter2-hunter2"
TOKEN = "Zm9vYmFyYmF6cXV4"
GB = 10**9


class Mailbox:
    """Takes mail from whoever knows the password."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    made.controller.start()
    yield made
    made.controller.stop()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.take)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
async def connected(database: str) -> AsyncIterator[Database]:
    async with db.connect(database) as opened:
        yield opened


def reading(at: float | None = None, **changed: Any) -> Reading:
    """All is well."""
    now = time.time() if at is None else at
    source = SourceReading(
        1, "main", "x_v2", True, True, False, "streaming", "", now - 900, None, now, 1, 1, 1, 44,
        {}, {}, {}, 0, None, 0, 0.0, None, 0.0,
    )  # fmt: skip
    return Reading(
        at=now,
        host="web1",
        version="1",
        leads=True,
        machine=Machine(1.0, 2, 0.1, 8 * GB, GB, 0, 0, ()),
        process=Process(1, 1.0, 9, 99, 0.0, now - 900),
        sources=(replace(source, **changed),),
        commits=Commits(0, None, None, None),
        database=DatabaseReading(True, "", now - 900, None, {}, None, None, None, None, None),
        chores=(),
        tracks={},
    )


def refused(at: float | None = None) -> Reading:
    """The credentials of the source are not accepted, and the words are not careful."""
    said = f"X does not accept the bearer_token (401: password={PASSWORD} {TOKEN})"
    return reading(at, state="failed", code="credentials", reason=said)


GONE = RULES["source_refused"].gone


class Desk:
    """Alerts on a database, with a clock that is moved by readings."""

    def __init__(self, database: Database, folder: Path, **settings: Any) -> None:
        self.database = database
        self.settings = Settings(data_dir=str(folder), alerts=AlertSettings(**settings))
        self.alerts = Alerts(database, self.settings, "web1")
        self.start = time.time()

    def restart(self) -> None:
        """Another process."""
        self.alerts = Alerts(self.database, self.settings, "web1")

    async def hear(self, *readings: Reading) -> None:
        """Hear these, and do the chore after each."""
        for each in readings:
            self.alerts.hear(each)
            await self.alerts.work()

    async def end(self) -> None:
        """All is well, for long enough."""
        now = self.start
        await self.hear(*(reading(now + at) for at in (10, 20, 20 + GONE, 30 + GONE)))

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query)]


async def test_one_message_when_it_opens_one_when_it_closes_none_between(
    connected: Database, tmp_path: Path, mailbox: Mailbox, hook: Hook
) -> None:
    desk = Desk(connected, tmp_path, channels=[mailbox.url, hook.url])
    await desk.hear(*(refused(desk.start + at) for at in range(0, 600, 10)))
    assert mailbox.subjects == ["[twitterstream] critical: credentials are refused (main)"]
    assert hook.titles == mailbox.subjects
    desk.start += 600
    await desk.end()
    assert [subject.split(":")[0] for subject in mailbox.subjects] == [
        "[twitterstream] critical",
        "[twitterstream] all clear",
    ]
    assert hook.titles == mailbox.subjects
    assert "Source main has failed since" in mailbox.texts[0]
    assert "What to do: Make a new credential" in mailbox.texts[0]
    assert "Over after" in mailbox.texts[1]
    [(rule, closed, told, clear)] = await desk.rows(
        "SELECT rule, closed_at IS NOT NULL, told, all_clear_at IS NOT NULL FROM alerts"
    )
    assert (rule, closed, told, clear) == ("source_refused", True, 2, True)


async def test_a_restart_in_between_tells_nothing_twice(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = Desk(connected, tmp_path, channels=[hook.url])
    await desk.hear(refused())
    desk.restart()
    await desk.hear(refused(), refused())
    assert len(hook.got) == 1
    desk.restart()
    await desk.end()
    assert [title.split(":")[0] for title in hook.titles[1:]] == ["[twitterstream] all clear"]
    assert await desk.rows("SELECT count(*), count(closed_at) FROM alerts") == [(1, 1)]


async def test_no_credential_reaches_a_message_a_row_or_the_log(
    connected: Database,
    tmp_path: Path,
    mailbox: Mailbox,
    hook: Hook,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    bad = f"json://me:{PASSWORD}@127.0.0.1:{free_port()}/{TOKEN}"
    odd = f"nosuch://{TOKEN}/{PASSWORD}"
    desk = Desk(
        connected,
        tmp_path,
        channels=[bad, odd, mailbox.url.replace(str(mailbox.controller.port), str(free_port()))],
        fallback=[mailbox.url, hook.url],
        heartbeat_url=f"http://127.0.0.1:{free_port()}/{TOKEN}",
    )
    await desk.hear(refused())
    await desk.end()
    await desk.alerts.heartbeat.beat()
    assert len(mailbox.mails) == len(hook.got) == 2
    everything = "\n".join(
        [
            *(mail.as_string() for mail in mailbox.mails),
            *mailbox.texts,
            *(repr(each) for each in hook.got),
            repr(await desk.rows("SELECT * FROM alerts")),
            caplog.text,
            *(repr(vars(record)) for record in caplog.records),
        ]
    )
    assert "source_refused" in everything
    assert "an alert channel fails" in everything
    assert "the heartbeat does not arrive" in everything
    assert PASSWORD not in everything
    assert TOKEN not in everything


async def test_when_a_channel_fails_the_fallback_says_which(
    connected: Database, tmp_path: Path, mailbox: Mailbox, hook: Hook
) -> None:
    hook.status = 500
    desk = Desk(connected, tmp_path, channels=[hook.url], fallback=[mailbox.url])
    await desk.hear(refused())
    assert hook.calls == 1
    [text] = mailbox.texts
    assert "could not be sent by json://127.0.0.1 (channel 1)." in text
    hook.status = 200
    await desk.end()
    assert len(hook.got) == len(mailbox.mails) == 1  # the fallback has its peace again


async def test_what_nobody_took_is_told_later_and_once(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = Desk(connected, tmp_path, channels=[hook.url])
    hook.status = 503
    await desk.hear(refused())
    await desk.hear(refused())
    assert hook.calls == 1  # not before its time
    assert await desk.rows("SELECT told, missed FROM alerts") == [(0, True)]
    await desk.end()
    hook.status = 200
    desk.restart()
    await desk.hear(reading())
    [body] = [each["message"] for each in hook.got]
    assert "could not be told while it lasted" in body


async def test_a_channel_that_hangs_holds_nobody_up(
    hook: Hook, mailbox: Mailbox, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.alert.channels.PATIENCE", 5)
    hook.hang = True
    channels = Channels(
        AlertSettings(channels=[f"{hook.url}&rto=20&cto=20", mailbox.url], fallback=[])
    )
    assert await channels.send(Message("a", "b"))
    await eventually(lambda: len(mailbox.mails) == 1)
    # While it hangs nothing more is begun there.
    outcomes = await channels.test(Message("c", "d"))
    assert outcomes[0].problem == "a message: the call of before has not come back yet"
    assert outcomes[1].problem is None
    assert hook.calls == 1
    hook.hang = False


async def test_many_at_once_are_one_message(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = Desk(connected, tmp_path, channels=[hook.url])
    one = refused()
    many = tuple(replace(one.sources[0], id=n, name=f"source{n}") for n in range(1, 6))
    await desk.hear(replace(one, sources=many))
    assert hook.titles == ["[twitterstream] 5 messages: 5 new"]


async def test_mutes_and_acknowledgements_by_row_are_honoured_at_once(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = Desk(connected, tmp_path, channels=[hook.url], repeat_every=0.0001)
    await connected.execute(
        "INSERT INTO alert_mutes (rule, subject) VALUES ('source_refused', 'main')"
    )
    await desk.hear(refused())
    assert hook.got == []
    await connected.execute("DELETE FROM alert_mutes")
    await desk.hear(refused())
    assert len(hook.got) == 1
    await connected.execute("UPDATE alerts SET acknowledged_at = now()")
    await desk.hear(*(refused(desk.start + at) for at in (1000, 2000, 3000)))
    assert len(hook.got) == 1
    desk.start += 3000
    await desk.end()
    assert [title.split(":")[0] for title in hook.titles[1:]] == ["[twitterstream] all clear"]


async def test_that_the_database_is_away_is_told_while_it_is(tmp_path: Path, hook: Hook) -> None:
    """A pool on a port where nobody listens; not even the start found the table."""
    async with db.connect(f"postgresql://127.0.0.1:{free_port()}/x") as nowhere:
        desk = Desk(nowhere, tmp_path, channels=[hook.url])
        now = desk.start
        away = DatabaseReading(
            False, "Connection refused", now - 60, None, {}, None, None, None, None, None
        )
        desk.alerts.hear(replace(refused(), database=away))
        with pytest.raises(DatabaseAway):
            await desk.alerts.work()
        assert hook.titles == ["[twitterstream] critical: the database is away (web1)"]
        assert "since" in hook.got[0]["message"]
        with pytest.raises(DatabaseAway):
            await desk.alerts.work()
        assert len(hook.got) == 1


async def test_what_opened_while_the_database_was_away_is_written_when_it_is_back(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = Desk(connected, tmp_path, channels=[hook.url])
    await desk.hear(reading())
    async with db.connect(f"postgresql://127.0.0.1:{free_port()}/x") as nowhere:
        desk.alerts.database = nowhere
        desk.alerts.hear(refused())
        with pytest.raises(DatabaseAway):
            await desk.alerts.work()
    assert len(hook.got) == 1
    desk.alerts.database = connected
    await desk.hear(refused())
    assert await desk.rows("SELECT rule, told FROM alerts") == [("source_refused", 1)]
    assert len(hook.got) == 1


async def test_without_a_channel_the_log_has_it(
    connected: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(connected, tmp_path)
    await desk.hear(refused(), refused())
    told = [record for record in caplog.records if record.name == "monitor.alert.channels"]
    assert len(told) == 1
    assert "credentials are refused (main)" in told[0].getMessage()


# -- digest and heartbeat -------------------------------------------------------------------------


async def test_a_digest_comes_once_a_day_also_of_an_empty_day_and_after_a_restart(
    connected: Database, tmp_path: Path, mailbox: Mailbox
) -> None:
    desk = Desk(connected, tmp_path, channels=[mailbox.url], digest_at="00:00")
    await desk.hear(reading())
    await desk.alerts.digest.look()
    assert mailbox.mails == []  # a new database has no yesterday
    await connected.execute("UPDATE chores SET done_at = now() - interval '3 days'")
    await connected.execute(
        "INSERT INTO alerts (rule, severity, text, remedy, opened_at)"
        " VALUES ('of another version', 'notice', $1, '', now() - interval '2 days')",
        f"Somebody wrote {PASSWORD} here.",
    )
    desk.restart()
    await desk.alerts.digest.look()
    assert mailbox.mails == []  # it does not know yet whether it leads
    await desk.hear(reading())
    await desk.alerts.digest.look()
    await desk.alerts.digest.look()
    [text] = mailbox.texts
    assert "No tweet was stored (before: 0)." in text
    assert "Gaps: none." in text
    assert "still open, notice: Somebody wrote *** here." in text


async def test_only_the_leader_sends_a_digest_and_again_when_nobody_took_it(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = Desk(connected, tmp_path, channels=[hook.url], digest_at="00:00")
    await connected.execute(
        "INSERT INTO chores (name, ran_at, done_at, took)"
        " SELECT 'digest', at, at, 0 FROM (SELECT now() - interval '2 days' AS at) AS t"
    )
    await desk.hear(replace(reading(), leads=False))
    await desk.alerts.digest.look()
    assert hook.calls == 0
    hook.status = 500
    await desk.hear(reading())
    await desk.alerts.digest.look()
    assert hook.calls == 1
    assert await desk.rows("SELECT failed FROM chores") == [("no channel took it",)]
    hook.status = 200
    desk.restart()
    await desk.hear(reading())
    await desk.alerts.digest.look()
    assert len(hook.got) == 1


async def test_the_heartbeat_stops_while_something_critical_is_open(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = Desk(connected, tmp_path, heartbeat_url=f"http://127.0.0.1:{hook.port}/beat")
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 0  # nothing is known yet
    await desk.hear(reading())
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 1
    await desk.hear(refused())
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 1
    desk.restart()  # and it is still open for whoever comes next
    await desk.hear(refused())
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 1
    await desk.end()
    await desk.hear(reading())
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 2


@pytest.mark.parametrize(
    ("changed", "well"),
    [
        ({}, True),
        ({"enabled": False}, True),
        ({"state": "paused"}, False),
        ({"collecting": False, "standing_by": True}, True),
        ({"collecting": False}, False),
    ],
)
async def test_the_heartbeat_needs_somebody_who_collects(
    connected: Database, tmp_path: Path, changed: dict[str, Any], well: bool
) -> None:
    desk = Desk(connected, tmp_path)
    desk.alerts.hear(reading(**changed))
    assert desk.alerts.well is well
    desk.alerts.hear(reading(time.time() - 3600, **changed))
    assert not desk.alerts.well


async def test_a_heartbeat_that_does_not_arrive_is_said_once(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = f"http://127.0.0.1:{hook.port}/{TOKEN}"
    heartbeat = Heartbeat(AlertSettings(heartbeat_url=url), lambda: True)
    hook.status = 500
    for _ in range(3):
        await heartbeat.beat()
    hook.status = 200
    await heartbeat.beat()
    said = [record.getMessage() for record in caplog.records if "heartbeat" in record.name]
    assert said == ["the heartbeat does not arrive", "the heartbeat arrives again"]
    assert TOKEN not in caplog.text


def test_no_address_no_heartbeat() -> None:
    assert Heartbeat(AlertSettings(), lambda: True).chores() == []
