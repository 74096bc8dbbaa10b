"""Whether X would let a source of v2 in, without a use of its one connection."""

import contextlib

import msgspec

from stream.backoff import Clock
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.http import Answer, Wire
from stream.networks.x_v2.client import ADDRESS, missing
from stream.networks.x_v2.problem import SKEW, refusal
from stream.networks.x_v2.rules import PATH
from stream.tweet import Source

CONNECTIONS = "/2/connections?endpoints=filtered_stream&status=active"


class _Counts(msgspec.Struct, frozen=True):
    cap_per_client_app: str = ""
    project_rules_count: str = ""


class _Counted(msgspec.Struct, frozen=True):
    data: _Counts


class _Open(msgspec.Struct, frozen=True):
    data: tuple[msgspec.Raw, ...] = ()


async def trial(source: Source, settings: Settings, clock: Clock) -> str:
    """Read what the collector reads before it connects; ConnectError says why X does not let it.

    The stream is not opened: X allows one connection, and takes a while to free it.
    """
    del settings
    if missing(source.secrets):
        text = "the bearer token is missing, or holds characters that no token has"
        raise ConnectError(text, "final", code="credentials")
    wire = Wire(source, clock, ADDRESS)
    headers = {"Authorization": f"Bearer {source.secrets['bearer_token'].strip()}"}
    answer = await wire.ask("GET", f"{PATH}?max_results=1000", headers)
    now = clock.time()
    if answer.status != 200:
        raise refusal(answer, now).reworded(wire.scrub)
    if not answer.body.lstrip().startswith(b"{"):
        text = f"something answers at {wire.base}, but it is not X: check the address"
        raise ConnectError(wire.scrub(text), "final")
    said = ["X accepts the bearer token.", _clock(answer, now)]
    with contextlib.suppress(ConnectError):  # what is told beside need not be told
        said.append(_counted(await wire.ask("GET", f"{PATH}/counts", headers)))
        said.append(_open(await wire.ask("GET", CONNECTIONS, headers)))
    return " ".join(sentence for sentence in said if sentence)


def _clock(answer: Answer, now: float) -> str:
    skew = answer.skew(now)
    if skew is None or abs(skew) <= SKEW:
        return ""
    side = "ahead of" if skew > 0 else "behind"
    return f"But the clock of this machine is {abs(skew):.0f} s {side} X's: set it."


def _counted(answer: Answer) -> str:
    """How full the app is; not every plan is told."""
    try:
        counts = msgspec.json.decode(answer.body, type=_Counted).data
        used, most = int(counts.project_rules_count), int(counts.cap_per_client_app)
    except (msgspec.MsgspecError, ValueError):
        return ""
    return f"{used:,} of the {most:,} rules of its app are in use."


def _open(answer: Answer) -> str:
    """Whether somebody else has the one connection."""
    try:
        number = len(msgspec.json.decode(answer.body, type=_Open).data)
    except msgspec.MsgspecError:
        number = 0
    if answer.status != 200 or not number:
        return ""
    return (
        "A stream is open already with this app, and X allows one: unless it is that of this"
        " collector, stop the other program, or give it an app of its own."
    )
