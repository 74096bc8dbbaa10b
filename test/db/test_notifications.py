"""The queue of notifications, which all sessions of a server share, and which a login can fill."""

import contextlib
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from monitor.jobs import Leader
from monitor.maintenance.table_maintenance import TableMaintenance
from stream import db
from stream.config import Settings
from stream.errors import TwitterstreamError
from stream.postgres import Embedded
from stream.store import migrations, users
from web.accounts.sql_access import new_login

SMALL_QUEUE = {"fsync": "off", "max_notify_queue_pages": "64"}  # 512 kB; normally 8 GB
FILL = "SELECT pg_notify('elsewhere', repeat('x', 7000) || n) FROM generate_series(1, 1000) AS n"
FULL = "too many notifications"
ADD_TRACK = "INSERT INTO tracks (value) VALUES ('snow')"


async def test_tracks_can_be_edited_although_a_login_has_filled_the_queue(
    tmp_path: Path,
) -> None:
    """An open transaction of a session that listens keeps all notifications since its beginning."""
    async with Embedded(tmp_path, SMALL_QUEUE).lease() as url, db.connect(url) as database:
        await migrations.migrate(database)
        async with database.transaction() as connection:
            login = await new_login(connection, await users.add(connection, "ana", "user", None))
        address = database.address_for(*login)
        leader = Leader(database)
        leader.leads = True
        tables = TableMaintenance(database, Settings(), leader)
        tables.transaction_max = timedelta(0)
        with (
            contextlib.closing(psycopg.connect(address, autocommit=True)) as listener,
            contextlib.closing(psycopg.connect(address, autocommit=True)) as sender,
        ):
            listener.execute("LISTEN elsewhere")
            listener.execute("BEGIN")
            listener.execute("SELECT 1")
            with pytest.raises(psycopg.Error, match=FULL):
                sender.execute(FILL)
            with pytest.raises(TwitterstreamError, match=FULL):
                await database.execute(ADD_TRACK)
            for job in tables.jobs():
                await job.run_once()
            await database.execute(ADD_TRACK)
