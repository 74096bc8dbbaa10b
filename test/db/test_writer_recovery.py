"""A writer after failures of Postgres and damage to its journal: nothing lost, nothing twice."""

import asyncio
import os
from pathlib import Path

import psycopg
import pytest

from stream import db
from stream.journal import Journal
from writer_bench import ROOMY, WriterBench
from x_tweets import v1_tweet as tweet


@pytest.fixture
def bench(writer_bench: WriterBench) -> WriterBench:
    return writer_bench


async def test_a_commit_whose_answer_was_lost_is_not_stored_twice(
    bench: WriterBench,
) -> None:
    bench.journal.append([tweet(1)])
    await bench.store()
    stored = bench.journal.stored
    # As if the position in memory were from before the commit: the same batch once more.
    await bench.database.execute("UPDATE positions SET position = 0")
    await bench.database.execute("DELETE FROM track_minutes")
    assert await bench.store() == {"duplicate": 1}
    assert await bench.one("SELECT position FROM positions") == stored


async def test_after_a_loss_of_power_new_frames_do_not_fall_behind_the_position(
    bench: WriterBench, tmp_path: Path
) -> None:
    """Postgres has the last frames, the disk has lost them: what comes next must still be read."""
    folder = tmp_path / "other"
    bench.journal.append([tweet(1)])
    with Journal.open(folder, ROOMY) as bench.journal:
        bench.journal.append([tweet(n) for n in range(1, 11)])
        assert await bench.store() == {"stored": 10}
        whole = bench.journal.end
    [path] = folder.glob("*.journal")
    os.truncate(path, whole // 2)
    with Journal.open(folder, ROOMY) as bench.journal:
        assert await bench.store() == {}
        bench.journal.append([tweet(11), tweet(12)])
        assert await bench.store() == {"stored": 2}
    assert await bench.rows("SELECT left(text, 3) FROM events") == [("rem",)]


async def test_a_commit_that_does_not_end_is_repeated_and_stores_nothing_twice(
    bench: WriterBench, database: str
) -> None:
    """The client gives up at its limit, and the server commits all the same, seconds later."""
    await bench.database.execute(
        """
        CREATE SEQUENCE commits;
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('commits') = 1 THEN PERFORM pg_sleep(4); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON positions DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slow();
        """
    )
    bench.journal.append([tweet(n) for n in range(1, 11)])
    patient = bench.database
    async with db.connect(database, call_timeout=2) as bench.database:
        await bench.store()
    bench.database = patient
    assert await bench.one("SELECT nextval('commits')") > 1, "it committed at once"
    assert await bench.one("SELECT count(*) FROM tweets") == 10
    assert await bench.one("SELECT sum(tweets) FROM track_minutes") == 10
    assert await bench.one("SELECT position FROM positions") == bench.journal.end
    bench.journal.append([tweet(11)])
    assert await bench.store() == {"stored": 1}


async def test_a_flipped_bit_in_the_newest_segment_costs_one_reject(
    bench: WriterBench, tmp_path: Path
) -> None:
    """What follows it is stored, and what is before it not twice."""
    folder = tmp_path / "other"
    with Journal.open(folder, ROOMY) as bench.journal:
        bench.journal.append([tweet(n) for n in range(1, 11)])
        assert await bench.store() == {"stored": 10}
        begin = bench.journal.end
        bench.journal.append([tweet(n) for n in range(11, 301)])
    [path] = folder.glob("*.journal")
    data = bytearray(path.read_bytes())
    data[begin + 60] ^= 4
    path.write_bytes(data)
    with Journal.open(folder, ROOMY) as bench.journal:
        assert await bench.store() == {"stored": 289, "rejected": 1}
    assert await bench.one("SELECT count(*) FROM tweets") == 299
    [(reason, body)] = await bench.rows("SELECT reason, body FROM rejects")
    assert reason == "damaged"
    assert b'"id_str": "11"' in body
    [(text,)] = await bench.rows("SELECT text FROM events WHERE kind = 'journal'")
    assert "damaged at position" in text
    assert text.rpartition(" ")[2] == str(next(folder.glob("*.damaged")))


@pytest.mark.parametrize("found", [b"", b"\0" * 36, b"no id", None])
async def test_a_journal_whose_name_is_lost_goes_on_where_it_was(
    bench: WriterBench, tmp_path: Path, found: bytes | None
) -> None:
    """Its position is known by its records; nothing is read, counted or noted twice."""
    folder = tmp_path / "other"
    bench.journal.append([tweet(1)])
    await bench.store()  # another journal of this source
    with Journal.open(folder, ROOMY) as bench.journal:
        name = bench.journal.id
        bench.journal.append([tweet(n) for n in range(2, 11)])
        await bench.store()
        bench.journal.append([tweet(11)])
    if found is None:
        (folder / "id").unlink()
    else:
        (folder / "id").write_bytes(found)
    with Journal.open(folder, ROOMY) as bench.journal:
        assert await bench.store() == {"stored": 1}
        assert bench.journal.id == name
    assert (folder / "id").read_text() == str(name)
    assert "could not be read" in await bench.one("SELECT text FROM events WHERE kind = 'journal'")


async def test_a_journal_that_nothing_is_known_of_is_read_again_and_stores_nothing_twice(
    bench: WriterBench, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    with Journal.open(folder, ROOMY) as bench.journal:
        bench.journal.append([tweet(1), b"torn", tweet(2)])
        await bench.store()
    (folder / "id").unlink()
    await bench.database.execute("DELETE FROM positions")
    with Journal.open(folder, ROOMY) as bench.journal:
        assert await bench.store() == {"duplicate": 2, "rejected": 1}
    assert await bench.one("SELECT count(*) FROM rejects") == 1
    assert await bench.one("SELECT sum(tweets) FROM track_minutes") == 2


async def test_frames_are_kept_while_an_administrator_has_moved_a_table_away(
    bench: WriterBench,
) -> None:
    bench.journal.append([tweet(n) for n in range(1, 11)])
    await bench.database.execute("ALTER TABLE tweets RENAME TO elsewhere")
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        storing = group.create_task(bench.store())
        await asyncio.wait([storing], timeout=0.5)
        assert not storing.done()
        await bench.database.execute("ALTER TABLE elsewhere RENAME TO tweets")
    assert storing.result() == {"stored": 10}


async def test_frames_are_kept_while_the_database_is_read_only(
    bench: WriterBench, database: str
) -> None:
    """A read-only server is one that is failing over: the writer waits and loses nothing."""
    name = await bench.one("SELECT current_database()")
    async with bench.database.dedicated() as connection:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    bench.journal.append([tweet(n) for n in range(1, 11)])
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        storing = group.create_task(bench.store())
        await asyncio.wait([storing], timeout=0.5)
        assert not storing.done()
        # Over a connection of its own: those of the program refuse a server they cannot write to.
        admin = await psycopg.AsyncConnection.connect(database, autocommit=True)
        async with admin:
            await admin.execute("SET default_transaction_read_only = off")
            await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert storing.result() == {"stored": 10}
