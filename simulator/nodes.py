"""Reading JSON of which nothing is certain: what is missing, or of another type, is empty."""

from collections.abc import Mapping
from typing import TypeAlias, cast

Node: TypeAlias = Mapping[str, object]

NOTHING: Node = {}


def node(parent: Node, key: str) -> Node:
    """The object under this key."""
    found = parent.get(key)
    return cast("Node", found) if isinstance(found, Mapping) else NOTHING


def nodes(parent: Node, key: str) -> list[Node]:
    """The objects in the list under this key."""
    found = parent.get(key)
    items = found if isinstance(found, list) else []
    return [cast("Node", item) for item in items if isinstance(item, Mapping)]


def text(parent: Node, key: str) -> str:
    """The string under this key."""
    found = parent.get(key)
    return found if isinstance(found, str) else ""
