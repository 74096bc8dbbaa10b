"""What one tweet is about: the items that are counted for each track that it belongs to."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from stream.errors import Reject
from stream.networks.table import NETWORKS
from stream.query.words import canonical
from stream.stored import StoredTweet
from stream.tops import LONGEST_ITEM, Aspect
from stream.tweet import Content, Tweet

# Parameters that say how somebody came to a page, and not which page it is.
_TRACKERS = re.compile(
    "utm_.*|(?:fb|g|dc|tw|y|msclk|gb|wb)clid|msclkid|mc_[ce]id|igsh(?:id)?|ref_(?:src|url)|_hs.*"
    "|mkt_tok|cmp(?:id)?|ocid|smid|__twitter_impression",
    re.IGNORECASE,
)
# They stand beside the address that they lead to, where the network has followed them.
_SHORTENERS = frozenset(
    ("t.co", "bit.ly", "buff.ly", "ow.ly", "dlvr.it", "tinyurl.com", "goo.gl", "ift.tt", "trib.al",
     "lnkd.in", "is.gd", "shorturl.at", "rb.gy", "cutt.ly")
)  # fmt: skip
# Pictures of the tweet itself.
_OWN_MEDIA = re.compile(
    r"https?://(?:[a-z]+\.)?(?:twitter|x)\.com/[^/]+/status/\d+/(?:photo|video)/", re.IGNORECASE
)


def subjects(stored: StoredTweet) -> set[tuple[Aspect, str]]:
    """Each item once; of a repost also what stands in the reposted tweet."""
    found: set[tuple[Aspect, str]] = {("lang", stored.lang or "und"), ("kind", stored.kind)}
    if stored.author:
        found.add(("author", stored.author.lower()))
    for content in _contents(stored):
        found.update(("hashtag", canonical(tag)) for tag in content.hashtags)
        found.update(("mention", name.lower()) for name in content.mentions)
        found.update(("link", link) for link in links(content.links))
    return {each for each in found if 0 < len(each[1]) <= LONGEST_ITEM}


def _contents(stored: StoredTweet) -> Iterator[Content]:
    try:
        tweet = NETWORKS[stored.network].decode(stored.doc)
    except Reject:
        return  # of another day's program: its columns have to do
    if isinstance(tweet, Tweet):
        yield tweet.own
        if tweet.reposted is not None:
            yield tweet.reposted


def links(written: Iterable[str]) -> set[str]:
    """The pages that addresses lead to, each in one way of writing it."""
    pages = {page for link in written if (page := _page(link))}
    followed = {page for page in pages if page.split("/", 3)[2] not in _SHORTENERS}
    return followed or pages


def _page(link: str) -> str | None:
    if not link.lower().startswith(("http://", "https://")) or _OWN_MEDIA.match(link):
        return None
    try:
        scheme, host, path, query, _ = urlsplit(link)
    except ValueError:
        return None
    if not host:
        return None
    if query:
        said = parse_qsl(query, keep_blank_values=True, errors="surrogatepass")
        kept = [(name, value) for name, value in said if not _TRACKERS.fullmatch(name)]
        query = query if len(kept) == len(said) else urlencode(kept, errors="surrogatepass")
    return urlunsplit((scheme, host.lower(), "" if path == "/" else path, query, ""))
