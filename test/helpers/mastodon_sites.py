"""A simulated server of Mastodon, and the posts of its users."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from servers import serving
from simulator.mastodon.api import MastodonApi
from simulator.mastodon.site import MastodonSite, Rules, Token
from statuses import status

TOKEN = "hidden-token"


class Site(MastodonSite):
    """A simulated server, and the posts of its users."""

    url = ""

    def post(self, text: str, *tags: str, **changes: Any) -> str:
        """Publish a status; returns its id."""
        number = self.new_id()
        self.publish(self.made(number, text, *tags, **changes))
        return number

    def made(self, number: str, text: str, *tags: str, **changes: Any) -> dict[str, object]:
        listed = [{"name": tag, "url": f"https://social.example/tags/{tag}"} for tag in tags]
        uri = f"https://social.example/users/ann/statuses/{number}"
        return status(f"<p>{text}</p>", id=number, uri=uri, tags=listed, **changes)


@contextlib.asynccontextmanager
async def running_site(rules: Rules | None = None, **token: Any) -> AsyncIterator[Site]:
    site = Site(rules, {TOKEN: Token(**token)})
    async with serving(MastodonApi(site).app()) as site.url:
        yield site
