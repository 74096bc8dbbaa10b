"""Relations: a row for each hashtag, mention, link and medium of each tweet, as SQL says."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exporting import ExportBench
from stored_messages import NOON, all_messages, damaged, fill, is_tweet, messages
from stream.config import Settings
from stream.store.export_columns import COLUMN_SETS
from stream.tweet import NETWORK_NAMES, NetworkName

if TYPE_CHECKING:
    from pathlib import Path

    from stream.db import Database
    from stream.store.exports import ColumnSet
    from test.db.conftest import ArchiveBench

VIEWS = {"hashtags": "hashtag", "links": "link", "mentions": "mention"}


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> ExportBench:
    await connected.execute("INSERT INTO tracks (value) VALUES ('x')")
    return ExportBench(connected, msgspec.structs.replace(Settings(), data_dir=str(tmp_path)))


async def test_the_items_are_those_of_the_views(bench: ExportBench) -> None:
    await fill(bench.database, all_messages())
    made = await bench.made(format="relations")
    for view, item in VIEWS.items():
        found = [(row["tweet_id"], row[item]) for row in made.rows_of(view) if row[item]]
        rows = await bench.database.fetch(f"SELECT tweet_id::text, {item} FROM {view} ORDER BY 1")
        assert sorted(found) == sorted((row["tweet_id"], row[item]) for row in rows) != []
    media = defaultdict(list)
    for row in made.rows_of("media"):
        media[row["tweet_id"]].append(row["type"])
    rows = await bench.database.fetch("SELECT id::text, media FROM tweets_flat WHERE media <> '{}'")
    assert media == {row["id"]: row["media"] for row in rows} != {}


async def test_ids_belong_to_their_handles(bench: ExportBench) -> None:
    await fill(bench.database, all_messages())
    ids: dict[str, set[str]] = defaultdict(set)
    for row in (await bench.made(format="relations")).rows_of("mentions"):
        if row["mention_id"]:
            ids[row["tweet_id"]].add(row["mention_id"])
        assert row["mention"] or row["mention_id"]
    rows = await bench.database.fetch(
        "SELECT id::text, mention_ids FROM tweets_flat WHERE mention_ids <> '{}'"
    )
    assert ids == {row["id"]: set(row["mention_ids"]) for row in rows} != {}


async def test_each_row_has_its_tweet_and_its_place_in_it(bench: ExportBench) -> None:
    await fill(bench.database, all_messages())
    made = await bench.made(format="relations", part_rows=20)
    package = json.loads(made.read("datapackage.json"))
    assert len(package["resources"]) >= 5 * 3
    for resource in package["resources"]:
        rows = list(csv.DictReader(io.StringIO(made.read(resource["path"]).decode(), newline="")))
        assert len(rows) == resource["rows"]
        for key in resource["schema"].get("foreignKeys", ()):
            [path] = [
                each["path"]
                for each in package["resources"]
                if each["name"] == key["reference"]["resource"]
            ]
            tweets = csv.DictReader(io.StringIO(made.read(path).decode(), newline=""))
            times = {row["id"]: row["created_at"] or row["received_at"] for row in tweets}
            assert all(times[row["tweet_id"]] == row["time"] for row in rows)
            places = defaultdict(list)
            for row in rows:
                places[row["tweet_id"]].append(int(row["position"]))
            assert all(each == list(range(1, len(each) + 1)) for each in places.values())


async def test_links_and_media_have_what_belongs_to_them(bench: ExportBench) -> None:
    video = {
        "type": "video",
        "media_url_https": "https://pbs.example/1.jpg",
        "ext_alt_text": "Snow",
        "video_info": {
            "variants": [
                {"content_type": "application/x-mpegURL", "url": "https://v.example/1.m3u8"},
                {"content_type": "video/mp4", "bitrate": 1, "url": "https://v.example/1.mp4"},
                {"content_type": "video/mp4", "bitrate": 9, "url": "https://v.example/9.mp4"},
            ]
        },
    }
    url = {
        "url": "https://t.co/1",
        "expanded_url": "https://e.example/short",
        "unwound": {"url": "https://e.example/long", "title": "A, title"},
    }
    body = {
        "id_str": "1",
        "text": "x",
        "user": {"id_str": "5", "screen_name": "ann"},
        "entities": {"urls": [url]},
        "extended_entities": {"media": [video]},
    }
    await fill(bench.database, {"x_v1": [json.dumps(body).encode()]})
    made = await bench.made(format="relations")
    [link] = made.rows_of("links")
    assert (link["link"], link["host"]) == ("https://e.example/long", "e.example")
    assert (link["written"], link["title"]) == ("https://t.co/1", "A, title")
    [medium] = made.rows_of("media")
    assert medium["url"] == "https://v.example/9.mp4"
    assert (medium["preview_url"], medium["alt_text"]) == ("https://pbs.example/1.jpg", "Snow")
    assert (medium["author"], medium["author_id"]) == ("ann", "5")


async def test_pseudonyms_replace_mentioned_accounts(bench: ExportBench) -> None:
    await fill(bench.database, all_messages())
    plain, made = [await bench.made(format="relations", pseudonyms=each) for each in (False, True)]
    for name in ("mention", "mention_id", "author", "author_id"):
        names = {row[name] for row in plain.rows_of("mentions")}
        hidden = {row[name] for row in made.rows_of("mentions")}
        assert names & hidden <= {""}
        assert len(hidden) > 1
    assert {row["url"] for row in made.rows_of("media")} == {""}


@pytest.mark.parametrize("columns", COLUMN_SETS)
async def test_pseudonyms_leave_no_id_of_an_author_in_any_set_of_columns(
    bench: ExportBench, columns: ColumnSet
) -> None:
    """Not in the addresses of media either, where Bluesky has it."""
    await fill(bench.database, all_messages())
    rows = await bench.database.fetch("SELECT DISTINCT author_id FROM tweets WHERE author_id <> ''")
    ids = {row["author_id"] for row in rows if row["author_id"].startswith("did:")}
    plain, hidden = [
        b"".join((await bench.made(columns=columns, pseudonyms=each)).data).decode()
        for each in (False, True)
    ]
    assert [each for each in ids if each in plain] or columns == "4cat"
    assert [each for each in ids if each in hidden] == []


@pytest.mark.parametrize("network", NETWORK_NAMES)
async def test_damaged_messages_do_not_stop_it(bench: ExportBench, network: NetworkName) -> None:
    chance = random.Random(1)
    bodies = list(messages(network).values())
    broken: list[Any] = [damaged(chance.choice(bodies), chance) for _ in range(400)]
    await fill(bench.database, {network: [body for body in broken if is_tweet(network, body)]})
    made = await bench.made(format="relations")
    assert len(made.rows_of("tweets")) > 100


async def test_an_archived_day_has_the_same_relations(
    archive_bench: ArchiveBench, connected: Database, tmp_path: Path
) -> None:
    archive_bench.rows(
        """UPDATE tweets SET doc = '{"data": {"text": "#a #b @c https://e.example/"}}'"""
        " WHERE network = 'x_v2'"
    )
    settings = msgspec.structs.replace(
        Settings(), data_dir=str(tmp_path), archive=archive_bench.settings.archive
    )
    bench = ExportBench(connected, settings)
    before = await bench.made(format="relations", part_rows=30)
    await archive_bench.run(NOON.date(), drop=True)
    after = await bench.made(format="relations", part_rows=30)
    assert before.names == after.names
    for name in before.names[2:]:
        assert before.read(name) == after.read(name)
    assert len(after.rows_of("hashtags")) == 2 * len(after.rows_of("mentions")) != 0
