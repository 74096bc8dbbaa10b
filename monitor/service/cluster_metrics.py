"""The metrics of an installation on several machines: its bus, lanes and daemons."""

from collections.abc import Sequence

from monitor.service.metric_family import (
    Family,
    bus,
    cluster,
    lane,
    source_counter,
    source_gauge,
)

CLUSTER: Sequence[Family] = (
    bus("up", "1 if this daemon can use the bus.", lambda b: not b.failing),
    bus("blocks", "Blocks on the bus.", lambda b: b.messages if b.created else None),
    bus("bytes", "Bytes on the bus.", lambda b: b.bytes if b.created else None),
    bus(
        "limit_bytes",
        "Bytes that the bus takes.",
        lambda b: b.max_bytes if b.max_bytes > 0 else None,
    ),
    bus(
        "replicas",
        "Servers that have all of the stream.",
        lambda b: sum(b.replicas.values()) if b.replicas else None,
    ),
    bus("replicas_wanted", "Servers that should have it.", lambda b: b.wanted or None),
    bus(
        "servers_unsynced",
        "Servers without sync_interval always, if they can be asked.",
        lambda b: sum(s.unsynced for s in b.servers.values()) if b.servers else None,
    ),
    bus(
        "servers_without_jetstream",
        "Servers that store nothing, as JetStream is off, if they can be asked.",
        lambda b: len(b.without_jetstream) if b.servers else None,
    ),
    source_gauge(
        "bus_failed",
        "1 if the bus does not take what was collected.",
        lambda s: bool(s.bus_failing),
    ),
    source_counter("resent", "Times that blocks were sent to the bus again.", lambda s: s.resent),
    lane(
        "lag_seconds",
        "Time that the oldest tweet has waited, or since not all could be read.",
        lambda v: v.lag,
    ),
    lane("waiting_blocks", "Blocks on the bus that are not stored yet.", lambda v: v.blocks),
    lane("missing_journals", "Journals whose frames are missing.", lambda v: len(v.missing)),
    lane("failed", "1 if nothing can be read or stored.", lambda v: bool(v.failing)),
    cluster(
        "lanes_unwritten",
        "Lanes that no daemon stores.",
        lambda c: sum(not each.writer for each in c.lanes),
    ),
    cluster("daemons", "Running daemons.", lambda c: len(c.daemons)),
    cluster("daemons_gone", "Daemons that ended without a stop.", lambda c: len(c.gone)),
)
