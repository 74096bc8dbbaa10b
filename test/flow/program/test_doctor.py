"""What `check-config` and `doctor` find wrong, and the remedy that they name."""

import json
import socket

import pytest

from servers import free_port
from terminal import Terminal


def test_a_wrong_setting_is_named_with_its_line_and_the_right_name(terminal: Terminal) -> None:
    (terminal.folder / "config.yaml").write_text("data_dir: data\nflush_intervl: 2\n")
    said = terminal.run("check-config", code=2).stderr
    assert "flush_intervl" in said
    assert "line 2" in said
    assert "flush_interval" in said


def test_doctor_finds_what_is_wrong_and_says_what_to_do(terminal: Terminal) -> None:
    words = ("source", "add", "main", "--network", "x_v2", "--url", "http://127.0.0.1:9")
    terminal.run(*words, "--secrets", "-", given="bearer_token: T")
    said = terminal.run("doctor", code=1).stdout
    assert "127.0.0.1:9 is not reachable" in said
    assert "no daemon is running" in said
    (terminal.folder / "data" / "secret.key").chmod(0o644)
    assert "chmod 600" in terminal.run("doctor", code=1).stdout


def test_doctor_looks_at_the_proxy_that_a_source_would_take(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hidden-word@127.0.0.1:9")
    for name, *proxy in (("main",), ("own", "--proxy", "http://me:hidden-word@127.0.0.1:7")):
        words = ("source", "add", name, "--network", "x_v2", *proxy, "--secrets", "-")
        terminal.run(*words, given="bearer_token: T")
    terminal.run(
        "psql",
        "--",
        "-c",
        "INSERT INTO sources (name, network, url) VALUES ('odd', 'bluesky', 'http://[')",
    )
    said = terminal.run("doctor", code=1).stdout
    assert "odd: http://[ is not reachable: Invalid IPv6 URL" in said
    assert "main: the proxy http://127.0.0.1:9 (from HTTPS_PROXY) is not reachable" in said
    assert "own: the proxy http://127.0.0.1:7 is not reachable" in said
    assert "hidden-word" not in said


def test_doctor_tries_the_hosts_that_bluesky_would_take(terminal: Terminal) -> None:
    terminal.run("source", "add", "main", "--network", "bluesky")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "ws://127.0.0.1:{1}".format(*server.getsockname())
        terminal.set(bluesky={"hosts": ["ws://127.0.0.1:9"], "old_hosts": [address]})
        assert f"ok       source main: {address} is reachable" in terminal.run("doctor").stdout
    said = terminal.run("doctor", code=1).stdout
    assert "main: ws://127.0.0.1:9 is not reachable: " in said
    assert f"; {address} is not reachable: " in said


def test_doctor_ends_at_a_database_that_is_not_that_of_the_cell(terminal: Terminal) -> None:
    terminal.sql("INSERT INTO sources (name, network) VALUES ('main', 'bluesky') RETURNING id")
    terminal.set(cell="east", bus=f"nats://127.0.0.1:{free_port()}")
    assert "The database of cell east has data of its own" in terminal.run("doctor", code=1).stdout


def test_settings_that_expose_something_are_warned_of(terminal: Terminal) -> None:
    config = terminal.folder / "config.yaml"
    config.chmod(0o600)
    assert "Warning" not in terminal.run("check-config").stdout
    channel = "mailto://me:hunter2-hunter2@host.invalid"
    exposed = {"monitor": {"listen": "0.0.0.0:9273"}, "alerts": {"channels": [channel]}}
    config.write_text(json.dumps(json.loads(config.read_text()) | exposed))
    config.chmod(0o644)
    checked, examined = terminal.run("check-config").stdout, terminal.run("doctor", code=0).stdout
    for said in (checked, examined):
        assert "can read metrics" in said
        assert "chmod 600 config.yaml" in said
        assert "hunter2" not in said
    assert checked.count("Warning: ") == 2
