"""The settings by their dotted keys: types, units, limits, and what each accepts, in words.

Sizes and durations may have units: `10 GB`, `500 MiB`, `90 s`, `2 h`.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_type_hints

import msgspec

from stream.config.settings import Settings

Unit = Literal["bytes", "seconds", "hours"]

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_SIZES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
_SECONDS = {"MS": 0.001, "S": 1, "MIN": 60, "H": 3600, "D": 86400}
_FACTORS: dict[Unit, dict[str, float]] = {
    "bytes": {**_SIZES},
    "seconds": {**_SECONDS},
    "hours": {name: factor / 3600 for name, factor in _SECONDS.items()},
}
EXAMPLES: dict[Unit, str] = {"bytes": "10 GB", "seconds": "30 s", "hours": "2 d"}

# Descriptions of settings with a pattern.
_PATTERNS = {
    "database": "an address such as postgresql://user:password@host/name",
    "web.replica": "an address such as postgresql://user:password@host/name",
    "bus": "servers such as nats://a:4222,nats://b:4222",
    "bus_stream": "a name of letters, digits, - and _",
    "cell": "a name of lower-case letters, digits, - and _",
    "monitor.listen": "a host and a port such as 127.0.0.1:9273",
    "web.listen": "a host and a port such as 127.0.0.1:8080",
    "web.public_url": "an address without a path, such as https://tweets.example.org",
    "web.base_path": "a path such as /tweets, of ASCII letters, digits and . _ ~ -",
    "alerts.digest_at": "a time of day such as 07:00",
    "alerts.heartbeat_url": "an address such as https://host/path",
    "bluesky.plc": "an address such as https://plc.directory",
    "bluesky.appview": "an address such as https://public.api.bsky.app",
    "bluesky.did_web": "an address such as https://{host}, with {host} for a did:web's host",
    "sinks.redis.url": "an address such as redis://:password@host:6379/0",
    "archive.url": "a folder such as /srv/archive, or an address such as s3://bucket/folder",
}

_CELLS = "names and addresses such as {east: postgresql://user:password@host/name}"
_ADDRESSES = "addresses such as [mailto://user:password@host]"
_LISTS = {
    "web.trusted_proxies": "machines or networks such as [10.0.0.0/8]",
    "sinks.webhooks.allowed_networks": "machines or networks such as [10.0.0.0/8]",
    "bluesky.hosts": "addresses such as [wss://jetstream.us-east.bsky.network]",
    "bluesky.old_hosts": "addresses such as [wss://jetstream1.us-east.bsky.network]",
}


ACCEPTED = object()


class Leaf(msgspec.Struct, frozen=True):
    """One setting: its dotted key, its annotation, its type as msgspec sees it, and its unit."""

    key: str
    annotation: Any
    type: msgspec.inspect.Type
    unit: Unit | None

    def rejected_part(self, value: object) -> object:
        """The value, or the element of a list, that this setting does not accept; or ACCEPTED."""
        if self.is_list and isinstance(value, list):
            [element] = get_args(self.annotation)
            return next((each for each in value if not _is_valid(each, element)), ACCEPTED)
        return ACCEPTED if _is_valid(value, self.annotation) else value

    @property
    def is_text(self) -> bool:
        return isinstance(self.type, msgspec.inspect.StrType | msgspec.inspect.LiteralType)

    @property
    def is_number(self) -> bool:
        return isinstance(self.type, msgspec.inspect.IntType | msgspec.inspect.FloatType)

    @property
    def is_list(self) -> bool:
        return isinstance(self.type, msgspec.inspect.ListType)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.type, msgspec.inspect.DictType)

    @property
    def takes(self) -> str:
        """The accepted values, as the end of an error."""
        match self.type:
            case msgspec.inspect.BoolType():
                return "true or false"
            case msgspec.inspect.LiteralType(values=values):
                return " or ".join(str(value) for value in values)
            case msgspec.inspect.DictType():
                return _CELLS
            case msgspec.inspect.ListType():
                return f"a list of {_LISTS.get(self.key, _ADDRESSES)}"
            case msgspec.inspect.StrType() as text:
                return _text(text, self.key)
            case msgspec.inspect.IntType() | msgspec.inspect.FloatType() as number:
                return _number(number, self.unit)
        raise AssertionError(f"{self.key} has a type without a description")


def _text(type_: msgspec.inspect.StrType, key: str) -> str:
    if type_.pattern is not None:
        optional = ", or nothing" if re.search(type_.pattern, "") else ""
        return _PATTERNS[key] + optional
    return "text that is not empty" if type_.min_length else "text"


def _number(type_: msgspec.inspect.IntType | msgspec.inspect.FloatType, unit: Unit | None) -> str:
    kind = "a whole number" if isinstance(type_, msgspec.inspect.IntType) else "a number"
    limits = (("above", type_.gt), ("of at least", type_.ge), ("and at most", type_.le))
    shown = [f"{word} {limit:.15g}" for word, limit in limits if limit is not None]
    if unit is None:
        return " ".join([kind, *shown])
    return (
        " ".join([kind, *shown, f"({unit})"]) + f", or one with its unit, such as {EXAMPLES[unit]}"
    )


def _is_valid(value: object, annotation: Any) -> bool:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return False
    return True


def _walk(type_: msgspec.inspect.StructType, above: str) -> Iterator[Leaf]:
    annotations = get_type_hints(type_.cls, include_extras=True)
    for field in type_.fields:
        extra: dict[str, Any] = {}
        inner = field.type
        while isinstance(inner, msgspec.inspect.Metadata):
            extra, inner = {**(inner.extra or {}), **extra}, inner.type
        if isinstance(inner, msgspec.inspect.StructType):
            yield from _walk(inner, f"{above}{field.name}.")
        else:
            annotation = annotations[field.name]
            yield Leaf(f"{above}{field.name}", annotation, inner, extra.get("unit"))


def _sections(
    type_: msgspec.inspect.StructType, above: str
) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for field in type_.fields:
        if isinstance(field.type, msgspec.inspect.StructType):
            name = f"{above}{field.name}"
            yield name, field.type.cls
            yield from _sections(field.type, f"{name}.")


_ROOT = msgspec.inspect.type_info(Settings)
assert isinstance(_ROOT, msgspec.inspect.StructType)
LEAVES = {leaf.key: leaf for leaf in _walk(_ROOT, "")}
SECTIONS = dict(_sections(_ROOT, ""))


def quantity(text: str, unit: Unit) -> float | int | None:
    """The quantity in its base unit; None if the text is not a quantity of this dimension."""
    match = _QUANTITY.fullmatch(text.strip())
    factor = _FACTORS[unit].get(match[2].upper()) if match else None
    if match is None or factor is None:
        return None
    value = float(match[1]) * factor
    return round(value) if unit == "bytes" else value
