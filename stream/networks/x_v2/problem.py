"""An answer of X that is no stream → why, and when to come back. Pure.

X v2 reference, "HTTP errors". The host in a problem's `type` differs; its last segment tells.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from stream.errors import ConnectError
from stream.networks.http import Answer

CREDITS = 900.0  # seconds; X wants to be asked at most every 15 minutes whether there is credit
SKEW = 60.0  # seconds by which a clock may be wrong before it is blamed
DETAIL = 300  # characters of X's own words that are passed on

Problem = dict[str, object]


def problems(body: bytes) -> Iterator[Problem]:
    """The problem objects of an answer: the body itself, and those in its `errors`."""
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return
    if isinstance(whole, dict):
        yield whole
        errors = whole.get("errors")
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, dict):
                yield error


def kind(problem: Problem) -> str:
    """The last segment of the problem's type: rate-limit-exceeded, usage-capped and so on."""
    named = problem.get("type")
    return named.rstrip("/").rsplit("/", 1)[-1] if isinstance(named, str) else ""


def words(answer: Answer) -> str:
    """What X says in its own words, for a person."""
    for problem in problems(answer.body):
        said = (problem.get("title"), problem.get("detail") or problem.get("message"))
        text = ": ".join(part for part in said if isinstance(part, str))
        if text:
            return text[:DETAIL]
    text = answer.text()[:DETAIL]
    return "with a page for browsers" if text.lstrip().startswith("<") else text


def refusal(answer: Answer, now: float) -> ConnectError:
    """Why X did not let us in; `now` in seconds since 1970."""
    said = words(answer)
    if answer.status in _KNOWN:
        return _KNOWN[answer.status](answer, said, now)
    text = f"X answered {answer.status}: {said}"
    if answer.status >= 500 or answer.status in (408, 425):
        return ConnectError(text, "http", answer.retry_at(now))
    return ConnectError(text, "final")


def _unauthorized(answer: Answer, said: str, now: float) -> ConnectError:
    skew = answer.skew(now)
    if skew is not None and abs(skew) > SKEW:
        side = "ahead" if skew > 0 else "behind"
        text = f"X answered 401, and the clock of this machine is {abs(skew):.0f} s {side}: set it"
        return ConnectError(text, "rate_limit", code="clock")
    text = f"X does not accept the bearer_token of this source (401: {said}); give it a valid one"
    return ConnectError(text, "final", code="credentials")


def _credits(answer: Answer, said: str, now: float) -> ConnectError:
    text = f"the credits of this X account are spent (402: {said}); add some, or raise the limit"
    return ConnectError(text, "paused", max(answer.retry_at(now) or 0, now + CREDITS), "quota")


def _forbidden(_: Answer, said: str, __: float) -> ConnectError:
    text = f"the plan of this X account does not include the filtered stream (403: {said})"
    return ConnectError(text, "final", code="plan")


def _no_rules(_: Answer, said: str, __: float) -> ConnectError:
    return ConnectError(f"X has no rules of ours yet (409: {said})", "http")


def _too_many(answer: Answer, said: str, now: float) -> ConnectError:
    """The three meanings of 429."""
    for problem in problems(answer.body):
        if kind(problem) == "usage-capped" or problem.get("title") == "UsageCapExceeded":
            period = str(problem.get("period") or "").lower()
            text = f"the {period or 'usage'} quota of this X account is spent (429: {said})"
            return ConnectError(text, "paused", _next_day(now), "quota")
        if problem.get("connection_issue") == "TooManyConnections":
            text = f"X thinks that the last connection is still open (429: {said})"
            return ConnectError(text, "slot", answer.retry_at(now) if _spent(answer) else None)
    text = f"X wants fewer requests (429: {said})"
    return ConnectError(text, "rate_limit", answer.retry_at(now))


def _spent(answer: Answer) -> bool:
    return answer.headers.get("x-rate-limit-remaining") == "0"


def _next_day(now: float) -> float:
    """The next midnight, UTC.

    A daily quota begins anew then. A monthly one begins with a billing cycle that X does not
    tell: it is asked once a day.
    """
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1)).timestamp()


_KNOWN: dict[int, Callable[[Answer, str, float], ConnectError]] = {
    401: _unauthorized,
    402: _credits,
    403: _forbidden,
    409: _no_rules,
    420: _too_many,
    429: _too_many,
}
