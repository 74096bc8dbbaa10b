"""Settings: from the file and the environment, and what is said when one is wrong."""

import re
from pathlib import Path

import msgspec
import pytest

from stream.config import Settings, load, safe_url
from stream.config.fields import LEAVES, SECTIONS
from stream.errors import ConfigError

SAMPLE = Path(__file__).resolve().parents[2] / "config.yaml.sample"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def uncommented() -> str:
    """The sample with every setting in force, its sentences still comments."""
    return re.sub(r"^( *)#(?! )", r"\1", SAMPLE.read_text(), flags=re.MULTILINE)


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert load(None, {}) == Settings()


def test_the_sample_as_it_comes_changes_nothing(file: Path) -> None:
    file.write_text(SAMPLE.read_text())
    assert load(file, {}) == Settings()


def test_the_sample_names_every_setting_with_its_default_and_no_other(file: Path) -> None:
    file.write_text(uncommented())
    assert load(file, {}) == Settings()
    named = re.findall(r"^( *)(\w+):", uncommented(), flags=re.MULTILINE)
    section = ""
    keys = []
    for indent, name in named:
        section = section if indent else name
        keys.append(f"{section}.{name}" if indent else name)
    assert [key for key in keys if key not in SECTIONS] == list(LEAVES)


def test_every_setting_of_the_sample_is_explained() -> None:
    """Each paragraph with settings begins with a sentence."""
    for paragraph in SAMPLE.read_text().split("\n\n"):
        lines = [line for line in paragraph.splitlines() if not re.match(r"#\w+:$", line)]
        if lines and any(re.match(r" *#\w+:", line) for line in lines):
            assert re.match(r" *# ", lines[0]), paragraph


@pytest.mark.parametrize("path", ["", "/a", "/a/b.c", "/..a/.b/...", "/~me/-_"])
def test_a_base_path_may_have_dots_in_its_words(file: Path, path: str) -> None:
    file.write_text(f"web: {{base_path: '{path}'}}")
    assert load(file, {}).web.base_path == path


def test_the_environment_wins_over_the_file(file: Path) -> None:
    file.write_text("data_dir: /a\nsave_every: 5\njournal:\n  keep: 3\n")
    environ = {
        "TWITTERSTREAM_DATA_DIR": "/b",
        "TWITTERSTREAM_JOURNAL__MAX_BYTES": "20 GB",
        "TWITTERSTREAM_KEEP_UNMATCHED": "false",
        "TWITTERSTREAM_LOGFILE": "7",
        "HOME": "/root",
    }
    settings = load(file, environ)
    assert (settings.data_dir, settings.save_every) == ("/b", 5)
    assert (settings.journal.keep, settings.journal.max_bytes) == (3, 20 * 10**9)
    assert settings.keep_unmatched is False
    assert settings.logfile == "7"


def test_a_key_without_a_value_keeps_its_default(file: Path) -> None:
    file.write_text("database:\njournal:\nsave_every: # seconds\n")
    assert load(file, {}) == Settings()


def test_an_empty_file_is_a_good_one(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert load(file, {}) == Settings()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2097152", 2 << 20),
        ("10 GB", 10**10),
        ("10GB", 10**10),
        ("1.5 GiB", 3 << 29),
        ("4096kb", 4096000),
    ],
)
def test_a_size_may_have_a_unit(file: Path, text: str, value: int) -> None:
    file.write_text(f"journal: {{max_bytes: {text}}}")
    assert load(file, {}).journal.max_bytes == value


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2), ("500 ms", 0.5), ("2 min", 120), ("1.5h", 5400), ("1 d", 86400)]
)
def test_a_duration_may_have_a_unit(file: Path, text: str, seconds: float) -> None:
    file.write_text(f"save_every: {text}\njournal: {{keep: {text}}}")
    settings = load(file, {})
    assert settings.save_every == seconds
    in_hours = seconds if text == "2" else seconds / 3600
    assert settings.journal.keep == pytest.approx(in_hours)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("loglevel: info\nsave_evry: 1",
         "line 2: there is no setting save_evry; did you mean save_every?"),
        ("journal:\n  max_byte: 1",
         "line 2: there is no setting journal.max_byte; did you mean journal.max_bytes?"),
        ("max_bytes: 1", "line 1: there is no setting max_bytes; did you mean journal.max_bytes?"),
        ("jurnal:\n  keep: 1", "line 1: there is no setting jurnal; did you mean journal?"),
        ("zebra: 1", "line 1: there is no setting zebra"),
        ("a.b: 1", "line 1: there is no setting a.b"),
        ("1: 1", "line 1: there is no setting 1"),
        ("? [a, b]\n: 1", "line 1: there is no setting ?"),
        ("save_every: soon", "save_every takes a number above 0 and at most 31536000 (seconds)"),
        ("save_every: soon", ", or one with its unit, such as 30 s, not 'soon'"),
        ("save_every: 0", "not 0"),
        ("save_every: -1 s", "not '-1 s'"),
        ("save_every: .inf", "not inf"),
        ("save_every: .nan", "not nan"),
        ("save_every: 3 GB", "not '3 GB'"),
        ("save_every: 2020-13-45", "not '2020-13-45'"),
        ("save_every: [1]", "not a list"),
        ("save_every: {a: 1}", "not settings of its own"),
        ("x_v2:\n  max_rules: 1.5",
         "line 2: x_v2.max_rules takes a whole number of at least 1, not 1.5"),
        ("x_v2:\n\n  max_rules: true",
         "line 3: x_v2.max_rules takes a whole number of at least 1, not True"),
        ("keep_unmatched: maybe", "line 1: keep_unmatched takes true or false, not 'maybe'"),
        ("loglevel: loud", "line 1: loglevel takes debug or error or info or warning, not 'loud'"),
        ("logfile: 7", "line 1: logfile takes text, not 7"),
        ("data_dir: ''", "line 1: data_dir takes text that is not empty, not ''"),
        ("journal: 3", "line 1: journal takes settings of its own, indented below it"),
        ("journal: [3]", "line 1: journal takes settings of its own, indented below it"),
        ("journal:\n  keep: 1\n  keep: 2", "line 3: journal.keep is there already, at"),
        ("journal: &a {journal: *a}", "line 1: there is no setting journal.journal"),
        ("- a", "must consist of lines"),
        ("just words", "must consist of lines"),
        ("a: b: c", "line 1: this is not YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1", "line 2: this is not YAML"),
        ("a: \x07", "this is not YAML"),
        ("a: *b", "line 1: this is not YAML: found undefined alias"),
        ("save_every: !!python/object/apply:os.getcwd []", "not a list"),
        ("save_every: !!python/name:os.getcwd x", "not 'x'"),
        ("monitor: {listen: '127.0.0.1:99999'}", "a host and a port such as 127.0.0.1:9273"),
        ("alerts: {repeat_every: 0 h}", "above 0"),
        ("alerts: {digest_at: '25:00'}", "a time of day such as 07:00"),
        ("alerts:\n  disk_pause_all_percent: 50", "line 1: alerts: disk_warn_percent, disk"),
        ("alerts:\n  channels: 7", "line 2: alerts.channels takes a list of addresses such as"),
        ("web: {base_path: /a/../b}", "a path such as /tweets, or nothing, not '/a/../b'"),
        ("web: {base_path: /.}", "not '/.'"),
        ("web: {base_path: /a/..}", "not '/a/..'"),
        ("web: {base_path: /a/}", "not '/a/'"),
        ('web: {base_path: "/a\\n"}', "a path such as /tweets"),
        ("archive: {url: 'ftp://host/x'}", "a folder such as /srv/archive, or an address such as"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_with_its_line(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    said = str(raised.value)
    assert str(file) in said
    assert sentence in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("SAVE_EVERY", "soon", "the variable TWITTERSTREAM_SAVE_EVERY: save_every takes a number"),
        ("SAVE_EVERY", "", "the variable TWITTERSTREAM_SAVE_EVERY: save_every takes a number"),
        ("SAVE_EVERY", "a: b: c", "not 'a: b: c'"),
        ("DATADIR", "x", "did you mean TWITTERSTREAM_DATA_DIR?"),
        ("JOURNAL_KEEP", "1", "did you mean TWITTERSTREAM_JOURNAL__KEEP?"),
        ("JOURNAL", "1", "TWITTERSTREAM_JOURNAL sets nothing that exists"),
        ("LOGLEVEL", "loud", "loglevel takes debug or error or info or warning, not 'loud'"),
    ],
)
def test_what_is_wrong_in_the_environment_names_the_variable(
    name: str, text: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load(None, {f"TWITTERSTREAM_{name}": text})


@pytest.mark.parametrize(
    "text",
    ["database: mysql://me:hunter2@host/db", "database: me:hunter2@host", "database: [hunter2]"],
)
def test_a_wrong_database_is_refused_without_showing_its_password(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match="database takes an address") as raised:
        load(file, {})
    assert "hunter2" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {})
    (tmp_path / "latin.yaml").write_bytes(b"data_dir: \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.yaml", {})
    (tmp_path / "deep.yaml").write_text("a: " + "[" * 5000)
    with pytest.raises(ConfigError, match="not YAML"):
        load(tmp_path / "deep.yaml", {})


def test_every_setting_has_a_sentence_for_what_it_takes() -> None:
    assert all(leaf.takes for leaf in LEAVES.values())
    assert set(LEAVES) >= set(msgspec.structs.asdict(Settings())) - SECTIONS


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter2@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:hun/ter2@hunter2@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:hunter2@/db?host=/run", "postgresql://:***@/db?host=/run"),
        ("postgresql://me@h/db?password=hunter2&a=1", "postgresql://me@h/db?password=***&a=1"),
        ("postgresql://h/db?sslPassword=hunter2", "postgresql://h/db?sslPassword=***"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert safe_url(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        "alerts: {channels: ['mailto://me:hunter2@host', 'hunter2']}",
        "alerts: {heartbeat_url: 'ftp://host/hunter2'}",
        "archive: {url: 's3://key:hunter2@bucket/x'}",
    ],
)
def test_what_may_hold_a_secret_is_not_shown_when_it_is_wrong(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    assert "hunter2" not in str(raised.value)
    assert "takes" in str(raised.value)


def test_channels_come_as_a_list_or_in_a_variable(file: Path) -> None:
    file.write_text("alerts:\n  channels: ['json://a', 'json://b']\n")
    assert load(file, {}).alerts.channels == ["json://a", "json://b"]
    environ = {"TWITTERSTREAM_ALERTS__CHANNELS": "json://c  mailto://x:y@z"}
    assert load(file, environ).alerts.channels == ["json://c", "mailto://x:y@z"]
