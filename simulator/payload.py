"""Reads JSON payloads without assumptions (missing or wrong types are empty); splits words."""

import re
import sys
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import TypeAlias, cast

Json: TypeAlias = dict[str, object]
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


@cache
def _marks() -> str:
    # Vowel signs and accents belong to their word, but are not in \w.
    return "".join(
        chr(code)
        for code in range(0x300, min(0x1_1000, sys.maxunicode))
        if unicodedata.category(chr(code)).startswith("M")
    )


WORD = rf"[\w{_marks()}]"
NO_WORD = rf"[^\w{_marks()}]"
EMOJI = "[\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"

_RUNS = re.compile(f"{WORD}+")
_TOKENS = re.compile(f"{WORD}+|{EMOJI}")


def runs(text: str) -> list[str]:
    """All maximal runs of letters, numbers, marks and `_` (X v1.1 reference §6.3)."""
    return _RUNS.findall(text)


def tokens(text: str) -> list[str]:
    """Runs, and each emoji by itself (X v2 reference §4, keyword and emoji)."""
    return _TOKENS.findall(text)
