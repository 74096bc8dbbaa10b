"""Posts on Mastodon: stored once through all servers, and deleted by any of them."""

import json

import pytest

from statuses import account, frame, status
from writer_bench import WriterBench

Servers = tuple[WriterBench, WriterBench]
STORED = "SELECT count(*) FROM tweets"
URI = "https://social.example/users/ann/statuses/1"


@pytest.fixture
def servers(mastodon_benches: Servers) -> Servers:
    return mastodon_benches


def post(server_id: str, text: str = "snow", event: str = "update", **more: object) -> bytes:
    return frame(status(f"<p>{text}</p>", **{"id": server_id, "uri": URI, **more}), event)


def deletion(server_id: str) -> bytes:
    return json.dumps({"stream": ["public"], "event": "delete", "payload": server_id}).encode()


@pytest.mark.parametrize("deleting", [0, 1])
async def test_a_post_seen_by_two_servers_is_stored_once_and_deleted_by_either(
    servers: Servers, deleting: int
) -> None:
    names = ("111", "222")
    outcomes = []
    for bench, name in zip(servers, names, strict=True):
        bench.journal.append([post(name)])
        outcomes.append(await bench.store())
    assert outcomes == [{"stored": 1}, {"duplicate": 1}]
    servers[deleting].journal.append([deletion(names[deleting])])
    await servers[deleting].store()
    assert await servers[0].one(STORED) == 0
    # Neither server brings it back, under whatever name.
    for bench, name in zip(servers, ("111", "333"), strict=True):
        bench.journal.append([post(name)])
        assert await bench.store() == {"deleted": 1}
    assert await servers[0].counts_agree()


async def test_a_deletion_before_the_post_wins(servers: Servers) -> None:
    first, second = servers
    first.journal.append([deletion("111")])
    assert await first.store() == {"control": 1}
    first.journal.append([post("111")])
    assert await first.store() == {"deleted": 1}
    # The other server's 111 is another post; the same one comes back under no name.
    second.journal.append([post("111", uri=f"{URI}1"), deletion("999"), post("222")])
    assert await second.store() == {"control": 1, "stored": 1, "deleted": 1}
    assert await second.one(STORED) == 1


@pytest.mark.parametrize("known", [False, True])
async def test_a_post_and_its_deletion_may_come_in_one_batch(servers: Servers, known: bool) -> None:
    first, second = servers
    if known:
        second.journal.append([post("222")])
        assert await second.store() == {"stored": 1}
    first.journal.append([post("111"), deletion("111")])
    assert await first.store() == {"control": 1, "duplicate" if known else "stored": 1}
    assert await first.one(STORED) == 0
    assert await first.counts_agree()


async def test_an_edit_by_one_server_replaces_what_the_other_has_sent(servers: Servers) -> None:
    first, second = servers
    first.journal.append([post("111")])
    await first.store()
    second.journal.append([post("222", "snow storm", "status.update")])
    assert await second.store() == {"control": 1}
    assert await first.one("SELECT text FROM tweets") == "snow storm"


@pytest.mark.parametrize("respected", [True, False])
async def test_authors_who_opt_out_are_only_counted(servers: Servers, *, respected: bool) -> None:
    bench = servers[0]
    bench.respect_opt_out = respected
    bench.journal.append([post("111", account=account(indexable=False))])
    assert await bench.store() == ({"opted_out": 1} if respected else {"stored": 1})
    assert await bench.one(STORED) == (0 if respected else 1)
