"""On several machines, whatever part is killed: nothing is lost, and nothing is stored twice."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from whole_cluster import WORD

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from whole_cluster import OpenSite

KILLS = int(os.environ.get("CLUSTER_KILLS", "6"))  # more: make it a proof
AWAY = float(os.environ.get("CLUSTER_AWAY", "5"))  # seconds that the bus or a machine stands still
RATE = float(os.environ.get("CLUSTER_RATE", "500"))  # tweets a second, of each network


@pytest.mark.timeout(900 + 60 * KILLS)
async def test_whatever_is_killed_everything_is_stored_once(
    open_site: OpenSite,
) -> None:
    """TEST_SEED repeats the order of the kills."""
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 32)))
    print("TEST_SEED", seed)  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)
    tracks = ("snow", "rain,sun", "news", "#news", "@nasa", WORD)
    async with open_site(*tracks, rate=RATE, bluesky=True) as machines:
        for _ in range(KILLS):
            faults = machines.faults(chance, AWAY)
            name = chance.choice(list(faults))
            print(name, len(machines.x.sent), flush=True)  # noqa: T201  # shown when the test fails
            await faults[name]()
            await machines.store_again(name)
        sent = await machines.finish()
        print(machines.waits)  # noqa: T201  # shown when the test fails
    stored = await machines.stored()
    assert len(stored) == len(set(stored))
    assert set(stored) >= set(sent)
    assert machines.feed.ids == Counter(stored)
    assert set(machines.x.sent) == {
        row[0]
        for row in await machines.tables.rows("SELECT native_id FROM tweets WHERE network = 'x_v2'")
    }
    counts = await machines.tables.rows(
        "SELECT (SELECT count(DISTINCT (tweet_id, track_id)) FROM matches),"
        " (SELECT sum(tweets)::bigint FROM track_minutes)"
    )
    assert counts[0][0] == counts[0][1]
