"""The table of native ids with 50 million posts of Bluesky: its size, and how fast it grows.

    python -m pgbench ids

Runs only when it is named, as it takes twenty minutes and 20 GB. Native ids begin with the key of
the record, which rises with time: those of new posts go to the same few pages of the index. Ids all
over the index show what it would cost to begin with the account, which is as good as random.
"""

import time

import asyncpg

from pgbench.report import Line, Section
from pgbench.server import Server

ROWS, CHUNK = 50_000_000, 1_000_000  # of one statement while the table is filled
TRANSACTIONS, SIZE, ROUNDS = 50, 2_000, 3  # tweets per transaction, of what is measured
# 40 posts a second, whose programs set times that are up to 5 s wrong, by 5 million accounts, of
# which some write far more often than others.
_NATIVE_ID = """
'3m' || lpad(to_hex({number} * 25000 + (random() * 5e6)::bigint), 11, '0')
|| '/did:plc:' || substr(md5(((random() ^ 3) * 5e6)::bigint::text), 1, 24)
"""
_INSERT = """
INSERT INTO tweet_ids (network, native_id, tweet_id)
SELECT 'bluesky', {native_id}, n FROM generate_series($1::bigint, $2::bigint) AS n
ON CONFLICT DO NOTHING
"""
NEWEST = _INSERT.format(native_id=_NATIVE_ID.format(number="n"))
ALL_OVER = _INSERT.format(native_id=_NATIVE_ID.format(number="(random() * $1)::bigint"))
BYTES = "SELECT pg_table_size('tweet_ids'), pg_relation_size('tweet_ids_pkey')"


async def measure(server: Server) -> Section:
    """Fill the table, then insert more ids of both kinds in turns."""
    rates: dict[str, list[float]] = {NEWEST: [], ALL_OVER: []}
    async with server.database() as url:
        connection = await asyncpg.connect(url)
        try:
            for first in range(0, ROWS, CHUNK):
                await connection.execute(NEWEST, first, first + CHUNK - 1)
            size = await connection.fetchrow(BYTES)
            at = ROWS
            for _ in range(ROUNDS):
                for insert, found in rates.items():
                    found.append(await _rate(connection, insert, at))
                    at += TRANSACTIONS * SIZE
        finally:
            await connection.close()
    assert size is not None
    table, index = size
    return Section(
        "Native ids",
        f"The table tweet_ids with {ROWS:,} posts of Bluesky, and ids inserted after them,"
        f" {SIZE:,} per transaction: of new posts, and all over the index, as they would be if they"
        " began with the account. See ids.py.",
        [
            Line("table", [table / ROWS], "bytes/row"),
            Line("index", [index / ROWS], "bytes/row"),
            Line("ids of new posts", rates[NEWEST], "rows/s"),
            Line("ids all over the index", rates[ALL_OVER], "rows/s"),
        ],
    )


async def _rate(connection: asyncpg.Connection, insert: str, first: int) -> float:
    """Rows per second, right after a checkpoint: every page that changes is logged as a whole."""
    await connection.execute("CHECKPOINT")
    began = time.perf_counter()
    for start in range(first, first + TRANSACTIONS * SIZE, SIZE):
        await connection.execute(insert, start, start + SIZE - 1)
    return TRANSACTIONS * SIZE / (time.perf_counter() - began)
