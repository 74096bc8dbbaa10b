"""Filters of X v1.1: their parameters and limits, and which posts match (reference §4 to §8)."""

import random
import re
from collections.abc import Iterable, Mapping

import msgspec

from simulator.payload import NO_WORD, Node, node, nodes, runs, text
from simulator.posts import Constraints
from simulator.settings import Limits

Box = tuple[float, float, float, float]

LEVELS = ("none", "low", "medium")


class FilterRefused(Exception):
    """The filter is not accepted; holds the HTTP status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection asks for; `everything` is the sample."""

    phrases: tuple[tuple[str, ...], ...] = ()  # each a set of terms in lower case
    follow: frozenset[str] = frozenset()
    boxes: tuple[Box, ...] = ()
    languages: frozenset[str] = frozenset()
    level: int = 0
    delimited: bool = False
    warnings: bool = False
    everything: bool = False


def read_filter(parameters: Mapping[str, str], limits: Limits, *, sample: bool = False) -> Filter:
    """Parse the parameters; FilterRefused when a limit is exceeded.

    Like the real service, it ignores unknown names and parameters without a value.
    """
    parameters = {name: value for name, value in parameters.items() if value}
    if "count" in parameters:
        raise FilterRefused(416, "The parameter count needs another access level.")
    level = parameters.get("filter_level", "none")
    if level not in LEVELS:
        raise FilterRefused(406, "filter_level is none, low or medium.")
    if parameters.get("delimited", "length") != "length":
        raise FilterRefused(406, "delimited can only be length.")
    wanted = Filter(
        phrases=() if sample else _phrases(parameters.get("track"), limits),
        follow=frozenset() if sample else _follow(parameters.get("follow"), limits),
        boxes=() if sample else _boxes(parameters.get("locations"), limits),
        languages=frozenset(filter(None, parameters.get("language", "").lower().split(","))),
        level=LEVELS.index(level),
        delimited="delimited" in parameters,
        warnings=parameters.get("stall_warnings") == "true",
        everything=sample,
    )
    if not (wanted.phrases or wanted.follow or wanted.boxes or sample):
        raise FilterRefused(406, "At least one of track, follow and locations is needed.")
    return wanted


def _phrases(value: str | None, limits: Limits) -> tuple[tuple[str, ...], ...]:
    if value is None:
        return ()
    phrases = value.split(",")
    if len(phrases) > limits.phrases:
        raise FilterRefused(413, f"There are more than {limits.phrases} phrases in track.")
    for phrase in phrases:
        if not 1 <= len(phrase.strip().encode()) <= limits.phrase_bytes:
            raise FilterRefused(406, f"A phrase in track has 1 to {limits.phrase_bytes} bytes.")
    return tuple(tuple(phrase.lower().split()) for phrase in phrases)


def _follow(value: str | None, limits: Limits) -> frozenset[str]:
    if value is None:
        return frozenset()
    ids = [number.strip() for number in value.split(",")]
    if len(ids) > limits.follow:
        raise FilterRefused(413, f"There are more than {limits.follow} ids in follow.")
    if not all(number.isascii() and number.isdigit() for number in ids):
        raise FilterRefused(406, "follow takes numeric ids.")
    return frozenset(ids)


def _boxes(value: str | None, limits: Limits) -> tuple[Box, ...]:
    if value is None:
        return ()
    try:
        figures = [float(part) for part in value.split(",")]
    except ValueError:
        raise FilterRefused(406, "locations takes numbers.") from None
    if len(figures) % 4:
        raise FilterRefused(406, "locations takes four numbers for each box.")
    if len(figures) > 4 * limits.boxes:
        raise FilterRefused(413, f"There are more than {limits.boxes} boxes in locations.")
    boxes = tuple(
        (figures[place], figures[place + 1], figures[place + 2], figures[place + 3])
        for place in range(0, len(figures), 4)
    )
    for west, south, east, north in boxes:
        inside = -180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90
        if not inside or not (0.1 <= east - west <= 360 and 0.1 <= north - south <= 360):
            raise FilterRefused(
                406, "A box is west, south, east, north, 0.1 to 360 degrees a side."
            )
    return boxes


_LEADING = re.compile(f"^(?:(?![#@$]){NO_WORD})+")
_TRAILING = re.compile(f"{NO_WORD}+$")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://")


class FilterMatcher:
    """Matches posts against one filter; phrases are indexed by their first term."""

    def __init__(self, wanted: Filter) -> None:
        self.wanted = wanted
        self.by_term: dict[str, list[tuple[str, ...]]] = {}
        for phrase in wanted.phrases:
            self.by_term.setdefault(phrase[0], []).append(phrase)

    def matches(self, tweet: Node) -> bool:
        """Whether a post matches track, follow or locations, and also language and level."""
        wanted = self.wanted
        if wanted.languages and tweet.get("lang") not in wanted.languages:
            return False
        if wanted.level > LEVELS.index(text(tweet, "filter_level") or "low"):
            return False
        return (
            wanted.everything
            or self._tracked(tweet)
            or self._followed(tweet)
            or self._located(tweet)
        )

    def _tracked(self, tweet: Node) -> bool:
        if not self.by_term:
            return False
        found = terms(tweet)
        for inner in ("retweeted_status", "quoted_status"):
            if inside := node(tweet, inner):
                found |= terms(inside)
        return any(
            found.issuperset(phrase)
            for term in found & self.by_term.keys()
            for phrase in self.by_term[term]
        )

    def _followed(self, tweet: Node) -> bool:
        if not self.wanted.follow:
            return False
        ids = {
            text(node(tweet, "user"), "id_str"),
            text(tweet, "in_reply_to_user_id_str"),
            text(node(node(tweet, "retweeted_status"), "user"), "id_str"),
        }
        # A reply without the reply button begins with the name.
        for mention in nodes(node(tweet, "entities"), "user_mentions"):
            indices = mention.get("indices")
            if isinstance(indices, list) and indices[:1] == [0]:
                ids.add(text(mention, "id_str"))
        return not ids.isdisjoint(self.wanted.follow)

    def _located(self, tweet: Node) -> bool:
        if not self.wanted.boxes or "retweeted_status" in tweet:
            return False
        spot = node(tweet, "coordinates").get("coordinates")
        if isinstance(spot, list) and len(spot) == 2:
            area = (spot[0], spot[1], spot[0], spot[1])
        else:
            rings = node(node(tweet, "place"), "bounding_box").get("coordinates")
            if not isinstance(rings, list) or not rings or not rings[0]:
                return False
            lons, lats = zip(*rings[0], strict=True)
            area = (min(lons), min(lats), max(lons), max(lats))
        return any(
            area[0] <= east and area[2] >= west and area[1] <= north and area[3] >= south
            for west, south, east, north in self.wanted.boxes
        )


def terms(tweet: Node) -> set[str]:
    """All strings of a post that a term of `track` is compared with."""
    extended = node(tweet, "extended_tweet")
    best = text(extended, "full_text") or text(tweet, "full_text") or text(tweet, "text")
    found: set[str] = set()
    for piece in best.lower().split():
        found |= _canonical(_TRAILING.sub("", _LEADING.sub("", piece)))
    for entities in (node(tweet, "entities"), node(extended, "entities")):
        for link in (*nodes(entities, "urls"), *nodes(entities, "media")):
            for key in ("expanded_url", "display_url"):
                found |= _canonical(text(link, key).lower())
        found |= _named("#", (text(tag, "text") for tag in nodes(entities, "hashtags")))
        found |= _named("$", (text(tag, "text") for tag in nodes(entities, "symbols")))
        found |= _named("@", (text(m, "screen_name") for m in nodes(entities, "user_mentions")))
    return found


def constraints(wanted: Filter, rng: random.Random) -> Constraints:
    """What a post must contain to match one alternative of the filter, chosen at random."""
    lang = rng.choice(sorted(wanted.languages)) if wanted.languages else None
    kinds = [
        kind
        for kind, present in (
            ("track", wanted.phrases), ("follow", wanted.follow), ("locations", wanted.boxes)
        )
        if present
    ]  # fmt: skip
    match rng.choice(kinds) if kinds else "":
        case "track":
            return _talking(rng.choice(wanted.phrases), lang)
        case "follow":
            who = rng.choice(sorted(wanted.follow))
            how = rng.choice(("author", "author", "reply_to", "repost_of"))
            if how == "repost_of":
                return Constraints(repost_of=who, kind="retweet", lang=lang)
            return (
                Constraints(author=who, lang=lang)
                if how == "author"
                else Constraints(reply_to=who, lang=lang)
            )
        case "locations":
            west, south, east, north = rng.choice(wanted.boxes)
            return Constraints(
                point=(rng.uniform(west, east), rng.uniform(south, north)), lang=lang
            )
        case _:
            return Constraints(lang=lang)


def _talking(phrase: Iterable[str], lang: str | None) -> Constraints:
    words, hashtags, mentions, cashtags, link = [], [], [], [], None
    for term in phrase:
        match term[0]:
            case "#":
                hashtags.append(term[1:])
            case "@":
                mentions.append(term[1:])
            case "$":
                cashtags.append(term[1:])
            case _ if "." in term.strip("."):
                link = term
            case _:
                words.append(term)
    return Constraints(
        words=(" ".join(words),) if words else (),
        hashtags=tuple(hashtags),
        mentions=tuple(mentions),
        cashtags=tuple(cashtags),
        link=link,
        lang=lang,
    )


def _canonical(piece: str) -> set[str]:
    """A piece of text or a URL, and the runs of word characters in it."""
    found = set(runs(piece))
    if "." in piece or "://" in piece:
        piece = _SCHEME.sub("", piece).removeprefix("www.")
    if piece:
        found.add(piece)
    return found


def _named(sigil: str, names: Iterable[str]) -> set[str]:
    return {form for name in names for form in (name.lower(), sigil + name.lower())}
