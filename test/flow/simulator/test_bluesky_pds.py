"""What the simulated Bluesky answers about names and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.simulator.conftest import RunJetstream

POSTS = "app.bsky.feed.post"
RESOLVE = "/xrpc/com.atproto.identity.resolveHandle"
RECORDS = "/xrpc/com.atproto.repo.listRecords"


async def test_names_lead_to_dids_documents_and_back(bluesky: RunJetstream) -> None:
    async with bluesky() as jetstream:
        account = jetstream.server.bluesky.activity.accounts.crowd[7]
        assert await jetstream.get(f"{RESOLVE}?handle={account.handle.upper()}") == (
            200, {"did": account.did},
        )  # fmt: skip
        status, document = await jetstream.get("/" + account.did)
        assert status == 200
        assert document["alsoKnownAs"] == ["at://" + account.handle]
        [service] = document["service"]
        assert service["serviceEndpoint"] == jetstream.server.url
        _, profile = await jetstream.get(f"/xrpc/app.bsky.actor.getProfile?actor={account.did}")
        assert profile["handle"] == account.handle
        _, web = await jetstream.get("/.well-known/did.json")
        assert web["id"] == "did:web:tram.example.com"


async def test_unknown_and_gone_names(bluesky: RunJetstream) -> None:
    async with bluesky() as jetstream:
        accounts = jetstream.server.bluesky.activity.accounts
        gone, hidden = accounts.crowd[7], accounts.crowd[8]
        gone.status, hidden.status = "deleted", "takendown"
        status, body = await jetstream.get(f"{RESOLVE}?handle=no.such.example")
        assert (status, body["message"]) == (400, "Unable to resolve handle")
        assert (await jetstream.get(f"{RESOLVE}?handle={gone.handle}"))[0] == 400
        assert (await jetstream.get("/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"))[0] == 404
        assert (await jetstream.get("/" + gone.did))[0] == 410
        _, body = await jetstream.get(f"{RECORDS}?repo={hidden.did}&collection={POSTS}")
        assert body["error"] == "RepoTakendown"
        _, body = await jetstream.get(f"{RECORDS}?repo={gone.did}&collection={POSTS}")
        assert body["error"] == "InvalidRequest"


async def test_records_are_paged_in_both_directions(bluesky: RunJetstream) -> None:
    """Newest first, or in reverse; deleted posts are gone, edited ones have their last text."""
    words = {"words": ("@paged.example",), "words_every": 3}
    async with bluesky(history=900, faults=("deletes", "edits"), **words) as jetstream:
        account = jetstream.server.bluesky.activity.accounts.named("paged.example")
        pages: dict[str, list[str]] = {"false": [], "true": []}
        for reverse, found in pages.items():
            cursor = ""
            while True:
                query = f"repo={account.handle}&collection={POSTS}&limit=100&reverse={reverse}"
                status, page = await jetstream.get(f"{RECORDS}?{query}{cursor}")
                assert status == 200
                found += [record["uri"].rpartition("/")[2] for record in page["records"]]
                if "cursor" not in page:
                    break
                cursor = f"&cursor={page['cursor']}"
        assert pages["true"] == pages["false"][::-1] == sorted(account.records)
        sent = {name.partition("/")[0] for name in jetstream.sent.ids if account.did in name}
        gone = {name.partition("/")[0] for name in jetstream.sent.deleted if account.did in name}
        assert set(account.records) == sent - gone
        assert gone
        assert any(b"(edited)" in record.value for record in account.records.values())
        other = f"{RECORDS}?repo={account.did}&collection=a.b.c"
        assert await jetstream.get(other) == (200, {"records": []})
        assert (await jetstream.get(other + "&limit=101"))[0] == 400


async def test_the_pds_limits_requests(bluesky: RunJetstream) -> None:
    async with bluesky(pds_requests=3) as jetstream:
        did = jetstream.server.bluesky.activity.accounts.crowd[7].did
        path = f"{RECORDS}?repo={did}&collection={POSTS}"
        assert [(await jetstream.get(path))[0] for _ in range(5)] == [200, 200, 200, 429, 429]
        async with jetstream.http.get(jetstream.server.url + path) as response:
            assert response.headers["RateLimit-Remaining"] == "0"
            assert (await response.json())["error"] == "RateLimitExceeded"
    async with bluesky(faults=("pds-busy",)) as jetstream:
        assert (await jetstream.get(path))[0] == 429
