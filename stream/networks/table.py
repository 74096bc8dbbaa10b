"""The networks by name. A new one is one package beside this file, and one line here."""

from collections.abc import Mapping

from stream.networks.base import Network
from stream.networks.x_v1 import client as x_v1_client
from stream.networks.x_v1 import decode as x_v1_decode
from stream.networks.x_v1 import plan as x_v1_plan
from stream.networks.x_v1 import trial as x_v1_trial
from stream.networks.x_v2 import client as x_v2_client
from stream.networks.x_v2 import decode as x_v2_decode
from stream.networks.x_v2 import plan as x_v2_plan
from stream.networks.x_v2 import trial as x_v2_trial
from stream.tweet import NetworkName

NETWORKS: Mapping[NetworkName, Network] = {
    "x_v2": Network(
        x_v2_plan.plan,
        x_v2_decode.decode,
        x_v2_client.XV2Client,
        x_v2_client.ADDRESS,
        x_v2_client.missing,
        x_v2_client.pace,
        x_v2_plan.usage,
        x_v2_trial.trial,
    ),
    "x_v1": Network(
        x_v1_plan.plan,
        x_v1_decode.decode,
        x_v1_client.XV1Client,
        x_v1_client.ADDRESS,
        x_v1_client.missing,
        x_v1_client.pace,
        x_v1_plan.usage,
        x_v1_trial.trial,
        trial_opens=True,
    ),
}
