"""The simulated X v2, asked over HTTP as a client would (X v2 reference §10)."""

from __future__ import annotations

import asyncio
import gzip
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.server import Limits

STREAM = "/2/tweets/search/stream"
RULES = STREAM + "/rules"
EVERYTHING = {
    "tweet.fields": "author_id,created_at,entities,geo,lang,note_tweet,referenced_tweets",
    "expansions": "author_id,referenced_tweets.id,geo.place_id,attachments.media_keys",
}
QUICK = 0.01  # of the protocol's times


if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.simulator.conftest import App, Read, RunApp


async def test_a_wrong_token_is_refused(app: RunApp) -> None:
    """A wrong or missing bearer is 401, OAuth 1.0a is 403, and both carry rate limits."""
    async with app() as client:
        url = client.server.url + RULES
        for header, status in (("Bearer X", 401), ("", 401), ("OAuth a=b", 403)):
            async with client.http.get(url, headers={"Authorization": header}) as response:
                assert response.status == status
                assert "x-rate-limit-reset" in response.headers
        status, body = await client.ask("GET", RULES)
        assert (status, "data" in body) == (200, False)


async def test_rules_are_added_refused_and_found_again(app: RunApp) -> None:
    """Partial success, duplicates with the existing id, tags that may be missing."""
    async with app() as client:
        rules = [{"value": "cat", "tag": "t"}, {"value": "from:"}, {"value": "dog"}]
        status, body = await client.ask("POST", RULES, {"add": rules})
        assert status == 201
        meta = body["meta"]
        assert meta["summary"] == {"created": 2, "not_created": 1, "valid": 2, "invalid": 1}
        data, errors = body["data"], body["errors"]
        assert [rule.get("tag") for rule in data] == ["t", None]
        assert errors[0]["type"].endswith("/invalid-rules")
        status, body = await client.ask("POST", RULES, {"add": [{"value": "cat", "tag": "u"}]})
        assert (status, "data" in body) == (200, False)
        errors = body["errors"]
        assert errors[0]["type"].endswith("/duplicate-rules")
        assert errors[0]["id"] == data[0]["id"]
        _, body = await client.ask("GET", RULES, ids=data[1]["id"])
        assert body["data"] == [data[1]]


async def test_rules_are_listed_in_pages(app: RunApp) -> None:
    """`next_token` leads to the next page."""
    async with app("a", "b", "c") as client:
        _, first = await client.ask("GET", RULES, max_results="2")
        meta = first["meta"]
        _, second = await client.ask(
            "GET", RULES, max_results="2", pagination_token=meta["next_token"]
        )
        values = [rule["value"] for page in (first, second) for rule in page["data"]]
        assert values == ["a", "b", "c"]


async def test_the_caps_of_rules_hold(app: RunApp) -> None:
    """Number and length of rules are limited, and counts says how far."""
    async with app(limits=Limits(rules=2, rule_length=10)) as client:
        _, body = await client.ask("POST", RULES, {"add": [{"value": "x" * 11}]})
        assert "rule-length" in str(body["errors"])
        await client.add("a", "b")
        _, body = await client.ask("POST", RULES, {"add": [{"value": "c"}]})
        assert "rule-cap" in str(body["errors"])
        _, body = await client.ask("GET", RULES + "/counts")
        assert body["data"]["project_rules_count"] == "2"


async def test_dry_runs_change_nothing_and_delete_all_clears(app: RunApp) -> None:
    """`dry_run` validates; add and delete cannot stand together; unknown keys are refused."""
    async with app() as client:
        status, _ = await client.ask("POST", RULES, {"add": [{"value": "a"}]}, dry_run="true")
        _, body = await client.ask("GET", RULES)
        assert (status, "data" in body) == (201, False)
        await client.add("a", "b", "c")
        _, body = await client.ask("POST", RULES, {"delete": {"values": ["a", "zzz"]}})
        assert body["meta"]["summary"] == {"deleted": 1, "not_deleted": 1}
        wrongs: list[dict[str, object]] = [{"add": [], "delete": {"ids": []}}, {"plus": []}, {}]
        for wrong in wrongs:
            status, _ = await client.ask("POST", RULES, wrong)
            assert status == 400
        await client.ask("POST", RULES, delete_all="true")
        _, body = await client.ask("GET", RULES)
        assert "data" not in body


async def test_every_request_is_counted_in_its_window(app: RunApp) -> None:
    """After the last allowed request comes 429, until the window is over."""
    async with app(limits=Limits(rule_reads=2)) as client:
        for remaining in ("1", "0"):
            async with client.http.get(client.server.url + RULES) as response:
                assert response.headers["x-rate-limit-remaining"] == remaining
        status, body = await client.ask("GET", RULES)
        assert status == 429
        assert str(body["type"]).endswith("/rate-limit-exceeded")


async def test_without_rules_there_is_no_stream(app: RunApp) -> None:
    """409 with RuleConfigurationIssue."""
    async with app() as client, client.stream() as response:
        assert response.status == 409
        assert (await response.json())["connection_issue"] == "RuleConfigurationIssue"


async def test_posts_carry_the_rules_that_they_match(app: RunApp, read: Read) -> None:
    """Only matching posts come, each once, each with all its rules; the list of sent ids agrees."""
    async with app('"snow day"', "#news lang:en", "@nasa") as client:
        async with client.stream(**EVERYTHING) as response:
            posts = await read(response, 60)
        ids = [post["data"]["id"] for post in posts]
        assert ids == client.server.sent[:60]
        for post in posts:
            text = str(post["data"]).lower() + str(post.get("includes")).lower()
            assert post["matching_rules"]
            assert "snow day" in text or "news" in text or "nasa" in text


async def test_only_what_is_asked_for_is_sent(app: RunApp, read: Read) -> None:
    """Without parameters there are three fields and no includes; unknown values are 400."""
    async with app("#news") as client:
        async with client.stream() as response:
            (post,) = await read(response, 1)
        assert set(post["data"]) == {"id", "text", "edit_history_tweet_ids"}
        assert "includes" not in post
        for query in ({"tweet.fields": "mood"}, {"maxSize": "1"}, {"backfill_minutes": "2"}):
            async with client.stream(**query) as response:
                assert response.status == 400


async def test_the_newer_names_come_in_every_other_post(app: RunApp, read: Read) -> None:
    async with app("#news", faults=("new-names",)) as client, client.stream() as response:
        posts = await read(response, 6)
    assert ["edit_history_post_ids" in post["data"] for post in posts] == [True, False] * 3


async def test_edited_versions_follow_their_posts_and_name_them(app: RunApp, read: Read) -> None:
    fields = {"tweet.fields": "edit_controls,referenced_tweets"}
    async with app("#news", faults=("edits",)) as client, client.stream(**fields) as response:
        posts = {post["data"]["id"]: post["data"] for post in await read(response, 30)}
    edits = [post for post in posts.values() if post["text"].endswith(" (edit)")]
    assert edits
    for post in edits:
        first, own = post["edit_history_tweet_ids"]
        assert own == post["id"]
        assert post["text"] == posts[first]["text"] + " (edit)"


async def test_a_used_up_quota_ends_the_stream_and_refuses_the_next(
    app: RunApp, read: Read
) -> None:
    async with app("#news") as client:
        assert await client.arm("quota", n=3) == 200
        async with client.stream() as response:
            *posts, end = await read(response, 4)
            assert all("data" in post for post in posts)
            assert "The usage cap is reached." in str(end["errors"])
            assert await response.content.read() == b""
        async with client.stream() as response:
            assert response.status == 429
            assert "UsageCapExceeded" in await response.text()


async def test_a_new_rule_reaches_the_open_stream(app: RunApp, read: Read) -> None:
    """No reconnect is needed, and a deleted rule stops delivering."""
    async with app("#first") as client, client.stream() as response:
        await read(response, 1)
        await client.add("#second")
        await client.ask("POST", RULES, {"delete": {"values": ["#first"]}})
        async with asyncio.timeout(60):
            while True:
                (post,) = await read(response, 1)
                if "#second" in str(post["data"]):
                    break


async def test_a_delayed_rule_takes_effect_later(app: RunApp, read: Read) -> None:
    """With a delay, a rule exists at once and acts later."""
    began = time.monotonic()
    async with app("#news", limits=Limits(rule_delay=0.5)) as client, client.stream() as response:
        assert response.status == 200
        await read(response, 1)
    assert time.monotonic() - began >= 0.5


async def test_a_second_stream_is_refused_while_one_is_open(app: RunApp, read: Read) -> None:
    """A second stream is refused; when the first is closed there is room again."""
    async with app("#news") as client:
        async with client.stream() as first:
            await read(first, 1)
            async with client.stream() as second:
                assert second.status == 429
                assert (await second.json())["connection_issue"] == "TooManyConnections"
        await _slot_is_free(client)


async def test_delete_connections_frees_a_busy_slot(
    eventually: Eventually, app: RunApp, read: Read
) -> None:
    """The slot outlives its client with the fault slot-busy, until it is killed."""
    async with app("#news", faults=("slot-busy",)) as client:
        async with client.stream() as response:
            await read(response, 1)
        await eventually(lambda: not client.server.connections)
        async with client.stream() as response:
            assert response.status == 429
        status, body = await client.ask("DELETE", "/2/connections/filtered_stream")
        assert status == 200
        assert body["data"]["successful_kills"] == 1
        await _slot_is_free(client)


async def test_delete_connections_ends_an_open_stream(app: RunApp, read: Read) -> None:
    """The killed stream ends, and the list of connections is empty."""
    async with app("#news") as client:
        async with client.stream() as response:
            await read(response, 1)
            _, body = await client.ask("GET", "/2/connections")
            uuid = body["data"][0]["id"]
            await client.ask("DELETE", "/2/connections", {"uuids": [uuid]})
            async with asyncio.timeout(60):
                while await response.content.readline():
                    pass
        _, body = await client.ask("GET", "/2/connections")
        assert body["data"] == []


async def test_a_quiet_stream_is_kept_alive(app: RunApp, read: Read) -> None:
    """Blank lines come when nothing else does, on the simulator's scale of time."""
    async with app("#news", posts=1, time_scale=QUICK) as client, client.stream() as response:
        await read(response, 1)
        assert [await response.content.readline() for _ in range(3)] == [b"\r\n"] * 3


async def _slot_is_free(client: App) -> None:
    async with asyncio.timeout(60):
        while True:
            async with client.stream() as response:
                if response.status == 200:
                    return


@pytest.mark.parametrize("name", ["lines.ndjson", "lines.ndjson.gz"])
async def test_every_line_of_a_replayed_file_is_sent_unchanged(
    app: RunApp, tmp_path: Path, name: str
) -> None:
    """Broken ones too; then the stream stays open with keep-alives."""
    odd = (
        b'{"data": {"id": "11", "text": "spaces  and \\u00e9 stay"}}',
        b'{"delete":{"status":{"id":77,"id_str":"77"}}}',
        b'{"data":{"id":"12","text":"torn',
        b"\xff\xfe not even text",
        b'{"id":13,"id_str":"13","text":"of the other network","user":{}}',
    )
    text = b"\n".join(odd[:2]) + b"\r\n\n" + b"\n".join(odd[2:])
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    settings = {"replay": str(tmp_path / name), "rate": 0, "time_scale": QUICK}
    async with app("#news", **settings) as client, client.stream() as response:
        read = [await response.content.readline() for _ in odd]
        assert read == [line + b"\r\n" for line in odd]
        assert await response.content.readline() == b"\r\n"
        assert client.server.sent == ["11", "13"]
        assert client.server.hub.sent.others == 3


async def test_a_replay_in_a_loop_begins_again_at_its_end(app: RunApp, tmp_path: Path) -> None:
    lines = [b'{"data":{"id":"11","text":"a"}}', b'{"data":{"id":"12","text":"b"}}']
    (tmp_path / "lines").write_bytes(b"\n".join(lines))
    settings = {"replay": str(tmp_path / "lines"), "loop": True, "rate": 0}
    async with app("#news", **settings) as client, client.stream() as response:
        read = [(await response.content.readline()).strip() for _ in range(5)]
    assert read == [*lines, *lines, lines[0]]
