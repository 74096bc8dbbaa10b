"""Accounts of Bluesky are looked up after their posts are stored, and tracked by their handles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from bluesky_directory import BOB_WEB, Directory, serving_directory
from jetstream_messages import ANN, identity, post
from monitor.jobs import Leader
from monitor.maintenance.account_lookup import AccountLookup
from stream.backoff import Clock
from stream.config import Settings
from stream.networks.base import Plan
from stream.networks.bluesky.decode import decode
from stream.networks.bluesky.identity import Identities, OwnHostError
from stream.networks.bluesky.plan import BlueskyPlan
from stream.reconciler import TrackReconciler
from stream.tweet import NetworkName, Tweet

if TYPE_CHECKING:
    from stream.db import Database
    from writer_bench import WriterBench

AUTHORS = "SELECT author FROM tweets ORDER BY id"
DUE_NOW = "UPDATE accounts SET due_at = now()"
TRACKED_DUE_NOW = "UPDATE tracked_accounts SET due_at = now()"
HANDLES = "SELECT handle FROM accounts"
WAITING = "SELECT failures FROM accounts WHERE due_at > now() + interval '59 seconds'"


@pytest.fixture
async def directory() -> AsyncIterator[Directory]:
    async with serving_directory() as opened:
        yield opened


def lookup(database: Database, directory: Directory) -> AccountLookup:
    leader = Leader(database)
    leader.leads = True
    return AccountLookup(database, Settings(bluesky=directory.settings), leader)


async def test_a_post_is_stored_before_its_author_is_looked_up_and_named_afterwards(
    bluesky_bench: WriterBench, directory: Directory
) -> None:
    bench = bluesky_bench
    bench.journal.append([post(1, "snow")])
    await bench.store()
    assert await bench.rows(AUTHORS) == [(None,)]
    await lookup(bench.database, directory).work()
    assert await bench.rows(AUTHORS) == [("ann.example",)]
    # The next ones have the name at once, without another request.
    asked = len(directory.asked)
    bench.journal.append([post(2, "snow", rkey="3lannpost0002")])
    await bench.store()
    await lookup(bench.database, directory).work()
    assert await bench.rows(AUTHORS) == [("ann.example",)] * 2
    assert len(directory.asked) == asked


async def test_authors_of_posts_that_no_track_matches_are_not_looked_up(
    bluesky_bench: WriterBench, directory: Directory
) -> None:
    bench = bluesky_bench
    bench.journal.append([post(1, "sun")])
    await bench.store()
    await lookup(bench.database, directory).work()
    assert directory.asked == []
    bench.journal.append([post(2, "snow", rkey="3lannpost0002")])
    await bench.store()
    await lookup(bench.database, directory).work()
    assert await bench.rows(HANDLES) == [("ann.example",)]


async def test_an_identity_event_of_a_known_author_has_the_handle_looked_up_again(
    bluesky_bench: WriterBench, directory: Directory
) -> None:
    bench = bluesky_bench
    job = lookup(bench.database, directory)
    bench.journal.append([identity(1, "ann.example")])
    await bench.store()
    assert await bench.rows(HANDLES) == []  # nothing of this author is stored
    bench.journal.append([post(2, "snow")])
    await bench.store()
    await job.work()
    directory.rename(ANN, "ann-2.example")
    await job.work()
    assert await bench.rows(HANDLES) == [("ann.example",)]
    bench.journal.append([identity(3, None)])
    await bench.store()
    await job.work()
    assert await bench.rows(HANDLES) == [("ann-2.example",)]
    assert await bench.rows(AUTHORS) == [("ann-2.example",)]


async def test_a_handle_that_leads_elsewhere_is_invalid_and_names_no_post(
    bluesky_bench: WriterBench, directory: Directory
) -> None:
    bench = bluesky_bench
    directory.leads_to["ann.example"] = BOB_WEB
    bench.journal.append([post(1, "snow")])
    await bench.store()
    await lookup(bench.database, directory).work()
    assert await bench.rows(HANDLES) == [("handle.invalid",)]
    bench.journal.append([post(2, "snow", rkey="3lannpost0002")])
    await bench.store()
    assert await bench.rows(AUTHORS) == [(None,)] * 2


@pytest.mark.parametrize("status", [500, 429, 403])
async def test_a_look_up_that_fails_is_retried_later(
    bluesky_bench: WriterBench, directory: Directory, status: int
) -> None:
    bench = bluesky_bench
    directory.failing, directory.headers = status, {"Retry-After": "120"}
    bench.journal.append([post(1, "snow")])
    await bench.store()
    job = lookup(bench.database, directory)
    await job.work()
    assert await bench.rows(WAITING) == [(1,)]
    directory.failing = None
    await bench.database.execute(DUE_NOW)
    await job.work()
    assert await bench.rows(HANDLES) == [(None,)]  # the server has asked to wait
    await lookup(bench.database, directory).work()
    assert await bench.rows(HANDLES) == [("ann.example",)]


@pytest.mark.parametrize("status", [500, 429])
async def test_the_own_host_of_an_account_delays_no_other_look_up(
    bluesky_bench: WriterBench, directory: Directory, status: int
) -> None:
    bench = bluesky_bench
    directory.failing_web, directory.headers = status, {"Retry-After": "3000"}
    by_bob = post(1, "snow").replace(ANN.encode(), BOB_WEB.encode())
    bench.journal.append([by_bob])
    await bench.store()
    job = lookup(bench.database, directory)
    await job.work()
    bench.journal.append([post(2, "snow")])
    await bench.store()
    await job.work()
    assert await bench.rows(AUTHORS) == [(None,), ("ann.example",)]
    waiting = "SELECT author_id FROM accounts WHERE due_at > now() + interval '49 minutes'"
    assert await bench.rows(waiting) == [(BOB_WEB,)]


async def test_the_error_of_an_own_host_keeps_what_went_wrong(directory: Directory) -> None:
    directory.failing_web = 503
    with pytest.raises(OwnHostError) as caught:
        await Identities(directory.settings, Clock()).handle_of(BOB_WEB)
    assert (caught.value.status, caught.value.code) == (503, "foreign")


async def test_accounts_are_found_both_ways_and_only_if_both_agree(directory: Directory) -> None:
    asked = Identities(directory.settings, Clock())
    assert await asked.id_of("ann.example") == ANN
    assert await asked.id_of("bob.example.org") == BOB_WEB
    assert await asked.handle_of(BOB_WEB) == "bob.example.org"
    assert await asked.id_of("none.example") is None
    directory.leads_to["false.example"] = ANN
    assert await asked.id_of("false.example") is None
    directory.gone.add(ANN)
    assert await asked.handle_of(ANN) is None
    # No host that a DID names is asked unless it is a domain.
    before = len(directory.asked)
    assert await asked.handle_of("did:web:127.0.0.1") is None
    assert await asked.handle_of("did:web:intranet") is None
    assert (
        await asked.handle_of("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme") is None
    )
    assert len(directory.asked) == before


# -- tracks -------------------------------------------------------------------------------------


class Tracking:
    """A reconciler with one source on Bluesky, and the newest plan."""

    def __init__(self, database: Database, directory: Directory) -> None:
        self.database = database
        self.plans: dict[NetworkName, Plan] = {}
        self.job = lookup(database, directory)
        self.reconciler = TrackReconciler(
            database, Settings(), lambda _: None, self.plans.update, lambda _: None
        )

    @property
    def dids(self) -> tuple[str, ...]:
        plan = self.plans["bluesky"]
        assert isinstance(plan, BlueskyPlan)
        return plan.dids if plan.asked else ("nothing is asked for",)

    async def state(self) -> list[tuple[str, str]]:
        rows = await self.database.fetch("SELECT state, reason FROM tracks ORDER BY id")
        return [(row["state"], row["reason"]) for row in rows]

    def matched(self, tweet: Tweet) -> list[int]:
        return [match.track_id for match in self.reconciler.matcher.match(tweet)]


@pytest.fixture
async def tracking(connected: Database, directory: Directory) -> Tracking:
    await connected.execute("INSERT INTO sources (name, network) VALUES ('sky', 'bluesky')")
    return Tracking(connected, directory)


def by_ann(text: str = "sun") -> Tweet:
    tweet = decode(post(1, text))
    assert isinstance(tweet, Tweet)
    return tweet


async def test_a_track_of_a_handle_matches_by_the_id_once_it_is_found(tracking: Tracking) -> None:
    await tracking.database.execute(
        "INSERT INTO tracks (kind, value)"
        " VALUES ('user', '@ann.example'), ('query', 'from:ann.example')"
    )
    await tracking.reconciler.reload()
    assert [state for state, _ in await tracking.state()] == ["refused", "refused"]
    assert all("being looked up" in reason for _, reason in await tracking.state())
    assert tracking.dids == ("nothing is asked for",)
    assert tracking.matched(by_ann()) == []
    await tracking.job.work()
    await tracking.reconciler.reload()
    assert [state for state, _ in await tracking.state()] == ["partial", "active"]
    assert tracking.dids == (ANN,)
    assert tracking.matched(by_ann()) == [1, 2]
    terms = [match.term for match in tracking.reconciler.matcher.match(by_ann())]
    assert terms == ["@ann.example", "from:ann.example"]
    # With a word to search for, all posts are needed; matching stays the same.
    await tracking.database.execute("INSERT INTO tracks (value) VALUES ('snow')")
    await tracking.reconciler.reload()
    assert not tracking.dids
    assert tracking.matched(by_ann("snow")) == [1, 2, 3]
    await tracking.database.execute("DELETE FROM tracks WHERE value = 'snow'")
    await tracking.reconciler.reload()
    assert tracking.dids == (ANN,)


async def test_a_handle_that_no_account_has_is_named_and_found_later(
    tracking: Tracking, directory: Directory
) -> None:
    await tracking.database.execute(
        "INSERT INTO tracks (kind, value) VALUES ('user', '@nobody.example, @ann.example')"
    )
    await tracking.reconciler.reload()
    await tracking.job.work()
    await tracking.reconciler.reload()
    [(state, reason)] = await tracking.state()
    assert state == "partial"
    assert "No account on Bluesky has the handle nobody.example." in reason
    assert tracking.dids == (ANN,)
    directory.rename(ANN, "nobody.example")
    await tracking.database.execute(TRACKED_DUE_NOW)
    await tracking.job.work()
    await tracking.reconciler.reload()
    [(state, reason)] = await tracking.state()
    assert "No account on Bluesky has the handle ann.example." in reason
    assert tracking.matched(by_ann()) == [1]


async def test_a_handle_is_asked_for_only_if_a_source_needs_it(
    connected: Database, directory: Directory
) -> None:
    await connected.execute("INSERT INTO sources (name, network) VALUES ('main', 'x_v2')")
    await connected.execute("INSERT INTO tracks (kind, value) VALUES ('user', '@ann.example')")
    tracking = Tracking(connected, directory)
    await tracking.reconciler.reload()
    assert await connected.fetch("SELECT 1 FROM tracked_accounts") == []
    await connected.execute("INSERT INTO sources (name, network) VALUES ('sky', 'bluesky')")
    await tracking.reconciler.reload()
    assert len(await connected.fetch("SELECT 1 FROM tracked_accounts")) == 1
