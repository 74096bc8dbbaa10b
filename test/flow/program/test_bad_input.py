"""Nothing that comes over the wire can stop the program or spoil its neighbours."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator import wire_v2
from simulator.generator import Generator
from simulator.server import Limits

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.conftest import AuditBooks
    from test.flow.program.conftest import Collect, Run

LIMITS = Limits(reader_bytes=64 << 20)
MUTATED = 10_000
DEEP = 10_000  # levels


def post(number: int, text: str = "snow", **more: object) -> bytes:
    data = {"id": str(number), "text": text, "edit_history_tweet_ids": [str(number)], **more}
    return json.dumps({"data": data}).encode()


def with_value(number: int, value: str) -> bytes:
    """A good post in which one unknown field has this value."""
    return post(number).replace(b'"text"', b'"odd": ' + value.encode() + b', "text"')


REJECTED = {
    "torn": (b'{"data": {"id": "1", "text": "torn', "not_json"),
    "no text at all": (b"\x00\xff\xfe\x80", "not_utf8"),
    "invalid UTF-8": (post(2, "caf?").replace(b"?", b"\xc3"), "not_utf8"),
    "an overlong NUL": (post(3, "?").replace(b"?", b"\xc0\x80"), "not_utf8"),
    "a surrogate in UTF-8": (post(4, "?").replace(b"?", b"\xed\xa0\x80"), "not_utf8"),
    "HTML": (b"<html>502 Bad Gateway</html>", "not_json"),
    "two messages on one line": (post(5) + post(6), "not_json"),
    "an array": (b"[" + post(7) + b"]", "not_object"),
    "a string": (b'"snow"', "not_object"),
    "null": (b"null", "not_object"),
    "deep": (with_value(8, "[" * DEEP + "]" * DEEP), "too_deep"),
    "deep alone": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "too_deep"),
    "no id": (b'{"data": {"text": "snow"}}', "no_id"),
    "an id of words": (b'{"data": {"id": "snow", "text": "snow"}}', "no_id"),
    "a number that is none": (with_value(9, "NaN"), "not_json"),
    "a number too long for numeric": (with_value(10, "1e999999"), "refused"),
    "too large": (post(11, "x" * 3_000_000), "too_large"),
}
STORED = {
    "NUL": post(101, "snow \0 day"),
    "lone surrogates": post(102, "snow \ud800 \udc00 \udc00\ud800"),
    "1 MB": post(103, "snow " * 200_000),
    "a large number": with_value(104, "1e999"),
    "a number of 5,000 digits": with_value(105, "9" * 5000),
    "a byte order mark": b"\xef\xbb\xbf" + post(106),
    "the same key twice": post(107).replace(b'"text"', b'"text": "rain", "text"'),
    "wrong types": post(108, lang=7, author_id={}, entities=[1], referenced_tweets="x"),
}
CONTROL = [
    b'{"notice": {"kind": "maintenance"}}',
    b'{"data": {"bookmark": {"id": "1"}}}',
    b"{}",
    b'{"snow": null}',
]


async def send(run: Run, lines: Sequence[bytes]) -> None:
    """Over the wire, no faster than the program takes them."""
    await run.eventually(lambda: bool(run.server.hub.active()))
    for start in range(0, len(lines), 100):
        [connection] = run.server.hub.active()
        run.server.hub.send(connection, lines[start : start + 100])
        await connection.writable.wait()


async def test_each_bad_frame_costs_one_reject_and_no_neighbour(
    collect: Collect, audit: AuditBooks
) -> None:
    neighbours = [post(1000 + n) for n in range(len(REJECTED) + len(STORED) + len(CONTROL) + 1)]
    bad = [*(body for body, _ in REJECTED.values()), *STORED.values(), *CONTROL]
    last = f"SELECT native_id FROM tweets WHERE native_id = '{999 + len(neighbours)}'"
    settings: dict[str, object] = {"max_frame_bytes": 2_000_000}
    async with collect("snow", settings=settings, posts=0, limits=LIMITS) as run:
        tables = run.tables
        await send(run, [line for pair in zip(neighbours, bad, strict=False) for line in pair])
        await send(run, neighbours[-1:])
        await run.rows_are(last, str(999 + len(neighbours)))
        assert run.server.hub.attempt_count == 1
        await run.program.stop()
    found = await tables.rows("SELECT body, reason FROM rejects ORDER BY id")
    # Of what is too large, the beginning is kept.
    assert found == [(body[:2_000_000], reason) for body, reason in REJECTED.values()]
    ids = {native_id for (native_id,) in await tables.rows("SELECT native_id FROM tweets")}
    assert ids >= {str(1000 + n) for n in range(len(neighbours))}
    assert ids >= {str(101 + n) for n in range(len(STORED))}
    outcomes = await tables.outcomes()
    assert outcomes["control"] == len(CONTROL)
    assert outcomes["repaired"] == 3  # NUL, surrogates, byte order mark
    text = await tables.one("SELECT text FROM tweets WHERE native_id = '101'")
    assert text == "snow \ufffd day"
    await audit(tables, run.program.journal)


@pytest.mark.parametrize("seed", [random.randrange(1 << 32)], ids=["any seed"])
async def test_ten_thousand_mutated_messages_are_each_stored_or_rejected(
    seed: int, collect: Collect, audit: AuditBooks
) -> None:
    """Every tenth is whole, and stored."""
    chance, posts = random.Random(seed), Generator(seed)
    lines: list[bytes] = []
    whole: set[str] = set()
    while len(lines) < MUTATED * 11 // 10:
        made = posts.post()
        line = msgspec.json.encode(wire_v2.payload(made))
        if len(lines) % 11 == 0:
            whole.add(str(made.id))
        else:
            line = mutate(line, chance)
        lines.append(line)
    async with collect("snow", posts=0, limits=LIMITS) as run:
        await send(run, lines)

        async def all_there() -> bool:
            outcomes = await run.tables.outcomes()
            return outcomes.total() - outcomes["repaired"] - outcomes["undelivered"] == len(lines)

        await run.eventually(all_there)
        assert run.server.hub.attempt_count == 1
        await run.program.stop()
    found = await audit(run.tables, run.program.journal)
    assert [frame.body for frame in found.frames] == lines
    assert found.tweets >= whole
    assert found.rejects.total() > MUTATED / 10


VALUES = (
    *(b"null", b"1e999", b"-1", b"[]", b"{}", b'"\\u0000"', b'"\\ud800"', b"true") * 6,
    # Postgres alone refuses this one, and the batch is then stored by halves, which takes its time.
    b"1e999999",
)


def mutate(line: bytes, chance: random.Random) -> bytes:
    """Some small harm to a message, that keeps it one line."""
    for _ in range(chance.choice((1, 1, 2, 5))):
        at, end = sorted(chance.randrange(len(line) + 1) for _ in range(2))
        match chance.randrange(6):
            case 0:
                line = line[:at]
            case 1:
                line = line[:at] + line[min(end, at + 20) :]
            case 2:
                line = line[:at] + chance.randbytes(chance.randrange(1, 5)) + line[at:]
            case 3:
                line = line[:at] + line[at:end] + line[at:]
            case 4:
                line = line[:at] + line[at : at + 1].swapcase() + line[at + 1 :]
            case _:
                # The value behind some colon becomes another one.
                colon = line.find(b":", at)
                comma = line.find(b",", colon)
                if 0 < colon < comma:
                    line = line[: colon + 1] + chance.choice(VALUES) + line[comma:]
    line = line.replace(b"\n", b" ").rstrip(b"\r")
    return line if line.strip() else b"?"


async def test_v1_messages_of_unknown_kinds_and_ids_that_differ(
    collect: Collect, audit: AuditBooks
) -> None:
    """id_str is right: numeric ids over 2^53 arrive rounded from some tools."""
    user = {"id": 5, "id_str": "5", "screen_name": "ann"}
    rounded = {"id": 1234567890123456800, "id_str": "1234567890123456789", "text": "snow"}
    lines = [
        json.dumps({**rounded, "user": user}).encode(),
        b'{"weather": {"snow": true}}',
        b'{"delete": {"snow": 1}}',
        b'{"limit": "none"}',
        b'{"text": "snow", "user": {"id_str": "5"}}',
        json.dumps({"id": 7, "id_str": "7", "text": "snow", "user": user}).encode(),
    ]
    async with collect("snow", network="x_v1", posts=0) as run:
        tables = run.tables
        await send(run, lines)
        await run.rows_are("SELECT native_id FROM tweets WHERE native_id = '7'", "7")
        await run.program.stop()
    ids = await tables.rows("SELECT native_id FROM tweets ORDER BY id")
    assert ids == [("1234567890123456789",), ("7",)]
    assert await tables.rows("SELECT reason FROM rejects ORDER BY id") == [
        ("bad_shape",),
        ("no_id",),
    ]
    assert (await tables.outcomes())["control"] == 2
    await audit(tables, run.program.journal, network="x_v1")
