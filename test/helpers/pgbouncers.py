"""A PgBouncer of a test, in front of a PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from servers import free_port
from stream.postgres import unprivileged
from tools import tool

DATABASE = "pooled"
CONFIG = """\
[databases]
{database} = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_check_delay = 0
server_login_retry = 1
logfile = {folder}/log.txt
"""


def _server(url: str) -> str:
    """The server of a URL, as PgBouncer wants it."""
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname])[0]
    known = {"host": host, "port": parts.port, "user": parts.username, "password": parts.password}
    known["dbname"] = parts.path[1:]
    return " ".join(f"{name}={value}" for name, value in known.items() if value)


@contextlib.asynccontextmanager
async def bouncing(folder: Path, url: str, **settings: str | int) -> AsyncIterator[str]:
    """The URL of a PgBouncer in transaction mode in front of this database."""
    folder.mkdir(mode=0o700)
    port, config = free_port(), folder / "pgbouncer.ini"
    text = CONFIG.format(database=DATABASE, server=_server(url), port=port, folder=folder)
    config.write_text(text + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    # Like Postgres, it does not run as root.
    account = await unprivileged.choose(folder, folder, folder / "none")
    process = await asyncio.create_subprocess_exec(
        *account.prefix, tool("pgbouncer"), "-q", str(config), cwd=folder
    )
    try:
        async with asyncio.timeout(90):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                assert process.returncode is None
                await asyncio.sleep(0.01)
        yield f"postgresql://any@127.0.0.1:{port}/{DATABASE}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
