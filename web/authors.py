"""Authors as pages show them: their name, else a short form of their id; and their page."""

from urllib.parse import quote

import msgspec

from stream.networks.descriptions import SERVICES
from stream.store.top_items import TopItem
from stream.tweet import NetworkName

DID = "did:"
_HEAD, _TAIL = 14, 6  # characters of a DID that are shown: method and beginning, and end


class ShownAuthor(msgspec.Struct, frozen=True):
    """The author of a tweet. `url`: their page, where the id leads to it; `network`: its name."""

    name: str
    url: str | None
    network: str


def shown_author(network: NetworkName, author: str | None, author_id: str | None) -> ShownAuthor:
    """The author of a tweet of this network."""
    name = f"@{author}" if author else short_id(author_id) if author_id else "unknown"
    return ShownAuthor(name, author_page(network, author_id), SERVICES[network])


def short_id(author_id: str) -> str:
    """`did:plc:abcdef…uvwxyz`; ids of other forms as they are."""
    if not author_id.startswith(DID) or len(author_id) <= _HEAD + _TAIL + 1:
        return author_id
    return f"{author_id[:_HEAD]}…{author_id[-_TAIL:]}"


def author_page(network: NetworkName, author_id: str | None) -> str | None:
    """The page of this account; None where its id does not lead there."""
    if network == "bluesky" and author_id and author_id.startswith(DID):
        return f"https://bsky.app/profile/{quote(author_id, safe=':')}"
    if network == "mastodon" and author_id and author_id.startswith(("https://", "http://")):
        return author_id
    return None


def top_author(top: TopItem) -> ShownAuthor:
    """An author among the top items, who is counted by name or by DID."""
    if top.item.startswith(DID):
        return shown_author("bluesky", top.name, top.item)
    return ShownAuthor(f"@{top.item}", None, "")
