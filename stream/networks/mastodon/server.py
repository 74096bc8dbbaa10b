"""One Mastodon server: what it says of itself, and its errors in words.

Mastodon reference, its first section and §7. Errors are JSON with an `error`; the streaming server
puts its reason into a header instead.
"""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from stream.errors import ConnectError
from stream.networks.descriptions import CREDENTIALS_HELP
from stream.networks.http import NetworkHttp
from stream.networks.mastodon.plan import FeedAccess, Offer
from stream.networks.response import RETRY_AFTER_MAX, Response, foreign_response
from stream.text import plain

DETAIL = 300  # characters of the server's words
NEEDED_SCOPE = "read:statuses"
HOW_TO_GET_A_TOKEN = CREDENTIALS_HELP["mastodon"]


class ServerInfo(msgspec.Struct, frozen=True):
    """What one server is and offers; `streaming`: the address of its streaming API."""

    name: str
    version: str
    streaming: str
    offer: Offer = Offer()


class _Urls(msgspec.Struct):
    streaming: str | None = None
    streaming_api: str | None = None  # of the older v1


class _Access(msgspec.Struct):
    local: str | None = None
    remote: str | None = None


class _Timelines(msgspec.Struct):
    live_feeds: _Access | None = None
    hashtag_feeds: _Access | None = None


class _Configuration(msgspec.Struct):
    urls: _Urls | None = None
    timelines_access: _Timelines | None = None


class _Instance(msgspec.Struct):
    """`GET /api/v2/instance`, or of v1, which older servers and other software have."""

    version: str
    domain: str | None = None
    uri: str | None = None
    configuration: _Configuration | None = None
    urls: _Urls | None = None


class _Error(msgspec.Struct):
    error: str
    error_description: str | None = None


class ServerApi:
    """Requests to the REST API of one server, with a token."""

    def __init__(self, http: NetworkHttp, token: str) -> None:
        self.http = http
        self.clock = http.clock
        self.headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str) -> Response:
        """The response, if it is one of success; ConnectError otherwise."""
        response = await self.http.request("GET", path, self.headers)
        if response.status != 200:
            raise refusal(response, self.clock.time()).reworded(self.http.redact)
        return response

    async def info(self) -> ServerInfo:
        """What the server says of itself."""
        response = await self.http.request("GET", "/api/v2/instance", self.headers)
        if response.status == 404:
            response = await self.get("/api/v1/instance")
        if response.status != 200:
            raise refusal(response, self.clock.time()).reworded(self.http.redact)
        try:
            found = msgspec.json.decode(response.body, type=_Instance)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            now = self.clock.time()
            error = foreign_response(response, now, "a Mastodon server's description")
            raise error.reworded(self.http.redact) from None
        configuration = found.configuration or _Configuration()
        urls = configuration.urls or found.urls or _Urls()
        access = configuration.timelines_access or _Timelines()
        return ServerInfo(
            plain(found.domain or urlsplit(self.http.base).netloc, DETAIL),
            plain(found.version, DETAIL),
            _streaming(urls.streaming or urls.streaming_api or "", self.http.base),
            Offer(_access(access.live_feeds), _access(access.hashtag_feeds)),
        )


def _access(found: _Access | None) -> FeedAccess:
    found = found or _Access()
    return FeedAccess(found.local != "disabled", found.remote != "disabled")


def _streaming(named: str, base: str) -> str:
    """The streaming address for requests; never less secure than the server's own."""
    try:
        parts = urlsplit(named.strip())
        host, scheme = parts.netloc, parts.scheme
    except ValueError:
        host, scheme = "", ""
    if not host or scheme not in ("wss", "ws", "https", "http"):
        return base
    secure = base.startswith("https:") or scheme in ("wss", "https")
    return f"{'https' if secure else 'http'}://{host}"


# -- errors ---------------------------------------------------------------------------------------


def words(response: Response) -> str:
    """The server's own reason; empty where another one answers in its place."""
    header = response.headers.get("x-error-message", "")
    try:
        error = msgspec.json.decode(response.body, type=_Error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return plain(header, DETAIL)
    return plain(error.error_description or error.error, DETAIL)


def refusal(response: Response, now: float) -> ConnectError:
    """The error for a refused request; `now` in seconds since 1970."""
    return _refusal(response, now).with_status(response.status)


def _refusal(response: Response, now: float) -> ConnectError:
    said = words(response)
    reason = f"({response.status}: {said or 'no reason given'})"
    if response.status == 429:
        text = f"the server{response.via} limits requests {reason}"
        return ConnectError(text, "rate_limit", reset_at(response, now))
    if response.status >= 500 or response.status == 408:
        text = f"the server{response.via} has a problem {reason}"
        return ConnectError(text, "http", response.retry_at(now))
    if not said:
        return foreign_response(response, now)
    if response.status == 401:
        text = f"the server does not accept the access_token of this source {reason}"
        return ConnectError(f"{text}. {HOW_TO_GET_A_TOKEN}", "final", code="credentials")
    if response.status in (403, 422):
        text = f"the access_token has no scope {NEEDED_SCOPE}, or is not one of an account {reason}"
        return ConnectError(f"{text}. {HOW_TO_GET_A_TOKEN}", "final", code="credentials")
    return ConnectError(f"the server refuses the request {reason}", "final")


def reset_at(response: Response, now: float) -> float | None:
    """When the server allows requests again, by our own clock; None if it does not say."""
    try:
        reset = datetime.fromisoformat(response.headers.get("x-ratelimit-reset", ""))
        at = reset.replace(tzinfo=reset.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return response.retry_at(now)
    wait = at - now + (response.skew(now) or 0.0)
    return now + min(max(wait, 1.0), RETRY_AFTER_MAX)
