"""The client of X API v2: its rules, the filtered stream, and a test of the connection."""

import asyncio
import contextlib
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from stream.backoff import Backoff, Clock, backoff_for
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.base import ConnectionLimits, NothingAccepted, Plan, Reporter, RuleOwner
from stream.networks.framing import Lines
from stream.networks.http import NetworkHttp
from stream.networks.http_stream import HttpStream, open_stream
from stream.networks.response import Response, foreign_response, wrong_clock
from stream.networks.x_v2.api_errors import refusal
from stream.networks.x_v2.decode import urgent
from stream.networks.x_v2.plan import XV2Plan
from stream.networks.x_v2.rule_sync import CHECK_AFTER, PATH, RuleSync
from stream.tweet import NetworkCursor, Source

ADDRESS = "https://api.x.com"
STREAM_PATH = "/2/tweets/search/stream"
CONNECTIONS_PATH = "/2/connections/filtered_stream"

WINDOW = 900.0  # seconds; X counts attempts to connect in windows of 15 minutes
DEBOUNCE = 1.0  # seconds; edits in quick succession make one change of rules
RECONCILE_INTERVAL = 60.0  # seconds; another program may have changed the rules
LIMIT_REFUSALS_MAX = 2  # refused attempts before X is asked to close the stuck connection
CLOSING_TIME = 1.0  # seconds; until X does not count a connection that it was asked to close
RULE_ERROR_PAUSE = 900.0  # seconds, after a disconnect that reconnecting would not fix

# X v2 reference §5: everything that needs no other credentials and no other contract.
FIELDS: Mapping[str, str] = {
    "tweet.fields": "article,attachments,author_id,card_uri,community_id,context_annotations,"
    "conversation_id,created_at,display_text_range,edit_controls,edit_history_tweet_ids,entities,"
    "geo,id,in_reply_to_user_id,lang,media_metadata,note_tweet,paid_partnership,"
    "possibly_sensitive,public_metrics,referenced_tweets,reply_settings,scopes,source,text,"
    "withheld",
    "expansions": "author_id,referenced_tweets.id,referenced_tweets.id.author_id,"
    "referenced_tweets.id.attachments.media_keys,in_reply_to_user_id,attachments.media_keys,"
    "attachments.poll_ids,attachments.media_source_tweet,geo.place_id,entities.mentions.username,"
    "entities.note.mentions.username,edit_history_tweet_ids,article.cover_media,"
    "article.media_entities",
    "user.fields": "created_at,description,entities,id,location,name,pinned_tweet_id,"
    "profile_image_url,protected,public_metrics,url,username,verified,verified_type,withheld",
    "media.fields": "media_key,type,url,preview_image_url,alt_text,duration_ms,height,width,"
    "public_metrics,variants",
    "place.fields": "full_name,id,country,country_code,geo,name,place_type,contained_within",
    "poll.fields": "id,options,duration_minutes,end_datetime,voting_status",
}

# Titles of disconnects caused by our rules or our app (X v2 reference §6).
_RULE_ERRORS = ("InvalidRules", "ClientApplicationStateDegraded")
CONNECTIONS = "/2/connections?endpoints=filtered_stream&status=active"


class XV2Client:
    """See `base.Client`."""

    def __init__(
        self, source: Source, settings: Settings, clock: Clock, reporter: Reporter
    ) -> None:
        self.clock = clock
        self.reporter = reporter
        self.http = NetworkHttp(source, clock, ADDRESS)
        self.connection_limits = connection_limits(settings)
        token = source.secrets.get("bearer_token", "").strip()
        self._missing = missing_credentials(source.secrets)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._longest = settings.max_frame_bytes
        self._rules = RuleSync(self.http, self._headers, settings, clock, reporter)
        self._plan: XV2Plan | None = None
        self._changed = asyncio.Event()
        self._limit_refusals = 0

    def set_plan(self, plan: Plan) -> None:
        """See `base.Client`."""
        assert isinstance(plan, XV2Plan)
        self._plan = plan
        self._changed.set()

    def owners_of_rule(self, rule: str) -> tuple[RuleOwner, ...]:
        """See `base.Client`."""
        return () if self._plan is None else self._rules.owners_of_rule(rule, self._plan)

    def resume_after(self, cursor: NetworkCursor) -> None:
        """X never sends a tweet again."""

    async def prepare(self) -> None:
        """Add the rules first: X refuses a connection without them. See `base.Client`."""
        if self._missing:
            text = "this source needs the secret bearer_token, the app-only token of an X app"
            raise ConnectError(text, "final", code="credentials")
        if not self._rules.confirmed and self._plan is not None:
            self._changed.clear()
            wait = await self._rules.reconcile(self._plan)
            if not self._rules.confirmed:
                text = "X has accepted none of our rules yet"
                raise NothingAccepted(text, "http", self.clock.time() + wait)

    async def connect(self) -> HttpStream:
        """See `base.Client`."""
        path = f"{STREAM_PATH}?{urlencode(FIELDS, safe=',')}"
        response = await open_stream(self.http, "GET", path, self._headers, Lines(self._longest))
        if isinstance(response, HttpStream):
            self._limit_refusals = 0
            return response
        error = refusal(response, self.clock.time())
        if response.status == 409:
            self._rules.forget()
        error = error.reworded(self.http.redact)
        if error.retry == "connection_limit":
            self._limit_refusals += 1
            if self._limit_refusals % LIMIT_REFUSALS_MAX == 0:
                closed = await self._close_stuck_connection()
                # Once only: with retries at the usual pace, X's limit of attempts is never reached.
                if closed and self._limit_refusals == LIMIT_REFUSALS_MAX:
                    await self.clock.sleep(CLOSING_TIME)
                    raise ConnectError(error.reason, "network", error.retry_at, "", error.status)
        raise error

    async def _close_stuck_connection(self) -> bool:
        """Ask X to close the connection that it still counts as open; whether X agreed."""
        try:
            response = await self.http.request("DELETE", CONNECTIONS_PATH, self._headers)
        except ConnectError as error:
            self.reporter.record_event(
                f"could not ask X to close a stuck connection: {error.reason}"
            )
            return False
        self.reporter.record_event(
            f"asked X to close a stuck connection; it answered {response.status}"
        )
        return response.status == 200

    async def sync_filter(self) -> None:
        """Keep the rules equal to the plan; needs no new connection, so it never returns."""
        backoff = Backoff()
        while True:
            self._changed.clear()
            wait = await self._reconcile(backoff)
            with contextlib.suppress(TimeoutError):
                async with self.clock.timeout(min(wait or RECONCILE_INTERVAL, RECONCILE_INTERVAL)):
                    await self._changed.wait()
                await self.clock.sleep(DEBOUNCE)

    async def _reconcile(self, backoff: Backoff) -> float:
        """Seconds until the next check of the rules; 0 when they equal the plan."""
        if self._plan is None or self._missing:
            return 0.0
        try:
            wait = await self._rules.reconcile(self._plan)
        except ConnectError as error:
            # The stream continues with the rules that X has; only the change waits.
            self.reporter.record_event(f"the rules could not be changed: {error.reason}")
            asked = (error.retry_at or 0.0) - self.clock.time()
            # The `network` policy is too quick for requests of which X allows few.
            retry = backoff_for(error.retry) or "rate_limit"
            retry = "http" if retry == "network" else retry
            await self.clock.sleep(max(backoff.delay(retry), asked))
            return CHECK_AFTER
        backoff.reset()
        return wait

    def fatal_error_in(self, body: bytes) -> ConnectError | None:
        """X may leave the socket open after a disconnect message. See `base.Client`."""
        notice = urgent(body)
        if notice is None or notice.kind != "disconnect":
            return None
        text = self.http.redact(f"X ended the stream: {notice.text}")
        if notice.text.startswith(_RULE_ERRORS):
            self._rules.forget()
            return ConnectError(text, "http", self.clock.time() + RULE_ERROR_PAUSE)
        return ConnectError(text, "drop")


def connection_limits(settings: Settings) -> ConnectionLimits:
    """How often the client may connect, and how long X may be silent."""
    return ConnectionLimits(settings.x_v2.silence_timeout, settings.x_v2.connect_attempts, WINDOW)


def missing_credentials(secrets: Mapping[str, str]) -> list[str]:
    """Names of missing secrets; a token that is not valid in a header counts as missing."""
    token = secrets.get("bearer_token", "").strip()
    return [] if token and token.isascii() and token.isprintable() else ["bearer_token"]


class _ProjectCounts(msgspec.Struct, frozen=True):
    cap_per_client_app: str = ""
    project_rules_count: str = ""


class _ProjectCountsResponse(msgspec.Struct, frozen=True):
    data: _ProjectCounts


class _ListMeta(msgspec.Struct, frozen=True):
    sent: str


class _RuleList(msgspec.Struct, frozen=True):
    meta: _ListMeta


class _Open(msgspec.Struct, frozen=True):
    data: tuple[msgspec.Raw, ...] = ()


async def check_connection(source: Source, settings: Settings, clock: Clock) -> str:
    """Read what the collector reads before it connects; ConnectError when X refuses.

    The stream is not opened: X allows one connection, and takes a while to free it.
    """
    del settings
    if missing_credentials(source.secrets):
        text = "the bearer token is missing, or contains characters that no token has"
        raise ConnectError(text, "final", code="credentials")
    http = NetworkHttp(source, clock, ADDRESS)
    headers = {"Authorization": f"Bearer {source.secrets['bearer_token'].strip()}"}
    response = await http.request("GET", f"{PATH}?max_results=1000", headers)
    now = clock.time()
    if response.status != 200:
        raise refusal(response, now).reworded(http.redact)
    if not _is_list(response.body):
        raise foreign_response(response, now, "X's list of rules").reworded(http.redact)
    sentences = ["X accepts the bearer token.", _clock(response, now)]
    with contextlib.suppress(ConnectError):  # additional information only
        sentences.append(_counted(await http.request("GET", f"{PATH}/counts", headers)))
        sentences.append(_open(await http.request("GET", CONNECTIONS, headers)))
    return " ".join(sentence for sentence in sentences if sentence)


def _is_list(body: bytes) -> bool:
    """Whether this is X's list of rules, which says when it was made, also when it is empty."""
    try:
        return bool(msgspec.json.decode(body, type=_RuleList).meta.sent)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _clock(response: Response, now: float) -> str:
    wrong = wrong_clock(response, now)
    return "" if wrong is None else f"But {wrong}: set it."


def _counted(response: Response) -> str:
    """How many rules the app uses; not available to all plans."""
    try:
        counts = msgspec.json.decode(response.body, type=_ProjectCountsResponse).data
        used, max_rules = int(counts.project_rules_count), int(counts.cap_per_client_app)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
    return f"{used:,} of the {max_rules:,} rules of its app are in use."


def _open(response: Response) -> str:
    """A warning if a stream is open already."""
    try:
        number = len(msgspec.json.decode(response.body, type=_Open).data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        number = 0
    if response.status != 200 or not number:
        return ""
    return (
        "A stream is open already with this app, and X allows one: unless it belongs to this"
        " collector, stop the other program, or give it its own app."
    )
