"""All networks by name. CONTRIBUTING.md lists what a new one needs."""

from collections.abc import Mapping, Sequence

from stream.errors import Reject
from stream.networks.base import Network
from stream.networks.bluesky import author_history as bluesky_author_history
from stream.networks.bluesky import client as bluesky_client
from stream.networks.bluesky import decode as bluesky_decode
from stream.networks.bluesky import event_position as bluesky_event_position
from stream.networks.bluesky import hosts as bluesky_hosts
from stream.networks.bluesky import plan as bluesky_plan
from stream.networks.bluesky import prefilter as bluesky_prefilter
from stream.networks.bluesky import recordings as bluesky_recordings
from stream.networks.bluesky import replay as bluesky_replay
from stream.networks.mastodon import client as mastodon_client
from stream.networks.mastodon import decode as mastodon_decode
from stream.networks.mastodon import plan as mastodon_plan
from stream.networks.mastodon import recordings as mastodon_recordings
from stream.networks.x_v1 import client as x_v1_client
from stream.networks.x_v1 import decode as x_v1_decode
from stream.networks.x_v1 import plan as x_v1_plan
from stream.networks.x_v1 import recordings as x_v1_recordings
from stream.networks.x_v2 import client as x_v2_client
from stream.networks.x_v2 import decode as x_v2_decode
from stream.networks.x_v2 import plan as x_v2_plan
from stream.networks.x_v2 import recordings as x_v2_recordings
from stream.tweet import NetworkName, Tweet

NETWORKS: Mapping[NetworkName, Network] = {
    "x_v2": Network(
        x_v2_plan.XV2Planner,
        x_v2_decode.decode,
        x_v2_client.XV2Client,
        x_v2_client.ADDRESS,
        x_v2_client.missing_credentials,
        x_v2_client.connection_limits,
        x_v2_plan.usage,
        x_v2_client.check_connection,
        x_v2_recordings.unfold,
        x_v2_plan.DELIVERS,
    ),
    "x_v1": Network(
        x_v1_plan.XV1Planner,
        x_v1_decode.decode,
        x_v1_client.XV1Client,
        x_v1_client.ADDRESS,
        x_v1_client.missing_credentials,
        x_v1_client.connection_limits,
        x_v1_plan.usage,
        x_v1_client.check_connection,
        x_v1_recordings.unfold,
        x_v1_plan.DELIVERS,
        test_opens_stream=True,
    ),
    "bluesky": Network(
        bluesky_plan.BlueskyPlanner,
        bluesky_decode.decode,
        bluesky_client.BlueskyClient,
        bluesky_client.ADDRESS,
        bluesky_client.missing_credentials,
        bluesky_client.connection_limits,
        bluesky_plan.usage,
        bluesky_client.check_connection,
        bluesky_recordings.unfold,
        bluesky_plan.DELIVERS,
        unfiltered=True,
        may_match=bluesky_prefilter.may_match,
        event_position=bluesky_event_position.event_position,
        looks_up_handle=bluesky_plan.is_domain_name,
        hosts=bluesky_hosts.addresses,
        past=bluesky_replay.read_past,
        author_past=bluesky_author_history.read_author_past,
        account_named=bluesky_author_history.account_named,
    ),
    "mastodon": Network(
        mastodon_plan.MastodonPlanner,
        mastodon_decode.decode,
        mastodon_client.MastodonClient,
        mastodon_client.ADDRESS,
        mastodon_client.missing_credentials,
        mastodon_client.connection_limits,
        mastodon_plan.usage,
        mastodon_client.check_connection,
        mastodon_recordings.unfold,
        mastodon_plan.DELIVERS,
        unfiltered=True,
    ),
}

# They also send the deletions of all posts, of which most matched no track.
UNFILTERED_NETWORKS: Sequence[NetworkName] = tuple(
    name for name, network in NETWORKS.items() if network.unfiltered
)


def decode_stored(network: NetworkName, doc: bytes) -> Tweet | None:
    """The tweet in a stored message; None when this version cannot decode it any more."""
    try:
        message = NETWORKS[network].decode(doc)
    except Reject:
        return None
    return message if isinstance(message, Tweet) else None
