"""Report where X's rules differ from the plan: to the tracks, to `events`, to alerts, as gaps."""

from collections.abc import Collection, Iterable, Mapping

from stream.networks.base import CoverageGap, Reporter, RuleOwner
from stream.networks.x_v2.plan import XV2Plan
from stream.networks.x_v2.rule_diff import RuleDiff, RuleRetries, RuleRetry, normalized
from stream.tweet import TrackId

NOT_LISTED = "X does not list this rule although it accepted it. It will be added again."

PARTLY = "Tracked only partly."
LOST = "X had lost its rule"
GIVEN_UP = "all rules were in use, and its rule was replaced by another for a moment"


class RuleReport:
    """Reports each difference once, when it changes."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._refused: Mapping[TrackId, str] = {}
        self._reach: Mapping[TrackId, str] = {}  # of those that are refused in part
        self._stale: Mapping[TrackId, str] = {}
        self._mismatch = ""
        self._foreign = -1
        # The owners of rules that X may still have, by value.
        self._owners: dict[str, tuple[RuleOwner, ...]] = {}

    def update(self, diff: RuleDiff, there: Collection[str]) -> None:
        """Take note of a new listing with these values."""
        self._owners = {
            value: owners for value, owners in self._owners.items() if value in there
        } | {value: rule.owners for value, rule in diff.wanted.items()}
        foreign = diff.foreign
        if foreign != self._foreign and (foreign or self._foreign > 0):
            text = f"this X app has {foreign} rules that this program did not create"
            self.reporter.record_event(f"{text}; they use slots, and their tweets arrive as well")
        self._foreign = foreign

    def full(self, max_rules: int) -> str:
        """Why no more rules can be added."""
        others = f", {self._foreign:,} of them by others" if self._foreign > 0 else ""
        return f"All {max_rules:,} rules of this X app are in use{others}."

    def report(
        self, diff: RuleDiff, plan: XV2Plan, adding: RuleRetries, deleting: RuleRetries, full: str
    ) -> None:
        """Report what is left to do. `full`: why missing rules cannot be added."""
        # Until a listing shows them, whatever X has answered meanwhile.
        late = {v: each for v, each in adding.items() if v in diff.wanted and _is_overdue(each)}
        absent = {
            part: each.why or NOT_LISTED
            for value, each in late.items()
            for part in diff.wanted[value].parts
        }
        if full:
            absent |= {part: full for rule in diff.missing.values() for part in rule.parts}
        self._report_refused(absent, plan)
        stuck = {
            i: each for i, each in deleting.items() if i in diff.outdated and _is_overdue(each)
        }
        self._report_stale(diff, stuck)
        self._report_mismatch(stuck, {v: each for v, each in late.items() if not each.refused})

    def _report_refused(self, absent: Mapping[str, str], plan: XV2Plan) -> None:
        """Report the tracks with parts that X has no rule for, each part with the reason."""
        refused = {
            owner.track_id: f"{owner.term}: {why}"
            for part, why in absent.items()
            for owner in plan.part_owners.get(part, ())
        }
        reach: dict[TrackId, str] = {}
        if refused:
            others = (owners for part, owners in plan.part_owners.items() if part not in absent)
            partly = {owner.track_id for owners in others for owner in owners} & refused.keys()
            reach = {each: f"{PARTLY} {refused[each]}" for each in partly}
        if (refused, reach) != (self._refused, self._reach):
            self._refused, self._reach = refused, reach
            self.reporter.report_reach(reach)
            self.reporter.report_refused(refused)

    def _report_stale(self, diff: RuleDiff, stuck: Mapping[str, RuleRetry]) -> None:
        stale: dict[TrackId, str] = {}
        for rule_id, each in stuck.items():
            for owner in self._owners.get(normalized(diff.outdated[rule_id].value), ()):
                stale[owner.track_id] = (
                    f"X has not deleted its rule for {owner.term}{_because(each.why)}. Its posts"
                    " still arrive and are charged. Deleting is retried."
                )
        if stale != self._stale:
            self._stale = stale
            self.reporter.report_stale(stale)

    def _report_mismatch(
        self, stuck: Mapping[str, RuleRetry], late: Mapping[str, RuleRetry]
    ) -> None:
        sentences = []
        if stuck:
            sentences.append(
                f"X has not deleted {_rules(len(stuck))} that no track asks for any more"
                f"{_because(_first(stuck))}; their posts still arrive and are charged."
            )
        if late:
            sentences.append(
                f"X has not added {_rules(len(late))} that tracks ask for{_because(_first(late))}."
            )
        mismatch = " ".join(sentences)
        if mismatch != self._mismatch:
            self._mismatch = mismatch
            self.reporter.report_mismatch(mismatch)
            self.reporter.record_event(mismatch or "the rules at X match the tracks again")


def _is_overdue(each: RuleRetry) -> bool:
    return each.late or bool(each.why)


def _first(retries: Mapping[str, RuleRetry]) -> str:
    return next((each.why for each in retries.values() if each.why), "")


def _because(why: str) -> str:
    return f" ({why.rstrip('.')})" if why else ""


def _rules(number: int) -> str:
    return "1 rule" if number == 1 else f"{number:,} rules"


class CoverageGaps:
    """Compares each listing with the last, and reports tracks that lose or regain their rules."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._covered: set[str] = set()  # texts with a rule, at the last listing
        self._listed_at = 0.0  # seconds since 1970
        self._open: dict[str, tuple[TrackId, ...]] = {}  # the tracks of each text without a rule
        self._is_new = True  # an earlier run may have left gaps open

    def compare(
        self, diff: RuleDiff, owners: Mapping[str, tuple[RuleOwner, ...]], now: float
    ) -> None:
        """Take note of a new listing: texts that it lacks are missing since the last listing."""
        missing = diff.without_rule()
        self.begin(missing & self._covered, owners, self._listed_at, LOST)
        self._covered = owners.keys() - missing
        self._listed_at = now
        self.end(missing, now)

    def begin(
        self,
        texts: Iterable[str],
        owners: Mapping[str, tuple[RuleOwner, ...]],
        since: float,
        why: str,
    ) -> None:
        """X has no rule for these texts any more."""
        fresh = {
            text: tuple(owner.track_id for owner in owners.get(text, ()))
            for text in texts
            if text not in self._open
        }
        self._open |= fresh
        if tracks := {track for each in fresh.values() for track in each}:
            self.reporter.report_uncovered(CoverageGap(tuple(sorted(tracks)), since, why))

    def end(self, missing: set[str], now: float) -> None:
        """X has rules for all texts but these."""
        if self._is_new and not missing:
            self._is_new = False
            self.reporter.report_covered(None, now)
        if not self._open:
            return
        before = {track for each in self._open.values() for track in each}
        self._open = {text: each for text, each in self._open.items() if text in missing}
        still = {track for each in self._open.values() for track in each}
        if before - still:
            self.reporter.report_covered(tuple(sorted(before - still)), now)
