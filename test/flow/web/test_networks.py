"""Bluesky and Mastodon on the pages and in files: names, links, authors, forms."""

import csv
import io
import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from jetstream_messages import ANN, post
from stream.batch import Batch
from stream.commit import Progress, commit
from stream.incoming_tweets import StorePolicy
from stream.matcher import Matcher
from stream.networks.bluesky.decode import decode
from stream.query import parse
from stream.store import ingest_log, partitions, sources
from stream.tweet import Frame, SourceId
from web_app import Client, WebApp, plain_text

PAGE = f"https://bsky.app/profile/{ANN}"
POST = f"{PAGE}/post/3lannpost0001"
SHORT = "did:plc:annann…annann"


@pytest.fixture
async def track(app: WebApp) -> int:
    """A track with one post of Bluesky, whose author's handle is not known."""
    number = await app.add_track("snow")
    source = SourceId(await app.insert("sources", name="bluesky", network="bluesky"))
    matcher = Matcher([(number, parse("keyword", "snow"))])
    batch = Batch(source, 0, 1 << 26)
    at = round(datetime.now(UTC).timestamp() * 1e6)
    batch.add([Frame(at, post(1, "much snow"), 1)], decode, matcher.match)
    journal = uuid4()
    policy = StorePolicy(network="bluesky", keep_unmatched=True, erase=True)
    async with app.database.transaction() as connection:
        await partitions.ensure_days(
            connection, {each.received_at.date() for each in batch.arrivals}
        )
        await ingest_log.open_position(connection, journal, batch.lane, 0)
        await commit(connection, batch, policy, journal, Progress())
    return number


async def test_a_post_of_bluesky_links_to_it_and_to_its_author(
    app: WebApp, ana: Client, track: int
) -> None:
    _, page = await ana.get(f"/tracks/{track}")
    assert f'<a href="{POST}"' in page
    assert (
        f'<a href="{PAGE}" rel="noopener noreferrer nofollow" target="_blank"><bdi>{SHORT}' in page
    )
    assert f"{SHORT} Bluesky" in plain_text(page)


async def test_the_network_and_the_address_of_a_post_are_in_every_file(
    app: WebApp, ana: Client, track: int
) -> None:
    _, text = await ana.get(f"/tracks/{track}/tweets.csv")
    [row] = csv.DictReader(io.StringIO(text))
    assert (row["network"], row["url"], row["author"], row["author_id"]) == (
        "bluesky", POST, "", ANN,
    )  # fmt: skip
    _, text = await ana.get(f"/tracks/{track}/tweets.ndjson")
    assert json.loads(text)["network"] == "bluesky"


async def test_the_api_names_all_networks(app: WebApp, ana: Client) -> None:
    _, text = await ana.get("/api/v1/openapi.yaml")
    assert text.count("- bluesky") == text.count("- mastodon") > 1
    track = {"value": "ice", "networks": ["bluesky"]}
    status, answer = await ana.json("POST", "/api/v1/tracks", track)
    assert (status, answer["networks"]) == (201, ["bluesky"])


async def test_the_form_of_a_track_offers_all_networks(app: WebApp, ana: Client) -> None:
    _, page = await ana.get("/tracks/new")
    for name in ("X, API v2", "X, API v1.1", "Bluesky", "Mastodon"):
        assert name in page
    _, part = await ana.post(
        "/tracks/check", {"kind": "place", "value": "1,2,3,4", "networks": "bluesky"}
    )
    assert "Bluesky not supported. 1,2,3,4: Posts on Bluesky carry no place." in plain_text(part)


# -- sources --------------------------------------------------------------------------------------


async def test_bluesky_needs_a_name_only(app: WebApp, admin: Client) -> None:
    _, page = await admin.get("/sources/new?network=bluesky")
    assert "needs no account and no keys" in page
    assert 'type="password"' not in page
    assert (await admin.post("/sources/new", {"network": "bluesky", "name": "blue"}))[0] == 303
    async with app.database.acquire() as connection:
        row = await sources.by_name(connection, "blue")
    assert row is not None
    assert (row.network, row.url, row.secrets) == ("bluesky", None, None)
    _, page = await admin.get("/sources")
    assert "blue Bluesky" in plain_text(page)
    status, text = await admin.get("/sources/usage")
    assert status == 200
    assert "Your tracks use nothing that is limited." in text


async def test_mastodon_needs_a_server_and_a_token_and_the_form_says_where_it_is(
    app: WebApp, admin: Client
) -> None:
    _, page = await admin.get("/sources/new?network=mastodon")
    for words in ("Server address", "read:statuses", "Preferences, Development"):
        assert words in page
    form = {"network": "mastodon", "name": "social", "access_token": "T"}
    status, page = await admin.post("/sources/new", form)
    assert (status, "needs the address of the server" in page) == (422, True)
    form["url"] = "https://mastodon.example"
    assert (await admin.post("/sources/new", form))[0] == 303
