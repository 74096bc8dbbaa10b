"""A directory of invented Bluesky accounts: PLC, did:web and resolveHandle on one address."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from jetstream_messages import ANN
from servers import serving
from stream.config.settings import BlueskySettings

BOB_WEB = "did:web:bob.example.org"


class Directory:
    """Which handle each DID claims, and where each handle leads; both can be changed."""

    def __init__(self) -> None:
        self.claims: dict[str, str] = {ANN: "ann.example", BOB_WEB: "bob.example.org"}
        self.leads_to: dict[str, str] = {"ann.example": ANN, "bob.example.org": BOB_WEB}
        self.gone: set[str] = set()
        self.hidden: set[str] = set()  # their posts are not listed
        self.posts: dict[str, tuple[str, str]] = {}  # of ANN: text and version by key
        self.page_size = 100
        self.failing: int | None = None  # answer everything with this status
        self.failing_web: int | None = None  # answer did:web with this status
        self.headers: dict[str, str] = {}
        self.url = ""
        self.asked: list[str] = []

    @property
    def settings(self) -> BlueskySettings:
        return BlueskySettings(plc=self.url, appview=self.url, did_web=self.url, private_hosts=True)

    def rename(self, did: str, handle: str) -> None:
        self.leads_to.pop(self.claims[did], None)
        self.claims[did] = handle
        self.leads_to[handle] = did

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if self.failing is not None:
            return web.json_response({}, status=self.failing, headers=self.headers)
        if request.path == "/xrpc/com.atproto.identity.resolveHandle":
            did = self.leads_to.get(request.query["handle"])
            if did is None:
                problem = {"error": "InvalidRequest", "message": "Unable to resolve handle"}
                return web.json_response(problem, status=400)
            return web.json_response({"did": did})
        if request.path == "/xrpc/com.atproto.repo.listRecords":
            return self._list_records(request)
        return self._document(request)

    def _document(self, request: web.Request) -> web.StreamResponse:
        did = BOB_WEB if request.path == "/.well-known/did.json" else request.path[1:]
        if did == BOB_WEB and self.failing_web is not None:
            return web.json_response({}, status=self.failing_web, headers=self.headers)
        if did in self.gone:
            return web.json_response({"message": "DID not available"}, status=410)
        if did not in self.claims:
            return web.json_response({"message": "DID not registered"}, status=404)
        service = {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": self.url,
        }
        names = [f"at://{self.claims[did]}"]
        return web.json_response({"id": did, "alsoKnownAs": names, "service": [service]})

    def _list_records(self, request: web.Request) -> web.StreamResponse:
        if request.query["repo"] in self.hidden:
            return web.json_response({"error": "RepoDeactivated"}, status=400)
        before = request.query.get("cursor", "~")
        keys = sorted((key for key in self.posts if key < before), reverse=True)[: self.page_size]
        records = [
            {
                "uri": f"at://{ANN}/app.bsky.feed.post/{key}",
                "cid": self.posts[key][1],
                "value": {"text": self.posts[key][0], "createdAt": "2026-03-14T11:00:00.000Z"},
            }
            for key in keys
        ]
        cursor = {"cursor": keys[-1]} if keys else {}
        return web.json_response({"records": records} | cursor)


@contextlib.asynccontextmanager
async def serving_directory() -> AsyncIterator[Directory]:
    directory = Directory()
    app = web.Application()
    app.router.add_get("/{path:.*}", directory.answer)
    async with serving(app) as url:
        directory.url = url
        yield directory
