"""The proof that anyone can repeat: the set of posts sent is the set of posts stored."""

import asyncio
import sys
from pathlib import Path

import pytest

from stream.commands.prove_daemon import PROGRAM


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_every_post_is_stored_once_whatever_is_killed_meanwhile(
    network: str, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, PROGRAM, "prove", f"--network={network}", "--kills=8", "--seed=5"),
        f"--folder={tmp_path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    output, _ = await process.communicate()
    log = (tmp_path / "collect.log").read_text(errors="replace")
    assert process.returncode == 0, output.decode() + log
    assert b"Stored = sent." in output
