"""What people get to read: messages, the digest, and never a credential."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.alert import digest, files
from monitor.alert.condition import Condition
from monitor.alert.engine import Alert, News, Notice
from monitor.alert.messages import LISTED, parcels
from monitor.alert.safety import Safe
from monitor.alert.words import clock, lasting, listed, short, size, usual
from monitor.alert.yesterday import (
    AlertDay,
    Archives,
    GapDay,
    TrackDay,
    VolumeDay,
    Yesterday,
)
from stream.config import AlertSettings, Settings

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
replace = msgspec.structs.replace


# -- words ----------------------------------------------------------------------------------------


def test_a_moment_has_its_date_only_on_another_day() -> None:
    assert clock(NOON - 168 * 60, NOON) == "09:12 UTC"
    assert clock(NOON - 86_400, NOON) == "2026-04-30 12:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


def test_sizes_rates_names_and_lists() -> None:
    assert [size(n) for n in (999, 1500, 2e9, 3e12, 4e15)] == [
        "999 bytes",
        "1.5 kB",
        "2.0 GB",
        "3.0 TB",
        "4000.0 TB",
    ]
    assert [usual(n) for n in (1234, 1, 0.5, 0.01)] == [
        "1,234 an hour",
        "1 an hour",
        "12 a day",
        "0.2 a day",
    ]
    assert short("a\n\x1b[31m b" + "x" * 100) == "a [31m b" + "x" * 51 + "…"
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


# -- messages -------------------------------------------------------------------------------------


def notice(news: News = "opened", **changed: object) -> Notice:
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
    return Notice(news, alert, NOON, alert.severity)


def test_a_message_says_what_is_wrong_since_when_and_what_to_do() -> None:
    [parcel] = parcels([notice()], NOON)
    assert parcel.message.title == "[twitterstream] critical: a source is silent (main)"
    assert parcel.message.body == (
        "Source main has brought nothing since 09:12 UTC; it is waiting. Since 09:12 UTC.\n\n"
        "What to do: Look whether this machine reaches the network.\n\n"
        "Rule source_silent. Not to be reminded: `twitterstream.py alert ack 12`."
    )
    assert parcel.message.kind == "failure"


def test_an_all_clear_says_how_long_it_lasted() -> None:
    [parcel] = parcels([notice("closed", closed_at=NOON)], NOON)
    assert parcel.message.title == "[twitterstream] all clear: a source is silent (main)"
    assert parcel.message.body.startswith("Over after 2 h 48 min, from 09:12 UTC to 12:00 UTC.")
    assert parcel.message.kind == "success"


def test_a_reminder_and_a_turn_for_the_worse_say_so() -> None:
    [still, worse] = parcels([notice("still"), notice("worse")], NOON)
    assert still.message.title.startswith("[twitterstream] still critical:")
    assert "For 2 h 48 min, since 09:12 UTC." in still.message.body
    assert worse.message.title.startswith("[twitterstream] now critical:")


def test_what_could_not_be_told_in_time_says_so() -> None:
    [parcel] = parcels([notice("passed", closed_at=NOON)], NOON)
    assert "could not be told while it lasted: 2 h 48 min" in parcel.message.body


def test_more_than_three_are_one_message() -> None:
    assert len(parcels([notice()] * 3, NOON)) == 3
    [parcel] = parcels([notice()] * 3 + [notice("closed", closed_at=NOON)], NOON)
    assert parcel.message.title == "[twitterstream] 4 messages: 3 new, 1 over"
    assert len(parcel.notices) == 4
    assert parcel.message.body.count("What to do") == 3
    assert parcel.message.kind == "failure"
    over = [notice("closed", closed_at=NOON)] * 4
    assert parcels(over, NOON)[0].message.kind == "success"


def test_a_message_about_very_many_stays_readable() -> None:
    [parcel] = parcels([notice()] * 1000, NOON)
    assert len(parcel.notices) == 1000
    assert parcel.message.body.count("- new") == LISTED
    assert f"and {1000 - LISTED} more" in parcel.message.body


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
def test_no_secret_of_the_settings_is_told(secret: str) -> None:
    safe = Safe(SETTINGS)
    told = safe(f"It said: {secret}, and no more.")
    assert secret not in told
    assert told.startswith("It said: ")
    condition = Condition("key_file", secret, "notice", f"a {secret}.", f"b {secret}.", 1)
    clean = safe.condition(condition)
    assert secret not in f"{clean.subject} {clean.text} {clean.remedy}"


def test_what_looks_like_a_credential_is_hidden_wherever_it_came_from() -> None:
    assert "abc123" not in Safe(Settings())("password=abc123")


def test_plain_words_and_hosts_stay_readable() -> None:
    text = "The host mail.example.org and the channel #alerts of postgres do not answer."
    assert Safe(SETTINGS)(text) == text


# -- the digest -----------------------------------------------------------------------------------

EMPTY = Yesterday(
    day=date(2026, 4, 30),
    tweets=0,
    before=0,
    rejects=(),
    tracks=(),
    gaps=(),
    alerts=(),
    volumes=(),
    archives=Archives(0, None, 0),
)


def body(**changed: object) -> str:
    return digest.compose(replace(EMPTY, **changed), has_archive=True).body


def test_an_empty_day_has_a_digest() -> None:
    message = digest.compose(EMPTY, has_archive=False)
    assert message.title == "[twitterstream] 2026-04-30: 0 tweets (before: 0)"
    assert message.body == (
        "Thursday, 30 April 2026 (UTC), against the day before.\n\n"
        "No tweet was stored (before: 0).\n\n"
        "Gaps: none.\nRejects: none.\nAlerts: 0 opened, 0 closed.\n\n"
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
    assert "Silent, with tweets the day before: 99 (gone quiet)." in text


def test_a_digest_tells_of_gaps_rejects_alerts_disks_and_archives() -> None:
    text = body(
        gaps=(GapDay("main", 3, 720.0, "network, silence"),),
        rejects=(("not_json", 5), ("too_large", 1)),
        alerts=(
            AlertDay("warning", "Little disk.", opened=True, closed=False, is_open=True),
            AlertDay("critical", "Over.", opened=False, closed=True, is_open=False),
        ),
        volumes=(VolumeDay("web1", "data", 4e10, 12.4), VolumeDay("web1", "archive", 1e9, None)),
        archives=Archives(14, "2026-04-29", 2),
    )
    assert "Gaps: main 3 times, 12 min together (network, silence)." in text
    assert "Rejects: 5 not_json, 1 too_large." in text
    assert "Alerts: 1 opened, 1 closed.\n  still open, warning: Little disk." in text
    assert "Disk of data on web1: 40.0 GB free, full in 12 days." in text
    assert "Disk of archive on web1: 1.0 GB free, it does not fill." in text
    assert "Archive: 14 days, the newest 2026-04-29; 2 not in order." in text


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


def problems(settings: Settings, *, has_secrets: bool = True) -> list[str]:
    found = files.look(settings, has_secrets=has_secrets, now=NOW)
    return list(found.problems.values())


def test_a_key_is_needed_only_for_credentials(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    assert problems(settings, has_secrets=False) == []
    key = tmp_path / "secret.key"
    assert problems(settings) == [f"The key to the credentials, {key}, is missing."]
    assert str(key) in files.look(settings, has_secrets=True, now=NOW).critical
    key.write_text("x")
    key.chmod(0o600)
    assert problems(settings) == []
    (tmp_path / "file").write_text("")
    inside = Settings(data_dir=str(tmp_path / "file"))
    assert problems(inside)[0].endswith("cannot be read: Not a directory.")
    key.chmod(0o640)
    assert problems(settings) == [f"The key to the credentials, {key}, is open to other users."]


@pytest.mark.parametrize(
    ("name", "days", "words"),
    [
        ("sslcert", 14.1, None),
        ("sslcert", 13.9, "is valid only until 2026-05-15."),
        ("sslrootcert", -1, "has been out of date since 2026-04-30."),
    ],
)
def test_certificates_that_end_soon(
    tmp_path: Path, name: str, days: float, words: str | None
) -> None:
    path = certificate(tmp_path / "c.pem", days)
    database = f"postgresql://me:hunter2hunter2@db/x?{name}={path}"
    found = problems(Settings(data_dir=str(tmp_path), database=database), has_secrets=False)
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
    found = problems(Settings(data_dir=str(tmp_path), database=database), has_secrets=False)
    assert [sentence.rpartition(", ")[2] for sentence in found] == [
        "cannot be read: No such file or directory.",
        "holds no certificate.",
        "is open to other users.",
    ]
    system = Settings(data_dir=str(tmp_path), database="postgresql://db/x?sslrootcert=system")
    assert problems(system, has_secrets=False) == []
