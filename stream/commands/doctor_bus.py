"""What `doctor` checks of the bus: reachable, login, stream, replicas, quorum, syncing, clocks."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping

from stream.bus import advice
from stream.bus.connection import Bus
from stream.bus.messages import StreamState
from stream.commands.finding import Finding
from stream.config import Settings
from stream.daemon_report import ServerReport
from stream.errors import BusAway, ConfigError
from stream.text import format_size

CONNECT_WITHIN = 8.0  # seconds
POLL = 0.1  # seconds
CLOCK_OFFSET_MAX = 2.0  # seconds between clocks of machines
NEARLY_FULL, FULL = 0.8, 0.99  # of the stream
LOCAL = ("127.0.0.1", "localhost", "[::1]")


async def bus_findings(settings: Settings) -> AsyncIterator[Finding]:
    """Check the bus of the settings from here, in order of dependence."""
    try:
        async with Bus(settings).connected() as bus:
            async for finding in _findings(bus, settings):
                yield finding
    except* ConfigError as group:
        for error in group.exceptions:
            yield Finding("error", str(error))


async def _findings(bus: Bus, settings: Settings) -> AsyncIterator[Finding]:
    if why := await _why_away(bus, settings):
        yield _cannot(f"the bus {settings.bus} cannot be used: {why}", why, settings)
        return
    yield Finding("ok", f"the bus answers at {bus.address}, NATS {bus.server_version}")
    if not bus.is_encrypted and not any(host in settings.bus for host in LOCAL):
        yield Finding(
            "warning",
            "the connection to the bus is not encrypted, so the network can read its password and"
            " tweets: give the servers certificates (deploy/cluster/README.md)",
        )
    try:
        state = await bus.find_stream()
    except BusAway as error:
        why = bus.forbidden or str(error)
        yield _cannot(f"the stream {settings.bus_stream} cannot be used: {why}", why, settings)
        return
    asked = await bus.servers()
    stream = [_missing(bus, settings)] if state is None else _stream(state, settings, asked)
    for finding in (*stream, *servers(asked)):
        yield finding


async def _why_away(bus: Bus, settings: Settings) -> str:
    """Wait until it is connected; why it is not, as soon as that is not going to change."""
    clock = asyncio.get_running_loop().time
    until = clock() + CONNECT_WITHIN
    while bus.away_because is not None:
        if clock() > until or advice.needs_person(bus.away_because, settings):
            return bus.away_because
        await asyncio.sleep(POLL)
    return ""


def _cannot(what: str, why: str, settings: Settings) -> Finding:
    return Finding("error", f"{what.rstrip('.')}. {advice.remedy(why, settings)}")


def _missing(bus: Bus, settings: Settings) -> Finding:
    """There is no stream. A check creates none: it would stay if the name is mistyped."""
    if settings.bus_replicas > 1 and not bus.is_cluster:
        return _cannot("there is no stream yet", "non-clustered", settings)
    return Finding(
        "ok",
        f"there is no stream {settings.bus_stream}, as on a new bus: the first daemon with the role"
        " collect or write creates it",
    )


def _stream(
    state: StreamState, settings: Settings, asked: Mapping[str, ServerReport]
) -> Iterator[Finding]:
    wanted, count = settings.bus_replicas, max(len(state.replicas) + bool(state.leader), 1)
    if state.leader is None:
        why = "no quorum: most of its servers are away"
        yield _cannot(f"the stream {settings.bus_stream} has {why}", why, settings)
        return
    limit = f" of {format_size(state.max_bytes)}" if state.max_bytes > 0 else ""
    leader = f", led by {state.leader}" if state.replicas else ""
    text = f"the stream {settings.bus_stream} holds {format_size(state.bytes)}{limit}{leader}"
    if state.max_bytes > 0 and state.bytes >= NEARLY_FULL * state.max_bytes:
        full = "full" if state.bytes >= FULL * state.max_bytes else "nearly full"
        yield Finding(
            "warning",
            f"{text}: it is {full}. See why lanes are not stored (`status`), or raise"
            " `bus_max_bytes`",
        )
    else:
        yield Finding("ok", text)
    if state.max_bytes != settings.bus_max_bytes:
        yield Finding(
            "warning",
            f"`bus_max_bytes` is {format_size(settings.bus_max_bytes)} here: set it to"
            f" {state.max_bytes}, as the stream has it, lest a daemon with the role collect that"
            " starts here changes the stream",
        )
    behind = sorted(name for name, current in state.replicas.items() if not current)
    off = [name for name in behind if name in asked and not asked[name].jetstream]
    if late := [name for name in behind if name not in off]:
        yield Finding(
            "warning",
            f"replicas of the stream on {', '.join(late)} are away or not current: start these"
            " servers, or wait until they have caught up",
        )
    if count < wanted:
        yield Finding(
            "error",
            f"the stream has {count} of {wanted} replicas: run more servers of NATS as a cluster,"
            " or lower `bus_replicas` on all machines; a restart of a daemon with the role collect"
            " then changes the stream",
        )
    elif count > wanted:
        yield Finding(
            "warning",
            f"the stream has {count} replicas, but `bus_replicas` is {wanted} here: set it to"
            f" {count}, lest a daemon with the role collect that starts here changes the stream",
        )
    elif not behind and count > 1:
        yield Finding("ok", f"all {count} replicas of the stream are current")
    if count == 1 == wanted:
        yield Finding(
            "warning",
            "the stream is on one server: while that is down, nothing is stored (`bus_replicas`)",
        )


def servers(found: Mapping[str, ServerReport]) -> Iterator[Finding]:
    """Check how the servers store, if they let us ask, and their clocks."""
    if not found:
        yield Finding(
            "warning",
            'whether the servers have sync_interval "always" cannot be seen from here: let the'
            " program ask, by the lines with $SYS.REQ.SERVER.PING.JSZ in"
            " deploy/cluster/nats-server.conf, or look for `sync_always` on each server:"
            " curl -s http://127.0.0.1:8222/jsz",
        )
        return
    off = sorted(name for name, each in found.items() if not each.jetstream)
    if off:
        what = f"JetStream is off on {', '.join(off)}, so nothing is stored there"
        yield Finding("warning", f"{what}. {advice.JETSTREAM_OFF}")
    lax = sorted(name for name, each in found.items() if each.unsynced)
    if lax:
        yield Finding(
            "error",
            f"{', '.join(lax)}: acknowledges blocks that are not on its disk: set"
            ' sync_interval: "always" in the section jetstream of nats-server.conf',
        )
    elif len(off) < len(found):
        every = f"all {len(found)} servers" if len(found) > 1 else "the server"
        if off:
            every = "the other servers"
        yield Finding("ok", f'sync_interval is "always" on {every} of the bus')
    for name, each in sorted(found.items()):
        if abs(each.clock_offset) > CLOCK_OFFSET_MAX:
            yield Finding(
                "warning",
                f"the clock of the bus's server {name} and this machine's differ by"
                f" {each.clock_offset:+.0f} s: use NTP on both",
            )
