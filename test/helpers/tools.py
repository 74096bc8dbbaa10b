"""Programs that are not Python's."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
NODE_MODULES = ROOT / "web/node_modules"


def tool(name: str) -> str:
    """The path of a program; without it a test is skipped, but not in CI: .ci/run fetches them."""
    places = os.pathsep.join([str(ROOT / ".venv/tools/bin"), os.environ["PATH"]])
    found = shutil.which(name, path=places)
    if found is None:
        _miss(f"{name} is not installed")
    return found


def node_with(package: str) -> str:
    """The path of node, where a package of npm is installed for the tests."""
    if not (NODE_MODULES / package).exists():
        _miss(f"needs {package} of npm (sh web/npm.sh --dev)")
    return tool("node")


def compose() -> list[str]:
    """The command of Docker Compose: of docker, or the older program."""
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


def _miss(missing: str) -> NoReturn:
    if os.environ.get("CI_NEEDS_TOOLS"):
        pytest.fail(missing)
    pytest.skip(missing)


def run(*command: str | Path, cwd: Path = ROOT, given: str | None = None) -> str:
    """The output of a command that succeeds; otherwise it is in the failure."""
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
