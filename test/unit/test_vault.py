"""Credentials: sealed in the database, opened with the key in data_dir, never shown."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from stream.errors import ConfigError, TwitterstreamError
from stream.vault import Vault, parse_secrets

SECRETS = {"bearer_token": "hunter2", "password": "pässword"}


def test_sealed_credentials_are_opened_again(tmp_path: Path) -> None:
    sealed = Vault(tmp_path / "data").seal(SECRETS)
    assert b"hunter2" not in sealed
    assert Vault(tmp_path / "data").open(sealed) == SECRETS


def test_the_key_is_made_on_first_use_for_us_alone(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    assert not list(tmp_path.iterdir())
    vault.seal(SECRETS)
    [key] = tmp_path.iterdir()
    assert key.name == "secret.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_the_key_is_made_once_when_many_need_it_at_the_same_time(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda _: Vault(tmp_path).seal(SECRETS), range(8)))
    assert all(Vault(tmp_path).open(each) == SECRETS for each in sealed)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_a_missing_or_another_key_is_an_error_and_none_is_made(tmp_path: Path) -> None:
    sealed = Vault(tmp_path).seal(SECRETS)
    (tmp_path / "secret.key").unlink()
    with pytest.raises(TwitterstreamError, match=r"secret.key, is missing: restore"):
        Vault(tmp_path).open(sealed)
    assert not list(tmp_path.iterdir())
    (tmp_path / "secret.key").write_bytes(Fernet.generate_key())
    (tmp_path / "secret.key").chmod(0o600)
    with pytest.raises(TwitterstreamError, match="sealed with another key"):
        Vault(tmp_path).open(sealed)


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 44, b"!" * 44])
def test_a_damaged_key_is_an_error(tmp_path: Path, damage: bytes) -> None:
    sealed = Vault(tmp_path).seal(SECRETS)
    (tmp_path / "secret.key").write_bytes(damage)
    for use in (lambda: Vault(tmp_path).open(sealed), lambda: Vault(tmp_path).seal(SECRETS)):
        with pytest.raises(TwitterstreamError, match=r"is damaged: .* delete it, and enter the"):
            use()
    (tmp_path / "secret.key").unlink()
    assert Vault(tmp_path).open(Vault(tmp_path).seal(SECRETS)) == SECRETS


@pytest.mark.parametrize("damage", [b"", b"x", b"\x80" * 100])
def test_damaged_credentials_are_an_error(tmp_path: Path, damage: bytes) -> None:
    vault = Vault(tmp_path)
    vault.seal(SECRETS)
    with pytest.raises(TwitterstreamError, match="enter the credentials of each source again"):
        vault.open(damage)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    sealed = vault.seal(SECRETS)
    (tmp_path / "secret.key").chmod(0o640)
    for use in (lambda: vault.open(sealed), lambda: vault.seal(SECRETS)):
        with pytest.raises(TwitterstreamError, match="chmod 600"):
            use()


def test_a_data_dir_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TwitterstreamError, match="cannot be used"):
        Vault(tmp_path / "file").seal(SECRETS)


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("bearer_token: T", {"bearer_token": "T"}),
        ("\ufeffa: 1\r\nb:  2 \r\n", {"a": "1", "b": "2"}),
        ("# mine\n\n  a: x\n", {"a": "x"}),
        ("a: 0123\nb: yes\nc: 1e5\nd: ~", {"a": "0123", "b": "yes", "c": "1e5", "d": "~"}),
        ("a: AAAA%2FBB==:x", {"a": "AAAA%2FBB==:x"}),
        ("a: x#y # my token", {"a": "x#y"}),
        ("a: \"x # y\"  # quoted\nb: ' z '", {"a": "x # y", "b": " z "}),
        ("a: %@`", {"a": "%@`"}),
        ('{"a": "x", "b": "y"}', {"a": "x", "b": "y"}),
        ("password: correct horse", {"password": "correct horse"}),
    ],
)
def test_credentials_are_read_as_text(text: str, secrets: dict[str, str]) -> None:
    assert parse_secrets(text) == secrets


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "are empty"),
        ("# hunter2", "are empty"),
        ("{}", "are empty"),
        ("hunter2", "line 1 is not `name: value`"),
        ("a: x\nhunter2:hunter2", "line 2 is not `name: value`"),
        ("Hunter2: x", "line 1 is not `name: value`"),
        ("a: hunter2\na: hunter2", "line 2 gives a name for the second time"),
        ("a:", "line 1 has no value"),
        ("a: ''", "line 1 has no value"),
        ("a: # hunter2", "line 1 has no value"),
        ("a: hunter2\x07", "character that cannot be typed"),
        ('{"a": "hunter2"', "not a JSON object of strings"),
        ('{"a": ["hunter2"]}', "not a JSON object of strings"),
        ('{"a": "hun\\nter2"}', "line break"),
        ('{"Hunter2": "x"}', "lower-case word"),
    ],
)
def test_the_error_for_invalid_credentials_does_not_show_them(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as raised:
        parse_secrets(text)
    assert "hunter" not in str(raised.value).lower()
    assert raised.value.__cause__ is None
