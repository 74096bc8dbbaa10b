"""On several machines, whatever part is killed: nothing is lost, and nothing is stored twice."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from nats_servers import running_cluster
from simulator.server import Limits
from whole_cluster import WORD, reading, site

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import OpenTables
    from test.flow.program.conftest import Cluster, MakeProgram, Simulate

KILLS = int(os.environ.get("CLUSTER_KILLS", "6"))  # more: make it a proof
AWAY = float(os.environ.get("CLUSTER_AWAY", "5"))  # seconds that the bus or a machine stands still
RATE = float(os.environ.get("CLUSTER_RATE", "500"))  # tweets a second, of each network
LIMITS = Limits(connects=100_000, rule_reads=100_000, resend=2000, resend_bytes=8 << 20)


@pytest.mark.timeout(900 + 60 * KILLS)
async def test_whatever_is_killed_everything_is_stored_once(
    tmp_path: Path,
    cluster: Cluster,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    """TEST_SEED repeats the order of the kills."""
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    print("TEST_SEED", seed)  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)
    tables = open_tables(cluster.url)
    async with (
        running_cluster(tmp_path / "nats") as nats,
        simulate(rate=RATE, faults=("resend",), limits=LIMITS) as x,
        simulate(network="bluesky", rate=RATE, words=(WORD,), words_every=2) as bluesky,
        reading(cluster.url) as feed,
    ):
        await tables.add_tracks("snow", "rain,sun", "news", "#news", "@nasa", WORD)
        async with site(
            make_program, nats, cluster, tables, eventually, x=x, bluesky=bluesky
        ) as machines:
            await machines.store_again("start")
            for _ in range(KILLS):
                faults = machines.faults(chance, AWAY)
                name = chance.choice(list(faults))
                print(name, len(x.sent), flush=True)  # noqa: T201  # shown when the test fails
                await faults[name]()
                await machines.store_again(name)
            sent = await machines.end()
            await machines.stop()
            print(machines.waits)  # noqa: T201  # shown when the test fails
        await feed.read()
    stored = await machines.stored()
    assert len(stored) == len(set(stored))
    assert set(stored) >= set(sent)
    assert feed.ids == Counter(stored)
    assert set(x.sent) == {
        row[0] for row in await tables.rows("SELECT native_id FROM tweets WHERE network = 'x_v2'")
    }
    counts = await tables.rows(
        "SELECT (SELECT count(DISTINCT (tweet_id, track_id)) FROM matches),"
        " (SELECT sum(tweets)::bigint FROM track_minutes)"
    )
    assert counts[0][0] == counts[0][1]
