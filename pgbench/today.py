"""How fast tweepy and psycopg store the same stream; see peer.py for what they do."""

import asyncio
from pathlib import Path

import asyncpg

from pgbench import processes
from pgbench.server import Server

TABLES = {"plain": "collected", "same": "tweets"}
RATE = """
SELECT count(*) AS tweets, extract(epoch FROM max(at) - min(at))::double precision AS seconds
FROM {}, pg_xact_commit_timestamp(xmin) AS at
"""
PATIENCE = 120  # seconds


async def run(server: Server, folder: Path, how: str, replayed: Path, count: int) -> float:
    """Tweets a second, from the first commit to the last; `how` is that of peer.py."""
    folder.mkdir(parents=True)
    port = processes.free_port()
    address = f"http://127.0.0.1:{port}"
    simulate = ["twitterstream.py", "simulate", "--network=x_v2", f"--port={port}"]
    simulate += ["--rate=0", f"--replay={replayed}"]
    async with (
        server.database() as url,
        processes.running("simulate", simulate, folder / "simulate.log"),
    ):
        await processes.listening(port)
        peer = ["pgbench/peer.py", how, address, url, str(count)]
        async with asyncio.timeout(PATIENCE):
            await processes.ended("peer", peer, folder / "peer.log")
        connection = await asyncpg.connect(url)
        try:
            row = await connection.fetchrow(RATE.format(TABLES[how]))
        finally:
            await connection.close()
    assert row is not None
    if row["tweets"] != count:
        raise RuntimeError(f"the peer stored {row['tweets']} of {count}")
    rate: float = (count - 1) / row["seconds"]
    return rate
