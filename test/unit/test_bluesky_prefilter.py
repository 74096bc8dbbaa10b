"""The pre-filter lets through every post that belongs to a track, however it is written in JSON."""

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgbench.prefilter import messages, tracks
from simulator.bluesky.activity import Activity
from simulator.bluesky.event_log import EventLog, v1_message, v2_message
from simulator.core import Core
from simulator.faults import Armed
from simulator.settings import Settings as Simulated
from stream.batch import Batch, MayMatch
from stream.errors import InvalidQuery, Reject
from stream.jsontext import sanitize_for_jsonb
from stream.matcher import Matcher
from stream.networks.bluesky.decode import decode
from stream.networks.bluesky.prefilter import may_match
from stream.query import Query, TrackKind, parse
from stream.store.tweets import IncomingTweet
from stream.tweet import Frame, Match, SourceId, TrackId, Tweet

RECEIVED = 1_790_000_000_000_000  # microseconds, within a minute
FRAMES = Path(__file__).parent.parent / "frames" / "bluesky"


def matcher_of(*written: tuple[TrackKind, str]) -> Matcher:
    """A matcher for these tracks; values that cannot be parsed are left out."""
    queries: list[Query] = []
    for kind, value in written:
        try:
            queries.append(parse(kind, value))
        except InvalidQuery:
            continue
    return Matcher([(TrackId(number), query) for number, query in enumerate(queries)])


def matched(body: bytes, matcher: Matcher) -> list[Match] | None:
    """What decoding and matching find; None when the frame is no new post."""
    try:
        message = decode(sanitize_for_jsonb(body)[0])
    except Reject:
        return None
    return matcher.match(message) if isinstance(message, Tweet) and not message.edited else None


def check(body: bytes, matcher: Matcher) -> None:
    assert may_match(body, matcher) or matched(body, matcher) == []


WORDS = [
    "cat", "Cat", "CAFÉ", "café", "cafe\u0301", "cafe", "İstanbul", "I\u0307stanbul", "istanbul",
    "\u212Aelvin", "kelvin", "ßen", "ẞen", "ΣΑΣ", "σας", "東京", "東京都", "が", "か\u3099", "ｶﾞ",
    "한국", "\u1112\u1161\u11ab국", "ไทย", "हिन्दी", "می\u200cخواهم", "עברית", "＃tag", "#tag",
    "ｃａｔ", "don’t", "don't", "ʼn", "👩\u200d🚀", "👍🏽", "👍", "❤\ufe0f", "❤", "1\ufe0f\u20e3",
    "🇺🇸", "a\ufe0fb", "ab", "x\u0338", "<\u0338", "<", "&", "a&b", "\\", "\\n", "\\u0063at", "\n",
    "\t", '"', "/", "a/b.com", "https://a.example.com/b?c=d", "\u2028", "\x7f", "\0", "\u20e3",
    "ي", "ی", "كتاب", "کتاب", "כָּל", "כל", "STRASSE", "straße", "ıslak", "ａＢ", "👍🏽Σ", "ΑΣ🏽b",
    "_", "-", "did", "plc", "text", "app.bsky.feed.post", "$CAT", "@cat.example.com", "@cat",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(WORDS), max_size=6).flatmap(
    lambda parts: st.sampled_from(["", " "]).map(lambda between: between.join(parts))
)
DIDS = st.sampled_from(
    ["did:plc:annaannaannaannaannaanna", "did:web:cat.example.com", "did:web:Cat.example.com"]
)
URIS = st.builds("at://{}/app.bsky.feed.post/{}".format, DIDS, st.sampled_from(["3kroot", "7"]))
FEATURES = st.one_of(
    st.builds(lambda tag: {"tag": tag}, TEXTS),
    st.builds(lambda uri: {"uri": uri}, TEXTS),
    st.builds(lambda did: {"did": did}, DIDS),
)
FACETS = st.builds(
    lambda begin, end, feature: {
        "index": {"byteStart": begin, "byteEnd": end},
        "features": [feature],
    },
    st.integers(-2, 30),
    st.integers(-2, 60),
    FEATURES,
)
REFERENCES = st.builds(lambda uri: {"uri": uri}, URIS)
MEDIA = st.one_of(
    st.builds(lambda alt: {"images": [{"alt": alt}]}, TEXTS),
    st.builds(lambda alt: {"items": [{"alt": alt}, {"alt": 5}]}, TEXTS),
    st.builds(lambda alt: {"video": {}, "alt": alt, "presentation": "gif"}, TEXTS),
    st.builds(
        lambda title, text: {"external": {"uri": text, "title": title, "description": text}},
        TEXTS,
        TEXTS,
    ),
)
EMBEDS = MEDIA | st.builds(
    lambda record, media: {"record": {"record": record}, "media": media}, REFERENCES, MEDIA
)
RECORDS = st.fixed_dictionaries(
    {"text": TEXTS},
    optional={
        "langs": st.just(["en"]),
        "tags": st.lists(TEXTS, max_size=2),
        "facets": st.lists(FACETS, max_size=3),
        "embed": EMBEDS,
        "reply": st.builds(
            lambda root, parent: {"root": root, "parent": parent}, *[REFERENCES] * 2
        ),
    },
)
QUERY_WORDS = st.sampled_from([word for word in WORDS if '"' not in word])
KEYWORDS = st.lists(QUERY_WORDS, min_size=1, max_size=2).map(" ".join)
CONDITIONS = st.sampled_from([
    "has:images", "has:media", "has:videos", "has:hashtags", "has:mentions", "has:links",
    "is:reply", "is:quote", "-is:reply", "-has:images", "-is:retweet", "lang:en", "-lang:en",
    "-from:did:plc:anna", "to:did:plc:anna", "conversation_id:3kroot/did:plc:anna",
    "(cat OR is:quote)", "-(cat OR 東京)",
])  # fmt: skip
AUTHOR_OR_WORD = st.builds("(from:{} OR {})".format, DIDS, QUERY_WORDS)
VALUES: st.SearchStrategy[tuple[TrackKind, str]] = st.one_of(
    st.tuples(st.just("keyword"), KEYWORDS),
    st.tuples(st.just("keyword"), KEYWORDS.map('"{}"'.format)),
    st.tuples(st.just("query"), KEYWORDS.map("({}) lang:en".format)),
    st.tuples(st.just("query"), QUERY_WORDS.map("(cat OR {}) -dog".format)),
    st.tuples(st.just("query"), DIDS.map("from:{} has:links".format)),
    st.tuples(
        st.just("query"), st.builds("{} {}".format, QUERY_WORDS | AUTHOR_OR_WORD, CONDITIONS)
    ),
    st.tuples(st.just("query"), CONDITIONS),
    st.tuples(st.just("query"), DIDS.map("to:{}".format)),
    st.tuples(st.just("query"), st.sampled_from(["conversation_id:7", "to:cat", "url:example"])),
    st.tuples(st.just("user"), DIDS | st.sampled_from(["@cat.example.com", "@cat", "7"])),
    st.tuples(st.just("place"), st.sampled_from(["-10,-10,10,10", "cat"])),
)
SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def written(text: str, rng: random.Random) -> str:
    """A text as JSON, every character in one of the ways in which it may be written."""
    pieces = ['"']
    for character in text:
        units = character.encode("utf-16-be")
        escapes = [f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
        ways = ["".join(escapes), "".join(each[:2] + each[2:].upper() for each in escapes)]
        if character not in '"\\' and character >= " ":
            ways += [character] * 3
        if character in SHORT:
            ways.append(SHORT[character])
        pieces.append(rng.choice(ways))
    return "".join([*pieces, '"'])


def as_json(value: object, rng: random.Random) -> str:
    """Any value as JSON, with escapes, spaces and an order of the fields by chance."""
    space = rng.choice(["", "", " ", "\n"])
    if isinstance(value, str):
        return written(value, rng)
    if isinstance(value, list):
        return f"[{space}{','.join(as_json(each, rng) for each in value)}]"
    if isinstance(value, dict):
        items = rng.sample(list(value.items()), len(value))
        return f"{{{','.join(f'{written(k, rng)}:{space}{as_json(v, rng)}' for k, v in items)}}}"
    return json.dumps(value)


def frame(record: object, did: str, seed: int) -> bytes:
    """A new post on either wire."""
    rng = random.Random(seed)
    commit = {
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": "3kanna1",
        "record": record,
    }
    v1 = {"did": did, "time_us": 1768473305000001, "kind": "commit", "commit": commit}
    v2 = {"$type": "message", "payload": {**commit, "did": did, "seq": 5, "time": "2026-01-15"}}
    return as_json(rng.choice([v1, v2]), rng).encode("utf-8", "surrogatepass")


@given(st.lists(VALUES, max_size=6), RECORDS, DIDS, st.integers(0, 1 << 32))
@settings(max_examples=800, deadline=None)
def test_no_post_of_a_track_is_held_back(
    values: list[tuple[TrackKind, str]], record: object, did: str, seed: int
) -> None:
    check(frame(record, did, seed), matcher_of(*values))


@given(TEXTS, st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_what_matches_does_not_depend_on_the_way_of_writing(text: str, seed: int) -> None:
    matcher = matcher_of(*(("keyword", word) for word in WORDS))
    plain = json.dumps({"text": text}, ensure_ascii=False)
    body = frame({"text": text}, "did:plc:annaannaannaannaannaanna", seed)
    assert json.loads(plain) == {"text": text}
    direct = frame({"text": text}, "did:plc:annaannaannaannaannaanna", 0)
    assert matched(body, matcher) == matched(direct, matcher)
    assert may_match(body, matcher) == may_match(direct, matcher)


def facet(begin: int, end: int, **feature: str) -> dict[str, object]:
    return {"index": {"byteStart": begin, "byteEnd": end}, "features": [feature]}


def replying(root: str, parent: str) -> dict[str, object]:
    posts = {"root": root, "parent": parent}
    return {which: {"uri": f"at://{did}/app.bsky.feed.post/3k"} for which, did in posts.items()}


IMAGES = {"images": [{"alt": ""}, {"alt": "a cat"}]}
CARD = {"uri": "https://cat.example.com", "title": "a Dog", "description": "a bird"}
TO_CAT = {
    "text": "@cat.example.com、さん",
    "facets": [facet(0, 16, did="did:plc:cat2cat2cat2cat2cat2cat2")],
}


@pytest.mark.parametrize(
    ("kind", "value", "record"),
    [
        ("keyword", "cat", {"text": "a cat"}),
        ("keyword", "#cat", {"facets": [facet(0, 4, tag="cat")]}),
        ("keyword", "#cat", {"tags": ["x", "#Cat"]}),
        ("query", "url:cat.org", {"facets": [facet(0, 4, uri="https://cat.org/x")]}),
        ("keyword", "cat", {"embed": IMAGES}),
        ("keyword", "cat", {"embed": {"items": [{"alt": "cat"}]}}),
        ("keyword", "cat", {"embed": {"video": {}, "alt": "cat"}}),
        ("keyword", "cat", {"embed": {"record": {"record": {}}, "media": IMAGES}}),
        ("keyword", "cat.example.com", {"embed": {"external": CARD}}),
        ("keyword", "dog", {"embed": {"external": CARD}}),
        ("keyword", "bird", {"embed": {"media": {"external": CARD}}}),
        ("keyword", "@cat.example.com", TO_CAT),
        ("keyword", "@cat.example.com", {**TO_CAT, "text": "@cat.example.comさん"}),
        ("user", "@cat.example.com", TO_CAT),
        ("user", "did:plc:cat2cat2cat2cat2cat2cat2", TO_CAT),
        ("user", "did:plc:annaannaannaannaannaanna", {"text": ""}),
        (
            "query",
            "to:did:plc:cat2cat2cat2cat2cat2cat2",
            {
                "reply": replying(
                    "did:plc:rosarosarosarosarosarosa", "did:plc:cat2cat2cat2cat2cat2cat2"
                )
            },
        ),
    ],
)
def test_every_part_that_can_match_is_looked_at(
    kind: TrackKind, value: str, record: dict[str, object]
) -> None:
    for seed in range(20):
        body = frame(record, "did:plc:annaannaannaannaannaanna", seed)
        assert matched(body, matcher_of((kind, value)))
        assert may_match(body, matcher_of((kind, value)))


@pytest.mark.parametrize("rest", ["fish", "_", "é", "\u0301", "\ufe0ffish", "1"])
def test_a_facet_that_cuts_a_word_names_nobody(rest: str) -> None:
    record = {
        "text": f"@cat{rest}",
        "facets": [facet(0, 4, did="did:plc:cat2cat2cat2cat2cat2cat2")],
    }
    for kind, value in (("keyword", "@cat"), ("user", "@cat")):
        matcher = matcher_of((kind, value))  # type: ignore[arg-type]  # both are kinds
        assert not matched(frame(record, "did:plc:annaannaannaannaannaanna", 1), matcher)


def test_of_ordinary_posts_only_those_with_a_tracked_term_go_through() -> None:
    posts = messages(3000)
    matcher = Matcher(tracks(500))
    through = [post for post in posts if may_match(post, matcher)]
    assert through == [post for post in posts if matched(post, matcher)]
    assert len(through) == 3


def test_tracks_that_come_and_go_change_what_goes_through() -> None:
    body = frame({"text": "a cat in 東京"}, "did:plc:annaannaannaannaannaanna", 1)
    matcher = Matcher()
    assert not may_match(body, matcher)
    for kind, value in (
        ("keyword", "cat"),
        ("keyword", "京"),
        ("user", "did:plc:annaannaannaannaannaanna"),
    ):
        query = parse(kind, value)  # type: ignore[arg-type]  # all of them are kinds
        matcher.add([(TrackId(1), query)])
        assert may_match(body, matcher)
        matcher.remove(TrackId(1), query)
        assert not may_match(body, matcher)


# What a simulated Bluesky sends besides good posts, and how many posts lie between.
MODES = {
    "wrong-types": 2, "bad-facets": 3, "bad-clocks": 5, "edits": 7, "deletes": 9, "accounts": 40,
    "identities": 40, "syncs": 40, "likes": 1,
}  # fmt: skip


def simulated(seed: int) -> list[Frame]:
    words = ("cat", "café", "#tag", "東京", "👍🏽", "@cat.example.com")
    core = Core(Simulated(network="bluesky", seed=seed, words=words, words_every=4))
    for mode, every in [*MODES.items(), *[("escapes", 1)] * (seed % 2)]:
        core.faults.arm(Armed(fault=mode, n=every))
    activity = Activity(core, EventLog(3600, 1 << 30))
    for _ in range(300):
        activity.post()
    bodies = [write(event, event.number + 1, 0) for event in activity.log.events
              for write in (v1_message, v2_message)]  # fmt: skip
    return [Frame(RECEIVED + number, body, number) for number, body in enumerate(bodies, 1)]


def gathered(frames: Sequence[Frame], matcher: Matcher, may_match: MayMatch | None) -> Batch:
    longest = sorted(len(frame.body) for frame in frames)[-20]
    batch = Batch(SourceId(1), 0, longest)  # a frame of just that length may have been cut
    batch.add(frames, decode, matcher.match, may_match)
    return batch


def is_dropped(arrival: IncomingTweet) -> bool:
    return not arrival.matches and not arrival.tweet.edited


@pytest.mark.parametrize("seed", range(6))
def test_without_the_filter_a_batch_has_the_same_and_what_is_then_dropped(seed: int) -> None:
    matcher = matcher_of(*(("keyword", word) for word in WORDS), ("user", "@cat.example.com"))
    frames = simulated(seed)
    whole = gathered(frames, matcher, None)
    short = gathered(frames, matcher, lambda body: may_match(body, matcher))
    assert short.rejects == whole.rejects
    assert short.control_items == whole.control_items
    kept = [arrival for arrival in whole.arrivals if not is_dropped(arrival)]
    assert [arrival for arrival in short.arrivals if not is_dropped(arrival)] == kept
    assert 50 < len(kept) < len(whole.arrivals)
    [minute] = {minute for minute, _ in whole.outcomes}
    assert short.outcomes.pop((minute, "dropped")) == len(whole.arrivals) - len(short.arrivals)
    assert short.outcomes == whole.outcomes


NAMES_OF_FIELDS = ("text", "record", "did", "plc", "bsky", "post", "create", "anna", "3kanna1")


@pytest.mark.parametrize("word", NAMES_OF_FIELDS)
def test_ids_and_names_of_fields_are_no_words(word: str) -> None:
    assert not may_match(
        frame({"text": "x"}, "did:plc:annaannaannaannaannaanna", 1), matcher_of(("keyword", word))
    )


def others() -> Iterable[bytes]:
    for path in FRAMES.iterdir():
        body = path.read_bytes()
        yield body[:-9]
        yield body.replace(b'"create"', b'"update"')
        yield body.replace(b'"create"', b'"delete"')
        yield body.replace(b"app.bsky.feed.post", b"app.bsky.feed.like")
        yield body.replace(b'"did:plc:', b'"plc:')
        yield body.replace(b'"rkey":"', b'"rkey":"/')
        yield body.replace(b'"text":"', b'"text":"\\ud800')
        yield body.replace(b'"rev":"', b'"rev":"\xff')
        yield body.replace(b'"text":"', b'"text":5,"x":"')
        yield b"[" * 5000 + body
    yield from (b"", b"[]", b"\xff", b"null")
    yield b'{"$type":"error","error":"ConsumerTooSlow"}'
    yield b'{"did":"did:plc:annaannaannaannaannaanna","time_us":1,"kind":"identity","identity":{}}'


def test_whatever_is_no_valid_new_post_goes_through() -> None:
    for body in others():
        assert may_match(body, Matcher()), body
