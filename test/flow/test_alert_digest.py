"""The daily digest and the heartbeat: when they are sent, and when not."""

import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alerting import PASSWORD, TOKEN, AlertDesk, Hook, Mailbox, refused, snapshot
from monitor.alert.notifier import Heartbeat
from stream.config import AlertSettings
from stream.db import Database

# apprise imports it for Python before 3.13.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

replace = msgspec.structs.replace
Eventually = Callable[..., Awaitable[None]]


async def test_one_digest_is_sent_a_day_even_when_nothing_happened(
    connected: Database, tmp_path: Path, mailbox: Mailbox
) -> None:
    desk = AlertDesk(connected, tmp_path, channels=[mailbox.url], digest_at="00:00")
    await desk.on_snapshot(snapshot())
    await desk.alerts.digest.send_if_due()
    assert mailbox.mails == []  # a new database has no yesterday
    await connected.execute("UPDATE jobs SET done_at = now() - interval '3 days'")
    await connected.execute(
        "INSERT INTO alerts (rule, severity, text, remedy, opened_at)"
        " VALUES ('of another version', 'notice', $1, '', now() - interval '2 days')",
        f"Somebody wrote {PASSWORD} here.",
    )
    desk.restart()
    await desk.alerts.digest.send_if_due()
    assert mailbox.mails == []  # it does not know yet whether it leads
    await desk.on_snapshot(snapshot())
    await desk.alerts.digest.send_if_due()
    await desk.alerts.digest.send_if_due()
    [text] = mailbox.texts
    assert "No tweet was stored (before: 0)." in text
    assert "Gaps: none." in text
    assert "still open, notice: Somebody wrote *** here." in text


async def test_only_the_leader_sends_a_digest_and_repeats_a_failed_one(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = AlertDesk(connected, tmp_path, channels=[hook.url], digest_at="00:00")
    await connected.execute(
        "INSERT INTO jobs (name, ran_at, done_at, took)"
        " SELECT 'digest', at, at, 0 FROM (SELECT now() - interval '2 days' AS at) AS t"
    )
    await desk.on_snapshot(replace(snapshot(), leads=False))
    await desk.alerts.digest.send_if_due()
    assert hook.calls == 0
    hook.status = 500
    await desk.on_snapshot(snapshot())
    await desk.alerts.digest.send_if_due()
    assert hook.calls == 1
    assert await desk.rows("SELECT failed FROM jobs") == [("no channel worked",)]
    hook.status = 200
    desk.restart()
    await desk.on_snapshot(snapshot())
    await desk.alerts.digest.send_if_due()
    assert len(hook.got) == 1


async def test_the_heartbeat_stops_while_a_critical_alert_is_open(
    connected: Database, tmp_path: Path, hook: Hook
) -> None:
    desk = AlertDesk(connected, tmp_path, heartbeat_url=f"http://127.0.0.1:{hook.port}/beat")
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 0  # nothing is known yet
    await desk.on_snapshot(snapshot())
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 1
    await desk.on_snapshot(refused())
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 1
    desk.restart()  # and it is still open
    await desk.on_snapshot(refused())
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 1
    await desk.end()
    await desk.on_snapshot(snapshot())
    await desk.alerts.heartbeat.beat()
    assert hook.calls == 2


@pytest.mark.parametrize(
    ("changed", "is_well"),
    [
        ({}, True),
        ({"enabled": False}, True),
        ({"state": "paused"}, False),
        ({"collecting": False, "standing_by": True}, True),
        ({"collecting": False}, False),
    ],
)
async def test_the_heartbeat_needs_a_running_collector(
    connected: Database, tmp_path: Path, changed: dict[str, Any], is_well: bool
) -> None:
    desk = AlertDesk(connected, tmp_path)
    desk.alerts.on_snapshot(snapshot(**changed))
    assert desk.alerts.is_well is is_well
    desk.alerts.on_snapshot(snapshot(time.time() - 3600, **changed))
    assert not desk.alerts.is_well


async def test_a_failed_heartbeat_is_logged_once(
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
    ours = [record for record in caplog.records if record.name == "monitor.alert.notifier"]
    said = [record.getMessage() for record in ours]
    assert said == ["heartbeat failed", "heartbeat works again"]
    assert TOKEN not in caplog.text


def test_without_an_address_there_is_no_heartbeat() -> None:
    assert Heartbeat(AlertSettings(), lambda: True).jobs() == []
