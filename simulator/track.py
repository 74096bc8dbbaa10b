"""Which posts a v1.1 filter lets through (X v1.1 reference §6.3, §7, §8), from their payloads."""

import random
import re
from collections.abc import Iterable

from simulator.filters import LEVELS, Filter
from simulator.nodes import Node, node, nodes, text
from simulator.posts import Wish
from simulator.tokens import NO_WORD, runs

_LEADING = re.compile(f"^(?:(?![#@$]){NO_WORD})+")
_TRAILING = re.compile(f"{NO_WORD}+$")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://")


class Sieve:
    """One filter, arranged so that a post looks only at phrases that it has a term of."""

    def __init__(self, wanted: Filter) -> None:
        self.wanted = wanted
        self.by_term: dict[str, list[tuple[str, ...]]] = {}
        for phrase in wanted.phrases:
            self.by_term.setdefault(phrase[0], []).append(phrase)

    def lets_through(self, tweet: Node) -> bool:
        """Track, follow and locations are alternatives; language and level narrow them."""
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
    """Everything that a term of `track` can equal."""
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


def wish(wanted: Filter, rng: random.Random) -> Wish:
    """What a post needs to be let through, by one of the alternatives at random."""
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
                return Wish(repost_of=who, kind="retweet", lang=lang)
            return Wish(author=who, lang=lang) if how == "author" else Wish(reply_to=who, lang=lang)
        case "locations":
            west, south, east, north = rng.choice(wanted.boxes)
            return Wish(point=(rng.uniform(west, east), rng.uniform(south, north)), lang=lang)
        case _:
            return Wish(lang=lang)


def _talking(phrase: Iterable[str], lang: str | None) -> Wish:
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
    return Wish(
        words=(" ".join(words),) if words else (),
        hashtags=tuple(hashtags),
        mentions=tuple(mentions),
        cashtags=tuple(cashtags),
        link=link,
        lang=lang,
    )


def _canonical(piece: str) -> set[str]:
    """A piece of text or an address, and the runs of word characters in it."""
    found = set(runs(piece))
    if "." in piece or "://" in piece:
        piece = _SCHEME.sub("", piece).removeprefix("www.")
    if piece:
        found.add(piece)
    return found


def _named(sigil: str, names: Iterable[str]) -> set[str]:
    return {form for name in names for form in (name.lower(), sigil + name.lower())}
