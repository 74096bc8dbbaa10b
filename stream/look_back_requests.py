"""Requests for look-backs, checked in one way for pages, API and command line."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from stream.config import Settings
from stream.db import Executor
from stream.errors import InvalidField, InvalidQuery
from stream.network_support import network_support
from stream.networks.descriptions import SERVICES
from stream.networks.registry import NETWORKS
from stream.query import Query, TrackKind, User, parse, terms_of
from stream.store import sources
from stream.store.look_backs import NewLookBack, Place, check_since
from stream.store.tracks import NewTrack, Track
from stream.tweet import NETWORK_NAMES, NetworkName

NO_CELLS = "Look-backs are off: they do not reach the other databases."
ACCOUNTS_MAX = 5  # of a query that are listed

# The networks that can be searched in a place, and what they must be able to do.
_CAPABLE: Mapping[Place, Sequence[NetworkName]] = {
    "recorded": [name for name, network in NETWORKS.items() if network.unfiltered],
    "network": [name for name, network in NETWORKS.items() if network.past is not None],
    "author": [name for name, network in NETWORKS.items() if network.author_past is not None],
}
_ABILITIES: Mapping[Place, str] = {
    "recorded": "delivers posts that match no track",
    "network": "sends earlier posts again",
    "author": "lists the posts of an account",
}


class SearchScope(msgspec.Struct, frozen=True):
    """Where posts can be searched for a track.

    `query` None: not known yet. `used`: the networks with an enabled source.
    """

    query: Query | None
    networks: Collection[NetworkName]
    used: Collection[NetworkName]
    settings: Settings

    @property
    def able_networks(self) -> list[NetworkName]:
        """Those of its networks that can follow the query, and have an enabled source."""
        if self.query is None:
            return [name for name in self.networks if name in self.used]
        support = network_support(self.query, self.settings, self.used)
        return [each.network for each in support if each.usable and each.network in self.networks]

    @property
    def places(self) -> list[Place]:
        """The places that can be searched without naming an account."""
        every: tuple[Place, ...] = ("stored", "recorded", "network")
        return [place for place in every if not self.why_not(place)]

    def why_not(self, place: Place) -> str:
        """Why it makes no sense to search this place; empty: it does."""
        if self.settings.cells:
            return NO_CELLS
        capable = _CAPABLE.get(place)
        if capable is None or set(capable) & set(self.able_networks):
            return ""
        names = " or ".join(SERVICES[name] for name in capable)
        mine = [name for name in capable if name in self.networks]
        if not mine:
            return f"Only {names} {_ABILITIES[place]}: add it to the networks of this track."
        usable = [name for name in mine if name in self.used]
        if self.query is None or not usable:
            return f"Only {names} {_ABILITIES[place]}: add or enable a source of it."
        support = network_support(self.query, self.settings, self.used)
        [reason, *_] = [each.sentence for each in support if each.network in usable]
        return f"No post on {SERVICES[usable[0]]} can match this track. {reason}"

    def checked(self, wanted: Iterable[NewLookBack]) -> list[NewLookBack]:
        """The requests, with accounts as their network writes them; InvalidField.

        Each place and account is left once, as far back as any of them goes.
        """
        widest: dict[tuple[Place, str | None], NewLookBack] = {}
        for each in map(self._checked, wanted):
            known = widest.setdefault((each.place, each.author), each)
            if known.since is not None and (each.since is None or each.since < known.since):
                widest[each.place, each.author] = each
        return list(widest.values())

    def _checked(self, wanted: NewLookBack) -> NewLookBack:
        if (wanted.place == "author") != (wanted.author is not None):
            words = "The place `author` needs an `author`, and no other place has one."
            raise InvalidField("author", words)
        if reason := self.why_not(wanted.place):
            raise InvalidField("look_back", reason)
        check_since(wanted.since)
        if wanted.author is None:
            return wanted
        try:
            author = _account(wanted.author, _CAPABLE["author"][0])
        except InvalidQuery as error:
            raise InvalidField("author", str(error)) from error
        return msgspec.structs.replace(wanted, author=author)


async def scope_of(
    connection: Executor, settings: Settings, track: Track | NewTrack
) -> SearchScope | None:
    """Where posts can be searched for a track; None if its value is invalid."""
    if (query := parsed(track.kind, track.value)) is None:
        return None
    used = await sources.enabled_networks(connection)
    return SearchScope(query, track.networks or NETWORK_NAMES, used, settings)


async def require_scope(
    connection: Executor, settings: Settings, track: Track | NewTrack
) -> SearchScope:
    """Where posts can be searched for a track; InvalidField if its value is invalid."""
    scope = await scope_of(connection, settings, track)
    if scope is None:
        raise InvalidField("look_back", "The value of this track is invalid: correct it first.")
    return scope


def parsed(kind: TrackKind, value: str) -> Query | None:
    """A track's value; None if it is invalid."""
    try:
        return parse(kind, value)
    except InvalidQuery:
        return None


def accounts_of(query: Query, network: NetworkName) -> list[str]:
    """The first accounts that a query names and whose posts the network can list."""
    found: dict[str, None] = {}
    for each in terms_of(query):
        if isinstance(each, User):
            with suppress(InvalidQuery):
                found[_account(each.handle or each.id or "", network)] = None
    return list(found)[:ACCOUNTS_MAX]


def _account(written: str, network: NetworkName) -> str:
    account_named = NETWORKS[network].account_named
    assert account_named is not None
    return account_named(written)
