"""Decides which rules a v2 post matches (X v2 reference §4)."""

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import msgspec

from simulator.grammar import Group, Leaf, Tree, numbers, parse
from simulator.payload import NOTHING, Node, node, nodes, text, tokens

Box = tuple[float, float, float, float]


class MatchInput(msgspec.Struct):
    """What rules can ask about a post, extracted once for all rules.

    `keys` decides most operators by membership: `snow`, `#tag`, `@name`, `from:name`, `has:geo`.
    `runs` and `links` are token sequences for operators that depend on order.
    """

    keys: set[str]
    runs: list[list[str]]
    links: list[list[str]]
    id: int
    point: tuple[float, float] | None = None
    box: Box | None = None


def match_input(payload: Node) -> MatchInput:
    """Extract from a payload with all expansions; missing fields do not match."""
    data = node(payload, "data")
    included = node(payload, "includes")
    users = {text(user, "id"): user for user in nodes(included, "users")}
    tweets = {text(tweet, "id"): tweet for tweet in nodes(included, "tweets")}
    number = text(data, "id")
    seen = MatchInput(keys=set(), runs=[], links=[], id=int(number) if number.isdigit() else 0)
    _content(seen, data)
    reposted = _references(seen, data, tweets)
    author = text(data, "author_id")
    _person(seen, "from:", users.get(author), author)
    answered = text(data, "in_reply_to_user_id")
    _person(seen, "to:", users.get(answered), answered)
    if reposted is not None:
        writer = text(reposted, "author_id")
        _person(seen, "retweets_of:", users.get(writer), writer)
    if users.get(author, NOTHING).get("verified"):
        seen.keys.add("is:verified")
    seen.keys.add("lang:" + (text(data, "lang") or "und"))
    seen.keys.add("conversation_id:" + text(data, "conversation_id"))
    _media(seen, data, {text(item, "media_key"): item for item in nodes(included, "media")})
    if reposted is None:  # a repost never has a place
        _places(seen, data, {text(area, "id"): area for area in nodes(included, "places")})
    return seen


def _content(seen: MatchInput, tweet: Node) -> None:
    """Add words, entities and links of a tweet, or of the one it reposts or quotes."""
    note = node(tweet, "note_tweet")
    words = tokens((text(note, "text") or text(tweet, "text")).lower())
    seen.runs.append(words)
    seen.keys.update(words)
    for entities in (node(tweet, "entities"), node(note, "entities")):
        _named(seen, "#", "has:hashtags", (text(e, "tag") for e in nodes(entities, "hashtags")))
        _named(seen, "$", "has:cashtags", (text(e, "tag") for e in nodes(entities, "cashtags")))
        _named(
            seen, "@", "has:mentions", (text(e, "username") for e in nodes(entities, "mentions"))
        )
        for link in nodes(entities, "urls"):
            if "media_key" not in link:
                seen.keys.add("has:links")
            for key in ("url", "expanded_url", "unwound_url"):
                words = tokens(text(link, key).lower())
                seen.links.append(words)
                seen.keys.update(words)


def _named(seen: MatchInput, sigil: str, has: str, names: Iterable[str]) -> None:
    for name in names:
        seen.keys.add(sigil + name.lower())
        seen.keys.add(has)


def _references(seen: MatchInput, data: Node, tweets: Mapping[str, Node]) -> Node | None:
    reposted = None
    for reference in nodes(data, "referenced_tweets"):
        kind = text(reference, "type")
        other = tweets.get(text(reference, "id"))
        if kind == "replied_to":
            seen.keys.add("is:reply")
            continue
        seen.keys.add("is:retweet" if kind == "retweeted" else "is:quote")
        if other is not None:
            _content(seen, other)
            if kind == "retweeted":
                reposted = other
    return reposted


def _person(seen: MatchInput, operator: str, user: Node | None, number: str) -> None:
    if number:
        seen.keys.add(operator + number)
    if user is not None:
        seen.keys.add(operator + text(user, "username").lower())


def _media(seen: MatchInput, data: Node, media: Mapping[str, Node]) -> None:
    keys = node(data, "attachments").get("media_keys")
    for key in keys if isinstance(keys, list) else []:
        seen.keys.add("has:media")
        kind = text(media.get(key, NOTHING), "type")
        seen.keys.add("has:images" if kind == "photo" else "has:video_link")


def _places(seen: MatchInput, data: Node, areas: Mapping[str, Node]) -> None:
    geo = node(data, "geo")
    if not geo:
        return
    seen.keys.add("has:geo")
    point = node(geo, "coordinates").get("coordinates")
    if isinstance(point, list) and len(point) == 2:
        seen.point = (float(point[0]), float(point[1]))
    area = areas.get(text(geo, "place_id"), NOTHING)
    for key in ("id", "name", "full_name"):
        seen.keys.add("place:" + text(area, key).lower())
    seen.keys.add("place_country:" + text(area, "country_code").lower())
    box = node(area, "geo").get("bbox")
    if isinstance(box, list) and len(box) == 4:
        seen.box = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


Test: TypeAlias = Callable[[MatchInput], bool]

_VAGUE = frozenset(("lang", "is", "has", "sample", "point_radius", "bounding_box"))


class Rule(msgspec.Struct):
    """One rule, in effect from `active` until `gone` on the simulator's clock."""

    id: str
    value: str
    tag: str | None
    tree: Tree
    test: Test
    anchors: frozenset[str] | None  # a post with none of these keys cannot match
    active: float
    gone: float = math.inf


def make_rule(number: str, value: str, tag: str | None, active: float) -> Rule:
    """Parse and compile; InvalidRule when X would refuse it."""
    tree = parse(value)
    return Rule(number, value, tag, tree, _compile(tree), _anchors(tree), active)


class RuleIndex:
    """Finds matching rules; checks only rules with a key of the post."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.by_key: dict[str, list[Rule]] = {}
        self.anywhere: list[Rule] = []
        for rule in rules:
            if rule.anchors is None:
                self.anywhere.append(rule)
            for key in rule.anchors or ():
                self.by_key.setdefault(key, []).append(rule)

    def matching(self, seen: MatchInput, now: float) -> list[Rule]:
        """The active rules that match, without repetition."""
        found = {id(rule): rule for rule in self.anywhere}
        for key in seen.keys & self.by_key.keys():
            for rule in self.by_key[key]:
                found[id(rule)] = rule
        return [
            rule for rule in found.values() if rule.active <= now < rule.gone and rule.test(seen)
        ]


def _compile(tree: Tree) -> Test:
    if isinstance(tree, Group):
        tests = [_compile(child) for child in tree.children]
        combine = all if tree.kind == "and" else any
        return lambda seen: combine(test(seen) for test in tests)
    test = _leaf_test(tree)
    return (lambda seen: not test(seen)) if tree.negated else test


def _leaf_test(leaf: Leaf) -> Test:
    if leaf.op in _BUILDERS:
        return _BUILDERS[leaf.op](leaf)
    key = _key(leaf)
    return lambda seen: key in seen.keys


def _phrase(leaf: Leaf) -> Test:
    words, near = tokens(leaf.value), leaf.near
    if near is None:
        return lambda seen: any(_within(words, run) for run in (*seen.runs, *seen.links))
    return lambda seen: any(_close(words, run, near) for run in seen.runs)


def _keyword(leaf: Leaf) -> Test:
    words = tokens(leaf.value)
    if len(words) == 1:
        return lambda seen: words[0] in seen.keys
    return lambda seen: any(_within(words, run) for run in seen.runs)  # a row of emoji


def _url(leaf: Leaf) -> Test:
    words = tokens(leaf.value)
    return lambda seen: any(_within(words, run) for run in seen.links)


def _sample(leaf: Leaf) -> Test:
    share = int(leaf.value)
    return lambda seen: zlib.crc32(b"%d" % seen.id) % 100 < share


def _bounding_box(leaf: Leaf) -> Test:
    west, south, east, north = numbers(leaf.value)
    return lambda seen: _in_box(seen, (west, south, east, north))


def _point_radius(leaf: Leaf) -> Test:
    lon, lat, km = numbers(leaf.value)
    return lambda seen: seen.point is not None and _distance(seen.point, (lon, lat)) <= km


_BUILDERS: dict[str, Callable[[Leaf], Test]] = {
    "phrase": _phrase,
    "keyword": _keyword,
    "url": _url,
    "sample": _sample,
    "bounding_box": _bounding_box,
    "point_radius": _point_radius,
}


def _key(leaf: Leaf) -> str:
    if leaf.op == "keyword":
        return leaf.value
    return leaf.op + leaf.value if leaf.op in "#@$" else f"{leaf.op}:{leaf.value.removeprefix('@')}"


def _within(words: list[str], run: list[str]) -> bool:
    if not words:
        return False
    length = len(words)
    return any(
        run[place : place + length] == words
        for place in range(len(run) - length + 1)
        if run[place] == words[0]
    )


def _close(words: list[str], run: list[str], near: int) -> bool:
    """Two words with at most `near` others between them; `near` - 2 in reverse order."""
    if len(words) != 2:
        return _within(words, run)
    first = [place for place, word in enumerate(run) if word == words[0]]
    second = [place for place, word in enumerate(run) if word == words[1]]
    return any(0 < b - a <= near + 1 or 0 < a - b <= near - 1 for a in first for b in second)


def _in_box(seen: MatchInput, box: tuple[float, float, float, float]) -> bool:
    west, south, east, north = box
    if seen.point is not None:
        return west <= seen.point[0] <= east and south <= seen.point[1] <= north
    if seen.box is None:
        return False
    return (
        seen.box[0] <= east
        and seen.box[2] >= west
        and seen.box[1] <= north
        and seen.box[3] >= south
    )


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Kilometres on the sphere."""
    lon1, lat1, lon2, lat2 = map(math.radians, (*one, *other))
    half = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * 6371 * math.asin(math.sqrt(half))


def _anchors(tree: Tree) -> frozenset[str] | None:
    if isinstance(tree, Leaf):
        if tree.negated or tree.op in _VAGUE:
            return None
        if tree.op in {"phrase", "url", "keyword"}:
            return frozenset(tokens(tree.value)[:1])
        return frozenset((_key(tree),))
    inner = [_anchors(child) for child in tree.children]
    if tree.kind == "and":
        return min((keys for keys in inner if keys is not None), key=len, default=None)
    if None in inner:
        return None
    return frozenset().union(*(keys for keys in inner if keys is not None))
