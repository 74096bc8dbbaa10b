"""What is in deploy/, tried with the tools that will read it.

Where such a tool is missing a test is skipped, but not in CI: .ci/run fetches them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
import pytest
import yaml

from simulator.server import Settings as Simulated
from simulator.server import serve
from stream import __version__

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
EXPOSURE = 2.0  # of 10; systemd-analyze security
METRIC = re.compile(r"\btwitterstream_[a-z0-9_]+")


def tool(name: str) -> str:
    """The path of a program that is not Python's."""
    places = os.pathsep.join([str(ROOT / ".venv/tools/bin"), os.environ["PATH"]])
    found = shutil.which(name, path=places)
    if found is None:
        missing = f"{name} is not installed"
        if os.environ.get("CI_NEEDS_TOOLS"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def run(*command: str | Path, cwd: Path = ROOT, given: str | None = None) -> str:
    """What a command says when it goes well; everything it says is in the failure else."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        input=given,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


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
            timeout=60,
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
    assert f"Data in {installed.state}," in said
    other = tmp_path / "other.yaml"
    other.write_text("data_dir: /somewhere/else\n")
    said = run(installed.command, "--config", other, "check-config", cwd=tmp_path)
    assert "Data in /somewhere/else," in said


def test_the_settings_are_private_and_the_program_is_readable(installed: Installation) -> None:
    assert installed.config.stat().st_mode & 0o777 == 0o600
    for path in installed.current.rglob("*"):
        if ".venv" not in path.parts:
            assert path.stat().st_mode & 0o444 == 0o444, path
            assert not path.stat().st_mode & 0o022, path


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
        (tmp_path / "nothing", "is no virtual environment"),
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
    for name in ("twitterstream.service", "twitterstream@next.service"):
        unit = installed.units / name
        if not unit.exists():
            shutil.copy(installed.units / "twitterstream@.service", unit)
        assert run(analyze, "verify", "--man=no", unit) == ""


def test_the_unit_is_confined(installed: Installation) -> None:
    unit = installed.units / "twitterstream.service"
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


# -- compose --------------------------------------------------------------------------------------


def compose() -> list[str]:
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run(
            [docker, "compose", "version"], check=False, capture_output=True
        ).returncode
        == 0
    ):
        return [docker, "compose"]
    return [tool("docker-compose")]


def test_compose_understands_its_file(tmp_path: Path) -> None:
    said = run(*compose(), "-f", DEPLOY / "compose.yaml", "--profile", "watch", "config")
    services: Mapping[str, Any] = yaml.safe_load(said)["services"]
    assert set(services) == {"postgres", "migrate", "twitterstream", "prometheus"}
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", ()):
            host = port.get("host_ip") if isinstance(port, dict) else port.partition(":")[0]
            assert host == "127.0.0.1", name
    assert services["twitterstream"]["read_only"] is True
    assert services["twitterstream"]["cap_drop"] == ["ALL"]
    assert "password" not in json.dumps(services["twitterstream"]["environment"]).lower()


def test_the_image_takes_only_what_is_there() -> None:
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert len(names) > 5
    for name in names:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in let_in


def test_the_password_reaches_the_program_and_no_list_of_processes(tmp_path: Path) -> None:
    """The entrypoint, with the paths of a container moved to a folder of the test's."""
    (tmp_path / "postgres_password").write_text("s3cr3t\n")
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"; echo "$TWITTERSTREAM_DATABASE"\n')
    (tmp_path / "python").chmod(0o755)
    script = (DEPLOY / "entrypoint.sh").read_text().replace("/run/secrets", str(tmp_path))
    done = subprocess.run(
        ["sh", "-c", script, "entrypoint", "collect"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False,
        capture_output=True,
        text=True,
    )
    words, url = done.stdout.splitlines()
    assert words == "/app/twitterstream.py collect"
    assert url == "postgresql://twitterstream:s3cr3t@postgres/twitterstream"


# -- Prometheus and Grafana -----------------------------------------------------------------------


def test_prometheus_understands_the_rules_and_they_do_what_they_say() -> None:
    promtool = tool("promtool")
    run(promtool, "check", "rules", DEPLOY / "prometheus.rules.yaml")
    run(promtool, "test", "rules", DEPLOY / "prometheus.rules.test.yaml")
    run(promtool, "check", "config", DEPLOY / "prometheus.yaml")


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    assert dashboard["schemaVersion"] >= 39
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for target in panel.get("targets", ()):
            for used in re.findall(r"\$(\w+)", target["expr"]):
                assert used in names | {"__rate_interval"}, target["expr"]


class Watched:
    """The real program with a real source, and what it says on its port."""

    def __init__(self, port: int) -> None:
        self.port = port

    def read(self, path: str) -> str:
        with contextlib.closing(urlopen(f"http://127.0.0.1:{self.port}{path}")) as answer:
            return str(answer.read().decode())

    def text(self) -> str:
        with contextlib.suppress(URLError, ConnectionError):
            return self.read("/metrics")
        return ""


@contextlib.asynccontextmanager
async def collecting(database: str, folder: Path) -> AsyncIterator[Watched]:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        watched = Watched(probe.getsockname()[1])
    config = folder / "config.yaml"
    settings = {
        "database": database,
        "data_dir": str(folder / "data"),
        "journal": {"min_free_bytes": 0, "min_free_percent": 0},
        "monitor": {"listen": f"127.0.0.1:{watched.port}", "probe_every": 0.5},
    }
    config.write_text(json.dumps(settings))
    command = (sys.executable, str(ROOT / "twitterstream.py"), "--config", str(config))
    async with serve(msgspec.structs.replace(Simulated(), rate=50.0)) as server:
        words = ("source", "add", "main", "--network", "x_v2", "--url", server.url)
        await asyncio.to_thread(
            run, *command, *words, "--secrets", "-", given="bearer_token: s3cr3t-of-the-test"
        )
        await asyncio.to_thread(run, *command, "track", "add", "snow")
        with (folder / "log.txt").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, "collect", stdout=log, stderr=log
            )
        try:
            yield watched
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
            print((folder / "log.txt").read_text()[-20_000:])  # noqa: T201 - for a failure


@pytest.fixture
async def watched(database: str, tmp_path: Path) -> AsyncIterator[Watched]:
    async with collecting(database, tmp_path) as program:
        yield program


STORED = re.compile(
    r'^twitterstream_source_outcomes_total\{outcome="stored",source="main"\} ', re.MULTILINE
)


async def test_what_the_program_says_is_what_rules_and_dashboard_ask_for(
    watched: Watched, eventually: Callable[..., Awaitable[None]]
) -> None:
    """And promtool finds nothing to mend in it."""
    text = ""

    async def stored() -> bool:
        nonlocal text
        text = await asyncio.to_thread(watched.text)
        return STORED.search(text) is not None

    await eventually(stored, 60)
    given = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert "s3cr3t" not in text
    for name in ("grafana.json", "prometheus.rules.yaml"):
        asked = set(METRIC.findall((DEPLOY / name).read_text()))
        assert len(asked) > 10
        assert not asked - given, name
    promtool = tool("promtool")
    assert await asyncio.to_thread(run, promtool, "check", "metrics", given=text) == ""


@pytest.fixture(autouse=True)
def _nothing_of_ours_is_left() -> Iterator[None]:
    """The unit's own paths are never touched by a test."""
    before = Path("/opt/twitterstream").exists()
    yield
    assert Path("/opt/twitterstream").exists() == before
