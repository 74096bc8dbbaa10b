"""A command imports only what it uses: `version` starts at once, `collect` stays small."""

import subprocess
import sys
from pathlib import Path

import pytest

from twitterstream import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
LARGE = {"pyarrow", "duckdb", "numpy", "xlsxwriter", "apprise", "fsspec"}
NETWORKS = {"aiohttp", "oauthlib"}
PAGES = {"argon2", "jinja2", "web"}
WITHOUT = {  # what a command must not import
    "version": LARGE | NETWORKS | PAGES | {"asyncpg", "cryptography", "msgspec", "rich", "uvloop"},
    "track": LARGE | NETWORKS | PAGES | {"monitor", "simulator"},
    "user": LARGE | {"monitor", "oauthlib", "simulator"},
    "source": LARGE | NETWORKS | PAGES | {"monitor", "simulator"},
    "status": LARGE | NETWORKS | PAGES | {"monitor", "simulator"},
    "alert": LARGE | PAGES | {"simulator"},
    "archive": LARGE | PAGES | {"simulator"},
    "collect": LARGE | PAGES | {"simulator"},
    "web": LARGE | {"monitor", "simulator"},
}


@pytest.mark.parametrize("command", WITHOUT)
def test_a_command_imports_only_what_it_uses(command: str) -> None:
    imported = {module.partition(".")[0] for module in modules_after(command, "--help")}
    assert "click" in imported
    assert imported & WITHOUT[command] == set()


def test_the_list_of_commands_imports_nothing_large() -> None:
    imported = {module.partition(".")[0] for module in modules_after("--help")}
    assert imported >= {"stream", "monitor", "web", "simulator"}
    assert imported & LARGE == set()


def test_imports_take_little_memory() -> None:
    """Hashing a password takes 64 MB, for example: not while importing."""
    status = run(
        "import twitterstream; twitterstream.cli(['--help'], standalone_mode=False)"
        "; print(open('/proc/self/status').read())"
    )
    peak = status.partition("VmHWM:")[2].split()[0]
    assert int(peak) < 120_000  # kB


def test_each_command_has_its_name_in_the_group() -> None:
    context = cli.make_context("twitterstream", ["--help"], resilient_parsing=True)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name


def modules_after(*words: str) -> list[str]:
    """The modules that this command line imports."""
    code = (
        "import sys, twitterstream;"
        f"twitterstream.cli({list(words)}, standalone_mode=False);"
        "print('\\n', *sys.modules)"
    )
    return run(code).splitlines()[-1].split()


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout
