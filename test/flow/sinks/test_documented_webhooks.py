"""The receivers that docs/webhooks.md shows verify what we send."""

import asyncio
import os
import re
from asyncio.subprocess import PIPE
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from servers import serving
from stream.sinks import webhook_messages, webhook_secrets
from stream.sinks.webhook_client import signed
from tools import NODE_MODULES, node_with

PAGE = (Path(__file__).resolve().parents[3] / "docs/webhooks.md").read_text(encoding="utf-8")
LISTEN = '.listen(0, "127.0.0.1", function () { console.log(this.address().port); });'


def program(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


async def send_three(url: str, secret: str, *, rotated: bool) -> list[int]:
    """The statuses of a message, of the same one again, and of one with another signature."""
    now = datetime.now(UTC)
    body = webhook_messages.message("tweets.matched", now, ['{"text": "snow ❄"}'.encode()])
    secrets = [webhook_secrets.new_secret(), secret] if rotated else [secret]
    ours = signed("msg_1", body, secrets, now)
    other = signed("msg_2", body, [webhook_secrets.new_secret()], now)
    found = []
    async with aiohttp.ClientSession() as client:
        for headers in (ours, ours, other):
            async with client.post(url, data=body, headers=headers) as answer:
                found.append(answer.status)
    return found


@pytest.mark.parametrize("rotated", [False, True])
async def test_the_receiver_in_python_takes_our_messages_once_and_no_others(
    rotated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = webhook_secrets.new_secret()
    names: dict[str, Any] = {"SECRET": secret}
    exec(program("python"), names)
    app = web.Application()
    app.router.add_post("/", names["hook"])
    async with serving(app) as url:
        assert await send_three(url, secret, rotated=rotated) == [204, 204, 500]
    assert capsys.readouterr().out == "snow ❄\n"


@pytest.mark.parametrize("rotated", [False, True])
async def test_the_receiver_in_node_takes_our_messages_and_no_others(
    rotated: bool, tmp_path: Path
) -> None:
    secret = webhook_secrets.new_secret()
    begin, is_there, _ = program("js").partition(".listen(8000)")
    assert is_there
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "hook.mjs").write_text(begin + LISTEN, encoding="utf-8")
    words = node_with("standardwebhooks"), tmp_path / "hook.mjs"
    node = await asyncio.create_subprocess_exec(
        *words, stdout=PIPE, env=os.environ | {"SECRET": secret}
    )
    try:
        assert node.stdout is not None
        port = int(await node.stdout.readline())
        found = await send_three(f"http://127.0.0.1:{port}", secret, rotated=rotated)
    finally:
        node.terminate()
        output, _ = await node.communicate()
    assert found == [204, 204, 401]
    assert output.decode() == "snow ❄\n" * 2
