"""Measures how fast tweepy and psycopg store the same stream; see tweepy_baseline.py."""

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
TIMEOUT = 120  # seconds


async def run(server: Server, folder: Path, how: str, replayed: Path, count: int) -> float:
    """Tweets/s, from the first commit to the last; `how` is that of tweepy_baseline.py."""
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
        baseline = ["pgbench/tweepy_baseline.py", how, address, url, str(count)]
        async with asyncio.timeout(TIMEOUT):
            await processes.ended("tweepy", baseline, folder / "tweepy.log")
        connection = await asyncpg.connect(url)
        try:
            row = await connection.fetchrow(RATE.format(TABLES[how]))
        finally:
            await connection.close()
    assert row is not None
    if row["tweets"] != count:
        raise RuntimeError(f"tweepy stored {row['tweets']} of {count}")
    rate: float = (count - 1) / row["seconds"]
    return rate
