"""What the views for people show, and a minute of a machine for them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from stream.db import Database, Executor

Rows = list[dict[str, Any]]


async def ask(database: Database, query: str) -> tuple[datetime, Rows]:
    """What a view says, and the `now()` that it saw."""
    async with database.transaction() as connection:
        [clock] = await connection.fetch("SELECT now() AS now")
        return clock["now"], [dict(row) for row in await connection.fetch(query)]


async def read(database: Database, view: str) -> Rows:
    _, found = await ask(database, f"SELECT * FROM {view}")
    return found


async def measured(
    connection: Executor, host: str, ago: timedelta, used: Mapping[str, int]
) -> None:
    """A row of machine_minutes that knows only volumes, of 1000 bytes each."""
    volumes = {
        name: {"path": f"/{name}", "total": 1000, "used": number, "free": 1000 - number}
        for name, number in used.items()
    }
    came = {"main": {"frames": 10, "tweets": 8, "bytes": 999}, "b": {"frames": 1, "tweets": 1}}
    await connection.execute(
        "INSERT INTO machine_minutes SELECT $1, date_trunc('minute', now() - $2::interval), 1,"
        " 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, null, null, null, 1, null, null, null, null,"
        " $3, $4, '{}'",
        host,
        ago,
        msgspec.json.encode(volumes),
        msgspec.json.encode(came),
    )
