"""The writer of a source, or of one lane of it, as the settings want it."""

from collections.abc import Callable, Sequence

from stream import batch
from stream.batch import Batch
from stream.config import Settings
from stream.db import Database
from stream.frame_readers import FrameReader
from stream.incoming_tweets import StorePolicy
from stream.networks.base import RuleOwner
from stream.networks.registry import NETWORKS
from stream.reconciler import TrackReconciler
from stream.tweet import Match, Source, Tweet
from stream.writer import Writer

OwnersOfRule = Callable[[str], Sequence[RuleOwner]]


def source_writer(
    database: Database,
    settings: Settings,
    source: Source,
    reader: FrameReader,
    reconciler: TrackReconciler,
    owners_of_rule: OwnersOfRule,
    on_stored: Callable[[Batch], None],
) -> Writer:
    """A writer that credits the tracks as they are at each moment.

    `owners_of_rule`: the tracks of a rule that the network names.
    """
    network = NETWORKS[source.network]
    keeps_all = network.keeps_unmatched(settings)

    def match(tweet: Tweet) -> Sequence[Match]:
        return reconciler.match(tweet, source.network)

    def credit_tracks(tweet: Tweet) -> Sequence[Match]:
        return batch.credit_tracks(tweet, match, owners_of_rule)

    writer = Writer(
        database,
        source,
        reader,
        network.decode,
        credit_tracks,
        flush_interval=settings.flush_interval,
        max_frame_bytes=settings.max_frame_bytes,
        policy=StorePolicy(
            network=source.network,
            keep_unmatched=keeps_all,
            erase=settings.deletions == "erase",
            respect_opt_out=settings.mastodon.respect_opt_out,
            event_position=network.event_position,
            names_authors=network.looks_up_handle is not None,
            may_match=None if keeps_all else network.prefilter(reconciler.matcher),
        ),
    )
    writer.on_stored = on_stored
    return writer
