"""The client of X API v1.1: statuses/filter, signed with OAuth 1.0a; a test of the connection."""

import asyncio
import contextlib
from collections.abc import Mapping

from stream.backoff import Clock
from stream.config import Settings
from stream.errors import ConnectError, RetryMode
from stream.networks.base import ConnectionLimits, Plan, Reporter, RuleOwner, SilentReporter
from stream.networks.framing import Delimited, Framing, Lines
from stream.networks.http import NetworkHttp
from stream.networks.http_stream import HttpStream, open_stream
from stream.networks.response import Response, foreign_response, wrong_clock
from stream.networks.x_common import is_own, words
from stream.networks.x_v1.decode import urgent
from stream.networks.x_v1.filter_compiler import Filter
from stream.networks.x_v1.plan import XV1Plan, form
from stream.tweet import NetworkCursor, Source

ADDRESS = "https://stream.twitter.com"
FILTER = "/1.1/statuses/filter.json"
FORM = "application/x-www-form-urlencoded"

WINDOW = 305.0  # seconds; X counts what arrives in 300, and requests travel unevenly
RESERVE = 2  # attempts that filter changes leave for reconnecting after failures

# Each credential, and its common other names.
CREDENTIALS: Mapping[str, tuple[str, ...]] = {
    "consumer_key": ("api_key", "client_key"),
    "consumer_secret": ("api_secret", "api_key_secret", "client_secret"),
    "token": ("access_token", "oauth_token", "access_token_key"),
    "token_secret": ("access_token_secret", "oauth_token_secret", "access_secret"),
}
# Codes after which two clients would only replace each other's connection.
_DUPLICATE_CLIENT = (2, 7)
_REVOKED = (6, 13, 14)  # the account or its token was removed
# All other codes: reconnect at once.
_RETRY_MODES: Mapping[int, RetryMode] = {
    2: "final",
    6: "final",
    7: "final",
    8: "http",
    10: "http",
    11: "http",
    13: "final",
    14: "final",
}
PHRASE = "twitterstream"  # a phrase that is rarely used


class XV1Client:
    """See `base.Client`."""

    def __init__(
        self, source: Source, settings: Settings, clock: Clock, reporter: Reporter
    ) -> None:
        limits = settings.x_v1
        self.clock = clock
        self.reporter = reporter
        self.limits = limits
        self.http = NetworkHttp(source, clock, ADDRESS)
        self.connection_limits = connection_limits(settings)
        self._credentials = credentials(source.secrets)
        self._longest = settings.max_frame_bytes
        self._plan: XV1Plan | None = None
        self._in_force: tuple[tuple[str, str], ...] | None = None
        self._changed = asyncio.Event()

    def set_plan(self, plan: Plan) -> None:
        """See `base.Client`."""
        assert isinstance(plan, XV1Plan)
        self._plan = plan
        self._changed.set()

    def owners_of_rule(self, rule: str) -> tuple[RuleOwner, ...]:
        """This network never says which phrase matched."""
        del rule
        return ()

    def resume_after(self, cursor: NetworkCursor) -> None:
        """X never sends a tweet again."""

    async def prepare(self) -> None:
        """See `base.Client`."""
        if absent := missing_credentials(self._credentials):
            text = f"this source needs the secrets {', '.join(absent)}"
            raise ConnectError(text, "final", code="credentials")

    async def connect(self) -> HttpStream:
        """See `base.Client`."""
        wanted = self._wanted
        body = form((*wanted, *self._options()))
        framing: Framing = (Delimited if self.limits.delimited else Lines)(self._longest)
        headers = {"Content-Type": FORM, "Authorization": self._sign(body)}
        response = await open_stream(
            self.http, "POST", FILTER, headers, framing, body.encode("ascii")
        )
        if isinstance(response, HttpStream):
            self._in_force = wanted
            return response
        raise refusal(response, self.clock.time()).reworded(self.http.redact)

    async def sync_filter(self) -> None:
        """Returns when the filter has changed and the edits have paused. See `base.Client`."""
        while True:
            while self._plan is None or not self._wanted or self._wanted == self._in_force:
                await self._next_change()
            with contextlib.suppress(TimeoutError):
                async with self.clock.timeout(self.limits.debounce_max):
                    await self._settled()
            if self._wanted and self._wanted != self._in_force:
                return

    def fatal_error_in(self, body: bytes) -> ConnectError | None:
        """See `base.Client`."""
        notice = urgent(body)
        if notice is None or notice.kind != "disconnect":
            return None
        return disconnect(notice.number, self.http.redact(notice.text))

    @property
    def _wanted(self) -> tuple[tuple[str, str], ...]:
        return () if self._plan is None else self._plan.parameters

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _settled(self) -> None:
        """Wait until no edit has arrived for `debounce`."""
        while True:
            try:
                async with self.clock.timeout(self.limits.debounce):
                    await self._next_change()
            except TimeoutError:
                return

    def _options(self) -> tuple[tuple[str, str], ...]:
        delimited = (("delimited", "length"),) if self.limits.delimited else ()
        return (("stall_warnings", "true"), *delimited)

    def _sign(self, body: str) -> str:
        try:
            return sign(self._credentials, self.http.base + FILTER, body)
        except ValueError as error:
            raise self.http.unusable(error) from error


def connection_limits(settings: Settings) -> ConnectionLimits:
    """How often the client may connect, and how long X may be silent."""
    limits = settings.x_v1
    return ConnectionLimits(
        limits.silence_timeout,
        limits.connect_attempts,
        WINDOW,
        min(RESERVE, limits.connect_attempts - 1),
    )


def credentials(secrets: Mapping[str, str]) -> dict[str, str]:
    """The four secrets by the names of the OAuth specification, as far as they are given."""
    found = {}
    for name, others in CREDENTIALS.items():
        value = next((secrets[each] for each in (name, *others) if secrets.get(each)), None)
        if value is not None:
            found[name] = value.strip()
    return found


def missing_credentials(secrets: Mapping[str, str]) -> list[str]:
    """Names of missing secrets."""
    given = credentials(secrets)
    return [name for name in CREDENTIALS if name not in given]


def sign(
    secrets: Mapping[str, str],
    url: str,
    body: str,
    nonce: str | None = None,
    timestamp: str | None = None,
) -> str:
    """The Authorization header for one attempt: nonce and time are new unless given (§3)."""
    # 0.03 s, which daemons without such a source save.
    from oauthlib.oauth1 import SIGNATURE_HMAC_SHA1, Client  # noqa: PLC0415

    signer = Client(
        secrets["consumer_key"],
        client_secret=secrets["consumer_secret"],
        resource_owner_key=secrets["token"],
        resource_owner_secret=secrets["token_secret"],
        signature_method=SIGNATURE_HMAC_SHA1,
        nonce=nonce,
        timestamp=timestamp,
    )
    _, headers, _ = signer.sign(url, "POST", body, {"Content-Type": FORM})
    return str(headers["Authorization"])


def refusal(response: Response, now: float) -> ConnectError:
    """The error for a refused connection (X v1.1 reference §11); `now` in seconds since 1970."""
    return _refusal(response, now).with_status(response.status)


def _refusal(response: Response, now: float) -> ConnectError:
    detail = f"({response.status}: {words(response)})"
    if response.status in (420, 429):
        text = f"X{response.via} limits connections with these credentials {detail}"
        return ConnectError(text, "rate_limit", response.retry_at(now))
    if response.status >= 500 or response.status == 408:
        text = f"X{response.via} has a problem {detail}"
        return ConnectError(text, "http", response.retry_at(now))
    if response.status == 401 and (wrong := wrong_clock(response, now)) is not None:
        text = f"{wrong}, so X rejects the signature {detail}; set the clock"
        return ConnectError(text, "rate_limit", code="clock")
    if not is_own(response):
        return foreign_response(response, now)
    return _refused(response.status, detail)


def _refused(status: int, detail: str) -> ConnectError:
    """An error that lasts until a person changes something."""
    if status == 401:
        text = f"X does not accept the credentials of this source {detail}"
        return ConnectError(text, "final", code="credentials")
    if status in (403, 410):
        text = f"X has closed the v1.1 streaming API {detail}; use a source of network x_v2 instead"
        return ConnectError(text, "final", code="plan")
    return ConnectError(f"X refuses the request {detail}", "final")


def disconnect(code: int, text: str) -> ConnectError:
    """The error for a disconnect message (X v1.1 reference §10.1)."""
    reason = f"X ended the stream with code {code}: {text}"
    if code in _DUPLICATE_CLIENT:
        reason += (
            "; another program uses the same credentials: stop it, or use other credentials for it"
        )
    return ConnectError(
        reason, _RETRY_MODES.get(code, "drop"), code="credentials" if code in _REVOKED else ""
    )


async def check_connection(source: Source, settings: Settings, clock: Clock) -> str:
    """Connect, and close at once; ConnectError when X refuses.

    It costs one attempt, and ends a stream that is open with the same token.
    """
    client = XV1Client(source, settings, clock, SilentReporter())
    client.set_plan(XV1Plan({}, {}, {}, asked=1, filter=Filter(track=(PHRASE,))))
    await client.prepare()
    stream = await client.connect()
    await stream.close()
    if "content-length" in stream.headers:  # a response with a length is not a stream
        raise ConnectError(
            f"no stream, but a document at {client.http.base}", "http", None, "foreign"
        )
    return "X accepts the keys and opens the stream."
