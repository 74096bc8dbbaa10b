"""Try a source without collecting with it, and say in words what is wrong and what to do."""

import asyncio
import ssl
from typing import Literal

import aiohttp
import msgspec

from stream.backoff import Clock
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.table import NETWORKS
from stream.tweet import Source

WITHIN = 15.0  # seconds

Trouble = Literal[
    "",  # none
    "credentials",
    "clock",
    "plan",
    "quota",
    "crowded",  # too many connections or requests
    "address",
    "proxy",
    "tls",
    "slow",
    "network",  # it has trouble itself
]


class Verdict(msgspec.Struct, frozen=True):
    """How a trial went: what kind of trouble there is, and a sentence or two for a person."""

    trouble: Trouble
    sentence: str


async def attempt(
    source: Source, settings: Settings, clock: Clock | None = None, within: float = WITHIN
) -> Verdict:
    """Ask the network whether it would let this source in. Takes `within` seconds at most."""
    network = NETWORKS[source.network]
    where = source.url or network.address
    try:
        async with asyncio.timeout(within):
            said = await network.trial(source, settings, clock or Clock())
    except TimeoutError:
        text = f"{where} did not answer within {within:g} s."
        return Verdict("slow", f"{text} {_REMEDIES['slow']}")
    except ConnectError as error:
        trouble = _trouble(error)
        return Verdict(trouble, f"{_sentence(error.reason)} {_REMEDIES[trouble]}".strip())
    return Verdict("", said)


def _trouble(error: ConnectError) -> Trouble:
    match error.code:
        case "credentials" | "clock" | "plan" | "quota":
            return error.code
    cause = error.__cause__
    match cause:
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "proxy"
        case ssl.SSLError() | aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return "tls"
        case TimeoutError():
            return "slow"
        case None:
            crowded = error.ladder in ("rate_limit", "slot")
            return "crowded" if crowded else "address" if error.ladder == "final" else "network"
    return "address"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


_REMEDIES: dict[Trouble, str] = {
    "": "",
    "credentials": "Copy the keys once more from the developer pages of the network.",
    "clock": "",  # the reason says what to do
    "plan": "",
    "quota": "Collecting goes on by itself when there is quota again.",
    "crowded": "Wait some minutes, and see that no other program uses the same keys.",
    "address": "Check the address; leave it empty to use the network's own.",
    "proxy": "Check the address of the proxy, and its name and password.",
    "tls": (
        "The encryption does not work: check https in the address, the clock of this machine, and"
        " whether a proxy stands between."
    ),
    "slow": "Check the address; perhaps a firewall is in the way, or a proxy is needed.",
    "network": "The trouble is at the network's side: try again later.",
}
