"""`make install`, and what systemd says of the unit that it puts in place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream import __version__
from tools import ROOT, run, tool

EXPOSURE = 2.0  # of 10; systemd-analyze security


# -- make install ---------------------------------------------------------------------------------


class Installation:
    """`make install` into a folder of the test's, without an account and packages of its own."""

    def __init__(self, folder: Path) -> None:
        self.prefix = folder / "opt"
        self.etc = folder / "etc"
        self.state = folder / "state"
        self.units = folder / "units"
        self.command = self.prefix / "bin" / "twitterstream"
        self.config = self.etc / "config.yaml"

    def make(self, **changed: str | Path) -> subprocess.CompletedProcess[str]:
        variables = {
            "PREFIX": self.prefix,
            "SYSCONFDIR": self.etc,
            "STATEDIR": self.state,
            "UNITDIR": self.units,
            "INSTALL_VENV": sys.prefix,
            "USERADD": "no",
        }
        words = [f"{name}={value}" for name, value in (variables | changed).items()]
        # Not what an outer make says to its own children.
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        return subprocess.run(
            ["make", "install", *words],
            cwd=ROOT,
            env=clean,
            timeout=240,
            check=False,
            capture_output=True,
            text=True,
        )

    @property
    def current(self) -> Path:
        return (self.prefix / "current").resolve()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Not to be changed."""
    made = Installation(tmp_path_factory.mktemp("installed"))
    done = made.make()
    assert done.returncode == 0, done.stderr
    return made


def test_the_command_works_from_another_folder(installed: Installation, tmp_path: Path) -> None:
    said = run(installed.command, "version", cwd=tmp_path)
    assert said == f"twitterstream {__version__}\n"
    said = run(installed.command, "check-config", cwd=tmp_path)
    assert f"Data folder: {installed.state}." in said
    other = tmp_path / "other.yaml"
    other.write_text("data_dir: /somewhere/else\n")
    said = run(installed.command, "--config", other, "check-config", cwd=tmp_path)
    assert "Data folder: /somewhere/else." in said


def test_the_settings_are_private_and_the_program_is_readable(installed: Installation) -> None:
    assert installed.config.stat().st_mode & 0o777 == 0o600
    for path in installed.current.rglob("*"):
        if ".venv" not in path.parts:
            assert path.stat().st_mode & 0o444 == 0o444, path
            assert not path.stat().st_mode & 0o022, path


def test_the_pages_have_what_browsers_load_and_nothing_of_the_tests(
    installed: Installation,
) -> None:
    modules = installed.current / "web/node_modules"
    assert (modules / "htmx.org/dist/htmx.min.js").exists()
    assert (modules / "uplot/dist/uPlot.iife.min.js").exists()
    assert not (modules / "axe-core").exists()
    assert (installed.current / "web/templates/base.html").exists()


def test_what_browsers_load_is_kept_for_the_next_release(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    assert installation.make().returncode == 0
    [kept] = (installation.prefix / "browser").iterdir()
    before = kept.stat().st_ino
    assert installation.make().returncode == 0
    [kept] = (installation.prefix / "browser").iterdir()
    assert kept.stat().st_ino == before
    assert (installation.current / "web/node_modules").resolve() == kept / "node_modules"
    # Without it the pages say what to do.
    (installation.current / "web/node_modules").unlink()
    for words in (["web"], ["run", "--role", "web"]):
        done = subprocess.run(
            [installation.command, *words],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("Error: Files for browsers are not installed. Run:  sh ")
        assert done.stderr.count("\n") == 1


def test_again_is_an_upgrade_that_keeps_the_settings_and_the_release_before(
    tmp_path: Path,
) -> None:
    installation = Installation(tmp_path)
    assert installation.make().returncode == 0
    before = installation.current
    installation.config.write_text("loglevel: debug\n")
    done = installation.make()
    assert done.returncode == 0, done.stderr
    assert installation.current != before
    assert (before / "twitterstream.py").exists(), "a daemon may still run from there"
    assert installation.config.read_text() == "loglevel: debug\n"
    assert str(before) in done.stdout
    assert not list(tmp_path.rglob("*.new"))


def test_an_installation_that_does_not_work_is_not_switched_to(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    assert installation.make().returncode == 0
    before = installation.current
    empty = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", empty)
    for venv, why in (
        (empty, "does not start"),
        (tmp_path / "nothing", "is not a virtual environment"),
    ):
        done = installation.make(INSTALL_VENV=venv)
        assert done.returncode != 0
        assert why in done.stderr
        assert installation.current == before
    assert not list(tmp_path.rglob("*.new"))
    assert run(installation.command, "version", cwd=tmp_path)


def test_a_staged_installation_knows_nothing_of_its_stage(tmp_path: Path) -> None:
    installation = Installation(Path("/srv/ts"))
    stage = tmp_path / "stage"
    assert installation.make(DESTDIR=stage).returncode == 0
    assert not Path("/srv/ts").exists()
    unit = (stage / "srv/ts/units/twitterstream.service").read_text()
    assert "ExecStart=/srv/ts/opt/bin/twitterstream collect" in unit
    for path in (stage / "srv/ts/opt/bin", stage / "srv/ts/units", stage / "srv/ts/etc"):
        for file in path.iterdir():
            assert str(stage) not in file.read_text(), file
    assert (stage / "srv/ts/opt/current/twitterstream.py").exists()


@pytest.mark.parametrize("prefix", ["relative/path", "/with space", "/with;semicolon", "/a$(id)"])
def test_a_path_that_would_break_a_unit_is_refused(prefix: str, tmp_path: Path) -> None:
    done = Installation(tmp_path).make(PREFIX=prefix.replace("$", "$$"))
    assert done.returncode != 0
    assert "make install: " in done.stderr


# -- systemd --------------------------------------------------------------------------------------


def test_systemd_understands_the_unit(installed: Installation) -> None:
    analyze = tool("systemd-analyze")
    for name in (
        "twitterstream.service",
        "twitterstream@next.service",
        "twitterstream-web.service",
        "twitterstream-role@collect.service",
    ):
        unit = installed.units / name
        if not unit.exists():
            shutil.copy(installed.units / f"{name.partition('@')[0]}@.service", unit)
        assert run(analyze, "verify", "--man=no", unit) == ""


@pytest.mark.parametrize(
    "name", ["twitterstream.service", "twitterstream-web.service", "twitterstream-role@.service"]
)
def test_a_unit_is_confined(installed: Installation, name: str) -> None:
    unit = installed.units / name
    # The threshold is in tenths; beyond it the command fails.
    options = ("--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}")
    said = run(tool("systemd-analyze"), "security", *options, unit)
    exposure = re.search(r"Overall exposure level .*: ([\d.]+)", said)
    assert exposure is not None
    assert float(exposure[1]) < EXPOSURE


def test_the_unit_gives_a_stop_more_time_than_the_daemon_takes(installed: Installation) -> None:
    unit = (installed.units / "twitterstream.service").read_text()
    for line in ("Type=notify", "NotifyAccess=main", "KillMode=mixed", "Restart=always"):
        assert f"\n{line}\n" in unit
    seconds = re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)
    assert seconds is not None
    assert int(seconds[1]) > 5 + 14, "the daemon's five, and those of the embedded server"


@pytest.fixture(autouse=True)
def _nothing_of_ours_is_left() -> Iterator[None]:
    """The unit's own paths are never touched by a test."""
    before = Path("/opt/twitterstream").exists()
    yield
    assert Path("/opt/twitterstream").exists() == before


# -- a wheel --------------------------------------------------------------------------------------


def test_a_wheel_holds_what_the_pages_read() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["web"]
    files = [
        path.relative_to(ROOT / "web")
        for path in (ROOT / "web").rglob("*")
        if path.is_file() and not {"node_modules", "screenshots", "__pycache__"} & {*path.parts}
    ]
    left = [path for path in files if path.suffix != ".py"]
    assert len(left) > 30
    assert [path for path in left if not any(path.match(each) for each in patterns)] == []
