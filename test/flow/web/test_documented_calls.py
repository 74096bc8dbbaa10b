"""Every call of curl that docs/api.md shows is made as it stands there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from web_app import WebApp

PAGE = (Path(__file__).resolve().parents[3] / "docs/api.md").read_text(encoding="utf-8")
CALLS = re.findall(r"^    (curl .+)$", PAGE, re.MULTILINE)
TIMED_OUT = 28  # curl's exit code; a stream has no other end


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_each_call_is_answered(app: WebApp, tmp_path: Path) -> None:
    program = await app.api_client("ana")
    environment = os.environ | {
        "A": app.address,
        "H": f"Authorization: Bearer {program.token}",
        "TOKEN": program.token,
    }
    assert len(CALLS) > 10
    for call in CALLS:
        is_stream = "/api/v1/stream" in call
        options = "--fail-with-body --silent --show-error" + (" --max-time 1" if is_stream else "")
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            call.replace("curl ", f"curl {options} ", 1),
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == (TIMED_OUT if is_stream else 0), f"{call}: {said.decode()}"
