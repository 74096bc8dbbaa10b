"""Jetstream clients that other people wrote stream from the simulator, unpatched.

`atproto` is Python's (v2, with its dictionary). `@skyware/jetstream` and `@atcute/jetstream` (v1)
are installed by npm as clients/package-lock.json pins them: this needs node, npm and a registry.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.faults import Armed
from simulator.server import Jetstream, Settings, serve
from tools import tool

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

CLIENTS = Path(__file__).parent / "clients"
WANTED = 60  # posts that each client reads before it ends
POSTS = "app.bsky.feed.post"


ATPROTO = """
import sys
from atproto_jetstream import JetstreamClient

params = {"collections": ["app.bsky.feed.post"]}
client = JetstreamClient(params, base_uri=URL.replace("http", "ws") + "/xrpc", compress=COMPRESS)
seen = 0

def read(message):
    global seen
    if "#commit" not in message.py_type:
        print(message.py_type, file=sys.stderr)
        return
    if message.operation == "create":
        print(message.rkey + "/" + message.did, flush=True)
        seen += 1
    if seen == WANTED:
        assert client.compressed == COMPRESS
        client.stop()

client.start(read)
"""

SKYWARE = """
import { Jetstream } from "@skyware/jetstream";
import WebSocket from "ws";

const jetstream = new Jetstream({
    ws: WebSocket, endpoint: URL.replace("http", "ws") + "/subscribe",
    wantedCollections: ["app.bsky.feed.post"],
});
let seen = 0;
jetstream.onCreate("app.bsky.feed.post", ({ did, commit }) => {
    if (seen++ < WANTED) console.log(commit.rkey + "/" + did);
    else jetstream.close();
});
for (const kind of ["onUpdate", "onDelete"]) jetstream[kind]("app.bsky.feed.post", () => {});
for (const kind of ["account", "identity"]) jetstream.on(kind, () => console.error(kind));
jetstream.on("error", (error) => { if (error) { console.error(error); process.exit(1); } });
jetstream.start();
"""

# It validates each event against its own schema, and waits with requireHello.
ATCUTE = """
import { JetstreamSubscription } from "@atcute/jetstream";
import WebSocket from "ws";

const subscription = new JetstreamSubscription({
    url: URL.replace("http", "ws"), cursor: CURSOR, wantedCollections: ["app.bsky.feed.post"],
    ws: { WebSocket }, onError: (error) => { console.error(error.issues); process.exit(1); },
});
let seen = 0;
for await (const { kind, did, commit } of subscription) {
    if (kind !== "commit") { console.error(kind); continue; }
    if (commit.operation !== "create") continue;
    console.log(commit.rkey + "/" + did);
    if (++seen === WANTED) break;
}
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm packages; skipped without npm, or where no registry has them."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("clients")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(CLIENTS / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot install {CLIENTS.name}: {done.stderr[-300:]}")
    return folder


async def output(*command: str, cwd: Path) -> list[str]:
    """What a client prints."""
    client = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(90):
            out, err = await client.communicate()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    assert client.returncode == 0, err.decode()[-2000:]
    return out.decode().split()


@pytest.mark.parametrize("compress", [True, False], ids=["dictionary", "plain"])
async def test_atproto(compress: bool, tmp_path: Path, eventually: Eventually) -> None:
    """Every post once and in order, although the connection is lost after some.

    No #sync: version 0.0.73 cannot read the bytes in one, and ends.
    """
    pytest.importorskip("atproto_jetstream")
    faults = ("edits", "deletes", "accounts", "identities", "likes")
    first = WANTED // 3
    settings = Settings(network="bluesky", rate=100, posts=first, faults=faults)
    async with serve(settings) as server:
        prelude = f"URL = {server.url!r}\nWANTED = {WANTED}\nCOMPRESS = {compress}\n"
        command = (sys.executable, "-W", "ignore", "-c", prelude + ATPROTO)
        reading = asyncio.create_task(output(*command, cwd=tmp_path))
        core = server.simulation.core
        await eventually(lambda: len(server.sent) == first)
        core.faults.arm(Armed(fault="close-1006"))
        core.posts_left = None
        core.wake()
        found = await reading
        assert found == server.sent[:WANTED]
        assert [attempt.status for attempt in core.attempts] == [101, 101]


@pytest.mark.parametrize("script", [SKYWARE, ATCUTE], ids=["skyware", "atcute"])
async def test_npm_clients(script: str, packages: Path) -> None:
    """Every post once and in order, with edits, deletions and account events between them."""
    faults = ("edits", "deletes", "accounts", "likes")
    async with serve(Settings(network="bluesky", rate=200, faults=faults)) as server:
        prelude = f"const URL = {server.url!r}, WANTED = {WANTED}, CURSOR = {10**15};\n"
        file = packages / f"client{server.port}.mjs"
        file.write_text(prelude + script)
        found = await output(tool("node"), file.name, cwd=packages)
        assert found == server.sent[:WANTED]
        assert [a.status for a in server.bluesky.core.attempts] == [101]


async def test_atcute_accepts_a_history(packages: Path) -> None:
    """It replays from its cursor, and finds nothing that breaks the lexicon's types."""
    settings = Settings(network="bluesky", posts=0, jetstream=Jetstream(history=3000))
    async with serve(settings) as server:
        prelude = f"const URL = {server.url!r}, WANTED = 3000, CURSOR = {10**15};\n"
        file = packages / "history.mjs"
        file.write_text(prelude + ATCUTE)
        assert await output(tool("node"), file.name, cwd=packages) == server.sent
