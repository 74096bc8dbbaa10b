"""Alerts reach people: what is sent when, to which channel, and what happens when one fails."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from alerting import PASSWORD, TOKEN, AlertDesk, Hook, Mailbox, refused, snapshot
from monitor.alert.messages import Message
from monitor.alert.notifier import Channels
from servers import closed_port
from stream import db
from stream.config import AlertSettings
from stream.db import Database
from stream.errors import DatabaseAway

# apprise imports it for Python before 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

replace = msgspec.structs.replace
Eventually = Callable[..., Awaitable[None]]


async def test_an_alert_sends_one_message_when_it_opens_and_one_when_it_closes(
    connected: Database, tmp_path: Path, mailbox: Mailbox, hook: Hook
) -> None:
    desk = AlertDesk(connected, tmp_path, channels=[mailbox.url, hook.url])
    await desk.on_snapshot(*(refused(desk.start + at) for at in range(0, 600, 10)))
    assert mailbox.subjects == ["[twitterstream] critical: credentials refused (main)"]
    assert hook.titles == mailbox.subjects
    desk.start += 600
    await desk.end()
    assert [subject.split(":")[0] for subject in mailbox.subjects] == [
        "[twitterstream] critical",
        "[twitterstream] resolved",
    ]
    assert hook.titles == mailbox.subjects
    assert "Source main has failed since" in mailbox.texts[0]
    assert "What to do: Create new credentials" in mailbox.texts[0]
    assert "Resolved after" in mailbox.texts[1]
    [(rule, closed, notified, clear)] = await desk.rows(
        "SELECT rule, closed_at IS NOT NULL, notified_count, all_clear_at IS NOT NULL FROM alerts"
    )
    assert (rule, closed, notified, clear) == ("source_refused", True, 2, True)


async def test_a_restart_repeats_no_message(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = AlertDesk(connected, tmp_path, channels=[hook.url])
    await desk.on_snapshot(refused())
    desk.restart()
    await desk.on_snapshot(refused(), refused())
    assert len(hook.got) == 1
    desk.restart()
    await desk.end()
    assert [title.split(":")[0] for title in hook.titles[1:]] == ["[twitterstream] resolved"]
    assert await desk.rows("SELECT count(*), count(closed_at) FROM alerts") == [(1, 1)]


async def test_no_credential_reaches_a_message_a_row_or_the_log(
    connected: Database,
    tmp_path: Path,
    mailbox: Mailbox,
    hook: Hook,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    bad = f"json://me:{PASSWORD}@127.0.0.1:{closed_port()}/{TOKEN}"
    odd = f"nosuch://{TOKEN}/{PASSWORD}"
    desk = AlertDesk(
        connected,
        tmp_path,
        channels=[bad, odd, mailbox.url.replace(str(mailbox.controller.port), str(closed_port()))],
        fallback=[mailbox.url, hook.url],
        heartbeat_url=f"http://127.0.0.1:{closed_port()}/{TOKEN}",
    )
    await desk.on_snapshot(refused())
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
    assert "alert channel failed" in everything
    assert "heartbeat failed" in everything
    assert PASSWORD not in everything
    assert TOKEN not in everything


async def test_when_a_channel_fails_the_fallback_says_which(
    connected: Database, tmp_path: Path, mailbox: Mailbox, hook: Hook
) -> None:
    hook.status = 500
    desk = AlertDesk(connected, tmp_path, channels=[hook.url], fallback=[mailbox.url])
    await desk.on_snapshot(refused())
    assert hook.calls == 1
    [text] = mailbox.texts
    assert "these channels failed: json://127.0.0.1 (channel 1)." in text
    hook.status = 200
    await desk.end()
    assert len(hook.got) == len(mailbox.mails) == 1  # the fallback has its peace again


async def test_an_undelivered_alert_is_sent_later_and_once(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = AlertDesk(connected, tmp_path, channels=[hook.url])
    hook.status = 503
    await desk.on_snapshot(refused())
    await desk.on_snapshot(refused())
    assert hook.calls == 1  # not before its time
    assert await desk.rows("SELECT notified_count, undelivered FROM alerts") == [(0, True)]
    await desk.end()
    hook.status = 200
    desk.restart()
    await desk.on_snapshot(snapshot())
    [body] = [each["message"] for each in hook.got]
    assert "could not be sent while it lasted" in body


async def test_a_channel_that_hangs_does_not_delay_the_others(
    hook: Hook, mailbox: Mailbox, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.alert.notifier.CHANNEL_TIMEOUT", 5)
    hook.hang = True
    channels = Channels(
        AlertSettings(channels=[f"{hook.url}&rto=20&cto=20", mailbox.url], fallback=[])
    )
    assert await channels.send(Message("a", "b"))
    await eventually(lambda: len(mailbox.mails) == 1)
    # While it hangs nothing more is begun there.
    outcomes = await channels.test(Message("c", "d"))
    assert outcomes[0].problem == "message: the previous call has not returned yet"
    assert outcomes[1].problem is None
    assert hook.calls == 1
    hook.hang = False


async def test_alerts_that_open_together_are_one_message(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = AlertDesk(connected, tmp_path, channels=[hook.url])
    one = refused()
    many = tuple(replace(one.sources[0], id=n, name=f"source{n}") for n in range(1, 6))
    await desk.on_snapshot(replace(one, sources=many))
    assert hook.titles == ["[twitterstream] 5 messages: 5 new"]


async def test_mutes_and_acknowledgements_by_row_are_honoured_at_once(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = AlertDesk(connected, tmp_path, channels=[hook.url], repeat_interval=0.0001)
    await connected.execute(
        "INSERT INTO alert_mutes (rule, subject) VALUES ('source_refused', 'main')"
    )
    await desk.on_snapshot(refused())
    assert hook.got == []
    await connected.execute("DELETE FROM alert_mutes")
    await desk.on_snapshot(refused())
    assert len(hook.got) == 1
    await connected.execute("UPDATE alerts SET acknowledged_at = now()")
    await desk.on_snapshot(*(refused(desk.start + at) for at in (1000, 2000, 3000)))
    assert len(hook.got) == 1
    desk.start += 3000
    await desk.end()
    assert [title.split(":")[0] for title in hook.titles[1:]] == ["[twitterstream] resolved"]


async def test_an_outage_of_the_database_is_sent_while_it_lasts(tmp_path: Path, hook: Hook) -> None:
    """A pool on a port where nothing listens; not even the start found the table."""
    async with db.connect(f"postgresql://127.0.0.1:{closed_port()}/x") as nowhere:
        desk = AlertDesk(nowhere, tmp_path, channels=[hook.url])
        now = refused()
        away = replace(now.database, up=False, error="Connection refused", since=desk.start - 60)
        desk.alerts.on_snapshot(replace(now, database=away))
        with pytest.raises(DatabaseAway):
            await desk.alerts.store_and_notify()
        assert hook.titles == ["[twitterstream] critical: Postgres does not answer (web1)"]
        assert "since" in hook.got[0]["message"]
        with pytest.raises(DatabaseAway):
            await desk.alerts.store_and_notify()
        assert len(hook.got) == 1


async def test_an_alert_opened_during_an_outage_is_stored_afterwards(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = AlertDesk(connected, tmp_path, channels=[hook.url])
    await desk.on_snapshot(snapshot())
    async with db.connect(f"postgresql://127.0.0.1:{closed_port()}/x") as nowhere:
        desk.alerts.database = nowhere
        desk.alerts.on_snapshot(refused())
        with pytest.raises(DatabaseAway):
            await desk.alerts.store_and_notify()
    assert len(hook.got) == 1
    desk.alerts.database = connected
    await desk.on_snapshot(refused())
    assert await desk.rows("SELECT rule, notified_count FROM alerts") == [("source_refused", 1)]
    assert len(hook.got) == 1


async def test_without_a_channel_the_alert_is_logged(
    connected: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = AlertDesk(connected, tmp_path)
    await desk.on_snapshot(refused(), refused())
    warnings = [record for record in caplog.records if record.name == "monitor.alert.notifier"]
    assert len(warnings) == 1
    assert "credentials refused (main)" in warnings[0].getMessage()
