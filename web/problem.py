"""What a caller did wrong, or cannot have: one sentence, and a code for programs."""

from http import HTTPStatus
from typing import Literal

from stream.errors import TwitterstreamError

Code = Literal[
    "bad_request",  # the request cannot be understood
    "invalid",  # a field of it cannot be
    "login_needed",
    "forbidden",  # this person may not do that
    "csrf",  # the form is not ours, or too old
    "not_found",
    "conflict",  # somebody else was quicker, or it is there already
    "too_large",
    "too_many",  # requests, viewers, attempts
    "unavailable",  # the database is away
    "internal",  # our fault
]

STATUS: dict[Code, HTTPStatus] = {
    "bad_request": HTTPStatus.BAD_REQUEST,
    "invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "login_needed": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "csrf": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too_many": HTTPStatus.TOO_MANY_REQUESTS,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Problem(TwitterstreamError):
    """Why a request gets no other answer; `field` is the one of the request that is wrong."""

    def __init__(
        self, code: Code, message: str, *, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after  # seconds

    @property
    def status(self) -> int:
        return STATUS[self.code]
