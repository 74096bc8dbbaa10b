"""What a network answers instead of a stream → why, and when to come back."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from stream.errors import ConnectError
from stream.networks.response import RETRY_AFTER_MAX, Response
from stream.networks.x_v1 import client as x_v1
from stream.networks.x_v2 import api_errors as x_v2
from stream.text import plain

NOW = datetime(2026, 3, 4, 22, 30, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2026, 3, 5, tzinfo=UTC).timestamp()


def answer(status: int, body: object = "", **headers: str) -> Response:
    text = body if isinstance(body, str) else json.dumps(body)
    return Response(status, {k.replace("_", "-"): v for k, v in headers.items()}, text.encode())


def typed(name: str, **more: object) -> dict[str, object]:
    return {"type": f"https://api.twitter.com/2/problems/{name}", **more}


BUSY = typed("streaming-connection", connection_issue="TooManyConnections", title="x")
CAPPED = typed("usage-capped", title="UsageCapExceeded", period="Monthly", scope="Product")
NO_RULES = typed(
    "streaming-connection", connection_issue="RuleConfigurationIssue", title="ConnectionException"
)
LIMITED = typed("rate-limit-exceeded", title="Rate limit")
CREDITS = typed("credits-depleted", title="CreditsDepleted")
UNAUTHORIZED = {"title": "Unauthorized", "type": "about:blank", "status": 401}
PAGE = "<!DOCTYPE html><html><title>Hotel &amp; Spa</title>Log in, please</html>"


def v1(message: str, code: int = 32) -> dict[str, object]:
    return {"errors": [{"code": code, "message": message}]}


@pytest.mark.parametrize(
    ("status", "body", "retry", "code"),
    [
        (400, typed("invalid-request", title="Invalid Request"), "final", ""),
        (400, {"errors": [{"message": "no", "parameters": {}, "code": 1}]}, "final", ""),
        (401, UNAUTHORIZED, "final", "credentials"),
        (402, CREDITS, "paused", "quota"),
        (403, typed("client-forbidden", title="Client Forbidden"), "final", "plan"),
        (404, {"title": "Not Found Error", "detail": "no such thing"}, "final", ""),
        (404, "", "http", "foreign"),
        (409, NO_RULES, "http", ""),
        (429, BUSY, "connection_limit", ""),
        (429, {"errors": [BUSY]}, "connection_limit", ""),
        (429, CAPPED, "paused", "quota"),
        (429, {"errors": [CAPPED]}, "paused", "quota"),
        (429, LIMITED, "rate_limit", ""),
        (429, {"errors": [{"code": 88, "message": "Rate limit exceeded"}]}, "rate_limit", ""),
        (429, "<html>", "rate_limit", ""),
        (500, "", "http", ""),
        (503, "<html><body>over capacity</body></html>", "http", ""),
    ],
)
def test_each_answer_of_v2_has_a_retry_mode_and_a_code(
    status: int, body: object, retry: str, code: str
) -> None:
    error = x_v2.refusal(answer(status, body), NOW)
    assert (error.retry, error.code) == (retry, code)


@pytest.mark.parametrize(
    ("statuses", "retry", "code"),
    [
        ([401], "final", "credentials"),
        ([403, 410], "final", "plan"),
        ([404, 406], "final", ""),
        ([420, 429], "rate_limit", ""),
        ([500, 503], "http", ""),
    ],
)
def test_each_answer_of_v1_has_a_retry_mode_and_a_code(
    statuses: list[int], retry: str, code: str
) -> None:
    for status in statuses:
        error = x_v1.refusal(answer(status, v1("Exceeded connection limit")), NOW)
        assert (error.retry, error.code) == (retry, code), status


@pytest.mark.parametrize(("status", "code"), [(401, "credentials"), (403, "plan"), (410, "plan")])
def test_the_error_page_of_v1_is_recognized(status: int, code: str) -> None:
    page = (
        f"<html>\n<head>\n<title>Error {status}</title>\n</head><body><h2>HTTP ERROR: {status}</h2>"
        "\n<p>Problem accessing '/1.1/statuses/filter.json'. Reason:\n<pre>    Not\n for you</pre>"
    )
    error = x_v1.refusal(answer(status, page), NOW)
    assert (error.retry, error.code) == ("final", code)
    assert f"({status}: Not for you)" in error.reason


Refusal = Callable[[Response, float], ConnectError]
BOTH = pytest.mark.parametrize("refusal", [x_v1.refusal, x_v2.refusal])
FOREIGN = [
    (301, "", {"location": "https://portal.example/login?back=x"}, "portal.example/login"),
    (302, PAGE, {"location": "https://portal.example/"}, "portal.example"),
    (307, "", {}, "without a reason"),
    (400, "Bad Request", {}, "Bad Request"),
    (401, PAGE, {}, "“Hotel & Spa”"),
    (401, "Unauthorized", {}, "Unauthorized"),
    (402, PAGE, {}, "web page"),
    (402, {}, {}, "402"),
    (403, "RBAC: access denied", {}, "RBAC: access denied"),
    (403, {"message": "Forbidden"}, {}, "Forbidden"),
    (403, {"error": "blocked by policy"}, {}, "blocked by policy"),
    (404, "", {}, "404"),
    (404, "<h1>Not here</h1>", {}, "web page"),
    (407, "", {}, "user name and password"),
    (410, PAGE, {}, "web page"),
    (413, "too much", {"content-type": "text/html; charset=utf-8"}, "web page"),
    (451, "blocked in your country", {}, "451"),
    (200, "", {}, "200"),
    (204, "", {}, "204"),
    (403, '{"title": "torn', {}, "403"),
]


@BOTH
@pytest.mark.parametrize(("status", "body", "headers", "said"), FOREIGN)
def test_an_answer_of_another_server_is_retried(
    refusal: Refusal, status: int, body: object, headers: dict[str, str], said: str
) -> None:
    error = refusal(answer(status, body, **headers), NOW)
    assert error.retry == "http"
    assert said in error.reason
    assert error.code in ("foreign", "proxy")


@BOTH
@pytest.mark.parametrize("status", [302, 403, 407, 503])
def test_the_proxy_in_between_is_named(refusal: Refusal, status: int) -> None:
    given = Response(status, {}, b"<html>", "https://api.x.example", "http://proxy:3128")
    assert "http://proxy:3128" in refusal(given, NOW).reason


@pytest.mark.parametrize("status", [403, 410])
def test_v1_says_that_x_has_closed_the_api(status: int) -> None:
    given = answer(status, v1("not for this app", 453))
    assert "X has closed the v1.1 streaming API" in x_v1.refusal(given, NOW).reason


@pytest.mark.parametrize("status", [404, 406, 413, 416])
def test_v1_quotes_the_beginning_of_the_answer(status: int) -> None:
    """X says these in plain text, as a proxy may: they can pass."""
    error = x_v1.refusal(answer(status, "Parameter track item\nindex 3 too long" + "x" * 5000), NOW)
    assert "Parameter track item index 3 too long" in error.reason
    assert len(error.reason) < 300
    assert error.retry == "http"


def test_a_used_up_quota_is_retried_after_midnight_utc_and_credits_after_15_minutes() -> None:
    assert x_v2.refusal(answer(429, CAPPED), NOW).retry_at == MIDNIGHT
    assert x_v2.refusal(answer(402, CREDITS, retry_after="10"), NOW).retry_at == NOW + 900


def test_the_reset_of_a_rate_limit_counts_by_the_clock_of_the_server() -> None:
    server = NOW - 500  # our clock is ahead
    date, reset = formatdate(server, usegmt=True), str(int(server + 300))
    limited = answer(429, LIMITED, x_rate_limit_reset=reset, date=date)
    assert x_v2.refusal(limited, NOW).retry_at == pytest.approx(NOW + 300, abs=1)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", 120),
        (formatdate(NOW + 90, usegmt=True), 90),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("1e300", RETRY_AFTER_MAX),
    ],
)
def test_retry_after_is_understood_in_both_forms_and_never_for_longer_than_an_hour(
    header: str, wait: float | None
) -> None:
    error = x_v2.refusal(answer(503, retry_after=header), NOW)
    assert error.retry_at == (None if wait is None else pytest.approx(NOW + wait, abs=1))


@BOTH
@pytest.mark.parametrize(("skew", "side"), [(600, "600 s ahead"), (-600, "600 s behind")])
def test_a_401_with_a_wrong_clock_is_reported_as_the_clock(
    refusal: Refusal, skew: float, side: str
) -> None:
    error = refusal(answer(401, "no", date=formatdate(NOW - skew, usegmt=True)), NOW)
    assert side in error.reason
    assert "clock" in error.reason
    assert error.retry != "final"
    assert error.code == "clock"


@BOTH
def test_a_401_with_a_good_clock_is_about_the_credentials(refusal: Refusal) -> None:
    said = {"errors": [{"title": "Unauthorized", "code": 32, "message": "no"}]}
    error = refusal(answer(401, said, date=formatdate(NOW - 5, usegmt=True)), NOW)
    assert error.retry == "final"
    assert "clock" not in error.reason


@pytest.mark.parametrize(
    ("numbers", "retry", "code"),
    [
        ([1, 4, 5, 12, 99], "drop", ""),
        ([10, 11], "http", ""),
        ([2, 7], "final", ""),
        ([6, 13, 14], "final", "credentials"),  # the account is gone or its token revoked
    ],
)
def test_each_disconnect_code_of_v1_has_a_retry_mode_and_a_code(
    numbers: list[int], retry: str, code: str
) -> None:
    for number in numbers:
        error = x_v1.disconnect(number, "why")
        assert (error.retry, error.code) == (retry, code), number
        assert str(number) in error.reason


def test_other_words_change_nothing_but_the_reason() -> None:
    error = x_v2.refusal(answer(402, {"title": "s3cret"}), NOW)
    reworded = error.reworded(lambda text: text.replace("s3cret", "***"))
    assert "s3cret" in error.reason
    assert "s3cret" not in reworded.reason
    for name in ("retry", "retry_at", "code"):
        assert getattr(reworded, name) == getattr(error, name)


def test_text_of_a_server_becomes_one_short_line() -> None:
    assert plain("a\x1b[2J\r\n  b\x00\u202e c") == "a [2J b c"
    assert plain("a\ud800b\udfff c") == "a b c"
    assert len(plain("x" * 10_000)) == 500
    assert len(plain("\x00" * 3_000_000 + "x")) < 500
    assert plain("x" * 500) == "x" * 500
