"""The matcher agrees with a naive one, which is written straight from the published rules."""

import unicodedata
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.query import (
    And,
    Entity,
    Has,
    InBox,
    Is,
    Lang,
    Link,
    Node,
    Not,
    Or,
    Phrase,
    Query,
    Term,
    TrackKind,
    User,
    parse,
)
from stream.tweet import Content, NativeId, Place, TrackId, Tweet

SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "HANGUL")


def naive_canonical(text: str) -> str:
    text = unicodedata.normalize("NFC", text).replace("İ", "i").lower()
    for apostrophe in "‘’ʼ＇":
        text = text.replace(apostrophe, "'")
    return text.replace("\ufe0f", "")


def naive_dense(character: str) -> bool:
    name = unicodedata.name(character, "").split(" ")[0].split("-")[0]
    letter = unicodedata.category(character)[0] in "LM"
    return (name in SPACELESS and letter) or unicodedata.category(character) == "So"


def naive_word(character: str) -> bool:
    known = unicodedata.category(character)[0] in "LNM" or character == "_"
    return known and not naive_dense(character)


def naive_runs(text: str) -> list[str]:
    return "".join(each if naive_word(each) else " " for each in text).split()


def naive_tokens(text: str) -> set[str]:
    """§6.3: pieces between spaces, less punctuation, addresses cut; and the runs inside."""
    found: set[str] = set()
    for chunk in "".join(" " if naive_dense(each) else each for each in text).split():
        piece = chunk
        while piece and not (naive_word(piece[0]) or piece[0] in "#@$"):
            piece = piece[1:]
        while piece and not naive_word(piece[-1]):
            piece = piece[:-1]
        if "." in piece or "://" in piece:
            for scheme in ("http://", "https://"):
                piece = piece.removeprefix(scheme)
            piece = piece.removeprefix("www.")
        found |= {piece, *naive_runs(piece)}
    return found - {""}


def naive_fields(content: Content) -> list[str]:
    names = (*content.hashtags, *content.mentions, *content.cashtags)
    return [naive_canonical(each) for each in (content.text, *names, *content.links)]


def naive_term(term: str, content: Content) -> bool:
    if any(naive_dense(each) for each in term):
        return any(naive_inside(term, field) for field in naive_fields(content))
    found = naive_tokens(naive_canonical(content.text))
    for link in content.links:
        found |= naive_tokens(naive_canonical(link))
    tags = {"#": content.hashtags, "@": content.mentions, "$": content.cashtags}
    for sigil, names in tags.items():
        for name in map(naive_canonical, names):
            found |= {name, sigil + name, *naive_runs(name)}
    return term in found


def naive_inside(term: str, text: str) -> bool:
    for at in range(len(text)):
        end = at + len(term)
        if text[at:end] == term:
            before = at > 0 and naive_word(text[at - 1]) and naive_word(term[0])
            after = end < len(text) and naive_word(text[end]) and naive_word(term[-1])
            if not before and not after:
                return True
    return False


def naive_phrase(text: str, fields: list[str]) -> bool:
    if any(naive_dense(each) for each in text):
        return any(naive_inside(text, " ".join(field.split())) for field in fields)
    wanted = naive_runs(text)
    return any(
        runs[at : at + len(wanted)] == wanted
        for runs in map(naive_runs, fields)
        for at in range(len(runs))
    )


def naive_leading(content: Content) -> str:
    """Whom the text begins with."""
    text = content.text.lstrip().lower() + " "
    fitting = [
        name
        for name in content.mentions
        if text.startswith(f"@{name.lower()}")
        and not (text[1 + len(name)].isalnum() or text[1 + len(name)] == "_")
    ]
    return max(fitting, key=len, default="")


def naive_leaf(  # noqa: C901, PLR0911, PLR0912 - one line for each kind of leaf
    leaf: Node, content: Content, part: str, tweet: Tweet
) -> bool:
    match leaf:
        case Term(text):
            return naive_term(text, content)
        case Phrase(text):
            return naive_phrase(text, naive_fields(content))
        case Link(text):
            return naive_phrase(text, naive_fields(Content(links=content.links))[1:])
        case Entity(kind, text):
            return text in [naive_canonical(each) for each in getattr(content, kind + "s")]
        case User("from", handle):
            return (tweet.own.author or "").lower() == handle
        case User("any", handle):
            addressed = (tweet.reply_to or naive_leading(tweet.own)).lower()
            own = part == "own" and handle == addressed
            return own or (part != "quoted" and (content.author or "").lower() == handle)
        case Lang(code):
            return tweet.lang == code
        case Is("retweet"):
            return tweet.kind == "repost"
        case Has("hashtags"):
            return tweet.own.hashtags != ()
        case InBox((west, south, east, north)):
            if tweet.kind == "repost":
                return False
            if tweet.point:
                return west <= tweet.point[0] <= east and south <= tweet.point[1] <= north
            box = tweet.place.box if tweet.place else None
            return box is not None and not (
                box[0] > east or box[2] < west or box[1] > north or box[3] < south
            )
        case _:
            raise NotImplementedError(leaf)


def naive_node(node: Node, part: str, parts: dict[str, Content], tweet: Tweet) -> bool:
    match node:
        case And(children):
            return all(naive_node(child, part, parts, tweet) for child in children)
        case Or(children):
            return any(naive_node(child, part, parts, tweet) for child in children)
        case Not(child):
            return not any(naive_node(child, each, parts, tweet) for each in parts)
        case _:
            return naive_leaf(node, parts[part], part, tweet)


def naive_match(
    tracks: list[tuple[TrackId, Query]], tweet: Tweet
) -> list[tuple[TrackId, str, str]]:
    found = []
    parts = {"own": tweet.own, "reposted": tweet.reposted, "quoted": tweet.quoted}
    there = {part: content for part, content in parts.items() if content is not None}
    for track_id, query in tracks:
        best = [
            (track_id, alternative.term, part)
            for part in there
            for alternative in query.alternatives
            if naive_node(alternative.node, part, there, tweet)
        ]
        found += best[:1]
    return found


WORDS = [
    "@a", "a", "b", "Cat", "cat's", "CAT’S", "a-b", "a.b/c", "A.B", "https://www.a.b/c",
    "http://", "https", "www", "www.a.b", "#", "@", "$", "$1", "1", "_", "東京", "東", "京都",
    "台", "ที่", "🎉", "❤️", "👩\u200d🚀", "é", "é", "ß", "ʼ", "…", "“a”", "!", ".", ",", "ı",
    "İ", "Σ", "ς", "न", "हि", "①", "²", "™", "٣", "ａ",
]  # fmt: skip
NAMES = ("a", "B", "cat", "東京", "é", "a.b")
TEXTS = st.lists(st.sampled_from((*WORDS, " ", "\n")), max_size=8).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda between: between.join(pieces))
)
LISTS = st.lists(st.sampled_from(NAMES), max_size=2).map(tuple)
CONTENTS = st.builds(
    Content,
    text=TEXTS,
    hashtags=LISTS,
    mentions=LISTS,
    cashtags=LISTS,
    links=st.lists(st.sampled_from(WORDS), max_size=1).map(tuple),
    author=st.sampled_from([None, "A", "b"]),
)
DEGREES = st.sampled_from([-180.0, -10.0, 0.0, 0.5, 1.0, 90.0])
POINTS = st.tuples(DEGREES, st.sampled_from([-90.0, 0.0, 0.5, 1.0, 90.0]))
BOXES = st.tuples(POINTS, POINTS).map(
    lambda ends: (
        min(ends[0][0], ends[1][0]),
        min(ends[0][1], ends[1][1]),
        max(ends[0][0], ends[1][0]),
        max(ends[0][1], ends[1][1]),
    )
)
TWEETS = st.builds(
    Tweet,
    native_id=st.just(NativeId("1")),
    kind=st.sampled_from(["original", "repost"]),
    own=CONTENTS,
    reposted=st.none() | CONTENTS,
    quoted=st.none() | CONTENTS,
    lang=st.sampled_from(["en", "de"]),
    reply_to=st.sampled_from([None, "a"]),
    point=st.none() | POINTS,
    place=st.none() | st.builds(Place, box=BOXES),
)
KEYWORDS = st.lists(
    st.lists(st.sampled_from([*WORDS, "#a", "@cat", "$b", "#東京"]), min_size=1, max_size=3).map(
        " ".join
    ),
    min_size=1,
    max_size=3,
).map(",".join)
RULE_WORDS = st.sampled_from(
    [*WORDS, '"a b"', '"東京 a"', "#a", "from:a", "url:a", "has:hashtags", "is:retweet", "lang:en"]
)
RULES = st.lists(
    st.tuples(st.sampled_from(["", "-"]), RULE_WORDS, st.sampled_from([" ", " OR "])),
    min_size=1,
    max_size=4,
).map(lambda parts: "".join(map("".join, parts)).removesuffix(" OR ").strip())
GROUPED = st.tuples(RULES, RULES).map(lambda rules: f"({rules[0]}) {rules[1]}")
PLACES = BOXES.map(lambda box: ",".join(map(str, box)))
VALUES = st.one_of(
    st.tuples(st.just("keyword"), KEYWORDS),
    st.tuples(st.just("query"), RULES | GROUPED),
    st.tuples(st.just("user"), st.sampled_from(["a", "@b", "b,a"])),
    st.tuples(st.just("place"), PLACES),
)


def parsed(kind: TrackKind, value: str) -> Query | None:
    try:
        return parse(kind, value)
    except InvalidQuery:
        return None


@settings(max_examples=400, deadline=None)
@given(st.lists(VALUES, max_size=12), st.lists(TWEETS, min_size=1, max_size=4))
@example(  # found once, by chance
    [("user", "a")],
    [
        Tweet(
            native_id=NativeId("1"),
            kind="repost",
            own=Content(text="@a", mentions=("a",)),
            reposted=Content(text=""),
        )
    ],
)
def test_the_matcher_agrees_with_the_naive_one(
    values: list[tuple[TrackKind, str]], tweets: list[Tweet]
) -> None:
    queries = [query for kind, value in values if (query := parsed(kind, value))]
    tracks = [(TrackId(number), query) for number, query in enumerate(queries)]
    matcher = Matcher(tracks)
    for tweet in tweets:
        found = [(match.track_id, match.term, match.part) for match in matcher.match(tweet)]
        assert found == naive_match(tracks, tweet)


@pytest.mark.parametrize("count", [0, 1, 17, 3000])
def test_many_boxes_of_all_sizes_are_found_like_by_hand(count: int) -> None:
    random = Random(count)
    boxes = []
    for _ in range(count):
        west, south = random.randrange(-1800, 1790) / 10, random.randrange(-900, 890) / 10
        size = random.choice([0.1, 0.3, 5, 400])
        boxes.append((west, south, min(180.0, west + size), min(90.0, south + size)))
    matcher = Matcher(
        (TrackId(number), parse("place", ",".join(map(str, box))))
        for number, box in enumerate(boxes)
    )
    for _ in range(100):
        point = (random.randrange(-1800, 1801) / 10, random.randrange(-900, 901) / 10)
        tweet = Tweet(native_id=NativeId("1"), kind="original", own=Content(), point=point)
        inside = [
            number
            for number, (west, south, east, north) in enumerate(boxes)
            if west <= point[0] <= east and south <= point[1] <= north
        ]
        assert [match.track_id for match in matcher.match(tweet)] == inside
