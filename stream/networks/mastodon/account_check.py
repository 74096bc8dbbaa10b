"""Test a source of Mastodon, and say what the account of its token hides.

Blocks, mutes and chosen languages of that account remove posts from its channels (Mastodon
reference §2). The API shows them as far as the token's scopes allow; languages it never shows.
"""

import msgspec

from stream.networks.mastodon import plan
from stream.networks.mastodon.server import ServerApi, ServerInfo, refusal
from stream.text import plain

LISTED_MAX = 40  # entries asked for
LANGUAGES = (
    "Languages chosen in its preferences hide all posts in others, and the API does not show them:"
    " choose none there."
)
_LISTS = {
    "/api/v1/blocks": "blocks",
    "/api/v1/mutes": "mutes",
    "/api/v1/domain_blocks": "blocks of whole servers",
}


class _OwnAccount(msgspec.Struct):
    acct: str


async def account_sentences(api: ServerApi) -> list[str]:
    """What the account hides: a sentence for each kind; none when nothing is known to be hidden."""
    name = await _name(api)
    sentences = []
    for path, what in _LISTS.items():
        if number := await _count(api, f"{path}?limit={LISTED_MAX}"):
            more = "or more " if number >= LISTED_MAX else ""
            sentences.append(
                f"The account {name} has {number} {more}{what}: those posts never arrive."
                " Use an account without any."
            )
    return sentences


async def _name(api: ServerApi) -> str:
    response = await api.http.request("GET", "/api/v1/accounts/verify_credentials", api.headers)
    try:
        account = msgspec.json.decode(response.body, type=_OwnAccount)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "of this token"
    return f"@{plain(account.acct)}" if response.status == 200 else "of this token"


async def _count(api: ServerApi, path: str) -> int:
    """The number of entries; 0 where the token may not see them."""
    response = await api.http.request("GET", path, api.headers)
    if response.status != 200:
        return 0
    try:
        return len(msgspec.json.decode(response.body, type=list[msgspec.Raw]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return 0


async def check_token(api: ServerApi, server: ServerInfo) -> None:
    """ConnectError unless the token may read a feed that the server offers."""
    path = "/api/v1/timelines/public?limit=1"
    if not server.offer.has_live:
        path = "/api/v1/timelines/tag/mastodon?limit=1"
    elif not server.offer.live.remote:
        path += "&local=true"
    elif not server.offer.live.local:
        path += "&remote=true"
    response = await api.http.request("GET", path, api.headers)
    if response.status != 200:
        raise refusal(response, api.clock.time()).reworded(api.http.redact)


async def describe_access(api: ServerApi) -> str:
    """Sentences about the server, its feeds and the token; ConnectError when it refuses."""
    server = await api.info()
    await check_token(api, server)
    found = [f"{server.name} (version {server.version}) accepts the token."]
    live = server.offer.live
    if not server.offer.has_live:
        what = plan.PUBLIC_OFF if server.offer.has_hashtags else plan.EVERYTHING_OFF
        found.append(what)
    elif not (live.local and live.remote):
        found.append(plan.LOCAL_ONLY if live.local else plan.REMOTE_ONLY)
    found += await account_sentences(api)
    return " ".join([*found, LANGUAGES])
