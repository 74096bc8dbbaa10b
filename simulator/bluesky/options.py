"""Options of a subscription: the query of /subscribe and of subscribeEvents, and what they keep."""

import re
from collections.abc import Sequence

import msgspec
from multidict import MultiMapping

from simulator.bluesky.event_log import Event
from simulator.bluesky.identifiers import is_did, is_nsid

COLLECTIONS = 100
DIDS = 10_000
SEQ_END = 1_000_000_000_000_000  # a cursor from here on is a time in µs
UINT32 = 2**32 - 1
KINDS = ("commit", "identity", "account", "sync")
_NUMBER = re.compile("[+-]?[0-9]{1,19}")
_WRONG = "invalid subscriber options"


class BadOptions(ValueError):
    """The answer is 400 with this text; `name` is the error's name on v2."""

    def __init__(self, message: str, name: str = "InvalidRequest") -> None:
        super().__init__(message)
        self.name = name


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a subscription gets. None: all."""

    paths: frozenset[str] | None = None  # collections
    prefixes: tuple[str, ...] = ()
    dids: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    size_limit: int = 0  # bytes of JSON; 0: none

    def wants(self, event: Event) -> bool:
        """Does the subscription get this event? (Its size is checked later.)"""
        if not event.kind:
            return True
        if self.dids is not None and event.did not in self.dids:
            return False
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        if self.paths is None or event.kind != "commit":
            return True
        return event.collection in self.paths or event.collection.startswith(self.prefixes)


class OptionsUpdate(msgspec.Struct):
    """The payload of options_update (v1)."""

    wantedCollections: list[str] | None = None  # noqa: N815  names of the protocol
    wantedDids: list[str] | None = None  # noqa: N815
    maxMessageSizeBytes: int = 0  # noqa: N815


class ClientMessage(msgspec.Struct):
    """A message of a v1 client."""

    type: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"{}")


def v1_options(query: MultiMapping[str]) -> Options:
    """Options in the query of /subscribe."""
    size = query.get("maxMessageSizeBytes", "")
    number = int(size) if _NUMBER.fullmatch(size) else 0
    return _v1(query.getall("wantedCollections", []), query.getall("wantedDids", []), number)


def v1_update(payload: OptionsUpdate) -> Options:
    """Options of an options_update."""
    return _v1(payload.wantedCollections or [], payload.wantedDids or [],
               payload.maxMessageSizeBytes)  # fmt: skip


def _v1(collections: Sequence[str], dids: Sequence[str], size: int) -> Options:
    paths, prefixes = _collections(collections)
    return Options(
        paths=paths,
        prefixes=prefixes,
        dids=_dids(dids),
        size_limit=size if 0 <= size <= UINT32 else 0,
    )


def v2_options(query: MultiMapping[str]) -> Options:
    """Options in the query of subscribeEvents."""
    for old, remedy in _OLD_NAMES.items():
        if old in query:
            raise BadOptions(f"{_WRONG}: {old} {remedy}")
    kinds = query.getall("kinds", [])
    dids = query.getall("dids", [])
    collections = query.getall("collections", [])
    for name, values, limit in (("kinds", kinds, 4), ("dids", dids, DIDS),
                                ("collections", collections, COLLECTIONS)):  # fmt: skip
        if len(values) > limit:
            raise BadOptions(f"{_WRONG}: too many {name} values: {len(values)} > {limit}")
    for kind in kinds:
        if kind not in KINDS:
            raise BadOptions(f'{_WRONG}: unknown kind "{kind}" (valid: {", ".join(KINDS)})')
    for pattern in collections:
        if pattern.endswith(".*") and not is_nsid(pattern[:-1] + "x"):
            raise BadOptions(f"{_WRONG}: invalid collection wildcard: {pattern}")
    wanted_dids = _dids(dids)
    paths, prefixes = _collections(collections)
    if collections and kinds and "commit" not in kinds:
        raise BadOptions(f"{_WRONG}: collections filter can never apply: kinds excludes commit")
    return Options(
        paths=paths,
        prefixes=prefixes,
        dids=wanted_dids,
        kinds=frozenset(kinds) if kinds else None,
        size_limit=_v2_size(query.getall("maxMessageSizeBytes", [])),
    )


_OLD_NAMES = {
    "wantedDids": "is the legacy /subscribe parameter; use dids",
    "wantedCollections": "is the legacy /subscribe parameter; use collections",
    "requireHello": "is not supported on this endpoint; it is server-push only",
}


def _v2_size(values: Sequence[str]) -> int:
    if not values:
        return 0
    if len(values) > 1 or not values[0].isdecimal() or int(values[0]) > UINT32:
        raise BadOptions(f"{_WRONG}: maxMessageSizeBytes must be one unsigned 32-bit integer")
    return int(values[0])


def _collections(values: Sequence[str]) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    if not values:
        return None, ()
    paths: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    for value in values:
        if value.endswith(".*"):
            prefixes[value[:-1]] = None
        elif is_nsid(value):
            paths[value] = None
        else:
            raise BadOptions(f"{_WRONG}: invalid collection: {value}")
        if len(paths) + len(prefixes) > COLLECTIONS:
            raise BadOptions(f"{_WRONG}: too many wanted collections: > {COLLECTIONS}")
    return frozenset(paths), tuple(prefixes)


def _dids(values: Sequence[str]) -> frozenset[str] | None:
    if not values:
        return None
    for value in values:
        if not is_did(value):
            raise BadOptions(f"{_WRONG}: invalid DID: {value}")
    found = frozenset(values)
    if len(found) > DIDS:
        raise BadOptions(f"{_WRONG}: too many wanted DIDs: {len(found)} > {DIDS}")
    return found


def read_cursor(text: str) -> int | None:
    """The cursor of the query; None when there is none."""
    if not text:
        return None
    if not _NUMBER.fullmatch(text) or abs(int(text)) >= 2**63:
        raise BadOptions(f'invalid cursor: "{text}"')
    if int(text) < 0:
        raise BadOptions(f"invalid cursor: negative value {text}")
    return int(text)
