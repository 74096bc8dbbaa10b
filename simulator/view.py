"""What a rule may ask about a v2 payload, gathered once for all rules."""

from collections.abc import Iterable, Mapping

import msgspec

from simulator.nodes import NOTHING, Node, node, nodes, text
from simulator.tokens import tokens

Box = tuple[float, float, float, float]


class View(msgspec.Struct):
    """`keys` answers most operators by membership: `snow`, `#tag`, `@name`, `from:name`, `has:geo`.

    `runs` and `links` are token sequences for what asks about order.
    """

    keys: set[str]
    runs: list[list[str]]
    links: list[list[str]]
    id: int
    point: tuple[float, float] | None = None
    box: Box | None = None


def view(payload: Node) -> View:
    """Read a payload with all expansions; what is missing in it simply does not match."""
    data = node(payload, "data")
    included = node(payload, "includes")
    users = {text(user, "id"): user for user in nodes(included, "users")}
    tweets = {text(tweet, "id"): tweet for tweet in nodes(included, "tweets")}
    number = text(data, "id")
    seen = View(keys=set(), runs=[], links=[], id=int(number) if number.isdigit() else 0)
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
    if reposted is None:  # places are never those of a repost
        _places(seen, data, {text(area, "id"): area for area in nodes(included, "places")})
    return seen


def _content(seen: View, tweet: Node) -> None:
    """Words, entities and links of one tweet: its own, the reposted or the quoted one."""
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


def _named(seen: View, sigil: str, has: str, names: Iterable[str]) -> None:
    for name in names:
        seen.keys.add(sigil + name.lower())
        seen.keys.add(has)


def _references(seen: View, data: Node, tweets: Mapping[str, Node]) -> Node | None:
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


def _person(seen: View, operator: str, user: Node | None, number: str) -> None:
    if number:
        seen.keys.add(operator + number)
    if user is not None:
        seen.keys.add(operator + text(user, "username").lower())


def _media(seen: View, data: Node, media: Mapping[str, Node]) -> None:
    keys = node(data, "attachments").get("media_keys")
    for key in keys if isinstance(keys, list) else []:
        seen.keys.add("has:media")
        kind = text(media.get(key, NOTHING), "type")
        seen.keys.add("has:images" if kind == "photo" else "has:video_link")


def _places(seen: View, data: Node, areas: Mapping[str, Node]) -> None:
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
