"""The conversation with X API v1.1: statuses/filter, signed with OAuth 1.0a."""

import asyncio
import contextlib
from collections.abc import Mapping

from oauthlib.oauth1 import SIGNATURE_HMAC_SHA1, Client

from stream.backoff import Clock
from stream.config import Settings
from stream.errors import ConnectError, Ladder
from stream.networks.base import Claim, Pace, Plan, Reporter
from stream.networks.framing import Delimited, Framing, Lines
from stream.networks.http import Answer, HttpStream, Wire
from stream.networks.x_v1.decode import urgent
from stream.networks.x_v1.plan import XV1Plan, form
from stream.tweet import Source

ADDRESS = "https://stream.twitter.com"
FILTER = "/1.1/statuses/filter.json"
FORM = "application/x-www-form-urlencoded"

WINDOW = 305.0  # seconds; X counts what arrives in 300, and requests travel unevenly
RESERVE = 2  # attempts that a change of the filter leaves for real failures
SKEW = 60.0  # seconds by which a clock may be wrong before it is blamed

# Each credential, and the other names under which people have it.
CREDENTIALS: Mapping[str, tuple[str, ...]] = {
    "consumer_key": ("api_key", "client_key"),
    "consumer_secret": ("api_secret", "api_key_secret", "client_secret"),
    "token": ("access_token", "oauth_token", "access_token_key"),
    "token_secret": ("access_token_secret", "oauth_token_secret", "access_secret"),
}


class XV1Client:
    """See `base.Client`."""

    def __init__(
        self, source: Source, settings: Settings, clock: Clock, reporter: Reporter
    ) -> None:
        limits = settings.x_v1
        self.clock = clock
        self.reporter = reporter
        self.limits = limits
        self.wire = Wire(source, clock, ADDRESS)
        self.pace = pace(settings)
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

    def believed(self, rule: str) -> tuple[Claim, ...]:
        """This network never says which phrase matched."""
        del rule
        return ()

    async def prepare(self) -> None:
        """See `base.Client`."""
        if absent := missing(self._credentials):
            text = f"this source needs the secrets {', '.join(absent)}"
            raise ConnectError(text, "final", code="credentials")

    async def connect(self) -> HttpStream:
        """See `base.Client`."""
        wanted = self._wanted
        body = form((*wanted, *self._options()))
        framing: Framing = (Delimited if self.limits.delimited else Lines)(self._longest)
        headers = {"Content-Type": FORM, "Authorization": self._sign(body)}
        answer = await self.wire.open("POST", FILTER, headers, framing, body.encode("ascii"))
        if isinstance(answer, HttpStream):
            self._in_force = wanted
            return answer
        raise refusal(answer, self.clock.time()).reworded(self.wire.scrub)

    async def tend(self) -> None:
        """Returns when the filter has changed, and edits have come to rest. See `base.Client`."""
        while True:
            while self._plan is None or not self._wanted or self._wanted == self._in_force:
                await self._next_change()
            with contextlib.suppress(TimeoutError):
                async with self.clock.timeout(self.limits.settle_max):
                    await self._settled()
            if self._wanted and self._wanted != self._in_force:
                return

    def verdict(self, body: bytes) -> ConnectError | None:
        """See `base.Client`."""
        notice = urgent(body)
        if notice is None or notice.kind != "disconnect":
            return None
        return disconnect(notice.number, self.wire.scrub(notice.text))

    @property
    def _wanted(self) -> tuple[tuple[str, str], ...]:
        return () if self._plan is None else self._plan.parameters

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _settled(self) -> None:
        """Wait until nobody has edited for a while."""
        while True:
            try:
                async with self.clock.timeout(self.limits.settle):
                    await self._next_change()
            except TimeoutError:
                return

    def _options(self) -> tuple[tuple[str, str], ...]:
        delimited = (("delimited", "length"),) if self.limits.delimited else ()
        return (("stall_warnings", "true"), *delimited)

    def _sign(self, body: str) -> str:
        return sign(self._credentials, self.wire.base + FILTER, body)


def pace(settings: Settings) -> Pace:
    """How often one may connect, and how long X may be silent."""
    limits = settings.x_v1
    return Pace(limits.silence, limits.attempts, WINDOW, min(RESERVE, limits.attempts - 1))


def credentials(secrets: Mapping[str, str]) -> dict[str, str]:
    """The four secrets by the names of the OAuth specification, as far as they are given."""
    found = {}
    for name, others in CREDENTIALS.items():
        value = next((secrets[each] for each in (name, *others) if secrets.get(each)), None)
        if value is not None:
            found[name] = value.strip()
    return found


def missing(secrets: Mapping[str, str]) -> list[str]:
    """The secrets that are still needed."""
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


def refusal(answer: Answer, now: float) -> ConnectError:
    """Why X did not let us in (X v1.1 reference §11); `now` in seconds since 1970."""
    said = f"({answer.status}: {answer.text()})"
    if answer.status == 401:
        return _unauthorized(answer, said, now)
    if answer.status in (403, 410):
        text = f"X has closed the v1.1 streaming API {said}; use a source of network x_v2 instead"
        return ConnectError(text, "final", code="plan")
    if answer.status in (420, 429):
        text = f"X wants fewer connections with these credentials {said}"
        return ConnectError(text, "rate_limit", answer.retry_at(now))
    if answer.status >= 500 or answer.status == 408:
        return ConnectError(f"X has trouble {said}", "http", answer.retry_at(now))
    return ConnectError(f"X refuses the request {said}", "final")


def _unauthorized(answer: Answer, said: str, now: float) -> ConnectError:
    skew = answer.skew(now)
    if skew is not None and abs(skew) > SKEW:
        side = "ahead" if skew > 0 else "behind"
        text = f"the clock of this machine is {abs(skew):.0f} s {side}, so X takes no signature"
        return ConnectError(f"{text} {said}; set the clock", "rate_limit", code="clock")
    text = f"X does not accept the credentials of this source {said}"
    return ConnectError(text, "final", code="credentials")


def disconnect(code: int, text: str) -> ConnectError:
    """What a disconnect message asks for (X v1.1 reference §10.1)."""
    reason = f"X ended the stream with code {code}: {text}"
    if code in _TWINS:
        reason += "; another program uses the same credentials: stop it, or give it its own"
    return ConnectError(
        reason, _REACTIONS.get(code, "drop"), code="credentials" if code in _REVOKED else ""
    )


# Codes after which connecting again would only take turns with a twin.
_TWINS = (2, 7)
_REVOKED = (6, 13, 14)  # the account or its token is gone
# All other codes mean: come back at once.
_REACTIONS: Mapping[int, Ladder] = {
    2: "final",
    6: "final",
    7: "final",
    8: "http",
    10: "http",
    11: "http",
    13: "final",
    14: "final",
}
