"""The rules of one app: they outlive connections (X v2 reference §3)."""

import random
from collections.abc import Mapping
from typing import cast

from simulator.grammar import InvalidRule
from simulator.posts import Wish
from simulator.problems import Json
from simulator.rules import Index, Rule, make
from simulator.settings import Limits
from simulator.view import View
from simulator.wire_v2 import iso
from simulator.wishes import wish

_HERE = "https://api.twitter.com/2/problems/"
_SOONEST = 1605612339621163008  # ids of rules count from here


class Rulebook:
    """Adds, deletes, lists and counts; a change acts `delay` seconds later."""

    def __init__(self, limits: Limits, delay: float) -> None:
        self.limits = limits
        self.delay = delay
        self.rules: dict[str, Rule] = {}
        self.leaving: list[Rule] = []
        self.index = Index(())
        self.last = _SOONEST

    def matching(self, seen: View, now: float) -> list[Rule]:
        """The rules that this post is delivered for."""
        return self.index.matching(seen, now)

    def wish(self, rng: random.Random, now: float) -> Wish | None:
        """What would match one of the active rules."""
        active = [rule for rule in self.rules.values() if rule.active <= now]
        return wish(rng.choice(active).tree, rng) if active else None

    def add(self, wanted: list[Mapping[str, str]], now: float, *, dry: bool) -> tuple[int, Json]:
        """Status and answer for the rules that shall be added."""
        created: list[Json] = []
        errors: list[Json] = []
        by_value = {rule.value: rule.id for rule in self.rules.values()}
        for entry in wanted:
            value = entry["value"]
            refusal = self._refusal(value, by_value, len(created) if dry else 0)
            if refusal is not None:
                errors.append({"value": value, **refusal})
                continue
            self.last += 1
            rule = make(str(self.last), value, entry.get("tag"), now + self.delay)
            by_value[value] = rule.id
            created.append(_shown(rule))
            if not dry:
                self.rules[rule.id] = rule
        self._reindex(now)
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
        """Answer for ids or values that shall go."""
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
            self._reindex(now)
        summary = {"deleted": len(found), "not_deleted": len(errors)}
        body: Json = {"meta": {"sent": iso(int(now * 1000)), "summary": summary}}
        return body | ({"errors": errors} if errors else {})

    def delete_all(self, now: float, *, dry: bool) -> Json:
        """Answer for all rules that shall go."""
        return self.delete(list(self.rules), "id", now, dry=dry)

    def listed(self, ids: list[str] | None, start: int, count: int, now: float) -> Json:
        """One page of the rules; no `data` when there are none."""
        rules = [r for r in self.rules.values() if ids is None or r.id in ids]
        page = rules[start : start + count]
        meta: Json = {"sent": iso(int(now * 1000)), "result_count": len(page)}
        if start + count < len(rules):
            meta["next_token"] = f"{start + count:016d}"
        return {"meta": meta} | ({"data": [_shown(rule) for rule in page]} if page else {})

    def counts(self) -> Json:
        """Usage against the caps."""
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
            make("0", value, None, 0)
        except InvalidRule as reason:
            return _unusable("invalid-rules", "UnprocessableEntity", str(reason))
        return None

    def _remove(self, rule: Rule, now: float) -> None:
        del self.rules[rule.id]
        rule.gone = now + self.delay
        self.leaving.append(rule)

    def _reindex(self, now: float) -> None:
        self.leaving = [rule for rule in self.leaving if rule.gone > now]
        self.index = Index((*self.rules.values(), *self.leaving))


def _unusable(kind: str, title: str, detail: str) -> Json:
    return {"title": title, "detail": detail, "type": _HERE + kind}


def _shown(rule: Rule) -> Json:
    shown: Json = {"id": rule.id, "value": rule.value}
    return shown if rule.tag is None else shown | {"tag": rule.tag}
