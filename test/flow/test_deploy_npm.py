"""What browsers load cannot be installed: then npm's own message is seen, and what to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "web"


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs an npm of the machine")
def test_npm_that_fails_is_heard(tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(WEB / name, tmp_path)
    unreachable = {
        "npm_config_registry": "http://127.0.0.1:1",
        "npm_config_fetch_retries": "0",
        "npm_config_cache": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        ["sh", str(WEB / "npm.sh"), str(tmp_path)],
        env=os.environ | unreachable,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "ECONNREFUSED" in done.stderr
    assert f"npm could not install the browser packages into {tmp_path}" in done.stderr
