"""X v2 errors: HTTP problem responses and messages within a stream (§6, §7)."""

import msgspec
from aiohttp import web

from simulator.payload import Json

_HERE = "https://api.twitter.com/2/problems/"


def answer(status: int, body: object) -> web.Response:
    """A JSON response."""
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )


def problem(status: int, kind: str, title: str, detail: str, **more: object) -> web.Response:
    """An error as X words it; `kind` is the last part of its type."""
    type_ = kind if kind == "about:blank" else _HERE + kind
    return answer(
        status, {"title": title, "detail": detail, "type": type_, "status": status, **more}
    )


def invalid(name: str, value: str, message: str) -> web.Response:
    """400 for an invalid parameter or body."""
    return answer(
        400,
        {
            "errors": [{"parameters": {name: [value]}, "message": message}],
            "title": "Invalid Request",
            "detail": "One or more parameters to your request was invalid.",
            "type": _HERE + "invalid-request",
        },
    )


def no_rules() -> web.Response:
    """409 for a stream without rules."""
    detail = "You must define rules before you connect."
    return problem(
        409, "streaming-connection", "ConnectionException", detail,
        connection_issue="RuleConfigurationIssue",
    )  # fmt: skip


def connect_fault(name: str) -> web.Response:
    """The response of the connect fault of this name."""
    if name not in _CONNECT_FAULTS:
        page = "<html><head><title>503</title></head><body>Over capacity</body></html>"
        return web.Response(status=503, text=page, content_type="text/html")
    status, kind, title, detail, more = _CONNECT_FAULTS[name]
    return problem(status, kind, title, detail, **more)


_NO_MORE_SLOTS = "This stream is currently at the maximum allowed connection limit."
_NO_CREDITS = "Your enrolled account does not have any credits to fulfill this request."
_NOT_ENROLLED = "This app may not use the filtered stream."
_CONNECT_FAULTS: dict[str, tuple[int, str, str, str, dict[str, object]]] = {
    "401": (401, "about:blank", "Unauthorized", "Unauthorized", {}),
    "402": (402, "credits", "CreditsDepleted", _NO_CREDITS, {}),
    "403": (
        403, "client-forbidden", "Client Forbidden", _NOT_ENROLLED,
        {"reason": "client-not-enrolled", "registration_url": "https://developer.x.com/"},
    ),
    "410": (410, "about:blank", "Gone", "This endpoint was removed.", {}),
    "429-connections": (
        429, "streaming-connection", "ConnectionException", _NO_MORE_SLOTS,
        {"connection_issue": "TooManyConnections"},
    ),
    "429-quota": (
        429, "usage-capped", "UsageCapExceeded", "Usage cap exceeded: Monthly product cap",
        {"period": "Monthly", "scope": "Product", "account_id": "1", "product_name": "basic"},
    ),
    "429-rate": (429, "rate-limit-exceeded", "Too Many Requests", "Too Many Requests", {}),
}  # fmt: skip


def disconnect(kind: str, detail: str) -> Json:
    """The item of `errors` when the server ends a stream."""
    return {
        "title": "operational-disconnect",
        "disconnect_type": kind,
        "detail": detail,
        "type": "https://api.x.com/2/problems/operational-disconnect",
    }
