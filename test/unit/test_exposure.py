"""Warnings about settings that expose the program to others."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.config import Settings
from stream.config.exposure import is_local, warnings

PASSWORD = "hunter2-hunter2"
FRONT = {"public_url": "https://tweets.example.org", "trusted_proxies": ["10.0.0.1"]}


def words(file: Path | None = None, **sections: Any) -> str:
    return " ".join(warnings(msgspec.convert(sections, Settings), file))


def test_the_defaults_expose_nothing() -> None:
    assert warnings(Settings()) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.5", "tweets.example.org", "*"])
def test_listening_for_other_machines_without_tls_is_a_warning(host: str) -> None:
    said = words(web={"listen": f"{host}:8080"})
    assert "without TLS" in said
    assert "Cookies of the pages are not Secure" in said
    assert words(web={"listen": f"{host}:8080"} | FRONT) == ""
    http = FRONT | {"public_url": "http://tweets.example.org"}
    assert "without TLS" in words(web={"listen": f"{host}:8080"} | http)


@pytest.mark.parametrize("listen", ["", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1"])
def test_listening_for_this_machine_only_is_no_warning(listen: str) -> None:
    assert is_local(listen)
    assert words(web={"listen": listen}, monitor={"listen": listen}) == ""


@pytest.mark.parametrize("url", ["http://tweets.example.org", "http://192.168.1.5:8080/"])
def test_a_public_address_without_tls_is_a_warning(url: str) -> None:
    """Also when only a server on this machine reaches the pages themselves."""
    said = words(web=FRONT | {"public_url": url})
    assert "without TLS" in said
    assert url in said
    for local in ("http://localhost:8080", "http://127.0.0.1", "http://[::1]:80"):
        assert words(web=FRONT | {"public_url": local}) == ""


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3"])
def test_trusting_almost_every_address_is_a_warning(network: str) -> None:
    assert "almost every address" in words(web=FRONT | {"trusted_proxies": ["10.0.0.1", network]})
    assert words(web=FRONT | {"trusted_proxies": ["10.0.0.0/8", "fd00::/8"]}) == ""


def test_a_public_address_without_trusted_proxies_is_a_warning() -> None:
    said = words(web={"public_url": "https://tweets.example.org"})
    assert "web.trusted_proxies" in said
    assert words(web=FRONT) == ""


def test_metrics_that_everyone_reaches_are_a_warning() -> None:
    assert "monitor.listen" in words(monitor={"listen": "0.0.0.0:9273"})


@pytest.mark.parametrize(
    "sections",
    [
        {"database": f"postgresql://me:{PASSWORD}@db/name"},
        {"database": f"postgresql://db/name?user=me&password={PASSWORD}"},
        {"alerts": {"channels": [f"mailto://me:{PASSWORD}@host"]}},
        {"alerts": {"fallback": [f"mailto://me:{PASSWORD}@host"]}},
        {"alerts": {"heartbeat_url": f"https://host/{PASSWORD}"}},
        {"sinks": {"redis": {"url": f"redis://:{PASSWORD}@host"}}},
    ],
)
def test_a_file_with_passwords_that_others_may_read_is_a_warning(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(msgspec.json.encode(sections))
    file.chmod(0o640)
    said = words(file, **sections)
    assert f"chmod 600 {file}" in said
    assert PASSWORD not in said
    file.chmod(0o600)
    assert words(file, **sections) == ""
    # Passwords that come from the environment are in no file.
    file.write_text("loglevel: info")
    file.chmod(0o644)
    assert words(file, **sections) == ""


def test_a_file_without_passwords_may_be_read(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("database: postgresql://me@db/name")
    file.chmod(0o644)
    assert words(file, database="postgresql://me@db/name") == ""
    assert words(tmp_path / "gone") == ""
