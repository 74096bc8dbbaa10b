"""The receiver that docs/webhooks.md shows verifies what we send."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from stream.sinks import webhook_messages, webhook_secrets
from stream.sinks.webhook_client import signed

PAGE = (Path(__file__).resolve().parents[3] / "docs/webhooks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rotated", [False, True])
async def test_the_receiver_in_python_takes_our_messages_once_and_no_others(
    rotated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    secret = webhook_secrets.new_secret()
    names: dict[str, Any] = {"SECRET": secret}
    exec(program, names)
    app = web.Application()
    app.router.add_post("/", names["hook"])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    now = datetime.now(UTC)
    body = webhook_messages.message("tweets.matched", now, [b'{"text": "snow"}'])
    secrets = [webhook_secrets.new_secret(), secret] if rotated else [secret]
    ours = signed("msg_1", body, secrets, now)
    other = signed("msg_2", body, [webhook_secrets.new_secret()], now)
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            found = []
            for headers in (ours, ours, other):
                async with client.post("/", data=body, headers=headers) as answer:
                    found.append(answer.status)
    finally:
        await runner.cleanup()
    assert found == [204, 204, 500]
    assert capsys.readouterr().out == "snow\n"
