"""Look up accounts of Bluesky: handle → DID, DID → handle, and both ways to verify.

A DID document claims a handle; it is the account's own only if the handle leads back to the DID.
"""

import re
from urllib.parse import quote, unquote

import msgspec

from stream.backoff import Clock
from stream.config.settings import BlueskySettings
from stream.errors import ConnectError
from stream.networks.bluesky.account_requests import body_as, get
from stream.networks.bluesky.decode import HANDLE, HANDLE_LENGTH_MAX
from stream.networks.response import foreign_response

RESOLVE_HANDLE = "/xrpc/com.atproto.identity.resolveHandle"
GET_PROFILE = "/xrpc/app.bsky.actor.getProfile"
UNKNOWN_DID = (404, 410)  # never registered, and deleted

# Hosts that an account names: those of a domain, and with `private_hosts` any.
_SERVER = re.compile(r"(?i)https://(?:[a-z0-9-]{1,63}\.)+[a-z][a-z0-9-]{0,62}(?::\d{1,5})?/?")
_ANY_SERVER = re.compile(r"https?://[^/?#@\s]+/?")
_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_WEB = re.compile(r"did:web:((?:[a-z0-9-]{1,63}\.)+[a-z][a-z0-9-]{0,62}|localhost%3A\d{1,5})")
UNKNOWN_HANDLE = ("InvalidRequest", "HandleNotFound")  # the answers about one that leads nowhere


def is_account_id(did: str) -> bool:
    """Whether it is an id of a kind that accounts have."""
    return bool(_PLC.fullmatch(did) or _WEB.fullmatch(did))


class _Service(msgspec.Struct):
    id: str = ""
    address: str = msgspec.field(default="", name="serviceEndpoint")


class _Document(msgspec.Struct):
    id: str = ""
    names: list[str] = msgspec.field(default_factory=list, name="alsoKnownAs")
    services: list[_Service] = msgspec.field(default_factory=list, name="service")


class _Resolved(msgspec.Struct):
    did: str = ""


class _Profile(msgspec.Struct):
    posts: int = msgspec.field(default=0, name="postsCount")


class _HandleError(msgspec.Struct):
    error: str = ""


class OwnHostError(ConnectError):
    """A host of one account's own failed; others can be looked up meanwhile."""


class Identities:
    """Asks the directory of DIDs, hosts of did:web, and the AppView. Raises ConnectError.

    A host that an account names may be any: without `private_hosts` it must be a public one.
    """

    def __init__(self, settings: BlueskySettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock

    async def id_of(self, handle: str) -> str | None:
        """The DID of the account with this handle; None when there is none."""
        did = await self._resolve(handle)
        return did if did is not None and await self._claims(did) == handle else None

    async def handle_of(self, did: str) -> str | None:
        """The handle of an account; None when it has none that leads back to it."""
        handle = await self._claims(did)
        return handle if handle is not None and await self._resolve(handle) == did else None

    async def _resolve(self, handle: str) -> str | None:
        """The DID that a handle leads to."""
        path = f"{RESOLVE_HANDLE}?handle={quote(handle, safe='')}"
        response = await get(self.clock, self.settings.appview, path)
        if response.status == 200:
            return body_as(response, _Resolved).did or None
        if response.status == 400 and body_as(response, _HandleError).error in UNKNOWN_HANDLE:
            return None
        raise foreign_response(response, self.clock.time(), "com.atproto.identity.resolveHandle")

    async def _claims(self, did: str) -> str | None:
        """The handle that the document of a DID claims; None: no document, or no handle."""
        document = await self._document(did)
        names = [] if document is None else document.names
        handles = [each.removeprefix("at://") for each in names if each.startswith("at://")]
        handle = handles[0].lower() if handles else ""
        return handle if HANDLE.fullmatch(handle) and len(handle) <= HANDLE_LENGTH_MAX else None

    async def pds_of(self, did: str) -> str | None:
        """The address of the server that keeps the posts of an account; None: no usable one."""
        document = await self._document(did)
        services = [] if document is None else document.services
        found = next((each.address for each in services if each.id.endswith("#atproto_pds")), "")
        form = _ANY_SERVER if self.settings.private_hosts else _SERVER
        return found.rstrip("/") if form.fullmatch(found) else None

    async def post_count(self, did: str) -> int | None:
        """How many posts an account has, as Bluesky counts them; None: it does not say."""
        path = f"{GET_PROFILE}?actor={quote(did, safe='')}"
        response = await get(self.clock, self.settings.appview, path)
        return body_as(response, _Profile).posts or None if response.status == 200 else None

    async def _document(self, did: str) -> _Document | None:
        if _PLC.fullmatch(did):
            return await self._read(did, self.settings.plc, f"/{did}")
        if (web := _WEB.fullmatch(did)) is None:
            return None  # no other kind of DID has accounts
        base = self.settings.did_web.replace("{host}", unquote(web[1]))
        public_only = base != self.settings.did_web and not self.settings.private_hosts
        try:
            return await self._read(did, base, "/.well-known/did.json", public_only=public_only)
        except ConnectError as error:
            if error.code == "proxy":
                raise
            if error.retry == "final":
                return None  # it is at a private address
            raise OwnHostError(
                error.reason, error.retry, error.retry_at, error.code, error.status
            ) from error

    async def _read(
        self, did: str, base: str, path: str, *, public_only: bool = False
    ) -> _Document | None:
        response = await get(self.clock, base, path, public_only=public_only)
        if response.status in UNKNOWN_DID:
            return None
        if response.status != 200:
            raise foreign_response(response, self.clock.time(), "a DID document")
        document = body_as(response, _Document)
        return document if document.id == did else None
