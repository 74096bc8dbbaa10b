"""A journal whose frames several databases share: each of them gets its own, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bus_bench import BusBench
from stream import db
from stream.bus import publisher
from stream.bus.blocks import FRAMES_MAX
from stream.bus.divisions import FILE
from stream.cells.copier import CellCopier
from stream.cells.databases import Cells
from stream.guarded_database import GuardedDatabase
from stream.notes import TracksInForce
from stream.store import lanes
from stream.store.lanes import first_lane
from web_app import database_away

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import AsyncIterator, Callable

    from bus_bench import Collecting
    from stream.db import Database
    from stream.tweet import SourceId
    from test.conftest import Eventually

MANY = 10 * FRAMES_MAX
EAST = "east"
LONG_AGO = -1e9  # seconds


class TwoCells:
    """A bench, and a second database for it."""

    def __init__(self, bench: BusBench, east: Database, url: str) -> None:
        self.bench = bench
        self.east = east
        self.url = url

    def use(self, *others: str) -> None:
        """The cells in the settings of machines that begin after this."""
        guarded = {name: GuardedDatabase(self.east) for name in others}
        self.bench.cells = Cells(self.bench.database, guarded)

    async def copy(self) -> None:
        """Copy sources and lanes to the cell, as home's daemons do."""
        await CellCopier(self.bench.database, {EAST: self.east}, 10).copy()

    async def stored(self) -> tuple[list[str], list[str]]:
        """What home and the cell have stored."""
        rows = [
            await each.fetch("SELECT native_id FROM tweets")
            for each in (self.bench.database, self.east)
        ]
        at_home, in_cell = ([row["native_id"] for row in found] for found in rows)
        return at_home, in_cell

    async def check(self, eventually: Eventually) -> None:
        """All is stored, in one of both."""

        async def all_stored() -> bool:
            at_home, in_cell = await self.stored()
            return {*at_home, *in_cell} >= {*self.bench.sent}

        await eventually(all_stored)
        at_home, in_cell = await self.stored()
        assert sorted(at_home + in_cell) == sorted(self.bench.sent)


@pytest.fixture
async def two(
    bench: BusBench, make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TwoCells]:
    """New cells take tweets of any age."""
    monkeypatch.setattr(lanes, "JOIN_AFTER", LONG_AGO)
    url = make_database()
    async with db.connect(url, 4) as east:
        made = TwoCells(bench, east, url)
        await made.copy()
        yield made


def has_stored(machine: Collecting, source: SourceId) -> Callable[[], bool]:
    lane = first_lane(source)
    return lambda: machine.publisher.senders[lane].stored >= machine.journal.end


async def test_a_database_that_is_away_when_a_journal_begins_gets_its_tweets_later(
    two: TwoCells, server: str, eventually: Eventually
) -> None:
    two.use(EAST)
    bench = two.bench
    async with bench.writing():
        with database_away(server, two.url):
            async with bench.collecting() as machine:
                machine.append(MANY)
                await eventually(has_stored(machine, bench.source.id))
                machine.append(MANY)
                await eventually(has_stored(machine, bench.source.id))
        async with bench.collecting() as machine:
            await two.copy()
            machine.append(MANY)
            async with bench.writing(EAST):
                await eventually(machine.all_stored)
    await two.check(eventually)
    assert all(len(found) > MANY for found in await two.stored())


async def test_a_database_that_lost_its_data_gets_what_the_journal_still_has(
    two: TwoCells, eventually: Eventually
) -> None:
    two.use(EAST)
    bench = two.bench
    async with bench.writing(), bench.collecting() as machine:
        await two.copy()
        async with bench.writing(EAST):
            machine.append(MANY)
            await eventually(machine.all_stored)
            before = await two.stored()
            await two.east.execute("DELETE FROM positions")
            await two.east.execute("TRUNCATE tweets, tweet_ids, matches")
            machine.append(MANY)
            await eventually(machine.all_stored)
    await two.check(eventually)
    assert {*before[1]} <= {*(await two.stored())[1]}


async def test_a_database_that_was_emptied_gets_all_copies_again(two: TwoCells) -> None:
    copier = CellCopier(two.bench.database, {EAST: two.east}, 10)
    await copier.copy()
    await two.east.execute("DELETE FROM cell_identity; DELETE FROM tracks; DELETE FROM sources")
    await copier.copy()
    assert len(await two.east.fetch("SELECT FROM sources")) == 1


async def test_a_new_cell_takes_nothing_that_a_network_sends_again(
    two: TwoCells, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """The machine that collected it before knew only home."""
    monkeypatch.undo()
    two.use()
    bench = two.bench
    async with bench.writing():
        async with bench.collecting("first") as machine:
            repeated = machine.append(MANY)
            await eventually(machine.all_stored)
        two.use(EAST)
        async with bench.collecting("second") as machine:
            await two.copy()
            machine.repeat(repeated)
            async with bench.writing(EAST):
                await eventually(machine.all_stored)
            await bench.database.execute("UPDATE lanes SET takes_from = 'epoch'")
        async with bench.collecting("second") as machine, bench.writing(EAST):
            machine.append(MANY)
            await eventually(machine.all_stored)
    await two.check(eventually)
    assert (await two.stored())[1]


async def test_another_database_stores_nothing_of_what_came_before(
    two: TwoCells, eventually: Eventually
) -> None:
    """Also of what home has still to store, as here after a restored backup."""
    two.use()
    bench = two.bench
    async with bench.collecting(lanes=2) as machine, bench.writing():
        machine.append(MANY)
        await eventually(machine.all_stored)
    await bench.database.execute("TRUNCATE tweets, tweet_ids, matches")
    await bench.database.execute("UPDATE positions SET position = 0")
    two.use(EAST)
    async with bench.collecting(lanes=2) as machine:
        await two.copy()
        machine.append(MANY)
        async with bench.writing(), bench.writing(EAST):
            await eventually(machine.all_stored)
    await two.check(eventually)
    at_home, in_cell = await two.stored()
    assert {*at_home} >= {*bench.sent[:MANY]}
    assert len(in_cell) > MANY / 4


async def test_what_a_database_lacks_that_is_removed_is_stored_by_others(
    two: TwoCells, eventually: Eventually
) -> None:
    two.use(EAST)
    bench = two.bench
    async with bench.collecting() as machine, bench.writing():
        machine.append(MANY)
        await eventually(has_stored(machine, bench.source.id))
    two.use()
    async with bench.collecting() as machine, bench.writing():
        machine.append(MANY)
        await eventually(machine.all_stored)
    await two.check(eventually)


async def test_what_a_database_has_that_is_removed_is_not_stored_by_others(
    two: TwoCells, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "NOTE_INTERVAL", 0.1)
    two.use(EAST)
    bench = two.bench
    async with bench.collecting() as machine, bench.writing():
        await two.copy()
        async with bench.writing(EAST):
            machine.append(MANY)
            await eventually(machine.all_stored)
        note = machine.journal.folder / FILE
        await eventually(lambda: note.read_bytes().count(str(machine.journal.end).encode()) == 2)
    two.use()
    async with bench.collecting() as machine, bench.writing():
        machine.append(MANY)
        await eventually(machine.all_stored)
    await two.check(eventually)


async def test_tweets_are_credited_to_tracks_that_their_collector_had(
    two: TwoCells, eventually: Eventually
) -> None:
    """Although no writer was notified of them, and they are copied to the other database later."""
    two.use(EAST)
    bench = two.bench
    async with bench.collecting() as machine:
        await two.copy()
        async with bench.writing(), bench.writing(EAST) as writers:
            machine.append(MANY)
            await eventually(machine.all_stored)
            await bench.database.execute("INSERT INTO tracks (value) VALUES ('snow')")
            [[now]] = await bench.rows("SELECT extract(epoch FROM clock_timestamp())::float8")
            machine.journal.note(TracksInForce(now))
            machine.append(MANY)
            await eventually(has_stored(machine, bench.source.id))
            [in_cell] = writers.writers.values()
            await eventually(lambda: in_cell.reader.cannot_go_on)
            assert in_cell.late_since is not None
            assert not machine.all_stored()
            await two.copy()
            await eventually(machine.all_stored)
    await two.check(eventually)
    matches = [
        row["number"]
        for database in (bench.database, two.east)
        for row in await database.fetch(
            "SELECT count(*) AS number FROM matches WHERE track_id = (SELECT max(id) FROM tracks)"
        )
    ]
    assert sum(matches) == MANY


async def test_a_wrong_address_of_a_database_harms_no_other(
    two: TwoCells, eventually: Eventually
) -> None:
    bench = two.bench
    bench.cells = Cells(bench.database, {EAST: GuardedDatabase(bench.database)})
    async with bench.collecting() as machine, bench.writing():
        machine.append(MANY)
        await eventually(has_stored(machine, bench.source.id))
        machine.append(MANY)
        await eventually(has_stored(machine, bench.source.id))
        assert not any(each.resent for each in machine.publisher.senders.values())
        assert {lane for _, lane in await bench.positions()} == {bench.source.id}
        assert "leads to the home database" in bench.cells.why_missing[EAST]
    two.use(EAST)
    async with bench.collecting() as machine, bench.writing():
        await two.copy()
        async with bench.writing(EAST):
            await eventually(machine.all_stored)
    await two.check(eventually)
