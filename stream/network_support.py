"""What each network can do for a query that is not tracked yet."""

from collections.abc import Collection

import msgspec

from stream.config import Settings
from stream.networks.base import PlannedTrack
from stream.networks.registry import NETWORKS
from stream.query import Query, handles_in, with_ids
from stream.tweet import NetworkName, TrackId

_NUMBER = TrackId(0)  # of a track that does not exist yet
_ANY_ID = "did:plc:any"  # stands for ids that are looked up once the track is active


class Ability(msgspec.Struct, frozen=True):
    """What one network can do for a query. `sentence`: why not, or which part not."""

    network: NetworkName
    can: bool
    sentence: str
    has_source: bool  # an enabled one

    @property
    def usable(self) -> bool:
        """Whether it delivers something now."""
        return self.can and self.has_source


def network_support(query: Query, settings: Settings, used: Collection[str]) -> list[Ability]:
    """One for each network; `used`: networks of enabled sources. Pure."""
    found = []
    for name, network in NETWORKS.items():
        known = query
        if network.looks_up_handle is not None:
            handles = filter(network.looks_up_handle, handles_in(query))
            known = with_ids(query, dict.fromkeys(handles, _ANY_ID))
        plan = network.plan([PlannedTrack(_NUMBER, known)], settings)
        refused = plan.refused.get(_NUMBER, "")
        sentence = refused or plan.caveats.get(_NUMBER, "")
        found.append(Ability(name, not refused, sentence, name in used))
    return found
