"""What belongs to the text of a post: what its facets mark there, and what is attached to it.

Bluesky reference, "Post record" and "Lexicon news". The places of facets count bytes of UTF-8. They
overlap, lie outside of the text, or go through a character: then they are cut to what there is.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from stream.networks.bluesky.wire_types import Embed, Facet, Number, Span
from stream.query.tokenize import cuts
from stream.tweet import MediaKind

_SIGILS = "#＃"
_MENTION = re.compile(r"[@＠](?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?)")


class Marked(NamedTuple):
    """Names and tags without their sign; every mention has its account, maybe not its name."""

    hashtags: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    mention_ids: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


class Attached(NamedTuple):
    """Addresses, descriptions and media of what is attached."""

    links: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    media: tuple[MediaKind, ...] = ()


_NOTHING_MARKED = Marked()
_NOTHING_ATTACHED = Attached()


def bare_tag(tag: str) -> str:
    """A hashtag without its sign, which some programs write once more."""
    return tag.lstrip(_SIGILS)


def marked_by(text: str, facets: Iterable[Facet] | None) -> Marked:
    """The tags, mentions and links of these facets, in their order."""
    if not facets:
        return _NOTHING_MARKED
    encoded: bytes | None = None
    tags, names, ids, links = [], [], [], []
    for facet in facets:
        for feature in facet.features or ():
            if feature.uri:
                links.append(feature.uri)
            elif feature.tag and (tag := bare_tag(feature.tag)):
                tags.append(tag)
            elif feature.did:
                encoded = text.encode("utf-8", "replace") if encoded is None else encoded
                ids.append(feature.did)
                if name := _name_at(encoded, facet.index):
                    names.append(name)
    return Marked(tuple(tags), tuple(names), tuple(ids), tuple(links))


def _name_at(text: bytes, index: Span | None) -> str | None:
    """The name written there: an @ and whole words; None for any other text.

    Only whole words, so that a name is found by the words of the text.
    """
    if index is None:
        return None
    begin, end = _within(index.byte_start, len(text)), _within(index.byte_end, len(text))
    written = text[begin:end].decode("utf-8", "ignore")
    found = _MENTION.fullmatch(written)
    rest = text[end : end + 4].decode("utf-8", "ignore")  # the next character
    return found["name"] if found is not None and not cuts(written + rest, len(written)) else None


def _within(place: Number, length: int) -> int:
    return int(min(max(place, 0), length)) if place is not None else 0


def attached(embed: Embed | None) -> Attached:
    """What an embed holds, together with the media beside a quoted post."""
    if embed is None:
        return _NOTHING_ATTACHED
    links: list[str | None] = []
    texts: list[str | None] = []
    media: list[MediaKind] = []
    for each in (embed,) if embed.media is None else (embed, embed.media):
        for images in (each.images, each.items):
            if images:
                texts += [image.alt for image in images]
                media += ["photo"] * len(images)
        if each.video is not None:
            media.append("animated_gif" if each.presentation == "gif" else "video")
        texts.append(each.alt)
        if (card := each.external) is not None:
            links.append(card.uri)
            texts += (card.title, card.description)
    return Attached(distinct(links), distinct(texts), tuple(media))


def distinct(texts: Iterable[str | None]) -> tuple[str, ...]:
    """Remove duplicates and empty texts; keeps the order."""
    return tuple(dict.fromkeys([text for text in texts if text]))
