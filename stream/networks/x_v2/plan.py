"""Plan X v2: compile all tracks into rules of the filtered stream. Pure.

One rule for each distinct alternative, so that `matching_rules` names a tweet's tracks. When there
are more than X has slots, they are packed with OR, and the matcher finds out the rest. Packing goes
by hash: a new track changes one rule, not all that come after it.
"""

import bisect
import hashlib
from collections.abc import Iterator, Mapping

import msgspec

from stream.config import Settings
from stream.networks.base import Plan, RuleOwner, Usage
from stream.networks.planning import Clause, ClausePlanner, Limitations
from stream.networks.x_v2.rule_compiler import Limits, Refused, caveats, values
from stream.query import Node
from stream.tweet import ReachHow, TrackId

OR = " OR "
RULES_PER_SPARE = 100  # with packed rules, one slot in so many stays free for exchanges

SINGLE = 256  # bits of the hash: a leaf of one text
Leaf = tuple[int, int]  # number of bits of the hash, and their value
Hashed = tuple[int, str]
Order = tuple[int, int, int]  # smaller ones are served first
DELIVERS: Mapping[ReachHow, str] = {
    "pushed": "Sent to X as a rule.",
    "both": "Sent to X as a rule that finds more; which posts match is decided here.",
}
PREFIX = "twitterstream-"  # other tags: rules of other programs


class Packing:
    """The texts of one plan, packed into as few rules as there are slots; a change costs little.

    One text per rule, as long as X has enough slots. Otherwise texts are joined with OR: they are
    the leaves of a tree by the bits of a hash, and each leaf fits into one rule, so that a change
    touches one or two rules. If even that is too much, the texts asked for first are served.

    `changed`: texts that are newly served, or no longer, since it was cleared.
    """

    def __init__(self, max_rules: int, length: int) -> None:
        self.max_rules = max_rules
        self.length = length
        self.changed: set[str] = set()
        self.changed_leaves: set[Leaf] = set()  # leaves whose texts have changed
        self.leaves: dict[Leaf, list[Hashed]] = {}  # sorted
        self._inner: set[Leaf] = set()  # nodes that have to be split
        self._orders: dict[str, Order] = {}
        self._queue: list[tuple[Order, str]] = []
        self._served = 0  # number of texts served, from the front of the queue
        self._packed = False
        self._stuck = ""  # the text that does not fit, until something changes

    def put(self, text: str, order: Order) -> None:
        """Add a text, or change its place in the queue."""
        if self._orders.get(text) == order:
            return
        self.discard(text, settle=False)
        self._orders[text] = order
        at = bisect.bisect(self._queue, (order, text))
        self._queue.insert(at, (order, text))
        if at < self._served:
            self._insert(text)
            self._served += 1
            self._stuck = ""
        self._settle()

    def discard(self, text: str, *, settle: bool = True) -> None:
        """Remove a text."""
        if (order := self._orders.pop(text, None)) is None:
            return
        at = bisect.bisect_left(self._queue, (order, text))
        del self._queue[at]
        if at < self._served:
            self._take_out(text)
            self._served -= 1
            self._stuck = ""
        if settle:
            self._settle()

    def is_served(self, text: str) -> bool:
        order = self._orders.get(text)
        if order is None or self._served == 0:
            return False
        return (order, text) <= self._queue[self._served - 1]

    def order(self, text: str) -> Order:
        """Its place in the queue."""
        return self._orders[text]

    def served(self) -> Iterator[str]:
        """The served texts in order."""
        return (text for _, text in self._queue[: self._served])

    def leaf_of(self, text: str) -> Leaf:
        """The leaf that a text belongs to."""
        if not self._packed:
            return SINGLE, _hash(text)
        number, depth = _hash(text), 0
        while (depth, number >> (256 - depth)) in self._inner:
            depth += 1
        return depth, number >> (256 - depth)

    @property
    def _room(self) -> int:
        return (
            self.max_rules - self.max_rules // RULES_PER_SPARE if self._packed else self.max_rules
        )

    def _settle(self) -> None:
        """Serve as many texts from the front of the queue as fit."""
        packed = len(self._queue) > self.max_rules
        if packed != self._packed:
            for text in list(self.served()):
                self._take_out(text)
            self._served = 0
            self._packed = packed
            self._stuck = ""
        while len(self.leaves) > self._room:
            self._served -= 1
            self._take_out(self._queue[self._served][1])
        while self._served < len(self._queue):
            text = self._queue[self._served][1]
            if text == self._stuck:
                break
            self._insert(text)
            if len(self.leaves) > self._room:
                self._take_out(text)
                self._stuck = text
                break
            self._served += 1

    def _insert(self, text: str) -> None:
        self.changed ^= {text}
        self._put_into(self.leaf_of(text), [(_hash(text), text)])

    def _put_into(self, leaf: Leaf, more: list[Hashed]) -> None:
        held = self.leaves[leaf] = sorted([*self.leaves.get(leaf, ()), *more])
        self.changed_leaves.add(leaf)
        if self._fits(held):
            return
        depth, prefix = leaf
        del self.leaves[leaf]
        self._inner.add(leaf)
        middle = bisect.bisect(held, ((prefix << 1 | 1) << (255 - depth), ""))
        for bit, part in enumerate((held[:middle], held[middle:])):
            if part:
                self._put_into((depth + 1, prefix << 1 | bit), part)

    def _take_out(self, text: str) -> None:
        self.changed ^= {text}
        leaf = self.leaf_of(text)
        self.leaves[leaf].remove((_hash(text), text))
        self.changed_leaves.add(leaf)
        if not self.leaves[leaf]:
            del self.leaves[leaf]
        while self._packed and leaf[0] > 0:
            depth, prefix = leaf
            sibling, parent = (depth, prefix ^ 1), (depth - 1, prefix >> 1)
            both = sorted([*self.leaves.get(leaf, ()), *self.leaves.get(sibling, ())])
            if sibling in self._inner or not self._fits(both):
                break
            self.changed_leaves |= {leaf, sibling, parent}
            self.leaves.pop(leaf, None)
            self.leaves.pop(sibling, None)
            self._inner.remove(parent)
            if both:
                self.leaves[parent] = both
            leaf = parent

    def _fits(self, held: list[Hashed]) -> bool:
        """Whether these texts fit into one rule; a single text always does."""
        size = sum(len(text) for _, text in held) + len(OR) * (len(held) - 1)
        return len(held) < 2 or size <= self.length


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest())


class PlannedRule(msgspec.Struct, frozen=True):
    """A rule to have at X: its alternatives, and the tracks that ask for them."""

    parts: tuple[str, ...]
    owners: tuple[RuleOwner, ...]

    @property
    def value(self) -> str:
        return OR.join(self.parts)

    @property
    def tag(self) -> str:
        """A hash of the value; independent of the tracks."""
        return PREFIX + _digest(self.value)[:16]


class XV2Plan(Plan, frozen=True, kw_only=True):
    """`rules`: all our rules. `part_owners`: the tracks of each part of a rule."""

    rules: tuple[PlannedRule, ...]
    part_owners: Mapping[str, tuple[RuleOwner, ...]]


class _Made(msgspec.Struct, frozen=True):
    """What X can make of an alternative: texts of rules, or why there is none."""

    texts: tuple[str, ...] = ()
    exact: bool = False
    against: str = ""
    caveats: tuple[str, ...] = ()


class XV2Planner(ClausePlanner[_Made]):
    """See `base.Planner`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.limits = Limits(settings.x_v2.max_rule_length, settings.x_v2.max_box_parts)
        self.full = f"All {settings.x_v2.max_rules:,} rules of X are in use."
        self._packing = Packing(settings.x_v2.max_rules, settings.x_v2.max_rule_length)
        self._askers: dict[str, list[Clause[_Made]]] = {}  # by text
        self._owners: dict[str, tuple[RuleOwner, ...]] = {}  # by text that is served
        self._rules: dict[Leaf, PlannedRule] = {}
        self._rule_owners: dict[str, tuple[RuleOwner, ...]] = {}  # by tag
        self._changed: set[str] = set()  # texts that others ask for than before
        self._shared: set[str] = set()  # texts that share their rule with others

    def make(self, node: Node) -> _Made:
        """See `ClausePlanner`."""
        try:
            found = values(node, self.limits)
        except Refused as refusal:
            return _Made(against=str(refusal))
        return _Made(found.texts, found.exact, caveats=tuple(caveats(node)))

    def touched(self, clause: Clause[_Made]) -> None:
        """See `ClausePlanner`."""
        for text in clause.made.texts:
            askers = self._askers.setdefault(text, [])
            if clause.owners and clause not in askers:
                askers.append(clause)
            elif not clause.owners:
                askers.remove(clause)
            self._changed.add(text)
            if askers:
                first = min(askers, key=lambda asker: asker.order)
                self._packing.put(text, (*first.order, first.made.texts.index(text)))
            else:
                del self._askers[text]
                self._shared.discard(text)
                self._packing.discard(text)

    def limitations_of(self, clause: Clause[_Made]) -> Limitations:
        """See `ClausePlanner`."""
        if clause.made.against:
            return Limitations(clause.made.against)
        served = [self._packing.is_served(text) for text in clause.made.texts]
        if not any(served):
            return Limitations(self.full)
        limits = clause.made.caveats if all(served) else (*clause.made.caveats, self.full)
        exact = clause.made.exact and self._shared.isdisjoint(clause.made.texts)
        return Limitations(limits=limits, how="pushed" if exact else "both")

    def plan(self) -> XV2Plan:
        """See `base.Planner`."""
        self._follow_packing()
        self.update_sentences()
        return XV2Plan(
            refused=dict(self._refused),
            caveats=dict(self._caveats),
            rule_owners=dict(self._rule_owners),
            asked=len(self._rules),
            how=dict(self._how),
            rules=tuple(self._rules[leaf] for leaf in sorted(self._rules, key=self._first)),
            part_owners=dict(self._owners),
        )

    def _first(self, leaf: Leaf) -> tuple[int, ...]:
        """Rules of one text in the order of asking, packed ones by hash."""
        [(_, text), *_] = self._packing.leaves[leaf]
        return self._packing.order(text) if leaf[0] == SINGLE else leaf

    def _follow_packing(self) -> None:
        """Rebuild the rules whose texts or tracks have changed."""
        packing = self._packing
        dirty, packing.changed_leaves = packing.changed_leaves, set()
        moved, packing.changed = packing.changed, set()
        for text in moved:
            for clause in self._askers.get(text, ()):
                self.limitations_changed(clause)
        for text in moved | self._changed:
            if packing.is_served(text):
                owners = (owner for clause in self._askers[text] for owner in clause.owners)
                self._owners[text] = tuple(sorted({*owners}, key=_by_age))
                dirty.add(packing.leaf_of(text))
            else:
                self._owners.pop(text, None)
        self._changed = set()
        for leaf in dirty:  # all of them first: the same rule may be in another leaf then
            if (gone := self._rules.pop(leaf, None)) is not None:
                self._rule_owners.pop(gone.tag, None)
        for leaf in dirty:
            self._make_rule(leaf)

    def _make_rule(self, leaf: Leaf) -> None:
        texts = tuple(text for _, text in self._packing.leaves.get(leaf, ()))
        shared = len(texts) > 1
        for text in texts:
            if (text in self._shared) != shared:
                self._shared ^= {text}
                for clause in self._askers[text]:
                    self.limitations_changed(clause)
        if not texts:
            return
        owners = dict.fromkeys(owner for text in texts for owner in self._owners[text])
        rule = self._rules[leaf] = PlannedRule(texts, tuple(owners))
        if len(texts) == 1:
            exact = {c for w in self._askers[texts[0]] if w.made.exact for c in w.owners}
            if exact:
                self._rule_owners[rule.tag] = tuple(sorted(exact, key=_by_age))


def _by_age(owner: RuleOwner) -> tuple[TrackId, str]:
    return owner.track_id, owner.term


def usage(plan: Plan, settings: Settings) -> list[Usage]:
    """How much of X's limits the plan uses."""
    return [Usage("rules", plan.asked, settings.x_v2.max_rules)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
