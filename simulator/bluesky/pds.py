"""What resolves names and holds records: PLC directory, did:web, resolveHandle, one PDS."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from simulator.bluesky.accounts import Account, Accounts, did_document, profile
from simulator.bluesky.identifiers import POSTS
from simulator.core import Core
from simulator.hub import RequestWindow
from simulator.payload import Json
from simulator.problems import answer

_WINDOW = web.RequestKey("pds_window", RequestWindow)
_BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head></html>"
_STATUS_ERRORS = {
    "deactivated": "RepoDeactivated",
    "suspended": "RepoSuspended",
    "takendown": "RepoTakendown",
}


class Pds:
    """One server for all accounts, with the rate limit of a PDS."""

    def __init__(self, core: Core, accounts: Accounts) -> None:
        jetstream = core.settings.jetstream
        self.core = core
        self.accounts = accounts
        self.requests = 0
        self.window = RequestWindow(jetstream.pds_requests, core.scaled(jetstream.pds_window))

    def routes(self) -> Sequence[web.RouteDef]:
        """All HTTP routes beside Jetstream's."""
        return (
            web.get("/xrpc/com.atproto.identity.resolveHandle", self._resolve_handle),
            web.get("/xrpc/com.atproto.repo.listRecords", self._list_records),
            web.get("/xrpc/app.bsky.actor.getProfile", self._profile),
            web.get("/xrpc/app.bsky.actor.getProfiles", self._profiles),
            web.get("/.well-known/did.json", self._web_document),
            web.get("/.well-known/atproto-did", self._web_did),
            web.get("/{did:did:[a-z]+:[^/]+}", self._plc_document),
        )

    async def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add rate limit headers."""
        window = request.get(_WINDOW)
        if window is not None:
            response.headers["RateLimit-Limit"] = str(window.limit)
            response.headers["RateLimit-Remaining"] = str(window.remaining)
            response.headers["RateLimit-Reset"] = str(int(window.reset) + 1)
            response.headers["RateLimit-Policy"] = f"{window.limit};w={int(window.seconds)}"

    def _refused(self, request: web.Request) -> web.Response | None:
        """Count a request; the refusal when there were too many, or by a fault."""
        request[_WINDOW] = self.window
        self.requests += 1
        errors = self.core.faults.mode("pds-errors")
        if errors is not None and self.requests % (errors.n or 3) == 0:
            return web.Response(status=502, text=_BAD_GATEWAY, content_type="text/html")
        if self.window.take() and not self.core.faults.mode("pds-busy"):
            return None
        return _error(429, "RateLimitExceeded", "Rate Limit Exceeded")

    async def _resolve_handle(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        handle = request.query.get("handle", "")
        if "." not in handle:
            return _error(400, "InvalidRequest", "Error: handle must be a valid handle")
        account = self.accounts.by_handle.get(handle.lower())
        if account is None or account.status == "deleted":
            return _error(400, "InvalidRequest", "Unable to resolve handle")
        return answer(200, {"did": account.did})

    async def _list_records(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        query = request.query
        limit = query.get("limit", "50")
        if not limit.isdecimal() or not 1 <= int(limit) <= 100:
            return _error(400, "InvalidRequest", "Error: limit must be between 1 and 100")
        if "repo" not in query or "collection" not in query:
            return _error(400, "InvalidRequest", "Error: Params must have repo and collection")
        account = self.accounts.find(query["repo"])
        if account is None or account.status == "deleted":
            return _error(400, "InvalidRequest", f"Could not find repo: {query['repo']}")
        if account.status:
            kind = _STATUS_ERRORS[account.status]
            return _error(400, kind, f"Repo has been {account.status}: {account.did}")
        forwards = query.get("reverse") == "true"
        records = account.records if query["collection"] == POSTS else {}
        keys = sorted(records, reverse=not forwards)
        if cursor := query.get("cursor"):
            keys = [key for key in keys if (key > cursor if forwards else key < cursor)]
        page = keys[: int(limit)]
        body: Json = {"records": [self._shown(account, key) for key in page]}
        if page:
            body["cursor"] = page[-1]
        return answer(200, body)

    def _shown(self, account: Account, rkey: str) -> Json:
        record = account.records[rkey]
        return {
            "uri": f"at://{account.did}/{POSTS}/{rkey}",
            "cid": record.cid,
            "value": msgspec.Raw(record.value),
        }

    async def _profile(self, request: web.Request) -> web.Response:
        account = self.accounts.find(request.query.get("actor", ""))
        if account is None or account.status == "deleted":
            return _error(400, "InvalidRequest", "Profile not found")
        if account.status:
            return _error(400, "AccountDeactivated", f"Account is {account.status}")
        return answer(200, profile(account))

    async def _profiles(self, request: web.Request) -> web.Response:
        actors = request.query.getall("actors", [])
        if not 1 <= len(actors) <= 25:
            return _error(400, "InvalidRequest", "Error: actors must have 1 to 25 items")
        found = [account for actor in actors if (account := self.accounts.find(actor))]
        return answer(200, {"profiles": [profile(each) for each in found if not each.status]})

    async def _plc_document(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        did = request.match_info["did"]
        account = self.accounts.by_did.get(did)
        if account is None or not did.startswith("did:plc:"):
            return answer(404, {"message": f"DID not registered: {did}"})
        if account.status == "deleted":
            return answer(410, {"message": f"DID not available: {did}"})
        return answer(200, did_document(account, _origin(request)))

    async def _web_document(self, request: web.Request) -> web.Response:
        account = self._of_domain(request)
        if account is None:
            return answer(404, {"message": "Not Found"})
        return answer(200, did_document(account, _origin(request)))

    async def _web_did(self, request: web.Request) -> web.Response:
        """The DID of the handle that is this domain."""
        account = self.accounts.by_handle.get(request.host.partition(":")[0])
        if account is None:
            return web.Response(status=404, text="User not found")
        return web.Response(text=account.did)

    def _of_domain(self, request: web.Request) -> Account | None:
        """The did:web account of this domain; a simulator's own address stands for the first."""
        domain = request.host.partition(":")[0]
        found = self.accounts.by_did.get(f"did:web:{domain}")
        if found is None and domain in {"127.0.0.1", "localhost"}:
            found = self.accounts.crowd[0]
        return found


def _origin(request: web.Request) -> str:
    transport = request.transport
    host, port = transport.get_extra_info("sockname")[:2] if transport else ("127.0.0.1", 0)
    return f"http://{host}:{port}"


def _error(status: int, name: str, message: str) -> web.Response:
    return answer(status, {"error": name, "message": message})
