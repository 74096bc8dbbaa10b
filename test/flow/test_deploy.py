"""What is in deploy/, tried with the tools that will read it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
import pytest
import yaml

from servers import free_port
from simulator.server import Settings as Simulated
from simulator.server import serve
from tools import ROOT, compose, run, tool

DEPLOY = ROOT / "deploy"
METRIC = re.compile(r"\btwitterstream_[a-z0-9_]+")


# -- compose --------------------------------------------------------------------------------------


def test_compose_understands_its_file(tmp_path: Path) -> None:
    said = run(*compose(), "-f", DEPLOY / "compose.yaml", "--profile", "watch", "config")
    services: Mapping[str, Any] = yaml.safe_load(said)["services"]
    assert set(services) == {"postgres", "migrate", "twitterstream", "web", "prometheus"}
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", ()):
            host = port.get("host_ip") if isinstance(port, dict) else port.partition(":")[0]
            assert host == "127.0.0.1", name
    for name in ("twitterstream", "web"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert "password" not in json.dumps(services[name]["environment"]).lower()


def test_the_image_takes_only_what_is_there() -> None:
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert len(names) > 5
    for name in names:
        assert (ROOT / name).exists(), name
        assert any(f"!{part}" in let_in for part in (name, *map(str, Path(name).parents)))


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
    watched = Watched(free_port())
    config = folder / "config.yaml"
    settings = {
        "database": database,
        "data_dir": str(folder / "data"),
        "journal": {"min_free_bytes": 0, "min_free_percent": 0},
        "monitor": {"listen": f"127.0.0.1:{watched.port}", "sample_interval": 0.5},
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
    """And promtool accepts it."""
    text = ""

    async def stored() -> bool:
        nonlocal text
        text = await asyncio.to_thread(watched.text)
        return STORED.search(text) is not None

    await eventually(stored)
    given = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert "s3cr3t" not in text
    for name in ("grafana.json", "prometheus.rules.yaml"):
        asked = set(METRIC.findall((DEPLOY / name).read_text()))
        assert len(asked) > 10
        assert not asked - given, name
    promtool = tool("promtool")
    assert await asyncio.to_thread(run, promtool, "check", "metrics", given=text) == ""
