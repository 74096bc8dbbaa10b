"""Test a source without collecting, and say what is wrong and what to do."""

import asyncio
import logging
import ssl
from typing import Literal

import aiohttp
import msgspec

from stream.backoff import Clock
from stream.config import Settings, safe_url
from stream.errors import ConnectError, is_broken, unexpected
from stream.networks.descriptions import CREDENTIALS_HELP, SERVICES
from stream.networks.registry import NETWORKS
from stream.text import plain, sentence
from stream.tweet import Source

logger = logging.getLogger(__name__)

TEST_TIMEOUT = 15.0  # seconds

ProblemKind = Literal[
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
    "network",  # an error on its side
]


class ConnectionTestResult(msgspec.Struct, frozen=True):
    """The result of a test: the kind of problem, and a sentence or two for a person."""

    problem: ProblemKind
    sentence: str


async def run_connection_test(
    source: Source, settings: Settings, clock: Clock | None = None, within: float = TEST_TIMEOUT
) -> ConnectionTestResult:
    """Check whether the network would admit this source. Takes at most `within` seconds."""
    network = NETWORKS[source.network]
    where = network.addresses(source.url, settings)[0]
    try:
        async with asyncio.timeout(within):
            works = await network.check_connection(source, settings, clock or Clock())
    except TimeoutError:
        text = f"{where} did not answer within {within:g} s."
        return ConnectionTestResult("slow", f"{text} {_REMEDIES['slow']}")
    except ConnectError as error:
        problem = _problem_kind(error)
        state = _state(error, problem, where, SERVICES[source.network])
        is_help = problem == "credentials"
        remedy = CREDENTIALS_HELP[source.network] if is_help else _REMEDIES[problem]
        return ConnectionTestResult(problem, f"{state} {remedy}".strip())
    except Exception as error:
        if is_broken(error):
            raise
        logger.exception("testing a source failed unexpectedly", extra={"source": source.name})
        return ConnectionTestResult("network", sentence(unexpected(error)))
    return ConnectionTestResult("", plain(works))


def _problem_kind(error: ConnectError) -> ProblemKind:
    match error.code:
        case "credentials" | "clock" | "plan" | "quota" | "proxy":
            return error.code
        case "foreign":
            return "address"
    cause = error.__cause__
    match cause:
        case ssl.SSLError() | aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return "tls"
        case TimeoutError():
            return "slow"
        case None:
            crowded = error.retry in ("rate_limit", "connection_limit")
            return "crowded" if crowded else "address" if error.retry == "final" else "network"
    return "address"


def _state(error: ConnectError, problem: ProblemKind, where: str, service: str) -> str:
    """The kind of a test's result, without any text of the server's response.

    Otherwise anyone who may enter addresses could read through this test what servers reachable
    from this machine only respond (SSRF).
    """
    status = f" (status {error.status})" if error.status else ""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return f"The proxy refuses to connect to {safe_url(where)} (status {cause.status})."
    if error.code == "foreign" or isinstance(cause, aiohttp.ClientResponseError):
        return f"Something answers at {safe_url(where)}, but it is not {service}{status}."
    if error.status and problem in _ANSWERED:
        return f"{_ANSWERED[problem].format(service)}{status}."
    return sentence(plain(error.reason))  # our own text, or the system's


_ANSWERED: dict[ProblemKind, str] = {
    "credentials": "{} does not accept these keys",
    "plan": "The plan of this {} account does not include the stream",
    "quota": "The quota or the credits of this {} account are used up",
    "crowded": "{} limits connections or requests with these keys",
    "address": "{} refuses the request",
    "proxy": "The proxy asks for a user name and password",
    "network": "{}, or a server in its place, reports an error",
}

_REMEDIES: dict[ProblemKind, str] = {
    "": "",
    "credentials": "",  # each network has its own
    "clock": "",  # the reason contains the remedy
    "plan": "",
    "quota": "Collecting resumes automatically when there is quota again.",
    "crowded": "Wait a few minutes, and make sure that no other program uses the same keys.",
    "address": (
        "Check the address; leave it empty to use the network's own. If it is correct, a login"
        " page, firewall or proxy may answer in its place."
    ),
    "proxy": "Check the proxy's address, user name and password.",
    "tls": (
        "TLS failed: check https in the address, the clock of this machine, and whether a proxy"
        " is in between."
    ),
    "slow": "Check the address; a firewall may block it, or a proxy may be needed.",
    "network": "The error is on the network's side: try again later.",
}
