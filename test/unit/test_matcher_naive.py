"""The matcher agrees with a naive one, which is written straight from the published rules."""

import unicodedata

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
from stream.tweet import Box, Content, NativeId, Place, TrackId, Tweet

SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "HANGUL")


def naive_canonical(text: str) -> str:
    text = unicodedata.normalize("NFC", text).replace("İ", "i").lower()
    for apostrophe in "‘’ʼ＇":
        text = text.replace(apostrophe, "'")
    return text.replace("\ufe0f", "").replace("\ufe0e", "")


EQUAL = {"ς": "σ", "ß": "ss", "ı": "i", "ي": "ی", "ك": "ک", "״": '"', "׳": "'"}
NOT_COMPARED = "ARABIC TATWEEL", "ARABIC DAMMA", "HEBREW POINT PATAH"


def naive_compared(text: str) -> str:
    """What a term and a text are equal by: one character for each letter, none for vowel signs."""
    compared = ""
    text = naive_canonical(text)
    for at, each in enumerate(text):
        before = unicodedata.name(text[at - 1], "").split(" ")[0] if at else ""
        if unicodedata.name(each, "").startswith(("FULLWIDTH", "HALFWIDTH")):
            compared += unicodedata.normalize("NFKC", each).lower()
        elif each == "\u200c" and before == "ARABIC":
            compared += " "
        elif each in "\u200c\u200d" and before in ("ARABIC", "DEVANAGARI"):
            continue
        elif unicodedata.name(each, "") not in NOT_COMPARED:
            compared += EQUAL.get(each, each)
    return unicodedata.normalize("NFC", compared)


def naive_emoji(character: str) -> bool:
    symbol = unicodedata.category(character) == "So" and character != "™"
    return symbol or "🏻" <= character <= "🏿"


def naive_units(text: str) -> list[str]:
    """Every character, but those of one emoji together."""
    units: list[str] = []
    for at, each in enumerate(text):
        before, after = units[-1] if units else "", text[at + 1 : at + 2]
        flags = all("🇦" <= flag <= "🇿" for flag in before + each) and len(before) == 1
        vowel = before and unicodedata.category(each)[0] == "M" and naive_dense(each)
        keycap = each == "\u20e3" and before in set("0123456789#*")
        tone = "🏻" <= each <= "🏿" and before and naive_emoji(before[-1])
        ending = "\U000e0020" <= each <= "\U000e007f" and before
        joins = each == "\u200d" and before and after and naive_emoji(after)
        joiner = joins and naive_emoji(before[-1])
        joined = len(before) > 1 and before[-1] == "\u200d" and naive_emoji(each)
        if flags or vowel or keycap or tone or ending or joiner or joined:
            units[-1] += each
        else:
            units.append(each)
    return units


def naive_dense(unit: str) -> bool:
    if len(unit) > 1:
        return True
    name = unicodedata.name(unit, "").split(" ")[0].split("-")[0]
    letter = unicodedata.category(unit)[0] in "LM"
    return (name in SPACELESS and letter) or naive_emoji(unit)


def naive_word(unit: str) -> bool:
    known = len(unit) == 1 and (unicodedata.category(unit)[0] in "LNM" or unit == "_")
    return known and not naive_dense(unit)


def naive_verbatim(term: str) -> bool:
    """It is looked for as it stands: something dense, or a sign that is not part of an address."""
    units = naive_units(term)
    signs = any(len(unit) == 1 and unit in "$&+%" for unit in units)
    address = " " not in term and "." in term[1:-2]
    return any(map(naive_dense, units)) or (signs and not address)


def naive_runs(text: str) -> list[str]:
    return "".join(each if naive_word(each) else " " for each in naive_units(text)).split()


def naive_tokens(text: str) -> set[str]:
    """§6.3: pieces between spaces, less punctuation, addresses cut; and the runs inside."""
    found: set[str] = set()
    units = naive_units(text)
    for chunk in "".join(" " if naive_dense(unit) else unit for unit in units).split():
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
    texts = (content.text, *names, *content.links, *content.descriptions)
    return [naive_compared(each) for each in texts]


def naive_term(term: str, content: Content) -> bool:
    term = naive_compared(term)
    if " " in term:
        return naive_phrase(term, naive_fields(content))
    if naive_verbatim(term):
        return any(naive_inside(term, field) for field in naive_fields(content))
    found = naive_tokens(naive_compared(content.text))
    for text in (*content.links, *content.descriptions):
        found |= naive_tokens(naive_compared(text))
    tags = {"#": content.hashtags, "@": content.mentions, "$": content.cashtags}
    for sigil, names in tags.items():
        for name in map(naive_compared, names):
            found |= {name, sigil + name, *naive_runs(name)}
    return term in found


def naive_inside(term: str, text: str) -> bool:
    toneless = "".join(each for each in text if not "🏻" <= each <= "🏿")
    if toneless != text and not any("🏻" <= each <= "🏿" for each in term):
        return naive_inside(term, toneless) or naive_stands(term, text)
    return naive_stands(term, text)


def naive_stands(term: str, text: str) -> bool:
    units = naive_units(text)
    for begin in range(len(units)):
        for end in range(begin + 1, len(units) + 1):
            if "".join(units[begin:end]) == term:
                before = begin > 0 and naive_word(units[begin - 1]) and naive_word(units[begin])
                after = end < len(units) and naive_word(units[end]) and naive_word(units[end - 1])
                if not before and not after:
                    return True
    return False


def naive_phrase(text: str, fields: list[str]) -> bool:
    text = naive_compared(text)
    if naive_verbatim(text):
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


def naive_meet(one: Box, other: Box) -> bool:
    """Half degrees, walked one by one round the globe: all of our numbers are such."""
    if one[1] > other[3] or other[1] > one[3]:
        return False
    steps = []
    for west, _, east, _ in (one, other):
        end = east + 360 if east < west else east
        steps.append({at % 720 for at in range(round(west * 2), round(end * 2) + 1)})
    return bool(steps[0] & steps[1])


def naive_leaf(  # noqa: C901, PLR0911 - one line for each kind of leaf
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
            names = getattr(content, kind + "s")
            return naive_compared(text) in map(naive_compared, names)
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
            area = tweet.place.box if tweet.place else None
            area = (*tweet.point, *tweet.point) if tweet.point else area
            return area is not None and naive_meet((west, south, east, north), area)
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
    "🇺🇸", "🇦🇺🇸🇪", "🇸", "1️⃣", "#️⃣", "\u20e3", "👍", "👍🏽", "🏽", "👩🏽\u200d🚀", "🚀", "\u200d", "☺︎",
    "🏴", "🏴\U000e0077\U000e007f", "a&b", "A&B’s", "50%", "a+b", "a·b", "・",
    "SS", "ẞ", "ｶﾞ", "ガ", "Ａｂ", "م", "مُـ", "ی", "ي", "می\u200cخواهم", "میخواهم", "\u200c",
    "क्\u200dष", "क्ष", "שַ", "ש", "צה״ל", 'צה"ל', "ท",
]  # fmt: skip
NAMES = ("a", "B", "cat", "東京", "é", "a.b", "a·b", "ラブ・ライブ", "می\u200cخواهم", "צה״ל")
MARKED = ["#a", "@cat", "$b", "#東京", "#a·b", "#ラブ・ライブ", "#می\u200cخواهم", "#צה״ל"]
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
    descriptions=st.lists(TEXTS, max_size=1).map(tuple),
    author=st.sampled_from([None, "A", "b"]),
)
LONGITUDES = st.sampled_from([-180.0, -179.5, -170.0, -10.0, 0.0, 0.5, 1.0, 90.0, 170.0, 180.0])
LATITUDES = st.sampled_from([-90.0, 0.0, 0.5, 1.0, 90.0])
POINTS = st.tuples(LONGITUDES, LATITUDES)
BOXES = st.tuples(POINTS, POINTS).map(  # whichever way round
    lambda ends: (ends[0][0], min(ends[0][1], ends[1][1]), ends[1][0], max(ends[0][1], ends[1][1]))
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
    st.lists(st.sampled_from([*WORDS, *MARKED, '"a b"', '"a&b c"']), min_size=1, max_size=3).map(
        " ".join
    ),
    min_size=1,
    max_size=3,
).map(",".join)
RULE_WORDS = st.sampled_from(
    [
        *(*WORDS, *MARKED, '"a b"', '"東京 a"', '"a&b c"'),
        *("#a", "from:a", "url:a", "has:hashtags", "is:retweet", "lang:en"),
    ]
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
