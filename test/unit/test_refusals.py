"""What a network answers instead of a stream → why, and when to come back."""

import json
from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from stream.connection.delivery import plain
from stream.networks.http import LATEST_RETRY, Answer
from stream.networks.x_v1 import client as x_v1
from stream.networks.x_v2 import problem as x_v2

NOW = datetime(2026, 3, 4, 22, 30, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2026, 3, 5, tzinfo=UTC).timestamp()


def answer(status: int, body: object = "", **headers: str) -> Answer:
    text = body if isinstance(body, str) else json.dumps(body)
    return Answer(status, {k.replace("_", "-"): v for k, v in headers.items()}, text.encode())


def typed(name: str, **more: object) -> dict[str, object]:
    return {"type": f"https://api.twitter.com/2/problems/{name}", **more}


BUSY = typed("streaming-connection", connection_issue="TooManyConnections", title="x")
CAPPED = typed("usage-capped", title="UsageCapExceeded", period="Monthly", scope="Product")
LIMITED = typed("rate-limit-exceeded", title="Rate limit")


@pytest.mark.parametrize(
    ("status", "body", "ladder"),
    [
        (400, typed("invalid-request"), "final"),
        (401, "Unauthorized", "final"),
        (402, {}, "paused"),
        (403, typed("client-forbidden", reason="client-not-enrolled"), "final"),
        (404, "", "final"),
        (409, typed("streaming-connection", connection_issue="RuleConfigurationIssue"), "http"),
        (429, BUSY, "slot"),
        (429, {"errors": [BUSY]}, "slot"),
        (429, CAPPED, "paused"),
        (429, {"errors": [CAPPED]}, "paused"),
        (429, LIMITED, "rate_limit"),
        (429, {"errors": [{"code": 88, "message": "Rate limit exceeded"}]}, "rate_limit"),
        (429, "<html>", "rate_limit"),
        (500, "", "http"),
        (503, "<html><body>over capacity</body></html>", "http"),
        (301, "", "final"),
    ],
)
def test_each_answer_of_v2_has_its_ladder(status: int, body: object, ladder: str) -> None:
    assert x_v2.refusal(answer(status, body), NOW).ladder == ladder


@pytest.mark.parametrize(
    ("status", "ladder"),
    [
        (401, "final"),
        (403, "final"),
        (404, "final"),
        (406, "final"),
        (410, "final"),
        (413, "final"),
        (416, "final"),
        (420, "rate_limit"),
        (429, "rate_limit"),
        (500, "http"),
        (503, "http"),
    ],
)
def test_each_answer_of_v1_has_its_ladder(status: int, ladder: str) -> None:
    assert x_v1.refusal(answer(status, "Exceeded connection limit"), NOW).ladder == ladder


@pytest.mark.parametrize("status", [403, 410])
def test_v1_says_that_x_has_closed_the_api(status: int) -> None:
    assert "X has closed the v1.1 streaming API" in x_v1.refusal(answer(status), NOW).reason


@pytest.mark.parametrize("status", [404, 406, 413, 416])
def test_v1_passes_on_the_first_kilobyte_of_what_x_says(status: int) -> None:
    error = x_v1.refusal(answer(status, "Parameter track item\nindex 3 too long" + "x" * 5000), NOW)
    assert "Parameter track item index 3 too long" in error.reason
    assert 1000 < len(error.reason) < 1100


def test_a_spent_quota_is_asked_for_again_after_midnight_utc() -> None:
    assert x_v2.refusal(answer(429, CAPPED), NOW).retry_at == MIDNIGHT


def test_spent_credits_are_asked_for_every_15_minutes_at_most() -> None:
    assert x_v2.refusal(answer(402, {}, retry_after="10"), NOW).retry_at == NOW + 900


def test_the_reset_of_a_rate_limit_counts_by_the_clock_of_the_server() -> None:
    server = NOW - 500  # our clock is ahead
    reset = answer(
        429,
        LIMITED,
        x_rate_limit_reset=str(int(server + 300)),
        date=formatdate(server, usegmt=True),
    )
    assert x_v2.refusal(reset, NOW).retry_at == pytest.approx(NOW + 300, abs=1)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", 120),
        (formatdate(NOW + 90, usegmt=True), 90),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("1e300", LATEST_RETRY),
    ],
)
def test_retry_after_is_understood_in_both_forms_and_never_for_longer_than_an_hour(
    header: str, wait: float | None
) -> None:
    error = x_v2.refusal(answer(503, retry_after=header), NOW)
    assert error.retry_at == (None if wait is None else pytest.approx(NOW + wait, abs=1))


@pytest.mark.parametrize("refusal", [x_v1.refusal, x_v2.refusal])
@pytest.mark.parametrize(("skew", "side"), [(600, "600 s ahead"), (-600, "600 s behind")])
def test_a_401_with_a_wrong_clock_is_reported_as_the_clock(
    refusal: object, skew: float, side: str
) -> None:
    assert callable(refusal)
    error = refusal(answer(401, "no", date=formatdate(NOW - skew, usegmt=True)), NOW)
    assert side in error.reason
    assert "clock" in error.reason
    assert error.ladder != "final"
    assert error.code == "clock"


@pytest.mark.parametrize("refusal", [x_v1.refusal, x_v2.refusal])
def test_a_401_with_a_good_clock_is_about_the_credentials(refusal: object) -> None:
    assert callable(refusal)
    error = refusal(answer(401, "no", date=formatdate(NOW - 5, usegmt=True)), NOW)
    assert error.ladder == "final"
    assert "clock" not in error.reason


@pytest.mark.parametrize(
    ("code", "ladder"),
    [
        (1, "drop"),
        (2, "final"),
        (4, "drop"),
        (5, "drop"),
        (6, "final"),
        (7, "final"),
        (10, "http"),
        (11, "http"),
        (12, "drop"),
        (13, "final"),
        (14, "final"),
        (99, "drop"),
    ],
)
def test_each_disconnect_code_of_v1_has_its_reaction(code: int, ladder: str) -> None:
    error = x_v1.disconnect(code, "why")
    assert error.ladder == ladder
    assert str(code) in error.reason


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, "Unauthorized", "credentials"),
        (402, {}, "quota"),
        (403, typed("client-forbidden", reason="client-not-enrolled"), "plan"),
        (429, CAPPED, "quota"),
        (429, LIMITED, ""),
        (404, "", ""),
        (503, "", ""),
    ],
)
def test_what_a_person_mends_in_different_ways_is_told_apart_in_v2(
    status: int, body: object, code: str
) -> None:
    assert x_v2.refusal(answer(status, body), NOW).code == code


@pytest.mark.parametrize(
    ("status", "code"), [(401, "credentials"), (403, "plan"), (410, "plan"), (420, ""), (503, "")]
)
def test_what_a_person_mends_in_different_ways_is_told_apart_in_v1(status: int, code: str) -> None:
    assert x_v1.refusal(answer(status, "no"), NOW).code == code


@pytest.mark.parametrize(("number", "code"), [(6, "credentials"), (2, ""), (12, "")])
def test_a_disconnect_of_v1_tells_when_the_account_is_gone(number: int, code: str) -> None:
    assert x_v1.disconnect(number, "why").code == code


def test_other_words_change_nothing_but_the_reason() -> None:
    error = x_v2.refusal(answer(402, "s3cret"), NOW)
    reworded = error.reworded(lambda text: text.replace("s3cret", "***"))
    assert "s3cret" in error.reason
    assert "s3cret" not in reworded.reason
    assert (reworded.ladder, reworded.retry_at, reworded.code) == (
        error.ladder,
        error.retry_at,
        error.code,
    )


def test_what_a_server_says_is_one_short_line_without_control_characters() -> None:
    assert plain("a\x1b[2J\r\n  b\x00\u202e c") == "a [2J b c"
    assert len(plain("x" * 10_000)) == 500
