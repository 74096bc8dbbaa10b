"""On several machines, another one takes over the work of one that is gone, frozen or replaced."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING

from bus_bench import STREAM
from stream import __version__
from tools import ROOT
from whole_cluster import WORD

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks
    from whole_cluster import OpenSite

# Seconds. As promised on a machine that has nothing else to do; there set CLUSTER_STRICT=1.
STRICT = "CLUSTER_STRICT" in os.environ
TAKE_OVER = 30.0 if STRICT else 240.0
ELECTION = 5.0 if STRICT else 240.0
GAP = 5.0 if STRICT else 240.0
ROUNDS = 3 if STRICT else 1
RATE = 300
NEWER = "99.0"


async def test_a_standby_collects_when_a_machine_is_gone_whose_last_seconds_follow_later(
    tmp_path: Path, open_site: OpenSite, audit: AuditBooks, eventually: Eventually
) -> None:
    async with open_site("snow", "rain,sun", rate=RATE) as machines:
        x, nats, tables = machines.x, machines.nats, machines.tables
        first, second = await machines.collectors()
        nats.freeze()  # so that the journal has what nobody else has
        enough = len(x.sent) + 500
        await eventually(lambda: len(x.sent) > enough)
        await first.kill()
        nats.thaw()
        away = first.data_dir.rename(tmp_path / "away")
        await eventually(lambda: x.connections == 0)
        await eventually(lambda: x.connections == 1, TAKE_OVER)
        await machines.store_again("its machine was gone", first)
        away.rename(first.data_dir)
        await first.start(roles=["collect"])
        await machines.finish()
    found = await audit(tables, first.journal, second.journal)
    assert found.tweets == set(x.sent)
    assert machines.feed.ids == Counter(x.sent)
    assert len(await tables.rows("SELECT DISTINCT journal FROM positions")) == 2


async def test_another_machine_stores_while_one_stands_still(
    open_site: OpenSite, audit: AuditBooks, eventually: Eventually
) -> None:
    """One that is frozen keeps its connections; thawed, it goes on as the one that stands by."""
    async with open_site("snow", "rain,sun", rate=RATE) as machines:
        x = machines.x
        for _ in range(ROUNDS):
            frozen, _ = await machines.writers()
            frozen.freeze()
            await machines.store_again("a writer is frozen")
            frozen.thaw()
            await machines.store_again("it was thawed")
        collector, _ = await machines.collectors()
        attempts = x.hub.attempt_count
        collector.freeze()
        await eventually(lambda: x.hub.attempt_count > attempts)
        collector.thaw()
        await machines.store_again("a collector was frozen")
        await machines.finish()
    found = await audit(machines.tables, *(each.journal for each in machines.programs["collect"]))
    assert found.tweets == set(x.sent)
    assert machines.feed.ids == Counter(x.sent)


async def test_tweets_are_stored_again_soon_after_the_leader_of_the_stream_is_killed(
    open_site: OpenSite, eventually: Eventually
) -> None:
    clock = asyncio.get_running_loop().time
    async with open_site("snow", "rain,sun", rate=RATE) as machines:
        nats, tables = machines.nats, machines.tables
        took = []
        for _ in range(ROUNDS):
            await nats.followed(STREAM)
            killed = await nats.kill_leader(STREAM)
            began, stored = clock(), await tables.stored()

            async def met(stored: int = stored) -> bool:
                return await tables.stored() > stored + 2 * RATE

            await eventually(met, ELECTION + 2)  # in which these were sent
            took.append(clock() - began - 2)
            await nats.start(killed)
        print("stored again after", took)  # noqa: T201  # to be shown on demand


def newer_release(folder: Path) -> Path:
    """A copy of the program that says it is of a later version."""
    unneeded = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "test", "pgbench")
    shutil.copytree(ROOT, folder, ignore=unneeded)
    (folder / "web/node_modules").symlink_to(ROOT / "web/node_modules")
    file = folder / "stream/__init__.py"
    file.write_text(file.read_text().replace(__version__, NEWER))
    return folder


async def test_all_roles_are_upgraded_one_after_the_other_under_load(
    tmp_path: Path, open_site: OpenSite
) -> None:
    async with open_site("snow", "rain,sun", WORD, rate=RATE, bluesky=True) as machines:
        tables = machines.tables
        newer = await asyncio.to_thread(newer_release, tmp_path / "newer")
        for role, program in machines.all:
            program.installed = newer
            await machines.restart(role, program)
            await machines.store_again(f"{role} was upgraded")
        versions = await tables.rows("SELECT report ->> 'version' FROM daemons")
        assert versions == [(NEWER,)] * len(machines.all)
        sent = await machines.finish()
    stored = await machines.stored()
    assert set(stored) >= set(sent)
    assert machines.feed.ids == Counter(stored)
    gaps = await tables.rows(
        "SELECT extract(epoch FROM ended_at - began_at)::float FROM gaps"
        " JOIN sources ON sources.id = source_id WHERE network = 'x_v2' AND ended_at IS NOT NULL"
    )
    print("gaps of X", gaps)  # noqa: T201  # to be shown on demand
    assert max(seconds for (seconds,) in gaps) <= GAP
