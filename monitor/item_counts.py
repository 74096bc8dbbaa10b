"""Counts of the items of tweets: authors, hashtags, mentions, links, languages, kinds."""

import asyncio
import heapq
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from stream.decoded_tweets import DecodedTweet
from stream.keys import hour_of, received_at
from stream.networks.registry import decode_stored
from stream.query.tokenize import canonical
from stream.store.feed import StoredTweet
from stream.store.top_items import ASPECTS, HOUR, HOURS_KEPT, ITEM_LENGTH_MAX, Aspect, ItemKey
from stream.tweet import Content, TrackId, TweetId

YIELD_EVERY = 10  # tweets, which take a millisecond or two
STATEMENT_ROWS = 500
ADDED_MAX = 200  # items of one track, hour and aspect, by one transaction


class ItemCounts:
    """The items of some tweets, counted by track, hour and aspect."""

    def __init__(self, now: datetime) -> None:
        self._oldest = hour_of(now) - HOURS_KEPT * HOUR
        self._counts: defaultdict[tuple[TrackId, datetime | None], Counter[tuple[Aspect, str]]]
        self._counts = defaultdict(Counter)

    async def add(
        self,
        tweets: Iterable[StoredTweet | DecodedTweet],
        tracks: Mapping[TweetId, Sequence[TrackId]],
    ) -> None:
        """Count these tweets for their tracks; other tasks run in between."""
        for at, tweet in enumerate(tweets):
            if at % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            items = items_of(tweet)
            hour: datetime | None = hour_of(received_at(tweet.id))
            if hour is not None and hour < self._oldest:
                hour = None  # too old for an hour of its own, as after an import
            for track_id in tracks[tweet.id]:
                self._counts[track_id, hour].update(items)

    async def rows(self) -> AsyncIterator[Mapping[ItemKey, int]]:
        """Rows of top items for each statement; of too many items, the most frequent."""
        lines: dict[ItemKey, int] = {}
        for (track_id, hour), counter in self._counts.items():
            for (aspect, item), tweets in _most_frequent(counter):
                lines[ItemKey(track_id, hour, aspect, item)] = tweets
            if len(lines) >= STATEMENT_ROWS:
                yield lines
                lines = {}
                await asyncio.sleep(0)
        if lines:
            yield lines


def _most_frequent(
    counter: Counter[tuple[Aspect, str]],
) -> Iterable[tuple[tuple[Aspect, str], int]]:
    """The items that a transaction may add: of each aspect the most frequent."""
    if len(counter) <= ADDED_MAX:
        return counter.items()
    return itertools.chain.from_iterable(
        heapq.nlargest(
            ADDED_MAX, (each for each in counter.items() if each[0][0] == aspect), itemgetter(1)
        )
        for aspect in ASPECTS
    )


# -- items ----------------------------------------------------------------------------------------

# Parameters that say how a visitor came to a page, and not which page it is.
_TRACKING = re.compile(
    "utm_.*|(?:fb|g|dc|tw|y|msclk|gb|wb)clid|msclkid|mc_[ce]id|igsh(?:id)?|ref_(?:src|url)|_hs.*"
    "|mkt_tok|cmp(?:id)?|ocid|smid|__twitter_impression",
    re.IGNORECASE,
)
# The network lists the addresses that these lead to as well, where it has followed them.
_SHORTENERS = frozenset(
    ("t.co", "bit.ly", "buff.ly", "ow.ly", "dlvr.it", "tinyurl.com", "goo.gl", "ift.tt", "trib.al",
     "lnkd.in", "is.gd", "shorturl.at", "rb.gy", "cutt.ly")
)  # fmt: skip
# Photos and videos of the tweet itself.
_OWN_MEDIA = re.compile(
    r"https?://(?:[a-z]+\.)?(?:twitter|x)\.com/[^/]+/status/\d+/(?:photo|video)/", re.IGNORECASE
)


def items_of(tweet: StoredTweet | DecodedTweet) -> set[tuple[Aspect, str]]:
    """The items of a tweet, each once; of a repost also those of the reposted tweet."""
    found: set[tuple[Aspect, str]] = {("lang", tweet.lang or "und"), ("kind", tweet.kind)}
    if tweet.author_id and tweet.author_id.startswith("did:"):
        # The handle may not be known yet, and may change.
        found.add(("author", tweet.author_id))
    elif tweet.author:
        found.add(("author", tweet.author.lower()))
    for content in tweet.contents if isinstance(tweet, DecodedTweet) else _contents(tweet):
        found.update(("hashtag", canonical(tag)) for tag in content.hashtags)
        found.update(("mention", name.lower()) for name in content.mentions)
        found.update(("link", link) for link in links(content.links))
    return {each for each in found if 0 < len(each[1]) <= ITEM_LENGTH_MAX}


def _contents(stored: StoredTweet) -> Iterator[Content]:
    tweet = decode_stored(stored.network, stored.doc)
    if tweet is not None:  # else only its columns count
        yield tweet.own
        if tweet.reposted is not None:
            yield tweet.reposted


def links(written: Iterable[str]) -> set[str]:
    """The pages that addresses lead to, each in one canonical form."""
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
        parameters = parse_qsl(query, keep_blank_values=True, errors="surrogatepass")
        kept = [(name, value) for name, value in parameters if not _TRACKING.fullmatch(name)]
        query = query if len(kept) == len(parameters) else urlencode(kept, errors="surrogatepass")
    return urlunsplit((scheme, host.lower(), "" if path == "/" else path, query, ""))
