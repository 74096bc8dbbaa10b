"""Strategies to insert a batch of tweets in one transaction.

All store the same ids, tweets and matches; they differ in how the rows are sent.
`DEDUPLICATING` lists those that detect which tweets are new, as the program must.
"""

import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg

from pgbench import rows
from pgbench.corpus import Corpus
from pgbench.rows import Row, Rows
from pgbench.server import Server
from stream.keys import KEY_EPOCH
from stream.networks.x_v2.decode import decode
from stream.tweet import Tweet

Connection: TypeAlias = "asyncpg.Connection[Any]"
Strategy: TypeAlias = Callable[[Connection, Rows], Awaitable[None]]

_TYPES = {
    "tweet_ids": ("text", "text", "bigint"),
    "tweets": (
        "bigint", "timestamptz", "timestamptz", "text", "text", "text", "text", "text", "text",
        "text", "text[]", "text", "jsonb",
    ),
    "matches": ("bigint", "bigint", "timestamptz", "text", "text", "text"),
}  # fmt: skip
_COLUMNS = {"tweet_ids": rows.IDENTITIES, "tweets": rows.TWEETS, "matches": rows.MATCHES}
_PARAMETERS_MAX = 32767  # of one statement, in the wire protocol
_CLAIM = """
INSERT INTO tweet_ids (network, native_id, tweet_id)
SELECT $1, * FROM unnest($2::text[], $3::bigint[]) AS new (native_id, tweet_id)
ORDER BY native_id COLLATE "C" ON CONFLICT (network, native_id) DO NOTHING RETURNING tweet_id
"""


def _tables(part: Rows) -> Iterator[tuple[str, Sequence[Row]]]:
    yield "tweet_ids", part.identities
    yield "tweets", part.tweets
    yield "matches", part.matches


def _insert(table: str) -> str:
    columns = _COLUMNS[table]
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"


async def one_by_one(connection: Connection, part: Rows) -> None:
    """INSERT … VALUES (one row), one round trip each."""
    for table, values in _tables(part):
        statement = await connection.prepare(_insert(table))
        for value in values:
            await statement.fetch(*value)


async def executemany(connection: Connection, part: Rows) -> None:
    """INSERT … VALUES (one row), all in one round trip."""
    for table, values in _tables(part):
        await connection.executemany(_insert(table), values)


async def multirow(connection: Connection, part: Rows) -> None:
    """INSERT … VALUES (…), (…), …: as many rows a statement as its parameters allow."""
    for table, values in _tables(part):
        width = len(_COLUMNS[table])
        most = _PARAMETERS_MAX // width
        for start in range(0, len(values), most):
            some = values[start : start + most]
            places = ", ".join(
                f"({', '.join(f'${row * width + column + 1}' for column in range(width))})"
                for row in range(len(some))
            )
            head = f"INSERT INTO {table} ({', '.join(_COLUMNS[table])}) VALUES {places}"
            await connection.execute(head, *(cell for value in some for cell in value))


async def unnest(connection: Connection, part: Rows) -> None:
    """INSERT … SELECT FROM unnest(an array for each column)."""
    for table, values in _tables(part):
        types = _TYPES[table]
        # Arrays of arrays are rectangular in SQL; the few lists travel as their text.
        sent = ["text" if each == "text[]" else each for each in types]
        arrays = ", ".join(f"${number}::{each}[]" for number, each in enumerate(sent, 1))
        wanted = ", ".join(f"c{number}::{each}" for number, each in enumerate(types, 1))
        names = ", ".join(f"c{number}" for number in range(1, len(types) + 1))
        await connection.execute(
            f"INSERT INTO {table} ({', '.join(_COLUMNS[table])}) "
            f"SELECT {wanted} FROM unnest({arrays}) AS new ({names})",
            *([_flat(cell) for cell in column] for column in zip(*values, strict=True)),
        )


async def recordset(connection: Connection, part: Rows) -> None:
    """INSERT … SELECT FROM json_to_recordset(one document)."""
    await _recordset(connection, part, "json")


async def recordset_b(connection: Connection, part: Rows) -> None:
    """INSERT … SELECT FROM jsonb_to_recordset(one document)."""
    await _recordset(connection, part, "jsonb")


async def _recordset(connection: Connection, part: Rows, kind: str) -> None:
    for table, values in _tables(part):
        columns = _COLUMNS[table]
        typed = ", ".join(
            f"{name} {each}" for name, each in zip(columns, _TYPES[table], strict=True)
        )
        document = "[" + ",".join(_object(columns, value) for value in values) + "]"
        await connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) "
            f"SELECT * FROM {kind}_to_recordset($1::text::{kind}) AS new ({typed})",
            document,
        )


async def copy(connection: Connection, part: Rows) -> None:
    """COPY in binary, of all tables: cannot leave out what is stored already."""
    for table, values in _tables(part):
        await connection.copy_records_to_table(table, records=values, columns=list(_COLUMNS[table]))


async def claim_and_copy(connection: Connection, part: Rows) -> None:
    """What the writer does: native ids by unnest and ON CONFLICT, then COPY of what is new."""
    _, native_ids, keys = zip(*part.identities, strict=True)
    new = {row[0] for row in await connection.fetch(_CLAIM, rows.NETWORK, native_ids, keys)}
    for table, values in (("tweets", part.tweets), ("matches", part.matches)):
        fresh = [value for value in values if value[0] in new]
        await connection.copy_records_to_table(table, records=fresh, columns=list(_COLUMNS[table]))


async def staging(connection: Connection, part: Rows) -> None:
    """COPY into temporary tables, then INSERT … SELECT … ON CONFLICT DO NOTHING."""
    for table, values in _tables(part):
        columns = ", ".join(_COLUMNS[table])
        await connection.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS staged_{table} ON COMMIT DELETE ROWS "
            f"AS SELECT {columns} FROM {table} WITH NO DATA"
        )
        await connection.copy_records_to_table(
            f"staged_{table}", records=values, columns=list(_COLUMNS[table])
        )
        await connection.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM staged_{table} "
            "ON CONFLICT DO NOTHING"
        )


def _flat(cell: object) -> object:
    return "{" + ",".join(cell) + "}" if isinstance(cell, tuple) else cell


def _object(columns: Sequence[str], value: Row) -> str:
    """One row as a JSON object, the message inside it as the bytes that came."""
    pairs = [f'"{name}":{_json(cell)}' for name, cell in zip(columns, value, strict=True)]
    return "{" + ",".join(pairs) + "}"


def _json(cell: object) -> str:
    if isinstance(cell, bytes):
        return cell.decode()
    return json.dumps(cell.isoformat() if isinstance(cell, datetime) else cell, ensure_ascii=False)


STRATEGIES: Mapping[str, Strategy] = {
    "one INSERT per row": one_by_one,
    "executemany": executemany,
    "INSERT of many VALUES": multirow,
    "INSERT … SELECT unnest": unnest,
    "json_to_recordset": recordset,
    "jsonb_to_recordset": recordset_b,
    "COPY to staging + INSERT … ON CONFLICT": staging,
    "claim + COPY (the writer's)": claim_and_copy,
    "COPY": copy,
}
DEDUPLICATING = ("COPY to staging + INSERT … ON CONFLICT", "claim + COPY (the writer's)")


async def store(url: str, strategy: Strategy, batches: Sequence[Rows]) -> None:
    """Store all batches, each in one transaction."""
    connection = await asyncpg.connect(url)
    try:
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            format="binary",
            encoder=lambda body: b"\x01" + body,
            decoder=bytes,
        )
        await connection.execute("SELECT ensure_day(current_date)")
        for batch in batches:
            async with connection.transaction():
                await strategy(connection, batch)
    finally:
        await connection.close()


SCRIPT = Path(__file__).with_name("insert.sql")
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


async def single_insert_rate(server: Server, corpus: Corpus, clients: int, seconds: int) -> float:
    """Tweets/s of PostgreSQL's own pgbench, which commits each (the post of median size) alone."""
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
        raise RuntimeError(f"pgbench printed no tps: {said}")
    return float(found[1])
