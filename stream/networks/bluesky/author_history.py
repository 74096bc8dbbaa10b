"""The posts of one author for look-backs, from the author's own server."""

import msgspec

from stream.backoff import Clock, SlidingWindowLimiter, wait_turn
from stream.config import Settings
from stream.errors import ConnectError, InvalidQuery
from stream.networks.base import PastPage, PastPages, ReportRetry, decoded_progress
from stream.networks.bluesky.identity import Identities, is_account_id
from stream.networks.bluesky.plan import is_domain_name, no_account
from stream.networks.bluesky.repository import PAGE_POSTS, PostPage, Repository, message_of
from stream.networks.retries import WAIT_MAX, Retries
from stream.query.keywords import shown
from stream.query.operands import account

FAILURES_MAX = 6  # in a row
REQUESTS, WINDOW = 1000, 300.0  # a server allows 3,000 requests of an address in 300 s
PAGES_MAX = 20_000  # two million posts; a server that lists more has no end
NEARLY = 0.99  # of the progress, until there is no further page
FORMS = (
    "write its handle, such as name.bsky.social, the address of its page on bsky.app, or its whole"
    " id (did:plc: and 24 characters, or did:web: and a domain)"
)


class _HistoryProgress(msgspec.Struct):
    """How far an author's posts are read; kept with each page."""

    did: str
    total: int | None = None  # posts to be read, as Bluesky counts them; None: not known
    cursor: str = ""
    pages: int = 0
    ended: bool = False


def account_named(written: str) -> str:
    """See `base.Network`."""
    refused = InvalidQuery(f"{shown(written)} is not an account on Bluesky: {FORMS}.")
    try:
        user = account(written.strip())
    except InvalidQuery as error:
        raise refused from error
    if user.id is not None and is_account_id(user.id):
        return user.id
    if user.handle is not None and is_domain_name(user.handle):
        return user.handle
    raise refused


async def read_author_past(
    author: str,
    settings: Settings,
    clock: Clock,
    since: float,
    resume: str | None,
    report: ReportRetry,
) -> PastPages:
    """See `base.AuthorPastReader`."""
    history = _History(author, settings, clock, since, resume, report)
    while not history.ended:
        yield await history.page()


class _History:
    def __init__(
        self,
        author: str,
        settings: Settings,
        clock: Clock,
        since: float,
        resume: str | None,
        report: ReportRetry,
    ) -> None:
        self._author = author
        self._since = since
        self._settings = settings.bluesky
        self._clock = clock
        self._identities = Identities(settings.bluesky, clock)
        self._retries = Retries(clock, FAILURES_MAX, report)
        self._limiter = SlidingWindowLimiter(REQUESTS, WINDOW)
        self._next_at = 0.0  # seconds since 1970
        self._progress = None if resume is None else decoded_progress(resume, _HistoryProgress)
        self._repository: Repository | None = None

    @property
    def ended(self) -> bool:
        return self._progress is not None and self._progress.ended

    async def page(self) -> PastPage:
        """The next page. Raises ConnectError."""
        if self._progress is None:
            did = await self._find()
            total = None if self._since else await self._count(did)
            self._progress = _HistoryProgress(did, total)
        if self._repository is None:
            self._repository = await self._find_repository(self._progress.did)
        repository, cursor = self._repository, self._progress.cursor
        await self._wait_turn()
        return self._made(await self._retries.repeat(lambda: repository.page(cursor)))

    async def _find(self) -> str:
        """The id of the author. ConnectError (`final`) when there is no such account."""
        try:
            name = account_named(self._author)
        except InvalidQuery as error:
            raise ConnectError(str(error), "final") from error
        if name.startswith("did:"):
            return name
        did = await self._retries.repeat(lambda: self._identities.id_of(name))
        if did is None:
            raise ConnectError(no_account(name), "final")
        return did

    async def _count(self, did: str) -> int | None:
        """How many posts the author has; None: not known, which only the progress needs."""
        try:
            return await self._identities.post_count(did)
        except ConnectError:
            return None

    async def _find_repository(self, did: str) -> Repository:
        server = await self._retries.repeat(lambda: self._identities.pds_of(did))
        if server is None:
            text = f"{self._author}: the account is deleted, or names no server for its posts"
            raise ConnectError(text, "final")
        return Repository(self._settings, self._clock, did, server)

    async def _wait_turn(self) -> None:
        """Wait until our own limit and the server's allow a request."""
        asked = min(self._next_at - self._clock.time(), WAIT_MAX)
        if asked > 0:
            await self._clock.sleep(asked)
        await wait_turn(self._limiter, self._clock)

    def _made(self, page: PostPage) -> PastPage:
        progress, now = self._progress, self._clock.time()
        assert progress is not None
        self._next_at = page.next_at or 0.0
        progress.pages += 1
        too_many = progress.pages >= PAGES_MAX
        # The server of an author is any program: a page that leads to itself has no end.
        leads_on = page.cursor not in ("", progress.cursor)
        progress.ended = not leads_on or too_many or page.oldest_at < self._since
        progress.cursor = page.cursor
        messages = [
            (int(now * 1e6) + number, message_of(progress.did, post, "create", now))
            for number, post in enumerate(page.posts)
        ]
        share = 1.0 if progress.ended else _share(progress)
        note = f"only the newest {PAGES_MAX * PAGE_POSTS:,} posts were read" if too_many else ""
        return PastPage(messages, msgspec.json.encode(progress).decode(), share, note)


def _share(progress: _HistoryProgress) -> float | None:
    """How much was read, from 0 to 1; the count of posts may lag behind."""
    if progress.total is None:
        return None
    return min(progress.pages * PAGE_POSTS / progress.total, NEARLY)
