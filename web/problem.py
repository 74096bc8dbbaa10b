"""Errors of requests: a sentence for people, and a code for programs."""

from http import HTTPStatus
from typing import Literal

from stream.errors import TwitterstreamError

Code = Literal[
    "bad_request",  # the request cannot be parsed
    "invalid",  # a field has an invalid value
    "login_needed",
    "forbidden",  # the user may not do this
    "csrf",  # the form is not ours, or has expired
    "not_found",
    "conflict",  # changed meanwhile, or exists already
    "too_large",
    "unsupported_media",  # a compressed body
    "too_many",  # requests, viewers, attempts
    "unavailable",  # the database cannot be reached
    "internal",
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
    "unsupported_media": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "too_many": HTTPStatus.TOO_MANY_REQUESTS,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Problem(TwitterstreamError):
    """An error as the answer to a request; `field` names the wrong field, if any."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        field: str | None = None,
        span: tuple[int, int] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.span = span  # the wrong part of a track's value
        self.retry_after = retry_after  # seconds

    @property
    def status(self) -> int:
        return STATUS[self.code]
