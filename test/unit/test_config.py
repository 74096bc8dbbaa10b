"""Settings: from the file and the environment, and what is said when one is wrong."""

import re
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection

from stream.config import Settings, exposure, load
from stream.config.fields import LEAVES, SECTIONS
from stream.config.loading import RENAMED
from stream.errors import ConfigError

SAMPLE = Path(__file__).resolve().parents[2] / "config.yaml.sample"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def in_yaml(key: str, written: str) -> str:
    *sections, name = key.split(".")
    if not sections:
        return f"\n{name}: {written}"
    lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
    return "\n".join([*lines, f"{'  ' * len(sections)}{name}: {written}"])


def uncommented() -> str:
    """The sample with every setting in force, its sentences still comments."""
    return re.sub(r"^( *)#(?! )", r"\1", SAMPLE.read_text(), flags=re.MULTILINE)


def test_without_a_file_all_settings_have_their_defaults() -> None:
    assert load(None, {}) == Settings()


@pytest.mark.parametrize(
    "text",
    [
        SAMPLE.read_text(),
        "# nothing yet\n",
        "database:\njournal:\nflush_interval: # seconds\n",
    ],
)
def test_a_setting_without_a_value_has_its_default(file: Path, text: str) -> None:
    file.write_text(text)
    assert load(file, {}) == Settings()


def test_the_sample_names_every_setting_with_its_default_and_no_other(file: Path) -> None:
    file.write_text(uncommented())
    assert load(file, {}) == Settings()
    named = re.findall(r"^( *)(\w+):", uncommented(), flags=re.MULTILINE)
    above: list[str] = []
    keys = []
    for indent, name in named:
        above = [*above[: len(indent) // 2], name]
        keys.append(".".join(above))
    assert [key for key in keys if key not in SECTIONS] == list(LEAVES)


def test_every_setting_of_the_sample_is_explained() -> None:
    """Each paragraph with settings begins with a sentence."""
    for paragraph in SAMPLE.read_text().split("\n\n"):
        lines = [line for line in paragraph.splitlines() if not re.match(r"#\w+:$", line)]
        if lines and any(re.match(r" *#\w+:", line) for line in lines):
            assert re.match(r" *# ", lines[0]), paragraph


def test_environment_variables_override_the_file(file: Path) -> None:
    file.write_text("data_dir: /a\nflush_interval: 5\njournal:\n  keep_hours: 3\n")
    environ = {
        "TWITTERSTREAM_DATA_DIR": "/b",
        "TWITTERSTREAM_JOURNAL__MAX_BYTES": "20 GB",
        "TWITTERSTREAM_KEEP_UNMATCHED": "false",
        "TWITTERSTREAM_LOGFILE": "7",
        "HOME": "/root",
    }
    settings = load(file, environ)
    assert (settings.data_dir, settings.flush_interval) == ("/b", 5)
    assert (settings.journal.keep_hours, settings.journal.max_bytes) == (3, 20 * 10**9)
    assert settings.keep_unmatched is False
    assert settings.logfile == "7"


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_setting_under_its_old_name_is_refused_with_the_new_one(
    file: Path, old: str, new: str
) -> None:
    assert old not in LEAVES
    assert new in LEAVES
    file.write_text(in_yaml(old, "1"))
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    assert str(raised.value) == f"{file}, line 2: {old} is now {new}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("loglevel: info\nflush_intervl: 1",
         "line 2: there is no setting flush_intervl; did you mean flush_interval?"),
        ("journal:\n  max_byte: 1",
         "line 2: there is no setting journal.max_byte; did you mean journal.max_bytes?"),
        ("max_bytes: 1", "line 1: there is no setting max_bytes; did you mean journal.max_bytes?"),
        ("jurnal:\n  keep_hours: 1", "line 1: there is no setting jurnal; did you mean journal?"),
        ("zebra: 1", "line 1: there is no setting zebra"),
        ("a.b: 1", "line 1: there is no setting a.b"),
        ("1: 1", "line 1: there is no setting 1"),
        ("? [a, b]\n: 1", "line 1: there is no setting ?"),
        ("flush_interval: soon",
         "flush_interval takes a number above 0 and at most 31536000 (seconds)"),
        ("flush_interval: soon", ", or one with its unit, such as 30 s, not 'soon'"),
        ("flush_interval: 0", "not 0"),
        ("flush_interval: -1 s", "not '-1 s'"),
        ("flush_interval: .inf", "not '.inf'"),
        ("flush_interval: .nan", "not '.nan'"),
        ("flush_interval: 3 GB", "not '3 GB'"),
        ("flush_interval: 2020-13-45", "not '2020-13-45'"),
        ("flush_interval: [1]", "not a list"),
        ("web: {trusted_proxies: [10.0.0.1, nginx]}", "such as [10.0.0.0/8], not 'nginx'"),
        ("web: {trusted_proxies: nginx}", "not 'nginx'"),
        ("web: {trusted_proxies: [1.2.3.4/99]}", "such as 10.0.0.0/8, not '1.2.3.4/99'"),
        ("web: {trusted_proxies: ['::1', 1.2.3]}", "such as 10.0.0.0/8, not '1.2.3'"),
        ("web: {trusted_proxies: ['fd00::/129']}", "not 'fd00::/129'"),
        ("web: {trusted_proxies: [[1]]}", "not a list"),
        ("bluesky: {hosts: [jetstream.example]}", "such as [wss://jetstream.us-east.bsky.network]"),
        ("bluesky: {hosts: ['ftp://host']}", "not 'ftp://host'"),
        ("bluesky: {old_hosts: ['wss://host/subscribe?x=1']}", "not 'wss://host/subscribe?x=1'"),
        ("bluesky: {hosts: [], old_hosts: []}", "hosts and old_hosts are both empty"),
        ("flush_interval: {a: 1}", "not a section"),
        ("x_v2:\n  max_rules: 1.5",
         "line 2: x_v2.max_rules takes a whole number of at least 1, not 1.5"),
        ("x_v2:\n\n  max_rules: true",
         "line 3: x_v2.max_rules takes a whole number of at least 1, not 'true'"),
        ("keep_unmatched: maybe", "line 1: keep_unmatched takes true or false, not 'maybe'"),
        ("loglevel: loud", "line 1: loglevel takes debug or error or info or warning, not 'loud'"),
        ("logfile: yes", "line 1: logfile takes text, not yes"),
        ("data_dir: ''", "line 1: data_dir takes text that is not empty, not ''"),
        ("journal: 3", "line 1: journal is a section: indent its settings below it"),
        ("journal: [3]", "line 1: journal is a section: indent its settings below it"),
        ("journal:\n  keep_hours: 1\n  keep_hours: 2",
         "line 3: journal.keep_hours is given twice, first at"),
        ("journal: &a {journal: *a}", "line 1: there is no setting journal.journal"),
        ("- a", "must consist of lines"),
        ("just words", "must consist of lines"),
        ("a: b: c", "line 1: this is not YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1", "line 2: this is not YAML"),
        ("a: \x07", "this is not YAML"),
        ("a: *b", "line 1: this is not YAML: found undefined alias"),
        ("flush_interval: !!python/object/apply:os.getcwd []", "not a list"),
        ("flush_interval: !!python/name:os.getcwd x", "not 'x'"),
        ("monitor: {listen: '127.0.0.1:99999'}", "a host and a port such as 127.0.0.1:9273"),
        ("web: {listen: '127.0.0.1:80:80'}", "a host and a port such as 127.0.0.1:8080"),
        ("alerts: {repeat_interval: 0 h}", "above 0"),
        ("alerts: {digest_at: '25:00'}", "a time of day such as 07:00"),
        ("alerts:\n  disk_pause_all_percent: 50", "line 2: alerts: disk_warn_percent, disk"),
        ("alerts:\n  channels: 7", "line 2: alerts.channels takes a list of addresses such as"),
        ("web: {base_path: /a/../b}",
         "of ASCII letters, digits and . _ ~ -, or nothing, not '/a/../b'"),
        ("web: {base_path: /.}", "not '/.'"),
        ("web: {base_path: /t\xe4g}", "not '/täg'"),
        ("web: {base_path: /a%20b}", "not '/a%20b'"),
        ("web: {base_path: /a/..}", "not '/a/..'"),
        ("web: {base_path: /a/}", "not '/a/'"),
        ('web: {base_path: "/a\\n"}', "a path such as /tweets"),
        ("archive: {url: 'ftp://host/x'}", "a folder such as /srv/archive, or an address such as"),
        # What YAML takes for something else is shown as it was written.
        ("flush_interval: 1:30", "flush_interval takes a number above 0"),
        ("flush_interval: 1:30", ", not '1:30'"),
        ("flush_interval: 0x10", "not '0x10'"),
        ("flush_interval: off", "not 'off'"),
        ("flush_interval: 2026-11-28", "not '2026-11-28'"),
        ("logfile: no", "logfile takes text, not no"),
        ("web: {listen: off}", "web.listen takes a host and a port such as"),
        ("web: {listen: off}", ", or nothing, not off"),
        ("web: {listen: 8080}", "not '8080'"),
        ("deletions: on", "deletions takes erase or flag, not on"),
        ("alerts: {digest_at: 08:30:00}", "such as 07:00, or nothing, not '08:30:00'"),
        ("keep_unmatched: 1", "true or false, not '1'"),
        ("keep_unmatched: 'no'", "true or false, not 'no'"),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence_with_file_and_line(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    said = str(raised.value)
    assert str(file) in said
    assert sentence in said
    assert "\n" not in said


def test_all_old_names_are_refused_at_once(file: Path) -> None:
    file.write_text("save_every: 1\njournal:\n  keep: 2\n  max_bytes: 3\ncount_every: 4\n")
    with pytest.raises(ConfigError) as raised:
        load(file, {"TWITTERSTREAM_WEB__VIEWERS": "1"})
    assert str(raised.value).splitlines() == [
        f"{file}, line 1: save_every is now flush_interval",
        f"{file}, line 3: journal.keep is now journal.keep_hours",
        f"{file}, line 5: count_every is now status_interval",
        "the variable TWITTERSTREAM_WEB__VIEWERS is now TWITTERSTREAM_WEB__MAX_LIVE_CONNECTIONS",
    ]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("FLUSH_INTERVAL", "soon",
         "the variable TWITTERSTREAM_FLUSH_INTERVAL: flush_interval takes a number"),
        ("FLUSH_INTERVAL", "",
         "the variable TWITTERSTREAM_FLUSH_INTERVAL: flush_interval takes a number"),
        ("FLUSH_INTERVAL", "a: b: c", "not 'a: b: c'"),
        ("DATADIR", "x", "did you mean TWITTERSTREAM_DATA_DIR?"),
        ("JOURNAL_KEEP_HOURS", "1", "did you mean TWITTERSTREAM_JOURNAL__KEEP_HOURS?"),
        ("SAVE_EVERY", "1",
         "the variable TWITTERSTREAM_SAVE_EVERY is now TWITTERSTREAM_FLUSH_INTERVAL"),
        ("JOURNAL__KEEP", "1",
         "the variable TWITTERSTREAM_JOURNAL__KEEP is now TWITTERSTREAM_JOURNAL__KEEP_HOURS"),
        ("JOURNAL", "1", "TWITTERSTREAM_JOURNAL matches no setting"),
        ("LOGLEVEL", "loud", "loglevel takes debug or error or info or warning, not 'loud'"),
        ("SINKS__REDIS__URL", "redis://host:port",
         "the variable TWITTERSTREAM_SINKS__REDIS__URL: sinks.redis.url has an invalid host or"),
        ("WEB__TRUSTED_PROXIES", "1.2.3",
         "the variable TWITTERSTREAM_WEB__TRUSTED_PROXIES: web.trusted_proxies takes addresses"),
    ],
)  # fmt: skip
def test_an_error_in_the_environment_names_the_variable(
    name: str, text: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load(None, {f"TWITTERSTREAM_{name}": text})


def test_an_error_of_several_settings_names_all_places(file: Path) -> None:
    """Also when the section begins elsewhere, and a variable makes a value of the file wrong."""
    file.write_text("alerts:\n  cpu_percent: 90\n  disk_warn_percent: 20\n")
    with pytest.raises(ConfigError) as raised:
        load(file, {"TWITTERSTREAM_ALERTS__DISK_ARCHIVE_PERCENT": "30"})
    assert str(raised.value).startswith(
        f"{file}, line 3 and the variable TWITTERSTREAM_ALERTS__DISK_ARCHIVE_PERCENT: alerts: disk"
    )


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://127.0.0.1:6379/0?foo=bar", "unknown option 'foo': remove it"),
        ("redis://h?db=1", "unknown option 'db'"),
        ("redis://h?foo", "unknown option 'foo'"),
        ("rediss://h?ssl_cert=x", "rediss:// takes only ssl_ca_certs, ssl_certfile, ssl_keyfile"),
        ("rediss://h?ssl_ca_certs=", "invalid value for its option ssl_ca_certs"),
        ("redis://:p@ss/w@h:1", "a database that is not a number; percent-encode"),
        ("redis://h/zero", "a database that is not a number"),
        ("redis://h:port", "invalid host or port"),
        ("redis://h:99999", "invalid host or port"),
        ("redis://h:0", "the port 0"),
        ("redis://[::1", "invalid host or port"),
        ("redis://:1#x@h", "has a #"),
        ("unix://", "needs the path of a socket"),
        ("unix:///", "needs the path of a socket"),
        ("unix://run/redis.sock", "needs the path of a socket"),
        ("unix:///run/redis.sock?db=x", "invalid value for its option db"),
    ],
)
def test_an_address_of_redis_that_cannot_be_used_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)) as raised:
        load(None, {"TWITTERSTREAM_SINKS__REDIS__URL": url})
    assert "sinks.redis.url " in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h", "redis://h/", "redis://h:1/2", "redis://u:p%2Fw@[::1]:6379/0"),
        *("unix:///run/redis.sock", "unix://:p@/run/redis.sock?db=2"),
        "rediss://:p@h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
    ],
)
def test_an_address_of_redis_that_is_accepted_makes_a_connection(url: str) -> None:
    settings = load(None, {"TWITTERSTREAM_SINKS__REDIS__URL": url})
    pool = BlockingConnectionPool.from_url(settings.sinks.redis.url)
    assert isinstance(pool.connection_class(**pool.connection_kwargs), AbstractConnection)


@pytest.mark.parametrize("network", ["169.254.0.0/16", "169.254.169.254", "fe80::/10"])
def test_webhooks_cannot_be_allowed_link_local_networks(network: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed_networks cannot allow .* never use link-local"):
        load(None, {"TWITTERSTREAM_SINKS__WEBHOOKS__ALLOWED_NETWORKS": f"['{network}']"})


def test_webhooks_can_be_allowed_networks_that_contain_link_local_ones() -> None:
    variables = {"TWITTERSTREAM_SINKS__WEBHOOKS__ALLOWED_NETWORKS": "0.0.0.0/0"}
    assert load(None, variables).sinks.webhooks.allowed_networks == ["0.0.0.0/0"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("database: mysql://me:hunter2@host/db", "database takes an address"),
        ("database: me:hunter2@host", "database takes an address"),
        ("database: [hunter2]", "database takes an address"),
        ("alerts: {channels: ['mailto://me:hunter2@host', 'hunter2']}", "alerts.channels takes"),
        ("alerts: {heartbeat_url: 'ftp://host/hunter2'}", "alerts.heartbeat_url takes"),
        ("archive: {url: 's3://key:hunter2@bucket/x'}", "archive.url takes"),
        ("sinks: {redis: {url: 'http://:hunter2@host'}}", "sinks.redis.url takes"),
        ("sinks: {redis: {url: 'redis://:hunter2/x@host'}}", "sinks.redis.url has an invalid"),
        ("sinks: {redis: {url: 'redis://:p@ss/hunter2@host:1'}}", "url has a database that is not"),
        ("sinks: {redis: {url: 'redis://:1#hunter2@host'}}", "sinks.redis.url has a #"),
        ("sinks: {redis: {url: 'redis://:1?hunter2@host'}}", "sinks.redis.url has an unknown opt"),
        ("sinks: {redis: {url: 'redis://:1?hunter2=@host'}}", "sinks.redis.url has an unknown opt"),
    ],
)
def test_a_wrong_value_that_may_contain_a_secret_is_not_shown(
    file: Path, text: str, sentence: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as raised:
        load(file, {})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file"),
        (b"data_dir: \xff", "not UTF-8"),
        (b"a: " + b"[" * 5000, "not YAML"),
        (b"alerts:\n  channels: &a [*a]", "contains itself"),
    ],
)
def test_the_error_for_a_file_that_cannot_be_read(
    file: Path, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        load(file, {})


def test_a_folder_cannot_be_read_as_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})


def value_of(settings: Settings, key: str) -> object:
    found: object = settings
    for name in key.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        # Sizes and durations with and without a unit
        ("journal.max_bytes", "2097152", 2 << 20),
        ("journal.max_bytes", "10 GB", 10**10),
        ("journal.max_bytes", "10GB", 10**10),
        ("journal.max_bytes", "1.5 GiB", 3 << 29),
        ("journal.max_bytes", "4096kb", 4096000),
        ("logfile_max_bytes", "1_000_000", 1_000_000),
        *(
            (key, text, pytest.approx(seconds / unit))
            for key, unit in (("flush_interval", 1), ("journal.keep_hours", 3600))
            for text, seconds in (
                *(("2", 2 * unit), ("500 ms", 0.5), ("2 min", 120)),
                *(("1.5h", 5400), ("1 d", 86400)),
            )
        ),
        ("flush_interval", "010", 10),
        ("flush_interval", "1e2", 100),
        ("flush_interval", "1.5", 1.5),
        # Text that YAML takes for something else
        ("alerts.digest_at", "18:30", "18:30"),
        ("alerts.digest_at", "07:00", "07:00"),
        ("alerts.digest_at", "00:00", "00:00"),
        ("data_dir", "2026-11-28", "2026-11-28"),
        ("data_dir", "2026", "2026"),
        ("data_dir", "0x1F", "0x1F"),
        ("logfile", "1_0.5", "1_0.5"),
        ("keep_unmatched", "off", False),
        ("keep_unmatched", "Yes", True),
        *(("web.base_path", path, path) for path in ("/a", "/a/b.c", "/..a/.b/...", "/~me/-_")),
    ],
)
def test_a_value_in_the_file_and_in_a_variable(
    file: Path, key: str, written: str, value: object
) -> None:
    file.write_text(in_yaml(key, written))
    assert value_of(load(file, {}), key) == value
    variable = "TWITTERSTREAM_" + key.upper().replace(".", "__")
    assert value_of(load(None, {variable: written}), key) == value


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("logfile", "'no'", "no"),
        ("logfile", "null", ""),
        ("web.base_path", "''", ""),
        ("web.trusted_proxies", "[10.0.0.1, 1:2:3:4:5:6:7:8]", ["10.0.0.1", "1:2:3:4:5:6:7:8"]),
    ],
)
def test_a_value_that_only_the_file_can_have(
    file: Path, key: str, written: str, value: object
) -> None:
    file.write_text(in_yaml(key, written))
    assert value_of(load(file, {}), key) == value


def test_a_utf16_file_with_windows_line_ends_is_read(file: Path) -> None:
    file.write_bytes("data_dir: Schnee\r\n".encode("utf-16"))
    assert load(file, {}).data_dir == "Schnee"


def test_every_setting_has_a_description_of_valid_values() -> None:
    assert all(leaf.takes for leaf in LEAVES.values())
    assert set(LEAVES) >= set(msgspec.structs.asdict(Settings())) - SECTIONS.keys()


CELLS = "{east: postgresql://u:hidden@east/x, west-2: postgresql://u:hidden@west/x}"
BUS = {"TWITTERSTREAM_BUS": "nats://a:4222"}


def test_cells_are_names_with_addresses_in_the_file_or_in_a_variable(file: Path) -> None:
    wanted = {"east": "postgresql://u:hidden@east/x", "west-2": "postgresql://u:hidden@west/x"}
    file.write_text(f"bus: nats://a:4222\ncells: {CELLS}\n")
    assert load(file, {}).cells == wanted
    assert load(None, BUS | {"TWITTERSTREAM_CELLS": CELLS}).cells == wanted


@pytest.mark.parametrize(
    "cells",
    [
        "{East: postgresql://u:hidden@east/x}",
        "{east: mysql://u:hidden@east/x}",
        "{'': postgresql://u:hidden@east/x}",
        "{east: 'postgresql://u:hidden@east:no/x'}",
        "[postgresql://u:hidden@east/x]",
        "postgresql://u:hidden@east/x",
    ],
)
def test_a_wrong_cell_is_an_error_that_shows_no_password(cells: str) -> None:
    with pytest.raises(ConfigError, match="TWITTERSTREAM_CELLS: cells") as error:
        load(None, BUS | {"TWITTERSTREAM_CELLS": cells})
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            "{east: postgresql://u:hidden@east/x, west: 'postgresql://v:hidden@EAST:5432/x?sslmode=require'}",
            "line 3: cells.west has the address of cells.east",
        ),
        (
            "{east: postgresql://u:hidden@east/x, west: postgresql://u:hidden@home/x}",
            "line 3: cells.west has the address of database",
        ),
        (
            "{east: 'postgresql:///x?host=home&user=u&password=hidden'}",
            "line 3: cells.east has the address of database",
        ),
    ],
)
def test_a_database_is_one_cell_only(file: Path, cells: str, said: str) -> None:
    lines = ("bus: nats://a:4222", "database: postgresql://u:hidden@home/x", f"cells: {cells}")
    file.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=said) as error:
        load(file, {})
    assert "hidden" not in str(error.value)


def test_cells_may_be_databases_of_one_server(file: Path) -> None:
    cells = "{east: postgresql://u@home/east, west: 'postgresql://u@home:5433/x'}"
    file.write_text(f"bus: nats://a\ndatabase: postgresql://u@home/x\ncells: {cells}\n")
    assert [*load(file, {}).cells] == ["east", "west"]


def test_a_password_of_a_cell_in_a_readable_file_is_a_warning(file: Path) -> None:
    file.write_text(f"bus: nats://a:4222\ncells: {CELLS}\n")
    file.chmod(0o644)
    assert any("holds passwords" in each for each in exposure.warnings(load(file, {}), file))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"cells": CELLS}, "cells needs bus"),
        ({"cell": "east", "database": "postgresql://east/x"}, "cell needs bus"),
        ({"cell": "east", "bus": "nats://a"}, "cell needs database"),
        ({"cell": "east", "cells": CELLS, "bus": "nats://a"}, "cells and cell"),
        ({"cell": "home", "database": "postgresql://east/x", "bus": "nats://a"}, "called home"),
        ({"cells": "{home: postgresql://east/x}", "bus": "nats://a"}, "called home"),
        (
            {
                "cell": "east",
                "bus": "nats://a",
                "database": "postgresql://east/x",
                "sinks__redis__url": "redis://localhost",
            },
            "cell excludes",
        ),
    ],
)
def test_settings_of_cells_that_do_not_go_together(given: dict[str, str], what: str) -> None:
    variables = {f"TWITTERSTREAM_{name.upper()}": value for name, value in given.items()}
    with pytest.raises(ConfigError, match=what):
        load(None, variables)


def test_channels_come_as_a_list_or_in_a_variable(file: Path) -> None:
    file.write_text("alerts:\n  channels: ['json://a', 'json://b']\n")
    assert load(file, {}).alerts.channels == ["json://a", "json://b"]
    environ = {"TWITTERSTREAM_ALERTS__CHANNELS": "json://c  mailto://x:y@z"}
    assert load(file, environ).alerts.channels == ["json://c", "mailto://x:y@z"]
