"""What msgspec knows about the settings, by their dotted keys."""

from collections.abc import Iterator
from typing import Any

import msgspec

from stream.config.settings import Settings
from stream.config.units import EXAMPLES, Unit

# What texts of a certain form look like, by their keys.
_PATTERNS = {
    "database": "an address such as postgresql://user:password@host/name",
    "monitor.listen": "a host and a port such as 127.0.0.1:9273",
    "web.listen": "a host and a port such as 127.0.0.1:8080",
    "web.base_path": "a path such as /tweets",
    "alerts.digest_at": "a time of day such as 07:00",
    "alerts.heartbeat_url": "an address such as https://host/path",
    "archive.url": "a folder such as /srv/archive, or an address such as s3://bucket/folder",
}

_ADDRESSES = "addresses such as [mailto://user:password@host]"
_LISTS = {"web.trusted_proxies": "machines or networks such as [10.0.0.0/8]"}


class Leaf(msgspec.Struct, frozen=True):
    """One setting: its dotted key, its type as msgspec sees it, and the unit it is counted in."""

    key: str
    type: msgspec.inspect.Type
    unit: Unit | None

    @property
    def is_text(self) -> bool:
        return isinstance(self.type, msgspec.inspect.StrType | msgspec.inspect.LiteralType)

    @property
    def is_list(self) -> bool:
        return isinstance(self.type, msgspec.inspect.ListType)

    @property
    def takes(self) -> str:
        """What may stand there, as the end of a sentence."""
        match self.type:
            case msgspec.inspect.BoolType():
                return "true or false"
            case msgspec.inspect.LiteralType(values=values):
                return " or ".join(str(value) for value in values)
            case msgspec.inspect.ListType():
                return f"a list of {_LISTS.get(self.key, _ADDRESSES)}"
            case msgspec.inspect.StrType() as text:
                return _text(text, self.key)
            case msgspec.inspect.IntType() | msgspec.inspect.FloatType() as number:
                return _number(number, self.unit)
        raise AssertionError(f"{self.key} has a type that no sentence was written for")


def _text(type_: msgspec.inspect.StrType, key: str) -> str:
    if type_.pattern is not None:
        return f"{_PATTERNS[key]}, or nothing"
    return "text that is not empty" if type_.min_length else "text"


def _number(type_: msgspec.inspect.IntType | msgspec.inspect.FloatType, unit: Unit | None) -> str:
    kind = "a whole number" if isinstance(type_, msgspec.inspect.IntType) else "a number"
    limits = (("above", type_.gt), ("of at least", type_.ge), ("and at most", type_.le))
    said = [f"{word} {limit:.15g}" for word, limit in limits if limit is not None]
    if unit is None:
        return " ".join([kind, *said])
    return (
        " ".join([kind, *said, f"({unit})"]) + f", or one with its unit, such as {EXAMPLES[unit]}"
    )


def _walk(type_: msgspec.inspect.StructType, above: str) -> Iterator[Leaf]:
    for field in type_.fields:
        extra: dict[str, Any] = {}
        inner = field.type
        while isinstance(inner, msgspec.inspect.Metadata):
            extra, inner = {**(inner.extra or {}), **extra}, inner.type
        if isinstance(inner, msgspec.inspect.StructType):
            yield from _walk(inner, f"{above}{field.name}.")
        else:
            yield Leaf(f"{above}{field.name}", inner, extra.get("unit"))


_ROOT = msgspec.inspect.type_info(Settings)
assert isinstance(_ROOT, msgspec.inspect.StructType)
LEAVES = {leaf.key: leaf for leaf in _walk(_ROOT, "")}
SECTIONS = frozenset(key.rpartition(".")[0] for key in LEAVES if "." in key)
