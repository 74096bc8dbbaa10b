"""What must a post contain so that this rule matches it?"""

import random

import msgspec

from simulator.grammar import Leaf, Tree, numbers
from simulator.posts import Wish


def wish(tree: Tree, rng: random.Random) -> Wish:
    """What a post needs to match; one of the alternatives is taken at random."""
    wanted = Wish()
    for leaf in _chosen(tree, rng):
        if not leaf.negated:
            wanted = _with(wanted, leaf)
    return wanted


def _chosen(tree: Tree, rng: random.Random) -> list[Leaf]:
    if isinstance(tree, Leaf):
        return [tree]
    if tree.kind == "or":
        return _chosen(rng.choice(tree.children), rng)
    return [leaf for child in tree.children for leaf in _chosen(child, rng)]


_LISTS = {"keyword": "words", "phrase": "words", "#": "hashtags", "$": "cashtags", "@": "mentions"}
_SINGLE = {
    "from": "author", "to": "reply_to", "lang": "lang",
    "place": "area", "place_country": "country",
}  # fmt: skip
_ONES: dict[tuple[str, str], dict[str, object]] = {
    ("is", "retweet"): {"kind": "retweet"},
    ("is", "reply"): {"kind": "reply"},
    ("is", "quote"): {"kind": "quote"},
    ("is", "verified"): {"verified": True},
    ("has", "media"): {"media": "photo"},
    ("has", "images"): {"media": "photo"},
    ("has", "video_link"): {"media": "video"},
}


def _with(wanted: Wish, leaf: Leaf) -> Wish:
    if leaf.op in _LISTS:
        name = _LISTS[leaf.op]
        return _set(wanted, {name: (*getattr(wanted, name), leaf.value)})
    if leaf.op == "has" and ("has", leaf.value) not in _ONES:
        return _set(wanted, {"wants": (*wanted.wants, leaf.value)})
    return _set(wanted, _single(leaf))


def _single(leaf: Leaf) -> dict[str, object]:
    match leaf.op:
        case "bounding_box":
            west, south, east, north = numbers(leaf.value)
            return {"point": ((west + east) / 2, (south + north) / 2)}
        case "point_radius":
            lon, lat, _ = numbers(leaf.value)
            return {"point": (lon, lat)}
        case "retweets_of":
            return {"repost_of": leaf.value, "kind": "retweet"}
        case "url":
            return {"link": leaf.value.replace(" ", "-")}
        case op if op in _SINGLE:
            return {_SINGLE[op]: leaf.value}
        case _:
            return _ONES.get((leaf.op, leaf.value), {})


def _set(wanted: Wish, changes: dict[str, object]) -> Wish:
    return msgspec.structs.replace(wanted, **changes)
