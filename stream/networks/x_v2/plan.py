"""All tracks → the rules of X's filtered stream. Pure.

One rule for each distinct alternative, so that `matching_rules` says whose a tweet is. When there
are more than X has slots, they are packed with OR, and the matcher finds out the rest. Packing goes
by hash: a new track changes one rule, not all that come after it.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from stream.config import Settings
from stream.networks.base import Claim, Followed, Plan, Usage
from stream.networks.planning import Objections, Wish, merged, wishes
from stream.networks.x_v2.rule import Limits, Refused, is_dense, values

PREFIX = "twitterstream-"  # a rule with another tag is somebody else's
OR = " OR "
DENSE = "X finds words of scripts without spaces only where it sees a word of its own there."


class Rule(msgspec.Struct, frozen=True):
    """A rule as X shall have it: the alternatives in it, and who asked for them."""

    parts: tuple[str, ...]
    claims: tuple[Claim, ...]

    @property
    def value(self) -> str:
        return OR.join(self.parts)

    @property
    def tag(self) -> str:
        """A key of the value; it says nothing about who asked."""
        return PREFIX + _digest(self.value)[:16]


class XV2Plan(Plan, frozen=True, kw_only=True):
    """`rules`: all that X shall have of ours. `owners`: who asked for a rule's part."""

    rules: tuple[Rule, ...]
    owners: Mapping[str, tuple[Claim, ...]]


class _Text(msgspec.Struct, frozen=True):
    """One rule text that a wish needs."""

    text: str
    wish: Wish
    exact: bool


def plan(followed: Sequence[Followed], settings: Settings) -> XV2Plan:
    """What X is asked for, and what it cannot do for whom."""
    objections = Objections()
    texts: list[_Text] = []
    for wish in wishes(followed):
        texts.extend(_texts(wish, settings, objections))
    rules, served = _rules(texts, settings)
    for text in texts[served:]:
        objections.refuse(text.wish, f"All {settings.x_v2.max_rules:,} rules of X are in use.")
    exact = merged((text.text, text.wish.claims) for text in texts[:served] if text.exact)
    claims = {rule.tag: exact.get(rule.value, ()) for rule in rules if len(rule.parts) == 1}
    return XV2Plan(
        refused=objections.refused(followed),
        caveats=objections.caveats(followed),
        claims={tag: claim for tag, claim in claims.items() if claim},
        asked=len(rules),
        rules=rules,
        owners=merged((text.text, text.wish.claims) for text in texts[:served]),
    )


def usage(plan: Plan, settings: Settings) -> list[Usage]:
    """How much of X's limits it takes."""
    return [Usage("rules", plan.asked, settings.x_v2.max_rules)]


def _texts(wish: Wish, settings: Settings, objections: Objections) -> list[_Text]:
    limits = Limits(settings.x_v2.rule_length, settings.x_v2.box_parts)
    try:
        found = values(wish.alternative.node, limits)
    except Refused as refusal:
        objections.refuse(wish, str(refusal))
        return []
    if is_dense(wish.alternative.node):
        objections.limit(wish, DENSE)
    return [_Text(text, wish, found.exact) for text in found.texts]


def _rules(texts: Sequence[_Text], settings: Settings) -> tuple[tuple[Rule, ...], int]:
    """The rules, and how many of the texts found room in them: the oldest wishes come first."""
    most, length = settings.x_v2.max_rules, settings.x_v2.rule_length
    packed = _packed(texts, most, length)
    if len(packed) <= most:
        return packed, len(texts)
    low, high = 0, len(texts)  # so many do fit, so many do not
    while high - low > 1:
        middle = (low + high) // 2
        if len(_packed(texts[:middle], most, length)) <= most:
            low = middle
        else:
            high = middle
    return _packed(texts[:low], most, length), low


def _packed(texts: Sequence[_Text], most: int, length: int) -> tuple[Rule, ...]:
    owners = merged((text.text, text.wish.claims) for text in texts)
    if len(owners) <= most:
        groups = [[text] for text in owners]
    else:
        groups = _leaves(sorted((_digest(text), text) for text in owners), length)
    return tuple(
        Rule(tuple(group), tuple(dict.fromkeys(c for text in group for c in owners[text])))
        for group in groups
    )


def _leaves(hashed: Sequence[tuple[str, str]], length: int, depth: int = 0) -> list[list[str]]:
    """The leaves of a tree by the digits of the hash, each of which fits into one rule."""
    texts = [text for _, text in hashed]
    if not texts:
        return []
    if len(texts) == 1 or len(OR.join(texts)) <= length:
        return [texts]
    bit = 1 << (255 - depth)
    ones = [pair for pair in hashed if int(pair[0], 16) & bit]
    zeros = [pair for pair in hashed if not int(pair[0], 16) & bit]
    return _leaves(zeros, length, depth + 1) + _leaves(ones, length, depth + 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
