"""Input for tests of alert rules: all is well at noon, except for what a test changes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from monitor.alert import registry
from monitor.alert.condition import Condition, Facts, FileProblems, RuleContext
from monitor.alert.registry import RULES
from monitor.snapshot import Snapshot
from snapshots import make_snapshot, make_source
from stream.config import Settings

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
GB = 10**9

SOURCE = make_source(NOON)
SNAPSHOT = make_snapshot(NOON, sources=(SOURCE,))
FACTS = Facts(
    at=NOON,
    complete=True,
    collected={1},
    delivering={"x_v2": NOON - 86_400 * 7},
    history_days=7.0,
)
replace = msgspec.structs.replace


def with_source(snapshot: Snapshot = SNAPSHOT, **changed: Any) -> Snapshot:
    return replace(snapshot, sources=(replace(SOURCE, **changed),))


def with_machine(**changed: Any) -> Snapshot:
    return replace(SNAPSHOT, machine=replace(SNAPSHOT.machine, **changed))


def with_process(snapshot: Snapshot = SNAPSHOT, **changed: Any) -> Snapshot:
    return replace(snapshot, process=replace(SNAPSHOT.process, **changed))


def with_database(snapshot: Snapshot = SNAPSHOT, **changed: Any) -> Snapshot:
    return replace(snapshot, database=replace(SNAPSHOT.database, **changed))


def after(seconds: float, snapshot: Snapshot = SNAPSHOT) -> Snapshot:
    """The snapshot as it would be so many seconds after noon."""
    return replace(snapshot, at=NOON + seconds)


def context(
    *seen: Snapshot,
    opened: Sequence[tuple[str, str]] = (),
    files: FileProblems | None = None,
    settings: Settings | None = None,
    facts: Facts | None = FACTS,
    **changed_facts: Any,
) -> RuleContext:
    """What the rules look at; by default one snapshot at noon."""
    if facts is not None:
        facts = replace(facts, **changed_facts)
    return RuleContext(
        seen or (SNAPSHOT,),
        settings or Settings(),
        facts,
        files or FileProblems(),
        frozenset(opened),
    )


def conditions(looked_at: RuleContext) -> list[Condition]:
    """What all rules together find; each condition has sentences and a rule that exists."""
    found, failed = registry.evaluate_snapshot(looked_at)
    assert failed is None
    found += registry.evaluate_facts(looked_at)
    assert {each.rule for each in found} <= RULES.keys()
    for each in found:
        assert each.text.endswith("."), each.text
        assert each.remedy.endswith("."), each.remedy
    return found


def condition(looked_at: RuleContext, rule: str) -> Condition:
    """The one condition of this rule."""
    [found] = [each for each in conditions(looked_at) if each.rule == rule]
    return found
