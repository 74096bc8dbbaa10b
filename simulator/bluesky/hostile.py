"""Records that servers let through although they break the lexicon."""

from collections.abc import Callable, Sequence

import msgspec

from simulator.payload import Json


def wrong_types(record: Json, count: int) -> None:
    """Give one field of a record a wrong type; each call with the next count another one."""
    field, value = _WRONG[count % len(_WRONG)]
    if value is msgspec.UNSET:
        record.pop(field, None)
    else:
        record[field] = value


_IMAGES: Json = {"$type": "app.bsky.embed.images"}
_EXTERNAL: Json = {"$type": "app.bsky.embed.external"}
_TAG: Json = {"$type": "app.bsky.richtext.facet#tag"}
_INDEX: Json = {"byteStart": 0, "byteEnd": 4}
_WRONG: Sequence[tuple[str, object]] = (
    ("langs", "en"),
    ("langs", [7, None, "en"]),
    ("langs", ["xx-not-a-language-at-all", ""]),
    ("tags", "news"),
    ("tags", [{"tag": "news"}, 5]),
    ("facets", {"index": 1}),
    ("facets", [None, "x", {"index": "0-4", "features": []}]),
    ("facets", [{"index": {"byteStart": "0", "byteEnd": 4}, "features": [{**_TAG, "tag": "a"}]}]),
    ("facets", [{"index": _INDEX, "features": {"tag": "a"}}, {"features": [{**_TAG, "tag": "b"}]}]),
    ("facets", [{"index": _INDEX, "features": [{**_TAG, "tag": 5}, {"$type": 3, "uri": None}]}]),
    ("embed", []),
    ("embed", "https://example.com/"),
    ("embed", {"$type": "app.bsky.embed.unheardOf", "what": 1}),
    ("embed", {**_IMAGES, "images": {"alt": "one"}}),
    ("embed", {**_IMAGES, "images": [{"alt": 5, "image": "x"}, None]}),
    ("embed", {**_EXTERNAL, "external": {"uri": 5, "title": ["a"], "description": None}}),
    ("embed", {**_EXTERNAL, "external": None}),
    ("embed", {"$type": "app.bsky.embed.record", "record": "at://nowhere"}),
    ("reply", "at://nowhere"),
    ("reply", {"root": {"uri": 5}, "parent": None}),
    ("labels", [{"val": "porn"}]),
    ("createdAt", 1783175888),
    ("createdAt", None),
    ("createdAt", msgspec.UNSET),
    ("text", None),
    ("text", 42),
    ("text", ["a", "list"]),
    ("text", msgspec.UNSET),
    ("$type", msgspec.UNSET),
    ("extra", {"deeply": {"nested": [[[[{}]]]]}}),
    ("huge", 10**30),
    ("big", -1.5e300),
)


def bad_facets(record: Json, count: int) -> None:
    """Give a record facets that contradict its text."""
    size = len(str(record.get("text", "")).encode())
    start, end = _RANGES[count % len(_RANGES)](size)
    feature: Json = {"$type": "app.bsky.richtext.facet#tag", "tag": ("#news", "＃news")[count % 2]}
    facet: Json = {"index": {"byteStart": start, "byteEnd": end}, "features": [feature]}
    record["facets"] = [facet, facet] if count % 3 == 0 else [facet]


_RANGES: Sequence[Callable[[int], tuple[float, float]]] = (
    lambda size: (size, size + 50),  # beyond the end
    lambda size: (size + 10, size + 20),
    lambda size: (size, 0),  # backwards
    lambda _: (-5, 4),
    lambda _: (1, 2),  # inside a character, when the text begins with an emoji
    lambda _: (0, 0),
    lambda _: (0, 2**62),
    lambda _: (0.5, 3.5),
)


def bad_clock(record: Json, count: int) -> None:
    """Give a record a nonsensical createdAt."""
    record["createdAt"] = _TIMES[count % len(_TIMES)]


_TIMES = (
    "1970-01-01T00:00:00.000Z", "2099-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "24-1-1", "",
    "now", "10000-01-01T00:00:00Z", "2024-02-30T25:61:00Z", "2024-06-01 14:38", "1719792000",
    "2024-06-01T14:38:00+99:00", "0000-00-00T00:00:00Z",
)  # fmt: skip


def escaped(json: bytes) -> bytes:
    """The same JSON in ASCII only, with upper-case escapes of every other letter of strings."""
    out: list[str] = []
    inside = False
    position = 0
    text = json.decode()
    while position < len(text):
        char = text[position]
        if char == "\\":
            width = 6 if text[position + 1] == "u" else 2
            out.append(text[position : position + width])
            position += width
            continue
        if char == '"':
            inside = not inside
        if inside and (ord(char) > 126 or (char.isalpha() and position % 2)):
            units = char.encode("utf-16-be").hex().upper()
            out.extend(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
        else:
            out.append(char)
        position += 1
    return "".join(out).encode()
