"""The rules of one app, which persist across connections (X v2 reference §3), and their faults."""

import random
from collections.abc import Mapping, Sequence
from typing import cast

from simulator.faults import Faults
from simulator.grammar import InvalidRule, constraints
from simulator.payload import Json
from simulator.posts import Constraints
from simulator.rules import MatchInput, Rule, RuleIndex, make_rule
from simulator.settings import Limits
from simulator.wire_v2 import iso

_HERE = "https://api.twitter.com/2/problems/"
_SOONEST = 1605612339621163008  # ids of rules count from here


class Rulebook:
    """Adds, deletes, lists and counts rules; a change takes effect after `delay` seconds."""

    def __init__(self, limits: Limits, delay: float) -> None:
        self.limits = limits
        self.delay = delay
        self.rules: dict[str, Rule] = {}
        self.leaving: list[Rule] = []
        self.index = RuleIndex(())
        self.last = _SOONEST

    def next_id(self) -> str:
        """The number of a new rule."""
        self.last += 1
        return str(self.last)

    def matching(self, seen: MatchInput, now: float) -> list[Rule]:
        """The rules that a post matches."""
        return self.index.matching(seen, now)

    def constraints(self, rng: random.Random, now: float) -> Constraints | None:
        """What a post must contain to match one active rule; None when there is none."""
        active = [rule for rule in self.rules.values() if rule.active <= now]
        return constraints(rng.choice(active).tree, rng) if active else None

    def add(self, wanted: list[Mapping[str, str]], now: float, *, dry: bool) -> tuple[int, Json]:
        """Add rules; returns HTTP status and body."""
        created: list[Json] = []
        errors: list[Json] = []
        by_value = {rule.value: rule.id for rule in self.rules.values()}
        for entry in wanted:
            value = entry["value"]
            refusal = self._refusal(value, by_value, len(created) if dry else 0)
            if refusal is not None:
                errors.append({"value": value, **refusal})
                continue
            rule = make_rule(self.next_id(), value, entry.get("tag"), now + self.delay)
            by_value[value] = rule.id
            created.append(_shown(rule))
            if not dry:
                self.rules[rule.id] = rule
        self.reindex(now)
        summary = {
            "created": len(created), "not_created": len(errors),
            "valid": len(created), "invalid": len(errors),
        }  # fmt: skip
        body: Json = {"meta": {"sent": iso(int(now * 1000)), "summary": summary}}
        if created:
            body["data"] = created
        if errors:
            body["errors"] = errors
        return 201 if created else 200, body

    def delete(self, wanted: list[str], by: str, now: float, *, dry: bool) -> Json:
        """Delete rules by id or value; returns the body."""
        found = [rule for rule in self.rules.values() if getattr(rule, by) in wanted]
        known = {cast("str", getattr(rule, by)) for rule in found}
        errors: list[Json] = [
            {
                "title": "Invalid Request",
                "detail": "One or more parameters to your request was invalid.",
                "type": _HERE + "invalid-request",
                "errors": [{"parameters": {by: [missing]}, "message": f"There is no {missing}."}],
            }
            for missing in wanted
            if missing not in known
        ]
        if not dry:
            for rule in found:
                self._remove(rule, now)
            self.reindex(now)
        summary = {"deleted": len(found), "not_deleted": len(errors)}
        body: Json = {"meta": {"sent": iso(int(now * 1000)), "summary": summary}}
        return body | ({"errors": errors} if errors else {})

    def delete_all(self, now: float, *, dry: bool) -> Json:
        """Delete all rules; returns the body."""
        return self.delete(list(self.rules), "id", now, dry=dry)

    def listed(self, ids: list[str] | None, start: int, count: int, now: float) -> Json:
        """One page of rules; no `data` when empty."""
        rules = [r for r in self.rules.values() if ids is None or r.id in ids]
        page = rules[start : start + count]
        meta: Json = {"sent": iso(int(now * 1000)), "result_count": len(page)}
        if start + count < len(rules):
            meta["next_token"] = f"{start + count:016d}"
        return {"meta": meta} | ({"data": [_shown(rule) for rule in page]} if page else {})

    def counts(self) -> Json:
        """The number of rules and the caps."""
        number = len(self.rules)
        app = {"client_app_id": "1", "rule_count": number}
        return {
            "data": {
                "cap_per_client_app": str(self.limits.rules),
                "cap_per_project": str(self.limits.rules),
                "project_rules_count": str(number),
                "client_app_rules_count": app,
                "all_project_client_apps": [app],
            }
        }

    def _refusal(self, value: str, by_value: Mapping[str, str], unsaved: int) -> Json | None:
        if value in by_value:
            kind = _HERE + "duplicate-rules"
            return {"id": by_value[value], "title": "DuplicateRule", "type": kind}
        if len(value) > self.limits.rule_length:
            detail = f"Rules must not be longer than {self.limits.rule_length} characters."
            return _unusable("rule-length", "UnprocessableEntity", detail)
        if len(self.rules) + unsaved >= self.limits.rules:
            detail = f"Rules must not be more than {self.limits.rules}."
            return _unusable("rule-cap", "RulesCapExceeded", detail)
        try:
            make_rule("0", value, None, 0)
        except InvalidRule as reason:
            return _unusable("invalid-rules", "UnprocessableEntity", str(reason))
        return None

    def _remove(self, rule: Rule, now: float) -> None:
        del self.rules[rule.id]
        rule.gone = now + self.delay
        self.leaving.append(rule)

    def reindex(self, now: float) -> None:
        """Rebuild the index after a change."""
        self.leaving = [rule for rule in self.leaving if rule.gone > now]
        self.index = RuleIndex((*self.rules.values(), *self.leaving))


def _unusable(kind: str, title: str, detail: str) -> Json:
    return {"title": title, "detail": detail, "type": _HERE + kind}


def _shown(rule: Rule) -> Json:
    shown: Json = {"id": rule.id, "value": rule.value}
    return shown if rule.tag is None else shown | {"tag": rule.tag}


_TAMPERED = "meddled"  # value and tag of the rules that the fault adds


class FaultyRulebook:
    """Changes a rulebook as requested, unless a fault is armed."""

    def __init__(self, rulebook: Rulebook, faults: Faults) -> None:
        self.rulebook = rulebook
        self.faults = faults

    def delete(self, ids: list[str], now: float) -> tuple[int, Json]:
        """Delete rules by id; returns HTTP status and body."""
        armed = self.faults.take(
            "rules", "delete-refused", "delete-ignored", "delete-partly", "delete-forgotten"
        )
        match armed.fault if armed else None:
            case "delete-refused":
                return 400, _refused(ids, "The rule cannot be deleted.")
            case "delete-ignored":
                return 200, _summary(deleted=0, not_deleted=len(ids))
            case "delete-partly":
                gone = ids[::2]
                self.rulebook.delete(gone, "id", now, dry=False)
                return 200, _summary(deleted=len(gone), not_deleted=len(ids) - len(gone))
            case "delete-forgotten":
                return 200, _summary(deleted=len(ids), not_deleted=0)
        return 200, self.rulebook.delete(ids, "id", now, dry=False)

    def add(self, wanted: list[Mapping[str, str]], now: float) -> tuple[int, Json]:
        """Add rules; returns HTTP status and body."""
        armed = self.faults.take(
            "rules", "add-refused", "add-partly", "add-forgotten", "add-duplicated"
        )
        match armed.fault if armed else None:
            case "add-refused":
                return 400, _refused([wanted[0]["value"]], "This rule cannot be used.")
            case "add-partly":
                return self.rulebook.add(wanted[::2], now, dry=False)
            case "add-forgotten":
                return self.rulebook.add(wanted, now, dry=True)
            case "add-duplicated":
                answer = self.rulebook.add(wanted, now, dry=False)
                for entry in wanted:
                    self._put(entry["value"], entry.get("tag"), now)
                return answer
        return self.rulebook.add(wanted, now, dry=False)

    def tamper(self, now: float) -> None:
        """Before a listing: remove the first rule, replace the second and third."""
        if self.faults.take("rules", "rules-meddled") is None:
            return
        ids = list(self.rulebook.rules)
        self.rulebook.delete(ids[:3], "id", now, dry=False)
        if len(ids) > 1:
            self._put(_TAMPERED, "twitterstream-0123456789abcdef", now)
        self._put(f"{_TAMPERED} too", _TAMPERED, now)

    def _put(self, value: str, tag: str | None, now: float) -> None:
        rule = make_rule(self.rulebook.next_id(), value, tag, now)
        self.rulebook.rules[rule.id] = rule
        self.rulebook.reindex(now)


def _summary(**numbers: int) -> Json:
    return {"meta": {"summary": dict(numbers)}}


def _refused(values: Sequence[str], detail: str) -> Json:
    return {
        "errors": [
            {
                "value": value,
                "title": "UnprocessableEntity",
                "detail": detail,
                "type": _HERE + "invalid-rules",
            }
            for value in values
        ],
        "title": "Invalid Request",
        "detail": "One or more parameters to your request was invalid.",
        "type": _HERE + "invalid-request",
    }
