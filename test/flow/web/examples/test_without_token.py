"""Each example says what it misses, in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"


@pytest.mark.parametrize(
    "command",
    [
        ("hourly_dump.py", "http://127.0.0.1:1", "dump"),
        ("last_hour.py", "http://127.0.0.1:1"),
        ("media_archive.py", "http://127.0.0.1:1", "media", "--track", "1"),
    ],
)
def test_a_missing_token_is_said_plainly(command: tuple[str, ...], tmp_path: Path) -> None:
    known = {name: value for name, value in os.environ.items() if name != "TWEETS_TOKEN"}
    program, *arguments = command
    result = subprocess.run(
        [sys.executable, EXAMPLES / program, *arguments],
        cwd=tmp_path,
        env=known,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in {1, 2}
    assert "TWEETS_TOKEN is missing" in result.stderr
    assert "Traceback" not in result.stderr
