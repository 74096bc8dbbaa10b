"""Programs that are not Python's, for the tests of deploy/."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> str:
    """The path of a program; without it a test is skipped, but not in CI: .ci/run fetches them."""
    places = os.pathsep.join([str(ROOT / ".venv/tools/bin"), os.environ["PATH"]])
    found = shutil.which(name, path=places)
    if found is None:
        missing = f"{name} is not installed"
        if os.environ.get("CI_NEEDS_TOOLS"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


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
