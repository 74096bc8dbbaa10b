"""Which networks can follow something, and how far."""

from collections.abc import Collection

import msgspec

from stream.config import Settings
from stream.networks.base import Followed
from stream.networks.table import NETWORKS
from stream.query import Query
from stream.tweet import NetworkName, TrackId

_NUMBER = TrackId(0)  # of the track that is not one yet


class Ability(msgspec.Struct, frozen=True):
    """What one network can do for a query. `sentence`: why not, or why not all of it."""

    network: NetworkName
    can: bool
    sentence: str
    has_source: bool  # that is enabled: without one nothing comes from there


def abilities(query: Query, settings: Settings, used: Collection[str]) -> list[Ability]:
    """One for each network; `used`: networks of enabled sources. Pure."""
    found = []
    for name, network in NETWORKS.items():
        plan = network.plan([Followed(_NUMBER, query)], settings)
        refused = plan.refused.get(_NUMBER, "")
        sentence = refused or plan.caveats.get(_NUMBER, "")
        found.append(Ability(name, not refused, sentence, name in used))
    return found
