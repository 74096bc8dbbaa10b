"""Alert messages and the digest, without credentials; warnings about key and certificates."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.alert import digest
from monitor.alert.condition import Condition
from monitor.alert.engine import PendingNotification, Transition
from monitor.alert.facts import file_problems
from monitor.alert.messages import LISTED, outgoing_messages
from monitor.alert.text import Redactor, clock, lasting, listed, short, size, usual
from stream.config import AlertSettings, Settings
from stream.store.alerts import Alert
from stream.store.digest import AlertDay, ArchiveDay, DigestData, GapDay, TrackDay, VolumeDay

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
replace = msgspec.structs.replace


# -- words ----------------------------------------------------------------------------------------


IN_WORDS: dict[Callable[[float], str], dict[float, str]] = {
    lasting: {
        -1: "0 s",
        59: "59 s",
        60: "1 min",
        3600: "1 h",
        7500: "2 h 5 min",
        86_400: "1 d",
        90_000: "1 d 1 h",
    },
    size: {999: "999 bytes", 1500: "1.5 kB", 2e9: "2.0 GB", 3e12: "3.0 TB", 4e15: "4000.0 TB"},
    usual: {1234: "1,234 an hour", 1: "1 an hour", 0.5: "12 a day", 0.01: "0.2 a day"},
}


@pytest.mark.parametrize("in_words", IN_WORDS)
def test_durations_sizes_and_rates_in_words(in_words: Callable[[float], str]) -> None:
    expected = IN_WORDS[in_words]
    assert {number: in_words(number) for number in expected} == expected


def test_times_titles_and_lists_in_words() -> None:
    assert clock(NOON - 168 * 60, NOON) == "09:12 UTC"
    assert clock(NOON - 86_400, NOON) == "2026-04-30 12:00 UTC"
    assert short("a\n\x1b[31m b" + "x" * 100) == "a [31m b" + "x" * 51 + "…"
    lists = [listed(list(names)) for names in ("", "a", "ab", "abc")]
    assert lists == ["", "a", "a and b", "a, b and c"]


# -- messages -------------------------------------------------------------------------------------


def notification(transition: Transition = "opened", **changed: object) -> PendingNotification:
    alert = Alert(
        id=12,
        rule="source_silent",
        subject="main",
        host="",
        severity="critical",
        text="Source main has brought nothing since 09:12 UTC; it is waiting.",
        remedy="Look whether this machine reaches the network.",
        opened_at=NOON - 168 * 60,
    )
    for name, value in changed.items():
        setattr(alert, name, value)
    return PendingNotification(transition, alert, NOON, alert.severity)


def test_a_message_has_the_text_since_when_and_the_remedy() -> None:
    [outgoing] = outgoing_messages([notification()], NOON)
    assert outgoing.message.title == "[twitterstream] critical: source silent (main)"
    assert outgoing.message.body == (
        "Source main has brought nothing since 09:12 UTC; it is waiting. Since 09:12 UTC.\n\n"
        "What to do: Look whether this machine reaches the network.\n\n"
        "Rule source_silent. To stop reminders: `twitterstream.py alert ack 12`."
    )
    assert outgoing.message.kind == "failure"


def test_the_message_of_a_closed_alert_has_its_duration() -> None:
    [outgoing] = outgoing_messages([notification("closed", closed_at=NOON)], NOON)
    assert outgoing.message.title == "[twitterstream] resolved: source silent (main)"
    assert outgoing.message.body.startswith(
        "Resolved after 2 h 48 min, from 09:12 UTC to 12:00 UTC."
    )
    assert outgoing.message.kind == "success"


def test_the_titles_of_reminders_and_higher_severities() -> None:
    [still, worse] = outgoing_messages([notification("still"), notification("worse")], NOON)
    assert still.message.title.startswith("[twitterstream] still critical:")
    assert "Open for 2 h 48 min, since 09:12 UTC." in still.message.body
    assert worse.message.title.startswith("[twitterstream] now critical:")


def test_an_alert_that_ended_undelivered_is_explained() -> None:
    [outgoing] = outgoing_messages([notification("passed", closed_at=NOON)], NOON)
    assert "could not be sent while it lasted: 2 h 48 min" in outgoing.message.body


def test_more_than_three_are_one_message() -> None:
    assert len(outgoing_messages([notification()] * 3, NOON)) == 3
    [outgoing] = outgoing_messages(
        [notification()] * 3 + [notification("closed", closed_at=NOON)], NOON
    )
    assert outgoing.message.title == "[twitterstream] 4 messages: 3 new, 1 resolved"
    assert len(outgoing.notifications) == 4
    assert outgoing.message.body.count("What to do") == 3
    assert outgoing.message.kind == "failure"
    over = [notification("closed", closed_at=NOON)] * 4
    assert outgoing_messages(over, NOON)[0].message.kind == "success"


def test_a_message_about_very_many_stays_readable() -> None:
    [outgoing] = outgoing_messages([notification()] * 1000, NOON)
    assert len(outgoing.notifications) == 1000
    assert outgoing.message.body.count("- new") == LISTED
    assert f"and {1000 - LISTED} more" in outgoing.message.body


# -- credentials ----------------------------------------------------------------------------------

CHANNELS = [
    "mailto://me:hunter2hunter2@mail.example.org?to=you@example.org&from=me@example.org",
    "tgram://123456789:AAbbCCddEEffGG/987654321",
    "slack://T1JJ3T3L2A/A1BRTD4JD6/TIiajkdnlazkcOXrIdevi7FQ/#alerts",
    "jsons://web:pa%24%24w0rd@hook.example.org/secret-path-of-it?+X-Token=0123456789abcdef",
]
SETTINGS = Settings(
    database="postgresql://ts:database-pass@db.example.org/ts?sslpassword=keypass77",
    alerts=AlertSettings(
        channels=CHANNELS[:2],
        fallback=CHANNELS[2:],
        heartbeat_url="https://ping.example.org/3f2a8c1e-uuid-of-mine",
    ),
)


@pytest.mark.parametrize(
    "secret",
    [
        "hunter2hunter2",
        "123456789:AAbbCCddEEffGG",
        "AAbbCCddEEffGG",
        "TIiajkdnlazkcOXrIdevi7FQ",
        "pa%24%24w0rd",
        "pa$$w0rd",
        "secret-path-of-it",
        "0123456789abcdef",
        "3f2a8c1e-uuid-of-mine",
        "database-pass",
        "keypass77",
        *CHANNELS,
    ],
)
def test_no_secret_of_the_settings_is_in_a_message(secret: str) -> None:
    safe = Redactor(SETTINGS)
    safe_text = safe(f"It said: {secret}, and no more.")
    assert secret not in safe_text
    assert safe_text.startswith("It said: ")
    condition = Condition("key_file", secret, "notice", f"a {secret}.", f"b {secret}.", 1)
    clean = safe.condition(condition)
    assert secret not in f"{clean.subject} {clean.text} {clean.remedy}"


def test_text_like_a_credential_is_hidden_also_when_it_is_no_setting() -> None:
    assert "abc123" not in Redactor(Settings())("password=abc123")


def test_plain_words_and_hosts_stay_readable() -> None:
    text = "The host mail.example.org and the channel #alerts of postgres do not answer."
    assert Redactor(SETTINGS)(text) == text


# -- the digest -----------------------------------------------------------------------------------

EMPTY = DigestData(
    day=date(2026, 4, 30),
    tweets=0,
    before=0,
    rejects=(),
    tracks=(),
    gaps=(),
    alerts=(),
    volumes=(),
    archives=ArchiveDay(0, None, 0),
)


def body(**changed: object) -> str:
    return digest.compose(replace(EMPTY, **changed), has_archive=True).body


def test_an_empty_day_has_a_digest() -> None:
    message = digest.compose(EMPTY, has_archive=False)
    assert message.title == "[twitterstream] 2026-04-30: 0 tweets (before: 0)"
    assert message.body == (
        "Thursday, 30 April 2026 (UTC), compared with the day before.\n\n"
        "No tweet was stored (before: 0).\n\n"
        "Gaps: none.\nRejected: none.\nAlerts: 0 opened, 0 closed.\n\n"
        "Archive: none (archive.url is not set)."
    )


def test_a_digest_compares_tracks_with_the_day_before() -> None:
    tracks = [TrackDay(n, f"value {n}", 1000 - n, 500, is_new=n == 3) for n in range(1, 31)]
    tracks += [TrackDay(99, "gone quiet", 0, 55, is_new=False), TrackDay(None, None, 4, 0, None)]
    text = body(tweets=1500, before=1000, tracks=tuple(tracks))
    assert "Stored: 1,500 tweets (before: 1,000, +50 %)." in text
    assert "  1 (value 1): 999 (before: 500, +100 %)" in text
    assert text.count("(value") == 21  # twenty, and the new one
    assert "  11 others: 9,749 (before: 5,000, +95 %)" in text
    assert "New: 3 (value 3)." in text
    assert "Silent, but not the day before: 99 (gone quiet)." in text


def test_a_digest_lists_gaps_rejects_alerts_disks_and_archives() -> None:
    text = body(
        gaps=(GapDay("main", 3, 720.0, "network, silence"),),
        rejects=(("not_json", 5), ("too_large", 1)),
        alerts=(
            AlertDay("warning", "Little disk.", opened=True, closed=False, is_open=True),
            AlertDay("critical", "Over.", opened=False, closed=True, is_open=False),
        ),
        volumes=(VolumeDay("web1", "data", 4e10, 12.4), VolumeDay("web1", "archive", 1e9, None)),
        archives=ArchiveDay(14, "2026-04-29", 2),
    )
    assert "Gaps of main: 3, together 12 min (network, silence)." in text
    assert "Rejected: 5 not_json, 1 too_large." in text
    assert "Alerts: 1 opened, 1 closed.\n  still open, warning: Little disk." in text
    assert "Disk of data on web1: 40.0 GB free, full in 12 days." in text
    assert "Disk of archive on web1: 1.0 GB free, not growing." in text
    assert "Archive: 14 days, the newest 2026-04-29; 2 with problems." in text


@pytest.mark.parametrize(
    ("now", "done", "due"),
    [
        ("2026-05-01 06:59", "2026-04-30 07:00", False),
        ("2026-05-01 07:00", "2026-04-30 07:00", True),
        ("2026-05-01 07:01", "2026-05-01 07:00", False),
        ("2026-05-01 06:00", "2026-04-29 07:00", True),  # it was missed
        ("2026-05-01 23:00", "2026-04-30 23:00", True),
    ],
)
def test_a_digest_is_due_once_a_day_also_when_it_was_missed(now: str, done: str, due: bool) -> None:
    at, before = (datetime.fromisoformat(f"{each}+00:00") for each in (now, done))
    assert digest.due(at, "07:00", before) is due


# -- key and certificates -------------------------------------------------------------------------


def certificate(path: Path, days: float) -> Path:
    """One that is valid for so many days from NOW."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def problems(settings: Settings, *, has_credentials: bool = True) -> list[str]:
    found = file_problems(settings, has_credentials=has_credentials, now=NOW)
    return list(found.problems.values())


def test_a_key_is_needed_only_for_credentials(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    assert problems(settings, has_credentials=False) == []
    key = tmp_path / "secret.key"
    assert problems(settings) == [f"The key of the credentials, {key}, is missing."]
    assert str(key) in file_problems(settings, has_credentials=True, now=NOW).critical
    key.write_text("x")
    key.chmod(0o600)
    assert problems(settings) == []
    (tmp_path / "file").write_text("")
    inside = Settings(data_dir=str(tmp_path / "file"))
    assert problems(inside)[0].endswith("cannot be read: Not a directory.")
    key.chmod(0o640)
    assert problems(settings) == [f"The key of the credentials, {key}, is readable by other users."]


@pytest.mark.parametrize(
    ("name", "days", "words"),
    [
        ("sslcert", 14.1, None),
        ("sslcert", 13.9, "expires on 2026-05-15."),
        ("sslrootcert", -1, "expired on 2026-04-30."),
    ],
)
def test_certificates_that_end_soon(
    tmp_path: Path, name: str, days: float, words: str | None
) -> None:
    path = certificate(tmp_path / "c.pem", days)
    database = f"postgresql://me:hunter2hunter2@db/x?{name}={path}"
    found = problems(Settings(data_dir=str(tmp_path), database=database), has_credentials=False)
    if words is None:
        assert found == []
    else:
        assert found == [f"The file {path}, which `database` names as {name}, {words}"]


def test_certificates_that_are_missing_or_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("x")
    (tmp_path / "key.pem").chmod(0o644)
    (tmp_path / "junk.pem").write_text("x")
    database = (
        f"postgresql://db/x?sslrootcert={tmp_path}/none.pem&sslcert={tmp_path}/junk.pem"
        f"&sslkey={tmp_path}/key.pem"
    )
    found = problems(Settings(data_dir=str(tmp_path), database=database), has_credentials=False)
    assert [sentence.rpartition(", ")[2] for sentence in found] == [
        "cannot be read: No such file or directory.",
        "contains no certificate.",
        "is readable by other users.",
    ]
    system = Settings(data_dir=str(tmp_path), database="postgresql://db/x?sslrootcert=system")
    assert problems(system, has_credentials=False) == []
