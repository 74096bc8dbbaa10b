"""Look up whether stored posts still exist on their server: deletions are not sent again.

`GET /api/v1/statuses?id[]=…`, of Mastodon 4.3 and newer, leaves out what is deleted, but also posts
of accounts that are muted or limited there. So each missing post is asked for by itself.
"""

from collections.abc import Sequence

import msgspec

from stream.errors import ConnectError
from stream.networks.mastodon.ids import id_at, time_of
from stream.networks.mastodon.limited_requests import LimitedRequests
from stream.networks.mastodon.server import ServerApi
from stream.networks.response import foreign_response

PATH = "/api/v1/statuses"
WINDOW = 300.0  # seconds; a server counts requests in windows of 5 minutes
IDS_MAX = 20  # that a server looks up at once
UNSUPPORTED = (
    "this server does not say which posts still exist (Mastodon 4.3 and newer do): deletions during"
    " gaps stay unknown"
)


class _Existing(msgspec.Struct):
    id: str


class DeletionLookup:
    """Looks up posts of one source."""

    ids_max = IDS_MAX

    def __init__(self, api: ServerApi, max_requests: int) -> None:
        self._requests = LimitedRequests(api, max_requests, WINDOW)

    def id_at(self, seconds: float) -> str:
        """The least id of a post of that time, in seconds since 1970."""
        return str(id_at(seconds))

    def time_of(self, post_id: str) -> float:
        """When a post was written, in seconds since 1970."""
        return time_of(int(post_id))

    async def deleted(self, ids: Sequence[str]) -> list[bytes]:
        """A message of deletion for each of these posts that the server no longer shows."""
        missing = set(ids) - await self._existing(ids)
        gone = [each for each in ids if each in missing and await self._is_gone(each)]
        return [
            b'{"stream":["public"],"event":"delete","payload":%b,"looked_up":true}'
            % msgspec.json.encode(each)
            for each in gone
        ]

    async def _existing(self, ids: Sequence[str]) -> set[str]:
        try:
            response = await self._requests.get(
                f"{PATH}?" + "&".join(f"id[]={each}" for each in ids)
            )
        except ConnectError as error:
            if error.status in (404, 405) and error.code != "foreign":
                raise ConnectError(UNSUPPORTED, "final") from None
            raise
        try:
            found = msgspec.json.decode(response.body, type=list[_Existing])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            api = self._requests.api
            foreign = foreign_response(response, api.clock.time(), "a list of posts")
            raise foreign.reworded(api.http.redact) from None
        return {status.id for status in found}

    async def _is_gone(self, status_id: str) -> bool:
        """Whether the server itself says that it has no such post."""
        try:
            await self._requests.get(f"{PATH}/{status_id}")
        except ConnectError as error:
            if error.status in (404, 410) and error.code != "foreign":
                return True
            raise
        return False
