"""Translate error responses of X v2 into ConnectErrors: the reason, and when to retry. Pure.

X v2 reference, "HTTP errors". The host in a problem's `type` differs; its last segment names it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from stream.errors import ConnectError
from stream.networks.response import Response, foreign_response, wrong_clock
from stream.networks.x_common import Problem, is_own, problems, words

CREDITS = 900.0  # seconds between two checks for credits, as X asks


def kind(problem: Problem) -> str:
    """The last segment of the problem's type: rate-limit-exceeded, usage-capped and so on."""
    named = problem.get("type")
    return named.rstrip("/").rsplit("/", 1)[-1] if isinstance(named, str) else ""


def refusal(response: Response, now: float) -> ConnectError:
    """The error for a refused connection; `now` in seconds since 1970."""
    return _refusal(response, now).with_status(response.status)


def _refusal(response: Response, now: float) -> ConnectError:
    detail = words(response)
    if response.status in (420, 429):
        return _too_many(response, detail, now)
    if response.status >= 500 or response.status in (408, 425):
        text = f"X{response.via} answered {response.status}: {detail}"
        return ConnectError(text, "http", response.retry_at(now))
    if response.status == 401 and (wrong := wrong_clock(response, now)) is not None:
        return ConnectError(f"X answered 401, and {wrong}: set it", "rate_limit", code="clock")
    if not is_own(response):
        return foreign_response(response, now)
    if response.status in _KNOWN:
        return _KNOWN[response.status](response, detail, now)
    return ConnectError(f"X answered {response.status}: {detail}", "final")


def _unauthorized(_: Response, detail: str, __: float) -> ConnectError:
    text = f"X does not accept the bearer_token of this source (401: {detail}); enter a valid one"
    return ConnectError(text, "final", code="credentials")


def _credits(response: Response, detail: str, now: float) -> ConnectError:
    text = (
        f"the credits of this X account are used up (402: {detail}); add some, or raise the limit"
    )
    return ConnectError(text, "paused", max(response.retry_at(now) or 0, now + CREDITS), "quota")


def _forbidden(_: Response, detail: str, __: float) -> ConnectError:
    text = f"the plan of this X account does not include the filtered stream (403: {detail})"
    return ConnectError(text, "final", code="plan")


def _no_rules(_: Response, detail: str, __: float) -> ConnectError:
    return ConnectError(f"X has none of our rules yet (409: {detail})", "http")


def _too_many(response: Response, detail: str, now: float) -> ConnectError:
    """The three meanings of 429."""
    for problem in problems(response.body):
        if kind(problem) == "usage-capped" or problem.get("title") == "UsageCapExceeded":
            period = str(problem.get("period") or "").lower()
            text = f"the {period or 'usage'} quota of this X account is used up (429: {detail})"
            return ConnectError(text, "paused", _next_day(now), "quota")
        if problem.get("connection_issue") == "TooManyConnections":
            text = f"X still counts the last connection as open (429: {detail})"
            return ConnectError(
                text, "connection_limit", response.retry_at(now) if _spent(response) else None
            )
    text = f"X{response.via} limits requests (429: {detail})"
    return ConnectError(text, "rate_limit", response.retry_at(now))


def _spent(response: Response) -> bool:
    return response.headers.get("x-rate-limit-remaining") == "0"


def _next_day(now: float) -> float:
    """The next midnight, UTC.

    A daily quota starts again then. A monthly one begins with a billing cycle that X does not
    report: it is checked once a day.
    """
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1)).timestamp()


_KNOWN: dict[int, Callable[[Response, str, float], ConnectError]] = {
    401: _unauthorized,
    402: _credits,
    403: _forbidden,
    409: _no_rules,
}
