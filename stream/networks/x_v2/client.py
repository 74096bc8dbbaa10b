"""The conversation with X API v2: its rules, and the filtered stream."""

import asyncio
import contextlib
from collections.abc import Mapping
from urllib.parse import urlencode

from stream.backoff import Backoff, Clock, rung
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.base import Claim, NothingAccepted, Pace, Plan, Reporter
from stream.networks.framing import Lines
from stream.networks.http import HttpStream, Wire
from stream.networks.x_v2.decode import urgent
from stream.networks.x_v2.plan import XV2Plan
from stream.networks.x_v2.problem import refusal
from stream.networks.x_v2.rules import Rules
from stream.tweet import Source

ADDRESS = "https://api.x.com"
STREAM = "/2/tweets/search/stream"
STUCK = "/2/connections/filtered_stream"

WINDOW = 900.0  # seconds; X counts attempts to connect in windows of 15 minutes
SETTLE = 1.0  # seconds; edits that come together make one change of rules
RECONCILE_EVERY = 300.0  # seconds; somebody else may have changed the rules
REFUSALS = 3  # so often the slot may be taken before X is asked to free it
NO_LOOP = 900.0  # seconds; after a disconnect that connecting again does not mend

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

# What X calls a disconnect that our rules or our app are to blame for (X v2 reference §6).
_OUR_FAULT = ("InvalidRules", "ClientApplicationStateDegraded")


class XV2Client:
    """See `base.Client`."""

    def __init__(
        self, source: Source, settings: Settings, clock: Clock, reporter: Reporter
    ) -> None:
        self.clock = clock
        self.reporter = reporter
        self.wire = Wire(source, clock, ADDRESS)
        self.pace = pace(settings)
        token = source.secrets.get("bearer_token", "").strip()
        self._missing = missing(source.secrets)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._longest = settings.max_frame_bytes
        self._rules = Rules(self.wire, self._headers, settings, clock, reporter)
        self._plan: XV2Plan | None = None
        self._changed = asyncio.Event()
        self._slot_refusals = 0

    def set_plan(self, plan: Plan) -> None:
        """See `base.Client`."""
        assert isinstance(plan, XV2Plan)
        self._plan = plan
        self._changed.set()

    def believed(self, rule: str) -> tuple[Claim, ...]:
        """See `base.Client`."""
        return () if self._plan is None else self._rules.believed(rule, self._plan)

    async def prepare(self) -> None:
        """X refuses a connection without rules: they come first. See `base.Client`."""
        if self._missing:
            text = "this source needs the secret bearer_token, the app-only token of an X app"
            raise ConnectError(text, "final", code="credentials")
        if not self._rules.confirmed and self._plan is not None:
            self._changed.clear()
            await self._rules.reconcile(self._plan)
            if not self._rules.confirmed:
                raise NothingAccepted("X has accepted none of our rules yet", "http")

    async def connect(self) -> HttpStream:
        """See `base.Client`."""
        path = f"{STREAM}?{urlencode(FIELDS, safe=',')}"
        answer = await self.wire.open("GET", path, self._headers, Lines(self._longest))
        if isinstance(answer, HttpStream):
            self._slot_refusals = 0
            return answer
        error = refusal(answer, self.clock.time())
        if answer.status == 409:
            self._rules.forget()
        if error.ladder == "slot":
            await self._free_slot()
        raise error.reworded(self.wire.scrub)

    async def _free_slot(self) -> None:
        """Ask X to close what it takes for our last connection."""
        self._slot_refusals += 1
        if self._slot_refusals < REFUSALS:
            return
        self._slot_refusals = 0
        try:
            answer = await self.wire.ask("DELETE", STUCK, self._headers)
        except ConnectError as error:
            self.reporter.say(f"could not ask X to close a stuck connection: {error.reason}")
        else:
            self.reporter.say(f"asked X to close a stuck connection; it answered {answer.status}")

    async def tend(self) -> None:
        """Keep the rules equal to the plan; needs no new connection, so it never returns."""
        backoff = Backoff()
        while True:
            self._changed.clear()
            wait = await self._reconcile(backoff)
            if wait > 0:
                await self.clock.sleep(wait)
                continue
            with contextlib.suppress(TimeoutError):
                async with self.clock.timeout(RECONCILE_EVERY):
                    await self._changed.wait()
            await self.clock.sleep(SETTLE)

    async def _reconcile(self, backoff: Backoff) -> float:
        """Seconds until it must be tried again; 0 when all is as it shall be."""
        if self._plan is None or self._missing:
            return 0.0
        try:
            wait = await self._rules.reconcile(self._plan)
        except ConnectError as error:
            # The stream delivers by the rules that X has; only the change has to wait.
            self.reporter.say(f"the rules could not be changed: {error.reason}")
            asked = (error.retry_at or 0.0) - self.clock.time()
            return max(backoff.delay(rung(error.ladder) or "rate_limit"), asked)
        backoff.reset()
        return wait

    def verdict(self, body: bytes) -> ConnectError | None:
        """X may leave the socket open after it has said goodbye. See `base.Client`."""
        notice = urgent(body)
        if notice is None or notice.kind != "disconnect":
            return None
        text = self.wire.scrub(f"X ended the stream: {notice.text}")
        if notice.text.startswith(_OUR_FAULT):
            self._rules.forget()
            return ConnectError(text, "http", self.clock.time() + NO_LOOP)
        return ConnectError(text, "drop")


def pace(settings: Settings) -> Pace:
    """How often one may connect, and how long X may be silent."""
    return Pace(settings.x_v2.silence, settings.x_v2.attempts, WINDOW)


def missing(secrets: Mapping[str, str]) -> list[str]:
    """The secrets that are still needed; a token that cannot stand in a header counts as none."""
    token = secrets.get("bearer_token", "").strip()
    return [] if token and token.isascii() and token.isprintable() else ["bearer_token"]
