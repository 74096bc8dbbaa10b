"""State and reason of an active track, by what its networks and sources make of it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

from stream.networks.base import Plan
from stream.store.sources import SourceRow
from stream.store.tracks import Track, TrackState
from stream.tweet import NetworkName, SourceId, TrackId

OUTAGE_MIN = timedelta(seconds=60)  # a shorter one changes no track
_ATTEMPTS = ("connecting", "connected")  # nothing has arrived yet

Reports: TypeAlias = Mapping[SourceId, Mapping[TrackId, str]]
# Of a track on one network: no source takes it, no source delivers, or anything else.
Limitation: TypeAlias = Literal["refused", "silent", "caveat"]


class Deliveries(msgspec.Struct, frozen=True):
    """What is known about the sources: their plans, outages, and what they report about tracks."""

    plans: Mapping[NetworkName, Plan]
    sources: Sequence[tuple[SourceId, str, NetworkName]]  # the enabled ones
    outages: Mapping[SourceId, str]
    refused: Reports
    reach: Reports
    stale: Reports

    def status_of(self, track: Track) -> tuple[TrackState, str]:
        """State and reason of a track that could be planned."""
        used = {network for _, _, network in self.sources}
        asked = used if track.networks is None else used.intersection(track.networks)
        missing = sorted(set(track.networks or ()) - used)
        found = self._limitations(track.id, asked)
        if missing or not asked:
            found["caveat"].append(_no_source(missing))
        refused, silent, caveats = found["refused"], found["silent"], found["caveat"]
        reason = " ".join([*refused, *silent, *caveats, *self.stale_sentences(track.id)])
        if asked and len(refused) == len(asked):
            return "refused", reason
        if len(refused) + len(silent) == len(asked):
            return "pending", reason
        return ("partial" if reason else "active"), reason

    def stale_sentences(self, track_id: TrackId) -> list[str]:
        """What networks still deliver although the track no longer asks for it."""
        reports = ((name, self.stale.get(each, {})) for each, name, _ in self.sources)
        return [f"{name}: {some[track_id]}" for name, some in reports if track_id in some]

    def _limitations(
        self, track_id: TrackId, asked: Iterable[NetworkName]
    ) -> dict[Limitation, list[str]]:
        """Sentences about a track: of networks that refuse it, do not deliver, or limit it."""
        found: dict[Limitation, list[str]] = {"refused": [], "silent": [], "caveat": []}
        for network in sorted(asked):
            plan = self.plans.get(network)
            if plan is not None and track_id in plan.refused:
                found["refused"].append(f"{network}: {plan.refused[track_id]}")
                continue
            if plan is not None and track_id in plan.caveats:
                found["caveat"].append(f"{network}: {plan.caveats[track_id]}")
            kind, sentences = self._limitations_of_sources(track_id, network)
            if sentences:
                found[kind].append(" ".join(sentences))
        return found

    def _limitations_of_sources(
        self, track_id: TrackId, network: NetworkName
    ) -> tuple[Limitation, Sequence[str]]:
        """The same of the sources of one network; no sentence: they deliver all of it."""
        rows = [(each, name) for each, name, its in self.sources if its == network]
        against = {
            each: f"{name}: {self.refused[each][track_id]}"
            for each, name in rows
            if track_id in self.refused.get(each, {})
        }
        # A source that says what it reaches of the track delivers a part of it, and another source
        # of the network may deliver it all.
        wholly = {each for each in against if track_id not in self.reach.get(each, {})}
        if len(wholly) == len(rows):
            return "refused", list(against.values())
        if all(each in wholly or each in self.outages for each, _ in rows):
            out = {
                each: f"{name} does not deliver: {self.outages[each].rstrip('.')}."
                for each, name in rows
                if each not in wholly
            }
            return "silent", list((against | out).values())
        return "caveat", list(against.values())


def _no_source(networks: Sequence[NetworkName]) -> str:
    """What is missing where a track asks for these networks (empty: for all) without a source."""
    what = f"No source of {' or '.join(networks)}" if networks else "No source"
    return (
        f"{what} is enabled: add or enable one on the page Sources, or with"
        " `twitterstream.py source add`."
    )


def outages(
    rows: Iterable[SourceRow], before: Mapping[SourceId, str], now: datetime
) -> dict[SourceId, str]:
    """The enabled sources that do not deliver, with the reason; during an attempt as `before`."""
    return {
        row.id: before[row.id] if row.state in _ATTEMPTS else row.reason
        for row in rows
        if row.enabled and (_is_out(row, now) or (row.state in _ATTEMPTS and row.id in before))
    }


def _is_out(row: SourceRow, now: datetime) -> bool:
    silent = row.last_at is None or now - row.last_at >= OUTAGE_MIN
    return row.state == "failed" or (row.state in ("waiting", "paused") and silent)
