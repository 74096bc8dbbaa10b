"""Keep the rules at X equal to the plan, while the stream is open.

X v2 reference, "Rules API". Rules belong to the whole X app and outlive connections. Ours carry our
tag; a wanted rule that another program created is adopted; all other rules are left alone, although
they use slots and send their tweets to us.

No response is trusted: after each change the rules are listed again. What X did not do is retried,
ever more rarely and within the budget of requests. It is reported in the tracks concerned, in
`events` and by an alert: a rule that is not deleted keeps costing money.
"""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

import msgspec

from stream.backoff import Clock, SlidingWindowLimiter
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.base import Reporter, RuleOwner
from stream.networks.http import NetworkHttp
from stream.networks.response import Response
from stream.networks.x_common import DETAIL, Problem, is_own, problems, words
from stream.networks.x_v2.api_errors import kind, refusal
from stream.networks.x_v2.plan import PlannedRule, XV2Plan
from stream.networks.x_v2.rule_diff import ListedRule, RuleDiff, RuleRetries, normalized
from stream.networks.x_v2.rule_report import GIVEN_UP, CoverageGaps, RuleReport
from stream.text import plain

PATH = "/2/tweets/search/stream/rules"
WINDOW = 900.0  # seconds
LISTINGS_MAX = 400  # in a window; X allows 450
CHECK_AFTER = 1.0  # seconds from a change to the next, or to the listing that checks it
PAGES_MAX = 100  # of a listing

_NO_ROOM = frozenset({"rule-cap", "rule-limit-exceeded"})
# Statuses about the request as a whole: credentials, credits, limits, time.
_ABOUT_ACCESS = frozenset({401, 402, 403, 407, 408, 420, 425, 429})


class _PageMeta(msgspec.Struct, frozen=True):
    next_token: str | None = None


class _Listing(msgspec.Struct, frozen=True):
    data: tuple[ListedRule, ...] = ()
    meta: _PageMeta = _PageMeta()


class _Summary(msgspec.Struct, frozen=True):
    deleted: int = 0


class _ChangeCounts(msgspec.Struct, frozen=True):
    summary: _Summary = _Summary()


class _Changed(msgspec.Struct, frozen=True):
    """What X says it has changed."""

    data: tuple[ListedRule, ...] = ()
    meta: _ChangeCounts = _ChangeCounts()


class _Step(msgspec.Struct, frozen=True):
    """One request: values of rules to add, or ids to delete."""

    add: Sequence[str] = ()
    delete: Sequence[str] = ()
    lost_texts: frozenset[str] = frozenset()  # texts without a rule then, until one is added


_decode = msgspec.json.Decoder(_Listing).decode
_decode_changed = msgspec.json.Decoder(_Changed, strict=False).decode


class RuleSync:
    """Synchronizes the rules of one source with its plan."""

    def __init__(
        self,
        http: NetworkHttp,
        headers: Mapping[str, str],
        settings: Settings,
        clock: Clock,
        reporter: Reporter,
    ) -> None:
        self.http = http
        self.headers = headers
        self.clock = clock
        self.max_rules = settings.x_v2.max_rules
        self.budget = SlidingWindowLimiter(settings.x_v2.max_rule_changes, WINDOW)
        self.lists = SlidingWindowLimiter(LISTINGS_MAX, WINDOW)
        self.confirmed = False  # X has at least one of our rules
        self.adopted: dict[str, str] = {}  # value by id, of rules that others created
        self._halved: set[str] = set()  # values of packed rules that X refused
        self._adding = RuleRetries(clock)  # by value
        self._deleting = RuleRetries(clock)  # by id
        self._report = RuleReport(reporter)
        self._coverage = CoverageGaps(reporter)

    def owners_of_rule(self, rule: str, plan: XV2Plan) -> tuple[RuleOwner, ...]:
        """The tracks of a rule, by its tag or, if adopted, by its id."""
        if (found := plan.rule_owners.get(rule)) is not None:
            return found
        value = self.adopted.get(rule)
        return () if value is None else plan.rule_owners.get(PlannedRule((value,), ()).tag, ())

    async def reconcile(self, plan: XV2Plan) -> float:
        """Change the rules at X to those of the plan; ConnectError when X refuses.

        Returns 0 when nothing is left to do, otherwise the seconds until the next check.
        """
        if (wait := self.lists.wait(self.clock.monotonic())) > 0:
            return wait
        diff = await self._read_rules(plan)
        changed, full = False, ""
        try:
            while (step := self._step(diff)) is not None and self._wait(step) <= 0:
                changed = True
                if not await self._apply(step, diff, plan):
                    break  # only a new listing shows what X has now
            if step is None and diff.free_slots <= 0:
                full = self._report.full(self.max_rules)
        finally:
            self._report.report(diff, plan, self._adding, self._deleting, full)
        return CHECK_AFTER if changed else self._next_check(diff)

    def forget(self) -> None:
        """X says that it has no rules."""
        self.confirmed = False

    # -- listing ---------------------------------------------------------------------------------

    async def _read_rules(self, plan: XV2Plan) -> RuleDiff:
        """List the rules, and compare them with the plan."""
        listed = await self.listing()
        seen: set[str] = set()
        diff = RuleDiff(listed, self._wanted(plan.rules, seen), self.adopted, self.max_rules)
        self._halved &= seen
        self.confirmed = diff.has_ours
        obsolete = {each: v for each, v in self.adopted.items() if each in diff.obsolete}
        self.adopted = diff.adopted | obsolete
        # Changes that are done are not retried.
        self._adding.keep(diff.missing.keys())
        self._deleting.keep(diff.obsolete.keys())
        due = {*self._adding.due(diff.missing)}
        refused = {value for value, each in self._adding.items() if each.refused}
        diff.put_off_refused(refused - due)
        self._report.update(diff, {normalized(rule.value) for rule in listed})
        self._coverage.compare(diff, plan.part_owners, self.clock.time())
        return diff

    def _wanted(self, rules: Iterable[PlannedRule], seen: set[str]) -> Iterable[PlannedRule]:
        """The wanted rules; packed ones that X refused in halves, to find the bad text."""
        for rule in rules:
            seen.add(rule.value)
            if rule.value in self._halved:
                middle = len(rule.parts) // 2
                halves = rule.parts[:middle], rule.parts[middle:]
                yield from self._wanted((PlannedRule(half, rule.owners) for half in halves), seen)
            else:
                yield rule

    def _spend_listing(self) -> None:
        """Count a request for a page; ConnectError when no more are allowed now."""
        now = self.clock.monotonic()
        if (wait := self.lists.wait(now)) > 0:
            text = f"X's list of rules has been read {self.lists.limit} times in 15 minutes"
            raise ConnectError(text, "rate_limit", self.clock.time() + wait)
        self.lists.use(now)

    async def listing(self) -> list[ListedRule]:
        """All rules of the app, ours and others."""
        found: list[ListedRule] = []
        token = ""
        for _ in range(PAGES_MAX):
            page = f"?max_results=1000{token}"
            self._spend_listing()
            response = await self.http.request("GET", PATH + page, self.headers)
            if response.status != 200:
                raise self._refusal(response)
            try:
                listing = _decode(response.body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                text = f"X's list of rules cannot be read: {error}"
                raise ConnectError(text, "http") from error
            found.extend(listing.data)
            if listing.meta.next_token is None:
                break
            token = f"&pagination_token={quote(listing.meta.next_token, safe='')}"
        return found

    # -- changing ---------------------------------------------------------------------------------

    def _step(self, diff: RuleDiff) -> _Step | None:
        """The next request. Rules are added first, as long as X has free slots."""
        missing = self._adding.due(diff.missing)
        if missing and diff.free_slots > 0:
            return _Step(add=self._adding.batch(missing)[: diff.free_slots])
        obsolete = self._deleting.due(diff.obsolete)
        lost_texts = diff.lost_texts()
        if free := [each for each in obsolete if not lost_texts[each]]:
            return _Step(delete=self._deleting.batch(free))
        if missing and obsolete:
            victim = diff.cheapest({each: lost_texts[each] for each in obsolete})
            return _Step(delete=[victim], lost_texts=frozenset(lost_texts[victim]))
        return None

    def _wait(self, step: _Step) -> float:
        """Seconds until the budget allows this request; retries leave half of the budget."""
        tried = any(each in self._adding for each in step.add) or any(
            each in self._deleting for each in step.delete
        )
        reserve = self.budget.limit // 2 if tried else 0
        return self.budget.wait(self.clock.monotonic(), reserve)

    async def _apply(self, step: _Step, diff: RuleDiff, plan: XV2Plan) -> bool:
        """Send the request; False when X did not confirm all of it."""
        if step.add:
            return await self._add([diff.missing[value] for value in step.add], diff)
        began = self.clock.time()
        if not await self._delete(step.delete, diff):
            return False
        self._coverage.begin(step.lost_texts, plan.part_owners, began, GIVEN_UP)
        return True

    async def _add(self, batch: Sequence[PlannedRule], diff: RuleDiff) -> bool:
        by_value = {normalized(rule.value): rule for rule in batch}
        self._adding.note(by_value)
        response = await self._post({"add": [{"value": r.value, "tag": r.tag} for r in batch]})
        done = {normalized(rule.value) for rule in _read(response).data} & by_value.keys()
        named: set[str] = set()
        for problem in problems(response.body):
            value = normalized(str(problem.get("value", "")))
            if value not in by_value:
                continue
            if kind(problem) == "duplicate-rules" or problem.get("title") == "DuplicateRule":
                self.adopted[str(problem.get("id"))] = by_value[value].value
                done.add(value)
            else:
                named.add(value)
                self._note_refusal(by_value[value], problem)
        self._note_failed_request(self._adding, by_value.keys() - done, named, response)
        for value in done:
            diff.added(by_value[value])
        self.confirmed = self.confirmed or bool(done)
        self._coverage.end(diff.without_rule(), self.clock.time())
        return done >= by_value.keys()

    def _note_refusal(self, rule: PlannedRule, problem: Problem) -> None:
        """Note that X refused this rule."""
        value = normalized(rule.value)
        if kind(problem) in _NO_ROOM:
            self._adding.note_failure(value, self._report.full(self.max_rules))
            return
        if len(rule.parts) > 1:
            self._halved.add(rule.value)
        self._adding.note_failure(value, self._why(problem, "X refuses this rule"), refused=True)

    async def _delete(self, batch: Sequence[str], diff: RuleDiff) -> bool:
        self._deleting.note(batch)
        response = await self._post({"delete": {"ids": batch}})
        if _is_success(response) and _read(response).meta.summary.deleted >= len(batch):
            for rule_id in batch:
                self.adopted.pop(rule_id, None)
                diff.deleted(rule_id)
            return True
        named: set[str] = set()
        for problem in problems(response.body):
            rule_id = str(problem.get("value", ""))
            if rule_id in batch:
                named.add(rule_id)
                self._deleting.note_failure(rule_id, self._why(problem, "X answered"))
        self._note_failed_request(self._deleting, {*batch}, named, response)
        return False

    def _note_failed_request(
        self, retries: RuleRetries, batch: set[str], named: set[str], response: Response
    ) -> None:
        """Note a failed request. Where X names some rules, the others may be retried at once."""
        if _is_success(response):
            return
        if named:
            retries.reset(batch - named)
            return
        for each in batch:
            why = (
                f"X answered {response.status}: {plain(self.http.redact(words(response)), DETAIL)}"
            )
            retries.note_failure(each, why)

    async def _post(self, body: Mapping[str, object]) -> Response:
        self.budget.use(self.clock.monotonic())
        headers = {**self.headers, "Content-Type": "application/json"}
        response = await self.http.request("POST", PATH, headers, msgspec.json.encode(body))
        if not _is_success(response) and not _about_rules(response):
            raise self._refusal(response)
        return response

    def _refusal(self, response: Response) -> ConnectError:
        return refusal(response, self.clock.time()).reworded(self.http.redact)

    def _why(self, problem: Problem, beginning: str) -> str:
        details = problem.get("details")
        text = problem.get("detail") or (details[0] if isinstance(details, list) else None)
        text = text if isinstance(text, str) else str(problem.get("title") or "without a reason")
        return f"{beginning}: {plain(self.http.redact(text), DETAIL)}"

    def _next_check(self, diff: RuleDiff) -> float:
        """Seconds until the next retry; 0 when all is done."""
        now = self.clock.monotonic()
        waits = [
            max(at - now, self.budget.wait(now, self.budget.limit // 2), CHECK_AFTER)
            for at in (
                self._adding.next_at({*diff.missing, *diff.put_off}),
                self._deleting.next_at(diff.obsolete),
            )
            if at is not None
        ]
        if (step := self._step(diff)) is not None:
            waits.append(max(self._wait(step), CHECK_AFTER))
        return min(waits, default=0.0)


def _is_success(response: Response) -> bool:
    return response.status in (200, 201)  # 201: for added rules, seen by older clients


def _about_rules(response: Response) -> bool:
    """Whether the error is about rules in the request, not about access as a whole."""
    if any("value" in each for each in problems(response.body)):
        return response.status < 500
    return (
        400 <= response.status < 500 and response.status not in _ABOUT_ACCESS and is_own(response)
    )


def _read(response: Response) -> _Changed:
    """The changes that X reports; none if they cannot be read."""
    try:
        return _decode_changed(response.body) if _is_success(response) else _Changed()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Changed()
