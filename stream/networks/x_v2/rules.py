"""Keeps the rules that X has equal to those that are wanted, while the stream is open.

X v2 reference, "Rules API". Rules belong to the whole X app and outlive connections. Ours carry our
tag; a wanted rule that somebody else made is adopted; all other rules are left alone, although they
use slots and send their tweets to us.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeVar
from urllib.parse import quote

import msgspec

from stream.backoff import Clock, Window
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.base import Claim, Reporter
from stream.networks.http import Answer, Wire
from stream.networks.x_v2.plan import PREFIX, Rule, XV2Plan
from stream.networks.x_v2.problem import Problem, kind, problems, refusal
from stream.tweet import TrackId

PATH = "/2/tweets/search/stream/rules"
WINDOW = 900.0  # seconds
LISTS = 400  # listings in a window; X allows 450
AGAIN = 1.0  # seconds between two changes that belong together
BATCH = 100  # rules in one request
PAGES = 100  # of a listing, at most

T = TypeVar("T")

_NO_ROOM = frozenset({"rule-cap", "rule-limit-exceeded"})


class Listed(msgspec.Struct, frozen=True):
    """A rule that X has."""

    id: str
    value: str
    tag: str | None = None


class _Meta(msgspec.Struct, frozen=True):
    next_token: str | None = None


class _Listing(msgspec.Struct, frozen=True):
    data: tuple[Listed, ...] = ()
    meta: _Meta = _Meta()


_decode = msgspec.json.Decoder(_Listing).decode


class Rules:
    """The rules of one source at X."""

    def __init__(
        self,
        wire: Wire,
        headers: Mapping[str, str],
        settings: Settings,
        clock: Clock,
        reporter: Reporter,
    ) -> None:
        self.wire = wire
        self.headers = headers
        self.clock = clock
        self.reporter = reporter
        self.most = settings.x_v2.max_rules
        self.budget = Window(settings.x_v2.rule_changes, WINDOW)
        self.lists = Window(LISTS, WINDOW)
        self.confirmed = False  # X has been seen to have a rule of ours
        self.adopted: dict[str, str] = {}  # value by id, of rules that others made
        self._refused: dict[str, str] = {}  # sentence by value
        self._seen: set[str] = set()  # values that the plan asks for, whole or in halves
        self._crowded: list[Rule] = []  # rules that had no room this time
        self._told: Mapping[TrackId, str] = {}
        self._foreign = -1

    def believed(self, rule: str, plan: XV2Plan) -> tuple[Claim, ...]:
        """The claims of a rule, by its tag or, if adopted, by its id."""
        if (found := plan.claims.get(rule)) is not None:
            return found
        value = self.adopted.get(rule)
        return () if value is None else plan.claims.get(Rule((value,), ()).tag, ())

    async def reconcile(self, plan: XV2Plan) -> float:
        """Bring the plan in force; ConnectError when X does not let us.

        Returns 0, or how many seconds to wait until the rest of it may be changed.
        """
        now = self.clock.monotonic()
        if (wait := self.lists.wait(now)) > 0:
            return wait
        self.lists.use(now)
        self._crowded = []
        self._seen = set()
        listed = await self.listing()
        wanted = {rule.value: rule for rule in self._wanted(plan.rules)}
        self._adopt(listed, wanted)
        present = {normal(rule.value) for rule in listed}
        missing = [rule for value, rule in wanted.items() if normal(value) not in present]
        keep = {normal(value) for value in wanted}
        obsolete = [
            rule.id
            for rule in listed
            if (rule.id in self.adopted or _ours(rule)) and normal(rule.value) not in keep
        ]
        self.confirmed = len(missing) < len(wanted)
        # Add before delete, so that no term is ever uncovered, unless X has no room for both.
        short = max(len(listed) + len(missing) - self.most, 0)
        first, later = obsolete[:short], obsolete[short:]
        done = await self._delete(first)
        done = done and await self._add(missing, room=self.most - len(listed) + len(first))
        done = done and await self._delete(later)
        self._tell(plan)
        return 0.0 if done else max(self.budget.wait(self.clock.monotonic()), AGAIN)

    def forget(self) -> None:
        """X says that it has no rules: believe it."""
        self.confirmed = False

    # -- requests ---------------------------------------------------------------------------------

    async def listing(self) -> list[Listed]:
        """All rules of the app, ours and others."""
        found: list[Listed] = []
        token = ""
        for _ in range(PAGES):
            page = f"?max_results=1000{token}"
            answer = await self.wire.ask("GET", PATH + page, self.headers)
            if answer.status != 200:
                raise self._refusal(answer)
            try:
                listing = _decode(answer.body)
            except (msgspec.DecodeError, RecursionError) as error:
                text = f"X's list of rules cannot be read: {error}"
                raise ConnectError(text, "http") from error
            found.extend(listing.data)
            if listing.meta.next_token is None:
                break
            token = f"&pagination_token={quote(listing.meta.next_token, safe='')}"
        return found

    async def _post(self, body: Mapping[str, object]) -> Answer:
        self.budget.use(self.clock.monotonic())
        headers = {**self.headers, "Content-Type": "application/json"}
        answer = await self.wire.ask("POST", PATH, headers, msgspec.json.encode(body))
        # Older clients saw 201; a request in which every rule is bad may come back as 400.
        if answer.status not in (200, 201) and not self._about_rules(answer):
            raise self._refusal(answer)
        return answer

    @staticmethod
    def _about_rules(answer: Answer) -> bool:
        return answer.status < 500 and any("value" in each for each in problems(answer.body))

    def _refusal(self, answer: Answer) -> ConnectError:
        return refusal(answer, self.clock.time()).reworded(self.wire.scrub)

    async def _delete(self, ids: Sequence[str]) -> bool:
        """False when the budget did not last."""
        for batch in _batches(ids):
            if self.budget.wait(self.clock.monotonic()) > 0:
                return False
            await self._post({"delete": {"ids": batch}})
            for rule_id in batch:
                self.adopted.pop(rule_id, None)
        return True

    async def _add(self, missing: Sequence[Rule], room: int) -> bool:
        """False when the budget did not last, or a refused rule has to be tried in halves."""
        whole = True
        self._crowded.extend(missing[max(room, 0) :])
        for batch in _batches(missing[: max(room, 0)]):
            if self.budget.wait(self.clock.monotonic()) > 0:
                return False
            answer = await self._post({"add": [{"value": r.value, "tag": r.tag} for r in batch]})
            whole = self._sort_out(answer, {normal(rule.value): rule for rule in batch}) and whole
        return whole

    # -- answers ----------------------------------------------------------------------------------

    def _sort_out(self, answer: Answer, batch: Mapping[str, Rule]) -> bool:
        """Read what became of each rule; False when some have to be tried in another way."""
        bad = {}
        for problem in problems(answer.body):
            rule = batch.get(normal(str(problem.get("value", ""))))
            if rule is None:
                continue
            if kind(problem) == "duplicate-rules" or problem.get("title") == "DuplicateRule":
                self.adopted[str(problem.get("id"))] = rule.value
                self.confirmed = True
            elif kind(problem) in _NO_ROOM:
                self._crowded.append(rule)
            else:
                bad[rule.value] = rule
                self._refused[rule.value] = self._why(problem)
        self.confirmed = self.confirmed or len(bad) < len(batch)
        return all(len(rule.parts) == 1 for rule in bad.values())

    def _why(self, problem: Problem) -> str:
        details = problem.get("details")
        said = problem.get("detail") or (details[0] if isinstance(details, list) else None)
        text = said if isinstance(said, str) else problem.get("title") or "without a reason"
        return self.wire.scrub(f"X refuses this rule: {text}")

    def _full(self) -> str:
        others = f", {self._foreign:,} of them by others" if self._foreign > 0 else ""
        return f"All {self.most:,} rules of this X app are in use{others}."

    def _adopt(self, listed: Sequence[Listed], wanted: Mapping[str, Rule]) -> None:
        """Take over the rules of others that we want too, and count the rest."""
        by_value = {normal(value): rule for value, rule in wanted.items()}
        there = {rule.id for rule in listed}
        self.adopted = {each: value for each, value in self.adopted.items() if each in there}
        foreign = 0
        for rule in listed:
            same = by_value.get(normal(rule.value))
            if same is not None and rule.tag != same.tag:
                self.adopted[rule.id] = same.value
            foreign += not _ours(rule) and rule.id not in self.adopted
        if foreign != self._foreign and (foreign or self._foreign > 0):
            text = f"this X app has {foreign} rules that are not ours; they use slots, and their"
            self.reporter.say(f"{text} tweets come to us too")
        self._foreign = foreign

    # -- what X refuses ---------------------------------------------------------------------------

    def _wanted(self, rules: Iterable[Rule]) -> Iterable[Rule]:
        """The rules to ask for. A packed one that X refused is tried in halves, to find the bad."""
        for rule in rules:
            self._seen.add(rule.value)
            if rule.value not in self._refused:
                yield rule
            elif len(rule.parts) > 1:
                middle = len(rule.parts) // 2
                halves = rule.parts[:middle], rule.parts[middle:]
                yield from self._wanted(Rule(half, rule.claims) for half in halves)

    def _tell(self, plan: XV2Plan) -> None:
        """Say whose rules X refused; forget about those that nobody asks for any more."""
        self._refused = {value: why for value, why in self._refused.items() if value in self._seen}
        told = {
            claim.track_id: f"{claim.term}: {why}"
            for value, why in self._refused.items()
            for claim in plan.owners.get(value, ())
        }
        for rule in self._crowded:
            told.update((claim.track_id, f"{claim.term}: {self._full()}") for claim in rule.claims)
        if told != self._told:
            self._told = told
            self.reporter.refused(told)


def normal(value: str) -> str:
    """Values that X takes for the same."""
    return " ".join(value.split())


def _ours(rule: Listed) -> bool:
    return (rule.tag or "").startswith(PREFIX)


def _batches(items: Sequence[T]) -> Iterable[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch
