"""PostgreSQL's own pgbench: tweets a second when each is inserted and committed by itself."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path

from pgbench.corpus import Corpus
from pgbench.server import Server
from stream.networks.x_v2.decode import decode
from stream.tweet import Tweet
from stream.tweets import KEY_EPOCH

SCRIPT = Path(__file__).with_name("insert.sql")
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


async def run(server: Server, corpus: Corpus, clients: int, seconds: int) -> float:
    """Tweets a second, all of them the corpus' one of median size."""
    body = sorted(corpus.bodies, key=len)[len(corpus.bodies) // 2]
    message = decode(body)
    assert isinstance(message, Tweet)
    today = datetime.now(UTC).date().isoformat()
    async with server.database() as url:
        await server.program("psql", url, ["-qXc", f"SELECT ensure_day('{today}')"])
        variables = {
            "first": time.time_ns() // 1000 - KEY_EPOCH,
            "n": 0,
            "text": message.text,
            "doc": body.decode(),
        }
        defined = [f"--define={name}={value}" for name, value in variables.items()]
        options = [f"--client={clients}", f"--time={seconds}", "--protocol=prepared", "--no-vacuum"]
        said = await server.program("pgbench", url, [*options, *defined, f"--file={SCRIPT}"])
    found = _TPS.search(said)
    if found is None:
        raise RuntimeError(f"pgbench says no tps: {said}")
    return float(found[1])
