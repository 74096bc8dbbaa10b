"""What must change at X: rules to add and to delete, in which order, and when to retry. Pure.

Rules are exchanged in an order that leaves no wanted text without a rule, as long as X has one free
slot. Without one, the rule that costs least is given up first, and the texts that no rule covers
meanwhile are known.

Each rule has its own delay for retries, so that a rule that X never accepts or never deletes costs
little of the budget, and delays no other.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from stream.backoff import BackoffPolicy, Clock
from stream.networks.x_v2.plan import OR, PREFIX, PlannedRule

BATCH = 100  # rules in one request
RETRY_BATCH = 10  # rules in the first retry; after that they go one by one
RETRIES = BackoffPolicy(first=5, factor=2, more=0, cap=900)


class ListedRule(msgspec.Struct, frozen=True):
    """A rule as X lists it."""

    id: str
    value: str
    tag: str | None = None


def normalized(value: str) -> str:
    """A rule's value without the differences in spaces that X ignores."""
    return " ".join(value.split())


def is_ours(rule: ListedRule) -> bool:
    """Whether this program created the rule, now or in an earlier run."""
    return (rule.tag or "").startswith(PREFIX)


class RuleDiff:
    """The listed rules against the wanted ones; kept up to date while rules are exchanged."""

    def __init__(
        self,
        listed: Sequence[ListedRule],
        wanted: Iterable[PlannedRule],
        adopted: Collection[str],
        max_rules: int,
    ) -> None:
        self.wanted = {normalized(rule.value): rule for rule in wanted}
        self.adopted: dict[str, str] = {}  # value by id, of wanted rules that others created
        self.obsolete: dict[str, ListedRule] = {}  # by id: ours, and no longer wanted
        self.put_off: dict[str, PlannedRule] = {}  # by value
        self.foreign = 0
        self.free_slots = max_rules - len(listed)
        present: dict[str, ListedRule] = {}
        # Ours first: of two equal rules, ours is kept.
        for rule in sorted(listed, key=lambda rule: not is_ours(rule)):
            value = normalized(rule.value)
            clause = self.wanted.get(value)
            if clause is not None and value not in present:
                present[value] = rule
                if rule.tag != clause.tag:
                    self.adopted[rule.id] = clause.value
            elif is_ours(rule) or rule.id in adopted:
                self.obsolete[rule.id] = rule
            else:
                self.foreign += 1
        self.outdated = dict(self.obsolete)  # as listed, even if deleted since
        self.missing = {value: r for value, r in self.wanted.items() if value not in present}

    @property
    def has_ours(self) -> bool:
        """Whether X has at least one wanted rule."""
        return len(self.missing) < len(self.wanted)

    def put_off_refused(self, values: Collection[str]) -> None:
        """Set aside rules that X refuses and that are not retried now."""
        for value in values:
            if (rule := self.missing.pop(value, None)) is not None:
                self.put_off[value] = rule

    def added(self, rule: PlannedRule) -> None:
        """Take note that X has added this rule."""
        if self.missing.pop(normalized(rule.value), None) is not None:
            self.free_slots -= 1

    def deleted(self, rule_id: str) -> None:
        """Take note that X has deleted this rule."""
        if self.obsolete.pop(rule_id, None) is not None:
            self.free_slots += 1

    def uncovered(self) -> set[str]:
        """Wanted texts that are in no wanted rule that X has."""
        return {part for rule in self.missing.values() for part in rule.parts}

    def lost_texts(self) -> Mapping[str, set[str]]:
        """For each obsolete rule, by id, the wanted texts that only it covers."""
        by_piece: defaultdict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
        for text in self.uncovered():
            pieces = text.split(OR)  # a text may contain an OR itself
            by_piece[pieces[0]].append((text, frozenset(pieces)))
        found = {}
        for rule_id, rule in self.obsolete.items():
            pieces_there = set(normalized(rule.value).split(OR))
            found[rule_id] = {
                text
                for piece in pieces_there
                for text, pieces_of_text in by_piece.get(piece, ())
                if pieces_of_text <= pieces_there
            }
        return found

    def without_rule(self) -> set[str]:
        """Wanted texts that no rule at X covers, wanted or obsolete."""
        found = self.uncovered()
        return found - set().union(*self.lost_texts().values()) if found else found

    def cheapest(self, lost_texts: Mapping[str, set[str]]) -> str:
        """The obsolete rule whose deletion costs least: its texts are soon covered again."""
        following = set(next(iter(self.missing.values())).parts)
        return min(
            lost_texts, key=lambda each: (len(lost_texts[each] - following), len(lost_texts[each]))
        )


class RuleRetry(msgspec.Struct, frozen=True):
    """The attempts to add or delete one rule so far."""

    count: int
    next_at: float  # monotonic
    why: str = ""  # in X's words; empty: no reason given
    refused: bool = False  # X refused this very rule
    late: bool = False  # a later listing did not show it done


class RuleRetries:
    """Rule changes not done yet, by value of a rule to add or id of one to delete."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._by_key: dict[str, RuleRetry] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def items(self) -> Iterator[tuple[str, RuleRetry]]:
        """All changes not done yet, in the order of asking."""
        return iter(self._by_key.items())

    def keep(self, keys: Collection[str]) -> None:
        """Keep only these, which a new listing shows undone."""
        self._by_key = {
            key: msgspec.structs.replace(each, late=True)
            for key, each in self._by_key.items()
            if key in keys
        }

    def due(self, keys: Iterable[str]) -> list[str]:
        """Those of these changes that may be requested now."""
        now = self.clock.monotonic()
        return [k for k in keys if k not in self._by_key or self._by_key[k].next_at <= now]

    def batch(self, due: Collection[str]) -> list[str]:
        """What goes into one request: new changes together, failed ones in ever smaller parts."""
        fresh = [key for key in due if key not in self._by_key]
        if fresh:
            return fresh[:BATCH]
        once = [key for key in due if self._by_key[key].count == 1]
        return once[:RETRY_BATCH] if once else list(due)[:1]

    def note(self, keys: Iterable[str]) -> None:
        """Count an attempt for each of these."""
        now = self.clock.monotonic()
        for key in keys:
            last = self._by_key.get(key, RuleRetry(0, 0.0))
            count = last.count + 1
            next_at = now + RETRIES.delay(count)
            self._by_key[key] = RuleRetry(count, next_at, last.why, late=last.late)

    def note_failure(self, key: str, why: str, *, refused: bool = False) -> None:
        """Note why X did not do it. A rule that it refuses by name is retried only rarely."""
        last = self._by_key[key]
        later = self.clock.monotonic() + RETRIES.cap
        next_at = later if refused else last.next_at
        self._by_key[key] = RuleRetry(last.count, next_at, why, refused, last.late)

    def reset(self, keys: Iterable[str]) -> None:
        """Allow these at once: their request failed because of others."""
        for key in keys:
            self._by_key.pop(key, None)

    def next_at(self, keys: Collection[str]) -> float | None:
        """When the first of these may be retried; monotonic."""
        times = [each.next_at for key, each in self._by_key.items() if key in keys]
        return min(times, default=None)
